// SPDX-License-Identifier: Apache-2.0
#include "client/address.hpp"

#include <algorithm>

#include "model/ascii.hpp"
#include "rapport/error.hpp"

namespace rapport {
namespace {

struct Parts {
    std::string scheme, host, port, path;  // host of an IPv6 address in its brackets
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool split(std::string_view url, Parts& parts) {
    const auto plain = [](char c) {
        return c > ' ' && c < 0x7F && c != '@' && c != '?' && c != '#' && c != '\\';
    };
    if (!std::all_of(url.begin(), url.end(), plain)) return false;
    const std::size_t scheme_end = url.find("://");
    if (scheme_end == std::string_view::npos) return false;
    parts.scheme = lower(url.substr(0, scheme_end));
    url.remove_prefix(scheme_end + 3);
    std::string_view authority = url.substr(0, url.find('/'));
    parts.path = url.substr(authority.size());
    while (!parts.path.empty() && parts.path.back() == '/') parts.path.pop_back();
    const std::size_t host_end =
        authority.rfind('[', 0) == 0 ? authority.find(']') + 1 : authority.find(':');
    parts.host = lower(authority.substr(0, host_end));
    if (host_end != std::string_view::npos && host_end < authority.size()) {
        if (authority[host_end] != ':') return false;
        parts.port = authority.substr(host_end + 1);
        if (parts.port.empty() || parts.port.size() > 5 ||
            !std::all_of(parts.port.begin(), parts.port.end(), is_digit))
            return false;
    }
    return !parts.host.empty() && (parts.scheme == "http" || parts.scheme == "https");
}

bool is_loopback_host(const std::string& host) {
    if (host == "localhost" || host == "[::1]") return true;
    // 127.0.0.0/8 as four numbers, so that 127.0.0.1.example.com is not taken for it.
    if (host.rfind("127.", 0) != 0) return false;
    return std::count(host.begin(), host.end(), '.') == 3 && host.back() != '.' &&
           std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; });
}

}  // namespace

std::string server_address(std::string_view url) {
    Parts parts;
    if (!split(url, parts))
        throw Error(ErrorCode::invalid_argument,
                    "a server is written https://HOST, https://HOST:PORT or https://HOST/PATH");
    if (parts.scheme == "http" && !is_loopback_host(parts.host))
        throw Error(ErrorCode::invalid_argument, "plain http goes to this machine only; use https");
    return parts.scheme + "://" + parts.host + (parts.port.empty() ? "" : ":" + parts.port) +
           parts.path;
}

bool is_loopback(std::string_view url) {
    Parts parts;
    return split(url.substr(0, url.find('?')), parts) && is_loopback_host(parts.host);
}

}  // namespace rapport
