// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace rapport {

/// XXH64 (xxHash specification 0.1.1). For accidents, not for adversaries: content hashes and body
/// checksums.
std::uint64_t hash64(std::string_view bytes, std::uint64_t seed = 0);

}  // namespace rapport
