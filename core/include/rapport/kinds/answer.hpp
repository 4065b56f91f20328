// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/marketing_question.hpp"
#include "rapport/kinds/visit.hpp"

namespace rapport {

enum class AnswerStatus : std::uint8_t { answered, dont_know, refused, not_applicable };
template <>
struct CodesOf<AnswerStatus> {
    static constexpr std::string_view list[] = {"answered", "dont_know", "refused",
                                                "not_applicable"};
};

/// What was said to one question. Never changed and without a natural key: two reps who ask one
/// customer give two answers, and a correction is a new one that `replaces` the old. The photo of a
/// photo question is an Attachment of the answer.
struct Answer : Common {
    static constexpr std::uint16_t kNumber = 18;
    static constexpr std::string_view kName = "answer";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::customer_or_person;
        k.root = "customer_id";
        k.append_only = true;
        k.creators = Roles(rep) | mgr;
        k.time = "at";
        return k;
    }

    WriteOnce<Id<MarketingQuestion>> question_id;
    WriteOnce<Whole<1, 1'000'000>> question_version;
    WriteOnce<Id<Customer>> customer_id;  ///< unset: the rep's own answer
    WriteOnce<Id<Visit>> visit_id;
    WriteOnce<AnswerStatus> status;
    AddWins<FreeCode> choices;  ///< single, multi: codes of the options
    WriteOnce<Minor> number;    ///< scale, number; yes_no: 1 or 0
    WriteOnce<Money> amount;
    WriteOnce<Text<4000>, Personal> text;
    WriteOnce<Instant> at;
    WriteOnce<Id<Answer>> replaces;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks writers = by(rep, mgr);
        serialize_common(a);
        a(field(16, "question_id", question_id, required | indexed | writers));
        a(field(17, "question_version", question_version, required | writers));
        a(field(18, "customer_id", customer_id, indexed | writers));
        a(field(19, "visit_id", visit_id, indexed | writers));
        a(field(20, "status", status, required | writers));
        a(field(21, "choices", choices, fixed | writers));
        a(field(22, "number", number, writers));
        a(field(23, "amount", amount, writers));
        a(field(24, "text", text, searched | writers));
        a(field(25, "at", at, required | writers));
        a(field(26, "replaces", replaces, indexed | writers));
    }
};

}  // namespace rapport
