// SPDX-License-Identifier: Apache-2.0
#include "server/http/framing.hpp"

#include <algorithm>
#include <array>

#include "model/ascii.hpp"

namespace rapport::server::http {

namespace {

constexpr std::size_t kMethodBytesMax = 16;
constexpr std::size_t kLengthDigitsMax = 15;  // far above every limit, far below an overflow

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_token_char(char c) {
    return is_digit(c) || is_alpha(c) ||
           (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}
bool is_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

constexpr std::string_view kBlanks = " \t";

bool is_host(std::string_view host) {
    if (host.empty() || host.size() > 261) return false;
    std::string_view port;
    if (host.front() == '[') {
        const std::size_t end = host.find(']');
        if (end == std::string_view::npos || end < 3) return false;
        const std::string_view address = host.substr(1, end - 1);
        if (!std::all_of(address.begin(), address.end(),
                         [](char c) { return is_hex(c) || c == ':' || c == '.'; }))
            return false;
        host.remove_prefix(end + 1);
        if (host.empty()) return true;
        if (host.front() != ':') return false;
        port = host.substr(1);
    } else {
        const std::size_t colon = host.find(':');
        const std::string_view name = host.substr(0, colon);
        if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) {
                return is_digit(c) || is_alpha(c) || c == '.' || c == '-' || c == '_';
            }))
            return false;
        if (colon == std::string_view::npos) return true;
        port = host.substr(colon + 1);
    }
    return !port.empty() && port.size() <= 5 && std::all_of(port.begin(), port.end(), is_digit);
}

bool is_origin_form(std::string_view target) {
    if (target.empty() || target.front() != '/' || target.substr(0, 2) == "//") return false;
    for (std::size_t i = 0; i < target.size(); ++i) {
        const char c = target[i];
        if (c <= 0x20 || c >= 0x7F ||
            std::string_view("#\"<>\\^`{|}").find(c) != std::string_view::npos)
            return false;
        if (c == '%' &&
            (i + 2 >= target.size() || !is_hex(target[i + 1]) || !is_hex(target[i + 2])))
            return false;
    }
    return true;
}

std::optional<Fault> parse_request_line(std::string_view line, Head& head) {
    const std::size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last)
        return Fault{400, "the request line is not METHOD TARGET VERSION"};
    const std::string_view method = line.substr(0, first),
                           target = line.substr(first + 1, last - first - 1),
                           version = line.substr(last + 1);
    if (!is_token(method) || method.size() > kMethodBytesMax)
        return Fault{400, "the method is malformed"};
    if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !is_digit(version[5]) ||
        version[6] != '.' || !is_digit(version[7]))
        return Fault{400, "the version is malformed"};
    if (version != "HTTP/1.1" && version != "HTTP/1.0")
        return Fault{505, "this server speaks HTTP/1.1"};
    if (target.size() > kTargetBytesMax) return Fault{414, "the target is too long"};
    if (!is_origin_form(target))
        return Fault{400, "the target is not an absolute path with valid characters"};
    head.method = method;
    head.version_minor = version[7] - '0';
    const std::size_t question = target.find('?');
    head.path = target.substr(0, question);
    if (question != std::string_view::npos) head.query = target.substr(question + 1);
    return std::nullopt;
}

std::optional<Fault> parse_field(std::string_view line, Head& head) {
    if (line.front() == ' ' || line.front() == '\t')
        return Fault{400, "a field is folded over several lines"};
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
        return Fault{400, "a field name is malformed"};
    const std::string_view value = trimmed(line.substr(colon + 1), kBlanks);
    if (std::any_of(value.begin(), value.end(), [](char c) {
            return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
        }))
        return Fault{400, "a field has control characters"};
    if (head.fields.size() == kHeadFieldsMax) return Fault{431, "the request has too many fields"};
    head.fields.emplace_back(lower(line.substr(0, colon)), value);
    return std::nullopt;
}

std::optional<Fault> judge_fields(Head& head) {
    constexpr std::array<std::string_view, 7> kSingle{
        "host",          "content-length", "transfer-encoding", "content-type",
        "authorization", "expect",         "content-encoding"};
    for (const std::string_view name : kSingle)
        if (std::count_if(head.fields.begin(), head.fields.end(),
                          [&](const auto& f) { return f.first == name; }) > 1)
            return Fault{400, "a field that may appear once appears again"};

    const auto present = [&](std::string_view name) {
        return std::any_of(head.fields.begin(), head.fields.end(),
                           [&](const auto& f) { return f.first == name; });
    };
    if (!present("host")) return Fault{400, "there is no Host"};
    if (!is_host(head.field("host"))) return Fault{400, "the Host is malformed"};

    if (present("transfer-encoding")) {
        if (head.version_minor == 0) return Fault{400, "HTTP/1.0 has no Transfer-Encoding"};
        if (head.field("transfer-encoding") != "chunked")
            return Fault{400, "the only Transfer-Encoding is chunked"};
        if (present("content-length"))
            return Fault{400, "Transfer-Encoding and Content-Length exclude each other"};
        head.chunked = true;
    }
    if (present("content-length")) {
        const std::string_view digits = head.field("content-length");
        if (digits.empty() || !std::all_of(digits.begin(), digits.end(), is_digit) ||
            (digits.size() > 1 && digits.front() == '0'))
            return Fault{400, "the Content-Length is not a number"};
        if (digits.size() > kLengthDigitsMax) return Fault{413, "the body is too large"};
        std::uint64_t length = 0;
        for (const char c : digits) length = length * 10 + static_cast<std::uint64_t>(c - '0');
        head.content_length = length;
    }
    if ((head.method == "GET" || head.method == "HEAD") && head.has_body())
        return Fault{400, "this method takes no body"};
    if (head.method == "POST" && !head.chunked && !head.content_length)
        return Fault{411, "the body's length is not said"};

    if (present("expect")) {
        if (lower(head.field("expect")) != "100-continue")
            return Fault{417, "the only expectation is 100-continue"};
        head.expects_continue = head.version_minor == 1;
    }
    bool close = false, keep = false;
    for (const auto& [name, value] : head.fields) {
        if (name != "connection") continue;
        std::string_view rest = value;
        while (!rest.empty()) {
            const std::size_t comma = rest.find(',');
            const std::string token = lower(trimmed(rest.substr(0, comma), kBlanks));
            close |= token == "close";
            keep |= token == "keep-alive";
            rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
        }
    }
    head.keep_alive = !close && (head.version_minor == 1 || keep);
    return std::nullopt;
}

}  // namespace

HeadScan scan_head(std::string_view bytes) {
    const std::size_t looked_at = std::min(bytes.size(), kHeadBytesMax);
    std::size_t line = 0;
    for (std::size_t i = 0; i < looked_at; ++i) {
        const char c = bytes[i];
        if (c == '\0') return {0, Fault{400, "the head has a zero byte"}};
        if (c == '\n') {
            if (i == 0 || bytes[i - 1] != '\r') return {0, Fault{400, "a line ends without CR LF"}};
            if (i - line == 1) return {i + 1, std::nullopt};
            line = i + 1;
        } else if (i > 0 && bytes[i - 1] == '\r') {
            return {0, Fault{400, "a CR stands alone"}};
        }
    }
    if (bytes.size() >= kHeadBytesMax) {
        if (line == 0) return {0, Fault{414, "the target is too long"}};
        return {0, Fault{431, "the head is too large"}};
    }
    return {};
}

std::variant<Head, Fault> parse_head(std::string_view bytes) {
    Head head;
    bool first = true;
    while (true) {
        const std::size_t end = bytes.find("\r\n");
        if (end == std::string_view::npos) return Fault{400, "the head is cut short"};
        const std::string_view line = bytes.substr(0, end);
        bytes.remove_prefix(end + 2);
        if (line.empty() && first) return Fault{400, "the request line is missing"};
        if (line.empty()) break;
        if (const auto fault = first ? parse_request_line(line, head) : parse_field(line, head))
            return *fault;
        first = false;
    }
    if (const auto fault = judge_fields(head)) return *fault;
    return head;
}

}  // namespace rapport::server::http
