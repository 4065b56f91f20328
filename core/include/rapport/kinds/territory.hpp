// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

/// A sales territory; its code names the scope `territory/CODE`.
struct Territory : Common {
    static constexpr std::uint16_t kNumber = 4;
    static constexpr std::string_view kName = "territory";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::global;
        k.creators = Roles(admin) | sys;
        k.time = "created_at";
        return k;
    }

    WriteOnce<FreeCode> code;
    LastWriter<Text<200, Format::line>> name;
    LastWriter<Id<Territory>> parent;
    LastWriter<Country> country;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(16, "code", code, required | indexed | by(admin, sys)));
        a(field(17, "name", name, required | by(admin, sys)));
        a(field(18, "parent", parent, by(admin, sys)));
        a(field(19, "country", country, by(admin, sys)));
    }
};

}  // namespace rapport
