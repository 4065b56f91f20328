// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/refusal.hpp"

/// How refusals are made: their codes and sentences stand in refusal.def.
namespace rapport {

namespace detail {
inline constexpr std::string_view kRefusalCodes[] = {
#define RAPPORT_REFUSAL(code, form, english, german) code,
#include "model/refusal.def"
#undef RAPPORT_REFUSAL
};
constexpr bool has_sentence(std::string_view code) {
    for (const std::string_view known : kRefusalCodes)
        if (known == code) return true;
    return false;
}
}  // namespace detail

/// A code that refusal.def has sentences for in every language; another one does not compile.
class RefusalCode {
public:
    consteval RefusalCode(const char* code) : text_(code) {
        if (!detail::has_sentence(code)) throw "the code has no sentence in refusal.def";
    }
    constexpr std::string_view text() const { return text_; }
    friend constexpr bool operator==(const RefusalCode& a, const RefusalCode& b) {
        return a.text() == b.text();
    }

private:
    const char* text_;
};

/// A refusal with its English sentence. Of a code with several sentences the first parameter names
/// the form.
Refusal refusal(const RecordId& record, std::string_view field, RefusalCode code,
                std::vector<std::string> parameters = {});

/// First parameter of a refusal under a code that a state table brings; the second is the code of
/// the guard, whose sentence it has.
inline constexpr std::string_view kSaidByGuard = "guard";

/// The sentence of a code by refusal.def; empty for a code or form that is not there.
std::string sentence_of(std::string_view code, std::string_view field,
                        const std::vector<std::string>& parameters, Language language);

/// One line of refusal.def.
struct RefusalText {
    std::string_view code, form, english, german;
};
/// All of them, in the order of the list.
const std::vector<RefusalText>& refusal_texts();

}  // namespace rapport
