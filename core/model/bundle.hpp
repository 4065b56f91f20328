// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/merge.hpp"
#include "rapport/error.hpp"

namespace rapport {

/// What one bundle does to one record.
struct Change {
    std::uint16_t kind = 0;
    RecordId id;
    bool create = false;
    std::string scope;  ///< only with create, where the record's home is a territory of its own
                        ///< (Customer); else empty
    std::vector<Write> writes;
    friend bool operator==(const Change&, const Change&) = default;
};

/// What was saved together: accepted or refused as a whole.
struct Bundle {
    std::uint64_t counter =
        0;  ///< the writer's sending counter, without gaps; with the writer it is the dot
    std::uint32_t schema_version = 0;  ///< of the capture
    std::int64_t captured_at = 0;      ///< Instant::packed()
    std::vector<std::uint64_t> needs;  ///< counters of earlier bundles of this writer it depends on
    std::vector<Change> changes;
    friend bool operator==(const Bundle&, const Bundle&) = default;
};

/// The writes of one change, as they stand inside a bundle and in the outgoing queue.
std::string encode_writes(const std::vector<Write>& writes);
/// Throws Error(protocol_violated).
std::vector<Write> decode_writes(std::string_view bytes);

/// The bytes that are frozen and sent (layout in sync/PROTOCOL.md).
std::string encode_bundle(const Bundle& bundle);
/// Throws Error(protocol_violated).
Bundle decode_bundle(std::string_view bytes);

/// The server's answer to a bundle. A repeat gets the same answer.
enum class Verdict : std::uint8_t {
    applied = 1,
    refused = 2,  ///< with reasons; nothing of it was stored
    later = 3,    ///< it needs something that has not arrived
    review = 4,   ///< a person decides
};

}  // namespace rapport
