// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"
#include "store/schema.hpp"

using namespace rapport;

namespace {

const Store::Options kReadOnly{.read_only = true, .rep = {}};

RecordId id_of(std::uint8_t n) {
    RecordId id;
    id.bytes[15] = n;
    return id;
}

/// A confirmed note, as a server would have sent it.
Row note_row(std::uint8_t n, const std::string& text) {
    Note note;
    note.text = text;
    Row row;
    row.kind = &kind_of<Note>();
    row.id = row.confirmed.id = id_of(n);
    row.confirmed.kind = row.kind->number;
    row.confirmed.scope = "territory/DE-50";
    row.confirmed_once = true;
    row.shown = to_record(note, row.id).fields;
    for (const auto& [number, content] : row.shown)
        row.confirmed.fields[number] = {
            {{{7, 1}, 5, "", content[0].value, {}, false}}, {{7, 1}}, {}};
    return row;
}
void hold(Store& store, std::uint8_t n, const std::string& text = "text") {
    Store::Core::Writing writing(store.core());
    Row row = note_row(n, text);
    save_row(writing.db, row);
    writing.changed(*row.kind, row.id);
    writing.commit();
}

template <class Action>
ErrorCode code_of(Action action) {
    try {
        action();
    } catch (const Error& e) {
        return e.code();
    }
    return ErrorCode{};
}
ErrorCode open_code(const std::string& path,
                    const Store::Options& options = {.rep = {}, .lock_wait = Milliseconds(0)}) {
    return code_of([&] { Store::open(path, options); });
}

std::vector<std::string> tables_of(const std::string& path) {
    auto db = sqlite::Database::open(path, {.read_only = true});
    std::vector<std::string> sql;
    auto s = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
    while (s.step()) sql.emplace_back(s.text(0));
    return sql;
}

}  // namespace

TEST_CASE("a new file keeps its number, its rep and its clock") {
    TempDir folder;
    const std::string path = folder.file("a.rapport");
    std::uint64_t file = 0;
    {
        Store store = Store::open(path, {.rep = "R17"});
        file = store.core().file();
        CHECK(file > 0);
        CHECK((file >> 63) == 0);
        Store::Core::Writing writing(store.core());
        store.core().clock().tick(1'770'000'000'000);
        writing.commit();
    }
    Store store = Store::open(path, {.rep = "somebody else"});
    CHECK(store.core().file() == file);
    CHECK(store.core().clock().last() == HybridClock::at(1'770'000'000'000));
    Store::Core::Reading reading(store.core());
    CHECK(meta(reading.db, "rep") == "R17");
    CHECK(store.check().empty());
}

TEST_CASE("what was not committed is not there") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    {
        Store::Core::Writing writing(store.core());
        Row row = note_row(1, "never");
        save_row(writing.db, row);
    }
    CHECK_FALSE(store.find(id_of(1)));
    hold(store, 1);
    CHECK(store.find(id_of(1)));
}

TEST_CASE("opening a file again changes nothing in it") {
    TempDir folder;
    const std::string path = folder.file("a.rapport");
    { Store::open(path); }
    const auto before = tables_of(path);
    { Store::open(path); }
    CHECK(tables_of(path) == before);
}

TEST_CASE("only our own files are opened, and foreign ones are left alone") {
    TempDir folder;
    const auto bytes_of = [](const std::string& path) {
        std::ifstream in(path, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    SUBCASE("no database") {
        const std::string path = folder.file("text");
        std::ofstream(path) << std::string(5000, 'x');
        CHECK(open_code(path) == ErrorCode::storage_damaged);
        CHECK(open_code(path, kReadOnly) == ErrorCode::storage_damaged);
    }
    SUBCASE("a database of another program") {
        const std::string path = folder.file("other.db");
        {
            auto db = sqlite::Database::open(path, {});
            db.execute("PRAGMA journal_mode=DELETE; CREATE TABLE theirs(a)");
        }
        const std::string before = bytes_of(path);
        CHECK(open_code(path) == ErrorCode::storage_damaged);
        CHECK(open_code(path, kReadOnly) == ErrorCode::storage_damaged);
        CHECK(bytes_of(path) == before);
    }
    SUBCASE("a file of a newer format") {
        const std::string path = folder.file("a.rapport");
        { Store::open(path); }
        {
            auto db = sqlite::Database::open(path, {});
            db.execute("PRAGMA user_version=" + std::to_string(kFormatVersion + 1));
        }
        CHECK(open_code(path) == ErrorCode::storage_newer);
        CHECK(open_code(path, kReadOnly) == ErrorCode::storage_newer);
    }
    SUBCASE("a missing file or folder") {
        CHECK(open_code(folder.file("missing"), kReadOnly) == ErrorCode::not_found);
        CHECK(open_code(folder.file("no/such/folder")) == ErrorCode::not_found);
        CHECK_FALSE(std::filesystem::exists(folder.file("missing")));
    }
    SUBCASE("an empty file is a new one") {
        const std::string path = folder.file("empty");
        std::ofstream(path).flush();
        CHECK(open_code(path, kReadOnly) == ErrorCode::not_found);
        CHECK(open_code(path) == ErrorCode{});
    }
}

TEST_CASE("a kind has its indexes from its first row on") {
    TempDir folder;
    const std::string path = folder.file("a.rapport");
    const auto indexes = [&] {
        auto db = sqlite::Database::open(path, {.read_only = true});
        std::vector<std::string> names;
        for (const Kind* kind : indexed_kinds(db)) names.push_back(kind->name);
        return names;
    };
    {
        Store store = Store::open(path);
        CHECK(indexes().empty());
        CHECK_FALSE(store.find(id_of(1)));
        CHECK(store.conflicts().empty());
        hold(store, 1);
        CHECK(indexes() == std::vector<std::string>{"note"});
        CHECK(store.find(id_of(1)));
    }
    Store store = Store::open(path);
    CHECK(indexes() == std::vector<std::string>{"note"});
    CHECK(store.find(id_of(1)));
}

TEST_CASE("a kind whose first row was undone has its indexes with the next one") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    for (const bool kept : {false, false, true}) {
        Store::Core::Writing writing(store.core());
        Row row;
        row.kind = &kind_of<Note>();
        row.id = id_of(7);
        save_row(writing.db, row);
        CHECK(kind_holding(writing.db, id_of(7)) == row.kind);
        if (kept) writing.commit();
    }
    Store::Core::Reading reading(store.core());
    CHECK(indexed_kinds(reading.db) == std::vector<const Kind*>{&kind_of<Note>()});
    CHECK(kind_holding(reading.db, id_of(7)) == &kind_of<Note>());
}

TEST_CASE(
    "an older build's file gets the new tables and columns, and shows what it had kept for them") {
    TempDir folder;
    const std::string path = folder.file("a.rapport");
    {
        Store store = Store::open(path);
        hold(store, 1, "kept for later");
        hold(store, 2);
    }
    const auto newest = tables_of(path);
    {
        // As a build would have written it that did not know text, visibility and whole kinds.
        auto db = sqlite::Database::open(path, {});
        for (const std::uint8_t n : std::array<std::uint8_t, 2>{1, 2}) {
            Row row = *load_row(db, kind_of<Note>(), id_of(n));
            auto s = db.prepare("UPDATE note SET version=? WHERE id=?");
            s.bind_blob(1, encode_fields(row.confirmed, false)).bind(2, row.id).run();
        }
        db.execute(
            "ALTER TABLE note DROP COLUMN text; ALTER TABLE note DROP COLUMN visibility; DROP "
            "TABLE loop_task;"
            "DROP INDEX note_subject_id");
    }
    CHECK(open_code(path, kReadOnly) == ErrorCode::conflict);
    Store store = Store::open(path);
    CHECK(store.find(id_of(1))->value("text") == Value("kept for later"));
    CHECK(store.check().empty());
    CHECK(tables_of(path).size() == newest.size());
    CHECK(open_code(path, kReadOnly) == ErrorCode{});
}

TEST_CASE("a second writer waits its time and then hears who is writing") {
    TempDir folder;
    const std::string path = folder.file("a.rapport");
    int ready[2], done[2];
    REQUIRE(::pipe(ready) == 0);
    REQUIRE(::pipe(done) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::close(done[1]);
        int rc = 1;
        try {
            Store store = Store::open(path);
            hold(store, 1);
            char byte = 'r';
            rc = ::write(ready[1], &byte, 1) == 1 ? 0 : 2;
            while (::read(done[0], &byte, 1) > 0) hold(store, static_cast<std::uint8_t>(byte));
        } catch (...) {
            rc = 3;
        }
        ::_exit(rc);
    }
    ::close(done[0]);
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    try {
        Store::open(path, {.rep = {}, .lock_wait = Milliseconds(30)});
        FAIL("two writers");
    } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::storage_busy);
        CHECK(std::string(e.what()).find("process " + std::to_string(child) + " ") !=
              std::string::npos);
    }
    Store reader = Store::open(path, kReadOnly);
    CHECK(reader.find(id_of(1)));
    CHECK(code_of([&] { Store::Core::Writing writing(reader.core()); }) == ErrorCode::storage_busy);

    // The writer goes while a third waits for it.
    auto waiting = std::async(std::launch::async, [&] {
        return open_code(path, {.rep = {}, .lock_wait = Milliseconds(20'000)});
    });
    byte = 2;
    CHECK(::write(done[1], &byte, 1) == 1);
    ::close(done[1]);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    CHECK(waiting.get() == ErrorCode{});
    CHECK(reader.find(id_of(2)));
    for (const int fd : {ready[0], ready[1]}) ::close(fd);
}

TEST_CASE("a writer that is killed leaves the file to the next") {
    TempDir folder;
    const std::string path = folder.file("a.rapport");
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        try {
            Store store = Store::open(path);
            hold(store, 1);
            Store::Core::Writing writing(store.core());
            Row row = note_row(2, "half");
            save_row(writing.db, row);
            const char byte = 'r';
            if (::write(ready[1], &byte, 1) == 1) ::pause();
        } catch (...) {
        }
        ::_exit(1);
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (const int fd : ready) ::close(fd);
    Store store = Store::open(path, {.rep = {}, .lock_wait = Milliseconds(0)});
    CHECK(store.find(id_of(1)));
    CHECK_FALSE(store.find(id_of(2)));
    CHECK(store.check().empty());
}

TEST_CASE("a reading stays in its moment while others write") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    hold(store, 1);
    Store::Core::Reading reading(store.core());
    const auto count = [&] {
        auto s = reading.db.prepare("SELECT count(*) FROM note");
        s.step();
        return s.integer(0);
    };
    CHECK(count() == 1);
    hold(store, 2);
    CHECK(count() == 1);
    CHECK(store.find(id_of(2)));
}

TEST_CASE("observers hear of what they asked for, once per record, after it can be read") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    std::vector<std::vector<RecordId>> heard;
    int others = 0;
    bool readable = true;
    auto subscription = store.observe({&kind_of<Note>()}, [&](const Changes& changes) {
        for (const Changes::Of& of : changes.kinds) {
            heard.push_back(of.ids);
            for (const RecordId& id : of.ids) readable = readable && store.find(id).has_value();
        }
    });
    const auto tasks = store.observe({&kind_of<Task>()}, [&](const Changes&) { ++others; });
    const auto failing =
        store.observe({}, [](const Changes&) { throw std::runtime_error("theirs"); });
    {
        Store::Core::Writing writing(store.core());
        for (const std::uint8_t n : std::array<std::uint8_t, 3>{2, 1, 2}) {
            Row row = note_row(n, "text");
            if (auto known = load_row(writing.db, row.id)) row = *known;
            save_row(writing.db, row);
            writing.changed(*row.kind, row.id);
        }
        CHECK(heard.empty());
        writing.commit();
    }
    CHECK(heard == std::vector<std::vector<RecordId>>{{id_of(1), id_of(2)}});
    CHECK(readable);
    CHECK(others == 0);
    subscription = Subscription();
    hold(store, 3);
    CHECK(heard.size() == 1);
}

TEST_CASE("an observer may write, and may end its own subscription") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    int calls = 0;
    Subscription subscription;
    subscription = store.observe({}, [&](const Changes&) {
        ++calls;
        subscription = Subscription();
        hold(store, 9);
    });
    hold(store, 1);
    CHECK(store.find(id_of(9)));
    hold(store, 2);
    CHECK(calls == 1);
}

TEST_CASE("a subscription does not end while its callback runs on another thread") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    std::promise<void> entered, ended;
    std::atomic<int> calls{0};
    std::atomic<bool> ended_inside{false};
    auto ended_soon = ended.get_future();
    auto subscription = std::make_unique<Subscription>(store.observe({}, [&](const Changes&) {
        ++calls;
        entered.set_value();
        ended_inside = ended_soon.wait_for(Milliseconds(50)) == std::future_status::ready;
    }));
    std::thread writer([&] { hold(store, 1); });
    entered.get_future().wait();
    subscription.reset();
    ended.set_value();
    writer.join();
    hold(store, 2);
    CHECK_FALSE(ended_inside);
    CHECK(calls == 1);
}

TEST_CASE("many threads read and write at once") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    hold(store, 1);
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t)
        threads.emplace_back([&, t] {
            try {
                for (int i = 0; i < 20; ++i) {
                    if (t < 2) hold(store, static_cast<std::uint8_t>(10 + t * 20 + i));
                    Query query;
                    query.kind = &kind_of<Note>();
                    if (store.query(query).records.empty() || !store.find(id_of(1))) ++failures;
                }
            } catch (...) {
                ++failures;
            }
        });
    for (auto& thread : threads) thread.join();
    CHECK(failures == 0);
    Query all;
    all.kind = &kind_of<Note>();
    CHECK(store.count(all) == 41);
}

TEST_CASE("an export gives every record once, unsent work on departed records included") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    const auto with_status = [&](std::uint8_t n, std::int64_t status) {
        Store::Core::Writing writing(store.core());
        Row row = note_row(n, "note " + std::to_string(n));
        row.status = status;
        save_row(writing.db, row);
        writing.commit();
    };
    with_status(1, 0);
    with_status(2, kRowPending);
    with_status(3, kRowHidden);
    with_status(4, kRowHidden | kRowPending);
    with_status(5, kRowDraft);
    const auto exported = [&](const Kind* kind, bool unsent) {
        std::string numbers;
        store.export_records(kind, unsent, [&](const std::string& json) {
            for (char n = '1'; n <= '5'; ++n)
                if (json.find(std::string("note ") + n) != std::string::npos) numbers += n;
        });
        return numbers;
    };
    CHECK(exported(nullptr, false) == "1245");
    CHECK(exported(&kind_of<Note>(), true) == "245");
    CHECK(exported(&kind_of<Task>(), false).empty());
}

TEST_CASE("the doctor finds what does not agree") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    hold(store, 1);
    hold(store, 2);
    CHECK(store.check().empty());
    const auto spoil = [&](const std::string& sql) {
        Store::Core::Writing writing(store.core());
        writing.db.execute(sql);
        writing.commit();
        return store.check();
    };
    SUBCASE("a row whose columns are not what was confirmed") {
        const auto findings =
            spoil("UPDATE note SET text=NULL WHERE id=x'00000000000000000000000000000001'");
        REQUIRE(findings.size() == 1);
        CHECK(findings[0].find("text") != std::string::npos);
    }
    SUBCASE("a mark without a change") {
        CHECK(spoil("UPDATE note SET status=2 WHERE row=1").size() == 1);
    }
    SUBCASE("a change without a bundle or record") {
        CHECK(spoil("INSERT INTO change(bundle,record,kind,creates,writes) "
                    "VALUES(5,x'00000000000000000000000000000009',11,1,x'')")
                  .size() == 2);
    }
    SUBCASE("a version that cannot be read") {
        CHECK(spoil("UPDATE note SET version=x'ff' WHERE row=2").size() == 1);
    }
}

TEST_CASE("states have the names that people read") {
    CHECK(name_of(SyncState::draft) == "draft");
    CHECK(name_of(SyncState::waits) == "waits");
}

TEST_CASE("a bundle hands out new ids in the order of time") {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));
    Bundling bundle = store.bundle();
    const auto a = bundle.add(Note{}), b = bundle.add(Note{});
    CHECK(a != b);
    CHECK_FALSE(a.is_nil());
    CHECK((a.bytes[6] >> 4) == 7);
}
