// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "server/admission.hpp"
#include "server/engine.hpp"
#include "server/states.hpp"

namespace rapport::server {
namespace {

constexpr std::size_t kDeadlinesMax = 100;  // in one commit: some 20 ms

}  // namespace

std::size_t Engine::keep_deadlines() {
    const std::int64_t wall_ms = environment_.now().at.time_since_epoch().count();
    if (deadline_ms_ > std::max(wall_ms, server_time_ms_)) return 0;
    if (deadline_ms_ == 0) {
        const auto first = storage_.begin_read()->deadlines(INT64_MAX, 1);
        deadline_ms_ = first.empty() ? INT64_MAX : std::max<std::int64_t>(first.front().at_ms, 1);
        return keep_deadlines();
    }
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_);
    const auto due = tx->deadlines(round.now_ms(), kDeadlinesMax);
    std::optional<Changeset> changes;
    for (const Deadline& deadline : due) {
        if (!changes || changes->tenant() != deadline.tenant) {
            if (changes) changes->save();
            changes.emplace(round, deadline.tenant, bundle_name(kServerWriter, round.tick()),
                            kServerName);
        }
        if (StoredRecord* record = changes->find(deadline.record))
            meet_deadline(round, *changes, *record);
        else
            tx->remove(deadline);
    }
    if (changes) changes->save();
    const auto next = tx->deadlines(INT64_MAX, 1);
    commit(round);
    deadline_ms_ = next.empty() ? INT64_MAX : std::max<std::int64_t>(next.front().at_ms, 1);
    return due.size();
}

}  // namespace rapport::server
