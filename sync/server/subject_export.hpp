// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "server/round.hpp"

namespace rapport::server {

/// Everything held on a contact or customer, one JSON object a line: the records an erasure order
/// would reach as the feed shows them, then what was superseded in them (`event` superseded), words
/// held for a decision (held), what bundles that wait for a person write about them (review,
/// refused) or a recovery kept back (kept_back), and the order, if one was given (erased). False:
/// there is no such record.
bool export_subject(Round& snapshot, const std::string& tenant, const RecordId& subject,
                    const std::function<void(const std::string& json)>& line);

}  // namespace rapport::server
