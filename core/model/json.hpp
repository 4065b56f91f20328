// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rapport/error.hpp"
#include "rapport/record.hpp"
#include "rapport/refusal.hpp"

/// The canonical JSON of a record (core/FORMAT.md): one line, keys in the order of the kind's list.
namespace rapport {

/// Bytes of an import line; a bundle is at most 256 KiB. One field's JSON may be longer: edits that
/// met can make a map larger than anybody could capture.
inline constexpr std::size_t kJsonBytesMax = 1024 * 1024;
/// Nested arrays and objects; a record needs 5.
inline constexpr int kJsonDepthMax = 16;
/// Values and members of one text: a tree takes a hundred times the bytes of `[],[],...`. The 500
/// records of a bundle have 40 each with that; 256 KiB hold 13 bytes for each.
inline constexpr std::size_t kJsonValuesMax = 20'000;

std::string to_json(const Record& record);
/// The same with members before those of the record, their values already encoded:
/// `{"event":"created",...}` for the feed.
std::string to_json(const Record& record,
                    const std::vector<std::pair<std::string, std::string>>& leading_json_members);

/// Are whole numbers of this type written as a string of digits? Decided by the type, never by the
/// value, so that a reader can rely on it.
bool travels_as_text(const TypeInfo& type);

/// Finds the record a reference written `@ref` or `@system:id` names; called without the `@`.
/// Nullopt = not known.
using ResolveReference = std::function<std::optional<RecordId>(std::string_view reference)>;

/// One field's content as its JSON value, and back; `null` is empty content. Unknown part names,
/// wrong JSON types and malformed times or ids become refusals that name them, and the result is
/// nullopt. Codes this build does not know pass; they, bounds and formats are check_content's
/// business. An empty `resolve` knows no reference.
std::string content_to_json(const Field& field, const Content& content);
std::optional<Content> content_from_json(const Field& field, std::string_view json,
                                         const ResolveReference& resolve, const RecordId& record,
                                         std::vector<Refusal>& out);

/// What a person types after `field=`, `field.part=` or `field.key=`: whole numbers, true and
/// false, RFC 3339 times, codes, ids or `@references`, and plain text. Elements of a set are
/// separated by commas, and the parts of a group in a set by colons in their order
/// (`phones=+49301234567:work`). Empty text is empty content.
///
/// With a `part` of a group the content is the group with this part alone, the others null: the
/// caller lays it over what the group shows (over_part). With a key of a map it is that one item,
/// whose value is null if the text is empty.
std::optional<Content> content_from_text(const Field& field, std::string_view part,
                                         std::string_view text, const ResolveReference& resolve,
                                         const RecordId& record, std::vector<Refusal>& out);

/// The group a field shows with one part replaced, as `content_from_text` returned it; a part typed
/// empty is unset.
Content over_part(const Field& field, std::string_view part, const Content& shown,
                  const Content& typed);

/// One line of an import. `id` may be nil; `scope`, `ref` and `bundle` may be empty. References
/// that `resolve` does not know become refusals.
struct ImportLine {
    Record record;  ///< `kind` is null if the line names none that is known
    std::string ref, bundle;
    /// A line of the feed that holds no record: a cursor or a departure. All else is empty then.
    bool no_record = false;
    /// Unknown kind or field, wrong types; the record is then incomplete.
    std::vector<Refusal> refusals;
};
ImportLine parse_import_line(std::string_view json, const ResolveReference& resolve);

}  // namespace rapport
