// SPDX-License-Identifier: Apache-2.0
#include "server/admin.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "server/http/log.hpp"
#include "server_fixture.hpp"

using namespace rapport;
using namespace rapport::server;
using namespace rapport::server::test;
using Json = nlohmann::ordered_json;

namespace {

struct Result {
    int code = -1;
    std::vector<std::string> said, complaints;
    std::vector<Json> rows;
    void take(const std::string& line) {
        const Json tree = Json::parse(line);
        if (tree.contains("say")) said.push_back(tree["say"]);
        if (tree.contains("complain")) complaints.push_back(tree["complain"]);
        if (tree.contains("row")) rows.push_back(tree["row"]);
    }
    std::string last_word() const {
        return said.empty() ? "" : said.back().substr(said.back().rfind(' ') + 1);
    }
};

struct Office : Centre {
    Engine engine{*storage, system_environment()};
    admin::Host host{*storage, system_environment(),
                     [this](const std::function<void(Engine&)>& job) { job(engine); }};

    Result run(const Json& request) {
        Result result;
        result.code =
            admin::run(host, request.dump(), [&](const std::string& line) { result.take(line); });
        return result;
    }
    std::string write(const std::string& name, const std::string& text) {
        std::ofstream(folder.file(name)) << text;
        return folder.file(name);
    }
    std::uint64_t count(const char* kind) {
        return storage->begin_read()->count("default", kind_named(kind)->number);
    }
};

}  // namespace

TEST_CASE("an invitation prints its code as the last word, and the code works") {
    Office office;
    const Result result = office.run(
        {{"command", "invite"}, {"rep", "R17"}, {"role", "rep"}, {"scopes", {"territory/DE-50"}}});
    REQUIRE(result.code == 0);
    const auto transaction = office.storage->begin_write();
    CHECK(redeem(*transaction, system_environment(),
                 {result.last_word(), "0123456789abcdef", secret_of("R17"), ""}));
}

TEST_CASE("a key prints as the last word, is listed by a name and can be revoked by it") {
    Office office;
    const std::string key = office.run({{"command", "key_add"}, {"role", "feed"}}).last_word();
    CHECK(api_key_of(*office.storage->begin_read(), key));
    const Result list = office.run({{"command", "key_list"}});
    REQUIRE(list.rows.size() == 1);
    CHECK(list.rows[0].dump().find(key) == std::string::npos);
    CHECK(office.run({{"command", "key_revoke"}, {"name", "nothing"}}).code == 1);
    CHECK(office.run({{"command", "key_revoke"}, {"name", list.rows[0][0]}}).code == 0);
    CHECK_FALSE(api_key_of(*office.storage->begin_read(), key));
}

TEST_CASE("what a command lacks is named and is wrong usage") {
    Office office;
    CHECK(office.run({{"command", "invite"}, {"rep", "R17"}}).code == 2);
    CHECK(office
              .run({{"command", "invite"},
                    {"rep", "R17"},
                    {"role", "king"},
                    {"scopes", {"territory/DE-50"}}})
              .code == 2);
    CHECK(office.run({{"command", "dance"}}).code == 2);
    CHECK(office.run(Json::array()).code == 2);
    CHECK(office.run({{"command", "import"}, {"path", "/nowhere/at/all"}}).code == 1);
}

TEST_CASE("an import takes the good lines and names number, field and reason of the bad ones") {
    Office office;
    const std::string file =
        office.write("data.ndjson",
                     "\xEF\xBB\xBF{\"kind\":\"territory\",\"ref\":\"t1\",\"fields\":{\"code\":\"DE-"
                     "50\",\"name\":\"Köln\"}}\r\n"
                     "\n"
                     "{\"kind\":\"territory\",\"fields\":{\"code\":\"DE-51\",\"name\":\"Bonn\","
                     "\"parent\":\"@t1\"}}\n"
                     "not json\n"
                     "{\"kind\":\"product\",\"fields\":{\"code\":\"P1\",\"name\":\"Deckel\","
                     "\"gtin\":\"9520040170003\"}}\n"
                     "{\"kind\":\"territory\",\"fields\":{\"code\":\"DE-52\",\"name\":\"Aachen\","
                     "\"parent\":\"@t9\"}}\n"
                     "{\"kind\":\"product\",\"fields\":{\"code\":\"P2\",\"name\":\"Becher\"}}");
    const Result result = office.run({{"command", "import"}, {"path", file}});
    CHECK(result.code == 1);
    REQUIRE(result.complaints.size() == 3);
    CHECK(result.complaints[0].find("line 4: ") == 0);
    CHECK(result.complaints[1].find("line 6: parent: ") == 0);
    CHECK(result.complaints[2].find("line 5: gtin: ") == 0);
    CHECK(office.count("territory") == 2);
    CHECK(office.count("product") == 1);

    const Result again = office.run({{"command", "import"}, {"path", file}});
    CHECK(again.code == 1);
    CHECK(office.count("territory") == 2);
    CHECK(office.count("product") == 1);
}

TEST_CASE("a file larger than one commit goes in completely") {
    Office office;
    std::string text;
    for (int i = 0; i < 1234; ++i)
        text += R"({"kind":"product","fields":{"code":"P)" + std::to_string(i) +
                R"(","name":"Deckel","external_ids":[{"system":"sku","id":"S)" + std::to_string(i) +
                "\"}]}}\n";
    const Result result =
        office.run({{"command", "import"}, {"path", office.write("many.ndjson", text)}});
    CHECK(result.code == 0);
    CHECK(office.count("product") == 1234);
    CHECK(office.storage->begin_read()->feed_head("default") == 3);
}

TEST_CASE("a revoked device takes along what was forked from it") {
    Office office;
    const std::uint64_t phone = office.enrol("R17"), child = office.enrol("R18"),
                        other = office.enrol("R19");
    {
        const auto transaction = office.storage->begin_write();
        Device forked = *transaction->device(child);
        forked.parent = phone;
        transaction->save(forked);
        transaction->commit();
    }
    CHECK(office.run({{"command", "devices_revoke"}, {"writer", std::to_string(phone)}}).code == 0);
    const auto snapshot = office.storage->begin_read();
    CHECK(snapshot->device(phone)->revoked);
    CHECK(snapshot->device(child)->revoked);
    CHECK_FALSE(snapshot->device(other)->revoked);
    CHECK(office.run({{"command", "devices_revoke"}, {"writer", "12"}}).code == 1);
    CHECK(office.run({{"command", "devices"}}).rows.size() == 3);
}

TEST_CASE("stats count records, conflicts and streams") {
    Office office;
    const std::uint64_t phone = office.enrol("R17"), tablet = office.enrol("R18");
    office.engine.sync(
        {phone, request_of(phone, 1,
                           {bundle_of(1, record_of(customer_json(kCustomerId, "Müller", "R17")),
                                      true, 1)})});
    const Record other = record_of(R"({"kind":"customer","id":")" + kCustomerId +
                                   R"(","fields":{"name":"Mueller"}})");
    office.engine.sync({tablet, request_of(tablet, 1, {bundle_of(1, other, false, 2)})});
    const Result stats = office.run({{"command", "stats"}});
    const auto has = [&](const Json& row) {
        return std::find(stats.rows.begin(), stats.rows.end(), row) != stats.rows.end();
    };
    CHECK(has({"default", "records", "customer", 1}));
    CHECK(has({"default", "records in conflict", "customer", 1}));
    CHECK(has({"default", "feed head", "", 2}));
    CHECK(has({"default", "devices", "", 2}));
}

TEST_CASE("the unsent work of a lost device is accepted once, under its author's name") {
    Office office;
    const std::uint64_t phone = office.enrol("R17");
    office.run({{"command", "devices_revoke"}, {"writer", std::to_string(phone)}});
    const std::string contact =
        R"({"kind":"contact","id":"01940000-0000-7000-8000-000000000002","fields":{"created_at":"2026-03-02T08:00:00Z","created_by":"R17","customer_id":")" +
        kCustomerId + R"(","name":{"family_name":"Jülicher"}}})";
    // The contact stands before its customer: it waits and goes in at the end.
    const std::string file = office.write(
        "unsent.ndjson", contact + "\n" + customer_json(kCustomerId, "Müller", "R17") + "\n" +
                             customer_json("01940000-0000-7000-8000-000000000003", "Fremd", "R99") +
                             "\n");
    const Result first = office.run({{"command", "accept"}, {"path", file}});
    CHECK(first.code == 1);
    REQUIRE(first.rows.size() == 3);
    CHECK(first.rows[0][4] == "created");
    CHECK(first.rows[0][1] == "customer");
    CHECK(first.rows[1][4] == "refused");  // nobody ever enrolled R99
    CHECK(first.rows[2][4] == "created");
    CHECK(first.rows[2][1] == "contact");
    const auto stored =
        office.storage->begin_read()->record("default", *RecordId::parse(kCustomerId));
    REQUIRE(stored);
    CHECK(stored->author == "R17");
    CHECK(stored->state.scope == "territory/DE-50");

    const Result again = office.run({{"command", "accept"}, {"path", file}});
    CHECK(again.rows[0][4] == "known");
    CHECK(office.count("customer") == 1);
    CHECK(device_of(*office.storage->begin_read(), secret_of("R17"))->revoked);
}

TEST_CASE("a handed-over value that differs from the centre's stands beside it") {
    Office office;
    const std::uint64_t phone = office.enrol("R17");
    office.engine.sync(
        {phone, request_of(phone, 1,
                           {bundle_of(1, record_of(customer_json(kCustomerId, "Müller", "R17")),
                                      true, 1)})});
    const std::string file =
        office.write("unsent.ndjson", customer_json(kCustomerId, "Müller & Sohn", "R17") + "\n");
    const Result first = office.run({{"command", "accept"}, {"path", file}});
    CHECK(first.code == 0);
    REQUIRE(first.rows.size() == 1);
    CHECK(first.rows[0][4] == "conflict");
    const Kind& customer = *kind_named("customer");
    const auto live = [&] {
        return office.storage->begin_read()
            ->record("default", *RecordId::parse(kCustomerId))
            ->state.fields[customer.field("name")->number]
            .live.size();
    };
    CHECK(live() == 2);
    office.run({{"command", "accept"}, {"path", file}});
    CHECK(live() == 2);
    CHECK(office.storage->begin_read()->devices().size() ==
          2);  // the phone and one that stands in for it
}

TEST_CASE("a customer is handed over by its id, and all of a territory by its name") {
    Office office;
    const std::uint64_t phone = office.enrol("R17");
    office.engine.sync(
        {phone,
         request_of(phone, 1,
                    {bundle_of(1, record_of(customer_json(kCustomerId, "Müller", "R17")), true)})});
    const auto scope = [&] {
        return office.storage->begin_read()
            ->record("default", *RecordId::parse(kCustomerId))
            ->state.scope;
    };
    const Result there =
        office.run({{"command", "handover"}, {"customer", kCustomerId}, {"to", "territory/DE-40"}});
    CHECK(there.code == 0);
    CHECK(scope() == "territory/DE-40");
    REQUIRE(there.complaints.size() == 1);  // nobody works in DE-40 yet
    const Result back = office.run(
        {{"command", "handover"}, {"from", "territory/DE-40"}, {"to", "territory/DE-50"}});
    CHECK(back.code == 0);
    CHECK(back.complaints.empty());
    CHECK(scope() == "territory/DE-50");

    CHECK(office.run({{"command", "handover"}, {"to", "territory/DE-40"}}).code == 2);
    CHECK(office.run({{"command", "handover"}, {"customer", "4711"}, {"to", "territory/DE-40"}})
              .code == 2);
    const Result nowhere =
        office.run({{"command", "handover"}, {"customer", kCustomerId}, {"to", "DE-40"}});
    CHECK(nowhere.code == 1);
    CHECK(nowhere.complaints.size() == 1);
    CHECK(scope() == "territory/DE-50");
}

TEST_CASE("a backup is a whole store and never overwrites a file") {
    Office office;
    office.enrol("R17");
    const std::string to = office.folder.file("copy.db");
    CHECK(office.run({{"command", "backup"}, {"to", to}}).code == 0);
    CHECK(open_sqlite_storage(to)->begin_read()->devices().size() == 1);
    CHECK(office.run({{"command", "backup"}, {"to", to}}).code == 1);
}

TEST_CASE("a running server answers commands on its socket, for its own user only") {
    Office office;
    log::only_from(log::Level::error);
    const std::string path = admin::socket_path(office.path);
    CHECK_FALSE(admin::ask(path, R"({"command":"devices"})", [](const std::string&) {}));
    {
        const admin::Socket socket(path, office.host);
        struct stat status {};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 0777) == 0600);
        Result result;
        const auto take = [&](const std::string& line) { result.take(line); };
        CHECK(admin::ask(
                  path,
                  R"({"command":"invite","rep":"R17","role":"rep","scopes":["territory/DE-50"]})",
                  take) == 0);
        CHECK(result.last_word().size() == 19);
        CHECK(admin::ask(path, R"({"command":"nothing"})", take) == 2);
        CHECK(admin::ask(path, "not json", take) == 2);
        CHECK_THROWS_AS(admin::Socket(path, office.host), Error);
    }
    CHECK_FALSE(admin::ask(path, R"({"command":"devices"})", [](const std::string&) {}));
    const admin::Socket again(path, office.host);
    CHECK(admin::ask(path, R"({"command":"devices"})", [](const std::string&) {}) == 0);
}
