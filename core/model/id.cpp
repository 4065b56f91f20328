// SPDX-License-Identifier: Apache-2.0
#include "rapport/id.hpp"

#include <algorithm>

#include "model/hash.hpp"

namespace rapport {
namespace {

constexpr bool is_dash(std::size_t at) { return at == 8 || at == 13 || at == 18 || at == 23; }

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

void mark(RecordId& id, unsigned version) {
    id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0FU) | version << 4);
    id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3FU) | 0x80U);
}

}  // namespace

std::string RecordId::text() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(36);
    for (const std::uint8_t b : bytes) {
        if (is_dash(out.size())) out.push_back('-');
        out.push_back(kDigits[b >> 4]);
        out.push_back(kDigits[b & 0x0F]);
    }
    return out;
}

std::optional<RecordId> RecordId::parse(std::string_view text) {
    if (text.size() != 36) return std::nullopt;
    RecordId id;
    std::size_t nibble = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (is_dash(i)) {
            if (text[i] != '-') return std::nullopt;
            continue;
        }
        const int digit = hex_digit(text[i]);
        if (digit < 0) return std::nullopt;
        auto& byte = id.bytes[nibble++ / 2];
        byte = static_cast<std::uint8_t>(byte << 4 | digit);
    }
    return id;
}

std::optional<RecordId> RecordId::from_bytes(std::string_view raw) {
    RecordId id;
    if (raw.size() != id.bytes.size()) return std::nullopt;
    std::copy(raw.begin(), raw.end(), id.bytes.begin());
    return id;
}

RecordId time_ordered_id(std::int64_t unix_ms, std::span<const std::uint8_t, 10> random) {
    RecordId id;
    for (std::size_t i = 0; i < 6; ++i)
        id.bytes[i] = static_cast<std::uint8_t>(unix_ms >> (40 - 8 * i));
    std::copy(random.begin(), random.end(), id.bytes.begin() + 6);
    mark(id, 7);
    return id;
}

RecordId name_based_id(std::string_view tenant, std::string_view kind, std::string_view key) {
    // Lengths in front, so that no two triples make one name.
    std::string name;
    for (const std::string_view part : {tenant, kind, key})
        name.append(std::to_string(part.size())).append(":").append(part);
    RecordId id;
    std::size_t at = 0;
    for (const std::uint64_t seed : {0x7261'7070'6f72'7431ULL, 0x7261'7070'6f72'7432ULL}) {
        const std::uint64_t h = hash64(name, seed);
        for (int shift = 56; shift >= 0; shift -= 8)
            id.bytes[at++] = static_cast<std::uint8_t>(h >> shift);
    }
    mark(id, 8);
    return id;
}

}  // namespace rapport
