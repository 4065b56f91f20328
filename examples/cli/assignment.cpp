// SPDX-License-Identifier: Apache-2.0
#include "assignment.hpp"

#include <algorithm>

#include "model/refusals.hpp"

namespace rapport::cli {

namespace {

bool is_null_json(std::string_view json) {
    const auto first = json.find_first_not_of(" \t\r\n");
    const auto last = json.find_last_not_of(" \t\r\n");
    return first != std::string_view::npos && json.substr(first, last - first + 1) == "null";
}

std::vector<std::string_view> names_of(std::span<const PartInfo> parts) {
    std::vector<std::string_view> names;
    for (const PartInfo& part : parts) names.push_back(part.name);
    return names;
}

std::vector<std::string_view> names_of(const Kind& kind) {
    std::vector<std::string_view> names;
    for (const Field& field : kind.fields) names.push_back(field.name);
    return names;
}

}  // namespace

Assignment assignment_called(const std::string& word) {
    const auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
        throw Failure(kUsage,
                      "\"" + word + "\" is no assignment; write f=v, f=, f+=a,b, f-=a or f:=JSON");
    Assignment a;
    std::size_t end = equals;
    switch (word[equals - 1]) {
        case ':':
            a.op = Assignment::Op::json;
            --end;
            break;
        case '+':
            a.op = Assignment::Op::add;
            --end;
            break;
        case '-':
            a.op = Assignment::Op::remove;
            --end;
            break;
        default:
            break;
    }
    if (end == 0) throw Failure(kUsage, "\"" + word + "\" names no field before the =");
    a.name = word.substr(0, end);
    a.value = word.substr(equals + 1);
    return a;
}

RecordWords::RecordWords(const Kind& kind, const RecordId& id, const Record* present,
                         const ResolveReference& resolve)
    : present_(present), resolve_(resolve) {
    edit_.kind = &kind;
    edit_.id = id;
    edit_.create = present == nullptr;
}

void RecordWords::take(const Assignment& a, std::vector<Refusal>& refusals) {
    const auto dot = a.name.find('.');
    const std::string base = a.name.substr(0, dot);
    if (a.name == "scope" && a.op == Assignment::Op::set) {
        if (edit_.create)
            edit_.scope = a.value;
        else
            refusals.push_back(refusal(edit_.id, "scope", "not_writable", {"scope"}));
        return;
    }
    const Field* field = edit_.kind->field(base);
    if (field == nullptr) {
        const auto names = names_of(*edit_.kind);
        const std::string_view near = nearest(base, names);
        refusals.push_back(near.empty() ? refusal(edit_.id, a.name, "unknown_field",
                                                  {"list", edit_.kind->name, listed(names)})
                                        : refusal(edit_.id, a.name, "unknown_field",
                                                  {"near", edit_.kind->name, std::string(near)}));
        return;
    }
    if (dot != std::string::npos) {
        const std::string rest = a.name.substr(dot + 1);
        if (field->policy == Policy::per_key)
            take_key(*field, rest, a, refusals);
        else
            take_part(*field, rest, a, refusals);
        return;
    }
    switch (a.op) {
        case Assignment::Op::set:
            if (a.value.empty()) {
                edit_of(*field, FieldEdit::Op::clear);
            } else if (auto content =
                           content_called(*field, a.value, resolve_, edit_.id, refusals)) {
                edit_of(*field, FieldEdit::Op::set).content = std::move(*content);
            }
            return;
        case Assignment::Op::json:
            if (is_null_json(a.value)) {
                edit_of(*field, FieldEdit::Op::clear);
            } else if (auto content =
                           content_from_json(*field, a.value, resolve_, edit_.id, refusals)) {
                edit_of(*field, FieldEdit::Op::set).content = std::move(*content);
            }
            return;
        case Assignment::Op::add:
        case Assignment::Op::remove: {
            if (!field->is_keyed()) {
                refusals.push_back(refusal(edit_.id, a.name, "not_a_set"));
                return;
            }
            auto content = content_called(*field, a.value, resolve_, edit_.id, refusals);
            if (!content) return;
            auto& there = edit_of(*field, a.op == Assignment::Op::add ? FieldEdit::Op::add
                                                                      : FieldEdit::Op::remove)
                              .content;
            there.insert(there.end(), content->begin(), content->end());
            return;
        }
    }
}

void RecordWords::take_part(const Field& field, const std::string& part_name, const Assignment& a,
                            std::vector<Refusal>& refusals) {
    const auto parts = field.type.parts;
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const PartInfo& p) { return p.name == part_name; });
    if (field.type.shape != Shape::group || field.is_keyed()) {
        refusals.push_back(refusal(edit_.id, field.name, "unknown_field", {"no_parts"}));
        return;
    }
    if (part == parts.end()) {
        const std::string_view near = nearest(part_name, names_of(parts));
        refusals.push_back(near.empty() ? refusal(edit_.id, a.name, "unknown_field",
                                                  {"parts", field.name, listed(names_of(parts))})
                                        : refusal(edit_.id, a.name, "unknown_field",
                                                  {"near_part", field.name, std::string(near)}));
        return;
    }
    if (a.op == Assignment::Op::add || a.op == Assignment::Op::remove) {
        refusals.push_back(refusal(edit_.id, a.name, "not_a_set"));
        return;
    }
    std::optional<Content> typed;
    if (a.op == Assignment::Op::set)
        typed = content_from_text(field, part_name, a.value, resolve_, edit_.id, refusals);
    else if (is_null_json(a.value))
        typed = Content{};
    else
        typed = content_from_json(field, "{" + json_string(part_name) + ":" + a.value + "}",
                                  resolve_, edit_.id, refusals);
    if (!typed) return;

    // A group is written whole: over the parts typed before, else over what the record shows.
    static const Content kNothing;
    const auto before = std::find_if(edit_.fields.begin(), edit_.fields.end(),
                                     [&](const FieldEdit& e) { return e.field == &field; });
    const Content shown = before != edit_.fields.end() ? before->content
                          : present_ != nullptr        ? present_->shown(field.name)
                                                       : kNothing;
    Content whole = over_part(field, part_name, shown, *typed);
    const bool empty = whole.empty();
    edit_of(field, empty ? FieldEdit::Op::clear : FieldEdit::Op::set).content = std::move(whole);
}

void RecordWords::take_key(const Field& field, const std::string& key, const Assignment& a,
                           std::vector<Refusal>& refusals) {
    if (key.empty()) {
        refusals.push_back(refusal(edit_.id, a.name, "unknown_field", {"key", field.name}));
        return;
    }
    const bool clears = a.op == Assignment::Op::json ? is_null_json(a.value) : a.value.empty();
    if (a.op == Assignment::Op::add || a.op == Assignment::Op::remove) {
        refusals.push_back(refusal(edit_.id, a.name, "not_a_set"));
        return;
    }
    if (clears) {
        edit_of(field, FieldEdit::Op::remove).content.push_back({key, Value()});
        return;
    }
    auto content = a.op == Assignment::Op::set
                       ? content_from_text(field, key, a.value, resolve_, edit_.id, refusals)
                       : content_from_json(field, "{" + json_string(key) + ":" + a.value + "}",
                                           resolve_, edit_.id, refusals);
    if (!content) return;
    auto& there = edit_of(field, FieldEdit::Op::add).content;
    there.insert(there.end(), content->begin(), content->end());
}

FieldEdit& RecordWords::edit_of(const Field& field, FieldEdit::Op op) {
    const bool whole = op == FieldEdit::Op::set || op == FieldEdit::Op::clear;
    auto& fields = edit_.fields;
    if (whole) {
        // What is typed last for a whole field holds.
        fields.erase(std::remove_if(fields.begin(), fields.end(),
                                    [&](const FieldEdit& e) { return e.field == &field; }),
                     fields.end());
    } else {
        const auto there = std::find_if(fields.begin(), fields.end(), [&](const FieldEdit& e) {
            return e.field == &field && e.op == op;
        });
        if (there != fields.end()) return *there;
    }
    fields.push_back({&field, op, {}});
    return fields.back();
}

Value value_called(const Field& field, std::string_view part, const std::string& text,
                   const ResolveReference& resolve) {
    if (text.empty()) return {};
    std::vector<Refusal> refusals;
    const auto content = content_from_text(field, part, text, resolve, RecordId{}, refusals);
    if (!refusals.empty()) throw Failure(kRefused, sentence_of(refusals.front()));
    if (!content || content->empty()) return {};
    const Value& value = content->front().value;
    if (part.empty() || value.parts() == nullptr) return value;
    for (std::size_t i = 0; i < field.type.parts.size() && i < value.parts()->size(); ++i)
        if (field.type.parts[i].name == part) return (*value.parts())[i];
    return {};
}

std::optional<Content> content_called(const Field& field, const std::string& text,
                                      const ResolveReference& resolve, const RecordId& record,
                                      std::vector<Refusal>& refusals) {
    const bool structured = field.type.shape == Shape::group || field.policy == Policy::per_key;
    if (structured && !text.empty() && (text.front() == '{' || text.front() == '['))
        return content_from_json(field, text, resolve, record, refusals);
    return content_from_text(field, {}, text, resolve, record, refusals);
}

}  // namespace rapport::cli
