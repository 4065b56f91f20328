// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/complaint.hpp"
#include "rapport/kinds/customer.hpp"
#include "rapport/kinds/task.hpp"

namespace rapport {

enum class Reaction : std::uint8_t { pleased, neutral, unhappy, reopened };
template <>
struct CodesOf<Reaction> {
    static constexpr std::string_view list[] = {"pleased", "neutral", "unhappy", "reopened"};
};

/// Tell one customer one decision. The server makes one per (subject, decision version, customer).
struct LoopTask : Common {
    static constexpr std::uint16_t kNumber = 16;
    static constexpr std::string_view kName = "loop_task";
    static Kind traits() {
        Kind k;
        k.home = Home::customer;
        k.root = "customer_id";
        k.time = "created_at";
        return k;
    }

    WriteOnce<AnyId> subject_id;  ///< a complaint or a theme
    WriteOnce<Count> decision_version;
    WriteOnce<Id<Customer>> customer_id;
    Owned<Text<80, Format::line>> rep_id;  ///< name of the rep who owns the customer now
    Lowest<Instant> delivered_at;          ///< a device of the rep has it; the server sees that
    Lowest<Instant> rep_seen_at;           ///< an app sets it when it shows the task
    Lowest<Instant> told_at;
    LastWriter<Channel> channel;
    LastWriter<Reaction> reaction;
    Highest<TaskState> state;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(16, "subject_id", subject_id, indexed));
        a(field(17, "decision_version", decision_version));
        a(field(18, "customer_id", customer_id, indexed));
        a(field(19, "rep_id", rep_id, indexed));
        a(field(20, "delivered_at", delivered_at));
        a(field(21, "rep_seen_at", rep_seen_at, by(rep)));
        a(field(22, "told_at", told_at, by(rep)));
        a(field(23, "channel", channel, by(rep)));
        a(field(24, "reaction", reaction, by(rep)));
        a(field(25, "state", state, indexed | by(rep)));
    }
};

}  // namespace rapport
