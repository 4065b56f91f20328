// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "rapport/environment.hpp"
#include "store/core.hpp"

/// The server's time as the device can tell it offline, and what becomes of stamps that were taken
/// before it could.
namespace rapport {

/// Takes what the server said its time was, at some moment of the `waited_ms` that the exchange
/// took. If the device was wrong by more than the exchange leaves open, the stamps of what was
/// captured since the last time and the server has not taken (never sent, refused, told `later`, or
/// waiting for a user who has logged out) move by the error, in their order and not beyond the
/// server's time: they were not final. Captured times stay as the device showed them.
/// An exchange that took longer than 30 s says nothing.
void learn_server_time(Store::Core& core, Store::Core::Writing& writing, std::int64_t server_ms,
                       std::int64_t waited_ms);

}  // namespace rapport
