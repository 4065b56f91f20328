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

TEST_CASE_FIXTURE(Fixture, "SQLite: a reading transaction cannot write") {
    const auto tx = storage->begin_read();
    CHECK_THROWS_AS(tx->save_last_stamp(1), Error);
}

}  // namespace rapport::server::contract
