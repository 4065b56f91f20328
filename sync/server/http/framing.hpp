// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>
#include <variant>

#include "server/http/message.hpp"

/// Which request heads are taken at all. Two parsers that understand one head differently are how
/// requests get smuggled past a proxy, so whatever RFC 9110 and 9112 leave to the reader is refused
/// here, before the HTTP library sees it.
namespace rapport::server::http {

inline constexpr std::size_t kHeadBytesMax =
    8 * 1024;  ///< request line and fields with the empty line
inline constexpr std::size_t kHeadFieldsMax = 64;
inline constexpr std::size_t kTargetBytesMax = 2 * 1024;

/// Why a head is refused; the connection is closed after the answer.
struct Fault {
    int status = 400;
    std::string_view sentence;
};

/// Looks at bytes that may not be a whole head yet: returns a fault as soon as no continuation can
/// be good (a bare CR or LF, a zero byte, too long), so that nobody waits for the rest.
struct HeadScan {
    std::size_t size = 0;  ///< of the head with its empty line; 0 = more bytes are needed
    std::optional<Fault> fault;
};
HeadScan scan_head(std::string_view bytes);

/// Reads a whole head, from the request line to the empty line. The rules:
/// origin-form targets only; HTTP/1.0 and 1.1; exactly one valid Host; one space between the parts
/// of the request line; CRLF only; no folded lines, no space before a colon, no control characters;
/// Transfer-Encoding only as `chunked`, only in HTTP/1.1, never beside Content-Length; one
/// Content-Length of digits; no second Host, Content-Length, Transfer-Encoding, Content-Type,
/// Authorization or Expect; Expect only as `100-continue`; no body with GET and HEAD; POST says its
/// length.
std::variant<Head, Fault> parse_head(std::string_view bytes);

}  // namespace rapport::server::http
