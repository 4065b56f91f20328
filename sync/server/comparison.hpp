// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "protocol/messages.hpp"
#include "server/round.hpp"

/// Finds what a device holds otherwise than the server would send it.
namespace rapport::server {

/// RecoveryNote of a device that held something else; what it should hold was sent to it.
inline constexpr const char* kDiffered = "differed";

struct ComparedPart {
    protocol::Compared compared;
    std::vector<std::string> records;  ///< encoded, of all that differs, in its order
    std::vector<protocol::Author> authors;
};

/// Compares what the device says it holds with what the server has for it behind `cursor`, after
/// the projection to its scopes and role: nothing else is counted or summed. Stretches with a
/// stream whose head the cursor has not reached end the comparison, and so does a full page. Throws
/// Error(protocol_violated) for more or larger stretches than one request may have, and for such
/// that do not follow each other.
ComparedPart compare(Round& round, const Device& device, std::string_view cursor,
                     const Comparison& comparison);

}  // namespace rapport::server
