// SPDX-License-Identifier: Apache-2.0
#include "rapport/value.hpp"

namespace rapport {

Value::Value(const Value& other) { *this = other; }

// What is copied is whole before it goes into the variant, which may hold `other`.
Value& Value::operator=(const Value& other) {
    if (const auto* number = other.integer())
        is = std::int64_t{*number};
    else if (const auto* characters = other.text())
        is = std::string(*characters);
    else if (const auto* group = other.parts())
        is = Parts(*group);
    else
        is = std::monostate{};
    return *this;
}

}  // namespace rapport
