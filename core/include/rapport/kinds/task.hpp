// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

enum class TaskPriority : std::uint8_t { low, normal, high, urgent };
template <>
struct CodesOf<TaskPriority> {
    static constexpr std::string_view list[] = {"low", "normal", "high", "urgent"};
};

/// In rising order: done wins over cancelled, cancelled over open.
enum class TaskState : std::uint8_t { open, cancelled, done };
template <>
struct CodesOf<TaskState> {
    static constexpr std::string_view list[] = {"open", "cancelled", "done"};
};

/// Something a person is to do, perhaps about a record.
struct Task : Common {
    static constexpr std::uint16_t kNumber = 15;
    static constexpr std::string_view kName = "task";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::person;
        k.root = "subject_id";
        k.creators = Roles(rep) | mgr | qm | pm;
        k.time = "created_at";
        return k;
    }

    WriteOnce<AnyId> subject_id;
    LastWriter<Text<4000>, Personal> text;
    LastWriter<Instant> due_at;
    LastWriter<Text<80, Format::line>> assignee;  ///< whose copy it is; the author's if unset
    Highest<TaskPriority> priority;
    Highest<TaskState> state;
    WriteOnce<FreeCode> source_rule;  ///< of the server's rule that made it

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks writers = by(rep, mgr, qm, pm);
        serialize_common(a);
        a(field(16, "subject_id", subject_id, indexed | writers));
        a(field(17, "text", text, required | searched | writers));
        a(field(18, "due_at", due_at, indexed | writers));
        a(field(19, "assignee", assignee, writers));
        a(field(20, "priority", priority, writers));
        a(field(21, "state", state, indexed | writers));
        a(field(22, "source_rule", source_rule));
    }
};

}  // namespace rapport
