// SPDX-License-Identifier: Apache-2.0
#include "rapport/record.hpp"

#include <algorithm>

#include "rapport/error.hpp"

namespace rapport {

std::string detail::joined(const std::vector<std::string>& siblings) {
    std::string out;
    for (const std::string& s : siblings) {
        if (!out.empty()) out += "\n\n";
        out += s;
    }
    return out;
}

namespace {

// The texts of a value, one after the other: a person's name is a group.
void append_texts(const Value& value, std::string& out) {
    if (const std::string* text = value.text()) out.append(out.empty() ? "" : " ").append(*text);
    if (const Parts* parts = value.parts())
        for (const Value& part : *parts) append_texts(part, out);
}

std::string shortened(std::string text) {
    constexpr std::size_t kCharactersMax = 80;
    std::size_t characters = 0, cut = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;
        if (characters == kCharactersMax - 1) cut = i;
        if (++characters > kCharactersMax) return text.substr(0, cut) + "\u2026";
    }
    return text;
}

}  // namespace

std::string title(const Record& record) {
    for (const std::string_view name : {"name", "title", "verbatim", "need", "summary", "text",
                                        "description", "product_text", "code"}) {
        const Field* field = record.kind->field(name);
        if (!field || field->type.shape == Shape::reference) continue;
        std::string words;
        for (const Item& item : record.shown(name)) append_texts(item.value, words);
        std::replace_if(
            words.begin(), words.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
        if (!words.empty()) return shortened(std::move(words));
    }
    std::string words = record.kind->name;
    if (const std::int64_t* time = record.value(record.kind->time).integer()) {
        std::string minute = Instant::unpack(*time).rfc3339().substr(0, 16);
        std::replace(minute.begin(), minute.end(), 'T', ' ');
        words += " " + minute;
    }
    return words;
}

const Content& Record::shown(std::string_view field) const {
    static const Content none;
    const Field* f = kind ? kind->field(field) : nullptr;
    if (!f) return none;
    const auto at = fields.find(f->number);
    return at == fields.end() ? none : at->second;
}

const Value& Record::value(std::string_view field) const {
    static const Value null;
    const Content& content = shown(field);
    return content.empty() ? null : content.front().value;
}

const Value& Record::value(std::uint16_t number) const {
    static const Value null;
    const auto at = fields.find(number);
    return at == fields.end() || at->second.empty() ? null : at->second.front().value;
}

void Record::set(std::string_view field, Value value) {
    const Field* f = kind ? kind->field(field) : nullptr;
    if (!f || f->policy == Policy::per_key)
        throw Error(ErrorCode::invalid_argument,
                    "the kind has no field " + std::string(field) + " that holds one value");
    if (value.is_null()) {
        fields.erase(f->number);
        return;
    }
    std::string key = f->is_set() ? canonical_bytes(value) : std::string();
    fields[f->number] = {{std::move(key), std::move(value)}};
}

}  // namespace rapport
