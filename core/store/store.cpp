// SPDX-License-Identifier: Apache-2.0
#include "rapport/store.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "model/json.hpp"
#include "store/core.hpp"
#include "store/doctor.hpp"
#include "store/rows.hpp"

namespace rapport {

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
    return rapport::diagnose(reading.db).findings;
}

Diagnosis Store::diagnose() const {
    Core::Reading reading(*core_);
    return rapport::diagnose(reading.db);
}

RecordId Bundling::draw_id() {
    Environment& environment = store_->core().environment();
    std::array<std::uint8_t, 10> random{};
    environment.random(random);
    return time_ordered_id(environment.now().at.time_since_epoch().count(), random);
}

}  // namespace rapport
