// SPDX-License-Identifier: Apache-2.0
#include "server/round.hpp"

#include <algorithm>
#include <set>

namespace rapport::server {
namespace {

std::string offered_note(std::uint64_t writer) { return "offered/" + std::to_string(writer); }

}  // namespace

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

bool Round::of_one_file(std::uint64_t a, std::uint64_t b) {
    if (name_of(a) != name_of(b)) return false;
    if (!tx.device(a) || !tx.device(b)) return true;
    std::set<std::uint64_t> names{a};
    std::set<std::string> files;
    const std::vector<Device> devices = tx.devices();
    for (bool grown = true; grown && !names.contains(b);) {
        grown = false;
        for (const Device& d : devices) {
            if (!names.contains(d.writer) && !names.contains(d.parent) &&
                (d.file_id.empty() || !files.contains(d.file_id)))
                continue;
            grown |= names.insert(d.writer).second;
            if (d.parent != 0) grown |= names.insert(d.parent).second;
            grown |= files.insert(d.file_id).second;
        }
    }
    return names.contains(b);
}

std::uint64_t Round::offered_up_to(std::uint64_t writer) {
    const auto note = tx.note(offered_note(writer));
    return note ? decode<std::uint64_t>(*note) : 0;
}

void Round::save_offered_up_to(std::uint64_t writer, std::uint64_t counter) {
    tx.save_note(offered_note(writer), encode(counter));
}

const std::vector<Device>& Round::devices() {
    if (!devices_) devices_ = tx.devices();
    return *devices_;
}

}  // namespace rapport::server
