// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kind.hpp"

/// Parts that only make sense together and are written as one value.
namespace rapport {

struct Address {
    Text<200, Format::line> street;
    Text<20, Format::line> post_code;
    Text<100, Format::line> city;
    Country country;  ///< ISO 3166-1 alpha-2
    template <class Archive>
    void serialize(Archive& a) {
        a(part("street", street), part("post_code", post_code), part("city", city),
          part("country", country));
    }
    friend bool operator==(const Address&, const Address&) = default;
};

struct PersonName {
    Text<100, Format::line> given_name;
    Text<100, Format::line> family_name;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("given_name", given_name), part("family_name", family_name));
    }
    friend bool operator==(const PersonName&, const PersonName&) = default;
};

enum class ReachedAt : std::uint8_t { work, mobile, home, other };
template <>
struct CodesOf<ReachedAt> {
    static constexpr std::string_view list[] = {"work", "mobile", "home", "other"};
};

/// A phone number or mail address and where it reaches its owner.
template <class T>
struct Reachable {
    T value;
    std::optional<ReachedAt> type;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("value", value, true), part("type", type));
    }
    friend bool operator==(const Reachable&, const Reachable&) = default;
};

struct TimeRange {
    Instant from;
    std::optional<Instant> to;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("from", from, true), part("to", to));
    }
    friend bool operator==(const TimeRange&, const TimeRange&) = default;
};

/// Where the device was when the visit began; only with the rep's consent.
struct CheckIn {
    Whole<-900'000'000, 900'000'000> lat_e7;
    Whole<-1'800'000'000, 1'800'000'000> lon_e7;
    std::optional<Whole<0, 1'000'000>> accuracy_m;
    Instant at;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("lat_e7", lat_e7, true), part("lon_e7", lon_e7, true),
          part("accuracy_m", accuracy_m), part("at", at, true));
    }
    friend bool operator==(const CheckIn&, const CheckIn&) = default;
};

/// What the customer uses or was offered instead. The price is as the customer said it.
struct Competitor {
    Text<200, Format::line> name;
    Text<200, Format::line> product;
    Text<100, Format::line> price;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("name", name, true), part("product", product), part("price", price));
    }
    friend bool operator==(const Competitor&, const Competitor&) = default;
};

struct CompetitorHas {
    Text<200, Format::line> name;
    Text<200, Format::line> product;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("name", name, true), part("product", product));
    }
    friend bool operator==(const CompetitorHas&, const CompetitorHas&) = default;
};

/// An amount in thousandths of a UN/ECE Rec 20 unit (H87 = piece, KGM = kilogram).
struct Quantity {
    Whole<0, 9'007'199'254'740'991> value_milli;
    Text<3, Format::unit> unit;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("value_milli", value_milli, true), part("unit", unit, true));
    }
    friend bool operator==(const Quantity&, const Quantity&) = default;
};

enum class EffectivenessResult : std::uint8_t { ok, not_ok };
template <>
struct CodesOf<EffectivenessResult> {
    static constexpr std::string_view list[] = {"ok", "not_ok"};
};

/// When to look whether the corrective actions helped, and what was found.
struct Effectiveness {
    Instant check_at;
    std::optional<EffectivenessResult> result;
    template <class Archive>
    void serialize(Archive& a) {
        a(part("check_at", check_at, true), part("result", result));
    }
    friend bool operator==(const Effectiveness&, const Effectiveness&) = default;
};

}  // namespace rapport
