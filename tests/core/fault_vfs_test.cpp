// SPDX-License-Identifier: Apache-2.0
#include "support/fault_vfs.hpp"

#include <doctest/doctest.h>

#include <array>
#include <fstream>
#include <optional>

#include "rapport/error.hpp"
#include "sqlite/database.hpp"
#include "support/temp_dir.hpp"

using namespace rapport;
using namespace rapport::test;

namespace {

constexpr std::array kDamages{Damage::kept, Damage::dropped, Damage::some, Damage::torn};

sqlite::Database open(const std::string& path) { return sqlite::Database::open(path, {}); }

void make_table(const std::string& path) {
    open(path).execute("CREATE TABLE word(n INTEGER PRIMARY KEY, text TEXT)");
}

// Long enough for several pages.
void add_words(sqlite::Database& db, int count) {
    sqlite::Transaction transaction(db);
    for (int i = 0; i < count; ++i)
        db.prepare("INSERT INTO word(text) VALUES(?)").bind_all(std::string(400, 'x')).run();
    transaction.commit();
}

std::int64_t words_in(sqlite::Database& db) {
    auto check = db.prepare("PRAGMA integrity_check");
    REQUIRE(check.step());
    CHECK(check.text(0) == "ok");
    auto count = db.prepare("SELECT count(*) FROM word");
    REQUIRE(count.step());
    return count.integer(0);
}
std::int64_t words_in(const std::string& path) {
    auto db = open(path);
    return words_in(db);
}

std::string bytes_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("a power cut at any change of the disk leaves a commit whole or absent") {
    for (const Damage damage : kDamages) {
        std::uint64_t points = 0;
        for (std::uint64_t nth = 1;; ++nth) {
            TempDir folder;
            const std::string path = folder.file("a.db");
            Disk disk(path);
            make_table(path);
            {
                auto db = open(path);
                add_words(db, 3);
            }
            bool returned = false;
            disk.crash_at(nth, damage, nth);
            try {
                auto db = open(path);
                add_words(db, 40);
                returned = true;
                db.checkpoint();
                db.execute("UPDATE word SET text=text||'y'");
            } catch (const Error& e) {
                CHECK(e.code() == ErrorCode::storage_failed);
            }
            const bool crashed = disk.crashed();
            disk.reboot();
            const std::int64_t words = words_in(path);
            CAPTURE(nth);
            CHECK((words == 43 || (words == 3 && !returned)));
            if (!crashed) break;
            points = nth;
        }
        CHECK(points > 40);
    }
}

TEST_CASE("a new file is there after a power cut if a commit in it returned") {
    for (const Damage damage : kDamages)
        for (std::uint64_t nth = 1, crashed = 1; crashed; ++nth) {
            TempDir folder;
            const std::string path = folder.file("a.db");
            Disk disk(path);
            bool made = false, returned = false;
            disk.crash_at(nth, damage, nth);
            try {
                auto db = open(path);
                db.execute("CREATE TABLE word(n INTEGER PRIMARY KEY, text TEXT)");
                made = true;
                add_words(db, 1);
                returned = true;
            } catch (const Error&) {
            }
            crashed = disk.crashed();
            disk.reboot();
            CAPTURE(nth);
            auto db = open(path);
            auto table = db.prepare("SELECT 1 FROM sqlite_schema");
            const bool there = table.step();
            CHECK((there || !made));
            if (there) CHECK((words_in(db) == 1 || !returned));
        }
}

TEST_CASE("what was not synced does go: a disk that only says it syncs loses a commit") {
    TempDir folder;
    const std::string path = folder.file("a.db");
    Disk disk(path);
    make_table(path);
    std::optional<sqlite::Database> db(open(path));
    disk.ignore_syncs(true);
    add_words(*db, 40);
    disk.crash_now(Damage::dropped);
    db.reset();
    disk.reboot();
    CHECK(words_in(path) == 0);

    // Killed, not cut off: everything that was written is there.
    disk.ignore_syncs(true);
    db.emplace(open(path));
    add_words(*db, 40);
    disk.crash_now(Damage::kept);
    db.reset();
    disk.reboot();
    CHECK(words_in(path) == 40);
}

TEST_CASE("what a commit whose sync failed has left stays once somebody has seen it") {
    bool seen = false;
    for (std::uint64_t nth = 1, failed = 1; failed; ++nth) {
        TempDir folder;
        const std::string path = folder.file("a.db");
        Disk disk(path);
        make_table(path);
        std::optional<sqlite::Database> db(open(path));
        disk.fail_at(Fault::io, nth, true);
        try {
            add_words(*db, 3);
        } catch (const Error&) {
        }
        failed = disk.failed();
        db.reset();
        disk.heal();
        db.emplace(open(path));
        const std::int64_t words = words_in(*db);
        seen |= failed != 0 && words == 3;
        disk.crash_now(Damage::dropped);
        db.reset();
        disk.reboot();
        CAPTURE(nth);
        CHECK(words_in(path) == words);
    }
    CHECK(seen);
}

TEST_CASE("a disk that fails once gives an error, and the next try succeeds") {
    for (const Fault fault : {Fault::io, Fault::full}) {
        bool struck = true;
        for (std::uint64_t nth = 1; struck; ++nth) {
            TempDir folder;
            const std::string path = folder.file("a.db");
            Disk disk(path);
            make_table(path);
            auto db = open(path);
            add_words(db, 3);
            disk.fail_at(fault, nth, false);
            bool returned = false;
            try {
                add_words(db, 40);
                returned = true;
            } catch (const Error& e) {
                CHECK(e.code() == ErrorCode::storage_failed);
            }
            struck = disk.failed() > 0;
            disk.heal();
            CAPTURE(nth);
            const std::int64_t words = words_in(db);
            CHECK((words == 43 || (words == 3 && !returned)));
            add_words(db, 1);
            // The failed commit left nothing that a power cut could bring back.
            disk.crash_now(Damage::dropped);
            db = open(folder.file("other.db"));
            disk.reboot();
            CHECK(words_in(path) == words + 1);
        }
    }
}

TEST_CASE("a full disk stays full until it is healed, and reading goes on") {
    TempDir folder;
    const std::string path = folder.file("a.db");
    Disk disk(path);
    make_table(path);
    auto db = open(path);
    add_words(db, 3);
    disk.fail_at(Fault::full, 1, true);
    for (int i = 0; i < 3; ++i) {
        CHECK_THROWS_AS(add_words(db, 40), Error);
        CHECK(words_in(db) == 3);
    }
    disk.heal();
    add_words(db, 40);
    CHECK(words_in(db) == 43);
}

TEST_CASE("disks crash one by one, and the same run leaves the same bytes") {
    std::string first;
    for (int run = 0; run < 2; ++run) {
        Disk::begin_anew();
        TempDir folder;
        const std::string one = folder.file("one.db"), two = folder.file("two.db");
        Disk disk(one), other(two);
        std::optional<sqlite::Database> db(open(one));
        db->execute("CREATE TABLE word(n INTEGER PRIMARY KEY, text TEXT)");
        make_table(two);
        auto second = open(two);
        disk.crash_at(7, Damage::torn, 5);
        CHECK_THROWS_AS(add_words(*db, 40), Error);
        CHECK(disk.crashed());
        add_words(second, 2);
        db.reset();
        disk.reboot();
        CHECK(words_in(second) == 2);
        const std::string left = bytes_of(one) + bytes_of(one + "-wal");
        CHECK(left.size() > 4096);
        if (run == 0) first = left;
        CHECK(left == first);
        CHECK(words_in(one) == 0);
    }
}
