// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/custom_option.hpp"
#include "rapport/kinds/price_request.hpp"

namespace rapport {

/// One option the customer wants, and how much of it where it is measured.
struct WantedOption {
    Id<CustomOption> option_id;
    std::optional<Minor> amount;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("option_id", option_id, true), part("amount", amount));
    }
    friend bool operator==(const WantedOption&, const WantedOption&) = default;
};

/// A customer wants a product made to order. What lies within the allowed ranges needs no approval;
/// the rest, and any wish in words, does.
struct CustomisationRequest : Common {
    static constexpr std::uint16_t kNumber = 23;
    static constexpr std::string_view kName = "customisation_request";
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
    WriteOnce<Id<Product>> product_id;
    AddWins<WantedOption> options;
    WriteOnce<Text<4000>> wanted;  ///< what no option covers, in words
    WriteOnce<LimitVerdict> device_verdict;
    Owned<Text<20, Format::line>> number;  ///< `A-2026-00042`
    Owned<Role> approver;                  ///< who must agree
    Owned<Whole<0, 3650>> lead_time_days;
    Owned<Text<200, Format::line>> effort;
    Owned<Minor> price_minor;
    Owned<Currency> price_currency;
    Owned<Text<80, Format::line>> decided_by;
    Owned<Instant> decided_at;
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
        a(field(18, "product_id", product_id, by(rep)));
        a(field(19, "options", options, fixed | by(rep)));
        a(field(20, "wanted", wanted, searched | by(rep)));
        a(field(21, "device_verdict", device_verdict, by(rep)));
        a(field(22, "number", number, indexed));
        a(field(23, "approver", approver));
        a(field(24, "lead_time_days", lead_time_days));
        a(field(25, "effort", effort));
        a(field(26, "price_minor", price_minor));
        a(field(27, "price_currency", price_currency));
        a(field(28, "decided_by", decided_by));
        a(field(29, "decided_at", decided_at));
        a(field(30, "reply_text", reply_text));
        a(field(31, "offer_until", offer_until));
    }
};

}  // namespace rapport
