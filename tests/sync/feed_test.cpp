// SPDX-License-Identifier: Apache-2.0
#include "server/feed.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "server_fixture.hpp"

using namespace rapport;
using namespace rapport::server;
using namespace rapport::server::test;
using Json = nlohmann::ordered_json;

namespace {

std::vector<Json> lines_of(const std::string& page) {
    std::vector<Json> lines;
    std::istringstream in(page);
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
}

Record product(const std::string& code) {
    return record_of(R"({"kind":"product","fields":{"code":")" + code + R"(","name":"Deckel )" +
                     code + R"("}})");
}

struct FedCentre : Centre {
    Engine engine{*storage, system_environment()};

    std::vector<Json> page(std::uint64_t after, std::size_t limit,
                           const std::vector<const Kind*>& kinds = {},
                           const std::string& tenant = "default") {
        return lines_of(feed_page(*storage->begin_read(), {tenant, after, limit, kinds}));
    }
    /// In a commit of its own, as a hand-over does it: the record's line goes on to that commit.
    void depart(const std::string& code, std::uint64_t move) {
        const auto transaction = storage->begin_write();
        for (StoredRecord& record : transaction->feed("default", 0, 1000)) {
            if (show(record.state).value("code") != Value(code)) continue;
            const std::uint64_t commit = transaction->next_commit("default");
            StoredDeparture departure{record.state.kind,
                                      record.state.id,
                                      move,
                                      record.state.scope,
                                      "territory/DE-40",
                                      0,
                                      commit};
            departure.at_ms = 1234;
            transaction->save("default", departure);
            record.state.scope = departure.to;
            record.state.move = move;
            record.commit = commit;
            transaction->save("default", record);
        }
        transaction->commit();
    }
    void write(const std::vector<Record>& records, const std::string& tenant = "default") {
        for (const Engine::Written& written : engine.write_as_server(tenant, records))
            REQUIRE(written.refusals.empty());
    }
    void sync(std::uint64_t writer, const std::string& bundle) {
        const auto answer = engine.sync({writer, request_of(writer, 77, {bundle})});
        REQUIRE(answer.error_sentence == "");
        const auto reply = decode<protocol::Reply>(answer.archive);
        REQUIRE(reply.verdicts.size() == 1);
        if (!reply.verdicts[0].reasons.empty())
            FAIL(reply.verdicts[0].reasons[0].field << reply.verdicts[0].reasons[0].sentence);
        REQUIRE(reply.verdicts[0].verdict == Verdict::applied);
    }
};

}  // namespace

TEST_CASE("a cursor is opaque, and only what the feed gave out is taken back") {
    for (const std::uint64_t commit :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 40, UINT64_MAX})
        CHECK(commit_of(feed_cursor(commit)) == commit);
    const std::string good = feed_cursor(7);
    CHECK_FALSE(commit_of(""));
    CHECK_FALSE(commit_of("7"));
    CHECK_FALSE(commit_of(good + "A"));
    CHECK_FALSE(commit_of(good.substr(1)));
    CHECK_FALSE(commit_of(std::string(1000, 'A')));
    for (std::size_t i = 0; i < good.size(); ++i) {
        std::string damaged = good;
        damaged[i] = damaged[i] == 'B' ? 'C' : 'B';
        CHECK_FALSE(commit_of(damaged));
    }
}

TEST_CASE("an empty feed is a page with the cursor it was asked with") {
    FedCentre centre;
    const auto page = centre.page(0, 10);
    REQUIRE(page.size() == 1);
    CHECK(page[0] == Json{{"cursor", feed_cursor(0)}});
}

TEST_CASE("a feed line says what happened before it shows the record") {
    FedCentre centre;
    centre.write({product("DV-24")});
    const auto page = centre.page(0, 10);
    REQUIRE(page.size() == 2);
    std::vector<std::string> members;
    for (const auto& [name, value] : page[0].items()) members.push_back(name);
    CHECK(std::vector<std::string>(members.begin(), members.begin() + 4) ==
          std::vector<std::string>{"event", "bundle", "author", "received_at"});
    CHECK(page[0]["event"] == "created");
    CHECK(page[0]["kind"] == "product");
    CHECK(page[0]["fields"]["code"] == "DV-24");
    const std::string received = page[0]["received_at"];
    CHECK(Instant::parse(received));
    CHECK(received.back() == 'Z');
    CHECK_FALSE(page[0].contains("conflicts"));
}

TEST_CASE("pages hold whole commits and together hold every record once") {
    FedCentre centre;
    for (int commit = 0; commit < 5; ++commit) {
        std::vector<Record> records;
        for (int i = 0; i < 3; ++i)
            records.push_back(product("P" + std::to_string(commit) + "-" + std::to_string(i)));
        centre.write(records);
    }
    std::set<std::string> codes;
    std::uint64_t after = 0;
    for (int pages = 0;; ++pages) {
        REQUIRE(pages < 10);
        const auto page = centre.page(after, 4);
        const std::uint64_t next = *commit_of(page.back()["cursor"].get<std::string>());
        if (next == after) {
            CHECK(page.size() == 1);
            break;
        }
        CHECK((page.size() - 1) % 3 == 0);
        for (std::size_t i = 0; i + 1 < page.size(); ++i)
            CHECK(codes.insert(page[i]["fields"]["code"]).second);
        after = next;
    }
    CHECK(codes.size() == 15);
}

TEST_CASE("a record that changed comes again, behind what was there before") {
    FedCentre centre;
    centre.write({product("A"), product("B")});
    const auto first = centre.page(0, 10);
    Record changed = product("A");
    changed.set("name", "Deckel neu");
    centre.write({changed});
    const auto second = centre.page(*commit_of(first.back()["cursor"].get<std::string>()), 10);
    REQUIRE(second.size() == 2);
    CHECK(second[0]["event"] == "changed");
    CHECK(second[0]["fields"]["name"] == "Deckel neu");
    CHECK(centre.page(0, 10).size() == 3);
}

TEST_CASE("a page of one kind skips the others and still moves on") {
    FedCentre centre;
    centre.write({product("A")});
    centre.write({record_of(R"({"kind":"territory","fields":{"code":"DE-50","name":"Köln"}})")});
    centre.write({product("B")});
    const auto page = centre.page(0, 10, {kind_named("territory")});
    REQUIRE(page.size() == 2);
    CHECK(page[0]["kind"] == "territory");
    CHECK(*commit_of(page[1]["cursor"].get<std::string>()) ==
          centre.storage->begin_read()->feed_head("default"));
    CHECK(centre.page(0, 1, {kind_named("territory")}).size() == 2);
}

TEST_CASE("a page of several kinds holds them all, and only them") {
    FedCentre centre;
    centre.write({product("A")});
    centre.write({record_of(R"({"kind":"territory","fields":{"code":"DE-50","name":"Köln"}})")});
    centre.write({record_of(R"({"kind":"theme","fields":{"title":"Nachfüllbeutel"}})")});
    const auto page = centre.page(0, 10, {kind_named("territory"), kind_named("theme")});
    REQUIRE(page.size() == 3);
    CHECK(page[0]["kind"] == "territory");
    CHECK(page[1]["kind"] == "theme");
}

TEST_CASE("a departure is a line before the record's own, in the commit in which it happened") {
    FedCentre centre;
    centre.write({product("A"), product("B")});
    const std::uint64_t before = centre.storage->begin_read()->feed_head("default");
    centre.depart("A", 1);
    const auto page = centre.page(before, 10);
    REQUIRE(page.size() == 3);
    CHECK(page[0].dump() ==
          R"({"event":"departed","received_at":"1970-01-01T00:00:01.234Z","kind":"product","id":)" +
              page[1]["id"].dump() + R"(,"from":"global","to":"territory/DE-40","move":1})");
    CHECK(page[1]["fields"]["code"] == "A");
    CHECK(page[1]["scope"] == "territory/DE-40");
    CHECK(commit_of(page[2]["cursor"].get<std::string>()) == before + 1);
    CHECK(centre.page(before, 10, {kind_named("territory")}).size() == 1);
}

TEST_CASE("departures outlive the record's later changes and stand where they happened") {
    FedCentre centre;
    centre.write({product("A"), product("B")});
    centre.depart("A", 1);
    centre.write({product("C")});
    centre.depart("A", 2);
    Record changed = product("A");
    changed.set("name", "Deckel neu");
    centre.write({changed});
    for (const std::size_t limit : {1U, 2U, 3U, 100U}) {
        CAPTURE(limit);
        std::vector<std::string> seen;
        for (std::uint64_t after = 0;;) {
            REQUIRE(seen.size() < 20);
            const auto page = centre.page(after, limit);
            for (std::size_t i = 0; i + 1 < page.size(); ++i)
                seen.push_back(page[i]["event"] == "departed"
                                   ? "departed " + page[i]["move"].dump()
                                   : page[i]["fields"]["code"].get<std::string>());
            const std::uint64_t next = *commit_of(page.back()["cursor"].get<std::string>());
            if (next == after) break;
            after = next;
        }
        CHECK(seen == std::vector<std::string>{"B", "departed 1", "C", "departed 2", "A"});
    }
}

TEST_CASE("what the feed printed can be imported back, and changes nothing") {
    FedCentre centre;
    centre.write({record_of(R"({"kind":"theme","fields":{"title":"Nachfüllbeutel"}})")});
    auto transaction = centre.storage->begin_write();
    StoredRecord theme = transaction->feed("default", 0, 1).front();
    auto& live = theme.state.fields[kind_named("theme")->field("title")->number].live;
    live.push_back(live.front());
    live.back().dot = {77, 1};
    live.back().value = Value("Refill");
    transaction->save("default", theme);
    transaction->commit();
    transaction.reset();
    const std::uint64_t head = centre.storage->begin_read()->feed_head("default");
    const std::string line = centre.page(0, 1).front().dump();
    REQUIRE(line.find("conflicts") != std::string::npos);
    centre.write({record_of(line)});
    CHECK(centre.storage->begin_read()->feed_head("default") == head);
    for (const std::string note :
         {R"({"cursor":"AQAAAAAAAAACUPI"})", R"({"event":"departed","kind":"theme"})"})
        CHECK(parse_import_line(note, {}).no_record);
    CHECK_FALSE(parse_import_line(R"({"cursor":"AQ","kind":"theme"})", {}).no_record);
}

TEST_CASE("one company never sees another's records") {
    FedCentre centre;
    centre.write({product("A")}, "north");
    centre.write({product("B")}, "south");
    const auto page = centre.page(0, 10, {}, "south");
    REQUIRE(page.size() == 2);
    CHECK(page[0]["fields"]["code"] == "B");
}

TEST_CASE("a field in conflict shows every value that lives") {
    FedCentre centre;
    const std::uint64_t phone = centre.enrol("R17"), tablet = centre.enrol("R18");
    centre.sync(phone, bundle_of(1, record_of(customer_json(kCustomerId, "Müller Feinkost", "R17")),
                                 true, 1));
    Record other = record_of(R"({"kind":"customer","id":")" + kCustomerId +
                             R"(","fields":{"name":"Mueller Feinkost"}})");
    centre.sync(tablet, bundle_of(1, other, false, 2));
    const auto page = centre.page(0, 10, {kind_named("customer")});
    REQUIRE(page.size() == 2);
    CHECK(page[0]["author"] == "R18");
    CHECK(page[0]["event"] == "changed");
    REQUIRE(page[0].contains("conflicts"));
    std::set<std::string> names;
    for (const auto& value : page[0]["conflicts"]["name"]) names.insert(value.get<std::string>());
    CHECK(names == std::set<std::string>{"Müller Feinkost", "Mueller Feinkost"});
    CHECK(page[0]["conflicts"].size() == 1);
}
