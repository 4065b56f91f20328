// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "sim/plan.hpp"

namespace rapport::sim {

/// The plan without the events that its violation does not need (delta debugging, Zeller and
/// Hildebrandt 2002): what is left breaks the same promise, and taking any one event away does not.
Plan reduced(const Plan& plan, const std::string& violated);

}  // namespace rapport::sim
