// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "rapport/kinds/state_request.hpp"
#include "store/capture.hpp"
#include "store/core.hpp"
#include "store/identity.hpp"
#include "store/lost_rows.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/recovery.hpp"
#include "store/schema.hpp"
#include "store/users.hpp"

namespace rapport {
namespace {

// Graver states decide for a record with several bundles, and for a visit with its children.
int gravity(SyncState state) {
    switch (state) {
        case SyncState::confirmed:
            return 0;
        case SyncState::sent:
            return 1;
        case SyncState::queued:
            return 2;
        case SyncState::draft:
            return 3;
        case SyncState::waits:
            return 4;
        case SyncState::conflict:
            return 5;
        case SyncState::review:
            return 6;
        case SyncState::refused:
            return 7;
    }
    return 0;
}

// Bundles that stay until somebody, or a later sync, does something about them: drafts, refused, in
// review, told `later`.
std::set<std::int64_t> staying(sqlite::Database& db) {
    std::set<std::int64_t> ids;
    auto select = db.prepare(
        "SELECT id FROM bundle INDEXED BY bundle_held WHERE (state <> 1 OR later_run <> 0) AND "
        "(state IN (0, 3, 4) OR (state = 1 AND later_run > 0))");
    while (select.step()) ids.insert(select.integer(0));
    return ids;
}

// Those of them that a bundle waits for, directly or through others.
std::vector<std::int64_t> held_needs(sqlite::Database& db, std::int64_t bundle) {
    const std::set<std::int64_t> stay = staying(db);
    if (stay.empty()) return {};
    std::vector<std::int64_t> ids;
    for (const std::int64_t needed : with_all_needed(db, {bundle}))
        if (needed != bundle && stay.contains(needed)) ids.push_back(needed);
    return ids;
}

RecordStatus status_of(sqlite::Database& db, const RecordId& id) {
    auto loaded = load(db, id);
    if (!loaded) loaded = without_row(db, id);
    if (!loaded) throw Error(ErrorCode::not_found, "there is no record " + id.text());
    RecordStatus status;
    status.conflict = (loaded->row.status & kRowConflict) != 0;
    status.state = status.conflict ? SyncState::conflict : SyncState::confirmed;
    for (const PendingChange& change : loaded->pending) {
        const auto bundle = load_bundle(db, change.bundle);
        SyncState state = SyncState::queued;
        switch (bundle->state) {
            case BundleState::draft:
                state = SyncState::draft;
                break;
            case BundleState::frozen:
                state = SyncState::sent;
                break;
            case BundleState::refused:
                state = SyncState::refused;
                break;
            case BundleState::review:
                state = SyncState::review;
                break;
            case BundleState::queued: {
                const auto held = held_needs(db, bundle->id);
                if (bundle->later_run > 0 || !held.empty()) state = SyncState::waits;
                for (const std::int64_t h : held)
                    for (const auto& [record, kind] : records_of(db, h))
                        status.waits_for.push_back(record);
            }
        }
        if (state == SyncState::refused || state == SyncState::review ||
            (state == SyncState::waits && bundle->later_run > 0))
            status.reasons.insert(status.reasons.end(), bundle->reasons.begin(),
                                  bundle->reasons.end());
        if (gravity(state) > gravity(status.state)) status.state = state;
    }
    return status;
}

// Records of this file that name `id` in an indexed reference, for the aggregated status.
std::vector<RecordId> children_of(sqlite::Database& db, const RecordId& id) {
    std::vector<RecordId> children;
    for (const Kind* kind : all_kinds())
        for (const Field& field : kind->fields) {
            if (field.type.shape != Shape::reference || field.is_keyed() || !field.marks.indexed)
                continue;
            auto select = db.prepare("SELECT id FROM \"" + kind->name + "\" WHERE \"" +
                                     column_of(field) + "\" = ? AND status & 8 = 0");
            select.bind(1, id);
            while (select.step()) children.push_back(select.id(0));
        }
    return children;
}

// Bundles of some states that do not go on by themselves: they stay, or wait for one that does.
std::vector<std::int64_t> held_of(sqlite::Database& db, const std::string& states) {
    std::vector<std::int64_t> ids;
    Held held(db, staying(db));
    if (held.empty()) return ids;
    auto select =
        db.prepare("SELECT id, needs FROM bundle WHERE state IN (" + states + ") ORDER BY id");
    while (select.step())
        if (held.holds(select.integer(0), needs_in(select, 1))) ids.push_back(select.integer(0));
    return ids;
}

std::vector<TitledRecord> titled_records_of(sqlite::Database& db, std::int64_t bundle) {
    std::vector<TitledRecord> titled;
    for (const auto& [id, kind] : records_of(db, bundle))
        if (const auto row = load_row(db, id); row || kind)
            titled.push_back({kind, id, row ? title(row->record()) : std::string()});
    return titled;
}

constexpr std::int64_t kTurnedDownMs = 30LL * 24 * 3600 * 1000;

std::vector<TurnedDown> requests_turned_down(sqlite::Database& db, const std::string& rep,
                                             const Instant& now) {
    const Kind& kind = kind_of<StateRequest>();
    std::vector<TurnedDown> found;
    std::set<RecordId> seen;
    auto select = db.prepare(
        "SELECT id FROM state_request WHERE created_at >= ? AND created_by = ? AND status & 8 = 0 "
        "ORDER BY created_at DESC, row DESC LIMIT 1000");
    select.bind(1, Instant(now.at - Milliseconds(kTurnedDownMs)).packed()).bind(2, rep);
    while (select.step()) {
        const Record request = load_row(db, kind, select.id(0))->record();
        const std::string* subject = request.value("subject_id").text();
        const auto id = subject ? RecordId::from_bytes(*subject) : std::nullopt;
        if (!id || !seen.insert(*id).second) continue;
        const auto why = turned_down(request);
        const auto row = why ? load_row(db, *id) : std::nullopt;
        const Value& to = request.value("to");
        if (!row || row->record().value("state") == to) continue;
        const std::int64_t* at = request.value("verdict_at").integer();
        found.push_back({request.id,
                         {row->kind, *id, title(row->record())},
                         to.text() ? *to.text() : std::string(),
                         at ? Instant::unpack(*at) : Instant(),
                         *why});
    }
    return found;
}

std::optional<Instant> meta_instant(sqlite::Database& db, std::string_view key) {
    const auto packed = meta_integer(db, key);
    return packed ? std::optional(Instant::unpack(*packed)) : std::nullopt;
}

SyncState state_of(const BundleRow& bundle) {
    switch (bundle.state) {
        case BundleState::draft:
            return SyncState::draft;
        case BundleState::refused:
            return SyncState::refused;
        case BundleState::review:
            return SyncState::review;
        case BundleState::queued:
        case BundleState::frozen:
            break;
    }
    return SyncState::waits;
}

std::size_t count_of(sqlite::Database& db, const std::string& sql) {
    auto select = db.prepare(sql);
    select.step();
    return static_cast<std::size_t>(select.integer(0));
}

}  // namespace

RecordStatus Store::status(const RecordId& id) const {
    const Core::Reading reading(*core_);
    return status_of(reading.db, id);
}

RecordStatus Store::status_with_children(const RecordId& id) const {
    const Core::Reading reading(*core_);
    RecordStatus whole = status_of(reading.db, id);
    std::set<RecordId> seen{id};
    std::vector<RecordId> open = children_of(reading.db, id);
    while (!open.empty()) {
        const RecordId child = open.back();
        open.pop_back();
        if (!seen.insert(child).second) continue;
        const RecordStatus status = status_of(reading.db, child);
        if (gravity(status.state) > gravity(whole.state)) whole.state = status.state;
        whole.conflict |= status.conflict;
        whole.reasons.insert(whole.reasons.end(), status.reasons.begin(), status.reasons.end());
        whole.waits_for.insert(whole.waits_for.end(), status.waits_for.begin(),
                               status.waits_for.end());
        for (const RecordId& grandchild : children_of(reading.db, child))
            open.push_back(grandchild);
    }
    return whole;
}

std::vector<HeldBundle> Store::held() const {
    const Core::Reading reading(*core_);
    sqlite::Database& db = reading.db;
    std::vector<HeldBundle> held;
    for (const std::int64_t id : held_of(db, "1, 3, 4")) {
        BundleRow row = *load_bundle(db, id);
        HeldBundle& bundle = held.emplace_back();
        bundle.state = state_of(row);
        bundle.captured_at = Instant::unpack(row.captured_at);
        bundle.records = titled_records_of(db, id);
        bundle.reasons = std::move(row.reasons);
        if (bundle.state != SyncState::waits) continue;
        for (const std::int64_t needed : held_needs(db, id)) {
            const BundleRow other = *load_bundle(db, needed);
            bundle.waits_for.push_back({state_of(other),
                                        other.reasons.empty() ? "" : other.reasons.front().code,
                                        titled_records_of(db, needed)});
        }
    }
    return held;
}

Overview Store::overview() const {
    const Core::Reading reading(*core_);
    sqlite::Database& db = reading.db;
    Overview o;
    o.logged_out = logged_out(db);
    o.drafts = count_of(db, "SELECT COUNT(*) FROM bundle WHERE state = 0");
    o.sent = count_of(db, "SELECT COUNT(*) FROM bundle WHERE state = 2");
    o.refused = count_of(db, "SELECT COUNT(*) FROM bundle WHERE state = 3");
    o.review = count_of(db, "SELECT COUNT(*) FROM bundle WHERE state = 4");
    o.waiting = held_of(db, "1").size();
    o.queued = count_of(db, "SELECT COUNT(*) FROM bundle WHERE state = 1") - o.waiting;
    auto earliest = db.prepare(
        "SELECT MIN(captured_at) FROM bundle WHERE state <> 0 AND NOT (state = 2 AND verdict IS "
        "1)");
    if (earliest.step() && !earliest.is_null(0))
        o.unreceived_since = Instant::unpack(earliest.integer(0));
    o.last_sync = meta_instant(db, "last_sync");
    o.forked_at = meta_instant(db, "forked_at");
    o.recovered_at = meta_instant(db, "recovered_at");
    o.recovering = open_recovery(db).has_value();
    o.revoked = meta_integer(db, "revoked").has_value();
    o.declined = meta_integer(db, "declined").has_value();
    if (const auto identity = stored_identity(db)) {
        o.enrolled = true;
        o.server = identity->server;
        o.tenant = identity->tenant;
        o.role = name_of(identity->role);
        o.scopes = identity->scopes;
    }
    o.rep = author(db);
    o.turned_down = requests_turned_down(db, o.rep, core_->now());
    static constexpr char kDigits[] = "0123456789abcdef";
    for (int shift = 60; shift >= 0; shift -= 4)
        o.file_id += kDigits[(core_->file() >> shift) & 15];
    o.conflicts = conflicts().size();
    auto incomplete = db.prepare("SELECT scope FROM incomplete ORDER BY scope");
    while (incomplete.step()) o.incomplete.emplace_back(incomplete.text(0));
    o.departed = count_of(db, "SELECT COUNT(*) FROM departed");
    const auto count_in = [&](const char* key) {
        return static_cast<std::size_t>(meta_integer(db, key).value_or(0));
    };
    if (const auto at = meta_integer(db, "compared_at")) o.compared_at = Instant::unpack(*at);
    if (const auto at = meta_integer(db, "mended_at")) o.mended_at = Instant::unpack(*at);
    o.mended = count_in("mended");
    o.differing = count_in("differing");
    return o;
}

std::vector<Departed> Store::departed(std::size_t limit) const {
    const Core::Reading reading(*core_);
    auto select = reading.db.prepare(
        "SELECT kind, record, at, left_at, scope FROM departed ORDER BY left_at DESC, at DESC, "
        "record LIMIT ?");
    select.bind(1, static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX)));
    std::vector<Departed> found;
    while (select.step()) {
        const Kind* kind = kind_numbered(static_cast<std::uint16_t>(select.integer(0)));
        if (!kind) continue;
        std::optional<Instant> at;
        if (!select.is_null(2)) at = Instant::unpack(select.integer(2));
        found.push_back({kind, select.id(1), at, Instant::unpack(select.integer(3)),
                         std::string(select.text(4))});
    }
    return found;
}

}  // namespace rapport
