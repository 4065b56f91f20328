// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "rapport/error.hpp"

/// What the fuzzers share. Each defines `run`; bytes that are no message must end in a protocol
/// error and in nothing else.
namespace rapport::fuzz {

void run(std::string_view input);

/// A broken promise of the decoder: a finding.
inline void require(bool kept) {
    if (!kept) std::abort();
}

}  // namespace rapport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        rapport::fuzz::run({reinterpret_cast<const char*>(data), size});
    } catch (const rapport::Error& e) {
        rapport::fuzz::require(e.code() == rapport::ErrorCode::protocol_violated ||
                               e.code() == rapport::ErrorCode::limit_exceeded);
    }
    return 0;
}
