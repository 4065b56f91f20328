// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

enum class Visibility : std::uint8_t { sales, all, internal };
template <>
struct CodesOf<Visibility> {
    static constexpr std::string_view list[] = {"sales", "all", "internal"};
};

/// A remark on any record.
struct Note : Common {
    static constexpr std::uint16_t kNumber = 11;
    static constexpr std::string_view kName = "note";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::subject;
        k.root = "subject_id";
        k.append_only = true;
        k.creators = Roles(rep) | mgr | mkt | qm | pm;
        k.time = "at";
        return k;
    }

    WriteOnce<AnyId> subject_id;
    WriteOnce<Text<8000>, Personal> text;
    WriteOnce<Instant> at;
    WriteOnce<Text<80, Format::line>> author;
    WriteOnce<Visibility> visibility;  ///< for whom its author means it; hides it from nobody

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks writers = by(rep, mgr, mkt, qm, pm);
        serialize_common(a);
        a(field(16, "subject_id", subject_id, required | indexed | writers));
        a(field(17, "text", text, required | searched | writers));
        a(field(18, "at", at, indexed | writers));
        a(field(19, "author", author, writers));
        a(field(20, "visibility", visibility, writers));
    }
};

}  // namespace rapport
