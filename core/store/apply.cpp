// SPDX-License-Identifier: Apache-2.0
#include "store/apply.hpp"

#include <algorithm>
#include <set>

#include "model/archive.hpp"
#include "model/home.hpp"
#include "model/lifecycle.hpp"
#include "model/planted.hpp"
#include "model/validation.hpp"
#include "store/comparison.hpp"
#include "store/identity.hpp"
#include "store/lost_rows.hpp"
#include "store/schema.hpp"

namespace rapport {

Stamp newest_stamp(const RecordState& state) {
    Stamp newest = 0;
    for (const auto& [number, field] : state.fields)
        for (const LiveValue& l : field.live) newest = std::max(newest, l.stamp);
    return newest;
}

void note_touched(sqlite::Database& db, const RecordId& id) {
    db.prepare(
          "INSERT OR IGNORE INTO touched(entry, record) SELECT MAX(seq), ? FROM entry HAVING "
          "MAX(seq) IS NOT NULL")
        .bind(1, id)
        .run();
}

void put_aside(sqlite::Database& db, const RecordState& record) {
    db.prepare("INSERT OR REPLACE INTO unknown_record(record, kind, body) VALUES(?,?,?)")
        .bind(1, record.id)
        .bind(2, static_cast<int>(record.kind))
        .bind_blob(3, encode_record(record))
        .run();
}

namespace {

// A record outside this device's scopes goes whatever its move number, until it comes again.
constexpr std::uint64_t kNotYours = INT64_MAX;

// The row stays, hidden, while a server that was restored may still ask for it: until `entry` has
// left the list, and for a month at most.
void note_departed(sqlite::Database& db, const Row& row, const Departure& departure,
                   std::int64_t entry) {
    const Record record = row.record();
    const Value& own = record.value(row.kind->time);
    const std::int64_t* at =
        own.integer() ? own.integer() : record.value(common_field::created_at).integer();
    auto insert = db.prepare(
        "INSERT INTO departed(record, kind, move, scope, at, left_at, entry, held) "
        "VALUES(?,?,?,?,?,?,?,1) "
        "ON CONFLICT(record) DO UPDATE SET move=excluded.move, scope=excluded.scope, "
        "left_at=excluded.left_at, entry=excluded.entry WHERE excluded.move > move");
    insert.bind(1, row.id)
        .bind(2, static_cast<int>(row.kind->number))
        .bind(3, departure.move)
        .bind(4, departure.scope);
    if (at)
        insert.bind(5, *at);
    else
        insert.bind_null(5);
    insert.bind(6, meta_integer(db, "last_sync").value_or(0)).bind(7, entry).run();
}

std::int64_t newest_entry_of(sqlite::Database& db) {
    auto select = db.prepare("SELECT COALESCE(MAX(seq), 0) FROM entry");
    select.step();
    return select.integer(0);
}

void hide(Store::Core::Writing& writing, Loaded& loaded) {
    loaded.row.status |= kRowHidden;
    save_with_pending(writing.db, loaded.row, loaded.pending);
    // A scope that was taken away is not to be asked for by anybody: the row may go at once. A
    // server restored to before that sends it again.
    note_departed(writing.db, loaded.row,
                  {loaded.row.kind->number, loaded.row.id, loaded.row.confirmed.move, {}}, 0);
    note_touched(writing.db, loaded.row.id);
    writing.changed(*loaded.row.kind, loaded.row.id);
}

class Checkpoint {
public:
    Checkpoint(Store::Core::Writing& writing, Settled& settled)
        : writing_(writing), db_(writing.db), settled_(settled) {
        identity_ = stored_identity(db_);
        if (identity_) writer_ = identity_->writer;
        run_ = meta_integer(db_, "run").value_or(1);
        renewing_ = meta_integer(db_, "renewal").has_value();
        any_changes_ = db_.prepare("SELECT 1 FROM change LIMIT 1").step();
        any_departed_ = db_.prepare("SELECT 1 FROM departed LIMIT 1").step();
        auto awaited = db_.prepare("SELECT record FROM awaited");
        while (awaited.step()) awaited_.insert(awaited.id(0));
        any_awaited_ = !awaited_.empty();
    }

    std::optional<Stamp> run(const Incoming& last_page) {
        settle_verdicts(last_page.verdicts);
        if (last_page.confirmed && !confirm(*last_page.confirmed)) return std::nullopt;
        apply_records();
        for (const IncomingRecord& record : last_page.records) apply_record(record.state());
        save_applied();
        apply_departures();
        if (last_page.checkpoint) {
            if (meta_integer(db_, "scopes_changed")) hide_awaited();
            awaited_.clear();
        }
        keep_awaited();
        return newest_;
    }

private:
    // Of all that were not applied.
    struct Judged {
        std::int64_t bundle;
        std::uint64_t counter;
        Verdict verdict;
        std::vector<Refusal> reasons;
        std::vector<Dot> former;
        bool late;  ///< it was in review, and somebody has decided
    };

    // Those of earlier pages lie staged beside their bundles.
    void settle_verdicts(const std::vector<IncomingVerdict>& last_page) {
        std::map<std::uint64_t, std::pair<Verdict, std::vector<Refusal>>> verdicts;
        auto select = db_.prepare(
            "SELECT counter, verdict, reasons FROM bundle WHERE state IN (2, 4) AND verdict IS NOT "
            "NULL ORDER BY counter");
        while (select.step())
            verdicts[select.unsigned_integer(0)] = {static_cast<Verdict>(select.integer(1)),
                                                    decode<std::vector<Refusal>>(select.blob(2))};
        select.reset();
        for (const IncomingVerdict& v : last_page) verdicts[v.counter] = {v.verdict, v.reasons};
        auto sent = db_.prepare(
            "SELECT b.id, b.state, b.former, c.record, c.kind, c.creates, c.writes FROM bundle b "
            "LEFT JOIN change c ON c.bundle = b.id WHERE b.counter = ? AND b.state IN (2, 4)");
        for (auto& [counter, verdict] : verdicts)
            if (verdict.first == Verdict::applied)
                settle_applied(sent, counter);
            else if (const auto row = sent_bundle(db_, counter))
                settle({row->id, counter, verdict.first, std::move(verdict.second), row->former,
                        row->state == BundleState::review});
    }

    void settle(const Judged& j) {
        count(j.verdict, j.late);
        if (j.verdict == Verdict::review)
            keep_for_review(j);
        else
            give_back(j);
    }

    void count(Verdict verdict, bool late) {
        if (verdict == Verdict::review)
            settled_.review += late ? 0 : 1;  // still in review is no news
        else if (late)
            ++settled_.decided;
        else if (verdict == Verdict::applied)
            ++settled_.applied;
        else
            ++(verdict == Verdict::refused ? settled_.refused : settled_.later);
    }

    // Its writes join the confirmed state under their dot; what is pending behind it overwrites
    // that dot from now on. Most of its records come back with the reply as well and are loaded and
    // saved once for both, so here it is only noted.
    void settle_applied(sqlite::Statement& sent, std::uint64_t counter) {
        sent.bind(1, counter);
        std::int64_t bundle = 0;
        bool late = false;
        while (sent.step()) {
            if (bundle == 0) {
                bundle = sent.integer(0);
                late = sent.integer(1) == static_cast<std::int64_t>(BundleState::review);
                applied_bundles_.push_back(bundle);
                count(Verdict::applied, late);
            }
            if (sent.is_null(3) || sent.integer(0) != bundle) continue;
            Applied& applied = applied_[sent.id(3)].emplace_back();
            applied.bundle = bundle;
            applied.dot = {writer_, counter};
            applied.former = former_dots(sent, 2);
            applied.kind = kind_numbered(static_cast<std::uint16_t>(sent.integer(4)));
            applied.late = late;
            applied.creates = sent.integer(5) != 0;
            if (applied.creates) applied.writes = sent.blob(6);
        }
        sent.reset();
    }

    void merge_applied(Loaded& loaded) {
        written_.clear();
        const auto found = applied_.find(loaded.row.id);
        if (found == applied_.end()) return;
        if (!(loaded.row.status & kRowPending)) {  // a damaged mark made the row forget its work
            loaded.row.status |= kRowPending;
            loaded.pending = load_pending(db_, loaded.row);
        }
        for (const Applied& a : found->second) {
            PendingChange applied;
            std::erase_if(loaded.pending, [&](PendingChange& c) {
                if (c.bundle != a.bundle) return false;
                applied = std::move(c);
                return true;
            });
            for (Write& write : applied.writes) {
                write.former = a.former;
                const Field* field = loaded.row.kind->field(write.field);
                merge(loaded.row.confirmed.fields[write.field], write, a.dot,
                      field && field->is_keyed());
                written_.push_back(write.field);
                for (PendingChange& later : loaded.pending) name_dot(later, write, a.dot);
            }
        }
        strip_captures(loaded.row.confirmed);
        if (!loaded.row.confirmed_once) awaited_.insert(loaded.row.id);
        loaded.row.confirmed_once = true;
        applied_.erase(found);
    }

    // Those that stand as the server has them once their work is merged. False: they do not.
    bool confirm(const Confirmed& confirmed) {
        std::vector<RecordId> ids;
        for (const auto& [id, changes] : applied_)
            if (std::any_of(changes.begin(), changes.end(),
                            [](const Applied& a) { return !a.late; }))
                ids.push_back(id);
        std::uint64_t sum = 0;
        std::size_t next = 0;
        bool left_out = true;
        for (const std::uint32_t run : confirmed.runs) {
            if (run > ids.size() - next) return false;
            for (const std::size_t end = next + run; next < end; ++next)
                if (left_out) {
                    sum += checksum(save_applied(ids[next]));
                    awaited_.erase(ids[next]);
                }
            left_out = !left_out;
        }
        return next == ids.size() && sum == confirmed.sum;
    }

    // Those that did not come back.
    void save_applied() {
        while (!applied_.empty()) save_applied(applied_.begin()->first);
        if (!RAPPORT_PLANTED("send_what_was_applied_again"))
            delete_bundles(db_, std::move(applied_bundles_));
    }

    // Returns what is confirmed of it then; of a row that has gone with a damaged part of the file,
    // nothing.
    RecordState save_applied(RecordId id) {
        const Kind* kind = applied_.at(id)[0].kind;
        auto loaded = kind ? load(db_, *kind, id) : std::nullopt;
        if (!loaded) {
            set_meta(db_, kCompareAt, std::int64_t{0});
            applied_.erase(id);
            return {};
        }
        merge_applied(*loaded);
        save_without_news(*loaded);
        return std::move(loaded->row.confirmed);
    }

    void save_without_news(Loaded& loaded) {
        save(loaded);
        note_touched(db_, loaded.row.id);
        hide_out_of_reach(loaded);
    }

    void hide_out_of_reach(Loaded& loaded) {
        if (identity_ && !(loaded.row.status & kRowHidden) &&
            !reaches(identity_->scopes, identity_->role, identity_->rep,
                     loaded.row.confirmed.scope))
            hide(writing_, loaded);
    }

    void save(Loaded& loaded) {
        save_with_pending(db_, loaded.row, loaded.pending);
        writing_.changed(*loaded.row.kind, loaded.row.id);
        if (!(loaded.row.status & kRowConflict)) return;
        const auto in_conflict = [&](std::uint16_t number) {
            const Field* field = loaded.row.kind->field(number);
            const auto state = loaded.row.confirmed.fields.find(number);
            return field && state != loaded.row.confirmed.fields.end() &&
                   conflicted(*field, state->second);
        };
        if (std::any_of(written_.begin(), written_.end(), in_conflict)) ++settled_.conflicted;
    }

    // Captures are the server's business; in the confirmed state of a device they would only cost
    // space.
    static void strip_captures(RecordState& state) {
        for (auto& [number, field] : state.fields) {
            field.known.clear();
            for (LiveValue& l : field.live) l.capture = {};
        }
    }

    static void name_dot(PendingChange& later, const Write& applied, Dot dot) {
        Write* write = later.write_of(applied.field);
        if (!write) return;
        for (const Added& add : applied.adds)
            for (const OverwrittenCapture& own : write->over_own)
                if (own.capture == add.capture && own.key == add.key) {
                    const Overwritten named{dot, add.key};
                    if (std::find(write->over.begin(), write->over.end(), named) ==
                        write->over.end())
                        write->over.push_back(named);
                }
    }

    // The server holds the bundle under its counter, which the verdict of the person will name.
    void keep_for_review(const Judged& j) {
        BundleRow row = *load_bundle(db_, j.bundle);
        row.state = BundleState::review;
        row.reasons = j.reasons;
        save_bundle(db_, row);
        for (const auto& [id, kind] : records_of(db_, j.bundle)) writing_.changed(*kind, id);
    }

    void give_back(const Judged& j) {
        // An erasure order may have left nothing of it that could be sent again.
        if (records_of(db_, j.bundle).empty() || RAPPORT_PLANTED("drop_what_was_refused"))
            return delete_bundle(db_, j.bundle);
        BundleRow row = *load_bundle(db_, j.bundle);
        row.former.push_back({writer_, row.counter});
        row.counter = 0;
        row.reasons = j.reasons;
        if (j.verdict == Verdict::refused) {
            row.state = BundleState::refused;
        } else {
            row.state = BundleState::queued;
            row.later_run = waits_for_server(j.reasons) ? kUntilServerIsNewer : run_;
        }
        save_bundle(db_, row);
        for (const auto& [id, kind] : records_of(db_, j.bundle)) writing_.changed(*kind, id);
    }

    // To send it again would bring the same answer until the server has been upgraded.
    static bool waits_for_server(const std::vector<Refusal>& reasons) {
        return std::any_of(reasons.begin(), reasons.end(), [](const Refusal& reason) {
            return reason.code == refusal_code::kUnknownKind ||
                   reason.code == refusal_code::kUnknownField;
        });
    }

    void apply_records() {
        std::vector<RecordId> ids;
        auto select = db_.prepare("SELECT record FROM staged");
        while (select.step()) ids.push_back(select.id(0));
        select.reset();
        for (const RecordId& id : ids) {
            auto body = db_.prepare("SELECT body FROM staged WHERE record = ?");
            body.bind(1, id);
            body.step();
            apply_record(decode_record(body.blob(0)));
        }
        if (!RAPPORT_PLANTED("apply_staged_pages_twice")) db_.execute("DELETE FROM staged");
    }

    void apply_record(RecordState incoming) {
        const Kind* kind = kind_numbered(incoming.kind);
        if (!kind) return keep_unknown(incoming);
        if (confirm_own(*kind, incoming)) return;
        auto loaded = load(db_, *kind, incoming.id);
        if (!loaded) loaded = new_row(*kind, incoming);
        merge_applied(*loaded);
        // It left this device's reach while its pages came: what lies staged of it is from before
        // a later write of this device, which has been merged.
        if (!fill_elided(incoming, loaded->row.confirmed)) return save_without_news(*loaded);
        if (RAPPORT_PLANTED("drop_unknown_fields"))
            incoming.fields.erase_if([&](const auto& f) { return !kind->field(f.first); });
        const Stamp newest = newest_stamp(incoming);
        loaded->row.confirmed = std::move(incoming);
        if (RAPPORT_PLANTED("pull_advances_the_overwritten"))
            for (PendingChange& change : loaded->pending)
                for (auto& [number, field] : loaded->row.confirmed.fields)
                    if (Write* write = change.write_of(number))
                        for (const LiveValue& l : field.live) write->over.push_back({l.dot, l.key});
        loaded->row.confirmed_once = true;
        if (!RAPPORT_PLANTED("hide_what_came_back"))
            loaded->row.status &= ~static_cast<std::int64_t>(kRowHidden);
        save(*loaded);
        came(loaded->row.id, newest);
        // Its scope may have been taken since it was staged.
        hide_out_of_reach(*loaded);
    }

    void came(const RecordId& id, Stamp newest) {
        newest_ = std::max(newest_, newest);
        note_renewed(id);
        awaited_.erase(id);
        if (any_departed_) db_.prepare("DELETE FROM departed WHERE record = ?").bind(1, id).run();
        ++settled_.records;
    }

    Loaded new_row(const Kind& kind, const RecordState& incoming) {
        if (!any_changes_ || !has_changes(db_, incoming.id)) {
            Loaded fresh;
            fresh.row.kind = &kind;
            fresh.row.id = incoming.id;
            return fresh;
        }
        Loaded left = without_row(db_, kind, incoming.id, show(incoming).fields);
        row_is_back(db_, kind, incoming.id);
        return left;
    }

    // Nearly all that comes back with an upload: a record as this device has made it, with what the
    // server gives a new one. Its row shows that already and need not be loaded, merged and
    // compared.
    bool confirm_own(const Kind& kind, RecordState& incoming) {
        const auto own = applied_.find(incoming.id);
        if (own == applied_.end() || own->second.size() != 1 || !identity_ ||
            !reaches(identity_->scopes, identity_->role, identity_->rep, incoming.scope))
            return false;
        const Applied& applied = own->second[0];
        if (!applied.creates || is_pending_elsewhere(db_, incoming.id, applied.bundle))
            return false;
        const StoredWrites change(applied.writes);
        const auto as_shown = own_fields(kind, incoming, change, applied.dot);
        if (!as_shown) return false;
        for (const Write& write : change.writes) {
            if (!kind.field(write.field)->is_keyed()) continue;
            for (LiveValue& l : incoming.fields[write.field].live) {
                l.value = added(write, l.key)->value;
                l.elided = false;
            }
        }
        if (!confirm_row(db_, incoming, *as_shown)) return false;
        applied_.erase(own);
        writing_.changed(kind, incoming.id);
        came(incoming.id, newest_stamp(incoming));
        return true;
    }

    static const Added* added(const Write& write, const std::string& key) {
        const auto at = std::find_if(write.adds.begin(), write.adds.end(),
                                     [&](const Added& add) { return add.key == key; });
        return at == write.adds.end() ? nullptr : &*at;
    }

    // The fields that the device wrote, if nobody else did and nothing is in conflict; nullopt if
    // it takes a merge to tell what the record shows.
    static std::optional<std::vector<const Field*>> own_fields(const Kind& kind,
                                                               const RecordState& incoming,
                                                               const StoredWrites& change,
                                                               Dot dot) {
        std::vector<const Field*> own;
        for (const Write& write : change.writes) {
            const Field* field = kind.field(write.field);
            const auto at = incoming.fields.find(write.field);
            if (!field || at == incoming.fields.end()) return std::nullopt;
            const Few<LiveValue>& live = at->second.live;
            const bool in_row =
                std::binary_search(change.in_row.begin(), change.in_row.end(), write.field);
            if (live.size() != write.adds.size() || field->is_keyed() == in_row ||
                !std::all_of(live.begin(), live.end(), [&](const LiveValue& l) {
                    return l.elided && l.dot == dot && added(write, l.key);
                }))
                return std::nullopt;
            own.push_back(field);
        }
        for (const auto& [number, state] : incoming.fields) {
            const Field* field = kind.field(number);
            if (!field || (!field->is_keyed() && state.live.size() != 1)) return std::nullopt;
            if (std::find(own.begin(), own.end(), field) != own.end()) continue;
            if (number == common_field::external_ids || conflicted(*field, state) ||
                std::any_of(state.live.begin(), state.live.end(),
                            [](const LiveValue& l) { return l.elided; }))
                return std::nullopt;
        }
        // Its column holds the state a new record will have; who does not send one takes it away.
        if (lifecycle_of(kind) && !incoming.fields.contains(common_field::state))
            return std::nullopt;
        return own;
    }

    void keep_unknown(const RecordState& incoming) {
        put_aside(db_, incoming);
        newest_ = std::max(newest_, newest_stamp(incoming));
        note_renewed(incoming.id);
    }

    void note_renewed(const RecordId& id) {
        if (!renewing_) return;
        db_.prepare("INSERT OR IGNORE INTO renewed(record) VALUES(?)").bind(1, id).run();
    }

    // The server left out the bytes of values this device sent; they have just been merged into the
    // confirmed state. False: one of them has been written over there.
    static bool fill_elided(RecordState& incoming, const RecordState& confirmed) {
        for (auto& [number, field] : incoming.fields)
            for (LiveValue& l : field.live) {
                if (!l.elided) continue;
                const auto known = confirmed.fields.find(number);
                const LiveValue* held = nullptr;
                if (known != confirmed.fields.end())
                    for (const LiveValue& c : known->second.live)
                        if (c.dot == l.dot && c.key == l.key) held = &c;
                if (!held && known != confirmed.fields.end() &&
                    known->second.merged_up_to(l.dot.writer) >= l.dot.counter)
                    return false;
                if (!held)
                    throw Error(ErrorCode::protocol_violated,
                                "the server left out a value this device does not hold");
                l.value = held->value;
                l.elided = false;
            }
        return true;
    }

    void apply_departures() {
        std::vector<Departure> departures;
        auto select = db_.prepare("SELECT record, move, scope FROM staged_departure");
        while (select.step())
            departures.push_back(
                {0, select.id(0), select.unsigned_integer(1), std::string(select.text(2))});
        select.reset();
        for (const Departure& departure : departures) {
            auto loaded = load(db_, departure.id);
            if (!loaded) {
                forget_aside(departure);
                continue;
            }
            if (RAPPORT_PLANTED("forget_a_departure")) continue;
            if (loaded->row.confirmed.move >= departure.move &&
                !RAPPORT_PLANTED("obey_an_old_departure"))
                continue;
            if (departure.move == kNotYours && loaded->row.status & kRowHidden) continue;
            loaded->row.status |= kRowHidden;
            if (RAPPORT_PLANTED("purge_unsent_work_with_its_record")) loaded->pending.clear();
            save_with_pending(db_, loaded->row, loaded->pending);
            note_departed(db_, loaded->row, departure, newest_entry_of(db_));
            writing_.changed(*loaded->row.kind, departure.id);
        }
        db_.execute("DELETE FROM staged_departure");
    }

    // What this device made comes with a pull that began before it was applied. Where even a
    // checkpoint has not brought it, the server let it live where its customer had gone, and that
    // was taken from this device meanwhile.
    void hide_awaited() {
        for (const RecordId& id : awaited_)
            if (auto loaded = load(db_, id); loaded && !(loaded->row.status & kRowHidden))
                hide(writing_, *loaded);
    }

    void keep_awaited() {
        if (any_awaited_) db_.execute("DELETE FROM awaited");
        for (const RecordId& id : awaited_)
            db_.prepare("INSERT INTO awaited(record) VALUES(?)").bind(1, id).run();
    }

    void forget_aside(const Departure& departure) {
        auto body = db_.prepare("SELECT body FROM unknown_record WHERE record = ?");
        if (!body.bind(1, departure.id).step() ||
            decode_record(body.blob(0)).move >= departure.move)
            return;
        body.reset();
        db_.prepare("DELETE FROM unknown_record WHERE record = ?").bind(1, departure.id).run();
    }

    Store::Core::Writing& writing_;
    sqlite::Database& db_;
    Settled& settled_;
    std::optional<Identity> identity_;
    std::uint64_t writer_ = 0;
    std::int64_t run_ = 0;
    bool any_changes_ = false, any_departed_ = false, any_awaited_ = false, renewing_ = false;
    Stamp newest_ = 0;
    std::vector<std::uint16_t> written_;  // fields of the record, by the bundles just applied
    struct Applied {
        std::int64_t bundle;
        Dot dot;
        std::vector<Dot> former;
        const Kind* kind;
        bool late;  // it was in review, and somebody has decided
        bool creates;
        std::string writes;  // of one that creates its record, as they are stored
    };
    std::map<RecordId, std::vector<Applied>> applied_;  // not in the confirmed state yet
    std::vector<std::int64_t> applied_bundles_;
    std::set<RecordId> awaited_;  // made here and confirmed by a verdict; they have not come yet
};

void stage_departure(sqlite::Database& db, const RecordId& id, std::uint16_t kind,
                     std::uint64_t move, const std::string& scope) {
    db.prepare(
          "INSERT INTO staged_departure(record, kind, move, scope) VALUES(?,?,?,?) "
          "ON CONFLICT(record) DO UPDATE SET move=excluded.move, scope=excluded.scope "
          "WHERE excluded.move > move")
        .bind(1, id)
        .bind(2, static_cast<int>(kind))
        .bind(3, move)
        .bind(4, scope)
        .run();
}

}  // namespace

void stage(sqlite::Database& db, const Incoming& incoming) {
    const bool shown_at_once = incoming.checkpoint || incoming.download;
    if (!shown_at_once)
        for (const IncomingVerdict& v : incoming.verdicts)
            db.prepare(
                  "UPDATE bundle SET verdict = ?, reasons = ? WHERE counter = ? AND state IN (2, "
                  "4)")
                .bind(1, static_cast<std::int64_t>(v.verdict))
                .bind_blob(2, encode(v.reasons))
                .bind(3, v.counter)
                .run();
    const bool any_staged = db.prepare("SELECT 1 FROM staged LIMIT 1").step();
    const bool any_departure = db.prepare("SELECT 1 FROM staged_departure LIMIT 1").step();
    for (const IncomingRecord& record : incoming.records) {
        if (!shown_at_once)
            db.prepare("INSERT OR REPLACE INTO staged(record, body) VALUES(?,?)")
                .bind(1, record.id)
                .bind_blob(2, encode_record(record.state()))
                .run();
        else if (any_staged)  // what was staged of it is older
            db.prepare("DELETE FROM staged WHERE record = ?").bind(1, record.id).run();
        if (any_departure)
            db.prepare("DELETE FROM staged_departure WHERE record = ? AND (move <= ? OR move = ?)")
                .bind(1, record.id)
                .bind(2, record.move)
                .bind(3, kNotYours)
                .run();
    }
    // A state from before the departure is not shown any more, and what it leaves out may be
    // overwritten by the time of the checkpoint.
    const auto forget_staged = [&](const RecordId& id, std::uint64_t move) {
        auto body = db.prepare("SELECT body FROM staged WHERE record = ?");
        if (!body.bind(1, id).step() || decode_record(body.blob(0)).move >= move) return;
        body.reset();
        db.prepare("DELETE FROM staged WHERE record = ?").bind(1, id).run();
    };
    const auto depart = [&](const RecordId& id, std::uint16_t kind, std::uint64_t move,
                            const std::string& scope) {
        forget_staged(id, move);
        stage_departure(db, id, kind, move, scope);
    };
    for (const Departure& d : incoming.departures) depart(d.id, d.kind, d.move, d.scope);
    for (const RecordId& id : incoming.not_yours) depart(id, 0, kNotYours, "");
}

void unstage_out_of_reach(sqlite::Database& db) {
    const auto identity = stored_identity(db);
    std::vector<RecordState> lost;
    auto select = db.prepare("SELECT body FROM staged");
    while (select.step())
        if (RecordState state = decode_record(select.blob(0));
            identity && !reaches(identity->scopes, identity->role, identity->rep, state.scope)) {
            state.fields = {};
            lost.push_back(std::move(state));
        }
    select.reset();
    for (const RecordState& state : lost) {
        db.prepare("DELETE FROM staged WHERE record = ?").bind(1, state.id).run();
        stage_departure(db, state.id, state.kind, state.move, {});
    }
}

// Of the records of kinds this build does not know those that match; nothing of them is shown.
template <class Match>
void drop_aside(sqlite::Database& db, Match match) {
    std::vector<RecordId> ids;
    auto select = db.prepare("SELECT record, body FROM unknown_record");
    while (select.step())
        if (match(decode_record(select.blob(1)))) ids.push_back(select.id(0));
    select.reset();
    for (const RecordId& id : ids) {
        db.prepare("DELETE FROM unknown_record WHERE record = ?").bind(1, id).run();
        note_touched(db, id);
    }
}

bool hide_out_of_reach(Store::Core::Writing& writing, std::size_t limit) {
    sqlite::Database& db = writing.db;
    const auto identity = stored_identity(db);
    std::size_t hidden = 0;
    const std::string condition = " WHERE version IS NOT NULL AND status & 8 = 0";
    for (const Kind* kind : all_kinds()) {
        std::vector<std::string> lost;
        auto scopes =
            db.prepare("SELECT DISTINCT scope FROM " + identifier(kind->name) + condition);
        while (scopes.step())
            if (std::string scope(scopes.text(0));
                identity && !reaches(identity->scopes, identity->role, identity->rep, scope))
                lost.push_back(std::move(scope));
        scopes.reset();
        for (const std::string& scope : lost) {
            std::vector<RecordId> ids;
            auto select = db.prepare("SELECT id FROM " + identifier(kind->name) + condition +
                                     " AND scope = ? LIMIT ?");
            select.bind(1, scope).bind(2, static_cast<std::int64_t>(limit - hidden));
            while (select.step()) ids.push_back(select.id(0));
            select.reset();
            for (const RecordId& id : ids) {
                Loaded loaded = *load(db, *kind, id);
                hide(writing, loaded);
            }
            hidden += ids.size();
            if (hidden == limit) return true;
        }
    }
    drop_aside(db, [&](const RecordState& state) {
        return identity && !reaches(identity->scopes, identity->role, identity->rep, state.scope);
    });
    db.execute("DELETE FROM meta WHERE key = 'scopes_changed'");
    return false;
}

void finish_hiding(Store::Core::Writing& writing) {
    constexpr std::size_t kAtOnce = 500;
    while (meta_integer(writing.db, "scopes_changed") && hide_out_of_reach(writing, kAtOnce)) {
    }
}

bool drop_departed(Store::Core::Writing& writing, std::int64_t before, std::size_t limit) {
    sqlite::Database& db = writing.db;
    std::vector<RecordId> ids;
    auto select = db.prepare(
        "SELECT record FROM departed WHERE " + std::string(kNotAskedFor) +
        " AND NOT EXISTS (SELECT 1 FROM change c WHERE c.record = departed.record) LIMIT ?2");
    select.bind(1, before).bind(2, static_cast<std::int64_t>(limit));
    while (select.step()) ids.push_back(select.id(0));
    select.reset();
    for (const RecordId& id : ids) {
        if (const auto row = load_row(db, id)) delete_row(db, *row);
        db.prepare("UPDATE departed SET held = 0 WHERE record = ?").bind(1, id).run();
    }
    return ids.size() == limit;
}

bool drop_not_renewed(Store::Core::Writing& writing, std::size_t limit) {
    sqlite::Database& db = writing.db;
    std::size_t dropped = 0;
    for (const Kind* kind : all_kinds()) {
        std::vector<std::pair<RecordId, bool>> ids;  // with unsent work?
        const bool purges_all = RAPPORT_PLANTED("purge_unsent_work_in_a_renewal");
        auto select = db.prepare("SELECT id, status FROM " + identifier(kind->name) +
                                 " WHERE version IS NOT NULL AND status & ? = 0 AND id NOT IN "
                                 "(SELECT record FROM renewed) LIMIT ?");
        select.bind(1, purges_all ? kRowDraft : kRowDraft | kRowHidden)
            .bind(2, static_cast<std::int64_t>(limit - dropped));
        while (select.step())
            ids.emplace_back(select.id(0), (select.integer(1) & kRowPending) != 0);
        select.reset();
        for (const auto& [id, unsent] : ids) {
            if (unsent && !purges_all) {
                Loaded loaded = *load(db, *kind, id);
                hide(writing, loaded);
                continue;
            }
            delete_row(db, *load_row(db, *kind, id));
            note_touched(db, id);
            writing.changed(*kind, id);
        }
        dropped += ids.size();
        if (dropped == limit) return true;
    }
    db.execute(
        "DELETE FROM unknown_record WHERE record NOT IN (SELECT record FROM renewed); "
        "DELETE FROM renewed; DELETE FROM meta WHERE key = 'renewal'");
    return false;
}

std::optional<Stamp> apply_staged(Store::Core::Writing& writing, const Incoming& last_page,
                                  Settled& settled) {
    return Checkpoint(writing, settled).run(last_page);
}

}  // namespace rapport
