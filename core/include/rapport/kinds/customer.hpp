// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/groups.hpp"

namespace rapport {

enum class CustomerState : std::uint8_t { prospect, active, dormant, lost, merged };
template <>
struct CodesOf<CustomerState> {
    static constexpr std::string_view list[] = {"prospect", "active", "dormant", "lost", "merged"};
};

enum class CustomerClass : std::uint8_t { a, b, c, d };
template <>
struct CodesOf<CustomerClass> {
    static constexpr std::string_view list[] = {"A", "B", "C", "D"};
};

/// A company or person the reps visit. Its territory is the home of all that names it.
struct Customer : Common {
    static constexpr std::uint16_t kNumber = 1;
    static constexpr std::string_view kName = "customer";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::territory;
        k.creators = Roles(rep) | mgr | mkt;
        k.time = "created_at";
        return k;
    }

    AddWins<ExternalId> external_ids;
    Owned<CustomerState> state;
    Owned<Count> state_version;
    LastWriter<Text<200, Format::line>, Personal> name;
    LastWriter<Text<200, Format::line>, Personal> legal_name;
    LastWriter<Address, Personal> address;
    LastWriter<Geo, Personal> geo;
    LastWriter<Phone, Personal> phone;
    LastWriter<Email, Personal> email;
    LastWriter<Text<500, Format::url>> website;
    LastWriter<Text<20, Format::vat_id>> vat_id;
    LastWriter<Text<13, Format::gln>> gln;
    LastWriter<Text<10, Format::nace>> industry;
    LastWriter<FreeCode> segment;
    LastWriter<CustomerClass> class_sales;
    LastWriter<CustomerClass> class_mkt;
    Owned<CustomerClass> class_agreed;
    Owned<Money, Central> rev12;  ///< revenue of the last 12 months
    Owned<Instant, Central> revenue_as_of;
    AddWins<Text<60, Format::line>> tags;
    Owned<Id<Customer>> merged_into;
    KeepBoth<4000, Personal> remarks;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        namespace n = common_field;
        serialize_common(a);
        a(field(n::external_ids, "external_ids", external_ids, indexed | by(rep, mgr, mkt)));
        a(field(n::state, "state", state, indexed));
        a(field(n::state_version, "state_version", state_version));
        a(field(16, "name", name, required | indexed | searched | by(rep, mgr, mkt)));
        a(field(17, "legal_name", legal_name, searched | by(rep, mgr, mkt)));
        a(field(18, "address", address, searched | by(rep, mgr)));
        a(field(19, "geo", geo, by(rep)));
        a(field(20, "phone", phone, by(rep, mgr)));
        a(field(21, "email", email, by(rep, mgr)));
        a(field(22, "website", website, by(rep, mgr)));
        a(field(23, "vat_id", vat_id, by(rep, mgr)));
        a(field(24, "gln", gln, by(rep, mgr)));
        a(field(25, "industry", industry, by(rep, mgr)));
        a(field(26, "segment", segment, by(mkt)));
        a(field(27, "class_sales", class_sales, by(rep, mgr)));
        a(field(28, "class_mkt", class_mkt, by(mkt)));
        a(field(29, "class_agreed", class_agreed));
        a(field(30, "rev12", rev12));
        a(field(31, "revenue_as_of", revenue_as_of));
        a(field(32, "tags", tags, by(rep, mgr, mkt)));
        a(field(33, "merged_into", merged_into, indexed));
        a(field(34, "remarks", remarks, searched | by(rep, mgr)));
    }
};

}  // namespace rapport
