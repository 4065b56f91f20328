// SPDX-License-Identifier: Apache-2.0
#include "server/views.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "server_fixture.hpp"
#include "sqlite/database.hpp"

using namespace rapport;
using namespace rapport::server;
using namespace rapport::server::test;

namespace {

const std::string kComplaintId = "01940000-0000-7000-8000-000000000008";

std::string complaint_json(const std::string& verbatim) {
    return R"({"kind":"complaint","id":")" + kComplaintId +
           R"(","fields":{"created_at":"2026-03-02T08:00:00Z","created_by":"R17","customer_id":")" +
           kCustomerId +
           R"(","received_at":"2026-03-02T09:40:00+01:00","channel":"visit","severity":"major",)"
           R"("product_text":"Deckel","qty_affected":{"value_milli":5600000,"unit":"H87"},"verbatim":")" +
           verbatim + R"("}})";
}

struct Viewed : Centre {
    Engine engine{*storage, system_environment()};
    std::string views = path + ".views";

    void sync(std::uint64_t writer, const std::vector<std::string>& bundles, std::uint64_t next,
              const protocol::Entry& last = {}) {
        const auto answer = engine.sync({writer, request_of(writer, next, bundles, last)});
        REQUIRE(answer.error_sentence == "");
        const auto reply = decode<protocol::Reply>(answer.archive);
        for (const auto& verdict : reply.verdicts)
            for (const auto& reason : verdict.reasons) FAIL(reason.field << reason.sentence);
    }
    void write(const std::string& json, const std::string& tenant = "default") {
        for (const Engine::Written& written : engine.write_as_server(tenant, {record_of(json)}))
            REQUIRE(written.refusals.empty());
    }
    void update() {
        Views all(*storage, views);
        while (all.step()) {
        }
    }
    sqlite::Database open(const std::string& tenant = "default") const {
        return sqlite::Database::open(views + "/" + tenant + ".db", {.read_only = true});
    }
    /// The cells of the first row, a bar between; `-` is null.
    std::string ask(const std::string& sql, const std::string& tenant = "default") const {
        auto db = open(tenant);
        auto q = db.prepare(sql);
        std::string row;
        if (!q.step()) return "nothing";
        for (int i = 0; i < q.columns(); ++i)
            row.append(i == 0 ? "" : "|").append(q.is_null(i) ? "-" : q.text(i));
        return row;
    }
};

std::string product_json(const std::string& code) {
    return R"({"kind":"product","fields":{"code":")" + code + R"(","name":"Deckel )" + code +
           R"("}})";
}

}  // namespace

TEST_CASE("every field of a record stands in a column of its type, and what the centre knows too") {
    Viewed centre;
    const std::uint64_t phone = centre.enrol("R17");
    centre.sync(phone,
                {bundle_of(1, record_of(customer_json(kCustomerId, "Müller", "R17")), true, 1),
                 bundle_of(2, record_of(complaint_json("Deckel undicht")), true, 1)},
                1);
    centre.update();
    CHECK(centre.ask("SELECT id, customer_id, scope, severity, verbatim, qty_affected_value_milli, "
                     "qty_affected_unit, "
                     "received_at, received_at_ms, product_id, occurred_at_ms, conflicts, author, "
                     "state, number, bundle FROM complaint") ==
          kComplaintId + "|" + kCustomerId +
              "|territory/DE-50|major|Deckel undicht|5600000|H87|2026-03-02T09:40:00.000+01:00|"
              "1772440800000|-|-|-|R17|submitted|C-2026-00001|" +
              std::to_string(phone) + ".2");
    CHECK(centre.ask(
              "SELECT typeof(qty_affected_value_milli), typeof(received_at_ms), typeof(verbatim) "
              "FROM complaint") == "integer|integer|text");
    CHECK(centre.ask("SELECT k.name FROM complaint c JOIN customer k ON k.id = c.customer_id") ==
          "Müller");
    const auto stored =
        centre.storage->begin_read()->record("default", *RecordId::parse(kComplaintId));
    CHECK(
        centre.ask("SELECT server_received_at_ms, server_received_at, commit_no FROM complaint") ==
        std::to_string(stored->received_at_ms) + "|" +
            Instant(TimePoint(Milliseconds(stored->received_at_ms))).rfc3339() + "|" +
            std::to_string(stored->commit));
}

TEST_CASE("every kind has a table with a column for each of its fields") {
    Viewed centre;
    centre.write(product_json("A"));
    centre.update();
    auto db = centre.open();
    for (const Kind* kind : all_kinds()) {
        CAPTURE(kind->name);
        std::vector<std::string> columns;
        auto q = db.prepare("SELECT name FROM pragma_table_info('" + kind->name + "')");
        while (q.step()) columns.emplace_back(q.text(0));
        for (const Field& field : kind->fields) {
            const std::string name = field.type.shape == Shape::group && !field.is_keyed()
                                         ? field.name + "_" + std::string(field.type.parts[0].name)
                                         : field.name;
            CAPTURE(name);
            CHECK(std::find(columns.begin(), columns.end(), name) != columns.end());
        }
    }
}

TEST_CASE(
    "a set is a list that SQL can walk, two kept texts are both there, a conflict is listed") {
    Viewed centre;
    const std::uint64_t phone = centre.enrol("R17"), tablet = centre.enrol("R18");
    const std::string wish = "01940000-0000-7000-8000-000000000009";
    const auto wish_json = [&](const std::string& fields) {
        return record_of(R"({"kind":"product_wish","id":")" + wish + R"(","fields":{)" + fields +
                         "}}");
    };
    centre.sync(
        phone,
        {bundle_of(1, record_of(customer_json(kCustomerId, "Müller", "R17")), true, 1),
         bundle_of(
             2,
             wish_json(R"("created_at":"2026-03-02T08:00:00Z","created_by":"R17","customer_id":")" +
                       kCustomerId +
                       R"(","need":"Clip","importance":"nice","theme_hint":["b","a"])"),
             true, 1)},
        1);
    centre.sync(tablet,
                {bundle_of(1, wish_json(R"("need":"Lasche","importance":"important")"), false, 2)},
                1);
    centre.update();
    CHECK(centre.ask("SELECT group_concat(value, '+') FROM product_wish, json_each(theme_hint)") ==
          "a+b");
    CHECK(centre.ask("SELECT need FROM product_wish") == "Clip\n\nLasche");
    CHECK(centre.ask("SELECT json_array_length(conflicts, '$.importance') FROM product_wish") ==
          "2");
    CHECK(centre.ask("SELECT json_array_length(conflicts, '$.need') FROM product_wish") == "2");
}

TEST_CASE("a record that changes keeps one row, and steps go on where the last one ended") {
    Viewed centre;
    for (int n = 0; n < 3; ++n) {
        std::vector<Record> records;
        for (int i = 0; i < 700; ++i)
            records.push_back(record_of(product_json(std::to_string(n) + "-" + std::to_string(i))));
        centre.engine.write_as_server("default", records);
    }
    const auto rows = [&] { return centre.ask("SELECT count(*) FROM product"); };
    {
        Views first(*centre.storage, centre.views);
        REQUIRE(first.step());
        CHECK(rows() == "1400");  // whole commits
        CHECK(centre.ask("SELECT commit_no FROM feed_position") == "2");
        // It ends here, as if it had been killed.
    }
    Views second(*centre.storage, centre.views), third(*centre.storage, centre.views);
    CHECK(second.step());
    CHECK_FALSE(third.step());
    CHECK(rows() == "2100");
    Record changed = record_of(product_json("0-0"));
    changed.set("name", "Deckel neu");
    centre.engine.write_as_server("default", {changed});
    CHECK(third.step());
    CHECK_FALSE(second.step());
    CHECK(rows() == "2100");
    CHECK(centre.ask("SELECT name, commit_no FROM product WHERE code = '0-0'") == "Deckel neu|4");
}

TEST_CASE("departures are listed with where the record went") {
    Viewed centre;
    centre.write(product_json("A"));
    {
        const auto transaction = centre.storage->begin_write();
        StoredDeparture departure{kind_named("complaint")->number,
                                  *RecordId::parse(kComplaintId),
                                  4,
                                  "territory/DE-50",
                                  "territory/DE-40",
                                  0,
                                  transaction->next_commit("default")};
        transaction->save("default", departure);
        transaction->commit();
    }
    centre.update();
    CHECK(centre.ask("SELECT kind, id, move, from_scope, to_scope, commit_no FROM departure") ==
          "complaint|" + kComplaintId + "|4|territory/DE-50|territory/DE-40|2");
    CHECK(centre.ask("SELECT commit_no FROM feed_position") == "2");
}

TEST_CASE("a company has a file of its own, whatever its name") {
    Viewed centre;
    centre.write(product_json("A"), "north");
    centre.write(product_json("B"), "../south");
    centre.update();
    CHECK(centre.ask("SELECT group_concat(code) FROM product", "north") == "A");
    CHECK(centre.ask("SELECT group_concat(code) FROM product", "%2E%2E%2Fsouth") == "B");
    CHECK(centre.ask("SELECT tenant FROM feed_position", "%2E%2E%2Fsouth") == "../south");
}

TEST_CASE("a file of another version, or one ahead of a restored store, is filled anew") {
    Viewed centre;
    centre.write(product_json("A"));
    centre.update();
    for (const char* change : {"UPDATE feed_position SET definition = 1, commit_no = 0",
                               "UPDATE feed_position SET commit_no = 99", "DROP TABLE visit",
                               "DROP TABLE feed_position"}) {
        CAPTURE(change);
        sqlite::Database::open(centre.views + "/default.db", {}).execute(change);
        if (std::string(change) == "DROP TABLE visit")
            sqlite::Database::open(centre.views + "/default.db", {})
                .execute(
                    "UPDATE feed_position SET definition = 1; "
                    "INSERT INTO product (id, scope, move, commit_no, bundle, author, "
                    "server_received_at, server_received_at_ms) VALUES ('x','',0,0,'','','',0)");
        centre.update();
        CHECK(centre.ask("SELECT group_concat(code) FROM product") == "A");
        CHECK(centre.ask("SELECT count(*) FROM visit") == "0");
        CHECK(centre.ask("SELECT commit_no FROM feed_position") == "1");
    }
}

TEST_CASE("a file that is deleted or damaged under a running server is filled anew") {
    Viewed centre;
    centre.write(product_json("A"));
    Views views(*centre.storage, centre.views);
    const auto update = [&] {
        while (views.step()) {
        }
    };
    update();
    const std::string path = views.places()[0].path;
    std::filesystem::remove(path);  // what stands beside it stays
    update();
    CHECK(centre.ask("SELECT group_concat(code) FROM product") == "A");

    Views later(*centre.storage, centre.views);
    std::filesystem::remove(path);
    std::ofstream(path) << std::string(8192, 'x');
    while (later.step()) {
    }
    CHECK(centre.ask("SELECT group_concat(code) FROM product") == "A");
    CHECK(centre.ask("PRAGMA integrity_check") == "ok");
}

TEST_CASE("places say how far each file is") {
    Viewed centre;
    centre.write(product_json("A"));
    Views views(*centre.storage, centre.views);
    REQUIRE(views.places().size() == 1);
    CHECK(views.places()[0].commit == 0);
    CHECK_FALSE(std::filesystem::exists(views.places()[0].path));
    CHECK(views.step());
    CHECK(views.places()[0].commit == 1);
    CHECK(views.places()[0].head == 1);
    CHECK(views.places()[0].tenant == "default");
    CHECK(std::filesystem::exists(views.places()[0].path));
}
