// SPDX-License-Identifier: Apache-2.0
#include "store/erasure.hpp"

#include <algorithm>

#include "store/identity.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"
#include "store/search.hpp"
#include "store/users.hpp"

namespace rapport {
namespace {

constexpr const char* kDone = "erasures_done";

std::int64_t highest(sqlite::Database& db) {
    auto select = db.prepare("SELECT COALESCE(MAX(number), 0) FROM erasure");
    select.step();
    return select.integer(0);
}

// What the orders on `subjects` reach in this file, departed rows included.
class Reach {
public:
    Reach(sqlite::Database& db, const std::set<RecordId>& subjects) : db_(db), ids_(subjects) {
        for (const RecordId& id : subjects) open_.push_back(id);
        for (const RecordId& id : subjects)
            for (const Kind* kind : all_kinds())
                for (const Field& field : kind->fields) take_naming(*kind, field, id);
        while (!open_.empty()) {
            const RecordId id = open_.back();
            open_.pop_back();
            for (const Kind* kind : all_kinds())
                if (const Field* root = kind->field(kind->root)) take_naming(*kind, *root, id);
        }
    }
    const std::set<RecordId>& ids() const { return ids_; }

private:
    void take_naming(const Kind& kind, const Field& field, const RecordId& id) {
        if (field.is_keyed()) {
            if (field.type.shape != Shape::reference) return;
            auto select = select_where(kind, "instr(" + identifier(column_of(field)) + ", ?)");
            select.bind(1, id.text());
            return take(select);
        }
        const auto equal = [&](const std::string& column) {
            auto select = select_where(kind, identifier(column) + "=?");
            select.bind(1, id);
            take(select);
        };
        if (field.type.shape == Shape::reference) equal(column_of(field));
        for (const PartInfo& part : field.type.parts)
            if (part.type.shape == Shape::reference) equal(column_of(field, part));
    }
    sqlite::Statement select_where(const Kind& kind, const std::string& condition) {
        return db_.prepare("SELECT id FROM " + identifier(kind.name) + " WHERE " + condition);
    }
    void take(sqlite::Statement& select) {
        while (select.step())
            if (const RecordId id = select.id(0); ids_.insert(id).second) open_.push_back(id);
    }

    sqlite::Database& db_;
    std::set<RecordId> ids_;
    std::vector<RecordId> open_;
};

// Returns the bundles that carried something of it.
std::set<std::int64_t> erase_row(sqlite::Database& db, Loaded& loaded) {
    std::set<std::int64_t> bundles;
    strip(loaded.row.confirmed);
    for (PendingChange& change : loaded.pending) {
        bundles.insert(change.bundle);
        std::erase_if(change.writes, [&](const Write& write) {
            const Field* field = loaded.row.kind->field(write.field);
            return field && erasable(*field);
        });
    }
    save_all(db, loaded);
    db.prepare("DELETE FROM draft_text WHERE record=?").bind(1, loaded.row.id).run();
    return bundles;
}

void erase_bundle(sqlite::Database& db, std::int64_t id, const std::set<RecordId>& reached) {
    auto row = load_bundle(db, id);
    if (!row) return;
    const bool sent = row->state == BundleState::frozen || row->state == BundleState::review;
    if (!sent && records_of(db, id).empty()) return delete_bundle(db, id);
    if (strip(row->reasons))  // those of a verdict that lies staged, too
        db.prepare("UPDATE bundle SET reasons=? WHERE id=?")
            .bind_blob(1, encode(row->reasons))
            .bind(2, id)
            .run();
    auto select = db.prepare("SELECT bytes FROM bundle WHERE id=? AND bytes IS NOT NULL");
    if (!select.bind(1, id).step()) return;
    Bundle bundle = decode_bundle(select.blob(0));
    select.reset();
    bool any = false;
    for (Change& change : bundle.changes)
        if (reached.contains(change.id)) any |= strip(change);
    if (any)
        db.prepare("UPDATE bundle SET bytes=? WHERE id=?")
            .bind_blob(1, encode_bundle(bundle))
            .bind(2, id)
            .run();
}

void erase_staged(sqlite::Database& db, const std::set<RecordId>& subjects,
                  std::set<RecordId> reached) {
    std::vector<RecordState> staged;
    {
        auto select = db.prepare("SELECT body FROM staged");
        while (select.step()) staged.push_back(decode_record(select.blob(0)));
    }
    const auto in = [](const std::set<RecordId>& some, const std::set<RecordId>& all) {
        return std::any_of(some.begin(), some.end(),
                           [&](const auto& id) { return all.contains(id); });
    };
    for (std::size_t before = 0; before != reached.size();) {
        before = reached.size();
        for (const RecordState& state : staged)
            if (in(references_of(state), subjects) || in(parents_of(state), reached))
                reached.insert(state.id);
    }
    for (RecordState& state : staged) {
        if (!reached.contains(state.id) || !strip(state)) continue;
        db.prepare("UPDATE staged SET body=? WHERE record=?")
            .bind_blob(1, encode_record(state, [](auto, const LiveValue& l) { return l.elided; }))
            .bind(2, state.id)
            .run();
    }
}

void erase(sqlite::Database& db, const std::set<RecordId>& subjects,
           const std::function<void(const Kind&, const RecordId&)>& changed) {
    const Reach reach(db, subjects);
    std::set<std::int64_t> bundles;
    for (const RecordId& id : reach.ids())
        if (auto loaded = load(db, id)) {
            bundles.merge(erase_row(db, *loaded));
            changed(*loaded->row.kind, id);
        }
    for (const std::int64_t bundle : bundles) erase_bundle(db, bundle, reach.ids());
    erase_staged(db, subjects, reach.ids());
    clean_index(db);
}

}  // namespace

void take_orders(Store::Core::Writing& writing, const std::vector<ErasureOrder>& orders) {
    sqlite::Database& db = writing.db;
    std::set<RecordId> subjects;
    for (const ErasureOrder& order : orders) {
        db.prepare("INSERT OR IGNORE INTO erasure VALUES(?,?,?,?,?,?)")
            .bind_all(order.number, static_cast<int>(order.kind), order.subject, order.issued_at_ms,
                      order.seal, order.claim)
            .run();
        if (db.changes() > 0) subjects.insert(order.subject);
    }
    if (subjects.empty()) return;
    erase(db, subjects, [&](const Kind& kind, const RecordId& id) { writing.changed(kind, id); });
    if (const auto identity = stored_identity(db)) erase_parked(db, *identity, subjects);
}

void erase_again(sqlite::Database& db) {
    std::set<RecordId> subjects;
    for (const ErasureOrder& order : orders_after(db, 0, SIZE_MAX >> 1))
        subjects.insert(order.subject);
    if (subjects.empty()) return;
    erase(db, subjects, [](const Kind&, const RecordId&) {});
    const auto identity = stored_identity(db);
    if (identity && erase_parked(db, *identity, subjects))
        db.prepare("DELETE FROM meta WHERE key=?").bind(1, kDone).run();
}

std::vector<ErasureOrder> orders_after(sqlite::Database& db, std::uint64_t number,
                                       std::size_t limit) {
    std::vector<ErasureOrder> orders;
    auto select = db.prepare(
        "SELECT number, kind, subject, issued_at, seal, claim FROM erasure WHERE number>? "
        "ORDER BY number LIMIT ?");
    select.bind(1, number).bind(2, static_cast<std::int64_t>(limit));
    while (select.step())
        orders.push_back({select.unsigned_integer(0), static_cast<std::uint16_t>(select.integer(1)),
                          select.id(2), select.integer(3), select.unsigned_integer(4),
                          select.unsigned_integer(5)});
    return orders;
}

ErasureOrder order_done(sqlite::Database& db) {
    const std::int64_t done = meta_integer(db, kDone).value_or(0);
    if (done == 0) return {};
    const auto orders = orders_after(db, static_cast<std::uint64_t>(done) - 1, 1);
    return orders.empty() ? ErasureOrder{} : orders.front();
}

bool scrub_due(sqlite::Database& db) { return highest(db) > meta_integer(db, kDone).value_or(0); }

void note_scrubbed(sqlite::Database& db) { set_meta(db, kDone, highest(db)); }

}  // namespace rapport
