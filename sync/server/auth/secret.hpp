// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "rapport/environment.hpp"

/// The secrets people and programs carry. The server keeps only their SHA-256: each holds at least
/// 80 random bits, so a slow hash would protect nothing more.
namespace rapport::server {

/// 64 hex digits, lower case.
std::string sha256_hex(std::string_view bytes);
/// Takes the same time wherever the two differ; different sizes are different at once.
bool equal_in_constant_time(std::string_view a, std::string_view b);

/// RFC 4648 section 5 without padding.
std::string base64url(std::string_view bytes);
/// nullopt for anything that base64url() would not have written.
std::optional<std::string> from_base64url(std::string_view text);

/// An invitation code to be typed by a person: `7KQ3-MZ8P-W2TD-9XHC`, 80 bits from an alphabet
/// without 0, O, 1 and I.
std::string new_code(Environment& environment);
/// The code as new_code() writes it, from what somebody typed: either case, with or without dashes
/// and spaces.
std::optional<std::string> canonical_code(std::string_view typed);

/// `rk_` and 256 random bits.
std::string new_api_key(Environment& environment);

}  // namespace rapport::server
