// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/kind.hpp"
#include "sqlite/database.hpp"

/// The tables of a device file (core/FORMAT.md).
namespace rapport {

inline constexpr std::int64_t kFormatVersion = 1;           ///< PRAGMA user_version
inline constexpr std::int64_t kApplicationId = 0x52505254;  ///< "RPRT", PRAGMA application_id

/// Creates the tables of a new file, or brings an older one up to this build: new kinds and fields
/// become tables and columns, what the file already knew of a new field is shown from then on, and
/// a table `needs` of an earlier build goes into `bundle`. One transaction, which writes nothing
/// when nothing is missing. Errors: storage_newer, storage_damaged (not one of our files).
void create_or_migrate(sqlite::Database& db);

/// A kind's indexes are made before its first row is: an empty one takes a page, and there are
/// many. So a kind without indexes has no rows.
void index_kind(sqlite::Database& db, const Kind& kind);
/// After rows were written past save_row().
void index_kinds_with_rows(sqlite::Database& db);
std::vector<const Kind*> indexed_kinds(sqlite::Database& db);

/// Is it empty or one of our files, of a format this build knows? Errors: storage_newer,
/// storage_damaged.
void check_ours(sqlite::Database& db);

/// Can this build read the file as it is, without writing to it? Errors: those above; not_found
/// when nothing has been stored in it yet; conflict when an older build wrote it, until it has been
/// opened for writing once.
void check_format(sqlite::Database& db);

/// A column of a kind's table and its SQL type.
struct Column {
    std::string name;
    const char* type;
};
/// The columns of a field: one for most, one per part for a group (`address_street`). Names are the
/// field's; one that a table's own column has already taken gets `_` at its end (`status_`).
std::vector<Column> columns_of(const Field& field);
std::string column_of(const Field& field);
std::string column_of(const Field& field, const PartInfo& part);
/// A name as an SQL identifier: in double quotes.
std::string identifier(std::string_view name);

/// Small values by name: identity, counters, offsets.
std::optional<std::string> meta(sqlite::Database& db, std::string_view key);
std::optional<std::int64_t> meta_integer(sqlite::Database& db, std::string_view key);
void set_meta(sqlite::Database& db, std::string_view key, std::string_view value);
void set_meta(sqlite::Database& db, std::string_view key, std::int64_t value);

}  // namespace rapport
