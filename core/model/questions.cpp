// SPDX-License-Identifier: Apache-2.0
#include "model/questions.hpp"

#include <algorithm>
#include <set>

#include "model/refusals.hpp"
#include "model/validation.hpp"

namespace rapport {

bool question_is_for(const MarketingQuestion& question, const Asking& asking) {
    if (question.state != QuestionState::live || !question.target) return false;
    if (question.valid_from && asking.now.at < question.valid_from->at) return false;
    if (question.valid_until && asking.now.at > question.valid_until->at) return false;

    const Customer* customer = asking.customer;
    const bool on_occasion =
        !question.ask_when || *question.ask_when == AskWhen::any_visit ||
        *question.ask_when == AskWhen::date_range || *question.ask_when == asking.occasion ||
        (*question.ask_when == AskWhen::product_talk && asking.occasion == AskWhen::lost);
    if (!on_occasion) return false;
    switch (question.target->who) {
        case QuestionTo::reps:
            return !customer;
        case QuestionTo::customers:
            return customer;
        case QuestionTo::segment:
            return customer && customer->segment && *customer->segment == question.target->code;
        case QuestionTo::territory:
            return customer && asking.customer_scope == "territory/" + question.target->code;
    }
    return false;
}

std::optional<std::size_t> answers_left(
    const MarketingQuestion& question,
    std::span<const std::pair<Id<Answer>, Answer>> answers_of_customer) {
    if (!question.max_per_customer) return std::nullopt;
    std::set<RecordId> replaced;
    for (const auto& [id, answer] : answers_of_customer)
        if (answer.replaces) replaced.insert(*answer.replaces);
    const auto given = static_cast<std::size_t>(std::count_if(
        answers_of_customer.begin(), answers_of_customer.end(), [&](const auto& entry) {
            return entry.second.status == AnswerStatus::answered && !replaced.contains(entry.first);
        }));
    const auto most = static_cast<std::size_t>(question.max_per_customer->value);
    return given < most ? most - given : 0;
}

namespace {

class AnswerCheck {
public:
    AnswerCheck(const Record& record, const MarketingQuestion& question, std::vector<Refusal>& out)
        : record_(record), answer_(from_record<Answer>(record)), question_(question), out_(out) {}

    void run() {
        if (question_.state == QuestionState::draft) refuse("question_id", "question_not_live");
        if (question_.version != answer_.question_version)
            refuse("question_version", "other_version");
        if (answer_.status != AnswerStatus::answered || !question_.type) return;
        switch (*question_.type) {
            case QuestionType::single:
            case QuestionType::multi:
                return check_choices();
            case QuestionType::scale:
            case QuestionType::number:
                return check_number(question_.min ? question_.min->value : INT64_MIN,
                                    question_.max ? question_.max->value : INT64_MAX);
            case QuestionType::yes_no:
                return check_number(0, 1);
            case QuestionType::money:
                return needed("amount", answer_.amount.has_value());
            case QuestionType::text:
                return needed("text", answer_.text.has_value());
            case QuestionType::photo:
                return;  // an attachment names the answer
        }
    }

private:
    void refuse(const char* field, RefusalCode code, std::vector<std::string> parameters = {}) {
        out_.push_back(refusal(record_.id, field, code, std::move(parameters)));
    }
    void needed(const char* field, bool there) {
        if (!there) refuse(field, refusal_code::kValueMissing);
    }
    void check_choices() {
        const auto& choices = answer_.choices.elements;
        needed("choices", !choices.empty());
        if (*question_.type == QuestionType::single && choices.size() > 1)
            refuse("choices", refusal_code::kTooMany, {"choice"});
        for (const FreeCode& choice : choices)
            if (std::none_of(question_.options.elements.begin(), question_.options.elements.end(),
                             [&](const QuestionOption& o) { return o.code == choice; }))
                refuse("choices", "unknown_option");
    }
    void check_number(std::int64_t min, std::int64_t max) {
        needed("number", answer_.number.has_value());
        if (answer_.number && (*answer_.number < min || *answer_.number > max))
            refuse("number", refusal_code::kOutOfRange, {"question"});
    }

    const Record& record_;
    const Answer answer_;
    const MarketingQuestion& question_;
    std::vector<Refusal>& out_;
};

}  // namespace

void check_answer(const Record& answer, const Record& question, std::vector<Refusal>& out) {
    const auto* erased = answer.value(common_field::erased).integer();
    if (erased && *erased != 0) return;
    AnswerCheck(answer, from_record<MarketingQuestion>(question), out).run();
}

}  // namespace rapport
