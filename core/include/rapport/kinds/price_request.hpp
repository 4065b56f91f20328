// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/discount_policy.hpp"
#include "rapport/kinds/product.hpp"
#include "rapport/kinds/visit.hpp"

namespace rapport {

/// Of price and customisation requests alike.
enum class ApprovalState : std::uint8_t {
    submitted,
    within_limit,
    needs_approval,
    approved,
    rejected,
    countered,
    accepted,
    expired,
    withdrawn
};
template <>
struct CodesOf<ApprovalState> {
    static constexpr std::string_view list[] = {"submitted", "within_limit", "needs_approval",
                                                "approved",  "rejected",     "countered",
                                                "accepted",  "expired",      "withdrawn"};
};

/// What a device said offline, before the centre judged.
enum class LimitVerdict : std::uint8_t { unknown, within_limit, needs_approval };
template <>
struct CodesOf<LimitVerdict> {
    static constexpr std::string_view list[] = {"unknown", "within_limit", "needs_approval"};
};

/// One product of a price request; prices are per unit, in minor units of the currency.
struct PriceLine {
    Whole<1, 200> line;
    Id<Product> product_id;
    Whole<1, 9'007'199'254'740'991> qty_milli;
    Text<3, Format::unit> unit;
    Whole<1, 900'000'000'000'000> list_minor;
    Whole<0, 900'000'000'000'000> wanted_minor;
    Currency currency;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("line", line, true), part("product_id", product_id, true),
          part("qty_milli", qty_milli, true), part("unit", unit),
          part("list_minor", list_minor, true), part("wanted_minor", wanted_minor, true),
          part("currency", currency, true));
    }
    friend bool operator==(const PriceLine&, const PriceLine&) = default;
};

/// A customer wants a better price. The lines are fixed once submitted; the centre judges them.
struct PriceRequest : Common {
    static constexpr std::uint16_t kNumber = 22;
    static constexpr std::string_view kName = "price_request";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::customer;
        k.root = "customer_id";
        k.creators = rep;
        k.time = "created_at";
        return k;
    }

    Owned<ApprovalState> state;
    Owned<Count> state_version;
    WriteOnce<Id<Customer>> customer_id;
    WriteOnce<Id<Visit>> visit_id;
    AddWins<PriceLine> lines;
    WriteOnce<FreeCode> reason;
    WriteOnce<Id<DiscountPolicy>> policy_id;  ///< by which the device judged
    WriteOnce<Whole<1, 1'000'000>> policy_version;
    WriteOnce<LimitVerdict> device_verdict;
    Owned<Text<20, Format::line>> number;  ///< `P-2026-00042`
    Owned<Role> approver;                  ///< who must agree
    Owned<bool>
        in_good_faith;  ///< the device's verdict holds, though a newer policy says otherwise
    Owned<Text<80, Format::line>> decided_by;
    Owned<Instant> decided_at;
    Owned<BasisPoints> counter_bp;  ///< the discount offered instead
    Owned<Text<4000>> reply_text;
    Owned<Instant> offer_until;  ///< how long the answer holds

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(common_field::state, "state", state, indexed));
        a(field(common_field::state_version, "state_version", state_version));
        a(field(16, "customer_id", customer_id, required | indexed | by(rep)));
        a(field(17, "visit_id", visit_id, indexed | by(rep)));
        a(field(18, "lines", lines, required | fixed | by(rep)));
        a(field(19, "reason", reason, by(rep)));
        a(field(20, "policy_id", policy_id, by(rep)));
        a(field(21, "policy_version", policy_version, by(rep)));
        a(field(22, "device_verdict", device_verdict, by(rep)));
        a(field(23, "number", number, indexed));
        a(field(24, "approver", approver));
        a(field(25, "in_good_faith", in_good_faith));
        a(field(26, "decided_by", decided_by));
        a(field(27, "decided_at", decided_at));
        a(field(28, "counter_bp", counter_bp));
        a(field(29, "reply_text", reply_text));
        a(field(30, "offer_until", offer_until));
    }
};

}  // namespace rapport
