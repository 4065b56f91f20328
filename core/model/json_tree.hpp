// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "model/refusals.hpp"

/// JSON texts as trees. The device library reads all its JSON here: the JSON library makes another
/// parser of 10 KiB for every kind of text and of listener it is called with.
namespace rapport {

struct JsonTree {
    nlohmann::json tree;  ///< null with a fault
    std::optional<RefusalCode> fault;
};

/// A text from outside, or what forbids making a tree of it: `too_large`, `too_many_values`
/// (bounds: model/json.hpp), `too_deep`, `duplicate_key` or `not_json`.
JsonTree read_json(std::string_view text);

/// The same without bounds on bytes and values: edits that met can make a map larger than anybody
/// could capture.
JsonTree read_stored_json(std::string_view text);

}  // namespace rapport
