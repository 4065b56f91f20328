// SPDX-License-Identifier: Apache-2.0
#include "rapport/role.hpp"

#include <iterator>

namespace rapport {
namespace {

constexpr std::string_view kNames[] = {"rep",   "mgr", "mkt",   "qm",  "pm",
                                       "price", "dpo", "admin", "sys", "feed"};

}  // namespace

std::string_view name_of(Role role) {
    const auto at = static_cast<std::size_t>(role);
    return at < std::size(kNames) ? kNames[at] : std::string_view();
}

std::optional<Role> role_named(std::string_view name) {
    for (std::size_t i = 0; i < std::size(kNames); ++i)
        if (kNames[i] == name) return static_cast<Role>(i);
    return std::nullopt;
}

}  // namespace rapport
