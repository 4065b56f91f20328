// SPDX-License-Identifier: Apache-2.0
#include "rapport/error.hpp"

namespace rapport {

std::string_view name_of(ErrorCode code) {
    switch (code) {
#define RAPPORT_ERROR(number, name, sentence) \
    case ErrorCode::name:                     \
        return #name;
#include "rapport/error.def"
#undef RAPPORT_ERROR
    }
    return "unknown";
}

}  // namespace rapport
