// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rapport {

using Milliseconds = std::chrono::milliseconds;
using TimePoint = std::chrono::sys_time<Milliseconds>;

/// A moment as a person or machine noted it: UTC milliseconds plus the zone offset the device
/// showed.
struct Instant {
    TimePoint at{};
    std::chrono::minutes offset{0};  ///< -1023 .. 1023

    Instant() = default;
    Instant(TimePoint at_, std::chrono::minutes offset_ = std::chrono::minutes{0})
        : at(at_), offset(offset_) {}

    /// RFC 3339, for example `2026-03-02T09:30:00.000+01:00`; an offset of zero is written `Z`.
    std::string rfc3339() const;
    /// Accepts RFC 3339 with an offset (`Z`, `z` or `+hh:mm`), 0 to 9 fraction digits (cut to
    /// milliseconds), years 1970 to 9999.
    static std::optional<Instant> parse(std::string_view text);

    /// One integer that orders by time: utc_ms * 2048 + (offset in minutes + 1024). The form of
    /// columns and wire.
    std::int64_t packed() const {
        return at.time_since_epoch().count() * 2048 + offset.count() + 1024;
    }
    static Instant unpack(std::int64_t packed);

    friend bool operator==(const Instant&, const Instant&) = default;
    friend auto operator<=>(const Instant& a, const Instant& b) {
        return a.packed() <=> b.packed();
    }
};

}  // namespace rapport
