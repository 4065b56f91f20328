// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "model/state.hpp"
#include "protocol/messages.hpp"

// A request's archive, past the checksum, with the bundles and records in it.
void rapport::fuzz::run(std::string_view input) {
    const auto request = decode<protocol::Request>(input);
    require(decode<protocol::Request>(encode(request)) == request);
    for (const std::string& bytes : request.bundles) decode_bundle(bytes);
    for (const std::string& bytes : request.witnessed) decode_record(bytes);
}
