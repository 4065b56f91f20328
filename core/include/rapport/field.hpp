// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "rapport/id.hpp"
#include "rapport/instant.hpp"
#include "rapport/role.hpp"
#include "rapport/value.hpp"

/// The types of which a record kind is made. A field's type says how two offline edits of it meet
/// (its policy), who may see it (its audience) and whether it is personal data; one `serialize` per
/// kind lists the fields with their numbers.
namespace rapport {

/// How concurrent writes of a field meet. Never changes for a field number: another policy is
/// another number.
enum class Policy : std::uint8_t {
    write_once,   ///< the smallest (stamp, dot) of first values stays; others are a conflict
    last_writer,  ///< the largest (stamp, dot) shows; a value that lost unseen is a conflict until
                  ///< somebody writes over it
    keep_both,    ///< all concurrent texts show
    add_wins,     ///< a set: an add survives a remove that had not seen it
    per_key,      ///< a map: last writer per key
    highest,    ///< the highest in the type's order shows; lowering is a command of the roles named
    lowest,     ///< the lowest shows
    owned,      ///< only the server writes it
    absorbing,  ///< once true nothing makes it false
};

/// What a value looks like.
enum class Shape : std::uint8_t { boolean, integer, text, code, instant, reference, group };

/// The standard a text follows; validation and messages are shared by device and server.
enum class Format : std::uint8_t {
    any,
    line,
    e164,
    email,
    url,
    country,
    currency,
    language,
    gtin,
    gln,
    vat_id,
    nace,
    unit,
    sha256,
    media_type,
    scope,
    name
};

struct Kind;

struct PartInfo;
struct TypeInfo {
    Shape shape = Shape::text;
    Format format = Format::any;
    std::int64_t min = 0;  ///< integer: lowest value
    std::int64_t max = 0;  ///< integer: highest value; text and code: longest in code points
    std::span<const std::string_view>
        codes;                        ///< code: the known ones in their order; empty = any code
    std::string_view refers_to;       ///< reference: the kind's name; empty = any kind
    std::span<const PartInfo> parts;  ///< group
};
struct PartInfo {
    std::string_view name;
    TypeInfo type;
    bool required = false;
};

// ---- scalar types

/// UTF-8 in NFC, at most `Max` code points; the store normalises on capture.
template <int Max, Format F = Format::any>
struct Text : std::string {
    using std::string::string;
    Text() = default;
    Text(std::string s) : std::string(std::move(s)) {}
    static constexpr int kMax = Max;
    static constexpr Format kFormat = F;
};
using Phone = Text<16, Format::e164>;
using Email = Text<254, Format::email>;
using Country = Text<2, Format::country>;
using Currency = Text<3, Format::currency>;
using Gtin = Text<14, Format::gtin>;      ///< stored as 14 digits
using FreeCode = Text<40, Format::name>;  ///< a code from a CodeList of the company

/// An integer with its bounds.
template <std::int64_t Min, std::int64_t Max>
struct Whole {
    std::int64_t value = 0;
    Whole() = default;
    Whole(std::int64_t v) : value(v) {}
    operator std::int64_t() const { return value; }
    friend bool operator==(const Whole&, const Whole&) = default;
    template <class I>
    requires std::is_integral_v<I>
    friend bool operator==(const Whole& a, I b) { return a.value == b; }
};
using Count = Whole<0, 9'007'199'254'740'991>;
/// Money can exceed 2^53 in minor units; JSON then carries it as a string.
using Minor = Whole<INT64_MIN, INT64_MAX>;

/// A reference to any kind.
struct AnyId : RecordId {
    AnyId() = default;
    AnyId(const RecordId& id) : RecordId(id) {}
};

/// Specialise with `static constexpr std::string_view list[]`, codes in the order of the
/// enumerators from 0.
template <class E>
struct CodesOf;

template <>
struct CodesOf<Role> {
    static constexpr std::string_view list[] = {"rep",   "mgr", "mkt",   "qm",  "pm",
                                                "price", "dpo", "admin", "sys", "feed"};
};

/// How much of a record leaves the centre, in rising order. The record carries its own level in its
/// field `disclosure`; role price sees all.
enum class Disclosure : std::uint8_t { none, verdict, limit, full };
template <>
struct CodesOf<Disclosure> {
    static constexpr std::string_view list[] = {"none", "verdict", "limit", "full"};
};

template <class T>
struct TypeOf;  // info(), to_value(const T&), from_value(const Value&) -> std::optional<T>

// ---- groups

template <class T>
struct Part {
    const char* name;
    T& member;
    bool required;
};
template <class T>
Part<T> part(const char* name, T& member, bool required = false) {
    return {name, member, required};
}

/// An amount in minor units of its currency; the exponent is the currency's (EUR 2, JPY 0, TND 3).
struct Money {
    Minor minor;
    Currency currency;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("minor", minor, true), part("currency", currency, true));
    }
    friend bool operator==(const Money&, const Money&) = default;
};
/// WGS 84 in units of 1e-7 degree.
struct Geo {
    Whole<-900'000'000, 900'000'000> lat_e7;
    Whole<-1'800'000'000, 1'800'000'000> lon_e7;
    std::optional<Whole<0, 1'000'000>> accuracy_m;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("lat_e7", lat_e7, true), part("lon_e7", lon_e7, true),
          part("accuracy_m", accuracy_m));
    }
    friend bool operator==(const Geo&, const Geo&) = default;
};

// ---- traits

struct Personal {};  ///< personal data: an erasure order removes it
struct Central {};   ///< never sent to a device
template <Role... Rs>
struct SeenBy {};  ///< sent only to devices of these roles
template <Disclosure From>
struct Disclosed {};  ///< sent only if its record discloses at least so much

namespace detail {
struct NoTrait {
    static constexpr bool personal = false, central = false;
    static constexpr Roles seen_by{};
    static constexpr Disclosure disclosed_from = Disclosure::none;
};
template <class Trait>
struct TraitOf : NoTrait {};
template <>
struct TraitOf<Personal> : NoTrait {
    static constexpr bool personal = true;
};
template <>
struct TraitOf<Central> : NoTrait {
    static constexpr bool central = true;
};
template <Role... Rs>
struct TraitOf<SeenBy<Rs...>> : NoTrait {
    static constexpr Roles seen_by = (Roles(Rs) | ...);
};
template <Disclosure From>
struct TraitOf<Disclosed<From>> : NoTrait {
    static constexpr Disclosure disclosed_from = From;
};
/// What all traits of a field say together.
template <class... Traits>
struct TraitsOf {
    static constexpr bool personal = (TraitOf<Traits>::personal || ... || false);
    static constexpr bool central = (TraitOf<Traits>::central || ... || false);
    static constexpr Roles seen_by = (Roles{} | ... | TraitOf<Traits>::seen_by);
    static constexpr Disclosure disclosed_from =
        std::max({Disclosure::none, TraitOf<Traits>::disclosed_from...});
};
}  // namespace detail

// ---- fields
// All of one alignment, so that a struct of fields has no padding in which an unlisted one could
// hide.

/// One value or none. Assigning sets it; reading an unset one is `std::nullopt`.
template <class T, Policy P, class... Traits>
struct alignas(8) Register : std::optional<T> {
    using Element = T;
    using Base = std::optional<T>;
    static constexpr Policy kPolicy = P;
    using Base::Base;
    Register() = default;
    template <class U, class = std::enable_if_t<std::is_convertible_v<U, T> &&
                                                !std::is_base_of_v<Register, std::decay_t<U>>>>
    Register& operator=(U&& value) {
        Base::operator=(T(std::forward<U>(value)));
        return *this;
    }
    Register& operator=(std::nullopt_t) {
        this->reset();
        return *this;
    }
};

/// Without it a comparison of two registers could be one of optionals or one of an optional and its
/// value.
template <class T, Policy P, class... Traits>
bool operator==(const Register<T, P, Traits...>& a, const Register<T, P, Traits...>& b) {
    return static_cast<const std::optional<T>&>(a) == static_cast<const std::optional<T>&>(b);
}

template <class T, class... Traits>
using WriteOnce = Register<T, Policy::write_once, Traits...>;
template <class T, class... Traits>
using LastWriter = Register<T, Policy::last_writer, Traits...>;
template <class T, class... Traits>
using Highest = Register<T, Policy::highest, Traits...>;
template <class T, class... Traits>
using Lowest = Register<T, Policy::lowest, Traits...>;
template <class T, class... Traits>
using Owned = Register<T, Policy::owned, Traits...>;
template <class... Traits>
using Absorbing = Register<bool, Policy::absorbing, Traits...>;

/// Longer free text. Concurrent edits are both kept as siblings until a person who saw them writes
/// one text.
template <int Max, class... Traits>
struct alignas(8) KeepBoth {
    using Element = Text<Max>;
    static constexpr Policy kPolicy = Policy::keep_both;
    std::vector<std::string> siblings;  ///< oldest first; normally none or one

    KeepBoth() = default;
    KeepBoth(std::string text) : siblings{std::move(text)} {}
    KeepBoth(const char* text) : siblings{text} {}
    bool has_value() const { return !siblings.empty(); }
    /// All siblings, joined by an empty line.
    std::string text() const;
    friend bool operator==(const KeepBoth&, const KeepBoth&) = default;
};

namespace detail {
std::string joined(const std::vector<std::string>& siblings);
}
template <int Max, class... Traits>
std::string KeepBoth<Max, Traits...>::text() const {
    return detail::joined(siblings);
}

/// A set in which an add survives a remove that had not seen it.
template <class T, class... Traits>
struct alignas(8) AddWins {
    using Element = T;
    static constexpr Policy kPolicy = Policy::add_wins;
    std::vector<T> elements;

    AddWins() = default;
    AddWins(std::initializer_list<T> list) : elements(list) {}
    bool has_value() const { return !elements.empty(); }
    friend bool operator==(const AddWins&, const AddWins&) = default;
};

/// A map whose keys are written one by one.
template <class T, class... Traits>
struct alignas(8) PerKey {
    using Element = T;
    static constexpr Policy kPolicy = Policy::per_key;
    std::map<std::string, T> entries;
    bool has_value() const { return !entries.empty(); }
    friend bool operator==(const PerKey&, const PerKey&) = default;
};

// ---- marks of one line in a kind's list

struct Marks {
    bool required = false;  ///< must be set to submit
    bool indexed = false;   ///< the device keeps an index on it
    bool searched = false;  ///< full text search covers it
    bool fixed = false;     ///< a set or map that is written with the record and never again
    Roles writers;          ///< roles whose devices may write it; empty = nobody (server only)
    Roles lowered_by;       ///< roles that may lower a `highest` field

    friend constexpr Marks operator|(Marks a, Marks b) {
        a.required |= b.required;
        a.indexed |= b.indexed;
        a.searched |= b.searched;
        a.fixed |= b.fixed;
        a.writers = a.writers | b.writers;
        a.lowered_by = a.lowered_by | b.lowered_by;
        return a;
    }
};
inline constexpr Marks kNoMarks{};
inline constexpr Marks required{.required = true, .writers = {}, .lowered_by = {}};
inline constexpr Marks indexed{.indexed = true, .writers = {}, .lowered_by = {}};
inline constexpr Marks fixed{.fixed = true, .writers = {}, .lowered_by = {}};
inline constexpr Marks searched{.searched = true, .writers = {}, .lowered_by = {}};
template <class... R>
constexpr Marks by(R... roles) {
    return Marks{.writers = (Roles(roles) | ...), .lowered_by = {}};
}
template <class... R>
constexpr Marks lowered_by(R... roles) {
    return Marks{.writers = {}, .lowered_by = (Roles(roles) | ...)};
}

template <class F>
struct FieldLine {
    std::uint16_t number;
    const char* name;
    F& member;
    Marks marks;
};

/// One line of a kind's list: a permanent number, the name every face shows, the member, and its
/// marks.
template <class F>
FieldLine<F> field(std::uint16_t number, const char* name, F& member, Marks marks = kNoMarks) {
    return {number, name, member, marks};
}

}  // namespace rapport
