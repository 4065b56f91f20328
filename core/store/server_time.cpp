// SPDX-License-Identifier: Apache-2.0
#include "store/server_time.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "store/pending.hpp"
#include "store/schema.hpp"
#include "store/users.hpp"

namespace rapport {
namespace {

constexpr std::int64_t kWaitMsMax = 30'000;
constexpr std::int64_t kNoticedMs = 250;   // a smaller error is not worth a write
constexpr std::int64_t kShiftedMs = 2000;  // nor this one the rewriting of what waits to be sent

// Moves the stamps above `since` of what the server has not taken, also of users who have logged
// out, but not before those of what the same field holds already. Returns the newest of them.
class Shift {
public:
    Shift(Store::Core::Writing& writing, Stamp since) : writing_(writing), since_(since) {}

    Stamp run(std::int64_t error_ms, std::int64_t now_ms) {
        std::set<RecordId> records;
        auto select = writing_.db.prepare(
            "SELECT b.id, b.state, b.verdict, c.record FROM bundle b JOIN change c ON c.bundle = "
            "b.id");
        while (select.step())
            if (is_unsettled(static_cast<BundleState>(select.integer(1)), select.integer(2))) {
                unsettled_.insert(select.integer(0));
                records.insert(select.id(3));
            }
        select.reset();
        const auto note = [&](Stamp stamp, Stamp held) {
            if (stamp > since_) moved_[stamp] = std::max(moved_[stamp], held);
            return stamp;
        };
        for (const RecordId& id : records) each(id, note);
        restamp_parked(writing_.db, note);
        // A stamp further ahead than that the server has replaced.
        const Stamp furthest = HybridClock::at(now_ms + kStampAheadMsMax);
        Stamp last = since_;
        bool any = false;
        for (auto& [taken, to] : moved_) {
            const std::int64_t wall = std::min(HybridClock::wall_ms(taken) + error_ms, now_ms);
            last = std::max(last, std::min(to, furthest));
            to = last = std::max(HybridClock::at(wall), last + 1);
            any |= to != taken;
        }
        if (!any) return last;
        const auto move = [&](Stamp stamp, Stamp) {
            return stamp > since_ ? moved_.at(stamp) : stamp;
        };
        for (const RecordId& id : records) each(id, move);
        restamp_parked(writing_.db, move);
        return last;
    }

private:
    void each(const RecordId& id, const std::function<Stamp(Stamp, Stamp)>& to) {
        auto loaded = load(writing_.db, id);
        if (!loaded) return;
        bool met = false;
        for (PendingChange& change : loaded->pending) {
            if (!unsettled_.contains(change.bundle)) continue;
            for (Write& write : change.writes) {
                const Stamp held = newest_stamp(
                    *loaded, write.field,
                    [&](const PendingChange& other) { return !unsettled_.contains(other.bundle); });
                for (Added& add : write.adds) {
                    const Stamp before = std::exchange(add.stamp, to(add.stamp, held));
                    met |= add.stamp != before;
                }
            }
        }
        if (met) save_with_pending(writing_.db, loaded->row, loaded->pending);
    }

    Store::Core::Writing& writing_;
    const Stamp since_;
    std::map<Stamp, Stamp> moved_;
    std::set<std::int64_t> unsettled_;  // bundles
};

}  // namespace

void learn_server_time(Store::Core& core, Store::Core::Writing& writing, std::int64_t server_ms,
                       std::int64_t waited_ms) {
    if (waited_ms < 0 || waited_ms > kWaitMsMax) return;
    const std::int64_t now_ms = server_ms + waited_ms / 2;
    const std::int64_t error_ms = now_ms - core.server_time_ms();
    const auto off_by = [&](std::int64_t ms) { return std::abs(error_ms) > ms + waited_ms / 2; };
    if (off_by(kNoticedMs) || !core.server_time_is_exact())
        core.learn_server_time(writing.db, now_ms);
    const bool ahead = core.clock().last() > HybridClock::at(now_ms + kStampAheadMsMax);
    const auto since = static_cast<Stamp>(meta_integer(writing.db, "stamps_final").value_or(0));
    if (ahead || off_by(kShiftedMs)) {
        const Stamp last = Shift(writing, since).run(off_by(kShiftedMs) ? error_ms : 0, now_ms);
        core.clock().observe(last);  // what comes after it may be moved too, but not before it
        if (ahead) core.set_back_clock(std::max(last, HybridClock::at(now_ms)));
    }
    if (core.clock().last() != since)
        set_meta(writing.db, "stamps_final", static_cast<std::int64_t>(core.clock().last()));
}

}  // namespace rapport
