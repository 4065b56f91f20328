// SPDX-License-Identifier: Apache-2.0
#include "model/validation.hpp"
#include "store/capture.hpp"

namespace rapport {
namespace {

// The draft a record is part of; 0 if none.
std::int64_t draft_of(const Loaded& loaded) {
    for (const PendingChange& change : loaded.pending)
        if (change.state == BundleState::draft) return change.bundle;
    return 0;
}

Loaded draft_record(sqlite::Database& db, const RecordId& id) {
    auto loaded = load(db, id);
    if (!loaded) throw Error(ErrorCode::not_found, "there is no record " + id.text());
    if (draft_of(*loaded) == 0)
        throw Error(ErrorCode::conflict, "record " + id.text() + " is not a draft");
    return *std::move(loaded);
}

}  // namespace

Captured Store::submit(const RecordId& any_record_of_the_draft) {
    Core::Writing writing(*core_);
    const std::int64_t bundle = draft_of(draft_record(writing.db, any_record_of_the_draft));
    const auto records = records_of(writing.db, bundle);
    Captured captured;
    for (const auto& [id, kind] : records) {
        check_record(load_row(writing.db, id)->record(), captured.refusals);
        captured.ids.push_back(id);
    }
    if (!captured) return captured;
    BundleRow row = *load_bundle(writing.db, bundle);
    row.state = BundleState::queued;
    save_bundle(writing.db, row);
    for (const auto& [id, kind] : records) {
        auto loaded = load(writing.db, id);
        save_with_pending(writing.db, loaded->row, loaded->pending);
        writing.changed(*kind, id);
    }
    writing.commit();
    return captured;
}

void Store::discard(const RecordId& any_record_of_the_draft) {
    Core::Writing writing(*core_);
    const std::int64_t bundle = draft_of(draft_record(writing.db, any_record_of_the_draft));
    auto needed = writing.db.prepare("SELECT 1 FROM needs WHERE needed = ?");
    if (needed.bind(1, bundle).step())
        throw Error(ErrorCode::conflict, "something captured later refers to this draft");
    needed.reset();
    const auto records = records_of(writing.db, bundle);
    std::vector<Loaded> loaded;
    for (const auto& [id, kind] : records) loaded.push_back(*load(writing.db, id));
    delete_bundle(writing.db, bundle);
    for (Loaded& l : loaded) {
        bool made_here = false;
        std::erase_if(l.pending, [&](const PendingChange& c) {
            if (c.bundle == bundle) made_here = c.creates;
            return c.bundle == bundle;
        });
        if (made_here)
            delete_row(writing.db, l.row);
        else
            save_with_pending(writing.db, l.row, l.pending);
        writing.changed(*l.row.kind, l.row.id);
    }
    writing.commit();
}

}  // namespace rapport
