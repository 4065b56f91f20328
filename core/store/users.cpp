// SPDX-License-Identifier: Apache-2.0
// Several users of one file, one at a time. Who logs out leaves nothing to be read but takes
// nothing along that is unsent: it is parked, row by row, until the same user logs in again.
#include "store/users.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>

#include "model/archive.hpp"
#include "model/erasure.hpp"
#include "store/apply.hpp"
#include "store/core.hpp"
#include "store/erasure.hpp"
#include "store/identity.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"
#include "store/search.hpp"

namespace rapport {
namespace {

// What belongs to the user and not to the file; `parked` tells which of it unsent work needs.
struct Own {
    std::string_view table;
    bool parked;
};
constexpr std::array kOwn{Own{"bundle", true},         Own{"change", true},
                          Own{"entry", true},          Own{"entry_more", true},
                          Own{"offer", true},          Own{"request", true},
                          Own{"request_bundle", true}, Own{"draft_text", true},
                          Own{"erasure", true},        Own{"author", true},
                          Own{"external_id", false},   Own{"touched", false},
                          Own{"staged", false},        Own{"staged_departure", false},
                          Own{"departed", false},      Own{"incomplete", false},
                          Own{"renewed", false},       Own{"awaited", false}};
constexpr std::array kOwnMeta{
    "identity",    "enrolment_secret", "counter",        "run",        "last_sync",    "limits",
    "recovery",    "declined",         "erasures_done",  "compare_at", "compared_at",  "mended",
    "mended_at",   "differing",        "revoked",        "forked_at",  "recovered_at", "parent",
    "next_secret", "renewal",          "scopes_changed", "anew"};
constexpr const char* kMeta = "meta";
constexpr const char* kUnsent = " WHERE status&3<>0";

// One row of any table, as it goes into `parked` and comes out again.
struct ParkedRow {
    std::vector<std::string> names;
    std::vector<sqlite::RawValue> cells;

    sqlite::RawValue* cell(std::string_view name) {
        const auto found = std::find(names.begin(), names.end(), name);
        return found == names.end() ? nullptr
                                    : &cells[static_cast<std::size_t>(found - names.begin())];
    }
    std::int64_t integer(std::string_view name) {
        const sqlite::RawValue* value = cell(name);
        return value ? value->integer : 0;
    }
    bool holds(const std::string& column, const RecordId& id) {
        const sqlite::RawValue* value = cell(column);
        return value && value->bytes == id.raw();
    }

    std::string encode() const {
        WireWriter w;
        w.varint(names.size());
        for (std::size_t i = 0; i < names.size(); ++i) {
            w(names[i]);
            w.varint(static_cast<std::uint64_t>(cells[i].type));
            if (cells[i].type == sqlite::RawValue::Type::integer)
                w(cells[i].integer);
            else
                w(cells[i].bytes);
        }
        return w.take();
    }
    static ParkedRow decode(std::string_view bytes) {
        ParkedRow row;
        WireReader r(bytes);
        for (std::size_t n = r.count(); n > 0; --n) {
            r(row.names.emplace_back());
            sqlite::RawValue& cell = row.cells.emplace_back();
            cell.type = static_cast<sqlite::RawValue::Type>(r.varint());
            if (cell.type == sqlite::RawValue::Type::integer)
                r(cell.integer);
            else
                r(cell.bytes);
        }
        r.finish();
        return row;
    }
};

class Parking {
public:
    Parking(sqlite::Database& db, std::int64_t user) : db_(db), user_(user) {}

    void park(const std::string& table, const std::string& where = {}) {
        auto select = db_.prepare("SELECT * FROM " + identifier(table) + where);
        while (select.step()) {
            ParkedRow row;
            for (int i = 0; i < select.columns(); ++i) {
                row.names.emplace_back(select.name(i));
                row.cells.push_back(select.raw(i));
            }
            db_.prepare("INSERT INTO parked(user, name, body) VALUES(?,?,?)")
                .bind(1, user_)
                .bind(2, table)
                .bind_blob(3, row.encode())
                .run();
        }
    }

    void bring_back() {
        std::vector<std::pair<std::string, ParkedRow>> rows;
        auto select = db_.prepare("SELECT name, body FROM parked WHERE user=? ORDER BY seq");
        select.bind(1, user_);
        while (select.step()) rows.emplace_back(select.text(0), ParkedRow::decode(select.blob(1)));
        select.reset();
        for (auto& [table, row] : rows)
            if (table == "needs")  // a table of an earlier build, parked behind `bundle`
                add_needs(db_, row.integer("bundle"), {row.integer("needed")});
            else
                insert(table, row);
        db_.prepare("DELETE FROM parked WHERE user=?").bind(1, user_).run();
    }

private:
    void insert(const std::string& table, const ParkedRow& row) {
        const bool ours = table == kMeta || kind_named(table) ||
                          std::any_of(kOwn.begin(), kOwn.end(),
                                      [&](const Own& own) { return own.table == table; });
        if (!ours) throw Error(ErrorCode::storage_damaged, "a parked row is of an unknown table");
        std::string columns, marks;
        for (const std::string& name : row.names) {
            columns += (columns.empty() ? "" : ",") + identifier(name);
            marks += marks.empty() ? "?" : ",?";
        }
        auto statement = db_.prepare("INSERT OR REPLACE INTO " + identifier(table) + "(" + columns +
                                     ") VALUES(" + marks + ")");
        for (std::size_t i = 0; i < row.cells.size(); ++i)
            statement.bind(static_cast<int>(i) + 1, row.cells[i]);
        statement.run();
    }

    sqlite::Database& db_;
    std::int64_t user_;
};

// What waits for one user, held to orders that came while they were away.
class ParkedErasure {
public:
    ParkedErasure(sqlite::Database& db, std::int64_t user, const std::set<RecordId>& subjects)
        : db_(db), subjects_(subjects), reached_(subjects) {
        auto select = db_.prepare("SELECT seq, name, body FROM parked WHERE user=?");
        select.bind(1, user);
        while (select.step())
            rows_.push_back({select.integer(0), std::string(select.text(1)),
                             ParkedRow::decode(select.blob(2))});
    }

    /// Was anything there to take?
    bool run() {
        bool any = false;
        for (std::size_t before = 0; before != reached_.size();) {
            before = reached_.size();
            for (Parked& p : rows_)
                if (const Kind* kind = kind_named(p.table); kind && is_reached(*kind, p.row))
                    reached_.insert(id_in(p.row, "id"));
        }
        for (Parked& p : rows_) {
            const Kind* kind = kind_named(p.table);
            const std::string before = p.row.encode();
            if (kind ? reached_.contains(id_in(p.row, "id")) && erase_row(*kind, p.row)
                : p.table == "change" ? erase_change(p.row)
                : p.table == "bundle" ? erase_bundle(p.row)
                                      : false)
                any |= keep(p, before);
            const bool loose = p.table == "draft_text" || p.table == "external_id";
            if (loose && reached_.contains(id_in(p.row, "record"))) {
                db_.prepare("DELETE FROM parked WHERE seq=?").bind(1, p.seq).run();
                any = true;
            }
        }
        return any;
    }

private:
    struct Parked {
        std::int64_t seq;
        std::string table;
        ParkedRow row;
    };

    static RecordId id_in(ParkedRow& row, const char* column) {
        const sqlite::RawValue* value = row.cell(column);
        return (value ? RecordId::from_bytes(value->bytes) : std::nullopt).value_or(RecordId{});
    }

    static bool names(const Field& field, ParkedRow& row, const RecordId& id) {
        if (field.is_keyed()) {
            const sqlite::RawValue* value = row.cell(column_of(field));
            return field.type.shape == Shape::reference && value &&
                   value->bytes.find(id.text()) != std::string::npos;
        }
        if (field.type.shape == Shape::reference) return row.holds(column_of(field), id);
        return std::any_of(
            field.type.parts.begin(), field.type.parts.end(), [&](const PartInfo& part) {
                return part.type.shape == Shape::reference && row.holds(column_of(field, part), id);
            });
    }
    bool is_reached(const Kind& kind, ParkedRow& row) {
        const auto any_names = [&](const Field& field, const std::set<RecordId>& ids) {
            return std::any_of(ids.begin(), ids.end(),
                               [&](const RecordId& id) { return names(field, row, id); });
        };
        const Field* root = kind.field(kind.root);
        return (root && any_names(*root, reached_)) ||
               std::any_of(kind.fields.begin(), kind.fields.end(),
                           [&](const Field& field) { return any_names(field, subjects_); });
    }

    static bool erase_row(const Kind& kind, ParkedRow& row) {
        for (const Field& field : kind.fields)
            if (erasable(field))
                for (const Column& column : columns_of(field))
                    if (sqlite::RawValue* value = row.cell(column.name)) *value = {};
        if (sqlite::RawValue* siblings = row.cell("siblings")) *siblings = {};
        sqlite::RawValue* version = row.cell("version");
        if (!version || version->type == sqlite::RawValue::Type::null) return true;
        RecordState state;
        state.kind = kind.number;
        decode_fields(version->bytes, false, state);
        strip(state);
        version->bytes =
            encode_fields(state, false, [](auto, const LiveValue& live) { return live.elided; });
        return true;
    }
    bool erase_change(ParkedRow& row) {
        const sqlite::RawValue* number = row.cell("kind");
        sqlite::RawValue* writes = row.cell("writes");
        const Kind* kind =
            number ? kind_numbered(static_cast<std::uint16_t>(number->integer)) : nullptr;
        if (!kind || !writes || !reached_.contains(id_in(row, "record"))) return false;
        writes->bytes = without_erasable(writes->bytes, *kind);
        return true;
    }
    bool erase_bundle(ParkedRow& row) {
        bool any = false;
        if (sqlite::RawValue* reasons = row.cell("reasons"); reasons && !reasons->bytes.empty()) {
            auto list = decode<std::vector<Refusal>>(reasons->bytes);
            any = strip(list);
            reasons->bytes = encode(list);
        }
        sqlite::RawValue* bytes = row.cell("bytes");
        if (!bytes || bytes->bytes.empty()) return any;
        Bundle bundle = decode_bundle(bytes->bytes);
        for (Change& change : bundle.changes)
            if (reached_.contains(change.id)) any |= strip(change);
        bytes->bytes = encode_bundle(bundle);
        return any;
    }
    bool keep(const Parked& p, const std::string& before) {
        const std::string body = p.row.encode();
        if (body == before) return false;
        db_.prepare("UPDATE parked SET body=? WHERE seq=?").bind_blob(1, body).bind(2, p.seq).run();
        return true;
    }

    sqlite::Database& db_;
    const std::set<RecordId>& subjects_;
    std::set<RecordId> reached_;
    std::vector<Parked> rows_;
};

// An order that came while its user was away may have left nothing of a change, or of a bundle.
void drop_what_says_nothing(sqlite::Database& db) {
    std::set<std::pair<std::int64_t, RecordId>> records;  // kind and record
    auto select = db.prepare("SELECT kind, record, writes FROM change WHERE creates=0");
    while (select.step())
        if (StoredWrites(select.blob(2)).writes.empty())
            records.emplace(select.integer(0), select.id(1));
    select.reset();
    for (const auto& [number, id] : records) {
        const Kind* kind = kind_numbered(static_cast<std::uint16_t>(number));
        auto loaded = kind ? load(db, *kind, id) : std::nullopt;
        if (!loaded) continue;
        save_all(db, *loaded);
    }
    drop_emptied(db);
}

void empty_file(Store::Core::Writing& writing) {
    sqlite::Database& db = writing.db;
    drop_index(db);  // first, so that no row leaves a mark in it
    for (const Own& own : kOwn) db.execute("DELETE FROM " + identifier(own.table));
    for (const Kind* kind : all_kinds()) {
        auto select = db.prepare("SELECT id FROM " + identifier(kind->name));
        while (select.step()) writing.changed(*kind, select.id(0));
        select.reset();
        db.execute("DELETE FROM " + identifier(kind->name));
    }
    for (const char* key : kOwnMeta) db.prepare("DELETE FROM meta WHERE key=?").bind(1, key).run();
    set_meta(db, "rep", "");
}

}  // namespace

void Store::log_out() {
    {
        Core::Writing writing(*core_);
        sqlite::Database& db = writing.db;
        const auto identity = stored_identity(db);
        if (!identity) throw Error(ErrorCode::not_enrolled, "nobody is logged in");
        db.prepare("INSERT INTO user(server, tenant, rep, left_at) VALUES(?,?,?,?)")
            .bind_all(identity->server, identity->tenant, identity->rep, core_->now().packed())
            .run();
        Parking parking(db, db.last_row_id());
        std::string keys;
        for (const char* key : kOwnMeta)
            keys += (keys.empty() ? "'" : ",'") + std::string(key) + "'";
        parking.park(kMeta, " WHERE key IN (" + keys + ")");
        for (const Own& own : kOwn)
            if (own.parked) parking.park(std::string(own.table));
        parking.park("external_id", " WHERE record IN (SELECT record FROM change)");
        for (const Kind* kind : all_kinds()) parking.park(kind->name, kUnsent);
        empty_file(writing);
        writing.commit();
    }
    core_->scrub();  // a reader may be in the way: then the log keeps old pages until it is reused
}

void bring_back(Store::Core::Writing& writing, std::int64_t user) {
    sqlite::Database& db = writing.db;
    Parking(db, user).bring_back();
    index_kinds_with_rows(db);
    erase_again(db);
    drop_what_says_nothing(db);
    db.prepare("DELETE FROM user WHERE id=?").bind(1, user).run();
    // What the server had confirmed has gone: it comes down again, and what does not come is gone
    // there as well.
    // Nor can a restored server go on from what the file held before.
    set_meta(db, "anew", std::int64_t{1});
    db.execute("UPDATE entry_more SET whole = 0");
    set_meta(db, "renewal", kMarking);
    if (const auto identity = stored_identity(db))
        for (const std::string& scope : identity->scopes)
            db.prepare("INSERT OR IGNORE INTO incomplete(scope) VALUES(?)").bind(1, scope).run();
    for (const Kind* kind : all_kinds()) {
        auto rows = db.prepare("SELECT id FROM " + identifier(kind->name));
        while (rows.step()) writing.changed(*kind, rows.id(0));
    }
}

void Store::log_in(const std::string& rep) {
    Core::Writing writing(*core_);
    sqlite::Database& db = writing.db;
    if (stored_identity(db)) throw Error(ErrorCode::conflict, "somebody else is logged in");
    auto select = db.prepare("SELECT id FROM user WHERE rep=? ORDER BY id DESC LIMIT 1");
    if (!select.bind(1, rep).step())
        throw Error(ErrorCode::not_found, "this user has not logged out here");
    const std::int64_t user = select.integer(0);
    select.reset();
    if (db.prepare("SELECT 1 FROM bundle LIMIT 1").step())
        throw Error(ErrorCode::conflict,
                    "something was captured while nobody was logged in; enrol, or discard it");
    bring_back(writing, user);
    writing.commit();
}

std::optional<std::int64_t> parked_user(sqlite::Database& db, const Identity& identity) {
    auto select = db.prepare(
        "SELECT id FROM user WHERE server=? AND tenant=? AND rep=? ORDER BY id DESC LIMIT 1");
    select.bind_all(identity.server, identity.tenant, identity.rep);
    return select.step() ? std::optional(select.integer(0)) : std::nullopt;
}

void restamp_parked(sqlite::Database& db, const std::function<Stamp(Stamp stamp, Stamp held)>& to) {
    struct Parked {
        std::int64_t seq, user;
        ParkedRow row;
    };
    std::set<std::pair<std::int64_t, std::int64_t>> taken;  // user and bundle
    std::vector<Parked> changes;
    auto select = db.prepare(
        "SELECT seq, user, name, body FROM parked WHERE name IN ('bundle', 'change') ORDER BY seq");
    while (select.step()) {
        Parked p{select.integer(0), select.integer(1), ParkedRow::decode(select.blob(3))};
        if (select.text(2) == "change")
            changes.push_back(std::move(p));
        else if (!is_unsettled(static_cast<BundleState>(p.row.integer("state")),
                               p.row.integer("verdict")))
            taken.emplace(p.user, p.row.integer("id"));
    }
    select.reset();
    const auto is_taken = [&](Parked& p) {
        return taken.contains({p.user, p.row.integer("bundle")});
    };
    std::map<std::int64_t, std::set<Stamp>> held;  // by user
    for (Parked& p : changes)
        if (const sqlite::RawValue* writes = p.row.cell("writes"); writes && is_taken(p))
            restamped(writes->bytes,
                      [&](Stamp stamp) { return *held[p.user].insert(stamp).first; });
    for (Parked& p : changes) {
        sqlite::RawValue* writes = p.row.cell("writes");
        if (!writes || is_taken(p)) continue;
        const std::set<Stamp>& before = held[p.user];
        std::string moved = restamped(writes->bytes, [&](Stamp stamp) {
            const auto next = before.lower_bound(stamp);
            return to(stamp, next == before.begin() ? 0 : *std::prev(next));
        });
        if (moved == writes->bytes) continue;
        writes->bytes = std::move(moved);
        db.prepare("UPDATE parked SET body=? WHERE seq=?")
            .bind_blob(1, p.row.encode())
            .bind(2, p.seq)
            .run();
    }
}

bool erase_parked(sqlite::Database& db, const Identity& of, const std::set<RecordId>& subjects) {
    bool any = false;
    std::vector<std::int64_t> users;
    auto select = db.prepare("SELECT id FROM user WHERE server=? AND tenant=?");
    select.bind_all(of.server, of.tenant);
    while (select.step()) users.push_back(select.integer(0));
    select.reset();
    for (const std::int64_t user : users) any |= ParkedErasure(db, user, subjects).run();
    return any;
}

std::vector<LoggedOut> logged_out(sqlite::Database& db) {
    std::vector<LoggedOut> users;
    auto select = db.prepare("SELECT id, server, tenant, rep, left_at FROM user ORDER BY id");
    while (select.step()) {
        LoggedOut& user = users.emplace_back();
        user.server = select.text(1);
        user.tenant = select.text(2);
        user.rep = select.text(3);
        user.left_at = Instant::unpack(select.integer(4));
        auto bundles = db.prepare("SELECT body FROM parked WHERE user=? AND name='bundle'");
        bundles.bind(1, select.integer(0));
        while (bundles.step()) {
            ParkedRow row = ParkedRow::decode(bundles.blob(0));
            if (static_cast<BundleState>(row.integer("state")) == BundleState::draft) {
                ++user.drafts;
                continue;
            }
            ++user.unsent;
            const Instant captured = Instant::unpack(row.integer("captured_at"));
            if (!user.unreceived_since || captured.at < user.unreceived_since->at)
                user.unreceived_since = captured;
        }
    }
    return users;
}

}  // namespace rapport
