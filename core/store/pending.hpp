// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "model/bundle.hpp"
#include "rapport/refusal.hpp"
#include "store/rows.hpp"

/// What this device has captured and the server has not yet judged, in the order it was captured.
namespace rapport {

enum class BundleState : std::int64_t {
    draft = 0,    ///< stays until submitted
    queued = 1,   ///< may be sent, unless it waits for another
    frozen = 2,   ///< has its counter and bytes; retries are the same bytes until a verdict
    refused = 3,  ///< parked with reasons; an edit queues it again
    review = 4,   ///< a person at the centre decides; keeps its counter for the verdict to come
};

/// Has the server taken nothing of such a bundle, so that its stamps are not final? `verdict` is
/// the one received and not yet at a checkpoint, 0 for none.
inline bool is_unsettled(BundleState state, std::int64_t verdict) {
    if (state == BundleState::frozen)
        return verdict == static_cast<std::int64_t>(Verdict::refused) ||
               verdict == static_cast<std::int64_t>(Verdict::later);
    return state != BundleState::review;
}

/// What one bundle does to one record. While the value of a write is what the row shows, only the
/// row holds it; here, in memory, every value is filled in.
struct PendingChange {
    std::int64_t bundle = 0;
    BundleState state = BundleState::queued;
    const Kind* kind = nullptr;
    RecordId record;
    bool creates = false;
    std::string scope;
    std::vector<Write> writes;  ///< by field number

    const Write* write_of(std::uint16_t field) const;
    Write* write_of(std::uint16_t field);
    Write& write_for(std::uint16_t field);  ///< adds an empty one if there is none
};

/// What a later change of a record says about a field moves into an earlier one that the server has
/// not taken.
void absorb(PendingChange& earlier, PendingChange& later, std::uint16_t field);

/// The pending changes of a row's record in bundle order, values filled in from the row. Errors:
/// storage_damaged, when one cannot be read.
std::vector<PendingChange> load_pending(sqlite::Database& db, const Row& row);
/// Stores one change beside its row (values the row shows are left out); a change without effect is
/// removed.
void save_pending(sqlite::Database& db, const PendingChange& change, const Row& row);

/// The `writes` of a stored change as they stand, without the values that its row holds.
struct StoredWrites {
    explicit StoredWrites(std::string_view bytes);
    /// What a disk has broken goes on as what can be read of it. Returns how many values it mended.
    std::size_t mend(const Kind& kind);
    std::string encode() const;

    std::vector<std::uint16_t> in_row;  ///< fields whose values only the row holds, by number
    std::vector<Write> writes;          ///< by field number
};
/// The `writes` of a stored change, without those of fields an erasure order takes.
std::string without_erasable(std::string_view writes, const Kind& kind);
/// The same with each stamp replaced by what `to` makes of it.
std::string restamped(std::string_view writes, const std::function<Stamp(Stamp)>& to);

/// A field's confirmed state with pending writes over it, in order; their dots are (kUnsentWriter,
/// bundle).
/// `without` leaves the changes of one bundle out.
FieldState overlay(const Row& row, const std::vector<PendingChange>& pending, std::uint16_t field,
                   std::int64_t without = 0);
/// Recomputes what the row shows and its status bits from the confirmed state and the pending
/// changes.
void refresh(Row& row, const std::vector<PendingChange>& pending);
/// Saves row and pending changes together: what the row shows may have become, or ceased to be, a
/// write's only copy.
void save_with_pending(sqlite::Database& db, Row& row, const std::vector<PendingChange>& pending);
/// The same for a row that was refreshed with just these changes.
void save_shown(sqlite::Database& db, Row& row, const std::vector<PendingChange>& pending);

/// The writes of a stored change to a record that the server does not know yet, values filled in
/// without the rest of its row; nullopt if it knows it, or there is no row.
std::optional<std::vector<Write>> writes_to_new(sqlite::Database& db, const Kind& kind,
                                                const RecordId& id, std::string_view stored);

/// Has another bundle a change of the record as well?
bool is_pending_elsewhere(sqlite::Database& db, const RecordId& id, std::int64_t bundle);

/// Row and pending changes as one thing.
struct Loaded {
    Row row;
    std::vector<PendingChange> pending;
};
std::optional<Loaded> load(sqlite::Database& db, const RecordId& id);
std::optional<Loaded> load(sqlite::Database& db, const Kind& kind, const RecordId& id);
/// Saves the row and every change of it; changes without effect are removed, from `loaded` too.
void save_all(sqlite::Database& db, Loaded& loaded);
/// The newest stamp in what is confirmed of a field and in the pending changes that count; 0 if
/// there is none.
Stamp newest_stamp(const Loaded& loaded, std::uint16_t field,
                   const std::function<bool(const PendingChange&)>& counts);

// ---- bundles

/// `later_run` of a bundle with something in it that the server is too old for: it waits until the
/// server publishes other limits, as every upgrade does.
inline constexpr std::int64_t kUntilServerIsNewer = INT64_MAX;

struct BundleRow {
    std::int64_t id = 0;
    BundleState state = BundleState::queued;
    std::uint64_t counter = 0;     ///< 0: not frozen
    std::int64_t captured_at = 0;  ///< Instant::packed()
    std::int64_t later_run = 0;    ///< run in which the server said `later`; 0: it did not
    std::vector<Refusal> reasons;
    std::vector<Dot> former;
};
/// What a column `former` holds.
std::vector<Dot> former_dots(const sqlite::Statement& row, int column);
/// The id of the bundle that is inserted next.
std::int64_t next_bundle(sqlite::Database& db);
/// `needs` are those of needs.hpp, in rising order.
void insert_bundle(sqlite::Database& db, std::int64_t id, BundleState state,
                   const Instant& captured_at, const std::vector<std::int64_t>& needs);
/// The newest stamp of the newest bundle, if that has not been frozen; else 0.
Stamp newest_unsent_stamp(sqlite::Database& db);
std::optional<BundleRow> load_bundle(sqlite::Database& db, std::int64_t id);
/// The bundle in flight, or in review, under this counter.
std::optional<BundleRow> sent_bundle(sqlite::Database& db, std::uint64_t counter);
/// Sets state, counter, later_run, reasons and former; clears bytes and verdict unless frozen.
void save_bundle(sqlite::Database& db, const BundleRow& bundle);
/// Removes the bundle and all that hangs on it; nobody waits for it any more.
void delete_bundle(sqlite::Database& db, std::int64_t id);
/// The same of many; those that follow each other go together.
void delete_bundles(sqlite::Database& db, std::vector<std::int64_t> ids);
/// Removes those that an erasure order left nothing of. What was sent stays until it is answered.
void drop_emptied(sqlite::Database& db);
std::vector<std::pair<RecordId, const Kind*>> records_of(sqlite::Database& db, std::int64_t bundle);

}  // namespace rapport
