// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace rapport {

/// What a person or program may do. The server enforces roles; the library mirrors them to refuse
/// early.
enum class Role : std::uint8_t { rep, mgr, mkt, qm, pm, price, dpo, admin, sys, feed };

std::string_view name_of(Role role);
std::optional<Role> role_named(std::string_view name);

/// A set of roles.
class Roles {
public:
    constexpr Roles() = default;
    constexpr Roles(Role role) : bits_(bit(role)) {}
    constexpr bool contains(Role role) const { return (bits_ & bit(role)) != 0; }
    constexpr bool empty() const { return bits_ == 0; }
    static constexpr Roles everyone() { return Roles(Role::sys).inverse() | Role::sys; }
    friend constexpr Roles operator|(Roles a, Roles b) { return Roles(a.bits_ | b.bits_, 0); }
    friend constexpr bool operator==(Roles, Roles) = default;

private:
    constexpr Roles(unsigned bits, int) : bits_(static_cast<std::uint16_t>(bits)) {}
    constexpr Roles inverse() const { return Roles(~unsigned{bits_} & 0x3FFU, 0); }
    static constexpr std::uint16_t bit(Role role) {
        return static_cast<std::uint16_t>(1U << static_cast<unsigned>(role));
    }
    std::uint16_t bits_ = 0;
};

}  // namespace rapport
