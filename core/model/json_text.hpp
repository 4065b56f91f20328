// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>
#include <string_view>

/// JSON texts (RFC 8259) as the device library writes them, without blanks. They are put together
/// as texts and not as trees: a tree of the JSON library takes memory when it goes, and a program
/// whose destructor finds none ends.
namespace rapport {

/// A string, with U+FFFD in place of what is no UTF-8.
std::string json_string(std::string_view text);

/// An array of what `written(element)` makes of the elements: JSON texts.
template <class Elements, class Written>
std::string json_array(const Elements& elements, Written written) {
    std::string out = "[";
    for (const auto& element : elements) {
        if (out.size() > 1) out += ',';
        out += written(element);
    }
    return out + ']';
}

/// An object; its members stand in the order of the calls, and no name may be given twice.
class JsonObject {
public:
    JsonObject& add(std::string_view name, std::string_view text) {
        return add_json(name, json_string(text));
    }
    template <std::integral Number>
    JsonObject& add(std::string_view name, Number number) {
        if constexpr (std::same_as<Number, bool>)
            return add_json(name, number ? "true" : "false");
        else
            return add_json(name, std::to_string(number));
    }
    /// A member whose value is a JSON text.
    JsonObject& add_json(std::string_view name, std::string_view json);

    bool empty() const { return open_.size() == 1; }
    std::string text() const { return open_ + '}'; }

private:
    std::string open_ = "{";
};

}  // namespace rapport
