// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "model/limits.hpp"
#include "sqlite/database.hpp"
#include "store/replica.hpp"

/// Who this file is, kept in its meta table.
namespace rapport {

std::optional<Identity> stored_identity(sqlite::Database& db);
void store_identity(sqlite::Database& db, const Identity& identity);

/// Who writes under this name.
void note_author(sqlite::Database& db, std::uint64_t writer, const std::string& name);

/// The name captures are made under: the identity's, before enrolment the one the file was made
/// with; may be empty.
std::string author(sqlite::Database& db);

/// The territory new customers get: the first of the scopes that is one territory; empty if there
/// is none.
std::string own_territory(const Identity& identity);

/// The server's limits as last published, else the defaults.
Limits stored_limits(sqlite::Database& db);
void store_limits(sqlite::Database& db, const Limits& limits);

}  // namespace rapport
