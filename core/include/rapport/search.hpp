// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rapport/kind.hpp"

namespace rapport {

/// Words looked for in the texts people wrote: verbatims, summaries, notes, names.
///
/// A record is found when it holds all words, in any of its searched fields. Case and accents do
/// not matter, ä = ae = a, ö = oe = o, ü = ue = u, ß = ss; a word stands for its inflected forms
/// (`undichter` finds `undicht`), the last word also for what begins with it, from three letters
/// on. `"two words"` stand side by side as they are, `-word` must not occur. Everything else is
/// text. Words after the 32nd are not looked for.
struct SearchRequest {
    std::string text = {};
    std::vector<const Kind*> kinds = {};  ///< empty = all
    RecordId customer = {};               ///< nil = all; else the customer and what hangs on it
    std::size_t limit = 20;               ///< 1 .. 1,000
    std::size_t offset = 0;               ///< hits to leave out, for the pages after the first
};

/// Bytes of a UTF-8 text that matched: [begin, end).
struct TextRange {
    std::size_t begin = 0;
    std::size_t end = 0;
    friend bool operator==(const TextRange&, const TextRange&) = default;
};

struct SearchHit {
    const Kind* kind = nullptr;
    RecordId id;
    std::string field;              ///< the one with most of the words, `field` or `group.part`
    std::vector<TextRange> ranges;  ///< whole words in the field's text
    std::string snippet;            ///< that text around the first of them, in one line
    std::vector<TextRange> snippet_ranges;  ///< the same words in the snippet
    std::int64_t rank = 0;                  ///< BM25 in thousandths; the higher the better. Words
                                            ///< that a 32nd of all records have weigh the same
};

/// Best first; among equals the newest first. Of a kind with very many matches only the newest
/// 1,500 are ranked and shown.
struct SearchPage {
    std::vector<SearchHit> hits;
    bool more = false;    ///< there are hits after these
    bool behind = false;  ///< some records are not in the index yet; `Store::index_some` adds them
};

}  // namespace rapport
