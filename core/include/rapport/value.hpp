// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace rapport {

struct Value;
/// The parts of a group in their declared order; a part that is not set is a null Value.
using Parts = std::vector<Value>;

/// What a field or a part of one holds, without its type: the form in which values are stored,
/// merged and sent.
///
/// boolean: 0 or 1. integer: itself. instant: `Instant::packed()`. text and code: UTF-8. reference:
/// 16 raw bytes. group: its parts.  Ownership: a value type, immutable by convention.
struct Value {
    std::variant<std::monostate, std::int64_t, std::string, Parts> is;

    Value() = default;
    Value(std::int64_t integer) : is(integer) {}
    Value(std::string text) : is(std::move(text)) {}
    Value(const char* text) : is(std::string(text)) {}
    Value(Parts parts) : is(std::move(parts)) {}

    // Not std::variant's own copy: in g++ 12 it destroys what it has not made when there is no
    // memory.
    Value(const Value& other);
    Value(Value&&) noexcept = default;
    Value& operator=(const Value& other);
    Value& operator=(Value&&) noexcept = default;
    ~Value() = default;

    bool is_null() const { return is.index() == 0; }
    const std::int64_t* integer() const { return std::get_if<std::int64_t>(&is); }
    const std::string* text() const { return std::get_if<std::string>(&is); }
    const Parts* parts() const { return std::get_if<Parts>(&is); }

    friend bool operator==(const Value& a, const Value& b) { return a.is == b.is; }
    friend bool operator<(const Value& a, const Value& b) { return a.is < b.is; }
};

/// One thing a field shows. Registers show one item with an empty key, keep-both text one per
/// sibling, a set one per element, a per-key field one per key.
struct Item {
    std::string key;
    Value value;
    friend bool operator==(const Item&, const Item&) = default;
};

/// What a field shows; empty when it is not set.
using Content = std::vector<Item>;

/// The canonical bytes of a value: equal values have equal bytes. They are the key of a set's
/// element.
std::string canonical_bytes(const Value& value);

}  // namespace rapport
