// SPDX-License-Identifier: Apache-2.0
#include "server/approvals.hpp"

#include <algorithm>

#include "rapport/pricing.hpp"
#include "server/loops.hpp"

namespace rapport::server {
namespace {

/// A policy with what the centre knows of it.
struct Known {
    RecordId id;
    DiscountPolicy policy;
    std::int64_t received_at_ms = 0;
};

std::vector<Known> policies_of(Round& round, Changeset& changes) {
    std::vector<Known> known;
    for (const RecordId& id : round.tx.of_kind(changes.tenant(), kind_of<DiscountPolicy>().number))
        if (const StoredRecord* stored = changes.find(id))
            known.push_back(
                {id, from_record<DiscountPolicy>(show(stored->state)), stored->received_at_ms});
    return known;
}

/// The policy the device judged by, if its word is to hold: it disclosed the limit, it was valid
/// when the request was captured (but never before the device's last sync, so that no clock set
/// back brings an old limit back), and no newer version had reached the device.
const DiscountPolicy* policy_in_good_faith(const std::vector<Known>& known, const Device& device,
                                           const PriceRequest& request) {
    if (request.device_verdict != LimitVerdict::within_limit || !request.policy_id) return nullptr;
    const auto named = std::find_if(known.begin(), known.end(), [&](const Known& k) {
        return k.id == *request.policy_id && k.policy.version == request.policy_version;
    });
    if (named == known.end() ||
        named->policy.disclosure.value_or(Disclosure::none) < Disclosure::limit)
        return nullptr;
    for (const Known& k : known)
        if (k.policy.code == named->policy.code && k.policy.version && named->policy.version &&
            *named->policy.version < *k.policy.version && k.received_at_ms <= device.last_seen_ms)
            return nullptr;
    return &named->policy;
}

Judgement judge_price(Round& round, Changeset& changes, const Device& device,
                      const StoredRecord& stored) {
    const auto request = from_record<PriceRequest>(show(stored.state));
    const std::vector<Known> known = policies_of(round, changes);
    std::vector<DiscountPolicy> policies;
    for (const Known& k : known) policies.push_back(k.policy);
    const DiscountPolicy* trusted = policy_in_good_faith(known, device, request);
    const Instant captured = request.created_at.value_or(round.now);
    const Instant then(std::max(captured.at, TimePoint(Milliseconds(device.last_seen_ms))));

    const StoredRecord* customer = customer_of(changes, stored);
    const std::string segment = customer ? shown_text(*customer, "segment") : std::string();
    Judgement judgement;
    LimitCheck all{LimitVerdict::within_limit, {}};
    for (const PriceLine& line : request.lines.elements) {
        const StoredRecord* product = changes.find(line.product_id);
        const std::string group = product ? shown_text(*product, "group") : std::string();
        const DiscountPolicy* policy = policy_for(policies, device.role, segment, group, round.now);
        LimitCheck check = policy ? check_limit(line, *policy)
                                  : LimitCheck{LimitVerdict::needs_approval, Role::price};
        if (check.verdict != LimitVerdict::within_limit && trusted &&
            policy_applies(*trusted, device.role, segment, group, then) &&
            check_limit(line, *trusted).verdict == LimitVerdict::within_limit) {
            judgement.in_good_faith = true;
            check = {LimitVerdict::within_limit, {}};
        }
        all = graver(all, check);
    }
    judgement.within_limit = all.verdict == LimitVerdict::within_limit;
    judgement.in_good_faith &= judgement.within_limit;
    judgement.approver = all.approver.value_or(Role::price);
    return judgement;
}

Judgement judge_customisation(Changeset& changes, const StoredRecord& stored) {
    const auto request = from_record<CustomisationRequest>(show(stored.state));
    LimitCheck all{LimitVerdict::within_limit, {}};
    // What is only said in words fits no range.
    if (request.wanted) all = {LimitVerdict::needs_approval, Role::pm};
    Judgement judgement;
    for (const WantedOption& wanted : request.options.elements) {
        const StoredRecord* record = changes.find(wanted.option_id);
        if (!record) continue;
        const auto option = from_record<CustomOption>(show(record->state));
        all = graver(all, check_option(wanted, &option));
        if (option.lead_time_days)
            judgement.lead_time_days =
                std::max(judgement.lead_time_days, option.lead_time_days->value);
    }
    judgement.within_limit = all.verdict == LimitVerdict::within_limit;
    judgement.approver = all.approver.value_or(Role::pm);
    return judgement;
}

}  // namespace

Judgement judge_limits(Round& round, Changeset& changes, const Device& device,
                       const StoredRecord& request) {
    return request.state.kind == kind_of<PriceRequest>().number
               ? judge_price(round, changes, device, request)
               : judge_customisation(changes, request);
}

}  // namespace rapport::server
