// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "model/fold.hpp"

using namespace rapport;

namespace {

bool is_form(const std::string& word, const std::string& other) {
    const auto forms = forms_of(folded(word));
    return std::find(forms.begin(), forms.end(), folded(other)) != forms.end();
}

}  // namespace

TEST_CASE("the spellings of a German word are one word") {
    CHECK(folded("Käse") == folded("Kaese"));
    CHECK(folded("KÄSE") == folded("kase"));
    CHECK(folded("Größe") == folded("Groesse"));
    CHECK(folded("GRÖSSE") == folded("grosse"));
    CHECK(folded("Tür") == folded("TUER"));
    CHECK(folded("straẞe") == folded("Strasse"));
    CHECK(folded("Ka\xCC\x88se") == folded("Käse"));  // a with a combining diaeresis
    CHECK(folded("Crème brûlée") == "creme brulee");
    CHECK(folded("Smørrebrød Łódź") == "smorrebrod lodz");
    CHECK(folded("neue") == folded("neü"));
    CHECK(folded("ÆSOP") == folded("aesop"));
}

TEST_CASE("words are runs of letters and digits") {
    CHECK(folded("Deckel-95 mm, (undicht)!") == "deckel 95 mm undicht");
    CHECK(folded("  \n\t").empty());
    CHECK(folded("a\xFF\xFE"
                 "b") == "a b");                  // bytes that are no UTF-8 divide
    CHECK(folded("Dek\xC2\xADkel") == "dekkel");  // a soft hyphen does not
    CHECK(folded("\xCC\x88").empty());            // a mark alone is no word
    CHECK(folded(std::string(200, 'x')) == std::string(64, 'x'));
    CHECK(folded("ГОСТ 質量") == "гост 質量");
}

TEST_CASE("a word knows the bytes it came from") {
    const std::string text = "Die Größe passt";
    const auto words = words_of(text);
    REQUIRE(words.size() == 3);
    CHECK(text.substr(words[1].begin, words[1].end - words[1].begin) == "Größe");
    const std::string marked = "x Ka\xCC\x88";
    const auto last = words_of(marked).back();
    CHECK(last.begin == 2);
    CHECK(last.end == marked.size());
}

TEST_CASE("a word stands for its inflected forms, and for no other word") {
    CHECK(is_form("undichter", "undicht"));
    CHECK(is_form("undicht", "undichten"));
    CHECK(is_form("Deckeln", "Deckel"));
    CHECK(is_form("Kartons", "Karton"));
    CHECK(is_form("Topf", "Töpfe"));
    CHECK(is_form("blau", "blauer"));
    CHECK_FALSE(is_form("Deckel", "Deckelrand"));
    CHECK_FALSE(is_form("dicht", "undicht"));
    CHECK(forms_of("er") == std::vector<std::string>{"er"});
    CHECK(forms_of("4711") == std::vector<std::string>{"4711"});
}
