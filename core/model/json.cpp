// SPDX-License-Identifier: Apache-2.0
#include "model/json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <set>

#include "model/json_text.hpp"
#include "model/json_tree.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"

namespace rapport {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLineNameMax = 200;  // bytes of a line's scope, ref and bundle
constexpr std::int64_t kExactMax =
    9'007'199'254'740'991;  // 2^53 - 1, the largest integer every JSON reader keeps

std::string hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
        out += kDigits[static_cast<unsigned char>(c) >> 4U];
        out += kDigits[static_cast<unsigned char>(c) & 15U];
    }
    return out;
}

// ---- writing

/// A value whose type this build does not know.
std::string untyped(const Value& value) {
    if (const auto* integer = value.integer()) {
        const std::string digits = std::to_string(*integer);
        return *integer < -kExactMax || *integer > kExactMax ? json_string(digits) : digits;
    }
    if (const auto* text = value.text()) {
        if (normalised(*text, false)) return json_string(*text);
        return JsonObject().add("hex", hex(*text)).text();
    }
    if (const auto* parts = value.parts()) return json_array(*parts, untyped);
    return "null";
}

std::string typed(const TypeInfo& type, const Value& value) {
    const std::int64_t* integer = value.integer();
    const std::string* text = value.text();
    switch (type.shape) {
        case Shape::boolean:
            if (integer) return *integer != 0 ? "true" : "false";
            break;
        case Shape::integer:
            if (integer && travels_as_text(type)) return json_string(std::to_string(*integer));
            if (integer) return std::to_string(*integer);
            break;
        case Shape::instant:
            if (integer) return json_string(Instant::unpack(*integer).rfc3339());
            break;
        case Shape::text:
        case Shape::code:
            if (text) return json_string(*text);
            break;
        case Shape::reference:
            if (const auto id = text ? RecordId::from_bytes(*text) : std::nullopt)
                return json_string(id->text());
            break;
        case Shape::group:
            if (const Parts* parts = value.parts()) {
                JsonObject object;
                for (std::size_t i = 0; i < parts->size() && i < type.parts.size(); ++i)
                    if (!(*parts)[i].is_null())
                        object.add_json(type.parts[i].name, typed(type.parts[i].type, (*parts)[i]));
                return object.text();
            }
            break;
    }
    return untyped(value);
}

/// Content of a field number this build does not know: a single plain value, else a list.
std::string unknown_content(const Content& content) {
    if (content.size() == 1 && content.front().key.empty()) return untyped(content.front().value);
    return json_array(content, [](const Item& item) {
        if (item.key.empty() || item.key == canonical_bytes(item.value)) return untyped(item.value);
        return JsonObject()
            .add_json("key", untyped(item.key))
            .add_json("value", untyped(item.value))
            .text();
    });
}

// ---- reading

/// What the sentence of a fault is filled with.
std::vector<std::string> parameters_of(RefusalCode fault) {
    if (fault == refusal_code::kTooLarge) return {std::to_string(kJsonBytesMax)};
    if (fault == refusal_code::kTooDeep) return {std::to_string(kJsonDepthMax)};
    if (fault == refusal_code::kTooManyValues) return {std::to_string(kJsonValuesMax)};
    if (fault == refusal_code::kDuplicateKey) return {"object"};
    return {};
}

/// A name from outside may hold anything; only what looks like a name is repeated.
std::string name_shown(std::string_view name) {
    return name.size() <= 80 && canonical_text(Format::name, name) ? std::string(name) : "?";
}

template <class Number>
std::optional<Number> whole_number(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

/// Turns what came from outside into values of a field's type; every miss becomes a refusal.
class Reader {
public:
    Reader(const ResolveReference& resolve, const RecordId& record, std::vector<Refusal>& out)
        : resolve_(resolve), record_(record), out_(out) {}

    std::optional<Content> content(const Field& field, const Json& json) {
        if (json.is_null()) return Content{};
        switch (field.policy) {
            case Policy::add_wins:
                return set(field, json);
            case Policy::per_key:
                return map(field, json);
            case Policy::keep_both:
                if (json.is_object()) return siblings(field, json);
                [[fallthrough]];
            default:
                if (auto value = this->value(field.type, field.name, json))
                    return Content{{"", std::move(*value)}};
                return std::nullopt;
        }
    }

    std::optional<Value> value(const TypeInfo& type, const std::string& name, const Json& json) {
        switch (type.shape) {
            case Shape::boolean:
                if (json.is_boolean()) return Value(std::int64_t{json.get<bool>()});
                return mistyped(name, "boolean");
            case Shape::integer:
                if (json.is_string()) return scalar(type, name, json.get_ref<const std::string&>());
                // Whole numbers beyond 64 bits reach us as floating point.
                if (!json.is_number_integer()) return mistyped(name, "digits");
                if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX)
                    return miss(name, refusal_code::kOutOfRange, {"bits"});
                return Value(json.get<std::int64_t>());
            case Shape::group:
                if (json.is_object()) return group(type, name, json);
                return mistyped(name, "object");
            case Shape::instant:
                if (json.is_string()) return scalar(type, name, json.get_ref<const std::string&>());
                return mistyped(name, "instant_text");
            case Shape::reference:
                if (json.is_string()) return scalar(type, name, json.get_ref<const std::string&>());
                return mistyped(name, "reference_text");
            case Shape::text:
            case Shape::code:
                if (json.is_string()) return Value(json.get_ref<const std::string&>());
                return mistyped(name, "text");
        }
        return miss(name, refusal_code::kWrongType);
    }

    /// A value from plain text; groups have no such form.
    std::optional<Value> scalar(const TypeInfo& type, const std::string& name,
                                std::string_view text) {
        switch (type.shape) {
            case Shape::boolean:
                if (text == "true" || text == "false") return Value(std::int64_t{text == "true"});
                return mistyped(name, "boolean");
            case Shape::integer:
                if (const auto number = whole_number<std::int64_t>(text)) return Value(*number);
                return mistyped(name, "integer");
            case Shape::instant:
                if (const auto instant = Instant::parse(text)) return Value(instant->packed());
                return miss(name, refusal_code::kMalformed, {"instant"});
            case Shape::reference:
                return reference(name, text);
            case Shape::text:
            case Shape::code:
                return Value(std::string(text));
            case Shape::group:
                break;
        }
        return miss(name, refusal_code::kWrongType, {"part", first_part(type, name)});
    }

    std::optional<Content> elements(const Field& field, std::string_view text) {
        Content content;
        for (std::string_view rest = text;;) {
            const std::size_t comma = rest.find(',');
            const std::string_view element = without_blanks(rest.substr(0, comma));
            if (!element.empty()) {
                auto value = field.type.shape == Shape::group
                                 ? colon_separated(field.type, field.name, element)
                                 : scalar(field.type, field.name, element);
                if (!value) return std::nullopt;
                content.push_back({canonical_bytes(*value), std::move(*value)});
            }
            if (comma == std::string_view::npos) break;
            rest.remove_prefix(comma + 1);
        }
        return in_order(std::move(content));
    }

    std::nullopt_t miss(const std::string& name, RefusalCode code,
                        std::vector<std::string> parameters = {}) {
        out_.push_back(refusal(record_, name, code, std::move(parameters)));
        return std::nullopt;
    }
    /// The value is of another type; `form` says what the field takes.
    std::nullopt_t mistyped(const std::string& name, const char* form) {
        return miss(name, refusal_code::kWrongType, {form});
    }

private:
    static std::string first_part(const TypeInfo& type, const std::string& name) {
        return type.parts.empty() ? name : name + "." + std::string(type.parts.front().name);
    }
    static std::string_view without_blanks(std::string_view text) {
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
        return text;
    }
    static Content in_order(Content content) {
        std::stable_sort(content.begin(), content.end(),
                         [](const Item& a, const Item& b) { return a.key < b.key; });
        content.erase(std::unique(content.begin(), content.end(),
                                  [](const Item& a, const Item& b) { return a.key == b.key; }),
                      content.end());
        return content;
    }

    std::optional<Value> reference(const std::string& name, std::string_view text) {
        if (!text.empty() && text.front() == '@') {
            if (const auto id = resolve_ ? resolve_(text.substr(1)) : std::nullopt)
                return Value(id->raw());
            return miss(name, refusal_code::kUnknownReference);
        }
        if (const auto id = RecordId::parse(text)) return Value(id->raw());
        return miss(name, refusal_code::kMalformed, {"reference"});
    }

    std::optional<Value> group(const TypeInfo& type, const std::string& name, const Json& json) {
        Parts parts(type.parts.size());
        bool sound = true;
        for (const auto& [part_name, part_json] : json.items()) {
            const auto part = std::find_if(
                type.parts.begin(), type.parts.end(),
                [&, &sought = part_name](const PartInfo& p) { return p.name == sought; });
            if (part == type.parts.end()) {
                miss(name + "." + name_shown(part_name), refusal_code::kUnknownPart, {"group"});
                sound = false;
            } else if (!part_json.is_null()) {
                auto value = this->value(part->type, name + "." + part_name, part_json);
                sound &= value.has_value();
                if (value)
                    parts[static_cast<std::size_t>(part - type.parts.begin())] = std::move(*value);
            }
        }
        if (!sound) return std::nullopt;
        return Value(std::move(parts));
    }

    std::optional<Value> colon_separated(const TypeInfo& type, const std::string& name,
                                         std::string_view text) {
        Parts parts(type.parts.size());
        for (std::size_t i = 0; i < parts.size() && !text.empty(); ++i) {
            // The last part keeps its colons.
            const std::size_t colon =
                i + 1 < parts.size() ? text.find(':') : std::string_view::npos;
            if (const std::string_view piece = text.substr(0, colon); !piece.empty()) {
                auto value =
                    scalar(type.parts[i].type, name + "." + std::string(type.parts[i].name), piece);
                if (!value) return std::nullopt;
                parts[i] = std::move(*value);
            }
            text.remove_prefix(colon == std::string_view::npos ? text.size() : colon + 1);
        }
        return Value(std::move(parts));
    }

    std::optional<Content> set(const Field& field, const Json& json) {
        if (!json.is_array()) return mistyped(field.name, "array");
        Content content;
        bool sound = true;
        for (const Json& element : json) {
            auto value = this->value(field.type, field.name, element);
            sound &= value.has_value();
            if (value) content.push_back({canonical_bytes(*value), std::move(*value)});
        }
        if (!sound) return std::nullopt;
        return in_order(std::move(content));
    }

    std::optional<Content> map(const Field& field, const Json& json) {
        if (!json.is_object()) return mistyped(field.name, "keys");
        Content content;
        bool sound = true;
        for (const auto& [key, element] : json.items()) {
            std::optional<Value> value = Value();
            if (!element.is_null())
                value = this->value(field.type, field.name + "." + name_shown(key), element);
            sound &= value.has_value();
            if (value) content.push_back({key, std::move(*value)});
        }
        if (!sound) return std::nullopt;
        return content;
    }

    std::optional<Content> siblings(const Field& field, const Json& json) {
        const auto list = json.find("siblings");
        const bool texts = json.size() == 1 && list != json.end() && list->is_array() &&
                           std::all_of(list->begin(), list->end(),
                                       [](const Json& text) { return text.is_string(); });
        if (!texts) return mistyped(field.name, "siblings");
        Content content;
        for (const Json& text : *list)
            content.push_back({"", Value(text.get_ref<const std::string&>())});
        return content;
    }

    const ResolveReference& resolve_;
    const RecordId& record_;
    std::vector<Refusal>& out_;
};

std::optional<std::size_t> place_of(const Field& field, std::string_view part) {
    const auto& parts = field.type.parts;
    const auto at =
        std::find_if(parts.begin(), parts.end(), [&](const PartInfo& p) { return p.name == part; });
    if (at == parts.end()) return std::nullopt;
    return static_cast<std::size_t>(at - parts.begin());
}

}  // namespace

bool travels_as_text(const TypeInfo& type) { return type.min < -kExactMax || type.max > kExactMax; }

std::string content_to_json(const Field& field, const Content& content) {
    const auto written = [&](const Item& item) { return typed(field.type, item.value); };
    if (field.policy == Policy::add_wins) {
        std::vector<std::string> elements;
        for (const Item& item : content) elements.push_back(written(item));
        std::sort(elements.begin(), elements.end());
        return json_array(elements, std::identity());
    }
    if (field.policy == Policy::per_key) {
        std::map<std::string, std::string> members;
        for (const Item& item : content) members[item.key] = written(item);
        JsonObject map;
        for (const auto& [key, json] : members) map.add_json(key, json);
        return map.text();
    }
    if (content.empty()) return "null";
    if (content.size() == 1) return written(content.front());
    return JsonObject().add_json("siblings", json_array(content, written)).text();
}

std::string to_json(const Record& record) { return to_json(record, {}); }

std::string to_json(const Record& record,
                    const std::vector<std::pair<std::string, std::string>>& leading_json_members) {
    JsonObject object;
    for (const auto& [name, json] : leading_json_members) object.add_json(name, json);
    if (record.kind) object.add("kind", record.kind->name);
    if (!record.id.is_nil()) object.add("id", record.id.text());
    if (!record.scope.empty()) object.add("scope", record.scope);
    JsonObject fields, unknown;
    if (record.kind)
        for (const Field& field : record.kind->fields)
            if (const auto it = record.fields.find(field.number);
                it != record.fields.end() && !it->second.empty())
                fields.add_json(field.name, content_to_json(field, it->second));
    for (const auto& [number, content] : record.fields)
        if (!content.empty() && !(record.kind && record.kind->field(number)))
            unknown.add_json(std::to_string(number), unknown_content(content));
    object.add_json("fields", fields.text());
    if (!unknown.empty()) object.add_json("unknown", unknown.text());
    return object.text();
}

std::optional<Content> content_from_json(const Field& field, std::string_view json,
                                         const ResolveReference& resolve, const RecordId& record,
                                         std::vector<Refusal>& out) {
    Reader reader(resolve, record, out);
    const JsonTree read = read_stored_json(json);
    if (read.fault) return reader.miss(field.name, *read.fault, parameters_of(*read.fault));
    return reader.content(field, read.tree);
}

std::optional<Content> content_from_text(const Field& field, std::string_view part,
                                         std::string_view text, const ResolveReference& resolve,
                                         const RecordId& record, std::vector<Refusal>& out) {
    Reader reader(resolve, record, out);
    const std::string named = field.name + "." + name_shown(part);
    if (field.policy == Policy::per_key) {
        if (part.empty()) {
            if (text.empty()) return Content{};
            return reader.miss(field.name, refusal_code::kWrongType, {"key", field.name + ".key"});
        }
        auto value = text.empty() ? Value() : reader.scalar(field.type, named, text);
        if (!value) return std::nullopt;
        return Content{{std::string(part), std::move(*value)}};
    }
    if (!part.empty()) {
        const auto place = field.is_set() ? std::nullopt : place_of(field, part);
        if (!place) return reader.miss(named, refusal_code::kUnknownPart, {"field"});
        Parts parts(field.type.parts.size());
        if (!text.empty()) {
            auto value = reader.scalar(field.type.parts[*place].type, named, text);
            if (!value) return std::nullopt;
            parts[*place] = std::move(*value);
        }
        return Content{{"", Value(std::move(parts))}};
    }
    if (text.empty()) return Content{};
    if (field.is_set()) return reader.elements(field, text);
    auto value = reader.scalar(field.type, field.name, text);
    if (!value) return std::nullopt;
    return Content{{"", std::move(*value)}};
}

Content over_part(const Field& field, std::string_view part, const Content& shown,
                  const Content& typed_content) {
    const auto parts_of = [&](const Content& content) {
        const Parts* parts = content.empty() ? nullptr : content.front().value.parts();
        Parts copy = parts ? *parts : Parts();
        copy.resize(field.type.parts.size());
        return copy;
    };
    Parts parts = parts_of(shown);
    if (const auto place = place_of(field, part)) parts[*place] = parts_of(typed_content)[*place];
    if (std::all_of(parts.begin(), parts.end(), [](const Value& v) { return v.is_null(); }))
        return {};
    return {{"", Value(std::move(parts))}};
}

ImportLine parse_import_line(std::string_view json, const ResolveReference& resolve) {
    ImportLine line;
    Reader reader(resolve, line.record.id, line.refusals);
    const JsonTree read = read_json(json);
    const Json& tree = read.tree;
    if (read.fault) {
        std::vector<std::string> parameters = parameters_of(*read.fault);
        parameters.insert(parameters.begin(), "line");
        reader.miss("", *read.fault, std::move(parameters));
        return line;
    }
    if (!tree.is_object()) {
        reader.mistyped("", "line");
        return line;
    }
    const auto event = tree.find("event");
    constexpr std::array kNoRecords{"departed", "erased",  "superseded", "held",
                                    "review",   "refused", "kept_back"};
    line.no_record =
        (event != tree.end() && std::any_of(kNoRecords.begin(), kNoRecords.end(),
                                            [&](const char* name) { return *event == name; })) ||
        (tree.size() == 1 && tree.contains("cursor"));
    if (line.no_record) return line;
    const auto text_of = [&](const char* name, Format format, const char* form) -> std::string {
        const auto it = tree.find(name);
        if (it == tree.end() || it->is_null()) return {};
        const std::string* text = it->get_ptr<const std::string*>();
        const auto sound =
            text && text->size() <= kLineNameMax ? normalised(*text, true) : std::nullopt;
        if (const auto canonical = sound ? canonical_text(format, *sound) : std::nullopt)
            return *canonical;
        reader.miss(
            name,
            text ? RefusalCode(refusal_code::kMalformed) : RefusalCode(refusal_code::kWrongType),
            {form});
        return {};
    };

    if (const auto it = tree.find("id"); it != tree.end() && !it->is_null()) {
        const std::string* text = it->get_ptr<const std::string*>();
        const auto id = text ? RecordId::parse(*text) : std::nullopt;
        if (id && !id->is_nil())
            line.record.id = *id;
        else
            reader.miss("id", refusal_code::kMalformed, {"id"});
    }
    line.record.scope = text_of("scope", Format::scope, "scope");
    line.ref = text_of("ref", Format::name, "name");
    line.bundle = text_of("bundle", Format::line, "one_line");

    static const std::set<std::string_view> kMembers{"kind",   "id",          "scope",    "ref",
                                                     "bundle", "fields",      "unknown",  "event",
                                                     "author", "received_at", "conflicts"};
    for (const auto& [name, ignored] : tree.items())
        if (kMembers.count(name) == 0)
            reader.miss(name_shown(name), refusal_code::kUnknownField, {"member"});

    const auto kind = tree.find("kind");
    if (kind == tree.end()) {
        reader.miss("kind", refusal_code::kRequired);
        return line;
    }
    if (kind->is_string()) line.record.kind = kind_named(kind->get_ref<const std::string&>());
    if (!line.record.kind) {
        reader.miss("kind", refusal_code::kUnknownKind);
        return line;
    }
    const auto fields = tree.find("fields");
    if (fields == tree.end() || !fields->is_object()) {
        if (fields == tree.end())
            reader.miss("fields", refusal_code::kRequired);
        else
            reader.mistyped("fields", "fields");
        return line;
    }
    for (const auto& [name, value] : fields->items()) {
        const Field* field = line.record.kind->field(name);
        if (!field) {
            reader.miss(name_shown(name), refusal_code::kUnknownField, {line.record.kind->name});
            continue;
        }
        auto content = reader.content(*field, value);
        if (!content) continue;
        content->erase(std::remove_if(content->begin(), content->end(),
                                      [](const Item& i) { return i.value.is_null(); }),
                       content->end());
        if (!content->empty()) line.record.fields.emplace(field->number, std::move(*content));
    }
    return line;
}

}  // namespace rapport
