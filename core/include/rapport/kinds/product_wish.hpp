// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/product.hpp"
#include "rapport/kinds/theme.hpp"
#include "rapport/kinds/visit.hpp"

namespace rapport {

enum class WishState : std::uint8_t {
    submitted,
    needs_info,
    triaged,
    decided,
    told,
    merged,
    withdrawn
};
template <>
struct CodesOf<WishState> {
    static constexpr std::string_view list[] = {"submitted", "needs_info", "triaged",  "decided",
                                                "told",      "merged",     "withdrawn"};
};

enum class WishCategory : std::uint8_t {
    new_product,
    variant,
    feature,
    quality,
    packaging,
    service,
    price_model,
    documentation,
    other
};
template <>
struct CodesOf<WishCategory> {
    static constexpr std::string_view list[] = {"new_product", "variant",       "feature",
                                                "quality",     "packaging",     "service",
                                                "price_model", "documentation", "other"};
};

enum class Importance : std::uint8_t { nice, important, dealbreaker };
template <>
struct CodesOf<Importance> {
    static constexpr std::string_view list[] = {"nice", "important", "dealbreaker"};
};

/// What one customer wants of the products: evidence, never merged with another customer's, only
/// linked to themes.
struct ProductWish : Common {
    static constexpr std::uint16_t kNumber = 9;
    static constexpr std::string_view kName = "product_wish";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::customer;
        k.root = "customer_id";
        k.creators = rep;
        k.time = "captured_at";
        return k;
    }

    Owned<WishState> state;
    Owned<Count> state_version;
    WriteOnce<Id<Customer>> customer_id;
    WriteOnce<Id<Contact>, SeenBy<Role::rep, Role::mgr, Role::qm>> contact_id;
    WriteOnce<Id<Visit>> visit_id;
    WriteOnce<Id<Product>> product_id;
    WriteOnce<Text<8000>, Personal> verbatim;  ///< the customer's own words
    WriteOnce<Instant> captured_at;
    LastWriter<WishCategory> category;
    KeepBoth<8000, Personal> need;
    KeepBoth<4000, Personal> workaround;
    LastWriter<Importance> importance;
    LastWriter<Money> deal_at_stake;
    LastWriter<CompetitorHas> competitor_has_it;
    AddWins<Text<100, Format::line>> theme_hint;  ///< the rep's own keywords
    AddWins<Id<Theme>> theme_ids;
    Owned<Id<ProductWish>> duplicate_of;   ///< the same customer's same need
    Owned<Text<20, Format::line>> number;  ///< `W-2026-00042`
    Owned<Text<4000>> question;            ///< what product management wants to know from the rep

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(common_field::state, "state", state, indexed));
        a(field(common_field::state_version, "state_version", state_version));
        a(field(16, "customer_id", customer_id, required | indexed | by(rep)));
        a(field(17, "contact_id", contact_id, by(rep)));
        a(field(18, "visit_id", visit_id, indexed | by(rep)));
        a(field(19, "product_id", product_id, indexed | by(rep)));
        a(field(20, "verbatim", verbatim, searched | by(rep)));
        a(field(21, "captured_at", captured_at, indexed | by(rep)));
        a(field(22, "category", category, by(rep)));
        a(field(23, "need", need, required | searched | by(rep)));
        a(field(24, "workaround", workaround, searched | by(rep)));
        a(field(25, "importance", importance, required | by(rep)));
        a(field(26, "deal_at_stake", deal_at_stake, by(rep)));
        a(field(27, "competitor_has_it", competitor_has_it, by(rep)));
        a(field(28, "theme_hint", theme_hint, by(rep)));
        a(field(29, "theme_ids", theme_ids, by(pm, mkt)));
        a(field(30, "duplicate_of", duplicate_of, indexed));
        a(field(31, "number", number, indexed));
        a(field(32, "question", question));
    }
};

}  // namespace rapport
