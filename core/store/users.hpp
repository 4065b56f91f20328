// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "model/merge.hpp"
#include "rapport/store.hpp"
#include "sqlite/database.hpp"
#include "store/core.hpp"
#include "store/replica.hpp"

namespace rapport {

/// Who has logged out of this file, in the order they left.
std::vector<LoggedOut> logged_out(sqlite::Database& db);
/// The last user of this server, tenant and name who logged out, if their work waits here.
std::optional<std::int64_t> parked_user(sqlite::Database& db, const Identity& identity);
/// Brings back what waits for a user, who is logged in by that. Nobody else is, and nothing has
/// been captured since.
void bring_back(Store::Core::Writing& writing, std::int64_t user);
/// Gives `to` each stamp of what waits for users who have logged out and the server has not taken,
/// and keeps what it returns. `held` is the newest stamp before it of what the server may have
/// taken of that user; 0 if there is none.
void restamp_parked(sqlite::Database& db, const std::function<Stamp(Stamp stamp, Stamp held)>& to);
/// Takes what orders on `subjects` reach from what waits for users of this tenant who have logged
/// out. Was anything there to take?
bool erase_parked(sqlite::Database& db, const Identity& of, const std::set<RecordId>& subjects);

}  // namespace rapport
