// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rapport/instant.hpp"

/// Requests and answers as the rules see them; how they cross a socket is the listener's matter.
namespace rapport::server::http {

/// The head of a request that passed the framing rules (framing.hpp).
struct Head {
    std::string method;
    std::string path;   ///< of the target, as sent
    std::string query;  ///< after the `?`, as sent
    std::vector<std::pair<std::string, std::string>>
        fields;             ///< names in lower case, in the order sent
    int version_minor = 1;  ///< of HTTP/1.x
    std::optional<std::uint64_t> content_length;
    bool chunked = false;
    bool keep_alive = true;
    bool expects_continue = false;

    /// The first field of this (lower case) name; empty if there is none.
    std::string_view field(std::string_view name) const;
    bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

struct Response {
    int status = 200;
    std::string content_type;
    std::vector<std::pair<std::string, std::string>>
        fields;  ///< beside type, length and connection
    std::string body;
    bool close = false;  ///< end the connection after it
    /// Work that makes the answer ready, run once on a connection's thread just before it is sent.
    /// May be empty.
    std::function<void(Response&)> finish;
};

/// The reason phrase of a status.
std::string_view phrase_of(int status);

/// A problem document (RFC 9457). `action` is what a device does next: retry (after a pause),
/// refresh, re_enrol, resynchronise or stop; `code` is one of error.def where one fits. The
/// sentence holds no customer data and no secret.
Response problem(int status, std::string_view code, std::string_view action,
                 std::string_view sentence,
                 std::optional<std::chrono::seconds> retry_after = std::nullopt);

Response json(int status, std::string body);

}  // namespace rapport::server::http
