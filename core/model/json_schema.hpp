// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "rapport/kind.hpp"

namespace rapport {

/// The JSON Schema (2020-12) of the lines of the feed: records of these kinds in canonical form,
/// with or without the feed's own members, departures and cursors. Made from the kinds' field
/// lists. States and other codes that only the server writes may grow without a new version of the
/// programs; of them the known codes are examples.
std::string json_schema(const std::vector<const Kind*>& kinds);

}  // namespace rapport
