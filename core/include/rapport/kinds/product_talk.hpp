// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/product.hpp"
#include "rapport/kinds/visit.hpp"

namespace rapport {

enum class Aida : std::uint8_t { unaware, attention, interest, desire, action };
template <>
struct CodesOf<Aida> {
    static constexpr std::string_view list[] = {"unaware", "attention", "interest", "desire",
                                                "action"};
};

enum class TalkOutcome : std::uint8_t { won, renewed, open, lost, not_offered };
template <>
struct CodesOf<TalkOutcome> {
    static constexpr std::string_view list[] = {"won", "renewed", "open", "lost", "not_offered"};
};

enum class LossReason : std::uint8_t {
    unknown_product,
    unknown_benefit,
    price_high,
    competitor_better,
    no_need,
    no_budget,
    missing_feature,
    quality_doubt,
    service,
    delivery_time,
    terms,
    contract_bound,
    relationship,
    other
};
template <>
struct CodesOf<LossReason> {
    static constexpr std::string_view list[] = {"unknown_product", "unknown_benefit",
                                                "price_high",      "competitor_better",
                                                "no_need",         "no_budget",
                                                "missing_feature", "quality_doubt",
                                                "service",         "delivery_time",
                                                "terms",           "contract_bound",
                                                "relationship",    "other"};
};

/// How far one product got at one visit, and why not further.
struct ProductTalk : Common {
    static constexpr std::uint16_t kNumber = 7;
    static constexpr std::string_view kName = "product_talk";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::subject;
        k.root = "visit_id";
        k.creators = rep;
        k.time = "created_at";
        return k;
    }

    WriteOnce<Id<Visit>> visit_id;
    WriteOnce<Id<Product>> product_id;
    LastWriter<Aida> aida;
    LastWriter<TalkOutcome> outcome;
    AddWins<LossReason> reasons;
    LastWriter<Competitor> competitor;
    LastWriter<Money> deal_value;
    KeepBoth<4000, Personal> lost_reason;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(16, "visit_id", visit_id, required | indexed | by(rep)));
        a(field(17, "product_id", product_id, required | indexed | by(rep)));
        a(field(18, "aida", aida, required | by(rep)));
        a(field(19, "outcome", outcome, by(rep)));
        a(field(20, "reasons", reasons, by(rep)));
        a(field(21, "competitor", competitor, by(rep)));
        a(field(22, "deal_value", deal_value, by(rep)));
        a(field(23, "lost_reason", lost_reason, searched | by(rep)));
    }
};

}  // namespace rapport
