// SPDX-License-Identifier: Apache-2.0
#include "server/round.hpp"

#include <algorithm>

namespace rapport::server {

Round::Round(Transaction& tx_, Environment& environment_, const Limits& limits_,
             std::int64_t horizon_days_)
    : tx(tx_),
      environment(environment_),
      limits(limits_),
      horizon_days(horizon_days_),
      clock(tx_.last_stamp()),
      before(clock.last()),
      now(environment_.now()) {
    now.at = std::max(now.at, TimePoint(Milliseconds(HybridClock::wall_ms(clock.last()))));
    now.offset = std::chrono::minutes{0};
}

const std::string& Round::name_of(std::uint64_t writer) {
    const auto [at, is_new] = names_.try_emplace(writer);
    if (is_new) {
        if (writer == kServerWriter)
            at->second = kServerName;
        else if (const auto device = tx.device(writer))
            at->second = device->rep;
        else
            at->second = tx.author(writer).value_or("");
    }
    return at->second;
}

const std::vector<Device>& Round::devices() {
    if (!devices_) devices_ = tx.devices();
    return *devices_;
}

}  // namespace rapport::server
