// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "model/state.hpp"
#include "protocol/messages.hpp"

// A reply's archive with the records in it.
void rapport::fuzz::run(std::string_view input) {
    const auto reply = decode<protocol::Reply>(input);
    require(decode<protocol::Reply>(encode(reply)) == reply);
    for (const std::string& bytes : reply.records) decode_record(bytes);
}
