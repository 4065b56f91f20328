// SPDX-License-Identifier: Apache-2.0
#include "store/schema.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "rapport/error.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/rows.hpp"

namespace rapport {
namespace {

constexpr std::array kBookkeeping{
    "CREATE TABLE IF NOT EXISTS meta("
    "key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS bundle("
    "id INTEGER PRIMARY KEY, state INTEGER NOT NULL, counter INTEGER, captured_at INTEGER NOT NULL,"
    "later_run INTEGER NOT NULL DEFAULT 0, bytes BLOB, verdict INTEGER, reasons BLOB, former BLOB,"
    "needs BLOB)"
    "STRICT",
    // What waits to be sent is the long part of the queue and in no index.
    "CREATE INDEX IF NOT EXISTS bundle_counter ON bundle(counter) WHERE counter IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS bundle_verdict ON bundle(counter) WHERE verdict IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS bundle_held ON bundle(state) WHERE state<>1 OR later_run<>0",

    "CREATE TABLE IF NOT EXISTS change("
    "bundle INTEGER NOT NULL, record BLOB NOT NULL, kind INTEGER NOT NULL, creates INTEGER NOT "
    "NULL,"
    "scope TEXT NOT NULL DEFAULT '', writes BLOB NOT NULL, PRIMARY KEY(bundle, record))"
    "WITHOUT ROWID, STRICT",
    "CREATE INDEX IF NOT EXISTS change_record ON change(record, bundle)",

    "CREATE TABLE IF NOT EXISTS entry("
    "seq INTEGER PRIMARY KEY, id INTEGER NOT NULL, tag INTEGER NOT NULL, cursor BLOB NOT NULL,"
    "receipt INTEGER NOT NULL) STRICT",

    // What a recovery needs of an entry beside it.
    "CREATE TABLE IF NOT EXISTS entry_more("
    "entry INTEGER PRIMARY KEY, whole INTEGER NOT NULL, sent BLOB NOT NULL) STRICT",

    "CREATE TABLE IF NOT EXISTS offer("
    "record BLOB PRIMARY KEY, kind INTEGER NOT NULL, state INTEGER NOT NULL) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS touched("
    "entry INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY(entry, record))"
    "WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS request("
    "one INTEGER PRIMARY KEY CHECK(one=1), next INTEGER NOT NULL, kind INTEGER NOT NULL,"
    "last_id INTEGER NOT NULL, last_tag INTEGER NOT NULL, extra BLOB NOT NULL) STRICT",

    "CREATE TABLE IF NOT EXISTS request_bundle(bundle INTEGER PRIMARY KEY) STRICT",

    "CREATE TABLE IF NOT EXISTS staged("
    "record BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS staged_departure("
    "record BLOB PRIMARY KEY, kind INTEGER NOT NULL, move INTEGER NOT NULL, scope TEXT NOT NULL)"
    "WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS departed("
    "record BLOB PRIMARY KEY, kind INTEGER NOT NULL, move INTEGER NOT NULL, scope TEXT NOT NULL,"
    "at INTEGER, left_at INTEGER NOT NULL, entry INTEGER NOT NULL, held INTEGER NOT NULL)"
    "WITHOUT ROWID, STRICT",
    "CREATE INDEX IF NOT EXISTS departed_held ON departed(entry) WHERE held",

    "CREATE TABLE IF NOT EXISTS incomplete(scope TEXT PRIMARY KEY) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS renewed(record BLOB PRIMARY KEY) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS awaited(record BLOB PRIMARY KEY) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS unknown_record("
    "record BLOB PRIMARY KEY, kind INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS draft_text("
    "record BLOB NOT NULL, field TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY(record, field))"
    "WITHOUT ROWID, STRICT",

    "CREATE TABLE IF NOT EXISTS erasure("
    "number INTEGER PRIMARY KEY, kind INTEGER NOT NULL, subject BLOB NOT NULL, issued_at INTEGER "
    "NOT NULL, seal INTEGER NOT NULL, claim INTEGER NOT NULL) STRICT",

    "CREATE TABLE IF NOT EXISTS user("
    "id INTEGER PRIMARY KEY, server TEXT NOT NULL, tenant TEXT NOT NULL, rep TEXT NOT NULL, "
    "left_at "
    "INTEGER NOT NULL) STRICT",

    "CREATE TABLE IF NOT EXISTS parked("
    "seq INTEGER PRIMARY KEY, user INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL) "
    "STRICT",
    "CREATE INDEX IF NOT EXISTS parked_user ON parked(user)",

    "CREATE TABLE IF NOT EXISTS author(writer INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT",

    "CREATE TABLE IF NOT EXISTS external_id("
    "system TEXT NOT NULL, id TEXT NOT NULL, record BLOB NOT NULL, kind INTEGER NOT NULL,"
    "PRIMARY KEY(system, id, record)) WITHOUT ROWID, STRICT",
    "CREATE INDEX IF NOT EXISTS external_id_record ON external_id(record)",
};

constexpr std::array<std::string_view, 7> kOwnColumns{"row",    "id",      "scope",   "move",
                                                      "status", "version", "siblings"};

constexpr std::string_view kOwnColumnsSql =
    "row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, scope TEXT NOT NULL, move INTEGER NOT NULL, "
    "status INTEGER NOT NULL, version BLOB, siblings TEXT";

std::string unreserved(std::string name) {
    if (std::find(kOwnColumns.begin(), kOwnColumns.end(), name) != kOwnColumns.end()) name += '_';
    return name;
}

const char* sql_type(Shape shape) {
    switch (shape) {
        case Shape::boolean:
        case Shape::integer:
        case Shape::instant:
            return "INTEGER";
        case Shape::reference:
            return "BLOB";
        default:
            return "TEXT";
    }
}

std::int64_t pragma(sqlite::Database& db, const char* name) {
    auto statement = db.prepare(std::string("PRAGMA ") + name);
    return statement.step() ? statement.integer(0) : 0;
}

bool is_empty(sqlite::Database& db) {
    return !db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").step();
}

bool has_table(sqlite::Database& db, std::string_view name) {
    auto table = db.prepare("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?");
    return table.bind(1, name).step();
}

std::set<std::string> columns_in_file(sqlite::Database& db, const std::string& table) {
    std::set<std::string> names;
    auto statement = db.prepare("SELECT name FROM pragma_table_info(?)");
    statement.bind(1, table);
    while (statement.step()) names.emplace(statement.text(0));
    return names;
}

void create_table(sqlite::Database& db, const Kind& kind) {
    std::string sql = "CREATE TABLE " + identifier(kind.name) + "(" + std::string(kOwnColumnsSql);
    for (const Field& field : kind.fields)
        for (const Column& column : columns_of(field))
            sql += ", " + identifier(column.name) + " " + column.type;
    db.execute(sql + ") STRICT");
}

void create_indexes(sqlite::Database& db, const Kind& kind) {
    const Field* time = kind.time.empty() ? nullptr : kind.field(kind.time);
    const auto create = [&](const std::string& name, const std::string& rest) {
        db.execute("CREATE INDEX IF NOT EXISTS " + identifier(kind.name + "_" + name) + " ON " +
                   identifier(kind.name) + rest);
    };
    if (time) create(column_of(*time), "(" + identifier(column_of(*time)) + ")");
    for (const Field& field : kind.fields) {
        if (!field.marks.indexed || field.is_keyed() || &field == time) continue;
        std::string list;
        for (const Column& column : columns_of(field))
            list += (list.empty() ? "" : ", ") + identifier(column.name);
        if (time) list += ", " + identifier(column_of(*time));
        create(column_of(field), "(" + list + ")");
    }
    create("status", "(status) WHERE status<>0");
}

// An older build kept these fields in `version` only, as fields it did not know.
void show_new_fields(sqlite::Database& db, const Kind& kind,
                     const std::vector<const Field*>& added) {
    std::int64_t last = 0;
    const std::string sql =
        select_of(kind) + " WHERE row>? AND version IS NOT NULL ORDER BY row LIMIT 1";
    for (;;) {
        std::optional<Row> row;
        {
            auto statement = db.prepare(sql);
            statement.bind(1, last);
            if (!statement.step()) return;
            row = row_at(statement, kind);
        }
        last = row->row;
        if (std::any_of(added.begin(), added.end(), [&](const Field* field) {
                return row->confirmed.fields.contains(field->number);
            }))
            save_with_pending(db, *row, load_pending(db, *row));
    }
}

void migrate_kind(sqlite::Database& db, const Kind& kind) {
    const std::set<std::string> present = columns_in_file(db, kind.name);
    std::vector<const Field*> added;
    if (present.empty()) {
        create_table(db, kind);
    } else {
        for (const Field& field : kind.fields)
            for (const Column& column : columns_of(field))
                if (!present.count(column.name)) {
                    db.execute("ALTER TABLE " + identifier(kind.name) + " ADD COLUMN " +
                               identifier(column.name) + " " + column.type);
                    if (added.empty() || added.back() != &field) added.push_back(&field);
                }
    }
    if (!added.empty()) show_new_fields(db, kind, added);
}

// Earlier builds had a table of what bundles need.
constexpr const char* kNeeds = "needs";

void move_needs(sqlite::Database& db) {
    if (!has_table(db, kNeeds)) return;
    if (!columns_in_file(db, "bundle").count(kNeeds))
        db.execute("ALTER TABLE bundle ADD COLUMN needs BLOB");
    std::map<std::int64_t, std::vector<std::int64_t>> moved;
    auto select = db.prepare("SELECT bundle, needed FROM needs");
    while (select.step()) moved[select.integer(0)].push_back(select.integer(1));
    select.reset();
    for (const auto& [bundle, needs] : moved) add_needs(db, bundle, needs);
    db.execute("DROP TABLE needs");
    forget_ids_to_come(db);
}

// An older build could only put aside what it did not know.
void show_new_kinds(sqlite::Database& db) {
    std::vector<RecordState> known;
    auto select = db.prepare("SELECT kind, body FROM unknown_record ORDER BY record");
    while (select.step())
        if (kind_numbered(static_cast<std::uint16_t>(select.integer(0))))
            known.push_back(decode_record(select.blob(1)));
    select.reset();
    for (RecordState& record : known) {
        Row row;
        row.kind = kind_numbered(record.kind);
        row.id = record.id;
        row.confirmed = std::move(record);
        row.confirmed_once = true;
        save_with_pending(db, row, {});
        db.prepare("DELETE FROM unknown_record WHERE record=?").bind(1, row.id).run();
    }
}

[[noreturn]] void throw_older() {
    throw Error(ErrorCode::conflict, "an older build wrote the file; open it for writing once");
}

}  // namespace

void check_ours(sqlite::Database& db) {
    if (is_empty(db) && pragma(db, "application_id") == 0) return;
    if (pragma(db, "application_id") != kApplicationId || pragma(db, "user_version") < 1)
        throw Error(ErrorCode::storage_damaged, "the file is a database, but not a device file");
    if (const auto version = pragma(db, "user_version"); version > kFormatVersion)
        throw Error(ErrorCode::storage_newer, "the file has format " + std::to_string(version) +
                                                  ", this build knows formats up to " +
                                                  std::to_string(kFormatVersion));
}

void create_or_migrate(sqlite::Database& db) {
    sqlite::Transaction transaction(db);
    check_ours(db);
    if (is_empty(db))
        db.execute("PRAGMA application_id=" + std::to_string(kApplicationId) +
                   "; PRAGMA user_version=" + std::to_string(kFormatVersion));
    for (const char* sql : kBookkeeping) db.execute(sql);
    move_needs(db);
    for (const Kind* kind : all_kinds()) migrate_kind(db, *kind);
    index_kinds_with_rows(db);
    show_new_kinds(db);
    transaction.commit();
}

void index_kind(sqlite::Database& db, const Kind& kind) {
    create_indexes(db, kind);
    db.schema_changed();
}

void index_kinds_with_rows(sqlite::Database& db) {
    const std::vector<const Kind*> present = indexed_kinds(db);
    for (const Kind* kind : all_kinds())
        if (std::find(present.begin(), present.end(), kind) != present.end() ||
            db.prepare("SELECT 1 FROM " + identifier(kind->name) + " LIMIT 1").step())
            index_kind(db, *kind);
}

std::vector<const Kind*> indexed_kinds(sqlite::Database& db) {
    std::set<std::string, std::less<>> names;
    auto select = db.prepare("SELECT name FROM sqlite_schema WHERE type='index'");
    while (select.step()) names.emplace(select.text(0));
    std::vector<const Kind*> kinds;
    for (const Kind* kind : all_kinds())
        if (names.contains(kind->name + "_status")) kinds.push_back(kind);
    return kinds;
}

void check_format(sqlite::Database& db) {
    check_ours(db);
    if (is_empty(db)) throw Error(ErrorCode::not_found, "nothing has been stored in the file yet");
    for (const std::string_view sql : kBookkeeping) {
        constexpr std::string_view kTable = "CREATE TABLE IF NOT EXISTS ";
        if (sql.substr(0, kTable.size()) != kTable) continue;
        if (!has_table(db, sql.substr(kTable.size(), sql.find('(') - kTable.size()))) throw_older();
    }
    if (has_table(db, kNeeds)) throw_older();
    for (const Kind* kind : all_kinds()) {
        const std::set<std::string> present = columns_in_file(db, kind->name);
        for (const Field& field : kind->fields)
            for (const Column& column : columns_of(field))
                if (!present.count(column.name)) throw_older();
    }
}

std::vector<Column> columns_of(const Field& field) {
    if (field.is_keyed()) return {{column_of(field), "TEXT"}};
    if (field.type.shape != Shape::group) return {{column_of(field), sql_type(field.type.shape)}};
    std::vector<Column> columns;
    for (const PartInfo& part : field.type.parts)
        columns.push_back({column_of(field, part), sql_type(part.type.shape)});
    return columns;
}

std::string column_of(const Field& field) { return unreserved(field.name); }
std::string column_of(const Field& field, const PartInfo& part) {
    return unreserved(field.name + "_" + std::string(part.name));
}

std::string identifier(std::string_view name) { return '"' + std::string(name) + '"'; }

std::optional<std::string> meta(sqlite::Database& db, std::string_view key) {
    auto statement = db.prepare("SELECT value FROM meta WHERE key=?");
    statement.bind(1, key);
    if (!statement.step() || statement.is_null(0)) return std::nullopt;
    return std::string(statement.text(0));
}
std::optional<std::int64_t> meta_integer(sqlite::Database& db, std::string_view key) {
    auto statement = db.prepare("SELECT value FROM meta WHERE key=?");
    statement.bind(1, key);
    if (!statement.step() || statement.is_null(0)) return std::nullopt;
    return statement.integer(0);
}
void set_meta(sqlite::Database& db, std::string_view key, std::string_view value) {
    db.prepare("INSERT INTO meta VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value")
        .bind_all(key, value)
        .run();
}
void set_meta(sqlite::Database& db, std::string_view key, std::int64_t value) {
    db.prepare("INSERT INTO meta VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value")
        .bind_all(key, value)
        .run();
}

}  // namespace rapport
