// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "model/comparison.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"

/// What this file holds confirmed, to be compared with what the server has, and mended where that
/// differs (sync/PROTOCOL.md, "Comparison").
namespace rapport {

/// Is everything confirmed as the newest entry left it, and nothing under way?
bool comparable(sqlite::Database& db);

/// All that is confirmed behind a point, cut into stretches, up to the end. A row that cannot be
/// read counts as one that differs. Reads everything.
std::vector<Stretch> stretches_behind(sqlite::Database& db, const ComparePoint& from);

/// Makes confirmed rows what the server says there is between two points, under the unsent work on
/// them; what the server does not have goes, unless there is unsent work on it. Returns the newest
/// stamp seen.
Stamp mend(Store::Core::Writing& writing, const IncomingStretch& stretch, Settled& settled);

/// As load(). Where the confirmed state of the row cannot be read it is given up, so that unsent
/// work on it can go, and the next comparison is due at once.
std::optional<Loaded> load_readable(sqlite::Database& db, const Kind& kind, const RecordId& id);

/// `meta.compare_at`: server time in Unix milliseconds from which the next comparison is due.
inline constexpr const char* kCompareAt = "compare_at";
inline constexpr std::int64_t kCompareEveryMs = 86'400'000;

}  // namespace rapport
