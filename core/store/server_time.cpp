// SPDX-License-Identifier: Apache-2.0
#include "store/server_time.hpp"

#include <algorithm>
#include <map>
#include <vector>

#include "model/planted.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

constexpr std::int64_t kWaitMsMax = 30'000;
constexpr std::int64_t kNoticedMs = 250;   // a smaller error is not worth a write
constexpr std::int64_t kShiftedMs = 2000;  // nor this one the rewriting of what waits to be sent

// Moves the stamps above `since` of what was never sent. Returns the newest of them.
class Shift {
public:
    Shift(Store::Core::Writing& writing, Stamp since) : writing_(writing), since_(since) {}

    Stamp run(std::int64_t error_ms, std::int64_t now_ms) {
        std::vector<RecordId> records;
        auto select = writing_.db.prepare(
            "SELECT DISTINCT c.record FROM bundle b JOIN change c ON c.bundle = b.id "
            "WHERE b.state IN (0, 1)");
        while (select.step()) records.push_back(select.id(0));
        select.reset();
        for (const RecordId& id : records) each(id, [&](Added& add) { moved_[add.stamp]; });
        Stamp last = since_;
        bool any = false;
        for (auto& [taken, to] : moved_) {
            const std::int64_t wall = std::min(HybridClock::wall_ms(taken) + error_ms, now_ms);
            to = last = std::max(HybridClock::at(wall), last + 1);
            any |= to != taken;
        }
        if (!any) return last;
        for (const RecordId& id : records)
            each(id, [&](Added& add) { add.stamp = moved_.at(add.stamp); });
        return last;
    }

private:
    template <class Work>
    void each(const RecordId& id, const Work& work) {
        auto loaded = load(writing_.db, id);
        if (!loaded) return;
        bool met = false;
        for (PendingChange& change : loaded->pending) {
            if (!never_sent(change)) continue;
            for (Write& write : change.writes)
                for (Added& add : write.adds)
                    if (add.stamp > since_) {
                        const Stamp before = add.stamp;
                        work(add);
                        met |= add.stamp != before;
                    }
        }
        if (met) save_with_pending(writing_.db, loaded->row, loaded->pending);
    }

    // What the server has heard under one stamp keeps it, also when it is sent again.
    bool never_sent(const PendingChange& change) {
        if (change.state != BundleState::draft && change.state != BundleState::queued) return false;
        const auto [at, is_new] = never_sent_.try_emplace(change.bundle);
        if (is_new) {
            const auto bundle = load_bundle(writing_.db, change.bundle);
            at->second = bundle && bundle->former.empty();
        }
        return at->second;
    }

    Store::Core::Writing& writing_;
    const Stamp since_;
    std::map<Stamp, Stamp> moved_;
    std::map<std::int64_t, bool> never_sent_;  // by bundle
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
    auto since = static_cast<Stamp>(meta_integer(writing.db, "stamps_final").value_or(0));
    if (RAPPORT_PLANTED("clamp_twice")) since = 0;
    if (ahead || off_by(kShiftedMs)) {
        const Stamp last = Shift(writing, since).run(off_by(kShiftedMs) ? error_ms : 0, now_ms);
        if (ahead) core.set_back_clock(std::max(last, HybridClock::at(now_ms)));
    }
    if (core.clock().last() != since)
        set_meta(writing.db, "stamps_final", static_cast<std::int64_t>(core.clock().last()));
}

}  // namespace rapport
