// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rapport/kind.hpp"
#include "server/storage.hpp"

/// What backend programs read: the latest state of each record at least once, in the order of
/// commits, whole commits.
namespace rapport::server {

inline constexpr std::size_t kFeedLimitDefault = 500;  ///< records of a page
inline constexpr std::size_t kFeedLimitMax = 5000;

/// A place in the feed, for callers an opaque text.
std::string feed_cursor(std::uint64_t commit);
/// nullopt for anything feed_cursor() would not have written.
std::optional<std::uint64_t> commit_of(std::string_view cursor);

/// One record as a feed line: `{"event":...,"bundle":...,"author":...,"received_at":...}` before
/// the members of the canonical form; a field in conflict also appears in `conflicts` with every
/// live value, null = cleared. No line break at the end.
std::string feed_line(const StoredRecord& record);

struct FeedRequest {
    std::string tenant;
    std::uint64_t after = 0;  ///< commit; 0 = from the start
    std::size_t limit = kFeedLimitDefault;
    const Kind* kind = nullptr;  ///< null = all
};
/// A page as NDJSON: whole commits until `limit` lines are there, then `{"cursor":"..."}`. The end
/// is reached when a page returns the cursor it was asked with; a kind that is rare may give pages
/// with no line before that.
std::string feed_page(Transaction& snapshot, const FeedRequest& request);

}  // namespace rapport::server
