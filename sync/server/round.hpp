// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/clock.hpp"
#include "model/lifecycle.hpp"
#include "model/limits.hpp"
#include "rapport/environment.hpp"
#include "server/storage.hpp"

namespace rapport::server {

class Erasures;

/// After this long without a sync a device gets everything anew.
inline constexpr std::int64_t kHorizonDays = 180;

/// A record that was there before this request changed it.
struct ChangedRecord {
    std::uint64_t position = 0;  ///< where it stood before
    bool only_as_sent = true;    ///< by nothing but the device's writes, as they came
};

/// What the engine's parts share while one durable commit is made.
///
/// Server time stands still in it and never runs behind the last commit, also when the wall clock
/// was set back. Ownership: borrows all but the clock.  Thread-safety: confined.
struct Round {
    Round(Transaction& tx_, Environment& environment_, const Limits& limits_,
          std::int64_t horizon_days_ = kHorizonDays);

    std::int64_t now_ms() const { return now.at.time_since_epoch().count(); }
    /// A stamp no write of the server has had; with kServerWriter it is a dot as well.
    Stamp tick() { return clock.tick(now_ms()); }
    /// Who is behind a writer: the rep's name, `server`, or nothing for a writer nobody enrolled.
    const std::string& name_of(std::uint64_t writer);
    /// Do both stand for one device file, forked or enrolled anew between them? Of writers that
    /// this server has forgotten only the user tells.
    bool of_one_file(std::uint64_t a, std::uint64_t b);

    /// The highest counter of the writer that this server had lost and was offered by any device; 0
    /// if none was.
    std::uint64_t offered_up_to(std::uint64_t writer);
    void save_offered_up_to(std::uint64_t writer, std::uint64_t counter);

    /// All devices as they were when first asked for.
    const std::vector<Device>& devices();

    Transaction& tx;
    Environment& environment;
    const Limits& limits;
    const std::int64_t horizon_days;
    HybridClock clock;
    Stamp before;  ///< of the last commit
    Instant now;
    Erasures* erasures = nullptr;               ///< the orders to be held to; null: there are none
    bool erased_late = false;                   ///< old pages hold what an order took in it
    std::map<RecordId, ChangedRecord> changed;  ///< by the request that is being answered
    bool work_open = false;                ///< this commit leaves records for Engine::carry_on()
    std::int64_t deadline_ms = INT64_MAX;  ///< the earliest that this commit sets
    /// Workflows as the stored tables have them, by tenant and kind; emptied when one of those is
    /// written, or what was written is undone.
    std::map<std::pair<std::string, std::uint16_t>, Lifecycle> lifecycles;

private:
    std::map<std::uint64_t, std::string> names_;
    std::optional<std::vector<Device>> devices_;
};

/// The name under which the server's own writes are known.
inline constexpr const char* kServerName = "server";

}  // namespace rapport::server
