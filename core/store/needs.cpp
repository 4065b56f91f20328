// SPDX-License-Identifier: Apache-2.0
#include "store/needs.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "model/archive.hpp"

namespace rapport {

namespace {

std::optional<std::vector<std::int64_t>> decoded(const sqlite::Statement& row, int column) {
    std::vector<std::int64_t> needs;
    if (row.is_null(column)) return needs;
    try {
        WireReader r(row.blob(column));
        needs.resize(r.count());
        for (std::int64_t& needed : needs) needed = static_cast<std::int64_t>(r.varint());
        r.finish();
    } catch (const Error&) {
        return std::nullopt;
    }
    return needs;
}

// `change(bundle, needs)` says whether it has changed them.
template <class Change>
void change_needs(sqlite::Database& db, Change change) {
    std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>> changed;
    {
        auto select = db.prepare("SELECT id, needs FROM bundle WHERE needs IS NOT NULL");
        while (select.step()) {
            std::vector<std::int64_t> needs = needs_in(select, 1);
            if (change(select.integer(0), needs))
                changed.emplace_back(select.integer(0), std::move(needs));
        }
    }
    for (const auto& [bundle, needs] : changed) save_needs(db, bundle, needs);
}

}  // namespace

std::vector<std::int64_t> needs_in(const sqlite::Statement& row, int column) {
    return decoded(row, column).value_or(std::vector<std::int64_t>{});
}

bool has_sound_needs(sqlite::Database& db, std::int64_t bundle) {
    auto select = db.prepare("SELECT needs FROM bundle WHERE id = ?");
    return !select.bind(1, bundle).step() || decoded(select, 0).has_value();
}

std::vector<std::int64_t> needs_of(sqlite::Database& db, std::int64_t bundle) {
    auto select = db.prepare("SELECT needs FROM bundle WHERE id = ?");
    return select.bind(1, bundle).step() ? needs_in(select, 0) : std::vector<std::int64_t>{};
}

void bind_needs(sqlite::Statement& statement, int index, const std::vector<std::int64_t>& needs) {
    if (needs.empty()) {
        statement.bind_null(index);
        return;
    }
    WireWriter w;
    w.varint(needs.size());
    for (const std::int64_t needed : needs) w.varint(static_cast<std::uint64_t>(needed));
    statement.bind_blob(index, w.str());
}

void save_needs(sqlite::Database& db, std::int64_t bundle, const std::vector<std::int64_t>& needs) {
    auto update = db.prepare("UPDATE bundle SET needs = ? WHERE id = ?");
    bind_needs(update, 1, needs);
    update.bind(2, bundle).run();
}

void add_needs(sqlite::Database& db, std::int64_t bundle, const std::vector<std::int64_t>& more) {
    if (more.empty()) return;
    const std::vector<std::int64_t> known = needs_of(db, bundle);
    std::set<std::int64_t> all(known.begin(), known.end());
    all.insert(more.begin(), more.end());
    if (all.size() != known.size()) save_needs(db, bundle, {all.begin(), all.end()});
}

void forget_shared(sqlite::Database& db, std::int64_t bundle, const RecordId& record) {
    const auto depends = [&](std::int64_t later, std::int64_t needed) {
        auto select = db.prepare(
            "SELECT 1 FROM change a JOIN change b ON b.record = a.record WHERE a.bundle = ?1 AND "
            "b.bundle = ?2 UNION ALL SELECT 1 FROM change WHERE bundle = ?2 AND creates LIMIT 1");
        return select.bind(1, later).bind(2, needed).step();
    };
    std::set<std::int64_t> concerned{bundle};
    {
        auto select = db.prepare("SELECT bundle FROM change WHERE record = ?");
        select.bind(1, record);
        while (select.step()) concerned.insert(select.integer(0));
    }
    for (const std::int64_t later : concerned) {
        std::vector<std::int64_t> needs = needs_of(db, later);
        const auto gone = std::erase_if(needs, [&](std::int64_t needed) {
            return (later == bundle || needed == bundle) && !depends(later, needed);
        });
        if (gone > 0) save_needs(db, later, needs);
    }
}

void insert_need(std::vector<std::int64_t>& needs, std::int64_t bundle) {
    const auto at = std::lower_bound(needs.begin(), needs.end(), bundle);
    if (at == needs.end() || *at != bundle) needs.insert(at, bundle);
}

void need_instead(sqlite::Database& db, const std::set<std::int64_t>& joined, std::int64_t whole) {
    change_needs(db, [&](std::int64_t bundle, std::vector<std::int64_t>& needs) {
        const auto gone =
            std::erase_if(needs, [&](std::int64_t needed) { return joined.contains(needed); });
        if (gone > 0 && bundle != whole) insert_need(needs, whole);
        return gone > 0;
    });
}

void forget_ids_to_come(sqlite::Database& db) {
    auto select = db.prepare("SELECT max(id) FROM bundle");
    const std::int64_t last = select.step() ? select.integer(0) : 0;
    select.reset();
    change_needs(db, [&](std::int64_t, std::vector<std::int64_t>& needs) {
        return std::erase_if(needs, [&](std::int64_t needed) { return needed > last; }) > 0;
    });
}

bool is_needed(sqlite::Database& db, std::int64_t bundle) {
    auto select = db.prepare("SELECT needs FROM bundle WHERE needs IS NOT NULL");
    while (select.step()) {
        const std::vector<std::int64_t> needs = needs_in(select, 0);
        if (std::find(needs.begin(), needs.end(), bundle) != needs.end()) return true;
    }
    return false;
}

std::set<std::int64_t> with_all_needed(sqlite::Database& db, std::set<std::int64_t> bundles) {
    std::vector<std::int64_t> open(bundles.begin(), bundles.end());
    while (!open.empty()) {
        const std::int64_t bundle = open.back();
        open.pop_back();
        for (const std::int64_t needed : needs_of(db, bundle))
            if (bundles.insert(needed).second) open.push_back(needed);
    }
    return bundles;
}

bool Held::holds(std::int64_t bundle, const std::vector<std::int64_t>& needs) {
    if (held_.contains(bundle)) return true;
    std::set<std::int64_t> behind{bundle};
    for (std::vector<std::int64_t> open = needs; !open.empty();) {
        const std::int64_t needed = open.back();
        open.pop_back();
        if (held_.contains(needed)) {
            held_.insert(bundle);
            return true;
        }
        if (free_.contains(needed) || !behind.insert(needed).second) continue;
        const std::vector<std::int64_t> more = needs_of(db_, needed);
        open.insert(open.end(), more.begin(), more.end());
    }
    free_.merge(behind);
    return false;
}

}  // namespace rapport
