// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/id.hpp"

namespace rapport {

/// Why a record or a bundle is not accepted: an everyday answer, not an exception.
struct Refusal {
    RecordId record;       ///< nil when it is about the whole bundle
    std::string field;     ///< name of the field or `group.part`; empty when it is about the record
    std::string code;      ///< stable, for programs: `required`, `too_long`, `gtin_check_digit`,
                           ///< `not_writable`, ...
    std::string sentence;  ///< English, as the side that refused says it; holds no customer data
    std::vector<std::string> parameters{};  ///< what the sentences of the code are filled with
    friend bool operator==(const Refusal&, const Refusal&) = default;

    template <class A>
    void serialize(A& a) {
        a(record, field, code, sentence, parameters);
    }
};

enum class Language : std::uint8_t { english, german };
/// The language that a locale or a language tag names: `de`, `de_AT.UTF-8`, `de-CH`, `en_GB`.
/// Nullopt for any other.
std::optional<Language> language_named(std::string_view name);

/// The refusal for the person who is to repair it, fields in back-ticks. A code that this build
/// does not know, because the server is newer, is told in the English sentence it came with.
std::string sentence(const Refusal& refusal, Language language);

struct Record;
/// Why a state request was turned down, for `sentence`; nullopt while it is not, and for other
/// records.
std::optional<Refusal> turned_down(const Record& state_request);

}  // namespace rapport
