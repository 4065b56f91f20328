// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/kind.hpp"
#include "server/storage.hpp"

/// What backend programs read: the latest state of each record at least once and every departure,
/// in the order of commits, whole commits.
namespace rapport::server {

inline constexpr std::size_t kFeedLimitDefault = 500;  ///< lines of a page
inline constexpr std::size_t kFeedLimitMax = 5000;

/// A place in the feed, for callers an opaque text.
std::string feed_cursor(std::uint64_t commit);
/// nullopt for anything feed_cursor() would not have written.
std::optional<std::uint64_t> commit_of(std::string_view cursor);

/// One record as a feed line: `{"event":...,"bundle":...,"author":...,"received_at":...}` before
/// the members of the canonical form; a field in conflict also appears in `conflicts` with every
/// live value, null = cleared. No line break at the end.
std::string feed_line(const StoredRecord& record);
/// `{"event":"departed","received_at":...,"kind":...,"id":...,"from":...,"to":...,"move":...}`: the
/// record left scope `from`; an empty `to` says that it went nowhere.
std::string feed_line(const StoredDeparture& departure);
/// `{"event":"erased","received_at":...,"kind":...,"id":...,"order":...}`: the personal fields of
/// this subject are gone, also from older lines that a reader may have kept.
std::string feed_line(const StoredErasure& erasure);
/// The values of every field in conflict as one JSON object by field name; empty if there is none.
std::string conflicts_json(const StoredRecord& record, const Kind& kind);

/// Whole commits, at least one if any is there, until about `lines_min` records and departures are.
struct FeedBatch {
    std::vector<StoredRecord> records;        ///< in the order of commits
    std::vector<StoredDeparture> departures;  ///< likewise
    std::vector<StoredErasure> erasures;      ///< likewise
    std::uint64_t end = 0;                    ///< all are whole up to this commit
};
FeedBatch feed_batch(Transaction& snapshot, const std::string& tenant, std::uint64_t after,
                     std::size_t lines_min);

struct FeedRequest {
    std::string tenant;
    std::uint64_t after = 0;  ///< commit; 0 = from the start
    std::size_t limit = kFeedLimitDefault;
    std::vector<const Kind*> kinds;  ///< none = all
};
/// A page as NDJSON: whole commits until `limit` lines are there, in a commit its erasures and
/// departures before its records, then `{"cursor":"..."}`. The end is reached when a page returns
/// the cursor it was asked with; a kind that is rare may give pages with no line before that.
std::string feed_page(Transaction& snapshot, const FeedRequest& request);

}  // namespace rapport::server
