// SPDX-License-Identifier: Apache-2.0
#include "store/pending.hpp"

#include <algorithm>
#include <set>

#include "model/archive.hpp"
#include "model/erasure.hpp"
#include "model/lifecycle.hpp"
#include "store/needs.hpp"

namespace rapport {
namespace {

// Does the row show exactly the one value this write brings?
bool held_by_row(const Write& write, const Row& row) {
    if (write.adds.size() != 1 || !write.adds[0].key.empty()) return false;
    const auto shown = row.shown.find(write.field);
    if (shown == row.shown.end()) return write.adds[0].value.is_null();
    return shown->second.size() == 1 && shown->second[0].key.empty() &&
           shown->second[0].value == write.adds[0].value;
}

std::string encode_change(const PendingChange& change, const Row& row) {
    std::vector<Write> stored;
    stored.reserve(change.writes.size());
    std::vector<std::uint16_t> in_row;
    for (const Write& write : change.writes)
        if (held_by_row(write, row)) {
            in_row.push_back(write.field);
            const Added& a = write.adds[0];
            stored.push_back({write.field,
                              {{a.key, Value(), a.stamp, a.capture}},
                              write.over,
                              write.over_own,
                              write.folded,
                              write.former});
        } else {
            stored.push_back(write);
        }
    WireWriter w;
    w.varint(in_row.size());
    for (const std::uint16_t field : in_row) w.varint(field);
    w.bytes(encode_writes(stored));
    return w.take();
}

std::vector<Write> decode_change(std::string_view bytes, const Row& row) {
    StoredWrites stored(bytes);
    if (row.kind) stored.mend(*row.kind);
    for (Write& write : stored.writes) {
        if (write.adds.empty() ||
            !std::binary_search(stored.in_row.begin(), stored.in_row.end(), write.field))
            continue;
        const auto shown = row.shown.find(write.field);
        if (shown != row.shown.end() && !shown->second.empty())
            write.adds[0].value = shown->second[0].value;
    }
    return std::move(stored.writes);
}

}  // namespace

const Write* PendingChange::write_of(std::uint16_t field) const {
    for (const Write& write : writes)
        if (write.field == field) return &write;
    return nullptr;
}
Write* PendingChange::write_of(std::uint16_t field) {
    return const_cast<Write*>(std::as_const(*this).write_of(field));
}

Write& PendingChange::write_for(std::uint16_t field) {
    if (Write* write = write_of(field)) return *write;
    const auto at =
        std::find_if(writes.begin(), writes.end(), [&](const Write& w) { return w.field > field; });
    return *writes.insert(at, Write{field, {}, {}, {}, {}, {}});
}

void absorb(PendingChange& earlier, PendingChange& later, std::uint16_t field) {
    const Write* theirs = later.write_of(field);
    if (!theirs) return;
    Write& own = earlier.write_for(field);
    const Field* known = earlier.kind->field(field);
    const bool keyed = known && known->is_keyed();
    const auto fold = [&](const Added& add) {
        own.folded.push_back({add.capture, content_hash(add.key, add.value)});
    };
    for (const OverwrittenCapture& over : theirs->over_own) {
        const auto names = [&](const Added& add) {
            return over.capture == add.capture && over.key == add.key;
        };
        const auto add = std::find_if(own.adds.begin(), own.adds.end(), names);
        if (add == own.adds.end())
            own.over_own.push_back(over);
        else if (keyed)
            fold(*add);
        if (keyed) own.adds.erase_if(names);
    }
    if (!keyed) {
        for (const Added& add : own.adds) fold(add);
        own.adds.clear();
    }
    for (const Added& add : theirs->adds) own.adds.push_back(add);
    own.over.insert(own.over.end(), theirs->over.begin(), theirs->over.end());
    own.folded.insert(own.folded.end(), theirs->folded.begin(), theirs->folded.end());
    std::erase_if(later.writes, [&](const Write& write) { return write.field == field; });
}

std::vector<PendingChange> load_pending(sqlite::Database& db, const Row& row) {
    std::vector<PendingChange> changes;
    if (!(row.status & (kRowPending | kRowDraft))) return changes;
    auto select = db.prepare(
        "SELECT c.bundle, b.state, c.creates, c.scope, c.writes FROM change c JOIN bundle b ON "
        "b.id = c.bundle "
        "WHERE c.record = ? ORDER BY c.bundle");
    select.bind(1, row.id);
    while (select.step()) {
        PendingChange c;
        c.bundle = select.integer(0);
        c.state = static_cast<BundleState>(select.integer(1));
        c.kind = row.kind;
        c.record = row.id;
        c.creates = select.integer(2) != 0;
        c.scope = select.text(3);
        c.writes = decode_change(select.blob(4), row);
        changes.push_back(std::move(c));
    }
    return changes;
}

void save_pending(sqlite::Database& db, const PendingChange& change, const Row& row) {
    if (change.writes.empty() && !change.creates) {
        db.prepare("DELETE FROM change WHERE bundle = ? AND record = ?")
            .bind(1, change.bundle)
            .bind(2, change.record)
            .run();
        if (db.changes() > 0) forget_shared(db, change.bundle, change.record);
        return;
    }
    db.prepare(
          "INSERT OR REPLACE INTO change(bundle, record, kind, creates, scope, writes) "
          "VALUES(?,?,?,?,?,?)")
        .bind(1, change.bundle)
        .bind(2, change.record)
        .bind(3, static_cast<int>(change.kind->number))
        .bind(4, change.creates)
        .bind(5, change.scope)
        .bind_blob(6, encode_change(change, row))
        .run();
}

StoredWrites::StoredWrites(std::string_view bytes) {
    WireReader r(bytes);
    in_row.resize(r.count());
    for (std::uint16_t& field : in_row) r(field);
    writes = decode_writes(r.bytes(r.remaining()));
}

std::size_t StoredWrites::mend(const Kind& kind) {
    std::size_t mended = 0;
    for (Write& write : writes)
        if (const Field* field = kind.field(write.field))
            for (Added& add : write.adds) mended += rapport::mend(*field, add.key, add.value);
    return mended;
}

std::string StoredWrites::encode() const {
    WireWriter w;
    w.varint(in_row.size());
    for (const std::uint16_t field : in_row) w.varint(field);
    w.bytes(encode_writes(writes));
    return w.take();
}

std::string without_erasable(std::string_view writes, const Kind& kind) {
    const auto goes = [&](std::uint16_t number) {
        const Field* field = kind.field(number);
        return field && erasable(*field);
    };
    StoredWrites kept(writes);
    std::erase_if(kept.in_row, goes);
    std::erase_if(kept.writes, [&](const Write& write) { return goes(write.field); });
    return kept.encode();
}

std::string restamped(std::string_view writes, const std::function<Stamp(Stamp)>& to) {
    StoredWrites stored(writes);
    for (Write& write : stored.writes)
        for (Added& add : write.adds) add.stamp = to(add.stamp);
    return stored.encode();
}

FieldState overlay(const Row& row, const std::vector<PendingChange>& pending, std::uint16_t field,
                   std::int64_t without) {
    FieldState state;
    if (const auto it = row.confirmed.fields.find(field); it != row.confirmed.fields.end())
        state = it->second;
    const bool keyed = row.kind->field(field) && row.kind->field(field)->is_keyed();
    for (const PendingChange& change : pending) {
        const Write* write = change.bundle == without ? nullptr : change.write_of(field);
        if (!write) continue;
        state.live.erase_if([&](const LiveValue& l) {
            for (const Overwritten& o : write->over)
                if (o.dot == l.dot && (!keyed || o.key == l.key)) return true;
            for (const OverwrittenCapture& o : write->over_own)
                if (l.dot.writer == kUnsentWriter && o.capture == l.capture &&
                    (!keyed || o.key == l.key))
                    return true;
            return false;
        });
        const Dot unsent{kUnsentWriter, static_cast<std::uint64_t>(change.bundle)};
        for (const Added& a : write->adds)
            state.live.push_back({unsent, a.stamp, a.key, a.value, a.capture, false});
    }
    return state;
}

namespace {

// The value of a register that one pending write brings and nobody has written before.
const Added* first_value(const Row& row, const std::vector<PendingChange>& pending,
                         const Field& field) {
    if (field.is_keyed() || row.confirmed.fields.count(field.number)) return nullptr;
    const Write* only = nullptr;
    for (const PendingChange& change : pending)
        if (const Write* write = change.write_of(field.number)) {
            if (only) return nullptr;
            only = write;
        }
    return only && only->adds.size() == 1 ? &only->adds[0] : nullptr;
}

}  // namespace

void refresh(Row& row, const std::vector<PendingChange>& pending) {
    row.shown = show(row.confirmed).fields;
    bool conflict = false;
    std::set<std::uint16_t> pending_fields;
    for (const PendingChange& change : pending)
        for (const Write& write : change.writes) pending_fields.insert(write.field);
    for (const Field& field : row.kind->fields) {
        if (!pending_fields.contains(field.number)) {
            if (const auto it = row.confirmed.fields.find(field.number);
                it != row.confirmed.fields.end())
                conflict |= conflicted(field, it->second);
        } else if (const Added* first = first_value(row, pending, field)) {
            if (first->value.is_null())
                row.shown.erase(field.number);
            else
                row.shown[field.number] = {{"", first->value}};
        } else {
            const FieldState state = overlay(row, pending, field.number);
            Content content = show(field, state);
            if (content.empty())
                row.shown.erase(field.number);
            else
                row.shown[field.number] = std::move(content);
            conflict |= conflicted(field, state);
        }
    }
    // What the server will give a new record on arrival; shown until it has.
    if (const Lifecycle* lifecycle = lifecycle_of(*row.kind); lifecycle && !row.confirmed_once)
        row.shown[common_field::state] = {{"", Value(std::string(lifecycle->initial))}};

    row.status &= kRowHidden;
    if (conflict) row.status |= kRowConflict;
    for (const PendingChange& change : pending)
        row.status |= change.state == BundleState::draft ? kRowDraft : kRowPending;
}

void save_with_pending(sqlite::Database& db, Row& row, const std::vector<PendingChange>& pending) {
    refresh(row, pending);
    save_shown(db, row, pending);
}

void save_shown(sqlite::Database& db, Row& row, const std::vector<PendingChange>& pending) {
    save_row(db, row);
    for (const PendingChange& change : pending) save_pending(db, change, row);
}

std::optional<std::vector<Write>> writes_to_new(sqlite::Database& db, const Kind& kind,
                                                const RecordId& id, std::string_view stored) {
    StoredWrites change(stored);
    change.mend(kind);
    auto values = values_of_new(db, kind, id, change.in_row);
    if (!values) return std::nullopt;
    auto value = values->begin();
    auto in_row = change.in_row.begin();
    for (Write& write : change.writes) {  // both are in order
        for (; in_row != change.in_row.end() && *in_row < write.field; ++in_row) ++value;
        if (in_row != change.in_row.end() && *in_row == write.field && !write.adds.empty())
            write.adds[0].value = std::move(*value);
    }
    return std::move(change.writes);
}

bool is_pending_elsewhere(sqlite::Database& db, const RecordId& id, std::int64_t bundle) {
    auto select = db.prepare("SELECT 1 FROM change WHERE record = ? AND bundle <> ? LIMIT 1");
    return select.bind(1, id).bind(2, bundle).step();
}

std::optional<Loaded> load(sqlite::Database& db, const RecordId& id) {
    const Kind* kind = kind_holding(db, id);
    return kind ? load(db, *kind, id) : std::nullopt;
}

std::optional<Loaded> load(sqlite::Database& db, const Kind& kind, const RecordId& id) {
    std::optional<Row> row = load_row(db, kind, id);
    if (!row) return std::nullopt;
    std::vector<PendingChange> pending = load_pending(db, *row);
    return Loaded{std::move(*row), std::move(pending)};
}

void save_all(sqlite::Database& db, Loaded& loaded) {
    for (const PendingChange& change : loaded.pending) save_pending(db, change, loaded.row);
    std::erase_if(loaded.pending, [](const PendingChange& change) {
        return change.writes.empty() && !change.creates;
    });
    save_with_pending(db, loaded.row, loaded.pending);
}

Stamp newest_stamp(const Loaded& loaded, std::uint16_t field,
                   const std::function<bool(const PendingChange&)>& counts) {
    Stamp newest = 0;
    if (const auto state = loaded.row.confirmed.fields.find(field);
        state != loaded.row.confirmed.fields.end())
        for (const LiveValue& live : state->second.live) newest = std::max(newest, live.stamp);
    for (const PendingChange& change : loaded.pending)
        if (const Write* write = change.write_of(field); write && counts(change))
            for (const Added& add : write->adds) newest = std::max(newest, add.stamp);
    return newest;
}

// ---- bundles

namespace {

struct DotList {
    std::vector<Dot> dots;
    template <class A>
    void serialize(A& a) {
        std::vector<std::uint64_t> flat;
        for (const Dot& d : dots) flat.insert(flat.end(), {d.writer, d.counter});
        a(flat);
        dots.clear();
        for (std::size_t i = 0; i + 1 < flat.size(); i += 2) dots.push_back({flat[i], flat[i + 1]});
    }
};
}  // namespace

std::vector<Dot> former_dots(const sqlite::Statement& row, int column) {
    if (row.is_null(column)) return {};
    return decode<DotList>(row.blob(column)).dots;
}

std::int64_t next_bundle(sqlite::Database& db) {
    auto last = db.prepare("SELECT max(id) FROM bundle");
    last.step();
    return last.integer(0) + 1;
}

void insert_bundle(sqlite::Database& db, std::int64_t id, BundleState state,
                   const Instant& captured_at, const std::vector<std::int64_t>& needs) {
    auto insert = db.prepare("INSERT INTO bundle(id, state, captured_at, needs) VALUES(?,?,?,?)");
    bind_needs(insert, 4, needs);
    insert.bind(1, id)
        .bind(2, static_cast<std::int64_t>(state))
        .bind(3, captured_at.packed())
        .run();
}

Stamp newest_unsent_stamp(sqlite::Database& db) {
    Stamp newest = 0;
    auto select = db.prepare(
        "SELECT writes FROM change WHERE bundle = (SELECT max(id) FROM bundle) AND "
        "(SELECT state FROM bundle ORDER BY id DESC LIMIT 1) IN (0, 1)");
    while (select.step())
        for (const Write& write : decode_change(select.blob(0), Row{}))
            for (const Added& add : write.adds) newest = std::max(newest, add.stamp);
    return newest;
}

namespace {

constexpr const char* kBundleColumns =
    "id, state, counter, captured_at, later_run, reasons, former";

BundleRow bundle_at(const sqlite::Statement& select) {
    BundleRow b;
    b.id = select.integer(0);
    b.state = static_cast<BundleState>(select.integer(1));
    b.counter = select.unsigned_integer(2);
    b.captured_at = select.integer(3);
    b.later_run = select.integer(4);
    if (const auto reasons = select.blob(5); !reasons.empty())
        b.reasons = decode<std::vector<Refusal>>(reasons);
    b.former = former_dots(select, 6);
    return b;
}

}  // namespace

std::optional<BundleRow> load_bundle(sqlite::Database& db, std::int64_t id) {
    auto select = db.prepare(std::string("SELECT ") + kBundleColumns + " FROM bundle WHERE id = ?");
    select.bind(1, id);
    return select.step() ? std::optional(bundle_at(select)) : std::nullopt;
}

std::optional<BundleRow> sent_bundle(sqlite::Database& db, std::uint64_t counter) {
    auto select = db.prepare(std::string("SELECT ") + kBundleColumns +
                             " FROM bundle WHERE counter = ? AND state IN (2, 4)");
    select.bind(1, counter);
    return select.step() ? std::optional(bundle_at(select)) : std::nullopt;
}

void save_bundle(sqlite::Database& db, const BundleRow& b) {
    db.prepare(
          "UPDATE bundle SET state=?, counter=NULLIF(?,0), later_run=?, reasons=?, former=? WHERE "
          "id=?")
        .bind(1, static_cast<std::int64_t>(b.state))
        .bind(2, b.counter)
        .bind(3, b.later_run)
        .bind_blob(4, encode(b.reasons))
        .bind_blob(5, encode(DotList{b.former}))
        .bind(6, b.id)
        .run();
    if (b.state != BundleState::frozen)
        db.prepare("UPDATE bundle SET bytes=NULL, verdict=NULL WHERE id=?").bind(1, b.id).run();
}

void delete_bundle(sqlite::Database& db, std::int64_t id) { delete_bundles(db, {id}); }

void delete_bundles(sqlite::Database& db, std::vector<std::int64_t> ids) {
    if (ids.empty()) return;
    std::sort(ids.begin(), ids.end());
    for (auto first = ids.begin(); first != ids.end();) {
        auto last = first;  // of those that follow each other
        while (last + 1 != ids.end() && *(last + 1) == *last + 1) ++last;
        for (const char* sql : {"DELETE FROM change WHERE bundle BETWEEN ? AND ?",
                                "DELETE FROM bundle WHERE id BETWEEN ? AND ?"})
            db.prepare(sql).bind(1, *first).bind(2, *last).run();
        first = last + 1;
    }
    if (ids.back() >= next_bundle(db)) forget_ids_to_come(db);
}

void drop_emptied(sqlite::Database& db) {
    std::vector<std::int64_t> emptied;
    auto select = db.prepare(
        "SELECT id FROM bundle b WHERE state NOT IN (2, 4) AND NOT EXISTS (SELECT 1 FROM change c "
        "WHERE c.bundle = b.id)");
    while (select.step()) emptied.push_back(select.integer(0));
    select.reset();
    delete_bundles(db, std::move(emptied));
}

std::vector<std::pair<RecordId, const Kind*>> records_of(sqlite::Database& db,
                                                         std::int64_t bundle) {
    std::vector<std::pair<RecordId, const Kind*>> records;
    std::size_t created = 0;
    // In this order SQLite need not sort.
    auto select =
        db.prepare("SELECT record, kind, creates FROM change WHERE bundle=? ORDER BY record");
    select.bind(1, bundle);
    while (select.step()) {
        const std::pair record(select.id(0),
                               kind_numbered(static_cast<std::uint16_t>(select.integer(1))));
        const bool creates = select.integer(2) != 0;
        records.insert(
            creates ? records.begin() + static_cast<std::ptrdiff_t>(created++) : records.end(),
            record);
    }
    return records;
}

}  // namespace rapport
