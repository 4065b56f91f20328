// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/bundle.hpp"
#include "model/limits.hpp"
#include "model/state.hpp"
#include "rapport/error.hpp"
#include "rapport/record.hpp"
#include "rapport/refusal.hpp"

/// Rules that device and server share, so that what a device accepts the server does not refuse for
/// its form.
namespace rapport {

/// The codes of refusals that this folder gives. Programs compare them; they are never renamed.
namespace refusal_code {
// clang-format off
// one value
constexpr char kRequired[] = "required";                  ///< must be set and is not
constexpr char kWrongType[] = "wrong_type";               ///< another shape than the field's
constexpr char kNotUtf8[] = "not_utf8";                   ///< text that is not UTF-8
constexpr char kControlCharacter[] = "control_character"; ///< characters nobody can read
constexpr char kTooLong[] = "too_long";                   ///< more code points than it takes
constexpr char kOutOfRange[] = "out_of_range";            ///< outside the field's bounds
constexpr char kUnknownCode[] = "unknown_code";           ///< none of the codes of the field
constexpr char kMalformed[] = "malformed";                ///< does not follow the field's format
constexpr char kGtinCheckDigit[] = "gtin_check_digit";    ///< the last digit does not fit
constexpr char kGlnCheckDigit[] = "gln_check_digit";      ///< the same of a GLN
constexpr char kUnknownCountry[] = "unknown_country";     ///< not in ISO 3166-1
constexpr char kUnknownCurrency[] = "unknown_currency";   ///< not in ISO 4217
constexpr char kUnknownPart[] = "unknown_part";           ///< no part of the group
constexpr char kTooMany[] = "too_many";                   ///< more values or elements than allowed
constexpr char kMalformedKey[] = "malformed_key";         ///< a map key that is not a name
constexpr char kDuplicateKey[] = "duplicate_key";         ///< a map or object with a key twice
// several fields
constexpr char kProductMissing[] = "product_missing";     ///< no product_id, no product_text
constexpr char kEndsBeforeStart[] = "ends_before_start";  ///< an end that is before its beginning
constexpr char kPurposeMissing[] = "purpose_missing";     ///< a visit closes without a purpose
constexpr char kResultMissing[] = "result_missing";       ///< a visit closes without a result
constexpr char kNegativeAmount[] = "negative_amount";     ///< money that cannot be below zero
constexpr char kRefersToItself[] = "refers_to_itself";    ///< a record that names itself
constexpr char kOptionsMissing[] = "options_missing";     ///< a question to choose without options
constexpr char kValueMissing[] = "value_missing";         ///< an answer that says nothing
constexpr char kLineTwice[] = "line_twice";               ///< two lines with one number
constexpr char kMixedCurrencies[] = "mixed_currencies";   ///< amounts of one request differ in it
// rights
constexpr char kNotCreatable[] = "not_creatable";         ///< the role may not create this kind
constexpr char kNotWritable[] = "not_writable";           ///< the role may not write this field
constexpr char kWriteOnce[] = "write_once";               ///< fixed with the record
constexpr char kFixed[] = "fixed";                         ///< no longer edited in its state
constexpr char kAppendOnly[] = "append_only";             ///< the kind is added to, not changed
// JSON and command lines
constexpr char kNotJson[] = "not_json";                   ///< not a JSON value
constexpr char kTooLarge[] = "too_large";                 ///< over kJsonBytesMax
constexpr char kTooManyValues[] = "too_many_values";    ///< more than kJsonValuesMax
constexpr char kTooDeep[] = "too_deep";                   ///< nested deeper than kJsonDepthMax
constexpr char kUnknownKind[] = "unknown_kind";           ///< no kind of this build
constexpr char kUnknownField[] = "unknown_field";         ///< no field of the kind or line
constexpr char kUnknownReference[] = "unknown_reference"; ///< `@...` names no known record
// clang-format on
}  // namespace refusal_code

bool is_utf8(std::string_view text);

/// UTF-8 in NFC without control characters and outer blanks; line breaks (as `\n`) and tabs stay
/// unless `single_line`. Nullopt if it is not UTF-8, holds a control character, or piles more than
/// 30 combining marks on one letter.
std::optional<std::string> normalised(std::string_view text, bool single_line);

/// The form in which a text of this format is stored (phone without blanks, country in upper case,
/// GTIN as 14 digits, ...); nullopt if it does not follow the format. Takes normalised text; an
/// empty one follows no format but any and line.
std::optional<std::string> canonical_text(Format format, std::string_view text);

/// Brings a value into its canonical form in place. A text of blanks and a group without parts
/// become null. Appends a refusal per finding: out of bounds, unknown code of a closed list,
/// malformed format, missing part.
void check_value(const Field& field, const RecordId& record, Value& value,
                 std::vector<Refusal>& out);
/// All items of a field. Null items leave (except of a map, where they clear their key), so content
/// that says nothing ends up empty; elements of sets lose duplicates and are ordered by their
/// recomputed keys.
void check_content(const Field& field, const RecordId& record, Content& content,
                   const Limits& limits, std::vector<Refusal>& out);
/// Would check_content() find nothing wrong with a register of this value, and leave it as it is?
/// No also of some where it would; to be asked before a copy is made.
bool is_canonical(const Field& field, const Value& value);

/// A whole record as it would be submitted: required fields, and the rules over several fields (one
/// of product_id and product_text, ended_at not before started_at, ...). Expects content that
/// passed check_content.
void check_record(const Record& record, std::vector<Refusal>& out);

/// May a device of this role write this field of this kind (create or update)? Appends a refusal if
/// not. A null `field` asks about the record as such; that answer comes with every field too, but
/// never twice. Role::sys, the server itself, may all.
void check_writer(const Kind& kind, const Field* field, const RecordId& record, bool create,
                  Role role, std::vector<Refusal>& out);

/// May a record as it stands still be edited in this field? Some kinds are edited in their first
/// state only, for example a question until it is live.
void check_open(const Record& present, const Field& field, std::vector<Refusal>& out);

}  // namespace rapport
