// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "rapport/instant.hpp"

namespace rapport {

/// Where time and chance come from. The library reads neither on its own, so that a fleet of
/// devices and a server can run in one deterministic test.  Thread-safety: implementations are
/// thread-safe.
class Environment {
public:
    virtual ~Environment() = default;
    /// The device's wall clock with the zone offset it shows.
    virtual Instant now() = 0;
    /// Fills `out` with unpredictable bytes.
    virtual void random(std::span<std::uint8_t> out) = 0;

    std::uint64_t random64();
};

/// The operating system's clock and random source. Lives for ever.
Environment& system_environment();

}  // namespace rapport
