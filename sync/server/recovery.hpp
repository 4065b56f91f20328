// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "protocol/messages.hpp"
#include "server/changeset.hpp"
#include "server/round.hpp"

/// What devices bring back after the server was restored from a backup.
namespace rapport::server {

/// Codes of a RecoveryNote. With the first group the record was kept back as it was offered, and
/// waits for an administrator; nothing of it was joined.
namespace recovery_code {
inline constexpr const char* kTwoFiles = "two_files";  ///< two files sent under one writer
inline constexpr const char* kReplaced = "replaced";   ///< who replaced it may not have seen it
inline constexpr const char* kOutOfScope = "out_of_scope";  ///< the device may not reach it now
inline constexpr const char* kMalformed = "malformed";      ///< this server does not take it
inline constexpr const char* kDuplicateId = "duplicate_external_id";  ///< another record has it
// Joined, for the administrator to know.
inline constexpr const char* kServerField = "server_field";  ///< a field of the server came back
inline constexpr const char* kServerValue =
    "server_value";  ///< the server had written the field again; the offered value was left
inline constexpr const char* kUnrooted = "unrooted";     ///< what it hangs on is not here yet
inline constexpr const char* kThirdFile = "third_file";  ///< a further copy was turned away
}  // namespace recovery_code

/// Keeps for a person what was replaced unseen. To be called once the changes are saved; `bringer`
/// stands for writers that this server does not know.
void keep_replaced(Round& round, std::uint64_t bringer, Changeset& changes);

/// Has another file sent bundles under the device's writer? Then the centre holds others under the
/// counters of these.
bool written_by_two(Round& round, const Device& device, const protocol::Request& request);

/// Does a bundle of the request say something else than what a device has offered, to this server
/// that had lost it, under the same counter? Then it is another file's.
bool differs_from_offered(Round& round, const Device& device, const protocol::Request& request);

/// Joins what the request witnesses and tells in the reply how all it touched stands now: the
/// record, or `not yours`.
void take_offers(Round& round, const Device& device, const protocol::Request& request,
                 protocol::Reply& reply);

/// Hangs records that came back before what they hang on where they belong.
void settle_unrooted(Round& round, const std::string& tenant);

/// Joins a record that was kept back. For one that two files wrote, or of which a value was
/// replaced, nothing leaves: what the centre lacks enters beside. False: it still cannot be taken.
bool take_kept_back(Round& round, const RecoveryNote& note);

}  // namespace rapport::server
