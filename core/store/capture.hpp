// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "store/core.hpp"
#include "store/pending.hpp"

namespace rapport {

struct CommitOptions {
    bool as_draft = false;
    bool resolves = false;  ///< the edit has seen all values of the field, not only the shown one
    std::vector<std::string> typed;  ///< of a draft: the names typed into; empty = all edited
};

/// All edits in one transaction; see Store::commit.
Captured commit_edits(Store::Core& core, std::span<const RecordEdit> edits,
                      const CommitOptions& options);

/// A draft was touched. Forgets what was typed into these names (all of `field` and its parts for a
/// plain name, only one for a `group.part`) and was no value.
void touch_draft(sqlite::Database& db, std::int64_t bundle, const Instant& now);
void forget_typed(sqlite::Database& db, const RecordId& record, const std::string& name);

/// The role this file captures with: its identity's, before enrolment `rep`.
Role capture_role(sqlite::Database& db);

/// The scope of a record by its kind's home rule, from the rows of this file; empty while unknown.
std::string scope_for(sqlite::Database& db, const Record& record);

}  // namespace rapport
