// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "model/archive.hpp"
#include "model/merge.hpp"
#include "rapport/record.hpp"

namespace rapport {

/// A record as the merge knows it: per field the live values, counters and (on the server)
/// captures.
struct RecordState {
    std::uint16_t kind = 0;
    RecordId id;
    std::string scope;
    std::uint64_t move = 0;  ///< raised with each change of scope
    FieldMap<FieldState> fields;

    bool operator==(const RecordState&) const = default;
};

/// What the record shows.
Record show(const RecordState& state);

/// Is any field of it in conflict?
bool conflicted(const RecordState& state);

/// Says which live values' bytes are left out.
using Elide = std::function<bool(std::uint16_t field, const LiveValue& live)>;

/// The compact form of a record's fields, used for the version column of the device file, the
/// server's state column and the wire: one default (dot, stamp, capture) for the record and
/// exceptions per field (layout in core/FORMAT.md). With `captures` the capture ids and known
/// captures are included (server only).
std::string encode_fields(const RecordState& state, bool captures, const Elide& elide = {});
/// Fills `state.fields`; elided values have `elided` set and a null value.
void decode_fields(std::string_view bytes, bool captures, RecordState& state);

/// A whole record on the wire: kind, id, scope, move and its fields.
std::string encode_record(const RecordState& state, const Elide& elide = {});
RecordState decode_record(std::string_view bytes);

}  // namespace rapport
