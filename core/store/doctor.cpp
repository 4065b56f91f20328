// SPDX-License-Identifier: Apache-2.0
#include "store/doctor.hpp"

#include <algorithm>

#include "model/bundle.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/recovery.hpp"
#include "store/rows.hpp"
#include "store/schema.hpp"
#include "store/search.hpp"

namespace rapport {
namespace {

class Doctor {
public:
    explicit Doctor(sqlite::Database& db) : db_(db) {}

    Diagnosis examine() {
        attempt([&] { ask_sqlite(); });
        for (const Kind* kind : all_kinds()) attempt([&] { examine_rows(*kind); });
        attempt([&] { examine_bundles(); });
        attempt([&] {
            for (std::string& finding : examine_index(db_))
                found_.findings.push_back(std::move(finding));
        });
        attempt([&] { compare_with_server(); });
        return std::move(found_);
    }

private:
    template <class Action>
    void attempt(Action action) {
        try {
            action();
        } catch (const Error& e) {
            found_.findings.emplace_back(e.what());
        }
    }

    void ask_sqlite() {
        auto statement = db_.prepare("PRAGMA integrity_check");
        while (statement.step())
            if (statement.text(0) != "ok") found_.findings.emplace_back(statement.text(0));
    }

    void examine_rows(const Kind& kind) {
        auto statement = db_.prepare(select_of(kind) + " ORDER BY row");
        while (statement.step()) {
            const std::string number = std::to_string(statement.integer(0));
            try {
                examine_row(row_at(statement, kind));
            } catch (const Error& e) {
                found_.findings.push_back(kind.name + " row " + number + ": " + e.what());
            }
        }
        count_rows(kind);
        if (kind.field(common_field::external_ids))
            examine_none(
                "SELECT count(*) FROM external_id WHERE kind=" + std::to_string(kind.number) +
                    " AND record NOT IN (SELECT id FROM " + identifier(kind.name) + ")",
                "external ids of a " + kind.name + " that is not there");
    }

    void count_rows(const Kind& kind) {
        auto count =
            db_.prepare("SELECT count(*), total(status&3<>0) FROM " + identifier(kind.name));
        if (count.step() && count.integer(0) > 0)
            found_.counts.push_back({&kind, static_cast<std::size_t>(count.integer(0)),
                                     static_cast<std::size_t>(count.integer(1))});
    }

    void examine_row(const Row& row) {
        auto changes = db_.prepare("SELECT 1 FROM change WHERE record=? LIMIT 1");
        changes.bind(1, row.id);
        const bool pending = changes.step(), marked = row.status & (kRowDraft | kRowPending);
        if (pending != marked)
            find(row, pending ? "has unsent changes and no mark of them"
                              : "is marked as unsent without a change");
        if (pending) {
            load_pending(db_, row);
            return;
        }
        if (!row.confirmed_once) {
            find(row, "is neither known to the server nor to be sent");
            return;
        }
        if (conflicted(row.confirmed) != ((row.status & kRowConflict) != 0))
            find(row, "is wrongly marked about a conflict");
        for (const Field* field : wrongly_shown(row))
            find(row, "shows another " + field->name + " than was confirmed");
    }

    void examine_bundles() {
        examine_none("SELECT count(*) FROM change WHERE bundle NOT IN (SELECT id FROM bundle)",
                     "changes without a bundle");
        // Of one that was sent an erasure order may have left none.
        examine_none(
            "SELECT count(*) FROM bundle WHERE state NOT IN (2,4) AND id NOT IN (SELECT bundle "
            "FROM "
            "change)",
            "bundles without a change");
        examine_none("SELECT count(*) FROM parked WHERE user NOT IN (SELECT id FROM user)",
                     "parked rows of nobody");
        examine_needs();
        examine_none(
            "SELECT count(*) FROM request_bundle WHERE bundle NOT IN (SELECT id FROM bundle WHERE "
            "state=2)",
            "bundles in flight that are not frozen");
        examine_none("SELECT count(*) FROM request_bundle WHERE NOT EXISTS(SELECT 1 FROM request)",
                     "bundles in flight without a request");
        examine_none("SELECT count(*) FROM bundle WHERE (state IN (2,4))<>(counter IS NOT NULL)",
                     "bundles whose number does not fit their state");
        examine_none("SELECT count(*) FROM bundle WHERE state NOT BETWEEN 0 AND 4",
                     "bundles in an unknown state");
        examine_none("SELECT count(counter)-count(DISTINCT counter) FROM bundle",
                     "bundle numbers given twice");
        for (const Kind* kind : all_kinds())
            examine_none("SELECT count(*) FROM change WHERE kind=" + std::to_string(kind->number) +
                             " AND record NOT IN (SELECT id FROM " + identifier(kind->name) + ")",
                         "changes of a " + kind->name + " that is not there");
        auto frozen = db_.prepare("SELECT id, counter, bytes FROM bundle WHERE state=?");
        frozen.bind(1, static_cast<std::int64_t>(BundleState::frozen));
        while (frozen.step()) {
            const std::string name = "bundle " + std::to_string(frozen.integer(0));
            try {
                if (decode_bundle(frozen.blob(2)).counter != frozen.unsigned_integer(1))
                    found_.findings.push_back(name + " was frozen under another counter");
            } catch (const Error& e) {
                found_.findings.push_back(name + ": " + e.what());
            }
        }
    }

    // Those it needed may have gone, but the next one is nothing to it.
    void examine_needs() {
        auto select = db_.prepare(
            "SELECT id, needs, (SELECT max(id) FROM bundle) FROM bundle WHERE needs IS NOT NULL");
        while (select.step()) {
            const std::int64_t id = select.integer(0);
            const std::vector<std::int64_t> needs = needs_in(select, 1);
            if (std::any_of(needs.begin(), needs.end(), [&](std::int64_t needed) {
                    return needed == id || needed > select.integer(2);
                }))
                found_.findings.push_back("bundle " + std::to_string(id) +
                                          " waits for itself or one that is yet to come");
            if (!has_sound_needs(db_, id))
                found_.findings.push_back("bundle " + std::to_string(id) +
                                          " no longer says what it waits for");
        }
    }

    // Numbers are given in sending order without gaps, so the receipt divides what was sent.
    void compare_with_server() {
        found_.sent = static_cast<std::uint64_t>(meta_integer(db_, "counter").value_or(0));
        auto entry = db_.prepare("SELECT receipt FROM entry ORDER BY seq DESC LIMIT 1");
        if (entry.step()) found_.receipt = entry.unsigned_integer(0);
        // Until the recovery has ended the entries are those of before.
        if (open_recovery(db_)) return;
        if (found_.receipt > found_.sent)
            found_.findings.push_back("the server has acknowledged bundle " +
                                      std::to_string(found_.receipt) + ", but only " +
                                      std::to_string(found_.sent) + " were sent");
        auto frozen =
            db_.prepare("SELECT counter, verdict IS NULL FROM bundle WHERE state=2 ORDER BY 1");
        std::uint64_t last = 0;
        while (frozen.step()) {
            const std::uint64_t counter = frozen.unsigned_integer(0);
            const std::string name = "bundle number " + std::to_string(counter);
            if (counter > found_.sent)
                found_.findings.push_back(name + " is beyond the last number given");
            if (!frozen.integer(1)) continue;
            if (counter <= found_.receipt)
                found_.findings.push_back(name +
                                          " is acknowledged by the server and has no verdict");
            if (last != 0 && counter != last + 1)
                found_.findings.push_back(
                    "the numbers of the bundles in flight have a gap before " +
                    std::to_string(counter));
            last = counter;
            found_.unanswered.push_back(counter);
        }
    }

    void examine_none(const std::string& sql, const std::string& what) {
        auto statement = db_.prepare(sql);
        if (statement.step() && statement.integer(0) > 0)
            found_.findings.push_back(std::to_string(statement.integer(0)) + " " + what);
    }

    void find(const Row& row, const std::string& sentence) {
        found_.findings.push_back(row.kind->name + " " + row.id.text() + " " + sentence);
    }

    sqlite::Database& db_;
    Diagnosis found_;
};

}  // namespace

Diagnosis diagnose(sqlite::Database& db) { return Doctor(db).examine(); }

}  // namespace rapport
