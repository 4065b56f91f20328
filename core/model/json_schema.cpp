// SPDX-License-Identifier: Apache-2.0
#include "model/json_schema.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/json.hpp"

namespace rapport {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kUuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
constexpr const char* kTime =
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}(Z|[+-][0-9]{2}:[0-9]{2})$";
constexpr const char* kDigits = "^(0|-?[1-9][0-9]*)$";
constexpr const char* kScope = "^(global|(territory|rep|policy)/.+)$";

Json matching(const char* pattern) { return {{"type", "string"}, {"pattern", pattern}}; }
Json reference_to(const std::string& definition) { return {{"$ref", "#/$defs/" + definition}}; }
Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Json object_of(Json properties, Json required) {
    Json schema{{"type", "object"}, {"properties", std::move(properties)}};
    if (!required.empty()) schema["required"] = std::move(required);
    schema["additionalProperties"] = false;
    return schema;
}

const char* pattern_of(Format format) {
    switch (format) {
        case Format::country:
            return "^[A-Z]{2}$";
        case Format::currency:
            return "^[A-Z]{3}$";
        case Format::e164:
            return "^[+][1-9][0-9]+$";
        case Format::gtin:
            return "^[0-9]{14}$";
        case Format::sha256:
            return "^[0-9a-f]{64}$";
        default:
            return nullptr;
    }
}

Json schema_of(const TypeInfo& type, bool open_codes) {
    switch (type.shape) {
        case Shape::boolean:
            return {{"type", "boolean"}};
        case Shape::integer:
            if (travels_as_text(type)) return matching(kDigits);
            return {{"type", "integer"}, {"minimum", type.min}, {"maximum", type.max}};
        case Shape::instant:
            return reference_to("time");
        case Shape::reference:
            return reference_to("id");
        case Shape::text: {
            Json schema{{"type", "string"}, {"maxLength", type.max}};
            if (const char* pattern = pattern_of(type.format)) schema["pattern"] = pattern;
            return schema;
        }
        case Shape::code: {
            Json codes = Json::array();
            for (const std::string_view code : type.codes) codes.push_back(code);
            if (!codes.empty() && !open_codes) return {{"type", "string"}, {"enum", codes}};
            Json schema{{"type", "string"}, {"maxLength", type.max}};
            if (!codes.empty()) schema["examples"] = codes;
            return schema;
        }
        case Shape::group: {
            Json parts = Json::object(), required = Json::array();
            for (const PartInfo& part : type.parts) {
                parts[std::string(part.name)] = schema_of(part.type, open_codes);
                if (part.required) required.push_back(part.name);
            }
            return object_of(std::move(parts), std::move(required));
        }
    }
    return true;
}

std::string description_of(const Field& field) {
    std::string text;
    const auto say = [&](const std::string& words) { text += (text.empty() ? "" : "; ") + words; };
    if (field.type.shape == Shape::reference)
        say("id of a " +
            (field.type.refers_to.empty() ? "record" : std::string(field.type.refers_to)));
    if (field.marks.required) say("required to submit");
    if (field.policy == Policy::owned) say("written by the centre");
    if (field.personal) say("personal");
    if (field.central) say("never on devices");
    return text;
}

Json schema_of(const Field& field) {
    Json schema = schema_of(field.type, field.policy == Policy::owned);
    if (field.policy == Policy::add_wins) {
        schema = list_of(std::move(schema));
        schema["uniqueItems"] = true;
    } else if (field.policy == Policy::per_key) {
        schema = {{"type", "object"}, {"additionalProperties", std::move(schema)}};
    } else if (field.policy == Policy::keep_both) {
        Json siblings = list_of(schema);
        siblings["minItems"] = 2;
        schema = {
            {"anyOf", {schema, object_of({{"siblings", std::move(siblings)}}, {"siblings"})}}};
    }
    if (const std::string description = description_of(field); !description.empty())
        schema["description"] = description;
    return schema;
}

/// Lines of `"name": ...`, so that a difference between two versions names the field.
std::string members(const Json& object, const std::string& indent) {
    std::string out;
    for (const auto& [name, value] : object.items())
        out += (out.empty() ? "" : ",\n") + indent + Json(name).dump() + ": " + value.dump();
    return out;
}

}  // namespace

std::string json_schema(const std::vector<const Kind*>& kinds) {
    Json names = Json::array(), choices = Json::array();
    std::string definitions;
    for (const Kind* kind : kinds) {
        names.push_back(kind->name);
        const Json fields{{"properties", {{"fields", reference_to(kind->name)}}}};
        choices.push_back(
            {{"if", {{"properties", {{"kind", {{"const", kind->name}}}}}}}, {"then", fields}});
        Json properties = Json::object();
        for (const Field& field : kind->fields) properties[field.name] = schema_of(field);
        definitions += ",\n    " + Json(kind->name).dump() +
                       ": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": "
                       "{\n" +
                       members(properties, "      ") + "\n    }}";
    }
    const Json time_schema = [] {
        Json schema = matching(kTime);
        schema["format"] = "date-time";
        return schema;
    }();
    Json record = object_of(
        {{"event",
          {{"enum",
            {"created", "changed", "superseded", "held", "review", "refused", "kept_back"}}}},
         {"bundle", {{"type", "string"}}},
         {"author", {{"type", "string"}}},
         {"received_at", reference_to("time")},
         {"conflicts",
          {{"type", "object"}, {"additionalProperties", {{"type", "array"}, {"minItems", 1}}}}},
         {"kind", {{"enum", names}}},
         {"id", reference_to("id")},
         {"scope", reference_to("scope")},
         {"fields", {{"type", "object"}}},
         {"unknown", {{"type", "object"}}}},
        {"kind", "id", "fields"});
    record["allOf"] = choices;
    Json to = reference_to("scope");
    to = {{"anyOf", {to, {{"const", ""}}}}};
    const Json departure = object_of({{"event", {{"const", "departed"}}},
                                      {"received_at", reference_to("time")},
                                      {"kind", {{"enum", names}}},
                                      {"id", reference_to("id")},
                                      {"from", reference_to("scope")},
                                      {"to", to},
                                      {"move", {{"type", "integer"}, {"minimum", 1}}}},
                                     {"event", "kind", "id", "from", "to", "move"});
    const Json erasure = object_of({{"event", {{"const", "erased"}}},
                                    {"received_at", reference_to("time")},
                                    {"kind", {{"enum", names}}},
                                    {"id", reference_to("id")},
                                    {"order", {{"type", "integer"}, {"minimum", 1}}}},
                                   {"event", "kind", "id", "order"});
    const Json cursor = object_of({{"cursor", {{"type", "string"}}}}, {"cursor"});
    const auto is_event = [](const char* name) {
        return Json{{"properties", {{"event", {{"const", name}}}}}, {"required", {"event"}}};
    };
    const Json no_event{{"if", {{"required", {"cursor"}}}},
                        {"then", reference_to("cursor")},
                        {"else", reference_to("record")}};
    const Json otherwise{
        {"if", is_event("erased")}, {"then", reference_to("erasure")}, {"else", no_event}};
    const Json head{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                    {"title", "Lines of the feed and of exports, schema version " +
                                  std::to_string(kSchemaVersion)},
                    {"type", "object"},
                    {"if", is_event("departed")},
                    {"then", reference_to("departure")},
                    {"else", otherwise}};
    const Json common{{"id", matching(kUuid)},     {"time", time_schema},
                      {"scope", matching(kScope)}, {"cursor", cursor},
                      {"departure", departure},    {"erasure", erasure},
                      {"record", record}};
    return "{\n" + members(head, "  ") + ",\n  \"$defs\": {\n" + members(common, "    ") +
           definitions + "\n  }\n}\n";
}

}  // namespace rapport
