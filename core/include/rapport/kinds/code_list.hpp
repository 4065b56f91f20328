// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

/// One code of one of the company's own lists (defect codes, product groups, ...).
struct CodeList : Common {
    static constexpr std::uint16_t kNumber = 5;
    static constexpr std::string_view kName = "code_list";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::global;
        k.creators = Roles(admin) | sys;
        k.time = "created_at";
        return k;
    }

    WriteOnce<FreeCode> list;
    WriteOnce<FreeCode> code;
    PerKey<Text<200, Format::line>> label;  ///< by BCP 47 language
    LastWriter<bool> active;
    LastWriter<Whole<0, 1'000'000>> sort;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(16, "list", list, required | indexed | by(admin, sys)));
        a(field(17, "code", code, required | indexed | by(admin, sys)));
        a(field(18, "label", label, by(admin, sys)));
        a(field(19, "active", active, by(admin, sys)));
        a(field(20, "sort", sort, by(admin, sys)));
    }
};

}  // namespace rapport
