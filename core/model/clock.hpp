// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "model/merge.hpp"

namespace rapport {

/// A stamp further ahead of server time than this is no time but a clock set wrong.
inline constexpr std::int64_t kStampAheadMsMax = 5 * 60 * 1000;

/// Hybrid logical clock (Kulkarni et al., 2014): 48 bits of Unix milliseconds, 16 bits of counter
/// that carry over into the milliseconds when they overflow. Stamps rise strictly, also when the
/// wall clock stands still or jumps back.  Confined.
class HybridClock {
public:
    explicit HybridClock(Stamp last = 0) : last_(last) {}

    /// The stamp of a new event at this wall time.
    Stamp tick(std::int64_t wall_ms) { return last_ = std::max(at(wall_ms), last_ + 1); }
    /// Something stamped so was seen: what follows is later.
    void observe(Stamp seen) { last_ = std::max(last_, seen); }
    Stamp last() const { return last_; }

    static Stamp at(std::int64_t wall_ms) {
        return static_cast<Stamp>(std::max<std::int64_t>(wall_ms, 0)) << 16;
    }
    static std::int64_t wall_ms(Stamp stamp) { return static_cast<std::int64_t>(stamp >> 16); }

private:
    Stamp last_;
};

}  // namespace rapport
