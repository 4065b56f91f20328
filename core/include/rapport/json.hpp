// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rapport/store.hpp"

/// A store's questions and answers as JSON texts, for programs and faces that are not C++. Records
/// and values have the form of core/FORMAT.md; UTF-8 both ways.
namespace rapport {

/// What a text asks to be captured, or why it cannot be. With a refusal the edits are incomplete.
struct AskedEdits {
    std::vector<RecordEdit> edits;
    std::vector<Refusal> refusals;
};

/// New records from an array of `{"kind": ..., "fields": {...}}`; `id`, `scope` and `ref` may be
/// given. A reference `"@name"` is the record of the array with that `ref`, whichever comes first,
/// and `"@system:id"` one of the store. Errors: invalid_argument for what is no array of objects.
AskedEdits new_records(const Store& store, std::string_view json);

/// Changes from an array of `{"id": ..., "fields": {...}}`; the id may be `@system:id`. A field is
/// written with its value and cleared with null. Elements of sets and keys of maps enter and leave
/// one by one with `"add": {field: [...]}` (of maps an object) and `"remove": {field: [...]}`.
/// Errors: invalid_argument for what is no array of objects.
AskedEdits changes(const Store& store, std::string_view json);

/// `{"kind": ..., "where": [{"field": ..., "is": ">=", "value": ...}], "since": TIME, "sort":
/// "-received_at", "limit": 50, "after": ...}`; all but `kind` may be missing. `is` is one of = !=
/// < <= > >= ~ (contains), `=` if missing; a minus before the field sorts descending.
/// Errors: invalid_argument, which names the member.
Query asked_query(std::string_view json);

std::string to_json(const Record& record);
/// The same with `sync`, the state of the record, as its first member.
std::string to_json(const Store& store, const Record& record);
/// `{"records": [...], "next": ...}`; records with `sync`, `next` null on the last page.
std::string to_json(const Store& store, const Page& page);
std::string to_json(const Refusal& refusal, Language language);
/// `{"ids": [...], "refusals": [...]}`.
std::string to_json(const Captured& captured, Language language);
/// `{"sync": ..., "conflict": ..., "reasons": [...], "waits_for": [ids]}`.
std::string to_json(const RecordStatus& status, Language language);
std::string to_json(const HeldBundle& bundle, Language language);
/// How the file stands, and in `held` each bundle that does not go on by itself.
std::string to_json(const Overview& overview, const std::vector<HeldBundle>& held,
                    Language language);
/// `{"complaint": [ids], ...}`.
std::string to_json(const Changes& changes);

}  // namespace rapport
