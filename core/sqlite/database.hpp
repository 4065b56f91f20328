// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "rapport/id.hpp"
#include "rapport/value.hpp"

struct sqlite3;
struct sqlite3_stmt;

/// The one place that knows SQLite's C API. Failures are rapport::Error: storage_busy,
/// storage_damaged, storage_failed, with SQLite's extended result code as detail.
namespace rapport::sqlite {

class Database;

/// One value as it stands in the file.
struct RawValue {
    enum class Type : std::uint8_t { null, integer, text, blob };
    Type type = Type::null;
    std::int64_t integer = 0;
    std::string bytes;  ///< of text and blob
};

/// One prepared statement, borrowed from its Database's cache; reset when this handle goes. Columns
/// and parameters count from 0 and 1 as in SQLite.  Confined.
class Statement {
public:
    Statement(Statement&& other) noexcept;
    Statement& operator=(Statement&&) = delete;
    ~Statement();

    Statement& bind(int index, std::int64_t value);
    Statement& bind(int index, std::uint64_t value) {
        return bind(index, static_cast<std::int64_t>(value));
    }
    Statement& bind(int index, int value) { return bind(index, std::int64_t{value}); }
    Statement& bind(int index, bool value) { return bind(index, std::int64_t{value}); }
    /// Text and blobs are copied.
    Statement& bind(int index, std::string_view text);
    Statement& bind(int index, const char* text) { return bind(index, std::string_view(text)); }
    Statement& bind_blob(int index, std::string_view bytes);
    Statement& bind(int index, const RecordId& id) { return bind_blob(index, id.view()); }
    /// Not copied: they have to stay until the statement has run.
    Statement& bind_borrowed(int index, std::string_view text);
    Statement& bind_borrowed_blob(int index, std::string_view bytes);
    Statement& bind_null(int index);
    Statement& bind(int index, const RawValue& value);
    /// Binds 1, 2, 3, ... in order.
    template <class... T>
    Statement& bind_all(const T&... values) {
        int index = 0;
        (bind(++index, values), ...);
        return *this;
    }

    /// True while there is a row.
    bool step();
    /// Steps to the end and resets: for statements without rows.
    void run();
    void reset();

    int columns() const;
    bool is_null(int column) const;
    std::int64_t integer(int column) const;
    std::uint64_t unsigned_integer(int column) const {
        return static_cast<std::uint64_t>(integer(column));
    }
    std::string_view text(int column) const;  ///< valid until the next step
    std::string_view blob(int column) const;  ///< valid until the next step
    RecordId id(int column) const;
    RawValue raw(int column) const;
    std::string_view name(int column) const;  ///< as the file calls it

private:
    friend class Database;
    struct Kept;
    Statement(Database* database, Kept* kept);
    [[noreturn]] void fail(int code) const;
    Database* database_;
    Kept* kept_;
    sqlite3_stmt* statement_;
};

/// One connection.  Ownership: move-only, closes itself.  Confined: one thread at a time.
class Database {
public:
    struct Options {
        bool read_only = false;
        bool create = true;
        bool wal = true;  ///< a writer turns the file to WAL at once; else use_wal() does
        bool full_sync =
            true;  ///< synchronous=FULL, and fullfsync where the system has it; else NORMAL
        int busy_timeout_ms = 5000;
    };
    /// Opens in WAL mode with foreign keys off, secure_delete off and SQLite's own cache size.
    static Database open(const std::string& path, const Options& options);
    Database(Database&&) noexcept;
    Database& operator=(Database&&) noexcept;
    ~Database();

    /// Statements are prepared once per text and reused (the 200 used last); two live handles of
    /// one text are two statements.
    Statement prepare(std::string_view sql);
    std::size_t idle_statements() const;  ///< kept for reuse now
    /// Runs one or more statements without parameters.
    void execute(const std::string& sql);
    std::int64_t last_row_id() const;
    int changes() const;
    bool in_transaction() const;
    /// What `make` makes of the tables and indexes there are; made anew when they have changed.
    const std::string& per_schema(std::string (*make)(Database&));
    /// They have been changed through this connection.
    void schema_changed();
    /// Before a search that ranks by `rank_of` (rank.hpp).
    void begin_ranking();
    /// For a writer that has looked at the file first. The log is made by the connection that syncs
    /// it: SQLite makes a new log's name durable only then.
    void use_wal() { execute("PRAGMA journal_mode=WAL"); }
    /// A consistent copy through SQLite's backup API.
    void backup_to(const std::string& path);
    void checkpoint();
    /// Writes the file anew, so that no page holds a byte of what was removed. Outside of
    /// transactions.
    void vacuum();
    /// Empties the log without waiting. False: a reader is in the way, and old pages are still in
    /// it.
    bool truncate_log();

private:
    friend class Statement;
    friend class Transaction;
    friend class Savepoint;
    struct Impl;
    void roll_back() noexcept;
    explicit Database(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

/// BEGIN on construction, ROLLBACK on destruction unless committed. A rollback, of the whole or of
/// a savepoint in it, that finds no memory or no disk is made up for: such a transaction cannot be
/// committed, and the next one begins with it.  Confined.
class Transaction {
public:
    enum class Kind { deferred, immediate };
    explicit Transaction(Database& database, Kind kind = Kind::immediate);
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction();
    void commit();

private:
    Database& database_;
    bool open_ = true;
};

/// SAVEPOINT on construction, undone on destruction unless released.  Confined.
class Savepoint {
public:
    explicit Savepoint(Database& database);
    Savepoint(const Savepoint&) = delete;
    Savepoint& operator=(const Savepoint&) = delete;
    ~Savepoint();
    void release();

private:
    Database& database_;
    Statement undo_, release_;  // ready before they are needed: undoing must not fail
    bool open_ = true;
};

}  // namespace rapport::sqlite
