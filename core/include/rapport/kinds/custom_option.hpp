// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/groups.hpp"

namespace rapport {

/// What of an option needs nobody's approval.
struct AllowedRange {
    Minor min;
    Minor max;
    Text<3, Format::unit> unit;  ///< UN/ECE Rec 20
    template <class Archive>
    void serialize(Archive& a) {
        a(part("min", min, true), part("max", max, true), part("unit", unit));
    }
    friend bool operator==(const AllowedRange&, const AllowedRange&) = default;
};

/// Something a product can be made to order in: a width, a colour, a print.
struct CustomOption : Common {
    static constexpr std::uint16_t kNumber = 24;
    static constexpr std::string_view kName = "custom_option";
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
    LastWriter<FreeCode> product_group;
    LastWriter<AllowedRange> allowed;
    LastWriter<Whole<0, 3650>> lead_time_days;
    LastWriter<Role> approver;
    LastWriter<bool> active;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks office = by(admin, sys);
        serialize_common(a);
        a(field(16, "code", code, required | indexed | office));
        a(field(17, "name", name, required | searched | office));
        a(field(18, "product_group", product_group, office));
        a(field(19, "allowed", allowed, office));
        a(field(20, "lead_time_days", lead_time_days, office));
        a(field(21, "approver", approver, office));
        a(field(22, "active", active, office));
    }
};

}  // namespace rapport
