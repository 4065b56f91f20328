// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "protocol/messages.hpp"

// An HTTP body as the server takes it: nothing of it may cost more than the bound.
void rapport::fuzz::run(std::string_view input) {
    constexpr std::size_t kBytesMax = 1 << 16;
    const std::string archive = protocol::unpack(input, kBytesMax);
    require(archive.size() <= kBytesMax);
    require(protocol::unpack(protocol::pack(archive), kBytesMax) == archive);
    decode<protocol::Request>(archive);
}
