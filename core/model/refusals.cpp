// SPDX-License-Identifier: Apache-2.0
#include "model/refusals.hpp"

#include <algorithm>
#include <charconv>

#include "rapport/kinds/state_request.hpp"
#include "rapport/record.hpp"

namespace rapport {
namespace {

// The whole list as one text, every part ended by a zero: a table of views would be 20 KiB of code
// or of addresses that are filled in when the library is loaded.
constexpr char kTexts[] =
#define RAPPORT_REFUSAL(code, form, english, german) code "\0" form "\0" english "\0" german "\0"
#include "model/refusal.def"
#undef RAPPORT_REFUSAL
    ;

const RefusalText* text_of(std::string_view code, std::string_view form) {
    for (const RefusalText& text : refusal_texts())
        if (text.code == code && text.form == form) return &text;
    return nullptr;
}

// How many parameters a sentence without a form takes.
std::size_t parameters_of(std::string_view pattern) {
    std::size_t count = 0;
    while (pattern.find("{" + std::to_string(count) + "}") != std::string_view::npos) ++count;
    return count;
}

// `{field}` and `{0}`, `{1}`, ... are filled in; any other brace stands for itself.
std::string filled(std::string_view pattern, std::string_view field,
                   const std::vector<std::string>& parameters) {
    std::string out;
    while (!pattern.empty()) {
        const std::size_t open = pattern.find('{');
        out += pattern.substr(0, open);
        if (open == std::string_view::npos) break;
        pattern.remove_prefix(open);
        const std::size_t close = pattern.find('}');
        const std::string_view name =
            close == std::string_view::npos ? std::string_view() : pattern.substr(1, close - 1);
        std::size_t number = 0;
        const auto [end, fault] = std::from_chars(name.data(), name.data() + name.size(), number);
        const bool numbered =
            fault == std::errc() && end == name.data() + name.size() && number < parameters.size();
        if (name == "field") {
            out.append("`").append(field).append("`");
        } else if (numbered) {
            out += parameters[number];
        } else {
            out += '{';
            pattern.remove_prefix(1);
            continue;
        }
        pattern.remove_prefix(close + 1);
    }
    return out;
}

}  // namespace

const std::vector<RefusalText>& refusal_texts() {
    static const std::vector<RefusalText> texts = [] {
        std::vector<RefusalText> all;
        std::string_view rest(kTexts, sizeof kTexts - 1);
        const auto next = [&rest] {
            const std::string_view text = rest.substr(0, rest.find('\0'));
            rest.remove_prefix(text.size() + 1);
            return text;
        };
        while (!rest.empty()) all.push_back({next(), next(), next(), next()});
        return all;
    }();
    return texts;
}

std::string sentence_of(std::string_view code, std::string_view field,
                        const std::vector<std::string>& parameters, Language language) {
    const RefusalText* text = parameters.empty() ? nullptr : text_of(code, parameters.front());
    if (!text) text = text_of(code, "");
    // A form of a newer version must not be taken for a parameter.
    if (!text || (text->form.empty() && parameters_of(text->english) != parameters.size()))
        return {};
    return filled(language == Language::german ? text->german : text->english, field, parameters);
}

Refusal refusal(const RecordId& record, std::string_view field, RefusalCode code,
                std::vector<std::string> parameters) {
    std::string english = sentence_of(code.text(), field, parameters, Language::english);
    return {record, std::string(field), std::string(code.text()), std::move(english),
            std::move(parameters)};
}

std::optional<Language> language_named(std::string_view name) {
    const std::string_view language = name.substr(0, name.find_first_of("_-.@"));
    if (language == "de") return Language::german;
    if (language == "en") return Language::english;
    return std::nullopt;
}

std::string sentence(const Refusal& refusal, Language language) {
    const auto& given = refusal.parameters;
    std::string text = given.size() == 2 && given[0] == kSaidByGuard
                           ? sentence_of(given[1], {}, {}, language)
                           : sentence_of(refusal.code, refusal.field, given, language);
    return text.empty() ? refusal.sentence : text;
}

std::optional<Refusal> turned_down(const Record& request) {
    if (request.kind != &kind_of<StateRequest>() || request.value("verdict") != Value("refused"))
        return std::nullopt;
    const auto text = [&](const char* field) {
        const std::string* said = request.value(field).text();
        return said ? *said : std::string();
    };
    Refusal why{
        request.id, text("verdict_field"), text("verdict_code"), text("verdict_sentence"), {}};
    const std::string lines = text("verdict_parameters");
    for (std::size_t begin = 0; !lines.empty() && begin <= lines.size();) {
        const std::size_t end = std::min(lines.find('\n', begin), lines.size());
        why.parameters.push_back(lines.substr(begin, end - begin));
        begin = end + 1;
    }
    return why;
}

}  // namespace rapport
