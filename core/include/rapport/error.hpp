// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "rapport/id.hpp"

namespace rapport {

enum class ErrorCode : std::int32_t {
#define RAPPORT_ERROR(number, name, sentence) name = number,
#include "rapport/error.def"
#undef RAPPORT_ERROR
};
std::string_view name_of(ErrorCode code);

/// A failure of the world: disk, network, peer, damaged file, or a wrong argument. `detail()` is
/// the SQLite, HTTP or errno number when there is one, else 0. `what()` is a sentence for the
/// developer and never holds customer data.
class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& sentence, int detail = 0)
        : std::runtime_error(sentence), code_(code), detail_(detail) {}
    ErrorCode code() const { return code_; }
    int detail() const { return detail_; }

private:
    ErrorCode code_;
    int detail_;
};

/// Why a record or a bundle is not accepted: an everyday answer, not an exception.
struct Refusal {
    RecordId record;       ///< nil when it is about the whole bundle
    std::string field;     ///< name of the field or `group.part`; empty when it is about the record
    std::string code;      ///< stable, for programs: `required`, `too_long`, `gtin_check_digit`,
                           ///< `not_writable`, ...
    std::string sentence;  ///< English, for people; holds no customer data
    friend bool operator==(const Refusal&, const Refusal&) = default;
};

}  // namespace rapport
