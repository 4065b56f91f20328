// SPDX-License-Identifier: Apache-2.0
#include "rapport/pricing.hpp"

#include <doctest/doctest.h>

using namespace rapport;

namespace {

PriceLine line(std::int64_t list, std::int64_t wanted) {
    return {1, {}, 1'000, "H87", list, wanted, "EUR"};
}

DiscountPolicy policy(std::int64_t max_bp) {
    DiscountPolicy p;
    p.role = Role::rep;
    p.version = 1;
    p.max_bp = max_bp;
    return p;
}

Instant at(const char* text) { return *Instant::parse(text); }

}  // namespace

TEST_CASE("a discount is rounded up, so that a limit is never exceeded by a fraction") {
    CHECK(discount_bp(line(10'000, 9'000)) == 1'000);
    CHECK(discount_bp(line(10'000, 8'999)) == 1'001);
    CHECK(discount_bp(line(3, 2)) == 3'334);
    CHECK(discount_bp(line(100'000'000, 99'999'999)) == 1);
    CHECK(discount_bp(line(100, 100)) == 0);
    CHECK(discount_bp(line(100, 200)) == 0);
    CHECK(discount_bp(line(100, 0)) == 10'000);
    CHECK(discount_bp(line(900'000'000'000'000, 0)) == 10'000);
    CHECK(discount_bp(line(900'000'000'000'000, 1)) == 10'000);
}

TEST_CASE("a line is within the limit, or needs the one who may grant so much") {
    DiscountPolicy p = policy(1'000);
    CHECK(check_limit(line(10'000, 9'000), p) == LimitCheck{LimitVerdict::within_limit, {}});
    CHECK(check_limit(line(10'000, 8'999), p) ==
          LimitCheck{LimitVerdict::needs_approval, Role::price});
    p.needs = {{1'000, Role::mgr}, {2'000, Role::price}, {3'000, Role::admin}};
    CHECK(check_limit(line(10'000, 8'000), p).approver == Role::mgr);
    CHECK(check_limit(line(10'000, 7'999), p).approver == Role::price);
    CHECK(check_limit(line(10'000, 100), p).approver == Role::admin);

    p.floor_price = Money{9'500, "EUR"};
    CHECK(check_limit(line(10'000, 9'500), p).verdict == LimitVerdict::within_limit);
    CHECK(check_limit(line(10'000, 9'499), p).verdict == LimitVerdict::needs_approval);
    p.floor_price = Money{9'500, "CHF"};
    CHECK(check_limit(line(10'000, 9'499), p).verdict == LimitVerdict::within_limit);

    p.max_bp = std::nullopt;  // not disclosed
    CHECK(check_limit(line(10'000, 9'999), p) == LimitCheck{});
}

TEST_CASE("of the policies that apply the most specific one counts, then the newest") {
    std::vector<DiscountPolicy> policies(5, policy(100));
    policies[1].version = 2;
    policies[2].segment = "dairy";
    policies[3].product_group = "cups";
    policies[4].role = Role::mgr;
    policies[4].version = 9;
    const Instant now = at("2026-03-04T10:00:00+01:00");
    const auto best = [&](const char* segment, const char* group) {
        return policy_for(policies, Role::rep, segment, group, now) - policies.data();
    };
    CHECK(best("", "") == 1);
    CHECK(best("dairy", "lids") == 2);
    CHECK(best("dairy", "cups") == 3);
    policies[3].valid_until = at("2026-03-04T08:59:59.999Z");
    CHECK(best("dairy", "cups") == 2);
    policies[1].valid_from = at("2026-03-04T09:00:00.001Z");
    CHECK(best("bakery", "") == 0);
    CHECK(policy_for(policies, Role::qm, "", "", now) == nullptr);
}

TEST_CASE("an option within its range needs nobody, outside it its approver") {
    CustomOption option;
    option.allowed = AllowedRange{100, 200, "MMT"};
    option.approver = Role::qm;
    const auto verdict = [&](std::optional<Minor> amount) {
        return check_option({{}, amount}, &option).verdict;
    };
    CHECK(verdict(100) == LimitVerdict::within_limit);
    CHECK(verdict(200) == LimitVerdict::within_limit);
    CHECK(verdict(99) == LimitVerdict::needs_approval);
    CHECK(verdict({}) == LimitVerdict::needs_approval);
    CHECK(check_option({{}, 201}, &option).approver == Role::qm);
    option.active = false;
    CHECK(verdict(150) == LimitVerdict::needs_approval);
    CHECK(check_option({{}, 150}, nullptr).verdict == LimitVerdict::unknown);
}

TEST_CASE("the graver verdict counts, and its first approver") {
    const LimitCheck within{LimitVerdict::within_limit, {}}, unknown{},
        mgr{LimitVerdict::needs_approval, Role::mgr}, qm{LimitVerdict::needs_approval, Role::qm};
    CHECK(graver(within, unknown) == unknown);
    CHECK(graver(mgr, unknown) == mgr);
    CHECK(graver(mgr, qm) == mgr);
    CHECK(graver(within, qm) == qm);
}
