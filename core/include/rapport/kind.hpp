// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cassert>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/field.hpp"

namespace rapport {

/// One field of a kind, as everything that is written once over all kinds sees it: columns, wire,
/// JSON, merge, validation.
struct Field {
    std::uint16_t number = 0;  ///< permanent, never reused
    std::string name;
    Policy policy = Policy::last_writer;
    TypeInfo type;
    Marks marks;
    Roles seen_by;         ///< empty = everybody in the record's scope
    bool central = false;  ///< never leaves for a device
    Disclosure disclosed_from =
        Disclosure::none;  ///< what its record must disclose for it to leave
    bool personal = false;
    std::size_t offset = 0;
    std::size_t size = 0;
    Content (*read)(const void* member) = nullptr;
    void (*write)(void* member, const Content& content) = nullptr;

    bool is_set() const { return policy == Policy::add_wins; }
    bool is_keyed() const { return policy == Policy::add_wins || policy == Policy::per_key; }
    /// May a device of `role` receive it from a record that discloses so much?
    bool visible_to(Role role, Disclosure disclosed = Disclosure::none) const {
        return !central && (seen_by.empty() || seen_by.contains(role)) &&
               (disclosed >= disclosed_from || role == Role::price);
    }
};

/// Where a record of a kind lives.
enum class Home : std::uint8_t {
    territory,  ///< its own `territory/CODE` (Customer)
    customer,   ///< the territory of the customer its root field names
    subject,    ///< wherever the record its `subject_id` names lives
    global,
    person,              ///< `rep/NAME`: of its assignee, else of its author
    target,              ///< the territory its field `target` names, else global
    policy,              ///< `policy/ROLE` of its field `role`
    customer_or_person,  ///< as customer; without one `rep/NAME` of its author
};

/// A record kind: its permanent number, its name in every face, and its fields in the order of
/// their list.
struct Kind {
    std::uint16_t number = 0;
    std::string name;
    Home home = Home::customer;
    std::string_view root;  ///< name of the field through which the home is found; empty for global
                            ///< and territory
    bool append_only = false;     ///< rows are only added, never changed by a device
    Roles creators;               ///< roles whose devices may create one
    Roles seen_by;                ///< roles whose devices receive it; empty = everybody in scope
    std::string_view open_state;  ///< its own fields are edited only in this state; empty = in all
    std::string_view time;        ///< the field that says when it happened, for time queries
    std::vector<Field> fields;
    std::size_t size = 0;  ///< of the struct

    const Field* field(std::string_view name) const;
    const Field* field(std::uint16_t number) const;
    /// The field at this byte of the struct.
    const Field& field_at(std::size_t offset) const;
};

/// All kinds of this library, by number. Immutable after start-up; thread-safe.
const std::vector<const Kind*>& all_kinds();
const Kind* kind_named(std::string_view name);
const Kind* kind_numbered(std::uint16_t number);

/// Numbers of the common fields every kind has.
namespace common_field {
inline constexpr std::uint16_t created_at = 1, created_by = 2, device_id = 3, lang = 4,
                               schema_version = 5, erased = 6, ext = 7, external_ids = 8, state = 9,
                               state_version = 10;
inline constexpr std::uint16_t first_own = 16;  ///< a kind's own fields start here
}  // namespace common_field

/// The schema this build writes. Raised with every field or kind added.
inline constexpr std::int64_t kSchemaVersion = 1;

/// Fields that every kind has; the first base of each kind's struct.
struct Common {
    WriteOnce<Instant> created_at;
    WriteOnce<Text<80, Format::line>> created_by;  ///< name of the rep or office user
    WriteOnce<Text<16, Format::line>> device_id;   ///< the device file, 16 hex digits
    WriteOnce<Text<35, Format::language>> lang;    ///< BCP 47
    WriteOnce<Count> schema_version;
    Absorbing<> erased;
    PerKey<Text<2000>> ext;  ///< customer-defined fields

    template <class Archive>
    void serialize_common(Archive& a) {
        namespace n = common_field;
        const Marks all{.writers = Roles::everyone(), .lowered_by = {}};
        a(field(n::created_at, "created_at", created_at, all | required),
          field(n::created_by, "created_by", created_by, all),
          field(n::device_id, "device_id", device_id, all), field(n::lang, "lang", lang, all),
          field(n::schema_version, "schema_version", schema_version, all),
          field(n::erased, "erased", erased), field(n::ext, "ext", ext, all));
    }
};

/// {system, id} of a record in another system; unique per tenant and system. Written `@erp:4711` on
/// import.
struct ExternalId {
    Text<40, Format::name> system;
    Text<80, Format::line> id;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("system", system, true), part("id", id, true));
    }
    friend bool operator==(const ExternalId&, const ExternalId&) = default;
};

/// The table of a kind's struct, built once on first use from its `serialize`.
template <class K>
const Kind& kind_of();

}  // namespace rapport

#include "rapport/detail/field_table.hpp"
