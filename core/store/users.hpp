// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <vector>

#include "rapport/store.hpp"
#include "sqlite/database.hpp"
#include "store/replica.hpp"

namespace rapport {

/// Who has logged out of this file, in the order they left.
std::vector<LoggedOut> logged_out(sqlite::Database& db);
/// Takes what orders on `subjects` reach from what waits for users of this tenant who have logged
/// out.
void erase_parked(sqlite::Database& db, const Identity& of, const std::set<RecordId>& subjects);

}  // namespace rapport
