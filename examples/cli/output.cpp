// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <ostream>

#include "rapport/error.hpp"

namespace rapport::cli {

namespace {

constexpr std::size_t kRowsHeld = 1000;      // rows that decide the widths of a table
constexpr std::size_t kCellColumnsMax = 80;  // of a table that does not know its terminal
constexpr std::size_t kCellColumnsMin = 8;   // a narrow terminal cuts no cell below this
constexpr std::string_view kGap = "  ";

struct Glyph {
    std::size_t bytes = 1;
    std::size_t columns = 1;
    bool control = false;
};

Glyph glyph_at(std::string_view text) {
    utf8proc_int32_t code = -1;
    const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                        static_cast<utf8proc_ssize_t>(text.size()), &code);
    if (bytes <= 0 || code < 0) return {1, 1, true};
    const auto category = utf8proc_category(code);
    if (category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_ZL ||
        category == UTF8PROC_CATEGORY_ZP)
        return {static_cast<std::size_t>(bytes), 1, true};
    // Directional marks would reorder the cells beside them.
    if ((code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069))
        return {static_cast<std::size_t>(bytes), 1, true};
    return {static_cast<std::size_t>(bytes),
            static_cast<std::size_t>(std::max(0, utf8proc_charwidth(code))), false};
}

std::string shown(const Cell& cell) {
    if (cell.kind != Cell::Kind::raw) return cell.text;
    if (cell.text.empty() || cell.text.front() != '"')
        return cell.text == "null" ? std::string() : cell.text;
    const auto parsed = nlohmann::json::parse(cell.text, nullptr, false);
    return parsed.is_string() ? parsed.get<std::string>() : cell.text;
}

std::string json_of(const Cell& cell) {
    switch (cell.kind) {
        case Cell::Kind::null:
            return "null";
        case Cell::Kind::text:
            return json_string(cell.text);
        case Cell::Kind::number:
        case Cell::Kind::boolean:
        case Cell::Kind::raw:
            break;
    }
    return cell.text.empty() ? "null" : cell.text;
}

std::string csv_of(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string out = "\"";
    for (char c : text) {
        if (c == '"') out += '"';
        out += c;
    }
    return out += '"';
}

}  // namespace

std::optional<Format> format_named(std::string_view name) {
    for (std::size_t i = 0; i < kFormatNames.size(); ++i)
        if (kFormatNames[i] == name) return static_cast<Format>(i);
    return std::nullopt;
}

Cell Cell::whole(std::string t) {
    Cell cell(std::move(t));
    cell.cut = false;
    return cell;
}

Cell Cell::raw(std::string json) {
    Cell cell(std::move(json));
    cell.kind = Kind::raw;
    return cell;
}

std::size_t display_width(std::string_view utf8) {
    std::size_t columns = 0;
    while (!utf8.empty()) {
        const Glyph glyph = glyph_at(utf8);
        columns += glyph.columns;
        utf8.remove_prefix(glyph.bytes);
    }
    return columns;
}

std::string fitted(std::string_view utf8, std::size_t columns) {
    const bool cut = display_width(utf8) > columns;
    const std::size_t room = cut && columns > 0 ? columns - 1 : columns;
    std::string out;
    std::size_t used = 0;
    while (!utf8.empty()) {
        const Glyph glyph = glyph_at(utf8);
        if (used + glyph.columns > room) break;
        if (glyph.control)
            out += ' ';
        else
            out += utf8.substr(0, glyph.bytes);
        used += glyph.columns;
        utf8.remove_prefix(glyph.bytes);
    }
    if (cut && columns > 0) out += "…";
    return out;
}

Rows::Rows(std::ostream& out, Format format, std::vector<std::string> columns, std::size_t width)
    : out_(out), format_(format), columns_(std::move(columns)), width_(width) {}

Rows::~Rows() {
    try {
        finish();
    } catch (...) {
        // A stream that throws has told its owner; a destructor must not.
    }
}

void Rows::add(std::vector<Cell> row) {
    if (row.size() != columns_.size() || finished_)
        throw Error(ErrorCode::invalid_argument, "a row does not have the cells its columns name");
    const bool first = count_++ == 0;
    switch (format_) {
        case Format::table:
            if (widths_.empty()) {
                held_.push_back(std::move(row));
                if (held_.size() == kRowsHeld) print_table_head();
            } else {
                print_table_row(row);
            }
            return;
        case Format::csv:
            if (first)
                for (std::size_t i = 0; i < columns_.size(); ++i)
                    out_ << csv_of(columns_[i]) << (i + 1 < columns_.size() ? "," : "\n");
            for (std::size_t i = 0; i < row.size(); ++i)
                out_ << csv_of(shown(row[i])) << (i + 1 < row.size() ? "," : "\n");
            return;
        case Format::json:
        case Format::ndjson:
            break;
    }
    if (format_ == Format::json) out_ << (first ? "[\n" : ",\n");
    out_ << '{';
    for (std::size_t i = 0; i < row.size(); ++i)
        out_ << (i != 0 ? "," : "") << json_string(columns_[i]) << ':' << json_of(row[i]);
    out_ << '}';
    if (format_ == Format::ndjson) out_ << '\n';
}

void Rows::finish() {
    if (finished_) return;
    finished_ = true;
    switch (format_) {
        case Format::table:
            if (widths_.empty()) print_table_head();
            break;
        case Format::json:
            out_ << (count_ == 0 ? "[]\n" : "\n]\n");
            break;
        case Format::csv:
            if (count_ == 0)
                for (std::size_t i = 0; i < columns_.size(); ++i)
                    out_ << csv_of(columns_[i]) << (i + 1 < columns_.size() ? "," : "\n");
            break;
        case Format::ndjson:
            break;
    }
    out_.flush();
}

void Rows::print_table_head() {
    const std::size_t n = columns_.size();
    widths_.assign(n, 0);
    right_.assign(n, false);
    std::vector<bool> may_cut(n, true);
    for (std::size_t i = 0; i < n; ++i) {
        widths_[i] = display_width(columns_[i]);
        std::size_t numbers = 0, others = 0;
        for (const auto& row : held_) {
            const std::size_t wide = display_width(shown(row[i]));
            widths_[i] = std::max(widths_[i], row[i].cut ? std::min(wide, kCellColumnsMax) : wide);
            if (!row[i].cut) may_cut[i] = false;
            if (row[i].kind == Cell::Kind::number)
                ++numbers;
            else if (row[i].kind != Cell::Kind::null)
                ++others;
        }
        right_[i] = numbers > 0 && others == 0;
        if (right_[i]) may_cut[i] = false;
    }
    // Take from the widest column until the rows fit the terminal.
    const auto total = [&] {
        std::size_t sum = n == 0 ? 0 : (n - 1) * kGap.size();
        for (const std::size_t w : widths_) sum += w;
        return sum;
    };
    while (width_ > 0 && total() > width_) {
        std::size_t widest = n;
        for (std::size_t i = 0; i < n; ++i)
            if (may_cut[i] && widths_[i] > kCellColumnsMin &&
                (widest == n || widths_[i] > widths_[widest]))
                widest = i;
        if (widest == n) break;
        --widths_[widest];
    }
    std::vector<Cell> head, rule;
    for (std::size_t i = 0; i < n; ++i) {
        head.emplace_back(columns_[i]);
        std::string line;
        for (std::size_t k = 0; k < widths_[i]; ++k) line += "─";
        rule.emplace_back(std::move(line));
    }
    print_table_row(head);
    print_table_row(rule);
    for (const auto& row : held_) print_table_row(row);
    held_.clear();
    held_.shrink_to_fit();
}

void Rows::print_table_row(const std::vector<Cell>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string whole = shown(row[i]);
        const bool overflows =
            !row[i].cut || right_[i];  // a late row wider than those that set the width
        const std::string text =
            fitted(whole, overflows ? std::max(widths_[i], display_width(whole)) : widths_[i]);
        const std::size_t wide = display_width(text);
        const std::string padding(widths_[i] > wide ? widths_[i] - wide : 0, ' ');
        if (right_[i])
            line += padding + text;
        else
            line += text + padding;
        if (i + 1 < row.size()) line += kGap;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out_ << line << '\n';
}

std::size_t terminal_width(int descriptor) {
    winsize size{};
    if (isatty(descriptor) == 0 || ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col;
}

Language language_of_environment() {
    for (const char* variable : {"LC_ALL", "LC_MESSAGES", "LANG"})
        if (const char* value = std::getenv(variable); value != nullptr && *value != '\0')
            return language_named(value).value_or(Language::english);
    return Language::english;
}

std::string code_of(Language language) { return language == Language::german ? "de" : "en"; }

std::string json_string(std::string_view utf8) {
    return nlohmann::json(utf8).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace rapport::cli
