// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "rapport/error.hpp"

// The deepest the stack has been, as the instrumented code keeps it.
extern "C"
    __attribute__((tls_model("initial-exec"))) thread_local std::uintptr_t __sancov_lowest_stack;

/// What the fuzzers share. Each defines `run`; bytes that are no message must end in a protocol
/// error and in nothing else.
namespace rapport::fuzz {

void run(std::string_view input);

/// A broken promise of the decoder: a finding.
inline void require(bool kept) {
    if (!kept) std::abort();
}

/// What one input may cost: 16 MiB at a time beyond what was held before it, and 32 frames of
/// recursion, which no decoder of ours makes larger than this with the sanitizers on.
inline constexpr std::size_t kInputBytesMax = 1U << 20;
inline constexpr std::ptrdiff_t kLiveBytesMax = 16 << 20;
inline constexpr std::size_t kStackBytesMax = 256U << 10;

inline thread_local bool counting = false;
inline thread_local std::ptrdiff_t live_bytes = 0, most_bytes = 0;

/// Counts from its making to its end, and finds what cost too much.
class Cost {
public:
    Cost() : stack_(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0))) {
        live_bytes = most_bytes = 0;
        __sancov_lowest_stack = stack_;
        counting = true;
    }
    Cost(const Cost&) = delete;
    Cost& operator=(const Cost&) = delete;
    ~Cost() {
        counting = false;
        const std::size_t deep = stack_ - std::min(stack_, __sancov_lowest_stack);
        if (most_bytes <= kLiveBytesMax && deep <= kStackBytesMax) return;
        std::fprintf(stderr, "ERROR: one input took %td bytes of memory and %zu of stack\n",
                     most_bytes, deep);
        std::abort();
    }

private:
    std::uintptr_t stack_;
};

}  // namespace rapport::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    __sanitizer_install_malloc_and_free_hooks(
        [](const volatile void*, std::size_t bytes) {
            using namespace rapport::fuzz;
            if (counting)
                most_bytes = std::max(most_bytes, live_bytes += static_cast<std::ptrdiff_t>(bytes));
        },
        [](const volatile void* memory) {
            using namespace rapport::fuzz;
            if (counting)
                live_bytes -= static_cast<std::ptrdiff_t>(
                    __sanitizer_get_allocated_size(const_cast<const void*>(memory)));
        });
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > rapport::fuzz::kInputBytesMax) return 0;
    const rapport::fuzz::Cost cost;
    try {
        rapport::fuzz::run({reinterpret_cast<const char*>(data), size});
    } catch (const rapport::Error& e) {
        rapport::fuzz::require(e.code() == rapport::ErrorCode::protocol_violated ||
                               e.code() == rapport::ErrorCode::limit_exceeded);
    }
    return 0;
}
