// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

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

}  // namespace rapport
