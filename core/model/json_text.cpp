// SPDX-License-Identifier: Apache-2.0
#include "model/json_text.hpp"

#include "model/json_tree.hpp"

namespace rapport {

std::string json_string(std::string_view text) { return dumped(nlohmann::json(text)); }

JsonObject& JsonObject::add_json(std::string_view name, std::string_view json) {
    if (!empty()) open_ += ',';
    open_.append(json_string(name)).append(":").append(json);
    return *this;
}

}  // namespace rapport
