// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "fuzz.hpp"
#include "sqlite/database.hpp"
#include "store/search.hpp"

// What a person types, and a text it is looked for in: the bytes before and after the first zero.
void rapport::fuzz::run(std::string_view input) {
    static sqlite::Database db = [] {
        sqlite::Database made = sqlite::Database::open(":memory:", {});
        made.execute("CREATE VIRTUAL TABLE search USING fts5(text, content='', tokenize='ascii')");
        return made;
    }();
    const std::size_t split = std::min(input.find('\0'), input.size());
    const std::string_view text = input.substr(std::min(split + 1, input.size()));
    const SearchTerms terms(input.substr(0, split));
    const SearchTerms::Answer answer = terms.look_in(text);
    require(answer.found.size() == terms.terms().size());
    std::size_t end = 0;
    for (const TextRange& range : answer.ranges) {
        require(range.begin >= end && range.begin < range.end && range.end <= text.size());
        end = range.end;
    }
    for (const Word& word : words_of(text))
        require(folded(text.substr(word.begin, word.end - word.begin)) == word.folded);
    if (terms.empty()) return;

    // What the text bears out the index must have found.
    bool wanted = true;
    for (std::size_t t = 0; t < answer.found.size(); ++t)
        wanted = wanted && answer.found[t] != terms.terms()[t].excluded;
    const std::string words = folded(text);
    sqlite::Transaction transaction(db);
    db.prepare("INSERT INTO search(rowid, text) VALUES(1,?)").bind_all(words).run();
    bool found = false;
    {
        auto select = db.prepare("SELECT rowid FROM search WHERE search MATCH ?");
        select.bind(1, std::string_view(terms.expression(
                           [](const std::string&) { return std::vector<std::string>{}; })));
        found = select.step();
    }
    require(found || !wanted);
}
