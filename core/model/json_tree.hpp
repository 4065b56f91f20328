// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "model/refusals.hpp"

/// JSON texts as trees. The device library reads all its JSON here: the JSON library makes another
/// parser of 10 KiB for every kind of text and of listener it is called with.
namespace rapport {

/// What a text says. It is emptied from its leaves up when it goes: the JSON library takes memory
/// to give a whole tree back, and a program whose destructor finds none ends.
struct JsonTree {
    JsonTree() = default;
    JsonTree(JsonTree&&) = default;
    JsonTree(const JsonTree&) = delete;
    JsonTree& operator=(const JsonTree&) = delete;
    JsonTree& operator=(JsonTree&&) = delete;
    ~JsonTree();

    nlohmann::json tree;  ///< null with a fault
    std::optional<RefusalCode> fault;
};

/// A text from outside, or what forbids making a tree of it: `too_large`, `too_many_values`
/// (bounds: model/json.hpp), `too_deep`, `duplicate_key` or `not_json`.
JsonTree read_json(std::string_view text);

/// The same without bounds on bytes and values: edits that met can make a map larger than anybody
/// could capture.
JsonTree read_stored_json(std::string_view text);

/// A tree, or a part of one, as a text; with U+FFFD in place of what is no UTF-8.
std::string dumped(const nlohmann::json& tree);

}  // namespace rapport
