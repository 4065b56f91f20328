// SPDX-License-Identifier: Apache-2.0
#include "model/questions.hpp"

#include <doctest/doctest.h>

using namespace rapport;

namespace {

Instant at(const char* text) { return *Instant::parse(text); }

MarketingQuestion live(QuestionTo who, const char* code = "") {
    MarketingQuestion q;
    q.state = QuestionState::live;
    q.target = QuestionTarget{who, code};
    q.version = 1;
    return q;
}

Id<Answer> answer_id(unsigned char n) {
    RecordId id = *RecordId::parse("0195a0f0-0000-7000-8000-000000000000");
    id.bytes[15] = n;
    return Id<Answer>(id);
}

/// Codes of what is wrong with an answer that `fill` completes.
template <class Ask, class Fill>
std::string codes(Ask ask, Fill fill) {
    MarketingQuestion question = live(QuestionTo::customers);
    ask(question);
    Answer answer;
    answer.status = AnswerStatus::answered;
    answer.question_version = 1;
    fill(answer);
    std::vector<Refusal> refusals;
    check_answer(to_record(answer, {}), to_record(question, {}), refusals);
    std::string out;
    for (const Refusal& r : refusals) out += (out.empty() ? "" : " ") + r.code + ":" + r.field;
    return out;
}

}  // namespace

TEST_CASE("a question is for whom its target names") {
    Customer customer;
    customer.segment = "dairy";
    Asking visit{&customer, "territory/DE-50", at("2026-03-04T10:00:00+01:00"), {}};
    Asking alone{nullptr, "", visit.now, {}};
    CHECK(question_is_for(live(QuestionTo::customers), visit));
    CHECK_FALSE(question_is_for(live(QuestionTo::customers), alone));
    CHECK(question_is_for(live(QuestionTo::reps), alone));
    CHECK_FALSE(question_is_for(live(QuestionTo::reps), visit));
    CHECK(question_is_for(live(QuestionTo::segment, "dairy"), visit));
    CHECK_FALSE(question_is_for(live(QuestionTo::segment, "bakery"), visit));
    CHECK(question_is_for(live(QuestionTo::territory, "DE-50"), visit));
    CHECK_FALSE(question_is_for(live(QuestionTo::territory, "DE-5"), visit));
}

TEST_CASE("a question is asked while it is live, in its time, and on its occasion") {
    const Customer customer;
    Asking visit{&customer, "territory/DE-50", at("2026-03-04T10:00:00+01:00"), {}};
    MarketingQuestion q = live(QuestionTo::customers);
    q.valid_from = at("2026-03-04T09:00:00Z");
    q.valid_until = at("2026-03-04T09:00:00Z");
    CHECK(question_is_for(q, visit));
    visit.now = at("2026-03-04T08:59:59.999Z");
    CHECK_FALSE(question_is_for(q, visit));
    visit.now = at("2026-03-04T09:00:00.001Z");
    CHECK_FALSE(question_is_for(q, visit));
    q.valid_until = std::nullopt;
    for (const QuestionState state : {QuestionState::draft, QuestionState::closed}) {
        q.state = state;
        CHECK_FALSE(question_is_for(q, visit));
    }
    q.state = QuestionState::live;
    q.ask_when = AskWhen::product_talk;
    CHECK_FALSE(question_is_for(q, visit));
    visit.occasion = AskWhen::lost;
    CHECK(question_is_for(q, visit));
    q.ask_when = AskWhen::lost;
    CHECK(question_is_for(q, visit));
    visit.occasion = AskWhen::product_talk;
    CHECK_FALSE(question_is_for(q, visit));
}

TEST_CASE("a customer is asked as often as the question allows, corrections not counted") {
    MarketingQuestion q = live(QuestionTo::customers);
    std::vector<std::pair<Id<Answer>, Answer>> answers;
    const auto give = [&](AnswerStatus status) -> Answer& {
        Answer a;
        a.status = status;
        return answers.emplace_back(answer_id(static_cast<unsigned char>(answers.size() + 1)), a)
            .second;
    };
    CHECK_FALSE(answers_left(q, answers));
    q.max_per_customer = 2;
    CHECK(answers_left(q, answers) == 2);
    give(AnswerStatus::refused);
    CHECK(answers_left(q, answers) == 2);
    give(AnswerStatus::answered);
    CHECK(answers_left(q, answers) == 1);
    give(AnswerStatus::answered).replaces = answer_id(2);
    CHECK(answers_left(q, answers) == 1);
    give(AnswerStatus::answered);
    give(AnswerStatus::answered);
    CHECK(answers_left(q, answers) == 0);
}

TEST_CASE("an answer fits its question or says why not") {
    const auto single = [](MarketingQuestion& q) {
        q.type = QuestionType::single;
        q.options = {{"yes", "Ja", "de", 1}, {"no", "Nein", "de", 2}};
    };
    CHECK(codes(single, [](Answer& a) { a.choices = {"yes"}; }) == "");
    CHECK(codes(single, [](Answer& a) { a.choices = {"no", "yes"}; }) == "too_many:choices");
    CHECK(codes(single, [](Answer& a) { a.choices = {"maybe"}; }) == "unknown_option:choices");
    CHECK(codes(single, [](Answer&) {}) == "value_missing:choices");
    CHECK(codes(single, [](Answer& a) { a.status = AnswerStatus::refused; }) == "");

    const auto scale = [](MarketingQuestion& q) {
        q.type = QuestionType::scale;
        q.min = 1;
        q.max = 5;
    };
    CHECK(codes(scale, [](Answer& a) { a.number = 5; }) == "");
    CHECK(codes(scale, [](Answer& a) { a.number = 6; }) == "out_of_range:number");
    const auto text = [](MarketingQuestion& q) { q.type = QuestionType::text; };
    CHECK(codes(text, [](Answer&) {}) == "value_missing:text");
    const auto photo = [](MarketingQuestion& q) { q.type = QuestionType::photo; };
    CHECK(codes(photo, [](Answer&) {}) == "");

    CHECK(codes([](MarketingQuestion& q) { q.state = QuestionState::draft; }, [](Answer&) {}) ==
          "question_not_live:question_id");
    CHECK(codes([](MarketingQuestion& q) { q.state = QuestionState::closed; }, [](Answer&) {}) ==
          "");  // what was asked in time may arrive late
    CHECK(codes([](MarketingQuestion& q) { q.version = 2; }, [](Answer&) {}) ==
          "other_version:question_version");
}
