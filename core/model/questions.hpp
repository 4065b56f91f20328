// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "rapport/questions.hpp"
#include "rapport/record.hpp"
#include "rapport/refusal.hpp"

namespace rapport {

/// What is wrong with an answer to this question: one that is not out yet, another version, nothing
/// said, an option that is not offered, a number outside the bounds.
void check_answer(const Record& answer, const Record& question, std::vector<Refusal>& out);

}  // namespace rapport
