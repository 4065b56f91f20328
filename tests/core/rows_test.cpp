// SPDX-License-Identifier: Apache-2.0
#include "store/rows.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "store/schema.hpp"

using namespace rapport;

namespace {

RecordId id_of(std::uint8_t n) {
    RecordId id;
    id.bytes[0] = 1;
    id.bytes[15] = n;
    return id;
}

struct File {
    TempDir folder;
    std::string path = folder.file("a.rapport");
    sqlite::Database db = sqlite::Database::open(path, {});
    File() { create_or_migrate(db); }

    std::string version_of(const Row& row) {
        auto s = db.prepare("SELECT version FROM " + identifier(row.kind->name) + " WHERE row=?");
        s.bind(1, row.row);
        REQUIRE(s.step());
        return std::string(s.blob(0));
    }
    Record as_query_shows(const Row& row) {
        auto s = db.prepare(select_of(*row.kind) + " WHERE row=?");
        s.bind(1, row.row);
        REQUIRE(s.step());
        return record_at(s, *row.kind);
    }
};

template <class K>
Row captured(const K& typed, std::uint8_t n) {
    Row row;
    row.kind = &kind_of<K>();
    row.id = row.confirmed.id = id_of(n);
    row.confirmed.kind = row.kind->number;
    row.confirmed.scope = "territory/DE-50";
    row.status = kRowPending;
    row.shown = to_record(typed, row.id).fields;
    for (auto& [number, content] : row.shown)  // what a field shows is in the order of its keys
        std::stable_sort(content.begin(), content.end(),
                         [](const Item& a, const Item& b) { return a.key < b.key; });
    return row;
}

/// As captured, but written by `dot` and known to the server.
template <class K>
Row confirmed(const K& typed, std::uint8_t n, Dot dot = {7, 1}) {
    Row row = captured(typed, n);
    row.status = 0;
    row.confirmed_once = true;
    row.confirmed.move = 3;
    for (const auto& [number, content] : row.shown) {
        FieldState& state = row.confirmed.fields[number];
        for (const Item& item : content)
            state.live.push_back({dot, 1000, item.key, item.value, {}, false});
        state.counters = {dot};
    }
    row.shown = show(row.confirmed).fields;
    return row;
}

FieldState& add_live(Row& row, std::uint16_t field, Value value, Dot dot, Stamp stamp) {
    FieldState& state = row.confirmed.fields[field];
    state.live.push_back({dot, stamp, "", std::move(value), {}, false});
    state.counters.push_back(dot);
    return state;
}

Customer a_customer() {
    Customer c;
    c.created_at = Instant(TimePoint(Milliseconds(1'770'000'000'000)), std::chrono::minutes(60));
    c.external_ids = {{"erp", "4711"}, {"crm", "K-9"}};
    c.ext.entries = {{"colour", "blue"}, {"weird \"key\"", "it's"}};
    c.name = "Müller & Söhne";
    c.address = Address{"Hauptstr. 1", "", "Köln", "DE"};
    c.geo = Geo{509'000'000, -69'000'000, std::nullopt};
    c.class_sales = CustomerClass::b;
    c.tags = {"cold", "Ärger"};
    c.merged_into = Id<Customer>(id_of(99));
    c.remarks = "first text";
    c.erased = false;
    return c;
}

std::uint16_t number_of(const Kind& kind, std::string_view field) {
    return kind.field(field)->number;
}

void check_same(const Row& a, const Row& b) {
    CHECK(a.row == b.row);
    CHECK(a.kind == b.kind);
    CHECK(a.id == b.id);
    CHECK(a.status == b.status);
    CHECK(a.confirmed_once == b.confirmed_once);
    CHECK(a.confirmed == b.confirmed);
    CHECK(a.shown == b.shown);
}

}  // namespace

TEST_CASE_FIXTURE(
    File, "a row that is changed, saved, changed back and saved again shows the first value") {
    Complaint complaint;
    complaint.verbatim = "Deckel undicht";
    complaint.lot = "L1";
    Row fresh = captured(complaint, 1);
    save_row(db, fresh);
    Row row = *load_row(db, fresh.id);
    const Record before = row.record();
    const std::uint16_t lot = row.kind->field("lot")->number;
    row.shown[lot] = {{"", Value("L2")}};
    save_row(db, row);
    CHECK(*as_query_shows(row).value("lot").text() == "L2");
    CHECK(as_query_shows(row).value("verbatim") == before.value("verbatim"));
    row.shown[lot] = {{"", Value("L1")}};
    save_row(db, row);
    CHECK(as_query_shows(row).fields == before.fields);
    row.shown.erase(lot);
    save_row(db, row);
    CHECK(as_query_shows(row).shown("lot").empty());
}

TEST_CASE("a captured record comes back with all that it shows") {
    File file;
    Row row = captured(a_customer(), 1);
    save_row(file.db, row);
    CHECK(row.row > 0);
    const auto again = load_row(file.db, row.id);
    REQUIRE(again);
    check_same(*again, row);
    CHECK(from_record<Customer>(again->record()).address->city == "Köln");
    CHECK(again->record().scope == "territory/DE-50");
    CHECK(file.as_query_shows(row).fields == row.shown);
}

TEST_CASE("every kind has a table that takes a record of it") {
    File file;
    std::uint8_t n = 0;
    for (const Kind* kind : all_kinds()) {
        Row row;
        row.kind = kind;
        row.id = row.confirmed.id = id_of(++n);
        row.confirmed.kind = kind->number;
        for (const Field& f : kind->fields) {
            if (f.is_keyed()) continue;
            const auto sample = [](const TypeInfo& type) -> Value {
                switch (type.shape) {
                    case Shape::boolean:
                        return std::int64_t{1};
                    case Shape::integer:
                    case Shape::instant:
                        return std::int64_t{INT64_MIN + 5};
                    case Shape::reference:
                        return std::string("\0\1\2\3\4\5\6\7\0\1\2\3\4\5\6\xff", 16);
                    default:
                        return std::string("x\0y", 3);
                }
            };
            Value value;
            if (f.type.shape == Shape::group) {
                Parts parts;
                for (const PartInfo& part : f.type.parts)
                    parts.push_back(parts.empty() ? sample(part.type) : Value());
                value = Value(parts);
            } else {
                value = sample(f.type);
            }
            row.shown[f.number] = {{"", value}};
        }
        save_row(file.db, row);
        CHECK(kind_holding(file.db, row.id) == kind);
        const auto again = load_row(file.db, *kind, row.id);
        REQUIRE(again);
        check_same(*again, row);
    }
    CHECK(kind_holding(file.db, id_of(200)) == nullptr);
    CHECK_FALSE(load_row(file.db, id_of(200)));
}

TEST_CASE("a confirmed record keeps its live values, and its texts are stored once") {
    File file;
    Customer c = a_customer();
    c.remarks = std::string(2000, 'r');
    Row row = confirmed(c, 1);
    save_row(file.db, row);
    check_same(*load_row(file.db, row.id), row);
    const std::string version = file.version_of(row);
    CHECK(version.find("rrrr") == std::string::npos);
    CHECK(version.find("Hauptstr") == std::string::npos);
    CHECK(version.size() < 200);
    save_row(file.db, row);
    CHECK(file.version_of(row) == version);
}

TEST_CASE("the confirmed value stays beside a pending one") {
    File file;
    Row row = confirmed(a_customer(), 1);
    const auto name = number_of(*row.kind, "name");
    row.shown[name] = {{"", Value("Müller GmbH")}};
    row.status = kRowPending;
    save_row(file.db, row);
    const auto again = load_row(file.db, row.id);
    check_same(*again, row);
    CHECK(again->record().value("name") == Value("Müller GmbH"));
    CHECK(again->confirmed.fields.at(name).live[0].value == Value("Müller & Söhne"));
}

TEST_CASE("a pending clear shows nothing and loses no confirmed value") {
    File file;
    Row row = confirmed(a_customer(), 1);
    const auto address = number_of(*row.kind, "address");
    row.shown.erase(address);
    save_row(file.db, row);
    const auto again = load_row(file.db, row.id);
    check_same(*again, row);
    CHECK(again->confirmed.fields.at(address).live.size() == 1);
}

TEST_CASE("all values of a conflict come back, and both texts are shown") {
    File file;
    Row row = confirmed(a_customer(), 1);
    const auto name = number_of(*row.kind, "name"), remarks = number_of(*row.kind, "remarks");
    add_live(row, name, Value("Mueller"), {8, 4}, 2000);
    add_live(row, remarks, Value("second text"), {8, 4}, 2000);
    row.shown = show(row.confirmed).fields;
    row.status = kRowConflict;
    save_row(file.db, row);
    const auto again = load_row(file.db, row.id);
    check_same(*again, row);
    const Content both{{"", Value("first text")}, {"", Value("second text")}};
    CHECK(again->shown.at(remarks) == both);
    CHECK(file.as_query_shows(row).fields == row.shown);
}

TEST_CASE("texts that are siblings only on this device come back apart") {
    File file;
    Row row = captured(a_customer(), 1);
    const auto remarks = number_of(*row.kind, "remarks");
    row.shown[remarks] = {{"", Value("one\n\nhalf")}, {"", Value("two \"quoted\"")}};
    save_row(file.db, row);
    check_same(*load_row(file.db, row.id), row);
    CHECK(file.as_query_shows(row).shown("remarks").size() == 2);
    row.shown[remarks] = {{"", Value("one text")}};
    save_row(file.db, row);
    check_same(*load_row(file.db, row.id), row);
}

TEST_CASE("a cleared value that the server knows stays a live value") {
    File file;
    Row row = confirmed(a_customer(), 1);
    const auto name = number_of(*row.kind, "name");
    row.confirmed.fields[name].live[0].value = Value();
    row.shown.erase(name);
    save_row(file.db, row);
    check_same(*load_row(file.db, row.id), row);
}

TEST_CASE("a field of a newer server is kept byte for byte and shown") {
    File file;
    Row row = confirmed(a_customer(), 1);
    add_live(row, 900, Value("tomorrow's"), {8, 4}, 2000);
    row.shown[900] = {{"", Value("tomorrow's")}};
    save_row(file.db, row);
    const auto again = load_row(file.db, row.id);
    check_same(*again, row);
    CHECK(again->record().value(std::uint16_t{900}) == Value("tomorrow's"));
}

TEST_CASE("a value of an unexpected shape is kept, not shown") {
    File file;
    Row row = confirmed(a_customer(), 1);
    const auto address = number_of(*row.kind, "address"), name = number_of(*row.kind, "name");
    row.confirmed.fields[address].live[0].value = Value(Parts{Value("only one part")});
    row.confirmed.fields[name].live[0].value = Value(std::int64_t{5});
    row.shown = show(row.confirmed).fields;
    save_row(file.db, row);
    const auto again = load_row(file.db, row.id);
    CHECK(again->confirmed == row.confirmed);
    CHECK(again->record().value("name").is_null());
    CHECK(again->shown == row.shown);  // who saved it saw the same
    CHECK(wrongly_shown(*again).empty());
}

TEST_CASE("an element to which a newer server has added a part is kept, not shown") {
    File file;
    Row row = confirmed(a_customer(), 1);
    const auto external_ids = number_of(*row.kind, "external_ids");
    const Content before = row.shown.at(external_ids);
    const Value wider(Parts{Value("crm"), Value("7"), Value("from tomorrow")});
    add_live(row, external_ids, wider, {8, 4}, 2000).live.back().key = canonical_bytes(wider);
    row.shown = show(row.confirmed).fields;
    save_row(file.db, row);
    const auto again = load_row(file.db, row.id);
    CHECK(again->confirmed == row.confirmed);
    CHECK(again->shown == row.shown);
    CHECK(again->shown.at(external_ids) == before);
    CHECK(wrongly_shown(*again).empty());
}

TEST_CASE("what a newer build keeps in columns of its own is not shown by an older one") {
    File file;
    Row row = confirmed(a_customer(), 1);
    add_live(row, 900, Value(), {8, 4}, 2000).live[0].elided = true;
    row.shown = show(row.confirmed).fields;
    CHECK_FALSE(row.shown.contains(900));
    save_row(file.db, row);
    check_same(*load_row(file.db, row.id), row);
}

TEST_CASE("a map that grew beyond what JSON from outside may hold comes back whole") {
    File file;
    Row row = captured(a_customer(), 1);
    Content& ext = row.shown[common_field::ext] = {};
    for (int i = 100; i < 700; ++i)
        ext.push_back({"k" + std::to_string(i), Value(std::string(2000, 'x'))});
    save_row(file.db, row);
    check_same(*load_row(file.db, row.id), row);
}

TEST_CASE("a deleted row is gone, with its ids in other systems") {
    File file;
    Row row = captured(a_customer(), 1);
    save_row(file.db, row);
    save_row(file.db, row);
    const auto external = [&] {
        auto s = file.db.prepare("SELECT count(*) FROM external_id");
        s.step();
        return s.integer(0);
    };
    CHECK(external() == 2);
    delete_row(file.db, row);
    CHECK_FALSE(load_row(file.db, row.id));
    CHECK(external() == 0);
}

TEST_CASE("a damaged version is named as damage") {
    File file;
    Row row = confirmed(a_customer(), 1);
    save_row(file.db, row);
    file.db.execute("UPDATE customer SET version=x'ff'");
    try {
        load_row(file.db, row.id);
        FAIL("it was read");
    } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::storage_damaged);
    }
}

TEST_CASE("a text in a version that a disk has broken is damage, not another text") {
    File file;
    Customer dairy;
    dairy.tags = {"Bio", "Export"};
    Row row = confirmed(dairy, 1);
    save_row(file.db, row);
    file.db.execute(
        "UPDATE customer SET version=CAST(replace(CAST(version AS TEXT), 'Export', 'Exp' || "
        "CAST(x'a291' AS TEXT) || 't') AS BLOB)");
    REQUIRE(file.db.changes() == 1);
    CHECK_THROWS_WITH_AS(load_row(file.db, row.id), doctest::Contains("broken tags"), Error);
}

TEST_CASE("an element of a set under another's key is damage") {
    File file;
    Customer dairy;
    dairy.tags = {"Bio"};
    Row row = confirmed(dairy, 1);
    row.confirmed.fields[number_of(*row.kind, "tags")].live[0].key += 'x';
    save_row(file.db, row);
    CHECK_THROWS_WITH_AS(load_row(file.db, row.id), doctest::Contains("broken tags"), Error);
}

TEST_CASE("siblings of a field that can have none are damage") {
    File file;
    Row row = captured(a_customer(), 1);
    save_row(file.db, row);
    const auto siblings = [&](const char* field, const std::string& texts) {
        file.db.prepare("UPDATE customer SET siblings=?")
            .bind(1, "{\"" + std::to_string(number_of(*row.kind, field)) + "\":" + texts + "}")
            .run();
    };
    siblings("remarks", R"(["one","two"])");
    CHECK(load_row(file.db, row.id)->shown.at(number_of(*row.kind, "remarks")).size() == 2);
    for (const char* texts : {R"(["one"])", "[]", R"("one")", R"({"a":"one","b":"two"})"}) {
        siblings("remarks", texts);
        CHECK_THROWS_WITH_AS(load_row(file.db, row.id), doctest::Contains("siblings"), Error);
    }
    siblings("name", R"(["one","two"])");
    CHECK_THROWS_WITH_AS(load_row(file.db, row.id), doctest::Contains("siblings"), Error);
}

TEST_CASE("dynamic statements do not fill the memory") {
    File file;
    for (int i = 0; i < 1000; ++i) {
        auto s = file.db.prepare("SELECT " + std::to_string(i));
        REQUIRE(s.step());
        REQUIRE(s.integer(0) == i);
    }
    CHECK(file.db.idle_statements() <= 200);
    // Two handles of one text are two statements.
    auto a = file.db.prepare("SELECT 1 UNION ALL SELECT 2"),
         b = file.db.prepare("SELECT 1 UNION ALL SELECT 2");
    CHECK((a.step() && b.step() && a.step() && a.integer(0) == 2 && b.integer(0) == 1));
}
