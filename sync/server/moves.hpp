// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "server/changeset.hpp"

/// Customers that change their territory, and what hangs on them.
///
/// The customer itself moves at once, in one commit with its departure and a note that its records
/// still follow. They do in commits of a bounded size, in between which devices are served; the
/// note goes with the last of them, so that a killed server goes on where it was.
namespace rapport::server {

inline constexpr std::size_t kMovedRecordsMax = 500;  ///< in one commit: some 30 ms

/// Brings the customer into `to`; what hangs on it follows by continue_moves().
void hand_over(Round& round, Changeset& changes, StoredRecord& customer, const std::string& to);
/// What hangs on this customer goes where it belongs now, by continue_moves().
void let_follow(Round& round, const std::string& tenant, const RecordId& customer);

/// Moves at most `limit` records of the tenant's open moves; the caller saves the changes. Returns
/// how many it looked at; 0: no move is open.
std::size_t continue_moves(Round& round, Changeset& changes, std::size_t limit);

}  // namespace rapport::server
