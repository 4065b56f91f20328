// SPDX-License-Identifier: Apache-2.0
#include "model/comparison.hpp"

#include <tuple>

#include "model/hash.hpp"

namespace rapport {

bool precedes(const ComparePoint& a, const ComparePoint& b) {
    return std::tie(a.kind, a.scope, b.id) < std::tie(b.kind, b.scope, a.id);
}

std::uint64_t checksum(const RecordState& state) { return hash64(encode_record(state)); }

}  // namespace rapport
