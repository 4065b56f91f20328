// SPDX-License-Identifier: Apache-2.0
#include "rapport/store.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "model/bundle.hpp"
#include "model/json.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/rows.hpp"
#include "store/schema.hpp"
#include "store/search.hpp"

namespace rapport {
namespace {

/// Looks for what should not be. Goes on after a finding, so that one damaged row does not hide the
/// others.
class Doctor {
public:
    explicit Doctor(sqlite::Database& db) : db_(db) {}

    std::vector<std::string> examine() {
        attempt([&] { ask_sqlite(); });
        for (const Kind* kind : all_kinds()) attempt([&] { examine_rows(*kind); });
        attempt([&] { examine_bundles(); });
        attempt([&] {
            for (std::string& finding : examine_index(db_)) findings_.push_back(std::move(finding));
        });
        return std::move(findings_);
    }

private:
    template <class Action>
    void attempt(Action action) {
        try {
            action();
        } catch (const Error& e) {
            findings_.emplace_back(e.what());
        }
    }

    void ask_sqlite() {
        auto statement = db_.prepare("PRAGMA integrity_check");
        while (statement.step())
            if (statement.text(0) != "ok") findings_.emplace_back(statement.text(0));
    }

    void examine_rows(const Kind& kind) {
        auto statement = db_.prepare(select_of(kind) + " ORDER BY row");
        while (statement.step()) {
            const std::string number = std::to_string(statement.integer(0));
            try {
                examine_row(row_at(statement, kind));
            } catch (const Error& e) {
                findings_.push_back(kind.name + " row " + number + ": " + e.what());
            }
        }
        if (kind.field(common_field::external_ids))
            examine_none(
                "SELECT count(*) FROM external_id WHERE kind=" + std::to_string(kind.number) +
                    " AND record NOT IN (SELECT id FROM " + identifier(kind.name) + ")",
                "external ids of a " + kind.name + " that is not there");
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
        for (const Field& field : row.kind->fields) {
            const auto shown = row.shown.find(field.number);
            const auto state = row.confirmed.fields.find(field.number);
            const Content expected =
                state == row.confirmed.fields.end() ? Content{} : show(field, state->second);
            if ((shown == row.shown.end() ? Content{} : shown->second) != expected)
                find(row, "shows another " + field.name + " than was confirmed");
        }
    }

    void examine_bundles() {
        examine_none("SELECT count(*) FROM change WHERE bundle NOT IN (SELECT id FROM bundle)",
                     "changes without a bundle");
        examine_none("SELECT count(*) FROM bundle WHERE id NOT IN (SELECT bundle FROM change)",
                     "bundles without a change");
        examine_none(
            "SELECT count(*) FROM needs WHERE bundle NOT IN (SELECT id FROM bundle) OR needed NOT "
            "IN (SELECT id FROM bundle)",
            "bundles that wait for one that is not there");
        examine_none(
            "SELECT count(*) FROM request_bundle WHERE bundle NOT IN (SELECT id FROM bundle)",
            "bundles in flight that are not there");
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
                    findings_.push_back(name + " was frozen under another counter");
            } catch (const Error& e) {
                findings_.push_back(name + ": " + e.what());
            }
        }
    }

    void examine_none(const std::string& sql, const std::string& what) {
        auto statement = db_.prepare(sql);
        if (statement.step() && statement.integer(0) > 0)
            findings_.push_back(std::to_string(statement.integer(0)) + " " + what);
    }

    void find(const Row& row, const std::string& sentence) {
        findings_.push_back(row.kind->name + " " + row.id.text() + " " + sentence);
    }

    sqlite::Database& db_;
    std::vector<std::string> findings_;
};

}  // namespace

std::string_view name_of(SyncState state) {
    switch (state) {
        case SyncState::draft:
            return "draft";
        case SyncState::queued:
            return "queued";
        case SyncState::sent:
            return "sent";
        case SyncState::confirmed:
            return "confirmed";
        case SyncState::refused:
            return "refused";
        case SyncState::review:
            return "review";
        case SyncState::waits:
            return "waits";
        case SyncState::conflict:
            return "conflict";
    }
    return "unknown";
}

Store::Store(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Store Store::open(const std::string& path, const Options& options) {
    return Store(std::make_unique<Core>(path, options));
}

Subscription Store::observe(std::vector<const Kind*> kinds,
                            std::function<void(const Changes&)> callback) {
    const auto observers = core_->observers();
    const std::uint64_t id = observers->add(std::move(kinds), std::move(callback));
    return Subscription([observers, id] { observers->remove(id); });
}

Subscription Store::observe_records(std::vector<RecordId> ids,
                                    std::function<void(const Changes&)> callback) {
    std::sort(ids.begin(), ids.end());
    return observe({}, [ids = std::move(ids), callback = std::move(callback)](const Changes& all) {
        Changes wanted;
        for (const Changes::Of& of : all.kinds) {
            Changes::Of some{of.kind, {}};
            std::set_intersection(of.ids.begin(), of.ids.end(), ids.begin(), ids.end(),
                                  std::back_inserter(some.ids));
            if (!some.ids.empty()) wanted.kinds.push_back(std::move(some));
        }
        if (!wanted.kinds.empty()) callback(wanted);
    });
}

void Store::export_records(const Kind* kind, bool unsent_only,
                           const std::function<void(const std::string& json)>& line) const {
    const std::string unsent = "status&" + std::to_string(kRowDraft | kRowPending) + "<>0";
    // Unsent work on a record that has left this device's scopes is still the rep's.
    const std::string where =
        " WHERE " + unsent +
        (unsent_only ? "" : " OR status&" + std::to_string(kRowHidden) + "=0") + " ORDER BY row";
    Core::Reading reading(*core_);
    for (const Kind* each : kind ? std::vector{kind} : all_kinds()) {
        auto statement = reading.db.prepare(select_of(*each) + where);
        while (statement.step()) line(to_json(row_at(statement, *each).record()));
    }
}

std::vector<std::string> Store::check() const {
    Core::Reading reading(*core_);
    return Doctor(reading.db).examine();
}

RecordId Bundling::draw_id() {
    Environment& environment = store_->core().environment();
    std::array<std::uint8_t, 10> random{};
    environment.random(random);
    return time_ordered_id(environment.now().at.time_since_epoch().count(), random);
}

}  // namespace rapport
