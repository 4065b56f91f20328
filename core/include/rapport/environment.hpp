// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "rapport/instant.hpp"

namespace rapport {

/// How long the machine has been running, sleep included: what nobody can set.
struct Uptime {
    std::uint64_t boot = 0;  ///< names this run of the machine; another after each start
    std::int64_t ms = 0;
};

/// Where time and chance come from. The library reads neither on its own, so that a fleet of
/// devices and a server can run in one deterministic test.  Thread-safety: implementations are
/// thread-safe.
class Environment {
public:
    virtual ~Environment() = default;
    /// The device's wall clock with the zone offset it shows.
    virtual Instant now() = 0;
    /// Nothing where the system does not tell; stamps then follow the wall clock, jumps and all,
    /// until the next sync.
    virtual std::optional<Uptime> uptime() { return std::nullopt; }
    /// Fills `out` with unpredictable bytes.
    virtual void random(std::span<std::uint8_t> out) = 0;

    std::uint64_t random64();
};

/// The operating system's clock and random source. Lives for ever.
Environment& system_environment();

}  // namespace rapport
