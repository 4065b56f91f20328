// SPDX-License-Identifier: Apache-2.0
#include "rapport/record.hpp"

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
