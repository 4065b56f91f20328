// SPDX-License-Identifier: Apache-2.0
#include "server/moves.hpp"

#include <algorithm>
#include <optional>

#include "model/planted.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "rapport/error.hpp"
#include "server/admission.hpp"
#include "server/engine.hpp"
#include "server/loops.hpp"
#include "server/scopes.hpp"
#include "server/states.hpp"

namespace rapport::server {
namespace {

constexpr std::size_t kCustomersAtOnce = 50;  // of a territory, in one commit

bool in_a_territory(const StoredRecord& record) {
    return record.state.scope.rfind(kTerritoryScopes, 0) == 0;
}

/// Brings one record to the customer it hangs on. What stays in the same territory is not sent
/// again: its root is the centre's own business.
void settle(Round& round, Changeset& changes, StoredRecord& record, const StoredRecord& home) {
    if (!in_a_territory(record)) return;
    const std::string from = record.state.scope;
    record.root = home.state.id;
    record.state.scope = home.state.scope;
    if (from != record.state.scope) {
        changes.depart(record, from);
        readdress(round, changes, record);
    } else {
        round.tx.save_root(changes.tenant(), record.state.id, record.root);
    }
}

/// True when nothing that hangs on the customer is left.
bool continue_customer(Round& round, Changeset& changes, OpenMove move, std::size_t limit,
                       std::size_t& looked_at) {
    const auto ids = round.tx.hanging_on(changes.tenant(), move.customer, move.after, limit);
    StoredRecord& home = changes.standing(*changes.find(move.customer));
    for (const RecordId& id : ids) settle(round, changes, *changes.find(id), home);
    looked_at += ids.size();
    if (ids.size() < limit) {
        round.tx.remove(changes.tenant(), move);
        return true;
    }
    move.after = ids.back();
    round.tx.save(changes.tenant(), move);
    return false;
}

/// Hands the next customers of a territory over; what hangs on them follows before the next come.
std::size_t pick_customers(Round& round, Changeset& changes, const OpenMove& move) {
    const auto next = round.tx.living_in(changes.tenant(), kind_named("customer")->number,
                                         move.from, kCustomersAtOnce);
    for (const RecordId& id : next) {
        StoredRecord& customer = *changes.find(id);
        StoredRecord& home = changes.standing(customer);
        // One that was merged is where the one is that it was merged into.
        if (home.state.scope == move.from) hand_over(round, changes, home, move.to);
        if (customer.state.scope == move.from)
            hand_over(round, changes, customer, home.state.scope);
    }
    if (next.empty()) round.tx.remove(changes.tenant(), move);
    return next.size();
}

}  // namespace

void let_follow(Round& round, const std::string& tenant, const RecordId& customer) {
    if (!RAPPORT_PLANTED("leave_children_behind"))
        round.tx.save(tenant, OpenMove{customer, {}, {}, {}});
    round.work_open = true;
}

void hand_over(Round& round, Changeset& changes, StoredRecord& customer, const std::string& to) {
    const std::string from = customer.state.scope;
    if (from != to) {
        customer.state.scope = to;
        changes.depart(customer, from);
    }
    let_follow(round, changes.tenant(), customer.state.id);
}

std::size_t continue_moves(Round& round, Changeset& changes, std::size_t limit) {
    std::size_t looked_at = 0;
    bool picked = false;
    while (looked_at < limit) {
        const auto open = round.tx.open_moves(changes.tenant());
        if (open.empty()) break;
        const OpenMove& move = open.front();
        if (!move.customer.is_nil()) {
            if (!continue_customer(round, changes, move, limit - looked_at, looked_at)) break;
        } else if (!picked) {
            const std::size_t customers = pick_customers(round, changes, move);
            picked = customers > 0;
            looked_at += customers;
        } else {
            break;  // those picked are not saved yet, so the storage would name them again
        }
    }
    return looked_at;
}

// ---- the engine's face

namespace {

bool names_a_territory(const std::string& scope) {
    return scope.rfind(kTerritoryScopes, 0) == 0 && canonical_text(Format::scope, scope);
}

std::optional<Refusal> begin_of_customer(Round& round, Changeset& changes,
                                         const Engine::HandOver& wanted) {
    StoredRecord* customer = changes.find(wanted.customer);
    if (!customer || kind_numbered(customer->state.kind)->home != Home::territory)
        return refusal({}, "customer", "unknown_record", {"handed_over"});
    if (const StoredRecord& home = changes.standing(*customer); &home != customer)
        return refusal({}, "customer", "merged", {home.state.id.text()});
    if (customer->state.scope == wanted.to) return std::nullopt;
    hand_over(round, changes, *customer, wanted.to);
    return std::nullopt;
}

std::optional<Refusal> begin_of_territory(Round& round, const std::string& tenant,
                                          const Engine::HandOver& wanted) {
    if (!names_a_territory(wanted.from) || wanted.from == wanted.to)
        return refusal({}, "from", "malformed", {"two_territories"});
    for (const OpenMove& move : round.tx.open_moves(tenant))
        if (move.customer.is_nil() && (move.from == wanted.to || move.to == wanted.from))
            return refusal({}, "to", "under_way", {move.from, move.to});
    round.tx.save(tenant, OpenMove{{}, wanted.from, wanted.to, {}});
    round.work_open = true;
    return std::nullopt;
}

}  // namespace

std::optional<Refusal> Engine::begin(const std::string& tenant, const HandOver& wanted) {
    if (!names_a_territory(wanted.to)) return refusal({}, "to", "malformed", {"territory"});
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_);
    Changeset changes(round, tenant, bundle_name(kServerWriter, round.tick()), kServerName);
    auto refused = wanted.customer.is_nil() ? begin_of_territory(round, tenant, wanted)
                                            : begin_of_customer(round, changes, wanted);
    if (refused) return refused;
    changes.save();
    commit(round);
    return std::nullopt;
}

std::size_t Engine::carry_on() {
    if (scrub_ != Scrub::done) scrub();
    if (const std::size_t looked_at = keep_deadlines()) return looked_at;
    if (!work_open_) return 0;
    std::vector<std::string> open;
    {
        const auto snapshot = storage_.begin_read();
        for (std::string& tenant : snapshot->tenants())
            if (!snapshot->open_moves(tenant).empty() || !snapshot->open_decisions(tenant).empty())
                open.push_back(std::move(tenant));
    }
    work_open_ = !open.empty();
    if (open.empty()) return 0;
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_);
    std::size_t looked_at = 0;
    for (const std::string& tenant : open) {
        if (looked_at >= kMovedRecordsMax) break;
        Changeset changes(round, tenant, bundle_name(kServerWriter, round.tick()), kServerName);
        looked_at += continue_moves(round, changes, kMovedRecordsMax - looked_at);
        if (looked_at < kMovedRecordsMax) looked_at += continue_decisions(round, changes);
        changes.save();
    }
    commit(round);
    return std::max<std::size_t>(looked_at, 1);
}

}  // namespace rapport::server
