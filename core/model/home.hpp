// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "rapport/record.hpp"

namespace rapport {

/// The scope of a record as far as it says so itself; empty if that hangs on another record or on
/// its device (a customer's territory, what names a customer or subject). `author` is who captures
/// it.
std::string own_scope(const Record& record, std::string_view author);

}  // namespace rapport
