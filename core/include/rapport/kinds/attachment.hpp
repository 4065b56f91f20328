// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

enum class AttachmentRole : std::uint8_t { photo, signature, voice, document, barcode_image };
template <>
struct CodesOf<AttachmentRole> {
    static constexpr std::string_view list[] = {"photo", "signature", "voice", "document",
                                                "barcode_image"};
};

/// What is known of a photo, signature, voice note or document; its bytes travel apart, found by
/// their hash.
struct Attachment : Common {
    static constexpr std::uint16_t kNumber = 12;
    static constexpr std::string_view kName = "attachment";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::subject;
        k.root = "subject_id";
        k.creators = Roles(rep) | mgr | mkt | qm | pm;
        k.time = "created_at";
        return k;
    }

    WriteOnce<AnyId> subject_id;
    WriteOnce<AttachmentRole> role;
    WriteOnce<Text<100, Format::media_type>> media_type;
    WriteOnce<Count> size;  ///< bytes
    WriteOnce<Text<64, Format::sha256>> sha256;
    WriteOnce<Instant> captured_at;
    KeepBoth<4000, Personal> caption;
    WriteOnce<Text<64, Format::sha256>>
        signed_hash;  ///< of the canonical content a signature stands under

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks writers = by(rep, mgr, mkt, qm, pm);
        serialize_common(a);
        a(field(16, "subject_id", subject_id, required | indexed | writers));
        a(field(17, "role", role, required | writers));
        a(field(18, "media_type", media_type, required | writers));
        a(field(19, "size", size, required | writers));
        a(field(20, "sha256", sha256, required | indexed | writers));
        a(field(21, "captured_at", captured_at, writers));
        a(field(22, "caption", caption, searched | writers));
        a(field(23, "signed_hash", signed_hash, writers));
    }
};

}  // namespace rapport
