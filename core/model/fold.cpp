// SPDX-License-Identifier: Apache-2.0
#include "model/fold.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>

namespace rapport {
namespace {

constexpr std::size_t kWordBytesMax = 64;
constexpr std::size_t kStemBytesMin = 3;

bool is_ascii_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_letter_or_digit(utf8proc_int32_t c) {
    switch (utf8proc_category(c)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_NO:
            return true;
        default:
            return false;
    }
}

// Letters with a stroke have no decomposition in Unicode.
std::string_view plain_letter(utf8proc_int32_t c) {
    switch (c) {
        case 0xE6:
            return "ae";
        case 0x153:
            return "oe";
        case 0xF8:
            return "o";
        case 0x142:
            return "l";
        case 0x111:
        case 0xF0:
            return "d";
        case 0x127:
            return "h";
        case 0x131:
            return "i";
        case 0xFE:
            return "th";
        default:
            return {};
    }
}

// One word under way.
class Collected {
public:
    void add(char letter) {
        // The e of ae, oe, ue: written out or left out, it is the same word.
        const char last = word_.empty() ? '\0' : word_.back();
        if (letter == 'e' && !dropped_ && (last == 'a' || last == 'o' || last == 'u')) {
            dropped_ = true;
            return;
        }
        dropped_ = false;
        if (word_.size() < kWordBytesMax) word_ += letter;
    }
    void add(utf8proc_int32_t c) {
        if (c < 0x80) return add(static_cast<char>(c));
        if (const std::string_view plain = plain_letter(c); !plain.empty()) {
            for (const char letter : plain) add(letter);
            return;
        }
        std::array<utf8proc_uint8_t, 4> bytes{};
        const auto size = static_cast<std::size_t>(utf8proc_encode_char(c, bytes.data()));
        dropped_ = false;
        if (word_.size() + size <= kWordBytesMax)
            word_.append(reinterpret_cast<const char*>(bytes.data()), size);
    }
    bool empty() const { return word_.empty(); }
    std::string take() {
        dropped_ = false;
        return std::exchange(word_, {});
    }

private:
    std::string word_;
    bool dropped_ = false;
};

// What a code point is to words.
enum class Role : unsigned char { part, mark, divider };

Role fold_code_point(utf8proc_int32_t c, Collected& word) {
    std::array<utf8proc_int32_t, 24> parts{};
    int boundary = 0;
    const auto options =
        static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD |
                                       UTF8PROC_STRIPMARK | UTF8PROC_IGNORE);
    const auto count = utf8proc_decompose_char(
        c, parts.data(), static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
    if (count == 0) return Role::mark;
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) return Role::divider;
    bool any = false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
        if (is_letter_or_digit(parts[i])) {
            word.add(parts[i]);
            any = true;
        }
    return any ? Role::part : Role::divider;
}

}  // namespace

std::vector<Word> words_of(std::string_view utf8) {
    std::vector<Word> words;
    Collected word;
    std::size_t begin = 0, end = 0;
    const auto finish = [&] {
        if (!word.empty()) words.push_back({word.take(), begin, end});
    };
    for (std::size_t i = 0; i < utf8.size();) {
        const char byte = utf8[i];
        std::size_t size = 1;
        Role role = Role::divider;
        const bool starts = word.empty();
        if (static_cast<unsigned char>(byte) < 0x80) {
            if (is_ascii_letter_or_digit(byte)) {
                word.add(byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte);
                role = Role::part;
            }
        } else {
            utf8proc_int32_t c = 0;
            const auto read =
                utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()) + i,
                                 static_cast<utf8proc_ssize_t>(utf8.size() - i), &c);
            if (read > 0) {
                size = static_cast<std::size_t>(read);
                role = fold_code_point(c, word);
            }
        }
        if (role == Role::divider) {
            finish();
        } else if (role == Role::part || !starts) {
            if (starts) begin = i;
            end = i + size;
        }
        i += size;
    }
    finish();
    return words;
}

std::string folded(std::string_view utf8) {
    std::string all;
    for (const Word& word : words_of(utf8)) {
        if (!all.empty()) all += ' ';
        all += word.folded;
    }
    return all;
}

std::vector<std::string> forms_of(const std::string& word) {
    std::vector<std::string> forms{word};
    if (!std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; }))
        return forms;
    const auto ends_with = [&](std::string_view ending) {
        return word.size() >= ending.size() + kStemBytesMin &&
               word.compare(word.size() - ending.size(), ending.size(), ending) == 0;
    };
    std::string stem = word;
    for (const std::string_view ending : {"ern", "em", "en", "er", "es", "e"})
        if (ends_with(ending)) {
            stem.resize(word.size() - ending.size());
            break;
        }
    if (stem == word && (ends_with("s") || ends_with("n"))) {
        const char before = word[word.size() - 2];
        const std::string_view after_s = "bdfghklmnrt", after_n = "lr";
        const std::string_view fitting = word.back() == 's' ? after_s : after_n;
        if (fitting.find(before) != std::string_view::npos) stem.pop_back();
    }
    if (stem.size() < kStemBytesMin) return forms;
    const bool swallows_e = std::string_view("aou").find(stem.back()) != std::string_view::npos;
    for (std::string_view ending : {"", "e", "en", "em", "er", "ern", "es", "n", "s"}) {
        if (swallows_e && !ending.empty() && ending.front() == 'e') ending.remove_prefix(1);
        std::string form = stem + std::string(ending);
        if (std::find(forms.begin(), forms.end(), form) == forms.end())
            forms.push_back(std::move(form));
    }
    return forms;
}

}  // namespace rapport
