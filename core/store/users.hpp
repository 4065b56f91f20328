// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "rapport/store.hpp"
#include "sqlite/database.hpp"

namespace rapport {

/// Who has logged out of this file, in the order they left.
std::vector<LoggedOut> logged_out(sqlite::Database& db);

}  // namespace rapport
