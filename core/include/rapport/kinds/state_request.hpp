// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

enum class RequestVerdict : std::uint8_t { accepted, refused, already_there };
template <>
struct CodesOf<RequestVerdict> {
    static constexpr std::string_view list[] = {"accepted", "refused", "already_there"};
};

/// A person asks that a record change its state; the server judges it once and answers on it.
struct StateRequest : Common {
    static constexpr std::uint16_t kNumber = 13;
    static constexpr std::string_view kName = "state_request";
    static Kind traits() {
        Kind k;
        k.home = Home::subject;
        k.root = "subject_id";
        k.append_only = true;
        k.creators = Roles::everyone();
        k.time = "created_at";
        return k;
    }

    WriteOnce<AnyId> subject_id;
    WriteOnce<Count>
        expected_version;  ///< `state_version` of the subject as the person saw it; 1 at first
    WriteOnce<FreeCode> to;
    WriteOnce<Text<4000>, Personal> reason;
    PerKey<Text<4000>, Personal>
        fields;  ///< owned fields to set with it, by name, as a command line writes them
    Owned<RequestVerdict> verdict;
    Owned<FreeCode> verdict_code;
    Owned<Text<4000>> verdict_sentence;  ///< English
    Owned<Instant> verdict_at;
    Owned<Text<80, Format::line>> verdict_field;
    Owned<Text<4000>> verdict_parameters;  ///< one a line

    template <class Archive>
    void serialize(Archive& a) {
        const Marks all = by(Roles::everyone());
        serialize_common(a);
        a(field(16, "subject_id", subject_id, required | indexed | all));
        a(field(17, "expected_version", expected_version, required | all));
        a(field(18, "to", to, required | all));
        a(field(19, "reason", reason, all));
        a(field(20, "fields", fields, all));
        a(field(21, "verdict", verdict));
        a(field(22, "verdict_code", verdict_code));
        a(field(23, "verdict_sentence", verdict_sentence));
        a(field(24, "verdict_at", verdict_at));
        a(field(25, "verdict_field", verdict_field));
        a(field(26, "verdict_parameters", verdict_parameters));
    }
};

}  // namespace rapport
