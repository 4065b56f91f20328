// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

enum class ThemeState : std::uint8_t {
    open,
    under_review,
    planned,
    in_progress,
    delivered,
    declined,
    parked,
    merged
};
template <>
struct CodesOf<ThemeState> {
    static constexpr std::string_view list[] = {"open",        "under_review", "planned",
                                                "in_progress", "delivered",    "declined",
                                                "parked",      "merged"};
};

/// What many wishes ask for, decided once by product management. Readable offline, so that reps
/// join instead of writing it again.
struct Theme : Common {
    static constexpr std::uint16_t kNumber = 10;
    static constexpr std::string_view kName = "theme";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::global;
        k.creators = pm;
        k.time = "created_at";
        return k;
    }

    Owned<ThemeState> state;
    Owned<Count> state_version;
    LastWriter<Text<200, Format::line>> title;
    LastWriter<Text<8000>> description;
    LastWriter<Id<Theme>> parent;
    LastWriter<FreeCode> product_group;
    PerKey<Text<200, Format::line>> labels;  ///< by BCP 47 language
    Owned<Id<Theme>> merged_into;
    Owned<Text<4000>, Central> decision_text_internal;
    Owned<Text<4000>> decision_text_for_customer;
    Owned<Count>
        decision_version;  ///< raised with each decision; each version is told to each customer

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(common_field::state, "state", state, indexed));
        a(field(common_field::state_version, "state_version", state_version));
        a(field(16, "title", title, required | searched | by(pm)));
        a(field(17, "description", description, searched | by(pm)));
        a(field(18, "parent", parent, by(pm)));
        a(field(19, "product_group", product_group, by(pm)));
        a(field(20, "labels", labels, by(pm)));
        a(field(21, "merged_into", merged_into));
        a(field(22, "decision_text_internal", decision_text_internal));
        a(field(23, "decision_text_for_customer", decision_text_for_customer));
        a(field(24, "decision_version", decision_version));
    }
};

}  // namespace rapport
