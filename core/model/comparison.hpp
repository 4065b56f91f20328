// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/state.hpp"

/// How a device and its centre find out that what the device holds confirmed is not what the centre
/// would send it: counts and checksums of stretches of it, in one order that both know.
namespace rapport {

/// A place in the order of comparison: kinds by number, within a kind scopes by their bytes, within
/// a scope the highest id first. Kind 0 is the beginning of all, kind 65,535 the end.
struct ComparePoint {
    std::uint16_t kind = 0;
    std::string scope;
    RecordId id;

    template <class A>
    void serialize(A& a) {
        a(kind, scope, id);
    }
    friend bool operator==(const ComparePoint&, const ComparePoint&) = default;
};

inline ComparePoint end_of_comparison() { return {UINT16_MAX, {}, {}}; }
bool precedes(const ComparePoint& a, const ComparePoint& b);
/// Is the record behind `from`, and not behind `to`?
inline bool lies_between(const ComparePoint& record, const ComparePoint& from,
                         const ComparePoint& to) {
    return precedes(from, record) && !precedes(to, record);
}

/// What a device holds behind the stretch before, up to and with `to`.
struct Stretch {
    ComparePoint to;
    std::uint64_t count = 0;
    std::uint64_t sum = 0;  ///< of the records' checksums, modulo 2^64

    template <class A>
    void serialize(A& a) {
        a(to, count, sum);
    }
    friend bool operator==(const Stretch&, const Stretch&) = default;
};
inline constexpr std::size_t kStretchRecordsMax = 500;  ///< what differs comes again as a whole

struct Comparison {
    ComparePoint from;  ///< where the first begins
    std::vector<Stretch> stretches;

    template <class A>
    void serialize(A& a) {
        a(from, stretches);
    }
    friend bool operator==(const Comparison&, const Comparison&) = default;
};
inline constexpr std::size_t kStretchesMax = 10;  ///< of one request: 5,000 records, as of a page

/// Records a request changed that stand as its device makes them of what it held and sent: they do
/// not come back. Of all records in the applied bundles of the request, in the order of their ids,
/// first so many stay out, then so many do not, and so on in turn.
struct Confirmed {
    std::vector<std::uint32_t> runs;
    std::uint64_t sum = 0;  ///< of their checksums, modulo 2^64

    template <class A>
    void serialize(A& a) {
        a(runs, sum);
    }
    friend bool operator==(const Confirmed&, const Confirmed&) = default;
};

/// Of a record as it is confirmed; captures, which only the server knows, do not count.
std::uint64_t checksum(const RecordState& state);

}  // namespace rapport
