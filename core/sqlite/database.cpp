// SPDX-License-Identifier: Apache-2.0
#include "sqlite/database.hpp"

#include <sqlite3.h>

#include <filesystem>
#include <iterator>
#include <list>
#include <map>
#include <new>
#include <unordered_map>

#include "model/planted.hpp"
#include "rapport/error.hpp"
#include "sqlite/rank.hpp"

namespace rapport::sqlite {

namespace {

// Queries make their own SQL, so the statements kept for reuse are those used last.
constexpr std::size_t kIdleStatementsMax = 200;
// Pages in the log before they are moved into the file, by the commit that reaches so many: 16 MiB.
// Most are the same ones again, and to move them waits for two syncs of the disk, so that SQLite's
// 1,000 would make one capture in ninety slow.
constexpr int kLogPages = 4000;

}  // namespace

struct Statement::Kept {
    sqlite3_stmt* statement = nullptr;
    bool idle = false;
    std::list<Kept>::iterator at;
};

struct Database::Impl {
    using Kept = Statement::Kept;

    sqlite3* db = nullptr;
    sqlite3_stmt* rollback = nullptr;  // ready for when there is no memory to prepare it
    bool spoilt = false;  // the open transaction, or a part of it, was to be undone and is not yet
    bool ranks = false;   // `rank_of` is there
    RankWeights weights;
    int busy_timeout_ms = 0;
    std::list<Kept> kept;                                      // least recently used first
    std::unordered_multimap<std::string_view, Kept*> by_text;  // keys live in the statements
    std::size_t idle = 0;

    Kept* take(std::string_view sql) {
        auto [it, end] = by_text.equal_range(sql);
        while (it != end && !it->second->idle) ++it;
        if (it == end) return nullptr;
        it->second->idle = false;
        --idle;
        return it->second;
    }
    Kept* add(sqlite3_stmt* statement) {
        try {
            kept.emplace_back();
            by_text.emplace(sqlite3_sql(statement), &kept.back());
        } catch (const std::bad_alloc&) {
            if (!kept.empty() && !kept.back().statement) kept.pop_back();
            sqlite3_finalize(statement);
            throw;
        }
        kept.back() = {statement, false, std::prev(kept.end())};
        return &kept.back();
    }
    void give_back(Kept* one) noexcept {
        one->idle = true;
        kept.splice(kept.end(), kept, one->at);
        if (++idle <= kIdleStatementsMax) return;
        auto oldest = kept.begin();
        while (!oldest->idle) ++oldest;
        auto it = by_text.equal_range(sqlite3_sql(oldest->statement)).first;
        while (it->second != &*oldest) ++it;
        by_text.erase(it);
        sqlite3_finalize(oldest->statement);
        kept.erase(oldest);
        --idle;
    }

    // What per_schema() has made.
    std::map<std::string (*)(Database&), std::string> made;
    std::int64_t schema = -1;        // of which version
    bool schema_is_current = false;  // within a transaction nobody else changes it

    ~Impl() {
        for (const Kept& k : kept) sqlite3_finalize(k.statement);
        sqlite3_finalize(rollback);
        sqlite3_close_v2(db);
    }
};

namespace {

[[noreturn]] void raise(sqlite3* db, int code, const std::string& doing) {
    const int primary = code & 0xFF;
    const ErrorCode error =
        primary == SQLITE_BUSY || primary == SQLITE_LOCKED      ? ErrorCode::storage_busy
        : primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? ErrorCode::storage_damaged
                                                                : ErrorCode::storage_failed;
    // The message of a constraint names tables and columns, never values.
    throw Error(error, doing + ": " + (db ? sqlite3_errmsg(db) : sqlite3_errstr(code)), code);
}

}  // namespace

// ---- Statement

Statement::Statement(Database* database, Kept* kept)
    : database_(database), kept_(kept), statement_(kept->statement) {}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), kept_(other.kept_), statement_(other.statement_) {
    other.statement_ = nullptr;
}

Statement::~Statement() {
    if (!statement_) return;
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
    database_->impl_->give_back(kept_);
}

void Statement::fail(int code) const {
    raise(database_->impl_->db, code, "the database refused a statement");
}

Statement& Statement::bind(int index, std::int64_t value) {
    if (int rc = sqlite3_bind_int64(statement_, index, value)) fail(rc);
    return *this;
}
Statement& Statement::bind(int index, std::string_view text) {
    if (int rc = sqlite3_bind_text64(statement_, index, text.data() ? text.data() : "", text.size(),
                                     SQLITE_TRANSIENT, SQLITE_UTF8))
        fail(rc);
    return *this;
}
Statement& Statement::bind_blob(int index, std::string_view bytes) {
    if (int rc = sqlite3_bind_blob64(statement_, index, bytes.data() ? bytes.data() : "",
                                     bytes.size(), SQLITE_TRANSIENT))
        fail(rc);
    return *this;
}
Statement& Statement::bind_borrowed(int index, std::string_view text) {
    if (int rc = sqlite3_bind_text64(statement_, index, text.data() ? text.data() : "", text.size(),
                                     SQLITE_STATIC, SQLITE_UTF8))
        fail(rc);
    return *this;
}
Statement& Statement::bind_borrowed_blob(int index, std::string_view bytes) {
    if (int rc = sqlite3_bind_blob64(statement_, index, bytes.data() ? bytes.data() : "",
                                     bytes.size(), SQLITE_STATIC))
        fail(rc);
    return *this;
}
Statement& Statement::bind_null(int index) {
    if (int rc = sqlite3_bind_null(statement_, index)) fail(rc);
    return *this;
}

Statement& Statement::bind(int index, const RawValue& value) {
    switch (value.type) {
        case RawValue::Type::null:
            return bind_null(index);
        case RawValue::Type::integer:
            return bind(index, value.integer);
        case RawValue::Type::text:
            return bind(index, std::string_view(value.bytes));
        case RawValue::Type::blob:
            return bind_blob(index, value.bytes);
    }
    return *this;
}

bool Statement::step() {
    const int rc = sqlite3_step(statement_);
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    fail(rc);
}
void Statement::run() {
    while (step()) {
    }
    reset();
}
void Statement::reset() {
    sqlite3_reset(statement_);  // its result repeats what step() already reported
}

int Statement::columns() const { return sqlite3_column_count(statement_); }
bool Statement::is_null(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}
std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(statement_, column);
}
std::string_view Statement::text(int column) const {
    const auto* t = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return t ? std::string_view(t,
                                static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
             : std::string_view();
}
std::string_view Statement::blob(int column) const {
    const auto* b = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    return b ? std::string_view(b,
                                static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
             : std::string_view();
}
RawValue Statement::raw(int column) const {
    switch (sqlite3_column_type(statement_, column)) {
        case SQLITE_NULL:
            return {};
        case SQLITE_INTEGER:
            return {RawValue::Type::integer, integer(column), {}};
        case SQLITE_BLOB:
            return {RawValue::Type::blob, 0, std::string(blob(column))};
        default:
            return {RawValue::Type::text, 0, std::string(text(column))};
    }
}
std::string_view Statement::name(int column) const {
    return sqlite3_column_name(statement_, column);
}
RecordId Statement::id(int column) const {
    const auto id = RecordId::from_bytes(blob(column));
    if (!id)
        throw Error(ErrorCode::storage_damaged, "a record id in the file is not 16 bytes long");
    return *id;
}

// ---- Database

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Database Database::open(const std::string& path, const Options& options) {
    auto impl = std::make_unique<Impl>();
    const int flags =
        SQLITE_OPEN_NOMUTEX | (options.read_only ? SQLITE_OPEN_READONLY
                               : options.create  ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                                 : SQLITE_OPEN_READWRITE);
    if (int rc = sqlite3_open_v2(path.c_str(), &impl->db, flags, nullptr)) {
        std::error_code ignored;
        if (rc == SQLITE_CANTOPEN && (options.read_only || !options.create) &&
            !std::filesystem::exists(path, ignored))
            throw Error(ErrorCode::not_found, "there is no file " + path, rc);
        raise(impl->db, rc, "cannot open " + path);
    }
    sqlite3_extended_result_codes(impl->db, 1);
    // A misspelt column in double quotes is an error, not a text.
    sqlite3_db_config(impl->db, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
    sqlite3_db_config(impl->db, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
    sqlite3_busy_timeout(impl->db, options.busy_timeout_ms);
    impl->busy_timeout_ms = options.busy_timeout_ms;
    if (int rc = sqlite3_prepare_v3(impl->db, "ROLLBACK", -1, SQLITE_PREPARE_PERSISTENT,
                                    &impl->rollback, nullptr))
        raise(impl->db, rc, "cannot prepare a statement");
    Database database(std::move(impl));
    if (!options.read_only && options.wal) database.use_wal();
    const bool full = options.full_sync && !RAPPORT_PLANTED("commit_without_fsync");
    database.execute(std::string("PRAGMA synchronous=") + (full ? "FULL" : "NORMAL"));
#ifdef __APPLE__
    if (options.full_sync) database.execute("PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1");
#endif
    // The last commit in the log may be one whose sync failed: it has been seen from now on, and
    // must not go with a power cut.
    if (!options.read_only)
        database.execute("PRAGMA wal_checkpoint(PASSIVE); PRAGMA wal_autocheckpoint=" +
                         std::to_string(kLogPages));
    return database;
}

void Database::roll_back() noexcept {
    impl_->spoilt = false;
    if (!in_transaction()) return;  // SQLite has rolled back on its own after some errors
    sqlite3_step(impl_->rollback);
    sqlite3_reset(impl_->rollback);
    impl_->spoilt = in_transaction();
}

Statement Database::prepare(std::string_view sql) {
    if (Statement::Kept* kept = impl_->take(sql)) return {this, kept};
    sqlite3_stmt* s = nullptr;
    if (int rc = sqlite3_prepare_v3(impl_->db, sql.data(), static_cast<int>(sql.size()),
                                    SQLITE_PREPARE_PERSISTENT, &s, nullptr))
        raise(impl_->db, rc, "cannot prepare a statement");
    return {this, impl_->add(s)};
}

std::size_t Database::idle_statements() const { return impl_->idle; }

const std::string& Database::per_schema(std::string (*make)(Database&)) {
    if (!impl_->schema_is_current) {
        auto version = prepare("PRAGMA schema_version");
        version.step();
        if (version.integer(0) != impl_->schema) impl_->made.clear();
        impl_->schema = version.integer(0);
        impl_->schema_is_current = in_transaction();
    }
    const auto found = impl_->made.find(make);
    return found != impl_->made.end() ? found->second
                                      : impl_->made.emplace(make, make(*this)).first->second;
}

void Database::schema_changed() {
    impl_->made.clear();
    impl_->schema = -1;
    impl_->schema_is_current = false;
}

void Database::begin_ranking() {
    impl_->weights.rarity.clear();
    if (impl_->ranks) return;
    if (int rc = add_rank_of(impl_->db, impl_->weights))
        raise(impl_->db, rc, "cannot rank what is found");
    impl_->ranks = true;
}

void Database::execute(const std::string& sql) {
    if (int rc = sqlite3_exec(impl_->db, sql.c_str(), nullptr, nullptr, nullptr))
        raise(impl_->db, rc, "the database refused a statement");
}
std::int64_t Database::last_row_id() const { return sqlite3_last_insert_rowid(impl_->db); }
int Database::changes() const { return sqlite3_changes(impl_->db); }
bool Database::in_transaction() const { return sqlite3_get_autocommit(impl_->db) == 0; }

void Database::backup_to(const std::string& path) {
    Database target = open(path, {});
    sqlite3_backup* backup = sqlite3_backup_init(target.impl_->db, "main", impl_->db, "main");
    if (!backup)
        raise(target.impl_->db, sqlite3_errcode(target.impl_->db), "cannot start the backup");
    int rc = SQLITE_OK;
    do {
        rc = sqlite3_backup_step(backup, 1000);
    } while (rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED);
    sqlite3_backup_finish(backup);
    if (rc != SQLITE_DONE) raise(target.impl_->db, rc, "the backup stopped");
}

void Database::checkpoint() { execute("PRAGMA wal_checkpoint(TRUNCATE)"); }

// secure_delete alone is not enough: a page that was split keeps copies of the cells that left it.
void Database::vacuum() { execute("VACUUM"); }

bool Database::truncate_log() {
    sqlite3_busy_timeout(impl_->db, 0);  // whoever writes waits meanwhile
    auto checkpoint = prepare("PRAGMA wal_checkpoint(TRUNCATE)");
    const bool emptied = checkpoint.step() && checkpoint.integer(0) == 0;
    sqlite3_busy_timeout(impl_->db, impl_->busy_timeout_ms);
    return emptied;
}

// ---- Transaction, Savepoint

Transaction::Transaction(Database& database, Kind kind) : database_(database) {
    if (database_.impl_->spoilt) database_.roll_back();
    database_.prepare(kind == Kind::immediate ? "BEGIN IMMEDIATE" : "BEGIN").run();
    database_.impl_->schema_is_current = false;
}
Transaction::~Transaction() {
    if (!open_) return;
    database_.schema_changed();
    database_.roll_back();
}
void Transaction::commit() {
    if (database_.impl_->spoilt)
        throw Error(ErrorCode::storage_failed, "a part of the transaction could not be undone");
    database_.prepare("COMMIT").run();
    database_.impl_->schema_is_current = false;
    open_ = false;
}

Savepoint::Savepoint(Database& database)
    : database_(database),
      undo_(database.prepare("ROLLBACK TO s")),
      release_(database.prepare("RELEASE s")) {
    database_.prepare("SAVEPOINT s").run();
}
Savepoint::~Savepoint() {
    if (!open_) return;
    database_.schema_changed();
    if (!database_.in_transaction()) return;
    try {
        undo_.run();
        release_.run();
    } catch (const std::exception&) {
        database_.impl_->spoilt = true;
    }
}
void Savepoint::release() {
    release_.run();
    open_ = false;
}

}  // namespace rapport::sqlite
