// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace rapport::test {

/// The same numbers on every platform, from a seed (splitmix64, the upper half).
class Chance {
public:
    explicit Chance(std::uint64_t seed) : state_(seed) {}
    std::uint32_t operator()() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
    }

private:
    std::uint64_t state_;
};

}  // namespace rapport::test
