// SPDX-License-Identifier: Apache-2.0
#include "server/auth/access.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/clock.hpp"
#include "rapport/error.hpp"
#include "server/auth/secret.hpp"

namespace rapport::server {

namespace {

constexpr std::int64_t kDayMs = 24LL * 3600 * 1000;
constexpr std::size_t kCredentialMin = 32, kCredentialMax = 256;
constexpr std::uint64_t kWriterMask = (std::uint64_t{1} << 40) - 1;

std::int64_t now_ms(Environment& environment) {
    return environment.now().at.time_since_epoch().count();
}

bool printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

bool is_scope(std::string_view scope) {
    const std::size_t slash = scope.find('/');
    if (slash == std::string_view::npos || slash == 0 || slash + 1 == scope.size() ||
        scope.size() > 80)
        return false;
    const std::string_view family = scope.substr(0, slash);
    return (family == "territory" || family == "rep" || family == "policy") && printable(scope) &&
           scope.find('/', slash + 1) == std::string_view::npos;
}

bool is_user_name(std::string_view name) {
    return !name.empty() && name.size() <= 80 && name.find('/') == std::string_view::npos &&
           std::all_of(name.begin(), name.end(),
                       [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7F; });
}

Enrolment enrolment_of(Transaction& transaction, const Device& device, std::int64_t now_ms) {
    const std::int64_t last_ms = HybridClock::wall_ms(transaction.last_stamp());
    return {device.tenant, device.rep,    device.role,
            device.scopes, device.writer, std::max(now_ms, last_ms)};
}

[[noreturn]] void bad_request(const std::string& sentence) {
    throw Error(ErrorCode::invalid_argument, sentence);
}

}  // namespace

std::uint64_t unused_writer(Transaction& transaction, Environment& environment) {
    while (true) {
        const std::uint64_t writer = environment.random64() & kWriterMask;
        if (writer > kServerWriter && !transaction.device(writer) && !transaction.author(writer))
            return writer;
    }
}

std::optional<std::string> fault_of(const Invitee& invitee) {
    if (invitee.tenant.empty() || invitee.tenant.size() > 80 || !printable(invitee.tenant))
        return "a tenant is 1 to 80 printable ASCII characters";
    if (!is_user_name(invitee.rep))
        return "a user name is 1 to 80 bytes without spaces and slashes";
    if (invitee.role == Role::sys || invitee.role == Role::feed)
        return "a device cannot have this role";
    if (invitee.scopes.empty()) return "a device needs at least one scope";
    for (const std::string& scope : invitee.scopes)
        if (!is_scope(scope))
            return "a scope is territory/CODE, territory/*, rep/NAME or policy/ROLE";
    if (invitee.days < 1 || invitee.days > 365) return "an invitation is valid for 1 to 365 days";
    return std::nullopt;
}

std::string invite(Transaction& transaction, Environment& environment, const Invitee& invitee) {
    if (const auto fault = fault_of(invitee)) throw Error(ErrorCode::invalid_argument, *fault);
    const std::string code = new_code(environment);
    Invitation invitation;
    invitation.code_hash = sha256_hex(code);
    invitation.tenant = invitee.tenant;
    invitation.rep = invitee.rep;
    invitation.role = invitee.role;
    invitation.scopes = invitee.scopes;
    invitation.expires_at_ms = now_ms(environment) + invitee.days * kDayMs;
    transaction.save(invitation);
    return code;
}

EnrolmentRequest enrolment_request_from_json(std::string_view json) {
    if (json.size() > kEnrolBytesMax) bad_request("the body is too long");
    const auto body = nlohmann::json::parse(json, nullptr, false);
    if (!body.is_object()) bad_request("the body is not a JSON object");
    const auto text = [&](const char* name, bool needed) -> std::string {
        const auto member = body.find(name);
        if (member == body.end() && !needed) return {};
        if (member == body.end() || !member->is_string())
            bad_request(std::string(name) + " is missing or no string");
        return member->get<std::string>();
    };
    EnrolmentRequest request{text("code", true), text("file", true), text("credential", true),
                             text("name", false)};
    const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    if (request.file.size() != 16 || !std::all_of(request.file.begin(), request.file.end(), hex))
        bad_request("file is not 16 hex digits");
    if (request.credential.size() < kCredentialMin || request.credential.size() > kCredentialMax ||
        !printable(request.credential))
        bad_request("credential is not 32 to 256 printable ASCII characters");
    if (request.code.empty() || request.code.size() > 64)
        bad_request("code is not 1 to 64 characters");
    if (request.name.size() > 200) bad_request("name is too long");
    return request;
}

std::string to_json(const Enrolment& enrolment) {
    nlohmann::ordered_json out;
    out["tenant"] = enrolment.tenant;
    out["rep"] = enrolment.rep;
    out["role"] = std::string(name_of(enrolment.role));
    out["scopes"] = enrolment.scopes;
    out["writer"] = std::to_string(enrolment.writer);
    out["server_time_ms"] = enrolment.server_time_ms;
    return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Enrolment> redeem(Transaction& transaction, Environment& environment,
                                const EnrolmentRequest& request) {
    const auto code = canonical_code(request.code);
    if (!code) return std::nullopt;
    const std::string code_hash = sha256_hex(*code);
    auto invitation = transaction.invitation(code_hash);
    if (!invitation || !equal_in_constant_time(invitation->code_hash, code_hash))
        return std::nullopt;
    const std::string credential_hash = sha256_hex(request.credential);
    const std::int64_t now = now_ms(environment);

    if (invitation->redeemed_by != 0) {
        const auto device = transaction.device(invitation->redeemed_by);
        if (!device || device->revoked ||
            !equal_in_constant_time(device->credential_hash, credential_hash))
            return std::nullopt;
        return enrolment_of(transaction, *device, now);
    }
    if (invitation->expires_at_ms <= now) return std::nullopt;
    // A secret names one device: a second enrolment with it would make the first unreachable.
    if (transaction.device_by_credential(credential_hash)) return std::nullopt;

    Device device;
    device.tenant = invitation->tenant;
    device.writer = unused_writer(transaction, environment);
    device.rep = invitation->rep;
    device.role = invitation->role;
    device.scopes = invitation->scopes;
    device.credential_hash = credential_hash;
    device.enrolled_at_ms = now;
    device.last_seen_ms = now;
    device.file_id = request.file;
    transaction.save(device);
    invitation->redeemed_by = device.writer;
    transaction.save(*invitation);
    return enrolment_of(transaction, device, now);
}

std::string_view bearer_of(std::string_view authorization) {
    constexpr std::string_view kScheme = "bearer ";
    if (authorization.size() <= kScheme.size()) return {};
    for (std::size_t i = 0; i < kScheme.size(); ++i) {
        const char c = authorization[i];
        if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kScheme[i]) return {};
    }
    authorization.remove_prefix(kScheme.size());
    if (authorization.size() > kCredentialMax || !printable(authorization)) return {};
    return authorization;
}

std::optional<Device> device_of(Transaction& transaction, std::string_view secret) {
    if (secret.empty()) return std::nullopt;
    const std::string hash = sha256_hex(secret);
    auto device = transaction.device_by_credential(hash);
    if (!device || !equal_in_constant_time(device->credential_hash, hash)) return std::nullopt;
    return device;
}

std::optional<ApiKey> api_key_of(Transaction& transaction, std::string_view secret) {
    if (secret.empty()) return std::nullopt;
    const std::string hash = sha256_hex(secret);
    auto key = transaction.api_key(hash);
    if (!key || key->revoked || !equal_in_constant_time(key->key_hash, hash)) return std::nullopt;
    return key;
}

std::string add_api_key(Transaction& transaction, Environment& environment,
                        const std::string& tenant, Role role) {
    if (role != Role::feed && role != Role::admin)
        throw Error(ErrorCode::invalid_argument, "a key's role is feed or admin");
    if (tenant.empty() || tenant.size() > 80 || !printable(tenant))
        throw Error(ErrorCode::invalid_argument, "a tenant is 1 to 80 printable ASCII characters");
    const std::string secret = new_api_key(environment);
    transaction.save(ApiKey{sha256_hex(secret), tenant, role, now_ms(environment), false});
    return secret;
}

std::string name_of(const ApiKey& key) { return key.key_hash.substr(0, 12); }

}  // namespace rapport::server
