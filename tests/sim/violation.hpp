// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "model/state.hpp"

namespace rapport::sim {

/// A promise that did not hold.
class Violation : public std::runtime_error {
public:
    Violation(std::string name, const std::string& sentence)
        : std::runtime_error(sentence), invariant(std::move(name)) {}
    std::string invariant;
};

/// The field a newer server sends with every record: no build knows the number.
inline constexpr std::uint16_t kUnknownField = 900;
void add_unknown_field(RecordState& state);

}  // namespace rapport::sim
