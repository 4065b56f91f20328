// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "model/archive.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "rapport/kinds.hpp"

using namespace rapport;

namespace {

// `{field}`, `{0}`, ... of a sentence.
std::set<std::string> places(std::string_view sentence) {
    std::set<std::string> found;
    for (std::size_t at = sentence.find('{'); at != std::string_view::npos;
         at = sentence.find('{', at + 1)) {
        const std::string name(sentence.substr(at, sentence.find('}', at) - at + 1));
        if (name == "{field}" || name.size() == 3) found.insert(name);
    }
    return found;
}

std::vector<std::string> filling() { return {"eins", "zwei", "drei", "vier"}; }

}  // namespace

TEST_CASE("every code has its sentences once, in both languages, filled with the same") {
    std::set<std::pair<std::string_view, std::string_view>> seen;
    for (const RefusalText& text : refusal_texts()) {
        INFO(text.code, " ", text.form);
        CHECK(seen.emplace(text.code, text.form).second);
        CHECK_FALSE(text.english.empty());
        CHECK_FALSE(text.german.empty());
        CHECK(text.english != text.german);
        // The German sentence may do without the field, never with something the English lacks.
        std::set<std::string> english = places(text.english), german = places(text.german);
        for (const std::string& place : german) CHECK(english.contains(place));
        english.erase("{field}");
        german.erase("{field}");
        CHECK(english == german);
        CHECK(places(text.english).contains("{0}") <= text.form.empty());
    }
}

TEST_CASE("no sentence keeps a place that nobody filled") {
    for (const RefusalText& text : refusal_texts()) {
        std::vector<std::string> parameters = filling();
        if (!text.form.empty()) {
            parameters[0] = text.form;
        } else {
            std::set<std::string> taken = places(text.english);
            taken.erase("{field}");
            parameters.resize(taken.size());
        }
        for (const Language language : {Language::english, Language::german}) {
            const std::string told = sentence_of(text.code, "verbatim", parameters, language);
            INFO(text.code, " ", text.form, ": ", told);
            CHECK_FALSE(told.empty());
            CHECK(places(told).empty());
        }
    }
}

TEST_CASE("a refusal is told in the language asked for, its field and bound filled in") {
    const Refusal r = refusal({}, "verbatim", "too_long", {"4000"});
    CHECK(r.code == "too_long");
    CHECK(r.sentence == "`verbatim` takes at most 4000 characters.");
    CHECK(sentence(r, Language::english) == r.sentence);
    CHECK(sentence(r, Language::german) ==
          "`verbatim` darf höchstens 4000 Zeichen haben. Bitte kürzen.");
    const Refusal missing = refusal({}, "customer_id", "required");
    CHECK(sentence(missing, Language::german) == "`customer_id` fehlt. Bitte angeben.");
}

TEST_CASE("what a newer server says is told in the sentence it came with") {
    Refusal r{{}, "need", "too_boring", "A wish must not be boring.", {}};
    CHECK(sentence(r, Language::german) == "A wish must not be boring.");
    // A form this build does not know must not be taken for a parameter of the plain sentence.
    r = {{}, "mood", "out_of_range", "`mood` must be a prime below 7.", {"prime", "7", "2"}};
    CHECK(sentence(r, Language::german) == "`mood` must be a prime below 7.");
    r = {{}, "x", "too_long", "Too long.", {}};
    CHECK(sentence(r, Language::german) == "Too long.");
}

TEST_CASE("braces that name no parameter stand for themselves") {
    const Refusal r = refusal({}, "remarks", "wrong_type", {"siblings"});
    CHECK(r.sentence == "`remarks` takes a text, or {\"siblings\":[...]} with texts.");
}

TEST_CASE("a locale or a language tag names the language") {
    for (const char* name : {"de", "de_DE.UTF-8", "de-AT", "de_CH@euro", "de.UTF-8"})
        CHECK(language_named(name) == Language::german);
    for (const char* name : {"en", "en_GB.UTF-8", "en-US"})
        CHECK(language_named(name) == Language::english);
    for (const char* name : {"", "C", "POSIX", "fr_FR.UTF-8", "den", "DE"})
        CHECK_FALSE(language_named(name));
}

TEST_CASE("what a device refuses at capture has its German sentence, whatever the field") {
    std::size_t told = 0;
    for (const Kind* kind : all_kinds()) {
        Record record{kind, RecordId{{1}}, {}, {}};
        std::vector<Refusal> refusals;
        check_record(record, refusals);
        for (const Field& field : kind->fields) {
            // Too long, malformed, unknown or of the wrong type, whichever the field minds first.
            for (const Value& value : {Value(std::string(70'000, 'x')), Value(INT64_MAX),
                                       Value("\x01"), Value("\xFF"), Value(Parts(9, Value("x")))}) {
                Content content{{"a b", value}, {"a b", value}};
                check_content(field, record.id, content, Limits{}, refusals);
            }
            check_writer(*kind, &field, record.id, true, Role::feed, refusals);
            check_writer(*kind, &field, record.id, false, Role::feed, refusals);
        }
        for (const Refusal& refusal : refusals) {
            INFO(refusal.code, ": ", refusal.sentence);
            CHECK(sentence(refusal, Language::english) == refusal.sentence);
            CHECK(sentence(refusal, Language::german) != refusal.sentence);
            ++told;
        }
    }
    CHECK(told > 1000);
}

TEST_CASE("reasons are kept and sent with what their sentences are filled with") {
    const std::vector<Refusal> reasons{refusal(RecordId{{7}}, "mood", "out_of_range", {"-2", "2"}),
                                       refusal({}, "", "too_many_records", {"500"})};
    CHECK(decode<std::vector<Refusal>>(encode(reasons)) == reasons);
}
