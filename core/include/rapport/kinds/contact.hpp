// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/customer.hpp"

namespace rapport {

/// A person at a customer.
struct Contact : Common {
    static constexpr std::uint16_t kNumber = 2;
    static constexpr std::string_view kName = "contact";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::customer;
        k.root = "customer_id";
        k.creators = Roles(rep) | mgr;
        k.seen_by = Roles(rep) | mgr | qm | mkt;
        k.time = "created_at";
        return k;
    }

    AddWins<ExternalId> external_ids;
    WriteOnce<Id<Customer>> customer_id;
    LastWriter<PersonName, Personal> name;
    LastWriter<FreeCode> role_code;  ///< purchasing, quality, ...
    AddWins<Reachable<Phone>, Personal> phones;
    AddWins<Reachable<Email>, Personal> emails;
    LastWriter<Text<35, Format::language>> preferred_lang;  ///< BCP 47

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(common_field::external_ids, "external_ids", external_ids, indexed | by(rep, mgr)));
        a(field(16, "customer_id", customer_id, required | indexed | by(rep, mgr)));
        a(field(17, "name", name, searched | by(rep, mgr)));
        a(field(18, "role_code", role_code, by(rep, mgr)));
        a(field(19, "phones", phones, by(rep, mgr)));
        a(field(20, "emails", emails, by(rep, mgr)));
        a(field(21, "preferred_lang", preferred_lang, by(rep, mgr)));
    }
};

}  // namespace rapport
