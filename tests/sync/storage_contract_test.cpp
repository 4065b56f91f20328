// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "server/storage.hpp"
#include "sqlite/database.hpp"
#include "support/temp_dir.hpp"

namespace rapport::server::contract {

class StorageUnderTest {
public:
    std::unique_ptr<Storage> open() { return open_sqlite_storage(dir_.file("server.db")); }
    std::unique_ptr<Storage> open_backup(Storage& of) {
        of.backup(dir_.file("backup.db"));
        return open_sqlite_storage(dir_.file("backup.db"));
    }
    std::string path() const { return dir_.file("server.db"); }

private:
    TempDir dir_;
};

}  // namespace rapport::server::contract

#include "sync/storage_contract.hpp"

namespace rapport::server::contract {

TEST_CASE_FIXTURE(Fixture, "SQLite: a file of a newer version is not touched") {
    storage.reset();
    sqlite::Database::open(place.path(), {}).execute("PRAGMA user_version = 99");
    try {
        place.open();
        FAIL("opened");
    } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::storage_newer);
    }
}

TEST_CASE_FIXTURE(Fixture, "SQLite: notes of the version before stay, and further ones find room") {
    const RecoveryNote first{0, "default", 1, 7, 1, {}, "", "out_of_scope", "one"};
    storage.reset();
    sqlite::Database::open(place.path(), {})
        .execute(
            "DROP TABLE recovery_note; PRAGMA user_version = 1; CREATE TABLE recovery_note ("
            "id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, at_ms INTEGER NOT NULL, "
            "writer INTEGER NOT NULL, kind INTEGER NOT NULL, record BLOB NOT NULL, "
            "field TEXT NOT NULL, code TEXT NOT NULL, offered BLOB NOT NULL, "
            "UNIQUE (tenant, record, field, code, writer)) STRICT;"
            "INSERT INTO recovery_note VALUES (5, 'default', 1, 7, 1, zeroblob(16), '', "
            "'out_of_scope', CAST('one' AS BLOB))");
    storage = place.open();
    const auto tx = storage->begin_write();
    RecoveryNote second = first;
    second.offered = "two";
    tx->save(first);
    tx->save(second);
    auto notes = tx->recovery_notes("default");
    REQUIRE(notes.size() == 2);
    CHECK(notes[0].id == 5);
    CHECK(notes[0].offered == "one");
    CHECK(notes[1].offered == "two");
    notes[0].offered = "stripped";
    tx->save(notes[0]);
    notes = tx->recovery_notes("default");
    REQUIRE(notes.size() == 2);
    CHECK(notes[0].offered == "stripped");
}

TEST_CASE_FIXTURE(Fixture, "SQLite: a reading transaction cannot write") {
    const auto tx = storage->begin_read();
    CHECK_THROWS_AS(tx->save_last_stamp(1), Error);
}

}  // namespace rapport::server::contract
