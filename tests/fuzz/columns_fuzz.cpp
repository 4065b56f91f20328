// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "protocol/columns.hpp"

// Columns as a body may bring them, and an archive as one may be sent: nothing grows beyond the
// bound, and what went apart comes together as it was.
void rapport::fuzz::run(std::string_view input) {
    using namespace protocol;
    constexpr std::size_t kBytesMax = 1 << 16;
    for (const Contents contents : {Contents::request, Contents::reply}) {
        if (const auto columns = put_apart(input, contents))
            require(put_together(*columns, input.size(), contents) == input);
        for (const std::size_t size : {input.size(), kBytesMax}) try {
                require(put_together(input, size, contents).size() == size);
            } catch (const Error& e) {
                require(e.code() == ErrorCode::protocol_violated);
            }
    }
}
