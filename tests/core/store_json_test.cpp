// SPDX-License-Identifier: Apache-2.0
// A store spoken to in JSON, as the C face does.
#include "rapport/json.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"

using namespace rapport;
using Json = nlohmann::json;

namespace {

struct Phone {
    TempDir folder;
    Store store = Store::open(folder.file("r17.rapport"));

    Json captured(const std::string& json) {
        AskedEdits asked = new_records(store, json);
        Captured result;
        result.refusals = asked.refusals;
        if (asked.refusals.empty()) result = store.commit(asked.edits);
        return Json::parse(to_json(result, Language::german));
    }
    Json changed(const std::string& json) {
        AskedEdits asked = changes(store, json);
        Captured result;
        result.refusals = asked.refusals;
        if (asked.refusals.empty()) result = store.commit(asked.edits);
        return Json::parse(to_json(result, Language::german));
    }
    std::string customer(const std::string& more = "") {
        const Json result =
            captured(R"([{"kind":"customer","fields":{"name":"Molkerei Mork")" + more + "}}]");
        REQUIRE(result["refusals"].empty());
        return result["ids"][0];
    }
    Json found(const std::string& query) {
        return Json::parse(to_json(store, store.query(asked_query(query))));
    }
};

bool invalid(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& e) {
        return e.code() == ErrorCode::invalid_argument;
    }
    return false;
}

}  // namespace

TEST_CASE_FIXTURE(Phone, "records of one text refer to each other in any order, and to the store") {
    customer(R"(,"external_ids":[{"system":"erp","id":"4711"}])");
    const Json result = captured(
        R"([{"kind":"complaint","fields":{"visit_id":"@v","customer_id":"@erp:4711","product_text":"Becher","verbatim":"undicht","severity":"major"}},
            {"kind":"visit","ref":"v","fields":{"customer_id":"@erp:4711","type":"visit"}}])");
    REQUIRE(result["refusals"].empty());
    REQUIRE(result["ids"].size() == 2);
    const auto complaint =
        store.read(Id<Complaint>(*RecordId::parse(result["ids"][0].get<std::string>())));
    REQUIRE(complaint);
    CHECK(complaint->visit_id == Id<Visit>(*RecordId::parse(result["ids"][1].get<std::string>())));
    CHECK(store.overview().queued == 2);
}

TEST_CASE_FIXTURE(Phone, "what cannot be captured is named with record, field, code and sentence") {
    const Json result = captured(
        R"([{"kind":"note","ref":"n","fields":{"subject_id":"@nobody","txt":"x"}},{"kind":"visit","ref":"n","fields":{}}])");
    CHECK(result["ids"].empty());
    std::set<std::string> codes;
    for (const Json& refusal : result["refusals"]) {
        codes.insert(refusal["field"].get<std::string>() + ":" +
                     refusal["code"].get<std::string>());
        CHECK(refusal["record"].is_string());
        CHECK_FALSE(refusal["sentence"].get<std::string>().empty());
    }
    CHECK(codes == std::set<std::string>{"ref:ref_used", "subject_id:unknown_reference",
                                         "txt:unknown_field"});
    CHECK(store.overview().queued == 0);
}

TEST_CASE_FIXTURE(Phone,
                  "fields are set and cleared, elements and keys enter and leave one by one") {
    const std::string id =
        customer(R"(,"phone":"+492461123456","tags":["a","b"],"ext":{"route":"A","day":"3"})");
    const Json result = changed(
        R"([{"id":")" + id +
        R"(","fields":{"phone":null,"legal_name":"Mork GmbH"},"add":{"tags":["c"],"ext":{"stop":"7"}},"remove":{"tags":["a"],"ext":["route"]}}])");
    REQUIRE(result["refusals"].empty());
    const Json fields = Json::parse(to_json(*store.find(*RecordId::parse(id))))["fields"];
    CHECK_FALSE(fields.contains("phone"));
    CHECK(fields["legal_name"] == "Mork GmbH");
    CHECK(fields["tags"] == Json({"b", "c"}));
    CHECK(fields["ext"] == Json({{"day", "3"}, {"stop", "7"}}));
}

TEST_CASE_FIXTURE(Phone, "a change of nothing known, or of a field's wrong kind, is refused") {
    const std::string id = customer();
    const auto code = [&](const std::string& json) {
        const Json refusals = changed(json)["refusals"];
        REQUIRE(refusals.size() == 1);
        return refusals[0]["code"].get<std::string>();
    };
    CHECK(code(R"([{"id":"01940000-0000-7000-8000-000000000001","fields":{}}])") == "not_found");
    CHECK(code(R"([{"fields":{}}])") == "not_found");
    CHECK(code(R"([{"id":")" + id + R"(","fields":{"nme":"x"}}])") == "unknown_field");
    CHECK(code(R"([{"id":")" + id + R"(","name":"x"}])") == "unknown_field");
    CHECK(code(R"([{"id":")" + id + R"(","fields":"x"}])") == "wrong_type");
    CHECK(code(R"([{"id":")" + id + R"(","add":{"name":"x"}}])") == "not_a_set");
    CHECK(code(R"([{"id":")" + id + R"(","remove":{"ext":[1]}}])") == "wrong_type");
}

TEST_CASE_FIXTURE(Phone, "a query finds pages by fields, parts and elements") {
    for (int n = 0; n < 3; ++n)
        customer(R"(,"address":{"city":"Jülich","country":"DE"},"tags":["t)" + std::to_string(n) +
                 "\"]");
    const Json first = found(
        R"({"kind":"customer","where":[{"field":"address.city","value":"Jülich"}],"limit":2,"sort":"name"})");
    REQUIRE(first["records"].size() == 2);
    CHECK(first["records"][0]["sync"] == "queued");
    CHECK(first["records"][0]["kind"] == "customer");
    REQUIRE(first["next"].is_string());
    const Json rest = found(
        R"({"kind":"customer","where":[{"field":"address.city","value":"Jülich"}],"limit":2,"sort":"name","after":)" +
        first["next"].dump() + "}");
    CHECK(rest["records"].size() == 1);
    CHECK(rest["next"].is_null());
    CHECK(
        found(R"({"kind":"customer","where":[{"field":"tags","is":"~","value":"t1"}]})")["records"]
            .size() == 1);
    CHECK(
        found(
            R"({"kind":"customer","where":[{"field":"phone","is":"!=","value":null}]})")["records"]
            .empty());
}

TEST_CASE_FIXTURE(Phone, "a text that asks nothing sensible is the caller's fault") {
    for (const char* text :
         {"", "{", "[1]", "{\"kind\":\"customer\"}", "[{\"kind\":\"a\",\"kind\":\"b\"}]",
          "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", "[{\"kind\":\"\xFF\"}]"}) {
        INFO(text);
        CHECK(invalid([&] { new_records(store, text); }));
        CHECK(invalid([&] { changes(store, text); }));
    }
    for (const char* text :
         {"", "[]", "{}", R"({"kind":"customers"})", R"({"kind":"customer","wher":[]})",
          R"({"kind":"customer","where":[{"value":1}]})",
          R"({"kind":"customer","where":[{"field":"name","is":"like","value":"x"}]})",
          R"({"kind":"customer","where":[{"field":"name","value":7}]})",
          R"({"kind":"customer","where":[{"field":"nme","value":"x"}]})",
          R"({"kind":"customer","limit":-1})", R"({"kind":"customer","since":"yesterday"})"}) {
        INFO(text);
        CHECK(invalid([&] { store.query(asked_query(text)); }));
    }
}
