// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// Text as a search compares it: the spellings of one German word are one word.
namespace rapport {

/// Part of the search index's fingerprint: another folding makes every index anew.
inline constexpr int kFoldVersion = 1;

/// A run of letters and digits, and where it stands.
struct Word {
    std::string folded;     ///< lower case without accents; ä = ae = a, ö = oe = o, ü = ue = u,
                            ///< ß = ss, æ and ø likewise; cut at 64 bytes
    std::size_t begin = 0;  ///< byte offsets in the text
    std::size_t end = 0;
};

/// The words of a text in their order. Everything that is neither letter nor digit divides words,
/// bytes that are no UTF-8 too; marks and soft hyphens inside a word do not.
std::vector<Word> words_of(std::string_view utf8);

/// The words, folded, with a blank between them.
std::string folded(std::string_view utf8);

/// The forms in which German inflects this folded word, itself first: `undichter` also stands as
/// `undicht`, `undichte`, ... Short words and such with digits have no other.
std::vector<std::string> forms_of(const std::string& word);

}  // namespace rapport
