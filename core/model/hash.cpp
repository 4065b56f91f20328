// SPDX-License-Identifier: Apache-2.0
#include "model/hash.hpp"

#include <array>
#include <bit>
#include <cstddef>

namespace rapport {
namespace {

constexpr std::uint64_t k1 = 0x9E3779B185EBCA87ULL, k2 = 0xC2B2AE3D27D4EB4FULL,
                        k3 = 0x165667B19E3779F9ULL, k4 = 0x85EBCA77C2B2AE63ULL,
                        k5 = 0x27D4EB2F165667C5ULL;

template <int Bytes>
std::uint64_t little_endian(const char* p) {
    std::uint64_t v = 0;
    for (int i = 0; i < Bytes; ++i) v |= std::uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
    return v;
}

std::uint64_t round(std::uint64_t acc, std::uint64_t lane) {
    return std::rotl(acc + lane * k2, 31) * k1;
}

}  // namespace

std::uint64_t hash64(std::string_view bytes, std::uint64_t seed) {
    const char* p = bytes.data();
    std::size_t left = bytes.size();
    std::uint64_t h = seed + k5;
    if (left >= 32) {
        std::array<std::uint64_t, 4> lanes{seed + k1 + k2, seed + k2, seed, seed - k1};
        for (; left >= 32; left -= 32)
            for (auto& lane : lanes) {
                lane = round(lane, little_endian<8>(p));
                p += 8;
            }
        h = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
            std::rotl(lanes[3], 18);
        for (const auto lane : lanes) h = (h ^ round(0, lane)) * k1 + k4;
    }
    h += bytes.size();
    for (; left >= 8; left -= 8, p += 8)
        h = std::rotl(h ^ round(0, little_endian<8>(p)), 27) * k1 + k4;
    if (left >= 4) {
        h = std::rotl(h ^ little_endian<4>(p) * k1, 23) * k2 + k3;
        p += 4;
        left -= 4;
    }
    for (; left > 0; --left, ++p) h = std::rotl(h ^ little_endian<1>(p) * k5, 11) * k1;
    h = (h ^ (h >> 33)) * k2;
    h = (h ^ (h >> 29)) * k3;
    return h ^ (h >> 32);
}

}  // namespace rapport
