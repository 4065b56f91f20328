// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/changeset.hpp"

namespace rapport::server {

/// What the centre makes of a new price or customisation request.
struct Judgement {
    bool within_limit = false;
    Role approver = Role::price;  ///< who must agree, if not within the limit
    /// The device said so by a policy it had, that was valid then and that it had not seen
    /// replaced: its word holds, though the centre's newest policy says otherwise.
    bool in_good_faith = false;
    std::int64_t lead_time_days = 0;  ///< of the options asked for
};

/// By the policies of the device's role and the options as they stand now.
Judgement judge_limits(Round& round, Changeset& changes, const Device& device,
                       const StoredRecord& request);

}  // namespace rapport::server
