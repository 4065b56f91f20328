// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "server/auth/access.hpp"
#include "server/feed.hpp"

// What a caller of the server's HTTP face hands in beside records: an enrolment, a cursor of the
// feed, an Authorization field.
void rapport::fuzz::run(std::string_view input) {
    if (const auto commit = server::commit_of(input))
        require(server::feed_cursor(*commit) == input);
    const std::string_view bearer = server::bearer_of(input);
    require(bearer.size() <= input.size());
    try {
        const server::EnrolmentRequest request = server::enrolment_request_from_json(input);
        require(request.credential.size() >= 32 && !request.code.empty());
    } catch (const Error& e) {
        require(e.code() == ErrorCode::invalid_argument);
    }
}
