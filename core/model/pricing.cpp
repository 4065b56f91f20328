// SPDX-License-Identifier: Apache-2.0
#include "rapport/pricing.hpp"

#include <algorithm>
#include <tuple>

namespace rapport {
namespace {

constexpr std::int64_t kWhole = 10'000;  // basis points

int gravity(LimitVerdict verdict) {
    switch (verdict) {
        case LimitVerdict::within_limit:
            return 0;
        case LimitVerdict::unknown:
            return 1;
        case LimitVerdict::needs_approval:
            return 2;
    }
    return 1;
}

template <class F>
bool is(const F& field, std::string_view code) {
    return field && std::string_view(*field) == code;
}

}  // namespace

std::int64_t discount_bp(const PriceLine& line) {
    const std::int64_t list = line.list_minor, wanted = line.wanted_minor;
    if (list <= 0 || wanted >= list) return 0;
    return ((list - wanted) * kWhole + list - 1) / list;  // in 64 bits by the bounds of PriceLine
}

LimitCheck check_limit(const PriceLine& line, const DiscountPolicy& policy) {
    if (!policy.max_bp) return {};
    const std::int64_t discount = discount_bp(line);
    const bool too_cheap = policy.floor_price && policy.floor_price->currency == line.currency &&
                           line.wanted_minor < policy.floor_price->minor;
    if (discount <= *policy.max_bp && !too_cheap) return {LimitVerdict::within_limit, {}};
    Role approver = Role::price;
    std::int64_t reached = -1;
    for (const ApprovalStep& step : policy.needs.elements)
        if (discount > step.above_bp && step.above_bp > reached) {
            reached = step.above_bp;
            approver = step.approver;
        }
    return {LimitVerdict::needs_approval, approver};
}

bool policy_applies(const DiscountPolicy& policy, Role role, std::string_view segment,
                    std::string_view product_group, const Instant& at) {
    return policy.role == role && (!policy.segment || is(policy.segment, segment)) &&
           (!policy.product_group || is(policy.product_group, product_group)) &&
           (!policy.valid_from || policy.valid_from->at <= at.at) &&
           (!policy.valid_until || at.at <= policy.valid_until->at);
}

const DiscountPolicy* policy_for(std::span<const DiscountPolicy> policies, Role role,
                                 std::string_view segment, std::string_view product_group,
                                 const Instant& at) {
    const auto rank = [](const DiscountPolicy& p) {
        return std::make_tuple(p.product_group.has_value(), p.segment.has_value(),
                               p.version ? p.version->value : 0);
    };
    const DiscountPolicy* best = nullptr;
    for (const DiscountPolicy& policy : policies)
        if (policy_applies(policy, role, segment, product_group, at) &&
            (!best || rank(*best) < rank(policy)))
            best = &policy;
    return best;
}

LimitCheck check_option(const WantedOption& wanted, const CustomOption* option) {
    if (!option) return {};
    const Role approver = option->approver.value_or(Role::pm);
    const bool offered = !option->active || *option->active;
    const bool allowed =
        !option->allowed || (wanted.amount && *wanted.amount >= option->allowed->min &&
                             *wanted.amount <= option->allowed->max);
    if (offered && allowed) return {LimitVerdict::within_limit, {}};
    return {LimitVerdict::needs_approval, approver};
}

LimitCheck graver(const LimitCheck& a, const LimitCheck& b) {
    return gravity(b.verdict) > gravity(a.verdict) ? b : a;
}

}  // namespace rapport
