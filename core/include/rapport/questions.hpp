// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "rapport/kinds/answer.hpp"

/// Which questions of marketing are to be asked now. Pure: an app calls it with what its store
/// holds.
namespace rapport {

/// The situation in which a rep might ask.
struct Asking {
    const Customer* customer = nullptr;  ///< null: the rep answers himself
    std::string_view customer_scope;     ///< where the customer lives: `territory/DE-50`
    Instant now;
    AskWhen occasion = AskWhen::any_visit;  ///< what the talk is about; lost is a product talk, too
};

/// Is the question live, within its time, for this customer (or the rep), and on this occasion?
bool question_is_for(const MarketingQuestion& question, const Asking& asking);

/// How many more answers the question takes from the customer they are all from; nullopt = as many
/// as come. An answer another one replaces does not count, nor does one without an answer in it.
std::optional<std::size_t> answers_left(
    const MarketingQuestion& question,
    std::span<const std::pair<Id<Answer>, Answer>> answers_of_customer);

}  // namespace rapport
