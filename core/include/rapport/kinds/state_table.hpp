// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

/// One way from state to state. Lists are names separated by blanks.
struct StateRow {
    FreeCode from;
    FreeCode to;
    Text<80, Format::line> roles;   ///< who may ask; sys = the server's own rules too
    FreeCode guard;                 ///< a condition the server knows by this name
    FreeCode code;                  ///< given instead of the guard's own when it says no
    Text<400, Format::line> needs;  ///< fields that must be set, or come with the request
    Text<400, Format::line> sets;   ///< owned fields the request may bring
    std::optional<bool> needs_reason;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("from", from, true), part("to", to, true), part("roles", roles, true),
          part("guard", guard), part("code", code), part("needs", needs), part("sets", sets),
          part("needs_reason", needs_reason));
    }
    friend bool operator==(const StateRow&, const StateRow&) = default;
};

/// The workflow of one kind as data: it replaces the built-in one, and the highest version holds,
/// also on devices built before it was written.
struct StateTable : Common {
    static constexpr std::uint16_t kNumber = 25;
    static constexpr std::string_view kName = "state_table";
    static Kind traits() {
        Kind k;
        k.home = Home::global;
        k.creators = Role::sys;
        k.time = "created_at";
        return k;
    }

    WriteOnce<FreeCode> kind;
    WriteOnce<Whole<1, 1'000'000>> version;
    WriteOnce<FreeCode> initial;  ///< the state a new record begins in
    AddWins<StateRow> rows;

    template <class Archive>
    void serialize(Archive& a) {
        serialize_common(a);
        a(field(16, "kind", kind, required | indexed | by(Role::sys)));
        a(field(17, "version", version, required | by(Role::sys)));
        a(field(18, "initial", initial, required | by(Role::sys)));
        a(field(19, "rows", rows, required | fixed | by(Role::sys)));
    }
};

}  // namespace rapport
