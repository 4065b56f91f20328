// SPDX-License-Identifier: Apache-2.0
#include "server/http/message.hpp"

#include <nlohmann/json.hpp>

namespace rapport::server::http {

std::string_view Head::field(std::string_view name) const {
    for (const auto& [own, value] : fields)
        if (own == name) return value;
    return {};
}

std::string_view phrase_of(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 411:
            return "Length Required";
        case 413:
            return "Content Too Large";
        case 414:
            return "URI Too Long";
        case 415:
            return "Unsupported Media Type";
        case 417:
            return "Expectation Failed";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 501:
            return "Not Implemented";
        case 503:
            return "Service Unavailable";
        case 505:
            return "HTTP Version Not Supported";
        default:
            return "Error";
    }
}

Response problem(int status, std::string_view code, std::string_view action,
                 std::string_view sentence, std::optional<std::chrono::seconds> retry_after) {
    nlohmann::ordered_json body;
    body["type"] = "about:blank";
    body["title"] = phrase_of(status);
    body["status"] = status;
    body["detail"] = sentence;
    body["code"] = code;
    body["action"] = action;
    Response response;
    response.status = status;
    response.content_type = "application/problem+json";
    if (retry_after) {
        body["retry_after_s"] = retry_after->count();
        response.fields.emplace_back("Retry-After", std::to_string(retry_after->count()));
    }
    if (status == 401) response.fields.emplace_back("WWW-Authenticate", "Bearer");
    response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
    return response;
}

Response json(int status, std::string body) {
    Response response;
    response.status = status;
    response.content_type = "application/json";
    response.body = std::move(body);
    return response;
}

}  // namespace rapport::server::http
