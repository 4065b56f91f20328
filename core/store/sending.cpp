// SPDX-License-Identifier: Apache-2.0
#include "store/sending.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "store/lost_rows.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

Held held_back(sqlite::Database& db) {
    std::set<std::int64_t> held;
    auto select = db.prepare(
        "SELECT id FROM bundle INDEXED BY bundle_held WHERE (state <> 1 OR later_run <> 0)"
        "   AND (state IN (0, 3, 4) OR (state = 1 AND later_run >= ?)"
        "   OR (state = 2 AND verdict IS NOT NULL AND verdict <> 1))");
    select.bind(1, meta_integer(db, "run").value_or(1));
    while (select.step()) held.insert(select.integer(0));
    return {db, std::move(held)};
}

// Where somebody may come to harm, the complaint and what it needs do not stand in the queue.
std::set<std::int64_t> urgent_bundles(sqlite::Database& db) {
    std::set<std::int64_t> urgent;
    auto select = db.prepare(
        "SELECT c.bundle FROM complaint k JOIN change c ON c.record = k.id WHERE k.severity = "
        "'safety' AND k.status & " +
        std::to_string(kRowPending));
    while (select.step()) urgent.insert(select.integer(0));
    return with_all_needed(db, std::move(urgent));
}

// Takes what may go, in the order of the calls, but first what that needs.
class Queue {
public:
    Queue(sqlite::Database& db, std::size_t limit)
        : limit_(limit),
          held_(held_back(db)),
          queued_(db.prepare("SELECT id, needs FROM bundle WHERE id = ? AND state = 1")) {}

    bool full() const { return next_.ids.size() >= limit_; }
    ToSend taken() { return std::move(next_); }

    // In rising order.
    void take(std::int64_t id, std::vector<std::int64_t> needs) {
        turn_ = id;
        if (!early_.contains(id)) go({id, std::move(needs)});
    }
    void take_early(std::int64_t id) {
        if (auto needs = needs_before_its_turn(id)) go({id, *std::move(needs)});
    }

private:
    struct Step {
        std::int64_t id;
        std::vector<std::int64_t> needs;
        std::size_t at = 0;  // of the needs
    };

    void go(Step first) {
        if (!held_.empty() && held_.holds(first.id, first.needs)) return;
        std::vector<Step> path;  // each needs the next
        path.push_back(std::move(first));
        while (!path.empty() && !full()) {
            Step& step = path.back();
            if (step.at == step.needs.size()) {
                next_.ids.push_back(step.id);
                path.pop_back();
                continue;
            }
            const std::int64_t needed = step.needs[step.at++];
            if (auto needs = needs_before_its_turn(needed))
                path.push_back({needed, *std::move(needs)});
            else
                note_circle(path, needed);
        }
    }

    // Of a bundle that is queued and neither taken nor being taken.
    std::optional<std::vector<std::int64_t>> needs_before_its_turn(std::int64_t id) {
        if (id <= turn_ || !early_.insert(id).second) return std::nullopt;
        std::optional<std::vector<std::int64_t>> needs;
        if (queued_.bind(1, id).step()) needs = needs_in(queued_, 1);
        queued_.reset();
        return needs;
    }

    void note_circle(const std::vector<Step>& path, std::int64_t needed) {
        if (!next_.circle.empty()) return;
        auto step =
            std::find_if(path.begin(), path.end(), [&](const Step& s) { return s.id == needed; });
        for (; step != path.end(); ++step) next_.circle.push_back(step->id);
    }

    std::size_t limit_;
    Held held_;
    sqlite::Statement queued_;
    ToSend next_;
    std::int64_t turn_ = 0;
    std::set<std::int64_t> early_;  // before their turn
};

// What one bundle does to a record becomes a part of what another, an earlier one, does.
void move(sqlite::Database& db, const RecordId& record, std::int64_t from, std::int64_t into) {
    auto loaded = load(db, record);
    const auto part_of = [&](std::int64_t bundle) -> PendingChange* {
        for (PendingChange& change : loaded->pending)
            if (change.bundle == bundle) return &change;
        return nullptr;
    };
    PendingChange* later = loaded ? part_of(from) : nullptr;
    if (PendingChange* earlier = later ? part_of(into) : nullptr) {
        const std::vector<Write> writes = later->writes;
        for (const Write& write : writes) absorb(*earlier, *later, write.field);
        save_with_pending(db, loaded->row, loaded->pending);
    } else {
        db.prepare("UPDATE change SET bundle = ? WHERE bundle = ? AND record = ?")
            .bind_all(into, from, record)
            .run();
    }
}

// All of them that are still to be sent, in rising order.
std::vector<BundleRow> queued_among(sqlite::Database& db, const std::set<std::int64_t>& ids) {
    std::vector<BundleRow> bundles;
    for (const std::int64_t id : ids)
        if (auto bundle = load_bundle(db, id); bundle && bundle->state == BundleState::queued)
            bundles.push_back(*std::move(bundle));
    return bundles;
}

}  // namespace

ToSend next_to_send(sqlite::Database& db, std::size_t limit) {
    Queue queue(db, limit);
    for (const std::int64_t id : urgent_bundles(db)) queue.take_early(id);
    auto select = db.prepare("SELECT id, needs FROM bundle WHERE state = 1 ORDER BY id");
    while (!queue.full() && select.step()) queue.take(select.integer(0), needs_in(select, 1));
    return queue.taken();
}

void join_circle(sqlite::Database& db, const std::vector<std::int64_t>& circle) {
    const std::int64_t first = *std::min_element(circle.begin(), circle.end());
    std::set<std::int64_t> ids = with_all_needed(db, {circle.begin(), circle.end()});
    ids.erase(ids.begin(), ids.find(first));
    std::vector<BundleRow> bundles = queued_among(db, ids);
    bool parked = false;
    for (BundleRow& bundle : bundles) parked = park_without_rows(db, bundle) || parked;
    if (parked) return;

    BundleRow whole = bundles.front();
    std::set<std::int64_t> joined, needs;
    for (const BundleRow& bundle : bundles) {
        joined.insert(bundle.id);
        const std::vector<std::int64_t> its = needs_of(db, bundle.id);
        needs.insert(its.begin(), its.end());
        if (bundle.id == first) continue;
        whole.former.insert(whole.former.end(), bundle.former.begin(), bundle.former.end());
        for (const auto& [record, kind] : records_of(db, bundle.id))
            move(db, record, bundle.id, first);
    }
    std::erase_if(needs, [&](std::int64_t id) { return joined.contains(id); });
    save_bundle(db, whole);
    save_needs(db, first, {needs.begin(), needs.end()});
    joined.erase(first);
    need_instead(db, joined, first);
    delete_bundles(db, {joined.begin(), joined.end()});
}

}  // namespace rapport
