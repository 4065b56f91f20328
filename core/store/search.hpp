// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/fold.hpp"
#include "rapport/search.hpp"
#include "store/core.hpp"

/// The search index, and what a search asks of it.
///
/// A capture writes nothing for it: up to which row of a kind's table the index reaches is one
/// number per kind. Only a change to the text of an indexed row leaves a mark with the text it
/// replaces, because a contentless FTS5 table can forget a text only when it is told it.
namespace rapport {

/// What a person typed, as terms that must, or must not, occur.
class SearchTerms {
public:
    explicit SearchTerms(std::string_view typed);

    struct Term {
        std::vector<std::vector<std::string>> words;  ///< side by side; each in its forms
        bool prefix = false;                          ///< the last word may go on
        bool excluded = false;
    };
    const std::vector<Term>& terms() const { return terms_; }
    /// Is there anything to look for?
    bool empty() const;
    /// The words of an index that begin so; none: too many to name.
    using Beginning = std::function<std::vector<std::string>(const std::string&)>;
    /// The FTS5 expression; every word in quotes. A word that may go on is replaced by the words
    /// that it may become: FTS5 joins all documents of a prefix before it shows the first.
    std::string expression(const Beginning& words) const;

    /// How a text answers: per term whether it occurs, and the words that are hits of wanted terms.
    struct Answer {
        std::vector<bool> found;
        std::vector<TextRange> ranges;
    };
    Answer look_in(std::string_view text) const;

private:
    std::vector<Term> terms_;
};

/// One step: at most a few hundred records brought up to date. True if there is more to do.
bool index_step(Store::Core::Writing& writing);
/// Leaves an empty index; steps fill it again.
void drop_index(sqlite::Database& db);
/// Leaves no word in the index that no record has any more. Takes as long as reading the index.
void clean_index(sqlite::Database& db);
/// Is there anything the index does not hold?
bool index_is_behind(sqlite::Database& db);
/// What does not agree between rows and index, one sentence each.
std::vector<std::string> examine_index(sqlite::Database& db);

}  // namespace rapport
