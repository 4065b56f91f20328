// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"

/// What a reply brings, laid aside page by page and made visible at the checkpoint.
namespace rapport {

/// Keeps a page's verdicts, records and departures beside the visible data; of a page that is shown
/// at once only its departures, because apply_staged takes the rest.
void stage(sqlite::Database& db, const Incoming& incoming);

/// Drops what lies staged of scopes that this device has lost: given back, a scope is downloaded as
/// it is then, and nothing names what has left it. What it was to replace departs instead.
void unstage_out_of_reach(sqlite::Database& db);

/// Makes everything staged visible and then the last page, verdicts first, then changes; part of
/// the caller's transaction. Returns the newest stamp seen: later captures must come after it.
/// Nullopt: what the page leaves out is not what this file makes, and nothing may be committed.
std::optional<Stamp> apply_staged(Store::Core::Writing& writing, const Incoming& last_page,
                                  Settled& settled);

/// `meta.renewal`: what arrives is marked; then what was not marked goes.
inline constexpr std::int64_t kMarking = 1, kPurging = 2;

/// Removes confirmed rows that did not arrive in the renewal, `limit` at most; those with unsent
/// work are hidden, like what departed. Returns whether there may be more; the renewal is over when
/// there is not.
bool drop_not_renewed(Store::Core::Writing& writing, std::size_t limit);

/// Hides what this device's scopes do not reach any more, `limit` at most, like what departed; what
/// has no unsent work goes with the next drop_departed. Returns whether there may be more.
bool hide_out_of_reach(Store::Core::Writing& writing, std::size_t limit);
/// The same to the end, where it cannot wait for tidy().
void finish_hiding(Store::Core::Writing& writing);

/// The newest stamp of a record: what is captured from now on comes after it.
Stamp newest_stamp(const RecordState& state);
/// It came with no entry of its own, and yet a server that is restored to before the newest one
/// must hear of it.
void note_touched(sqlite::Database& db, const RecordId& id);
/// Keeps a record of a kind this build does not know; it is one like any other once the app has
/// been updated.
void put_aside(sqlite::Database& db, const RecordState& record);

/// Rows that a restored server will not ask for any more: they departed before the oldest entry of
/// the list, or before the bound instant.
inline constexpr const char* kNotAskedFor =
    "held AND (entry < (SELECT MIN(seq) FROM entry) OR left_at < ?1)";
/// What is not this device's any more does not lie on it for longer.
inline constexpr auto kHiddenFor = std::chrono::hours(24 * 30);
/// Removes such rows, `limit` at most, and none with unsent work; that they departed stays known.
/// Returns whether there may be more.
bool drop_departed(Store::Core::Writing& writing, std::int64_t before, std::size_t limit);

}  // namespace rapport
