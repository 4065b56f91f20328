// SPDX-License-Identifier: Apache-2.0
#include "store/lost_rows.hpp"

#include <algorithm>

#include "model/refusals.hpp"
#include "store/comparison.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

constexpr RefusalCode kRowLost = "row_lost";

struct StoredChange {
    std::int64_t bundle;
    BundleState state;
    std::string writes;
};

std::vector<StoredChange> changes_of(sqlite::Database& db, const RecordId& id) {
    std::vector<StoredChange> changes;
    auto select = db.prepare(
        "SELECT c.bundle, b.state, c.writes FROM change c JOIN bundle b ON b.id = c.bundle "
        "WHERE c.record = ? ORDER BY c.bundle");
    select.bind(1, id);
    while (select.step())
        changes.push_back({select.integer(0), static_cast<BundleState>(select.integer(1)),
                           std::string(select.blob(2))});
    return changes;
}

// The writes of a record as they were frozen; none if the bundle is not.
std::vector<Write> frozen_writes(sqlite::Database& db, std::int64_t bundle, const RecordId& id) {
    auto select = db.prepare("SELECT bytes FROM bundle WHERE id = ? AND bytes IS NOT NULL");
    if (!select.bind(1, bundle).step()) return {};
    for (Change& change : decode_bundle(select.blob(0)).changes)
        if (change.id == id) return std::move(change.writes);
    return {};
}

bool says(const Refusal& reason, const RecordId& id, RefusalCode code) {
    return reason.record == id && reason.code == code.text();
}

}  // namespace

bool has_changes(sqlite::Database& db, const RecordId& id) {
    auto select = db.prepare("SELECT 1 FROM change WHERE record = ? LIMIT 1");
    return select.bind(1, id).step();
}

Loaded without_row(sqlite::Database& db, const Kind& kind, const RecordId& id,
                   const FieldMap<Content>& shows) {
    Loaded loaded;
    Row& row = loaded.row;
    row.kind = &kind;
    row.id = row.confirmed.id = id;
    row.confirmed.kind = kind.number;
    row.shown = shows;
    row.status = kRowPending;
    loaded.pending = load_pending(db, row);
    for (const StoredChange& change : changes_of(db, id)) {
        const auto gone = StoredWrites(change.writes).in_row;
        if (gone.empty()) continue;
        const auto pending =
            std::find_if(loaded.pending.begin(), loaded.pending.end(),
                         [&](const PendingChange& c) { return c.bundle == change.bundle; });
        for (const Write& sent : frozen_writes(db, change.bundle, id))
            if (Write* write = pending->write_of(sent.field);
                write && std::find(gone.begin(), gone.end(), sent.field) != gone.end())
                write->adds = sent.adds;
    }
    return loaded;
}

std::optional<Loaded> without_row(sqlite::Database& db, const RecordId& id) {
    const Kind* kind = nullptr;
    {
        auto select = db.prepare("SELECT kind FROM change WHERE record = ? LIMIT 1");
        if (select.bind(1, id).step())
            kind = kind_numbered(static_cast<std::uint16_t>(select.integer(0)));
    }
    return kind ? std::optional(without_row(db, *kind, id)) : std::nullopt;
}

void row_is_back(sqlite::Database& db, const Kind& kind, const RecordId& id) {
    for (const StoredChange& change : changes_of(db, id)) {
        // The server has the bytes of one that is in review.
        if (change.state != BundleState::queued && change.state != BundleState::refused) continue;
        BundleRow bundle = *load_bundle(db, change.bundle);
        const auto waited = std::erase_if(
            bundle.reasons, [&](const Refusal& reason) { return says(reason, id, kRowLost); });
        const StoredWrites stored(change.writes);
        for (const std::uint16_t number : stored.in_row)
            if (const Field* field = kind.field(number))
                bundle.reasons.push_back(refusal(id, field->name, "value_lost"));
        if (bundle.reasons.empty() && waited == 0) continue;
        bundle.state = bundle.reasons.empty() ? BundleState::queued : BundleState::refused;
        save_bundle(db, bundle);
    }
}

bool park_without_rows(sqlite::Database& db, BundleRow& bundle) {
    std::vector<Refusal> lost;
    for (const auto& [id, kind] : records_of(db, bundle.id))
        if (!kind || !load_row(db, *kind, id)) lost.push_back(refusal(id, {}, kRowLost));
    if (lost.empty()) return false;
    bundle.state = BundleState::refused;
    bundle.reasons = std::move(lost);
    save_bundle(db, bundle);
    set_meta(db, kCompareAt, std::int64_t{0});
    return true;
}

}  // namespace rapport
