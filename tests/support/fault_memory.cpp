// SPDX-License-Identifier: Apache-2.0
#include "support/fault_memory.hpp"

#include <sqlite3.h>

#include <cstdlib>
#include <new>

#include "support/fault_vfs.hpp"

namespace rapport::test::memory {
namespace {

thread_local bool armed = false, lasts = false, has_failed = false;
thread_local std::uint64_t until = 0;

bool refused() {
    if (!armed) return false;
    if (until > 1) {
        --until;
        return false;
    }
    if (!lasts && has_failed) return false;
    return has_failed = true;
}

sqlite3_mem_methods system_memory;

// Before the first connection: SQLite takes no other memory later.
const bool registered = [] {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory);
    sqlite3_mem_methods ours = system_memory;
    ours.xMalloc = [](int bytes) { return refused() ? nullptr : system_memory.xMalloc(bytes); };
    ours.xRealloc = [](void* memory, int bytes) {
        return refused() ? nullptr : system_memory.xRealloc(memory, bytes);
    };
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK;
}();

}  // namespace

void fail_at(std::uint64_t nth, bool lasting) {
    if (!registered) std::abort();
    until = nth;
    lasts = lasting;
    has_failed = false;
    armed = true;
}
void heal() { armed = false; }
bool failed() { return has_failed; }

}  // namespace rapport::test::memory

// Under AddressSanitizer the language's own allocations do not fail, only SQLite's do: g++ 12 with
// UndefinedBehaviorSanitizer stops in std::variant's copy when one of them throws. A build without
// sanitizers has both.
#ifndef __SANITIZE_ADDRESS__
void* operator new(std::size_t bytes) {
    void* memory = !rapport::test::shim_at_work() && rapport::test::memory::refused()
                       ? nullptr
                       : std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return !rapport::test::shim_at_work() && rapport::test::memory::refused()
               ? nullptr
               : std::malloc(bytes == 0 ? 1 : bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif
