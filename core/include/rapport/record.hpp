// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "rapport/field_map.hpp"
#include "rapport/kind.hpp"

namespace rapport {

/// A record without its C++ type: what the JSON form, the command line, queries and the server work
/// with.
///
/// `fields` holds what each field shows, by field number; an absent number is an unset field.
/// Numbers this build does not know may be present and are kept.  Ownership: a value type; `kind`
/// points into the table of all kinds.
struct Record {
    const Kind* kind = nullptr;
    RecordId id;
    std::string scope;  ///< for example `territory/DE-50`; empty until known
    FieldMap<Content> fields;

    /// What the named field shows; empty if unset or unknown.
    const Content& shown(std::string_view field) const;
    /// The single value of a register; null if unset.
    const Value& value(std::string_view field) const;
    const Value& value(std::uint16_t number) const;
    void set(std::string_view field, Value value);
};

/// What tells a person which record it is, on one line of at most 80 characters: its name, its
/// title or its first words, else its kind and time.
std::string title(const Record& record);

/// A typed struct as a Record and back. Codes this build does not know read back as unset.
template <class K>
Record to_record(const K& typed, const RecordId& id) {
    Record r;
    r.kind = &kind_of<K>();
    r.id = id;
    for (const Field& f : r.kind->fields) {
        Content c = f.read(reinterpret_cast<const char*>(&typed) + f.offset);
        if (!c.empty()) r.fields.emplace(f.number, std::move(c));
    }
    return r;
}
template <class K>
K from_record(const Record& r) {
    K typed{};
    for (const Field& f : kind_of<K>().fields)
        if (auto it = r.fields.find(f.number); it != r.fields.end())
            f.write(reinterpret_cast<char*>(&typed) + f.offset, it->second);
    return typed;
}

}  // namespace rapport
