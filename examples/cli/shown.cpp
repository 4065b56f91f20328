// SPDX-License-Identifier: Apache-2.0
#include "shown.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "command.hpp"

namespace rapport::cli {

namespace {

// ISO 4217 exponents that are not 2.
int exponent_of(std::string_view currency) {
    for (const std::string_view whole : {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW",
                                         "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"})
        if (currency == whole) return 0;
    for (const std::string_view mills : {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
        if (currency == mills) return 3;
    return 2;
}

std::string decimal(std::int64_t scaled, int places) {
    const bool negative = scaled < 0;
    // In unsigned arithmetic the lowest number has an opposite too.
    const std::uint64_t magnitude =
        negative ? 0 - static_cast<std::uint64_t>(scaled) : static_cast<std::uint64_t>(scaled);
    std::string digits = std::to_string(magnitude);
    const auto wanted = static_cast<std::size_t>(places);
    if (digits.size() <= wanted) digits.insert(0, wanted + 1 - digits.size(), '0');
    if (places > 0) digits.insert(digits.size() - wanted, 1, '.');
    return (negative ? "-" : "") + digits;
}

std::string without_trailing_zeros(std::string number) {
    if (number.find('.') == std::string::npos) return number;
    number.erase(number.find_last_not_of('0') + 1);
    if (number.back() == '.') number.pop_back();
    return number;
}

std::optional<RecordId> id_in(const Value& value) {
    const std::string* raw = value.text();
    return raw != nullptr ? RecordId::from_bytes(*raw) : std::nullopt;
}

bool joined_by_space(std::string_view part) {
    return part == "unit" || part == "currency" || part == "family_name";
}

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

std::string plain(const TypeInfo& type, const Value& value) {
    if (value.is_null()) return {};
    switch (type.shape) {
        case Shape::boolean:
            return value.integer() != nullptr && *value.integer() != 0 ? "true" : "false";
        case Shape::integer:
            return value.integer() != nullptr ? std::to_string(*value.integer()) : "";
        case Shape::text:
        case Shape::code:
            return value.text() != nullptr ? *value.text() : "";
        case Shape::instant:
            return value.integer() != nullptr ? Instant::unpack(*value.integer()).rfc3339() : "";
        case Shape::reference: {
            const auto id = id_in(value);
            return id ? id->text() : "";
        }
        case Shape::group:
            break;
    }
    return {};
}

std::string plain(const Field& field, const Content& content) {
    if (content.empty()) return {};
    const bool group = field.type.shape == Shape::group;
    if (group || field.policy == Policy::per_key ||
        (field.policy == Policy::keep_both && content.size() > 1))
        return content_to_json(field, content);
    std::string out;
    for (const Item& item : content)
        out += (out.empty() ? "" : ",") + plain(field.type, item.value);
    return out;
}

std::string minute(const Instant& instant) {
    std::string text = instant.rfc3339();
    if (text.size() < 16) return text;
    text[10] = ' ';
    return text.substr(0, 16);
}

std::string local_second(const Instant& instant) {
    const std::time_t seconds =
        std::chrono::floor<std::chrono::seconds>(instant.at).time_since_epoch().count();
    std::tm local{};
    if (localtime_r(&seconds, &local) == nullptr) return instant.rfc3339();
    std::array<char, 32> text{};
    const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
    return {text.data(), size};
}

std::string bytes_shown(std::uint64_t bytes) {
    if (bytes < 1024) return std::to_string(bytes) + " B";
    constexpr std::array<const char*, 4> kUnits{"KiB", "MiB", "GiB", "TiB"};
    double size = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    while (size >= 1024 && unit + 1 < kUnits.size()) {
        size /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f %s", size, kUnits[unit]);
    return text.data();
}

std::string counted(std::size_t n, const std::string& noun) {
    return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

std::string Reader::shown(const Field& field, const Content& content) {
    std::vector<std::string> items;
    for (const Item& item : content)
        items.push_back((field.policy == Policy::per_key ? item.key + "=" : "") +
                        value(field.type, item.value));
    if (field.is_keyed()) std::sort(items.begin(), items.end());
    std::string out;
    for (const std::string& item : items)
        out += (out.empty() ? "" : field.policy == Policy::keep_both ? " | " : ", ") + item;
    return out;
}

std::string Reader::value(const TypeInfo& type, const Value& value) {
    if (value.is_null()) return {};
    switch (type.shape) {
        case Shape::boolean:
            return value.integer() != nullptr && *value.integer() != 0 ? "yes" : "no";
        case Shape::instant:
            return value.integer() != nullptr ? minute(Instant::unpack(*value.integer())) : "";
        case Shape::reference: {
            const auto id = id_in(value);
            return id ? label(*id) : "";
        }
        case Shape::group: {
            const Parts* parts = value.parts();
            if (parts == nullptr) return {};
            if (type.parts.size() == 2 && parts->size() == 2 && type.parts[0].name == "minor" &&
                type.parts[1].name == "currency") {
                const auto* minor = (*parts)[0].integer();
                const auto* currency = (*parts)[1].text();
                if (minor != nullptr && currency != nullptr)
                    return decimal(*minor, exponent_of(*currency)) + " " + *currency;
            }
            std::string out;
            for (std::size_t i = 0; i < parts->size() && i < type.parts.size(); ++i) {
                const PartInfo& part = type.parts[i];
                const Value& v = (*parts)[i];
                if (v.is_null()) continue;
                if (!out.empty()) out += joined_by_space(part.name) ? " " : ", ";
                if (const auto* n = v.integer();
                    n != nullptr && part.type.shape == Shape::integer) {
                    const int places = ends_with(part.name, "_milli") ? 3
                                       : ends_with(part.name, "_e7")  ? 7
                                                                      : 0;
                    out += without_trailing_zeros(decimal(*n, places));
                } else {
                    out += this->value(part.type, v);
                }
            }
            return out;
        }
        case Shape::integer:
        case Shape::text:
        case Shape::code:
            break;
    }
    return plain(type, value);
}

std::string Reader::label(const Record& record) {
    std::string text = title(record);
    return display_width(text) > 48 ? fitted(text, 48) : text;
}

std::string Reader::label(const RecordId& id) {
    if (const auto known = labels_.find(id); known != labels_.end()) return known->second;
    const auto record = store_.find(id);
    std::string text = record ? label(*record) : id.text();
    if (labels_.size() >= 10'000) labels_.clear();
    return labels_.emplace(id, std::move(text)).first->second;
}

Content Column::of(const Record& record) const {
    const auto found = record.fields.find(field->number);
    if (found == record.fields.end()) return {};
    if (part == nullptr) return found->second;
    if (found->second.empty()) return {};
    const Parts* parts = found->second.front().value.parts();
    if (parts == nullptr || part_index >= parts->size() || (*parts)[part_index].is_null())
        return {};
    return {{"", (*parts)[part_index]}};
}

Column column_called(const Kind& kind, const std::string& name) {
    const auto dot = name.find('.');
    const std::string base = name.substr(0, dot);
    const Field* field = kind.field(base);
    if (field == nullptr) {
        std::vector<std::string_view> names;
        for (const Field& f : kind.fields) names.push_back(f.name);
        throw Failure(kRefused, "a " + kind.name + " has no field \"" + base + "\"" +
                                    suggestion(base, names, "it has"));
    }
    Column column{name, field, nullptr, 0};
    if (dot == std::string::npos) return column;
    const std::string part = name.substr(dot + 1);
    std::vector<std::string_view> parts;
    for (std::size_t i = 0; i < field->type.parts.size(); ++i) {
        if (field->type.parts[i].name == part) {
            column.part = &field->type.parts[i];
            column.part_index = i;
            return column;
        }
        parts.push_back(field->type.parts[i].name);
    }
    throw Failure(kRefused, parts.empty() ? "the field " + base + " has no parts"
                                          : base + " has no part \"" + part + "\"" +
                                                suggestion(part, parts, "its parts are"));
}

std::vector<Column> telling_columns(const Kind& kind) {
    struct Telling {
        std::string_view kind;
        std::vector<std::string_view> columns;
    };
    static const std::vector<Telling> known{
        {"customer", {"name", "address.city", "class_sales", "phone", "state"}},
        {"contact", {"name", "customer_id", "role_code"}},
        {"product", {"code", "name", "gtin", "group", "unit", "active"}},
        {"territory", {"code", "name", "parent", "country"}},
        {"code_list", {"list", "code", "label", "active"}},
        {"visit", {"started_at", "customer_id", "type", "purpose", "result", "state"}},
        {"product_talk", {"visit_id", "product_id", "aida", "outcome", "deal_value"}},
        {"complaint",
         {"received_at", "customer_id", "product_id", "severity", "verbatim", "state"}},
        {"product_wish", {"captured_at", "customer_id", "category", "importance", "need", "state"}},
        {"theme", {"title", "product_group", "state", "decision_text_for_customer"}},
        {"note", {"at", "subject_id", "author", "text"}},
        {"attachment", {"captured_at", "subject_id", "role", "media_type", "size"}},
        {"state_request", {"created_at", "subject_id", "to", "verdict", "reason"}},
        {"status_event", {"at", "subject_id", "from", "to", "by", "reason"}},
        {"task", {"due_at", "subject_id", "text", "priority", "state"}},
        {"loop_task", {"customer_id", "subject_id", "rep_id", "told_at", "reaction", "state"}},
        {"marketing_question", {"code", "version", "campaign", "type", "text", "state"}},
        {"answer", {"at", "question_id", "customer_id", "status", "choices", "number", "text"}},
        {"consent", {"given_at", "contact_id", "purpose", "lawful_basis", "withdrawn"}},
        {"discount_policy", {"code", "version", "role", "segment", "product_group", "max_bp"}},
        {"price_request", {"created_at", "customer_id", "number", "device_verdict", "state"}},
        {"customisation_request", {"created_at", "customer_id", "number", "wanted", "state"}},
        {"custom_option", {"code", "name", "product_group", "allowed", "lead_time_days"}},
        {"state_table", {"kind", "version", "initial"}},
        {"corrective_action", {"subject_id", "step", "text", "owner", "due_at", "done_at"}},
    };
    std::vector<Column> columns;
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const Telling& t) { return t.kind == kind.name; });
    if (found != known.end())
        for (const std::string_view name : found->columns)
            if (kind.field(name.substr(0, name.find('.'))) != nullptr)
                columns.push_back(column_called(kind, std::string(name)));
    for (const Field& field : kind.fields) {
        if (columns.size() >= 4) break;
        const bool there = std::any_of(columns.begin(), columns.end(),
                                       [&](const Column& c) { return c.field == &field; });
        if (field.number >= common_field::first_own && !there)
            columns.push_back({field.name, &field, nullptr, 0});
    }
    return columns;
}

std::vector<Column> all_columns(const Kind& kind) {
    std::vector<Column> columns;
    for (const Field& field : kind.fields) {
        if (field.type.shape != Shape::group || field.is_keyed()) {
            columns.push_back({field.name, &field, nullptr, 0});
            continue;
        }
        for (std::size_t i = 0; i < field.type.parts.size(); ++i)
            columns.push_back({field.name + "." + std::string(field.type.parts[i].name), &field,
                               &field.type.parts[i], i});
    }
    return columns;
}

}  // namespace rapport::cli
