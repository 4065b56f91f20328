// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

/// One change of state as the server made it: the audit trail of a record, in the order of
/// `version`.
struct StatusEvent : Common {
    static constexpr std::uint16_t kNumber = 14;
    static constexpr std::string_view kName = "status_event";
    static Kind traits() {
        Kind k;
        k.home = Home::subject;
        k.root = "subject_id";
        k.append_only = true;
        k.time = "created_at";
        return k;
    }

    WriteOnce<AnyId> subject_id;
    WriteOnce<FreeCode> from;
    WriteOnce<FreeCode> to;
    WriteOnce<Count> version;  ///< `state_version` of the subject after it
    WriteOnce<Text<80, Format::line>> by;
    WriteOnce<Text<4000>, Personal> reason;
    WriteOnce<Instant> at;

    template <class Archive>
    void serialize(Archive& a) {
        serialize_common(a);
        a(field(16, "subject_id", subject_id, indexed));
        a(field(17, "from", from));
        a(field(18, "to", to));
        a(field(19, "version", version));
        a(field(20, "by", by));
        a(field(21, "reason", reason));
        a(field(22, "at", at));
    }
};

}  // namespace rapport
