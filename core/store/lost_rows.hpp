// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "store/pending.hpp"

/// Rows that have gone from a damaged file while unsent work on their records waits. The work goes
/// on with what is left of it, and a person hears of what is not.
namespace rapport {

/// Does unsent work on the record wait, whatever the mark of its row says?
bool has_changes(sqlite::Database& db, const RecordId& id);

/// A record without a row, and the work on it. Values that only its row held are those that were
/// sent, where that is known, else what `shows` has.
Loaded without_row(sqlite::Database& db, const Kind& kind, const RecordId& id,
                   const FieldMap<Content>& shows = {});

/// The same; nullopt if nothing on the record waits.
std::optional<Loaded> without_row(sqlite::Database& db, const RecordId& id);

/// Called when such a row is there again, before it is saved: what waits for it goes on, save where
/// a value was lost that the person is to enter again.
void row_is_back(sqlite::Database& db, const Kind& kind, const RecordId& id);

/// Parks a bundle that is to be sent and has records without a row: it stays until they are back,
/// and a comparison that may bring them is due at once. False: it has none.
bool park_without_rows(sqlite::Database& db, BundleRow& bundle);

}  // namespace rapport
