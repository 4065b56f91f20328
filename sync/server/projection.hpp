// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "model/state.hpp"
#include "server/round.hpp"

/// What of a record leaves the server for a device, whatever its scope.
namespace rapport::server {

bool may_see(const Device& device, const Kind& kind);

/// The record as the device's role may see it; nothing if it may not see it at all.
std::optional<RecordState> project(Round& round, const Device& device, RecordState state);

}  // namespace rapport::server
