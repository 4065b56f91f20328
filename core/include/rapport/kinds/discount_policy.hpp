// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/groups.hpp"

namespace rapport {

/// Rates in basis points: 1,250 is 12.5 %.
using BasisPoints = Whole<0, 10'000>;

/// Who must agree to more than this discount.
struct ApprovalStep {
    BasisPoints above_bp;
    Role approver = Role::price;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("above_bp", above_bp, true), part("approver", approver, true));
    }
    friend bool operator==(const ApprovalStep&, const ApprovalStep&) = default;
};

/// What a role may grant a segment on a product group. A change is a new record with the next
/// `version`; the numbers leave the centre only as far as `disclosure` says: none and verdict send
/// none of them, limit sends the limits, full also cost and margin.
struct DiscountPolicy : Common {
    static constexpr std::uint16_t kNumber = 21;
    static constexpr std::string_view kName = "discount_policy";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::policy;
        k.creators = Roles(price) | sys;
        k.time = "created_at";
        return k;
    }

    WriteOnce<FreeCode> code;
    WriteOnce<Whole<1, 1'000'000>> version;
    WriteOnce<Role> role;               ///< whose limit it is
    WriteOnce<FreeCode> segment;        ///< unset: every segment
    WriteOnce<FreeCode> product_group;  ///< unset: every group
    LastWriter<Disclosure> disclosure;
    WriteOnce<BasisPoints, Disclosed<Disclosure::limit>> max_bp;
    WriteOnce<Money, Disclosed<Disclosure::limit>> floor_price;  ///< per unit
    AddWins<ApprovalStep, Disclosed<Disclosure::limit>> needs;
    WriteOnce<Money, Disclosed<Disclosure::full>> cost;  ///< per unit
    WriteOnce<BasisPoints, Disclosed<Disclosure::full>> margin_bp;
    LastWriter<Instant> valid_from;
    LastWriter<Instant> valid_until;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks office = by(price, sys);
        serialize_common(a);
        a(field(16, "code", code, required | indexed | office));
        a(field(17, "version", version, required | office));
        a(field(18, "role", role, required | indexed | office));
        a(field(19, "segment", segment, office));
        a(field(20, "product_group", product_group, office));
        a(field(21, "disclosure", disclosure, required | office));
        a(field(22, "max_bp", max_bp, office));
        a(field(23, "floor_price", floor_price, office));
        a(field(24, "needs", needs, fixed | office));
        a(field(25, "cost", cost, office));
        a(field(26, "margin_bp", margin_bp, office));
        a(field(27, "valid_from", valid_from, office));
        a(field(28, "valid_until", valid_until, office));
    }
};

}  // namespace rapport
