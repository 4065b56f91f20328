// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sqlite/database.hpp"

namespace rapport::sqlite {

/// One row as it stands in a page.
struct RawRow {
    bool has_rowid = false;  ///< of a table with row numbers; else of one without, or of an index
    std::int64_t rowid = 0;
    std::vector<RawValue> values;
};

/// The pages of a database file that SQLite itself may not open any more, read without it and never
/// written to; its log, as far as it was committed, lies over them.
///
/// Follows https://sqlite.org/fileformat2.html. Every number in the file is checked before it is
/// used: a damaged page yields fewer rows, or wrong ones, and nothing worse.  Confined.
class Wreck {
public:
    /// Errors: not_found.
    explicit Wreck(const std::string& path);

    /// The rows of the table or index whose tree starts at this page. False if part of the tree
    /// could not be read.
    bool walk(std::uint32_t root, const std::function<void(RawRow)>& row);
    /// The rows on pages that no walk has come to and that are not free.
    void strays(const std::function<void(RawRow)>& row);
    std::uint32_t pages() const { return pages_; }

private:
    void read_log(const std::string& path);
    std::optional<std::string> page(std::uint32_t number);
    void mark_free_pages();
    bool visit(std::uint32_t number, int depth, const std::function<void(RawRow)>& row);
    bool read_cells(const std::string& bytes, std::uint32_t number, bool all_rows,
                    const std::function<void(RawRow)>& row, std::vector<std::uint32_t>* children);
    std::optional<RawRow> row_at(std::string_view page, std::size_t at, bool has_rowid);

    std::ifstream file_, log_;
    std::size_t size_ = 4096;
    std::uint32_t pages_ = 0;
    std::map<std::uint32_t, std::uint64_t> in_log_;  // page -> where in the log
    std::set<std::uint32_t> seen_;
};

}  // namespace rapport::sqlite
