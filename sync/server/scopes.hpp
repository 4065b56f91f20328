// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/storage.hpp"

/// Which scopes a device reaches.
namespace rapport::server {

inline constexpr std::string_view kGlobalScope = "global";
inline constexpr std::string_view kTerritoryScopes = "territory/";
inline constexpr std::string_view kPersonScopes = "rep/";
inline constexpr std::string_view kPolicyScopes = "policy/";

/// Does the device receive what lives in this scope? Its own scopes (one ending in `*` covers all
/// that begin so), `global`, its person's and its role's; pricing has the policies of all roles.
bool reaches(const Device& device, std::string_view scope);

/// May the device bring records into this scope? Where it reaches; and the office may hand a person
/// something.
bool may_write_into(const Device& device, std::string_view scope);

/// Gives the device other scopes and saves it. What it loses is noted with the time, since rights
/// of the past hold. What it offered after this server was restored was answered under the old
/// ones: a recovery that has not ended begins once more.
void give_scopes(Transaction& tx, Device device, std::vector<std::string> scopes,
                 std::int64_t now_ms);

/// The territory of a device that has exactly one; empty otherwise.
std::string only_territory(const Device& device);

/// The tenant's streams this device pulls, in the order it gets them: what everybody shares first,
/// since the rest refers to it.
std::vector<Stream> streams_of(const Device& device, std::vector<Stream> all);

}  // namespace rapport::server
