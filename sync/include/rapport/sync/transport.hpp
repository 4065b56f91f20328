// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "rapport/instant.hpp"

namespace rapport {

struct HttpRequest {
    std::string method = "POST";
    std::string url;
    std::map<std::string, std::string> headers;
    std::string body;
    Milliseconds timeout{30000};  ///< for the whole exchange
    std::size_t reply_bytes_max = 16U << 20;
};
struct HttpResponse {
    int status = 0;  ///< 0: no HTTP answer; `failure` says why
    std::string content_type;
    std::map<std::string, std::string> headers;  ///< names in lower case
    std::string body;
    std::string failure;
    bool cancelled = false;
};

/// One HTTP exchange. libcurl is one implementation; tests and apps bring their own.
class Transport {
public:
    virtual ~Transport() = default;
    /// Blocks until answered, failed, timed out or `cancel` became true. `progress(sent, received)`
    /// in body bytes. Never throws for the network's sake.
    virtual HttpResponse exchange(
        const HttpRequest& request, const std::atomic<bool>& cancel,
        const std::function<void(std::uint64_t sent, std::uint64_t received)>& progress) = 0;
};

/// libcurl with one kept-alive connection.  Thread-safety: confined.
std::unique_ptr<Transport> make_curl_transport();

}  // namespace rapport
