// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/product.hpp"

namespace rapport {

enum class QuestionState : std::uint8_t { draft, live, closed };
template <>
struct CodesOf<QuestionState> {
    static constexpr std::string_view list[] = {"draft", "live", "closed"};
};

enum class QuestionType : std::uint8_t { single, multi, scale, number, money, yes_no, text, photo };
template <>
struct CodesOf<QuestionType> {
    static constexpr std::string_view list[] = {"single", "multi",  "scale", "number",
                                                "money",  "yes_no", "text",  "photo"};
};

enum class QuestionTo : std::uint8_t { reps, customers, segment, territory };
template <>
struct CodesOf<QuestionTo> {
    static constexpr std::string_view list[] = {"reps", "customers", "segment", "territory"};
};

enum class AskWhen : std::uint8_t { any_visit, product_talk, lost, date_range };
template <>
struct CodesOf<AskWhen> {
    static constexpr std::string_view list[] = {"any_visit", "product_talk", "lost", "date_range"};
};

/// Who is asked: the reps themselves, all customers, or those of one segment or territory.
struct QuestionTarget {
    QuestionTo who = QuestionTo::customers;
    FreeCode code;  ///< of the segment or territory
    template <class Archive>
    void serialize(Archive& a) {
        a(part("who", who, true), part("code", code));
    }
    friend bool operator==(const QuestionTarget&, const QuestionTarget&) = default;
};

/// One answer to choose, in one language; the same code may stand there once per language.
struct QuestionOption {
    FreeCode code;
    Text<200, Format::line> label;
    Text<35, Format::language> lang;  ///< BCP 47
    std::optional<Whole<0, 1000>> sort;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("code", code, true), part("label", label, true), part("lang", lang),
          part("sort", sort));
    }
    friend bool operator==(const QuestionOption&, const QuestionOption&) = default;
};

/// What marketing wants to know from customers or reps. Once live it is fixed: a change is a new
/// record with the next `version`.
struct MarketingQuestion : Common {
    static constexpr std::uint16_t kNumber = 17;
    static constexpr std::string_view kName = "marketing_question";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::target;
        k.open_state = "draft";
        k.creators = Roles(mkt) | sys;
        k.time = "created_at";
        return k;
    }

    Owned<QuestionState> state;
    Owned<Count> state_version;
    WriteOnce<FreeCode> code;
    WriteOnce<Whole<1, 1'000'000>> version;
    WriteOnce<QuestionTarget> target;
    LastWriter<Text<200, Format::line>> campaign;
    PerKey<Text<1000>> text;  ///< by BCP 47 language
    LastWriter<QuestionType> type;
    AddWins<QuestionOption> options;
    LastWriter<Minor> min;
    LastWriter<Minor> max;
    LastWriter<Text<3, Format::unit>> unit;  ///< UN/ECE Rec 20
    LastWriter<Id<Product>> product_id;
    LastWriter<AskWhen> ask_when;
    LastWriter<Whole<1, 1000>> max_per_customer;
    LastWriter<Instant> valid_from;
    LastWriter<Instant> valid_until;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks office = by(mkt, sys);
        serialize_common(a);
        a(field(common_field::state, "state", state, indexed));
        a(field(common_field::state_version, "state_version", state_version));
        a(field(16, "code", code, required | indexed | office));
        a(field(17, "version", version, required | office));
        a(field(18, "target", target, required | office));
        a(field(19, "campaign", campaign, required | indexed | office));
        a(field(20, "text", text, required | office));
        a(field(21, "type", type, required | office));
        a(field(22, "options", options, office));
        a(field(23, "min", min, office));
        a(field(24, "max", max, office));
        a(field(25, "unit", unit, office));
        a(field(26, "product_id", product_id, office));
        a(field(27, "ask_when", ask_when, office));
        a(field(28, "max_per_customer", max_per_customer, office));
        a(field(29, "valid_from", valid_from, office));
        a(field(30, "valid_until", valid_until, office));
    }
};

}  // namespace rapport
