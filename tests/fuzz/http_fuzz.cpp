// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "server/http/framing.hpp"

// The head of a request, whole or in two pieces, as a socket hands it over.
void rapport::fuzz::run(std::string_view input) {
    namespace http = server::http;
    const http::HeadScan scan = http::scan_head(input);
    require(scan.size <= input.size() && scan.size <= http::kHeadBytesMax);
    require(!scan.fault || (scan.size == 0 && scan.fault->status >= 400));
    // Less of it is never judged otherwise: whoever sends byte by byte gets the same answer.
    const http::HeadScan half = http::scan_head(input.substr(0, input.size() / 2));
    if (half.fault) require(scan.fault.has_value());
    if (half.size > 0) require(scan.size == half.size);
    if (scan.size == 0) return;

    const auto parsed = http::parse_head(input.substr(0, scan.size));
    if (const auto* fault = std::get_if<http::Fault>(&parsed)) {
        require(fault->status >= 400 && fault->status < 600 && !fault->sentence.empty());
        return;
    }
    const auto& head = std::get<http::Head>(parsed);
    require(head.path.front() == '/' && head.fields.size() <= http::kHeadFieldsMax);
    require(!(head.chunked && head.content_length));
    std::size_t hosts = 0;
    for (const auto& [name, value] : head.fields) {
        hosts += name == "host";
        require(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
    }
    require(hosts == 1);
}
