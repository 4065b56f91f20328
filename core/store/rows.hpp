// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "model/state.hpp"
#include "sqlite/database.hpp"

/// One record as it stands in its kind's table.
namespace rapport {

/// Bits of the `status` column, kept so that lists need no second look. All derived when the row is
/// saved.
enum RowStatus : std::int64_t {
    kRowDraft = 1,     ///< part of a draft
    kRowPending = 2,   ///< part of a bundle without an applied verdict
    kRowConflict = 4,  ///< a field of the confirmed state is in conflict
    kRowHidden = 8,    ///< departed from this device's scopes
};

struct Row {
    std::int64_t row = 0;  ///< 0: not in the file yet
    const Kind* kind = nullptr;
    RecordId id;
    std::int64_t status = 0;
    bool confirmed_once = false;  ///< the server knows it; else `confirmed` has no fields
    RecordState confirmed;        ///< with scope and move; a new record has only these
    FieldMap<Content> shown;      ///< confirmed with pending work over it: what the columns hold
    /// The same as it was read, so that saving writes, and reindexes, only what differs; none after
    /// a save.
    std::optional<FieldMap<Content>> read;

    Record record() const;  ///< what callers of find and query see
};

/// Nullopt if there is none (hidden rows are found).
std::optional<Row> load_row(sqlite::Database& db, const Kind& kind, const RecordId& id);
/// Looks through all kinds.
std::optional<Row> load_row(sqlite::Database& db, const RecordId& id);
/// What the columns of a row hold for these registers, in their order, without reading the rest of
/// it; nullopt if there is none or the server knows it, so that it has a confirmed state to be read
/// with it.
std::optional<std::vector<Value>> values_of_new(sqlite::Database& db, const Kind& kind,
                                                const RecordId& id,
                                                const std::vector<std::uint16_t>& registers);
/// The scope of a row, without reading the rest of it.
std::optional<std::string> scope_of(sqlite::Database& db, const RecordId& id);
/// The kind whose table holds the id; null if none.
const Kind* kind_holding(sqlite::Database& db, const RecordId& id);
/// Inserts (row == 0, then set) or updates. Live values whose bytes the columns hold are not stored
/// twice.
void save_row(sqlite::Database& db, Row& row);
/// Makes a row that the server did not know, and that nothing else is pending on, what it confirms.
/// Of `as_shown` the columns hold just that, so they are neither read nor written, and its
/// registers' values are elided. Returns false, and changes nothing, if the row is not like that.
bool confirm_row(sqlite::Database& db, const RecordState& confirmed,
                 const std::vector<const Field*>& as_shown);
void delete_row(sqlite::Database& db, const Row& row);

/// Makes a value that a disk has broken one that can be shown and sent: U+FFFD stands where a text
/// was no UTF-8, and an element of a set has its own key. Returns whether it had to.
bool mend(const Field& field, std::string& key, Value& value);

/// Fields in which the row shows something else than was confirmed. Only of one without unsent
/// work.
std::vector<const Field*> wrongly_shown(const Row& row);

/// The select list of a kind's table and the row under the cursor, for queries.
const std::string& select_of(
    const Kind& kind);  ///< "SELECT ... FROM <kind>" with every column load needs
const std::string& select_list(
    const Kind& kind);  ///< the columns alone, to select more beside them
Row row_at(sqlite::Statement& statement, const Kind& kind);
/// Only what readers need of it: no version is decoded.
Record record_at(sqlite::Statement& statement, const Kind& kind);

}  // namespace rapport
