// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/kinds/customisation_request.hpp"

/// Limits of discounts and of goods made to order, as device and centre judge them. Pure, integers
/// only: rates are basis points, a discount is rounded up.
namespace rapport {

/// What a limit says, and who must agree if it is exceeded.
struct LimitCheck {
    LimitVerdict verdict = LimitVerdict::unknown;
    std::optional<Role> approver;
    friend bool operator==(const LimitCheck&, const LimitCheck&) = default;
};

/// How far the wanted price lies below the list price; 0 if it does not.
std::int64_t discount_bp(const PriceLine& line);

/// One line by one policy. Unknown while the policy discloses no limit to this device: the request
/// is captured all the same and judged at the centre.
LimitCheck check_limit(const PriceLine& line, const DiscountPolicy& policy);

/// Is the policy one for this role, segment and product group at this time?
bool policy_applies(const DiscountPolicy& policy, Role role, std::string_view segment,
                    std::string_view product_group, const Instant& at);

/// The policy by which a line is judged: of those that apply the one that names the product group,
/// then the segment, then the highest version; null if none applies.
const DiscountPolicy* policy_for(std::span<const DiscountPolicy> policies, Role role,
                                 std::string_view segment, std::string_view product_group,
                                 const Instant& at);

/// One wanted option by what is allowed. A null `option` is not known to this device.
LimitCheck check_option(const WantedOption& wanted, const CustomOption* option);

/// The graver of two verdicts: approval over unknown over within the limit. Between two approvers
/// the first stays.
LimitCheck graver(const LimitCheck& a, const LimitCheck& b);

}  // namespace rapport
