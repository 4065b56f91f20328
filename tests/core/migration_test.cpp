// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "sqlite/database.hpp"
#include "store/replica.hpp"

using namespace rapport;

namespace {

// The golden device file of the first format, optionally aged further.
std::string golden_file(const TempDir& folder, const std::string& then = "") {
    const std::ifstream dump(RAPPORT_GOLDEN_DIR "/device_v1.sql");
    std::stringstream sql;
    sql << dump.rdbuf();
    REQUIRE(sql.str().size() > 1000);
    const std::string path = folder.file("old.rapport");
    sqlite::Database db = sqlite::Database::open(path, {});
    db.execute(sql.str());
    if (!then.empty()) db.execute(then);
    return path;
}

void check_content(Store& store) {
    CHECK(store.check().empty());
    const auto customer = store.find_external("erp", "4711");
    REQUIRE(customer);
    const auto read = store.read(Id<Customer>(*customer));
    CHECK(read->name == "Molkerei Nord");
    CHECK(read->legal_name == "Nord GmbH");
    CHECK(read->address->city == "Düren");
    CHECK(read->tags.elements.size() == 2);
    CHECK(read->ext.entries.at("route") == "A");
    Query complaints;
    complaints.kind = &kind_of<Complaint>();
    const Page page = store.query(complaints);
    REQUIRE(page.records.size() == 1);
    CHECK(from_record<Complaint>(page.records[0]).description.text() == "erste Fassung");
    const Overview overview = store.overview();
    CHECK(overview.drafts == 1);
    CHECK(overview.queued == 2);
    CHECK(overview.rep == "R17");
}

}  // namespace

TEST_CASE("a file of the first format opens, reads, and its unsent work still goes") {
    const TempDir folder;
    Store store = Store::open(golden_file(folder));
    check_content(store);
    Replica replica(store);
    replica.enrol(
        {"http://127.0.0.1", "default", "R17", Role::rep, {"territory/DE-50"}, 77, "secret"});
    const Outgoing out = replica.compose({});
    REQUIRE(out.bundles.size() == 2);
    CHECK(decode_bundle(out.bundles[0]).changes.size() == 1);
    CHECK(decode_bundle(out.bundles[1]).changes.size() == 2);
}

TEST_CASE("a file with a table of what bundles need keeps what they wait for") {
    const TempDir folder;
    // The visit and its complaint (2) and the draft of a wish (3) need the customer (1).
    const std::string path = golden_file(folder, "INSERT INTO needs VALUES(3,2)");
    const auto tables = [&] {
        sqlite::Database db = sqlite::Database::open(path, {});
        auto select = db.prepare("SELECT count(*) FROM sqlite_schema WHERE tbl_name='needs'");
        select.step();
        return select.integer(0);
    };
    CHECK(tables() == 2);
    {
        Store store = Store::open(path);
        check_content(store);
        Replica replica(store);
        replica.enrol(
            {"http://127.0.0.1", "default", "R17", Role::rep, {"territory/DE-50"}, 77, "secret"});
        Query wishes;
        wishes.kind = &kind_of<ProductWish>();
        REQUIRE(store.submit(store.query(wishes).records.at(0).id));
    }
    CHECK(tables() == 0);
    Store store = Store::open(path);
    const Outgoing out = Replica(store).compose({});
    REQUIRE(out.bundles.size() == 3);
    const auto needs = [&](std::size_t i) { return decode_bundle(out.bundles[i]).needs; };
    CHECK(needs(0).empty());
    CHECK(needs(1) == std::vector<std::uint64_t>{1});
    CHECK(needs(2) == std::vector<std::uint64_t>{1, 2});
    CHECK(store.check().empty());
}

TEST_CASE("a file without the kinds and fields of this build gets them, and keeps what it has") {
    const TempDir folder;
    const std::string path = golden_file(
        folder,
        "DROP TABLE loop_task; DROP TABLE task;"
        "ALTER TABLE complaint DROP COLUMN reply_text; ALTER TABLE customer DROP COLUMN vat_id;");
    Store store = Store::open(path);
    check_content(store);
    Customer added;
    added.name = "Käserei Süd";
    added.vat_id = "DE123456789";
    auto [id, captured] = store.put(added);
    REQUIRE(captured);
    CHECK(store.read(id)->vat_id == "DE123456789");
    Query tasks;
    tasks.kind = &kind_of<LoopTask>();
    CHECK(store.query(tasks).records.empty());
}

TEST_CASE("a group that gets another part keeps the unsent edit of what it had") {
    const TempDir folder;
    const std::string path = folder.file("a.rapport");
    Id<Customer> id;
    {
        Store store = Store::open(path);
        Replica replica(store);
        replica.enrol(
            {"http://127.0.0.1", "default", "R17", Role::rep, {"territory/DE-50"}, 77, "secret"});
        Customer dairy;
        dairy.name = "Molkerei Nord";
        dairy.address = Address{"Hafen 1", "", "Kiel", ""};
        id = store.put(dairy).first;
        Incoming in;
        in.next = replica.compose({}).next;
        in.checkpoint = in.leaves_entry = true;
        in.tag = 1;
        in.verdicts = {{1, Verdict::applied, {}}};
        REQUIRE(replica.settle(in));
        REQUIRE(
            store.edit(id).set(&Customer::address, Address{"Am Markt 2", "", "Kiel", ""}).save());
    }
    sqlite::Database::open(path, {}).execute("ALTER TABLE customer DROP COLUMN address_country");
    Store store = Store::open(path);
    const auto address = store.find(id)->value("address");
    REQUIRE(address.parts());
    CHECK(address.parts()->at(0) == Value("Am Markt 2"));
}

TEST_CASE("records of a kind this build does not know stay, and are there after an update") {
    const TempDir folder;
    const std::string path = golden_file(folder);
    constexpr std::uint16_t kUnknown = 4711;
    const auto record = [](std::uint8_t last, std::uint16_t kind) {
        RecordState state;
        state.kind = kind;
        state.id.bytes[0] = 9;
        state.id.bytes[15] = last;
        state.scope = "territory/DE-50";
        state.move = 2;
        state.fields[kind_of<Task>().field("text")->number].live = {
            {{77, 4}, 5, "", Value("Anrufen"), {}, false}};
        return state;
    };
    const auto kept = [&] {
        sqlite::Database db = sqlite::Database::open(path, {});
        auto select = db.prepare("SELECT COUNT(*) FROM unknown_record");
        select.step();
        return select.integer(0);
    };
    {
        Store store = Store::open(path);
        Replica replica(store);
        replica.enrol(
            {"http://127.0.0.1", "default", "R17", Role::rep, {"territory/DE-50"}, 77, "secret"});
        const auto page = [&](const std::vector<RecordState>& records,
                              std::vector<Departure> departures,
                              const std::vector<std::string>& scopes = {}) {
            Incoming in;
            in.scopes = scopes;
            in.next = replica.compose({}).next;
            in.checkpoint = in.leaves_entry = true;
            in.tag = 1;
            for (const RecordState& r : records)
                in.records.push_back(IncomingRecord::from(encode_record(r)));
            in.departures = std::move(departures);
            REQUIRE(replica.settle(in));
        };
        page({record(1, kUnknown), record(2, kUnknown), record(3, kUnknown)}, {});
        page({}, {{kUnknown, record(2, kUnknown).id, 3, ""},
                  {kUnknown, record(3, kUnknown).id, 2, ""}});
        CHECK(kept() == 2);  // one departed; the other came back before its departure was told
        RecordState elsewhere = record(4, kUnknown);
        elsewhere.scope = "territory/DE-51";
        page({elsewhere}, {}, {"territory/DE-50", "territory/DE-51"});
        while (replica.tidy()) {
        }
        CHECK(kept() == 3);
        page({}, {}, {"territory/DE-50"});
        while (replica.tidy()) {
        }
        CHECK(kept() == 2);  // what lay in the scope that was taken has gone with it
    }
    const RecordId id = record(1, kUnknown).id;
    CHECK_FALSE(Store::open(path).find(id));
    {
        sqlite::Database db = sqlite::Database::open(path, {});
        db.prepare("UPDATE unknown_record SET kind=?, body=? WHERE record=?")
            .bind(1, static_cast<int>(kind_of<Task>().number))
            .bind_blob(2, encode_record(record(1, kind_of<Task>().number)))
            .bind(3, id)
            .run();
    }
    Store updated = Store::open(path);
    CHECK(updated.read(Id<Task>(id))->text == "Anrufen");
    CHECK(updated.status(id).state == SyncState::confirmed);
    CHECK(updated.check().empty());
    CHECK(kept() == 1);
}

TEST_CASE("a file without a table of this build is read once it has been opened for writing") {
    const TempDir folder;
    const std::string path = folder.file("old.rapport");
    SUBCASE("another table is missing") { golden_file(folder, "DROP TABLE IF EXISTS draft_text"); }
    SUBCASE("only what bundles need stands in a table of its own") {
        Store::open(path);
        sqlite::Database::open(path, {}).execute(
            "ALTER TABLE bundle DROP COLUMN needs;"
            "CREATE TABLE needs(bundle INTEGER NOT NULL, needed INTEGER NOT NULL,"
            "PRIMARY KEY(bundle, needed)) WITHOUT ROWID, STRICT");
    }
    const auto drafts = [&] {
        Store::Options options;
        options.read_only = true;
        return Store::open(path, options).drafts().size();
    };
    try {
        drafts();
        FAIL("it was opened");
    } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::conflict);
    }
    const std::size_t known = Store::open(path).drafts().size();
    CHECK(drafts() == known);
}

TEST_CASE("a file of a newer format is left alone") {
    const TempDir folder;
    const std::string path = golden_file(folder, "PRAGMA user_version = 2");
    try {
        (void)Store::open(path);
        FAIL("it was opened");
    } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::storage_newer);
    }
}
