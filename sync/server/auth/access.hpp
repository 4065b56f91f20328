// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rapport/environment.hpp"
#include "server/engine.hpp"
#include "server/storage.hpp"

/// Who may come in: invitation codes become devices, bearer secrets become devices and API keys.
namespace rapport::server {

inline constexpr std::int64_t kInvitationDays = 14;
inline constexpr std::size_t kEnrolBytesMax = 8 * 1024;  ///< of the body of an enrolment

/// Whom an invitation is for.
struct Invitee {
    std::string tenant = "default";
    std::string rep;  ///< user name, as `created_by` shows it
    Role role = Role::rep;
    std::vector<std::string> scopes;  ///< `territory/DE-50`, `territory/*`, ...
    std::int64_t days = kInvitationDays;
};
/// What is wrong with it, as a sentence; nothing = fine. A device cannot be `sys` or `feed`.
std::optional<std::string> fault_of(const Invitee& invitee);
/// Stores the invitation and returns its code, which is not kept. Errors: invalid_argument.
std::string invite(Transaction& transaction, Environment& environment, const Invitee& invitee);

/// A new name for a device: 40 random bits that nobody has.
std::uint64_t unused_writer(Transaction& transaction, Environment& environment);

/// What a device sends to be enrolled. It draws its credential itself, so that a repeat after a
/// lost reply is recognised.
struct EnrolmentRequest {
    std::string code;
    std::string file;        ///< the device file's number, 16 hex digits
    std::string credential;  ///< at least 32 printable ASCII characters
    std::string name;        ///< as the device calls itself; may be empty
};
/// Throws Error(invalid_argument) with a sentence that names the member.
EnrolmentRequest enrolment_request_from_json(std::string_view json);

/// Who the device is from then on.
struct Enrolment {
    std::string tenant, rep;
    Role role = Role::rep;
    std::vector<std::string> scopes;
    std::uint64_t writer = 0;
    std::int64_t server_time_ms = 0;  ///< never behind the last commit
};
std::string to_json(const Enrolment& enrolment);

/// Redeems a code: stores a device with a new writer id. The same code with the same credential
/// gets the same answer, also after the code expired; an unknown, used or expired code and a
/// revoked device get none.
std::optional<Enrolment> redeem(Transaction& transaction, Environment& environment,
                                const EnrolmentRequest& request);

/// The secret in `Authorization: Bearer SECRET`; empty if it is anything else.
std::string_view bearer_of(std::string_view authorization);
/// The device of a bearer secret, also a revoked one: it may hand in what it has.
std::optional<Device> device_of(Transaction& transaction, std::string_view secret);
std::optional<ApiKey> api_key_of(Transaction& transaction, std::string_view secret);

/// Stores a key for programs of a tenant (role feed or admin) and returns it; only its hash is
/// kept.
std::string add_api_key(Transaction& transaction, Environment& environment,
                        const std::string& tenant, Role role);
/// How people name a key they no longer see: the first 12 digits of its hash.
std::string name_of(const ApiKey& key);

}  // namespace rapport::server
