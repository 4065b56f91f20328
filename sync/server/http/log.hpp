// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// The server's log: one JSON object a line on stderr, `{"time":...,"level":...,"event":...,...}`.
/// Never customer data, never a secret; devices appear as writer numbers.  Thread-safe.
namespace rapport::server::log {

enum class Level : std::uint8_t { info, warning, error };

/// A number, a boolean or a text.
struct Value {
    std::string json;
    Value(std::string_view text);
    Value(const char* text) : Value(std::string_view(text)) {}
    Value(const std::string& text) : Value(std::string_view(text)) {}
    template <class N>
    requires std::is_integral_v<N> Value(N number) {
        if constexpr (std::is_same_v<N, bool>)
            json = number ? "true" : "false";
        else
            json = std::to_string(number);
    }
};

void write(Level level, std::string_view event,
           std::initializer_list<std::pair<std::string_view, Value>> members = {});
/// From now on nothing below this level; what tests use to keep their output readable.
void only_from(Level level);

}  // namespace rapport::server::log
