// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "sqlite/database.hpp"

/// Which bundles a bundle waits for: those that create what it changes or names, or change a field
/// it changes. Nearly all were captured before it; only what stays open, a draft or a refused
/// bundle, may come to need a later one. Nobody waits for a bundle that is gone.
namespace rapport {

/// What a column `needs` holds: ids in rising order. None where a disk has broken it: whom such a
/// bundle leaves behind, the centre tells to come later.
std::vector<std::int64_t> needs_in(const sqlite::Statement& row, int column);
/// Can it be read, or is there none?
bool has_sound_needs(sqlite::Database& db, std::int64_t bundle);
/// None if there is no such bundle.
std::vector<std::int64_t> needs_of(sqlite::Database& db, std::int64_t bundle);
/// Into ids in rising order, if it is not among them.
void insert_need(std::vector<std::int64_t>& needs, std::int64_t bundle);
/// As parameter `index` of a statement, from ids in rising order.
void bind_needs(sqlite::Statement& statement, int index, const std::vector<std::int64_t>& needs);
void save_needs(sqlite::Database& db, std::int64_t bundle, const std::vector<std::int64_t>& needs);
/// Writes nothing when they are known; the ids may stand in any order.
void add_needs(sqlite::Database& db, std::int64_t bundle, const std::vector<std::int64_t>& more);

/// To be called when bundles become a part of another: who waits for one of them waits for that.
/// Reads the whole queue.
void need_instead(sqlite::Database& db, const std::set<std::int64_t>& joined, std::int64_t whole);
/// To be called when a bundle has lost its part in a record: it waits for nobody over that any
/// more, nor anybody for it.
void forget_shared(sqlite::Database& db, std::int64_t bundle, const RecordId& record);
/// To be called when bundles have gone: the ids behind the last one are given again, and nobody
/// waits for who gets them.
void forget_ids_to_come(sqlite::Database& db);

/// Reads the whole queue.
bool is_needed(sqlite::Database& db, std::int64_t bundle);
/// These bundles and all they need, directly and through others, gone ones among them.
std::set<std::int64_t> with_all_needed(sqlite::Database& db, std::set<std::int64_t> bundles);

/// Which bundles do not go on: some, and all that need one of them, directly or through others.
/// Borrows its database.  Confined.
class Held {
public:
    Held(sqlite::Database& db, std::set<std::int64_t> held) : db_(db), held_(std::move(held)) {}
    /// Then it holds no bundle, and nothing has to be asked of it.
    bool empty() const { return held_.empty(); }
    /// `needs` are the bundle's. Asked in rising order it looks at each bundle once.
    bool holds(std::int64_t bundle, const std::vector<std::int64_t>& needs);

private:
    sqlite::Database& db_;
    std::set<std::int64_t> held_, free_;  // as far as is known
};

}  // namespace rapport
