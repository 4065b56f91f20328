// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/groups.hpp"

namespace rapport {

/// An article of the programme, written by the office.
struct Product : Common {
    static constexpr std::uint16_t kNumber = 3;
    static constexpr std::string_view kName = "product";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::global;
        k.creators = Roles(admin) | sys;
        k.time = "created_at";
        return k;
    }

    AddWins<ExternalId> external_ids;
    WriteOnce<Text<40, Format::line>> code;
    LastWriter<Text<200, Format::line>> name;
    LastWriter<Gtin> gtin;
    LastWriter<FreeCode> group;              ///< from the code list `product_group`
    LastWriter<Text<3, Format::unit>> unit;  ///< UN/ECE Rec 20
    LastWriter<bool> active;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(common_field::external_ids, "external_ids", external_ids,
                indexed | by(admin, sys)));
        a(field(16, "code", code, required | indexed | searched | by(admin, sys)));
        a(field(17, "name", name, required | searched | by(admin, sys)));
        a(field(18, "gtin", gtin, indexed | by(admin, sys)));
        a(field(19, "group", group, by(admin, sys)));
        a(field(20, "unit", unit, by(admin, sys)));
        a(field(21, "active", active, by(admin, sys)));
    }
};

}  // namespace rapport
