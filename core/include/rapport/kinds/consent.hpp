// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/contact.hpp"

namespace rapport {

enum class ConsentPurpose : std::uint8_t { email_marketing, photo, voice, location, profiling };
template <>
struct CodesOf<ConsentPurpose> {
    static constexpr std::string_view list[] = {"email_marketing", "photo", "voice", "location",
                                                "profiling"};
};

/// GDPR Art. 6(1) a to f.
enum class LawfulBasis : std::uint8_t {
    consent,
    contract,
    legal_obligation,
    vital_interest,
    public_task,
    legitimate_interest
};
template <>
struct CodesOf<LawfulBasis> {
    static constexpr std::string_view list[] = {"consent",          "contract",
                                                "legal_obligation", "vital_interest",
                                                "public_task",      "legitimate_interest"};
};

enum class ConsentMethod : std::uint8_t { written, spoken, web, email, other };
template <>
struct CodesOf<ConsentMethod> {
    static constexpr std::string_view list[] = {"written", "spoken", "web", "email", "other"};
};

/// What a contact allowed, to which text and how. One row per consent; it is withdrawn, never
/// changed.
struct Consent : Common {
    static constexpr std::uint16_t kNumber = 19;
    static constexpr std::string_view kName = "consent";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::subject;
        k.root = "contact_id";
        k.creators = Roles(rep) | mgr | mkt | dpo;
        k.seen_by = Roles(rep) | mgr | mkt | qm | dpo;
        k.time = "given_at";
        return k;
    }

    WriteOnce<Id<Contact>> contact_id;
    WriteOnce<ConsentPurpose> purpose;
    WriteOnce<LawfulBasis> lawful_basis;
    WriteOnce<Text<80, Format::line>> text_version;  ///< of the text the contact agreed to
    WriteOnce<ConsentMethod> method;
    WriteOnce<Instant> given_at;
    Absorbing<> withdrawn;
    Lowest<Instant> withdrawn_at;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        const Marks writers = by(rep, mgr, mkt, dpo);
        serialize_common(a);
        a(field(16, "contact_id", contact_id, required | indexed | writers));
        a(field(17, "purpose", purpose, required | indexed | writers));
        a(field(18, "lawful_basis", lawful_basis, required | writers));
        a(field(19, "text_version", text_version, required | writers));
        a(field(20, "method", method, required | writers));
        a(field(21, "given_at", given_at, required | writers));
        a(field(22, "withdrawn", withdrawn, writers));
        a(field(23, "withdrawn_at", withdrawn_at, writers));
    }
};

}  // namespace rapport
