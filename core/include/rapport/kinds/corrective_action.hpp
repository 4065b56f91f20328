// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/complaint.hpp"

namespace rapport {

/// 8D: D3, D5/D6 and D7.
enum class ActionStep : std::uint8_t { containment, corrective, preventive };
template <>
struct CodesOf<ActionStep> {
    static constexpr std::string_view list[] = {"containment", "corrective", "preventive"};
};

/// What quality does so that a complaint does not come back.
struct CorrectiveAction : Common {
    static constexpr std::uint16_t kNumber = 26;
    static constexpr std::string_view kName = "corrective_action";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::subject;
        k.root = "subject_id";
        k.creators = qm;
        k.time = "created_at";
        return k;
    }

    WriteOnce<Id<Complaint>> subject_id;
    LastWriter<ActionStep> step;
    LastWriter<Text<4000>> text;
    LastWriter<Text<80, Format::line>> owner;
    LastWriter<Instant> due_at;
    LastWriter<Instant> done_at;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(16, "subject_id", subject_id, required | indexed | by(qm)));
        a(field(17, "step", step, required | by(qm)));
        a(field(18, "text", text, required | searched | by(qm)));
        a(field(19, "owner", owner, by(qm)));
        a(field(20, "due_at", due_at, indexed | by(qm)));
        a(field(21, "done_at", done_at, by(qm)));
    }
};

}  // namespace rapport
