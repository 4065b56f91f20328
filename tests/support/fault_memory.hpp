// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// Memory that runs out: of this process's `operator new` and of SQLite, both replaced in a program
/// that links this. What runs on other threads is never refused anything.
namespace rapport::test::memory {

/// The `nth` allocation of this thread from now fails, 1 being the next; with `lasting` every later
/// one too, until heal().
void fail_at(std::uint64_t nth, bool lasting);
void heal();
/// Has one failed since fail_at()?
bool failed();

}  // namespace rapport::test::memory
