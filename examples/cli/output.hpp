// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "rapport/refusal.hpp"

/// What the programs print when they list something: one set of rows, four ways to read it.
namespace rapport::cli {

enum class Format : std::uint8_t {
    table,  ///< aligned columns for people; control characters shown as spaces, long cells cut with
            ///< an ellipsis
    json,   ///< one array of objects
    csv,    ///< RFC 4180 with a header line, lines end in LF
    ndjson,  ///< one object a line
};
std::optional<Format> format_named(std::string_view name);
/// The names, for `--help` and for checking arguments.
inline const std::vector<std::string> kFormatNames{"table", "json", "csv", "ndjson"};

/// One cell. Numbers, booleans and null keep their type in JSON; a raw cell is JSON already.
struct Cell {
    enum class Kind : std::uint8_t { null, text, number, boolean, raw };
    Kind kind = Kind::null;
    std::string text;  ///< null: empty; boolean: `true` or `false`; raw: the JSON
    bool cut = true;   ///< may a table shorten it? ids and codes say no

    Cell() = default;
    Cell(std::string t) : kind(Kind::text), text(std::move(t)) {}
    Cell(std::string_view t) : Cell(std::string(t)) {}
    Cell(const char* t) : Cell(std::string(t)) {}
    template <class N>
    requires(std::is_integral_v<N> && !std::is_same_v<N, bool>) Cell(N n)
        : kind(Kind::number), text(std::to_string(n)) {}
    template <class B>
    requires std::is_same_v<B, bool> Cell(B b) : kind(Kind::boolean), text(b ? "true" : "false") {}

    /// Text that a table never shortens.
    static Cell whole(std::string t);
    /// JSON as it stands; a table and CSV show a string without its quotes and anything else as
    /// JSON.
    static Cell raw(std::string json);
};

/// Columns of a terminal a text takes (East Asian wide 2, combining marks 0). Bytes that are no
/// UTF-8 count one each.
std::size_t display_width(std::string_view utf8);
/// At most `columns` wide, the last one an ellipsis if something was cut; control characters become
/// spaces.
std::string fitted(std::string_view utf8, std::size_t columns);

/// Prints rows as they come. A table holds back its first 1,000 rows to find the column widths, so
/// memory stays flat. Errors: Error(invalid_argument) for a row with another number of cells.
/// Confined.
class Rows {
public:
    /// `width` is the terminal's; 0 = as wide as the cells are, 80 columns a cell at most.
    Rows(std::ostream& out, Format format, std::vector<std::string> columns, std::size_t width = 0);
    ~Rows();
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;

    void add(std::vector<Cell> row);
    /// Prints what was held back and the end of the document; nothing may be added afterwards. Done
    /// by the destructor if nobody called it.
    void finish();
    std::size_t count() const { return count_; }

private:
    void print_table_head();
    void print_table_row(const std::vector<Cell>& row);

    std::ostream& out_;
    Format format_;
    std::vector<std::string> columns_;
    std::size_t width_;
    std::vector<std::vector<Cell>> held_;
    std::vector<std::size_t> widths_;
    std::vector<bool> right_;
    std::size_t count_ = 0;
    bool finished_ = false;
};

/// Columns of the terminal behind a file descriptor; 0 if it is none.
std::size_t terminal_width(int descriptor);

/// The language that LC_ALL, LC_MESSAGES or LANG names, whichever is set first; else English.
Language language_of_environment();
/// `en` or `de`.
std::string code_of(Language language);

/// A JSON string with its quotes.
std::string json_string(std::string_view utf8);

}  // namespace rapport::cli
