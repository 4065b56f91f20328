// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rapport/record.hpp"

namespace rapport {

enum class Compare : std::uint8_t {
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
    contains,  ///< a set holds the element; a text holds the words, case-sensitive
};

/// One test on a field of the queried kind, `name` or `group.part`.
struct Condition {
    std::string field;
    Compare compare = Compare::equal;
    Value value;  ///< null with equal / not_equal: unset / set
};

/// Records of one kind, page by page. Conditions are joined by AND.
struct Query {
    const Kind* kind = nullptr;
    std::vector<Condition> where;
    std::optional<Instant> since;  ///< on the kind's time field
    std::string sort;  ///< field name; empty = the kind's time field, else the order of creation
    bool descending = true;  ///< newest first
    std::size_t limit = 50;  ///< 1 .. 1,000
    std::string after;       ///< `next` of the page before; empty = from the start
};

struct Page {
    std::vector<Record> records;
    std::string next;  ///< empty when this was the last page
};

}  // namespace rapport
