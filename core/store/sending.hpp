// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "sqlite/database.hpp"

/// Which bundles go to the centre next, and in which order.
namespace rapport {

struct ToSend {
    /// Where somebody may come to harm first, else in order of capture; each behind what it needs.
    std::vector<std::int64_t> ids;
    /// Bundles of them that need each other, each the one before it and the first the last; found
    /// first, empty if there are none. The centre would tell them all to come later.
    std::vector<std::int64_t> circle;
};
/// At most `limit` of those that may go now. What stays: drafts, what is with a person, what was
/// told `later` in this run or got a verdict other than yes in this request, and all that needs one
/// of them.
ToSend next_to_send(sqlite::Database& db, std::size_t limit);

/// Makes the bundles of a circle one, the earliest of them, with what else they need of the bundles
/// behind that. Or parks those that have lost the row of a record, whereby the others wait as well.
void join_circle(sqlite::Database& db, const std::vector<std::int64_t>& circle);

}  // namespace rapport
