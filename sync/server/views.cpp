// SPDX-License-Identifier: Apache-2.0
#include "server/views.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "model/hash.hpp"
#include "model/json.hpp"
#include "rapport/error.hpp"
#include "server/feed.hpp"
#include "server/http/log.hpp"

namespace rapport::server {
namespace {

constexpr std::size_t kStepLines = 1000;
constexpr int kGiveWay = 10;  // of nice
constexpr std::chrono::seconds kPoll{1}, kPauseAfterFailure{10};

// ---- the tables

constexpr const char* kOwnColumns =
    "id TEXT PRIMARY KEY NOT NULL, scope TEXT NOT NULL, move INTEGER NOT NULL, "
    "commit_no INTEGER NOT NULL, bundle TEXT NOT NULL, author TEXT NOT NULL, "
    "server_received_at TEXT NOT NULL, server_received_at_ms INTEGER NOT NULL, conflicts TEXT";
constexpr int kOwnWidth = 9;

constexpr const char* kBookkeeping =
    "CREATE TABLE feed_position (one INTEGER PRIMARY KEY CHECK (one = 1), tenant TEXT NOT NULL, "
    "commit_no INTEGER NOT NULL, definition INTEGER NOT NULL) STRICT;"
    "CREATE TABLE departure (id TEXT NOT NULL, move INTEGER NOT NULL, kind TEXT NOT NULL, "
    "from_scope TEXT NOT NULL, to_scope TEXT NOT NULL, commit_no INTEGER NOT NULL, "
    "PRIMARY KEY (id, move, from_scope)) STRICT;"
    "CREATE TABLE erasure (order_no INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, "
    "issued_at TEXT NOT NULL, issued_at_ms INTEGER NOT NULL, commit_no INTEGER NOT NULL) STRICT;";

std::string identifier(std::string_view name) { return '"' + std::string(name) + '"'; }

/// One column: a field, or a part of a group in one.
struct Column {
    std::string name;
    const char* type;
};

void add_columns(const TypeInfo& type, const std::string& name, std::vector<Column>& columns) {
    switch (type.shape) {
        case Shape::boolean:
        case Shape::integer:
            columns.push_back({name, "INTEGER"});
            break;
        case Shape::instant:
            columns.push_back({name, "TEXT"});
            columns.push_back({name + "_ms", "INTEGER"});
            break;
        case Shape::group:
            for (const PartInfo& part : type.parts)
                add_columns(part.type, name + "_" + std::string(part.name), columns);
            break;
        case Shape::text:
        case Shape::code:
        case Shape::reference:
            columns.push_back({name, "TEXT"});
            break;
    }
}

std::vector<Column> columns_of(const Field& field) {
    if (field.is_keyed()) return {{field.name, "TEXT"}};
    std::vector<Column> columns;
    add_columns(field.type, field.name, columns);
    return columns;
}

/// What SQL creates a kind's table, and what fills one row.
struct Table {
    std::string create, upsert;
};

Table table_of(const Kind& kind) {
    std::set<std::string> taken{"id",
                                "scope",
                                "move",
                                "commit_no",
                                "bundle",
                                "author",
                                "conflicts",
                                "server_received_at",
                                "server_received_at_ms"};
    Table table;
    std::string marks, indexes;
    for (int i = 0; i < kOwnWidth; ++i) marks += i == 0 ? "?" : ",?";
    table.create = "CREATE TABLE " + identifier(kind.name) + " (" + kOwnColumns;
    for (const Field& field : kind.fields) {
        std::string last;
        for (const Column& column : columns_of(field)) {
            last = column.name;
            while (!taken.insert(last).second) last += '_';
            table.create += ", " + identifier(last) + " " + column.type;
            marks += ",?";
        }
        // Of a time that is its milliseconds, which order; of a group its last part.
        if (field.marks.indexed && !field.is_keyed() && field.type.shape != Shape::group)
            indexes += "CREATE INDEX " + identifier(kind.name + "_" + field.name) + " ON " +
                       identifier(kind.name) + " (" + identifier(last) + ");";
    }
    table.create += ") STRICT;" + indexes;
    table.upsert = "INSERT OR REPLACE INTO " + identifier(kind.name) + " VALUES (" + marks + ")";
    return table;
}

const std::map<std::uint16_t, Table>& tables() {
    static const auto all = [] {
        std::map<std::uint16_t, Table> made;
        for (const Kind* kind : all_kinds()) made.emplace(kind->number, table_of(*kind));
        return made;
    }();
    return all;
}

const std::string& definition() {
    static const std::string all = [] {
        std::string sql = kBookkeeping;
        for (const auto& [number, table] : tables()) sql += table.create;
        return sql;
    }();
    return all;
}
std::uint64_t definition_hash() {
    static const std::uint64_t hash = hash64(definition());
    return hash;
}

// ---- a row

/// Binds one value after the other.
class Row {
public:
    explicit Row(sqlite::Statement& statement) : statement_(statement) {}

    template <class T>
    Row& add(const T& value) {
        statement_.bind(++at_, value);
        return *this;
    }
    Row& add_null() {
        statement_.bind_null(++at_);
        return *this;
    }
    Row& add_time(const Instant& time) {
        return add(time.rfc3339()).add(std::int64_t{time.at.time_since_epoch().count()});
    }
    /// A value whose shape is not its type's, which an older version may have written, is null.
    void add_value(const TypeInfo& type, const Value* value) {
        const std::int64_t* integer = value ? value->integer() : nullptr;
        const std::string* text = value ? value->text() : nullptr;
        switch (type.shape) {
            case Shape::boolean:
            case Shape::integer:
                integer ? add(*integer) : add_null();
                break;
            case Shape::instant:
                integer ? add_time(Instant::unpack(*integer)) : add_null().add_null();
                break;
            case Shape::text:
            case Shape::code:
                text ? add(std::string_view(*text)) : add_null();
                break;
            case Shape::reference: {
                const auto id = text ? RecordId::from_bytes(*text) : std::nullopt;
                id ? add(id->text()) : add_null();
                break;
            }
            case Shape::group: {
                const Parts* parts = value ? value->parts() : nullptr;
                for (std::size_t i = 0; i < type.parts.size(); ++i)
                    add_value(type.parts[i].type,
                              parts && i < parts->size() ? &(*parts)[i] : nullptr);
                break;
            }
        }
    }
    void add_content(const Field& field, const Content* content) {
        if (!content || content->empty())
            field.is_keyed() ? void(add_null()) : add_value(field.type, nullptr);
        else if (field.is_keyed())
            add(content_to_json(field, *content));
        else if (field.policy == Policy::keep_both)
            add(joined(*content));
        else
            add_value(field.type, &content->front().value);
    }

private:
    static std::string joined(const Content& siblings) {
        std::vector<std::string> texts;
        for (const Item& item : siblings)
            if (const std::string* text = item.value.text()) texts.push_back(*text);
        return detail::joined(texts);
    }
    sqlite::Statement& statement_;
    int at_ = 0;
};

void write(sqlite::Database& file, const StoredRecord& stored) {
    const Record record = show(stored.state);
    if (!record.kind) return;
    auto statement = file.prepare(tables().at(record.kind->number).upsert);
    Row row(statement);
    row.add(record.id.text()).add(std::string_view(record.scope));
    row.add(stored.state.move).add(stored.commit);
    row.add(std::string_view(stored.bundle)).add(std::string_view(stored.author));
    row.add_time(Instant(TimePoint(Milliseconds(stored.received_at_ms))));
    if (const std::string conflicts = conflicts_json(stored, *record.kind); conflicts.empty())
        row.add_null();
    else
        row.add(std::string_view(conflicts));
    for (const Field& field : record.kind->fields) {
        const auto content = record.fields.find(field.number);
        row.add_content(field, content == record.fields.end() ? nullptr : &content->second);
    }
    statement.run();
}

void write(sqlite::Database& file, const StoredDeparture& departure) {
    const Kind* kind = kind_numbered(departure.kind);
    if (!kind) return;
    file.prepare("INSERT OR REPLACE INTO departure VALUES (?, ?, ?, ?, ?, ?)")
        .bind_all(departure.id.text(), departure.move, std::string_view(kind->name),
                  std::string_view(departure.from), std::string_view(departure.to),
                  departure.commit)
        .run();
}

void write(sqlite::Database& file, const StoredErasure& erasure) {
    const Kind* kind = kind_numbered(erasure.order.kind);
    if (!kind) return;
    auto statement = file.prepare("INSERT OR REPLACE INTO erasure VALUES (?, ?, ?, ?, ?, ?)");
    Row row(statement);
    row.add(erasure.order.number).add(std::string_view(kind->name));
    row.add(erasure.order.subject.text());
    row.add_time(Instant(TimePoint(Milliseconds(erasure.order.issued_at_ms))));
    row.add(erasure.commit);
    statement.run();
}

// ---- the file

/// What an erasure has still to clean, kept as PRAGMA user_version.
enum Unclean : std::int64_t { kClean = 0, kLog = 1, kPages = 2 };

std::int64_t unclean(sqlite::Database& file) {
    auto q = file.prepare("PRAGMA user_version");
    return q.step() ? q.integer(0) : kClean;
}
void note_unclean(sqlite::Database& file, std::int64_t state) {
    file.execute("PRAGMA user_version = " + std::to_string(state));
}

/// A reader may be in the way of the log; then the next step tries again.
void clean(sqlite::Database& file) {
    const std::int64_t state = unclean(file);
    if (state == kClean) return;
    if (state == kPages) {
        file.vacuum();
        note_unclean(file, kLog);
    }
    if (!file.truncate_log()) return;
    note_unclean(file, kClean);
}

void make_anew(sqlite::Database& file, const std::string& tenant) {
    std::vector<std::string> old;
    {
        auto q = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'");
        while (q.step()) old.emplace_back(q.text(0));
    }
    for (const std::string& name : old) file.execute("DROP TABLE " + identifier(name));
    file.execute(definition());
    file.prepare("INSERT INTO feed_position VALUES (1, ?, 0, ?)")
        .bind_all(std::string_view(tenant), definition_hash())
        .run();
}

/// nullopt: the file is new or of another version.
std::optional<std::uint64_t> position(sqlite::Database& file) {
    if (!file.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'feed_position'").step())
        return std::nullopt;
    auto q = file.prepare("SELECT commit_no, definition FROM feed_position");
    if (!q.step() || q.unsigned_integer(1) != definition_hash()) return std::nullopt;
    return q.unsigned_integer(0);
}

/// With what SQLite keeps beside it, which must not meet another file of the name.
void remove_file(const std::string& path) {
    for (const char* beside : {"", "-wal", "-shm"}) {
        std::error_code ignored;
        std::filesystem::remove(path + beside, ignored);
    }
}

}  // namespace

Views::Views(Storage& storage, std::string folder)
    : storage_(storage), folder_(std::move(folder)) {}

std::string Views::path_of(const std::string& tenant) const {
    std::string name;
    for (const char c : tenant) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '_';
        static constexpr char kDigits[] = "0123456789ABCDEF";
        if (plain) {
            name += c;
        } else {
            name += '%';
            name += kDigits[static_cast<unsigned char>(c) >> 4U];
            name += kDigits[static_cast<unsigned char>(c) & 15U];
        }
    }
    return folder_ + "/" + name + ".db";
}

sqlite::Database& Views::file_of(const std::string& tenant) {
    const std::string path = path_of(tenant);
    auto at = files_.find(tenant);
    if (std::filesystem::exists(path)) {
        if (at != files_.end()) return at->second;
    } else {
        if (at != files_.end()) files_.erase(at);
        remove_file(path);
        std::error_code failed;
        std::filesystem::create_directories(folder_, failed);
        if (failed)
            throw Error(ErrorCode::storage_failed, "the folder of the views cannot be made",
                        failed.value());
    }
    // A power cut may take the last steps; their place goes with them.
    return files_.emplace(tenant, sqlite::Database::open(path, {.full_sync = false})).first->second;
}

bool Views::step() {
    bool any = false;
    for (const std::string& tenant : storage_.begin_read()->tenants()) {
        const std::lock_guard lock(mutex_);
        try {
            any |= step(tenant);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::storage_damaged) throw;
            files_.erase(tenant);
            remove_file(path_of(tenant));
            any = true;
        }
    }
    return any;
}

bool Views::step(const std::string& tenant) {
    sqlite::Database& file = file_of(tenant);
    const auto snapshot = storage_.begin_read();
    const std::uint64_t head = snapshot->feed_head(tenant);
    clean(file);
    if (position(file) == head) return false;

    const sqlite::Transaction::Kind kind = sqlite::Transaction::Kind::immediate;
    sqlite::Transaction transaction(file, kind);
    auto after = position(file);
    const bool anew = !after || *after > head;  // or the store is an older one, from a backup
    if (anew) make_anew(file, tenant);
    if (anew) after = 0;
    const FeedBatch batch = feed_batch(*snapshot, tenant, *after, kStepLines);
    for (const StoredDeparture& departure : batch.departures) write(file, departure);
    for (const StoredRecord& record : batch.records) write(file, record);
    for (const StoredErasure& erasure : batch.erasures) write(file, erasure);
    if (!batch.erasures.empty()) note_unclean(file, kPages);
    if (batch.end != *after)
        file.prepare("UPDATE feed_position SET commit_no = ?").bind_all(batch.end).run();
    transaction.commit();
    clean(file);
    return anew || batch.end != *after;
}

std::vector<Views::Place> Views::places() {
    const std::lock_guard lock(mutex_);
    std::vector<Place> places;
    const auto snapshot = storage_.begin_read();
    for (const std::string& tenant : snapshot->tenants()) {
        Place& place = places.emplace_back();
        place.tenant = tenant;
        place.path = path_of(tenant);
        place.head = snapshot->feed_head(tenant);
        if (std::filesystem::exists(place.path))
            place.commit = position(file_of(tenant)).value_or(0);
    }
    return places;
}

// ---- the thread

ViewsFollower::ViewsFollower(Views& views) : views_(views), thread_([this] { work(); }) {}

ViewsFollower::~ViewsFollower() {
    {
        const std::lock_guard lock(mutex_);
        end_ = true;
    }
    ending_.notify_all();
    thread_.join();
}

void ViewsFollower::work() {
    // On Linux a thread has a priority of its own.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kGiveWay);
    std::unique_lock lock(mutex_);
    while (!end_) {
        lock.unlock();
        bool more = false, failed = false;
        try {
            more = views_.step();
        } catch (const Error& error) {
            failed = true;
            log::write(log::Level::warning, "views_not_updated",
                       {{"code", name_of(error.code())}, {"detail", error.detail()}});
        }
        lock.lock();
        if (!more)
            ending_.wait_for(lock, failed ? kPauseAfterFailure : kPoll, [this] { return end_; });
    }
}

std::string views_folder(const std::string& store_path) { return store_path + ".views"; }

}  // namespace rapport::server
