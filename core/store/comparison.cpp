// SPDX-License-Identifier: Apache-2.0
#include "store/comparison.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "model/hash.hpp"
#include "store/apply.hpp"
#include "store/lost_rows.hpp"
#include "store/recovery.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

// What the server sends and hidden rows do not count among.
const std::string kConfirmed =
    " WHERE version IS NOT NULL AND status & " + std::to_string(kRowHidden) + " = 0";

bool is_damage(const Error& e) { return e.code() == ErrorCode::storage_damaged; }

// One record of a kind, 32 bytes: a file may hold hundreds of thousands.
struct Held {
    std::uint32_t scope;
    RecordId id;
    std::uint64_t sum;
};

// Kinds of newer servers too; null: this build does not know it.
std::map<std::uint16_t, const Kind*> kinds_held(sqlite::Database& db) {
    std::map<std::uint16_t, const Kind*> kinds;
    for (const Kind* kind : all_kinds()) kinds[kind->number] = kind;
    auto select = db.prepare("SELECT DISTINCT kind FROM unknown_record");
    while (select.step()) kinds.try_emplace(static_cast<std::uint16_t>(select.integer(0)), nullptr);
    return kinds;
}

class HeldOfKind {
public:
    HeldOfKind(sqlite::Database& db, std::uint16_t number, const Kind* kind) : number_(number) {
        if (kind)
            read_rows(db, *kind);
        else
            read_aside(db);
        std::sort(all_.begin(), all_.end(), [&](const Held& a, const Held& b) {
            return a.scope != b.scope ? scopes_[a.scope] < scopes_[b.scope] : b.id < a.id;
        });
    }

    const std::vector<Held>& all() const { return all_; }
    ComparePoint point_of(const Held& held) const {
        return {number_, scopes_[held.scope], held.id};
    }

private:
    void read_rows(sqlite::Database& db, const Kind& kind) {
        auto select = db.prepare(select_of(kind) + kConfirmed);
        while (select.step()) {
            RecordId id;
            try {
                id = select.id(1);
                const Row row = row_at(select, kind);
                const bool whole =
                    row.status & (kRowDraft | kRowPending) || wrongly_shown(row).empty();
                add(row.confirmed.scope, id, checksum(row.confirmed) + (whole ? 0 : 1));
            } catch (const Error& e) {
                if (!is_damage(e)) throw;
                if (!id.is_nil()) add(std::string(select.text(2)), id, hash64(id.raw()));
            }
        }
    }

    void read_aside(sqlite::Database& db) {
        auto select = db.prepare("SELECT body FROM unknown_record WHERE kind = ?");
        select.bind(1, static_cast<int>(number_));
        while (select.step()) {
            const RecordState state = decode_record(select.blob(0));
            add(state.scope, state.id, checksum(state));
        }
    }

    void add(const std::string& scope, const RecordId& id, std::uint64_t sum) {
        const auto [at, fresh] =
            places_.try_emplace(scope, static_cast<std::uint32_t>(scopes_.size()));
        if (fresh) scopes_.push_back(scope);
        all_.push_back({at->second, id, sum});
    }

    const std::uint16_t number_;
    std::vector<Held> all_;
    std::vector<std::string> scopes_;
    std::map<std::string, std::uint32_t> places_;
};

// What is left of a row that cannot be read. Values that unsent work has nowhere else stay: those
// are in columns of one value.
void make_readable(sqlite::Database& db, const Kind& kind, const RecordId& id) {
    std::string sql = "UPDATE " + identifier(kind.name) + " SET version = ?, siblings = NULL";
    for (const Field& field : kind.fields)
        if (field.is_keyed()) sql += ", " + identifier(column_of(field)) + " = NULL";
    auto update = db.prepare(sql + " WHERE id = ?");
    update.bind_blob(1, encode_fields({}, false)).bind(2, id).run();
}

class Mending {
public:
    Mending(Store::Core::Writing& writing, Settled& settled)
        : writing_(writing), db_(writing.db), settled_(settled) {}

    Stamp run(const IncomingStretch& stretch) {
        std::set<RecordId> there;
        for (const IncomingRecord& record : stretch.records) {
            there.insert(record.id);
            RecordState state = record.state();
            newest_ = std::max(newest_, newest_stamp(state));
            if (const Kind* kind = kind_numbered(record.kind))
                replace(*kind, std::move(state));
            else
                put_aside(state);
        }
        for (const auto& [number, kind] : kinds_held(db_))
            if (number >= stretch.from.kind && number <= stretch.to.kind)
                for (const RecordId& id : held_between(number, kind, stretch))
                    if (!there.contains(id)) remove(kind, id);
        return newest_;
    }

private:
    void replace(const Kind& kind, RecordState state) {
        const RecordId id = state.id;
        const bool changes = has_changes(db_, id);
        auto row = readable_row(kind, id);
        if (row && stands(*row, state, changes)) return;
        // What a damaged mark would make forget.
        if (row && changes) row->status |= kRowPending;
        std::vector<PendingChange> pending;
        if (row) {
            pending = load_pending(db_, *row);
        } else {
            Loaded left = without_row(db_, kind, id, show(state).fields);
            row_is_back(db_, kind, id);
            row = std::move(left.row);
            pending = std::move(left.pending);
        }
        row->status &= ~static_cast<std::int64_t>(kRowHidden);
        row->confirmed = std::move(state);
        row->confirmed_once = true;
        const std::uint64_t sum = checksum(row->confirmed);
        save_with_pending(db_, *row, pending);
        db_.prepare("DELETE FROM departed WHERE record = ?").bind(1, id).run();
        note(kind, id);
        const auto saved = load_row(db_, kind, id);
        if (!saved || checksum(saved->confirmed) != sum) ++settled_.differing;
    }

    std::optional<Row> readable_row(const Kind& kind, const RecordId& id) {
        try {
            return load_row(db_, kind, id);
        } catch (const Error& e) {
            if (!is_damage(e)) throw;
            make_readable(db_, kind, id);
            return load_row(db_, kind, id);
        }
    }

    static bool stands(const Row& row, const RecordState& state, bool changes) {
        const bool marked = row.status & (kRowDraft | kRowPending);
        return row.confirmed_once && !(row.status & kRowHidden) && row.confirmed == state &&
               marked == changes && (changes || wrongly_shown(row).empty());
    }

    void put_aside(const RecordState& state) {
        const std::string body = encode_record(state);
        auto held = db_.prepare("SELECT 1 FROM unknown_record WHERE record = ? AND body = ?");
        if (held.bind(1, state.id).bind_blob(2, body).step()) return;
        held.reset();
        rapport::put_aside(db_, state);
        ++settled_.mended;
    }

    std::vector<RecordId> held_between(std::uint16_t number, const Kind* kind,
                                       const IncomingStretch& stretch) {
        std::vector<RecordId> ids;
        const auto take = [&](const RecordId& id, const std::string& scope) {
            if (lies_between({number, scope, id}, stretch.from, stretch.to)) ids.push_back(id);
        };
        if (kind) {
            auto select =
                db_.prepare("SELECT id, scope FROM " + identifier(kind->name) + kConfirmed);
            while (select.step())
                if (const auto id = RecordId::from_bytes(select.blob(0)))
                    take(*id, std::string(select.text(1)));
        } else {
            auto select = db_.prepare("SELECT body FROM unknown_record WHERE kind = ?");
            select.bind(1, static_cast<int>(number));
            while (select.step()) {
                const RecordState state = decode_record(select.blob(0));
                take(state.id, state.scope);
            }
        }
        return ids;
    }

    void remove(const Kind* kind, const RecordId& id) {
        if (has_changes(db_, id)) {
            ++settled_.differing;
            return;
        }
        if (!kind) {
            db_.prepare("DELETE FROM unknown_record WHERE record = ?").bind(1, id).run();
            ++settled_.mended;
            return;
        }
        auto select = db_.prepare("SELECT row FROM " + identifier(kind->name) + " WHERE id = ?");
        if (!select.bind(1, id).step()) return;
        Row row;
        row.row = select.integer(0);
        row.kind = kind;
        row.id = id;
        select.reset();
        delete_row(db_, row);
        note(*kind, id);
    }

    void note(const Kind& kind, const RecordId& id) {
        note_touched(db_, id);
        writing_.changed(kind, id);
        ++settled_.mended;
    }

    Store::Core::Writing& writing_;
    sqlite::Database& db_;
    Settled& settled_;
    Stamp newest_ = 0;
};

}  // namespace

bool comparable(sqlite::Database& db) {
    if (open_recovery(db)) return false;
    auto select = db.prepare(
        "SELECT 1 FROM entry_more WHERE entry = (SELECT MAX(seq) FROM entry) AND whole "
        "AND NOT EXISTS (SELECT 1 FROM staged) AND NOT EXISTS (SELECT 1 FROM staged_departure) "
        "AND NOT EXISTS (SELECT 1 FROM incomplete) AND NOT EXISTS (SELECT 1 FROM meta WHERE key IN "
        "('anew', 'renewal', 'scopes_changed'))");
    return select.step();
}

std::vector<Stretch> stretches_behind(sqlite::Database& db, const ComparePoint& from) {
    std::vector<Stretch> stretches;
    Stretch open;
    for (const auto& [number, kind] : kinds_held(db)) {
        if (number < from.kind) continue;
        const HeldOfKind held(db, number, kind);
        for (const Held& record : held.all()) {
            const ComparePoint at = held.point_of(record);
            if (!precedes(from, at)) continue;
            ++open.count;
            open.sum += record.sum;
            if (open.count < kStretchRecordsMax) continue;
            open.to = at;
            stretches.push_back(std::exchange(open, {}));
        }
    }
    open.to = end_of_comparison();
    stretches.push_back(std::move(open));
    return stretches;
}

std::optional<Loaded> load_readable(sqlite::Database& db, const Kind& kind, const RecordId& id) {
    try {
        return load(db, kind, id);
    } catch (const Error& e) {
        if (!is_damage(e)) throw;
        make_readable(db, kind, id);
        set_meta(db, kCompareAt, std::int64_t{0});
        return load(db, kind, id);
    }
}

Stamp mend(Store::Core::Writing& writing, const IncomingStretch& stretch, Settled& settled) {
    return Mending(writing, settled).run(stretch);
}

}  // namespace rapport
