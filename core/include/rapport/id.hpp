// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace rapport {

/// The name of a record: a UUID (RFC 9562), version 7 when a device made it, version 8 when it
/// follows from a natural key. Ids order by their bytes, so version 7 ids order by the millisecond
/// they were made in.
struct RecordId {
    std::array<std::uint8_t, 16> bytes{};

    /// The 36-character form, lower case.
    std::string text() const;
    /// Accepts exactly the 36-character form in either case; anything else is nullopt.
    static std::optional<RecordId> parse(std::string_view text);
    /// The 16 bytes as they stand in a column or on the wire; any other size is nullopt.
    static std::optional<RecordId> from_bytes(std::string_view raw);
    std::string_view view() const {
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    std::string raw() const { return std::string(view()); }

    bool is_nil() const { return *this == RecordId{}; }
    friend auto operator<=>(const RecordId&, const RecordId&) = default;
};

/// A RecordId that says in its type which kind it names.
template <class Kind>
struct Id : RecordId {
    Id() = default;
    explicit Id(const RecordId& id) : RecordId(id) {}
};

/// Version 7: 48 bits of `unix_ms`, the rest from `random` (10 bytes).
RecordId time_ordered_id(std::int64_t unix_ms, std::span<const std::uint8_t, 10> random);

/// Version 8: the same natural key always gives the same id, so a rule that makes a record twice
/// makes it once.
RecordId name_based_id(std::string_view tenant, std::string_view kind, std::string_view key);

}  // namespace rapport

template <>
struct std::hash<rapport::RecordId> {
    std::size_t operator()(const rapport::RecordId& id) const noexcept {
        std::size_t h = 0;
        for (std::uint8_t b : id.bytes) h = h * 1099511628211ULL + b;
        return h;
    }
};
