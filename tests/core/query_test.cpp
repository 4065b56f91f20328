// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"
#include "store/schema.hpp"

using namespace rapport;

namespace {

RecordId id_of(int n) {
    RecordId id;
    id.bytes[0] = 1;
    id.bytes[14] = static_cast<std::uint8_t>(n >> 8);
    id.bytes[15] = static_cast<std::uint8_t>(n);
    return id;
}
Instant at(int minute, int zone_minutes = 60) {
    return {TimePoint(Milliseconds(1'770'000'000'000 + minute * 60'000LL)),
            std::chrono::minutes(zone_minutes)};
}

struct World {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));

    template <class K>
    void hold(const K& typed, int n, std::int64_t status = kRowPending) {
        Store::Core::Writing writing(store.core());
        Row row;
        row.kind = &kind_of<K>();
        row.id = row.confirmed.id = id_of(n);
        row.confirmed.kind = row.kind->number;
        row.confirmed.scope = n % 2 ? "territory/DE-50" : "territory/DE-51";
        row.status = status;
        row.shown = to_record(typed, row.id).fields;
        save_row(writing.db, row);
        writing.commit();
    }
    /// The numbers of the records found, in order.
    std::vector<int> found(const Query& query) {
        std::vector<int> numbers;
        for (const Record& r : store.query(query).records)
            numbers.push_back(r.id.bytes[14] << 8 | r.id.bytes[15]);
        return numbers;
    }
    template <class K>
    std::vector<int> where(const std::string& field, Compare compare, Value value) {
        Query query;
        query.kind = &kind_of<K>();
        query.where = {{field, compare, std::move(value)}};
        query.descending = false;
        const auto numbers = found(query);
        CHECK(store.count(query) == numbers.size());
        return numbers;
    }
};
using Numbers = std::vector<int>;

ErrorCode code_of(World& world, const Query& query) {
    try {
        world.store.query(query);
    } catch (const Error& e) {
        return e.code();
    }
    return ErrorCode::internal;
}

World& three_complaints(World& world) {
    Complaint c;
    c.received_at = at(1);
    c.customer_id = Id<Customer>(id_of(201));
    c.severity = Severity::minor;
    c.verbatim = "Der Deckel ist undicht";
    c.theme_ids = {Id<Theme>(id_of(301)), Id<Theme>(id_of(302))};
    c.cost = Money{Minor(1250), "EUR"};
    world.hold(c, 1);
    c = {};
    c.received_at = at(2, 0);
    c.customer_id = Id<Customer>(id_of(202));
    c.severity = Severity::safety;
    c.verbatim = "deckel fehlt";
    c.description = "Charge 4711";
    c.ext.entries = {{"line's", "B"}};
    world.hold(c, 2);
    c = {};
    c.received_at = at(3);
    c.customer_id = Id<Customer>(id_of(201));
    c.severity = Severity::major;
    c.cost = Money{Minor(900), "USD"};
    c.ext.entries = {{"line's", "A"}, {"shift", "2"}};
    world.hold(c, 3);
    return world;
}

}  // namespace

TEST_CASE("a query finds records by what their fields show") {
    World world;
    three_complaints(world);
    const auto where = [&](const std::string& f, Compare c, Value v) {
        return world.where<Complaint>(f, c, std::move(v));
    };
    using enum Compare;

    SUBCASE("references, by bytes or by text") {
        CHECK(where("customer_id", equal, id_of(201).raw()) == Numbers{1, 3});
        CHECK(where("customer_id", equal, id_of(202).text()) == Numbers{2});
        CHECK(where("id", equal, id_of(3).text()) == Numbers{3});
    }
    SUBCASE("the scope") { CHECK(where("scope", equal, "territory/DE-51") == Numbers{2}); }
    SUBCASE("codes, in the order of their list") {
        CHECK(where("severity", equal, "major") == Numbers{3});
        CHECK(where("severity", greater_equal, "major") == Numbers{2, 3});
        CHECK(where("severity", less, "major") == Numbers{1});
        CHECK(where("severity", not_equal, "major") == Numbers{1, 2});
    }
    SUBCASE("texts that hold words") {
        CHECK(where("verbatim", contains, "eckel") == Numbers{1, 2});
        CHECK(where("verbatim", contains, "Deckel") == Numbers{1});
        CHECK(where("description", contains, "4711") == Numbers{2});
    }
    SUBCASE("sets that hold an element") {
        CHECK(where("theme_ids", contains, id_of(302).raw()) == Numbers{1});
        CHECK(where("theme_ids", contains, id_of(303).raw()).empty());
        CHECK(where("theme_ids", equal, Value()) == Numbers{2, 3});
        CHECK(where("theme_ids", not_equal, Value()) == Numbers{1});
    }
    SUBCASE("parts of groups, and whole groups") {
        CHECK(where("cost.minor", greater, std::int64_t{1000}) == Numbers{1});
        CHECK(where("cost.currency", equal, "USD") == Numbers{3});
        CHECK(where("cost", equal, Value()) == Numbers{2});
        CHECK(where("cost", not_equal, Value()) == Numbers{1, 3});
        CHECK(where("cost", equal, Value(Parts{Value(std::int64_t{900}), Value("USD")})) ==
              Numbers{3});
    }
    SUBCASE("keys of maps, whatever they are called") {
        CHECK(where("ext.line's", equal, "B") == Numbers{2});
        CHECK(where("ext.shift", not_equal, Value()) == Numbers{3});
    }
    SUBCASE("times, whatever zone they were noted in") {
        CHECK(where("received_at", equal, at(2, 120).packed()) == Numbers{2});
        CHECK(where("received_at", less_equal, at(2, -60).packed()) == Numbers{1, 2});
        CHECK(where("received_at", greater, at(2, -60).packed()) == Numbers{3});
        CHECK(where("received_at", not_equal, at(2, 30).rfc3339()) == Numbers{1, 3});
        Query query{.kind = &kind_of<Complaint>(),
                    .where = {},
                    .since = at(2, 300),
                    .sort = {},
                    .after = {}};
        CHECK(world.found(query) == Numbers{3, 2});
    }
}

TEST_CASE("a set of groups is searched by whole elements") {
    World world;
    Customer c;
    c.external_ids = {{"erp", "1"}, {"crm", "2"}};
    world.hold(c, 1);
    CHECK(world.where<Customer>("external_ids", Compare::contains,
                                Value(Parts{Value("crm"), Value("2")})) == Numbers{1});
    CHECK(world
              .where<Customer>("external_ids", Compare::contains,
                               Value(Parts{Value("crm"), Value("1")}))
              .empty());
}

TEST_CASE("a record is found by its id in another system") {
    World world;
    Customer c;
    c.external_ids = {{"erp", "4711"}};
    world.hold(c, 1, kRowHidden);
    CHECK_FALSE(world.store.find_external("erp", "4711"));
    world.hold(c, 2);
    CHECK(world.store.find_external("erp", "4711") == id_of(2));
    CHECK_FALSE(world.store.find_external("crm", "4711"));
}

TEST_CASE("departed records are not shown, drafts are") {
    World world;
    Note note;
    note.at = at(1);
    world.hold(note, 1, kRowDraft);
    world.hold(note, 2, kRowHidden);
    world.hold(note, 3, kRowHidden | kRowPending);
    Query query;
    query.kind = &kind_of<Note>();
    CHECK(world.found(query) == Numbers{1});
    CHECK(world.store.count(query) == 1);
    CHECK(world.store.find(id_of(1)));
    CHECK_FALSE(world.store.find(id_of(2)));
    CHECK_FALSE(world.store.find(id_of(4)));
    CHECK(world.store.read(Id<Note>(id_of(1)))->at == at(1));
    CHECK_FALSE(world.store.read(Id<Task>(id_of(1))));
}

TEST_CASE("what cannot be asked is refused by name") {
    World world;
    Query query;
    CHECK(code_of(world, query) == ErrorCode::invalid_argument);
    query.kind = &kind_of<Complaint>();
    const auto refused = [&](Condition condition) {
        query.where = {std::move(condition)};
        return code_of(world, query) == ErrorCode::invalid_argument;
    };
    using enum Compare;
    CHECK(refused({"no_such_field", equal, "x"}));
    CHECK(refused({"cost.colour", equal, "x"}));
    CHECK(refused({"verbatim.part", equal, "x"}));
    CHECK(refused({"verbatim", equal, std::int64_t{1}}));
    CHECK(refused({"verbatim", less, Value()}));
    CHECK(refused({"received_at", equal, "yesterday"}));
    CHECK(refused({"customer_id", equal, "7"}));
    CHECK(refused({"customer_id", contains, id_of(1).raw()}));
    CHECK(refused({"theme_ids", equal, id_of(1).raw()}));
    CHECK(refused({"ext", equal, "x"}));
    CHECK(refused({"cost", less, Value(Parts{Value(std::int64_t{1}), Value("EUR")})}));
    CHECK(refused({std::string("ext.a\0b", 7), equal, "x"}));
    query.where.clear();
    query.sort = "theme_ids";
    CHECK(code_of(world, query) == ErrorCode::invalid_argument);
    query.sort = "";
    query.limit = 0;
    CHECK(code_of(world, query) == ErrorCode::invalid_argument);
    query.limit = 1001;
    CHECK(code_of(world, query) == ErrorCode::invalid_argument);
    query.limit = 1000;
    CHECK(world.found(query).empty());
    query.where = {{"no_such_field", equal, "x"}};
    CHECK_THROWS_WITH_AS(world.store.query(query), doctest::Contains("no_such_field"), Error);
    query = Query();
    query.kind = &kind_of<Complaint>();
    query.where.assign(100, {"verbatim", Compare::contains, Value("x")});
    CHECK(world.store.query(query).records.empty());
    query.where.push_back(query.where.front());
    CHECK(code_of(world, query) == ErrorCode::invalid_argument);
}

TEST_CASE("pages follow each other without gaps or repeats, whatever they are sorted by") {
    World world;
    for (int n = 1; n <= 23; ++n) {
        Complaint c;
        c.received_at = at(n % 5);
        if (n % 3) c.lot = "lot" + std::to_string(n % 4);
        if (n % 4) c.severity = static_cast<Severity>(n % 3);
        if (n % 2) c.cost = Money{Minor(n % 6), "EUR"};
        if (n % 5) c.visit_id = Id<Visit>(id_of(n % 3 + 400));
        if (n % 7 == 0) c.ext.entries = {{"shift", "late"}};
        world.hold(c, n);
    }
    for (const std::string sort :
         {"", "lot", "severity", "cost.minor", "visit_id", "ext.shift", "id", "scope", "erased"})
        for (const bool descending : {false, true})
            for (const std::size_t limit :
                 {std::size_t{1}, std::size_t{4}, std::size_t{23}, std::size_t{50}}) {
                CAPTURE(sort);
                CAPTURE(descending);
                CAPTURE(limit);
                Query query{.kind = &kind_of<Complaint>(),
                            .where = {},
                            .since = {},
                            .sort = sort,
                            .descending = descending,
                            .limit = 1000,
                            .after = {}};
                const Numbers whole = world.found(query);
                CHECK(std::set<int>(whole.begin(), whole.end()).size() == 23);
                query.limit = limit;
                Numbers paged;
                for (;;) {
                    const Page page = world.store.query(query);
                    CHECK(page.records.size() <= limit);
                    for (const Record& r : page.records) paged.push_back(r.id.bytes[15]);
                    if (page.next.empty()) break;
                    query.after = page.next;
                    if (paged.size() > 100) break;
                }
                CHECK(paged == whole);
            }
}

TEST_CASE("codes sort by their list, and times newest first") {
    World world;
    three_complaints(world);
    Query query;
    query.kind = &kind_of<Complaint>();
    CHECK(world.found(query) == Numbers{3, 2, 1});
    query.sort = "severity";
    CHECK(world.found(query) == Numbers{2, 3, 1});
}

TEST_CASE("a page goes on only in its own query") {
    World world;
    three_complaints(world);
    Query query;
    query.kind = &kind_of<Complaint>();
    query.limit = 1;
    query.after = world.store.query(query).next;
    REQUIRE_FALSE(query.after.empty());
    query.limit = 2;
    CHECK(world.found(query) == Numbers{2, 1});
    Query other = query;
    other.descending = false;
    CHECK(code_of(world, other) == ErrorCode::invalid_argument);
    other = query;
    other.where = {{"lot", Compare::equal, Value()}};
    CHECK(code_of(world, other) == ErrorCode::invalid_argument);
    for (const std::string token : {"x", "abc", "00", "zz"}) {
        other = query;
        other.after = token;
        CHECK(code_of(world, other) == ErrorCode::invalid_argument);
    }
    other.after = query.after + "00";
    CHECK(code_of(world, other) == ErrorCode::invalid_argument);
}

TEST_CASE("indexed questions do not read the whole table") {
    World world;
    {
        Store::Core::Writing writing(world.store.core());
        index_kind(writing.db, kind_of<Complaint>());
        writing.commit();
    }
    Store::Core::Reading reading(world.store.core());
    const auto plan = [&](const std::string& rest) {
        auto s = reading.db.prepare("EXPLAIN QUERY PLAN " + select_of(kind_of<Complaint>()) + rest);
        std::string text;
        while (s.step()) text += std::string(s.text(3)) + "; ";
        return text;
    };
    const std::string by_customer =
        plan(" WHERE status&8=0 AND customer_id=x'00' ORDER BY received_at DESC,row DESC LIMIT 5");
    CHECK(by_customer.find("USING INDEX complaint_customer_id") != std::string::npos);
    CHECK(by_customer.find("TEMP B-TREE") == std::string::npos);
    const std::string newest = plan(
        " WHERE status&8=0 AND received_at<=5 AND (received_at<5 OR row<7) ORDER BY received_at "
        "DESC,row DESC LIMIT 5");
    CHECK(newest.find("SEARCH complaint USING INDEX complaint_received_at (received_at<?)") !=
          std::string::npos);
    CHECK(newest.find("TEMP B-TREE") == std::string::npos);
}
