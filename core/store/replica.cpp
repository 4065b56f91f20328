// SPDX-License-Identifier: Apache-2.0
#include "store/replica.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "model/archive.hpp"
#include "model/home.hpp"
#include "model/planted.hpp"
#include "store/apply.hpp"
#include "store/comparison.hpp"
#include "store/core.hpp"
#include "store/erasure.hpp"
#include "store/identity.hpp"
#include "store/lost_rows.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/recovery.hpp"
#include "store/schema.hpp"
#include "store/sending.hpp"
#include "store/server_time.hpp"
#include "store/users.hpp"

namespace rapport {
namespace {

constexpr std::size_t kTidiedRows = 500;  // in one transaction, so that a capture never waits long
// A server restored from a backup of months ago still ends with a sync that is listed here. About
// 100 bytes each, for a device with four streams.
constexpr std::int64_t kEntriesKept = 1000;

// What a stored request holds beside its ids and its bundles.
struct RequestExtra {
    EntryRef basis;
    std::string cursor;
    std::uint64_t receipt = 0;
    template <class A>
    void serialize(A& a) {
        a(basis.id, basis.tag, cursor, receipt);
    }
};

// A comparison follows if there is one.
std::string encode_extra(const Outgoing& out) {
    WireWriter w;
    w(RequestExtra{out.basis, out.cursor, out.receipt});
    if (out.comparison) w(*out.comparison);
    return w.take();
}

void decode_extra(std::string_view bytes, Outgoing& out) {
    WireReader r(bytes);
    RequestExtra extra;
    r(extra);
    if (r.remaining() > 0) r(out.comparison.emplace());
    r.finish();
    out.basis = extra.basis;
    out.cursor = std::move(extra.cursor);
    out.receipt = extra.receipt;
}

EntryRef newest_entry(sqlite::Database& db) {
    auto select = db.prepare("SELECT id, tag FROM entry ORDER BY seq DESC LIMIT 1");
    if (!select.step()) return {};
    return {select.unsigned_integer(0), select.unsigned_integer(1)};
}

// Who sends what is composed now, and what it says of a recovery.
void fill_in(sqlite::Database& db, Outgoing& out, const Identity& identity) {
    out.writer = identity.writer;
    const auto recovery = open_recovery(db);
    if (!recovery || out.kind == RequestKind::normal) return;
    if (out.kind == RequestKind::fork) {
        out.writer = recovery->writer;
        out.parent = identity.writer;
        out.credential = recovery->credential;
        out.file = static_cast<std::uint64_t>(meta_integer(db, "file").value_or(0));
    } else {
        out.more = load_offers(db, out);
        if (!recovery->again) out.sent = sent_since(db, recovery->common);
    }
}

std::optional<Outgoing> stored_request(sqlite::Database& db, const Identity& identity) {
    auto select = db.prepare("SELECT next, kind, last_id, last_tag, extra FROM request");
    if (!select.step()) return std::nullopt;
    Outgoing out;
    out.next = select.unsigned_integer(0);
    if (RAPPORT_PLANTED("retry_under_another_id")) out.next ^= 1;
    out.kind = static_cast<RequestKind>(select.integer(1));
    out.last = {select.unsigned_integer(2), select.unsigned_integer(3)};
    decode_extra(select.blob(4), out);
    auto bundles = db.prepare(
        "SELECT b.counter, b.bytes FROM request_bundle r JOIN bundle b ON b.id = r.bundle");
    std::multimap<std::uint64_t, std::string> by_counter;  // SQLite would sort copies of the bytes
    while (bundles.step())
        by_counter.emplace(bundles.unsigned_integer(0), std::string(bundles.blob(1)));
    for (auto& [counter, bytes] : by_counter) out.bundles.push_back(std::move(bytes));
    fill_in(db, out, identity);
    return out;
}

// Freezes one bundle: its counter, what it names of earlier bundles by their dots, and its bytes.
class Freezer {
public:
    Freezer(sqlite::Database& db, std::uint64_t writer)
        : db_(db),
          writer_(writer),
          counter_(static_cast<std::uint64_t>(meta_integer(db, "counter").value_or(0))),
          parts_(db.prepare(
              "SELECT b.captured_at, b.former, c.record, c.kind, c.creates, c.scope, c.writes, "
              "b.needs "
              "FROM bundle b LEFT JOIN change c ON c.bundle = b.id WHERE b.id = ? "
              "ORDER BY c.record")),
          freeze_(db.prepare("UPDATE bundle SET state = ?, counter = ?, later_run = 0, "
                             "reasons = ?, bytes = ? WHERE id = ?")),
          list_(db.prepare("INSERT INTO request_bundle(bundle) VALUES(?)")) {}

    /// Nullopt: a record of it has no row in this file.
    std::optional<std::string> bytes_of(std::int64_t id) {
        Bundle bundle;
        bundle.counter = counter_ + 1;
        bundle.schema_version = static_cast<std::uint32_t>(kSchemaVersion);
        std::vector<Dot> former;
        std::vector<std::int64_t> needs;
        const std::vector<Part> parts = parts_of(id, bundle.captured_at, former, needs);
        bundle.needs = counters_of(needs);
        bundle.changes.reserve(parts.size());
        for (const Part& part : parts) {
            if (auto change = part.kind ? new_change(part, former) : std::nullopt) {
                bundle.changes.push_back(*std::move(change));
                continue;
            }
            auto loaded = part.kind ? load_readable(db_, *part.kind, part.record) : std::nullopt;
            if (!loaded) return std::nullopt;
            auto change = change_of(*loaded, id, former);
            if (!change) {  // a damaged mark made the row forget it
                loaded->row.status |= kRowPending;
                loaded->pending = load_pending(db_, loaded->row);
                change = change_of(*loaded, id, former);
            }
            if (!change)
                throw Error(ErrorCode::internal, "a change of a bundle is none of its record");
            bundle.changes.push_back(*std::move(change));
        }
        return encode_bundle(bundle);
    }

    void freeze(std::int64_t id, const std::string& bytes) {
        counters_[id] = ++counter_;
        freeze_.bind(1, static_cast<std::int64_t>(BundleState::frozen))
            .bind(2, counter_)
            .bind_borrowed_blob(3, no_reasons_)
            .bind_borrowed_blob(4, bytes)
            .bind(5, id)
            .run();
        list_.bind(1, id).run();
    }

    /// Once, behind the last bundle.
    void keep_counter() {
        if (!counters_.empty() && !RAPPORT_PLANTED("reuse_a_counter"))
            set_meta(db_, "counter", static_cast<std::int64_t>(counter_));
    }

private:
    // A change as it is stored.
    struct Part {
        RecordId record;
        const Kind* kind;
        bool creates;
        std::string scope, writes;
    };

    // What it creates first, else by record.
    std::vector<Part> parts_of(std::int64_t bundle, std::int64_t& captured_at,
                               std::vector<Dot>& former, std::vector<std::int64_t>& needs) {
        std::vector<Part> parts;
        parts_.bind(1, bundle);
        while (parts_.step()) {
            if (parts.empty()) {
                captured_at = parts_.integer(0);
                former = former_dots(parts_, 1);
                needs = needs_in(parts_, 7);
            }
            if (parts_.is_null(2)) continue;
            parts.push_back(
                {parts_.id(2), kind_numbered(static_cast<std::uint16_t>(parts_.integer(3))),
                 parts_.integer(4) != 0, std::string(parts_.text(5)), std::string(parts_.blob(6))});
        }
        parts_.reset();
        std::stable_partition(parts.begin(), parts.end(),
                              [](const Part& part) { return part.creates; });
        return parts;
    }

    std::vector<std::uint64_t> counters_of(const std::vector<std::int64_t>& bundles) {
        std::vector<std::uint64_t> counters;
        for (const std::int64_t bundle : bundles)
            if (const std::uint64_t counter = counter_of(bundle); counter != 0)
                counters.push_back(counter);
        std::sort(counters.begin(), counters.end());
        return counters;
    }

    // 0: it has none.
    std::uint64_t counter_of(std::int64_t bundle) {
        if (const auto given = counters_.find(bundle); given != counters_.end())
            return given->second;
        auto select = db_.prepare("SELECT counter FROM bundle WHERE id = ?");
        select.bind(1, bundle);
        return select.step() ? select.unsigned_integer(0) : 0;
    }

    // What is to be said of a record that the server does not know, unless it overwrites something
    // of an earlier bundle; nullopt: its row has to be loaded.
    std::optional<Change> new_change(const Part& part, const std::vector<Dot>& former) {
        auto writes = writes_to_new(db_, *part.kind, part.record, part.writes);
        if (!writes || std::any_of(writes->begin(), writes->end(),
                                   [](const Write& write) { return !write.over_own.empty(); }))
            return std::nullopt;
        if (!former.empty())
            for (Write& write : *writes) write.former = former;
        return Change{part.kind->number, part.record, part.creates, part.scope, *std::move(writes)};
    }

    std::optional<Change> change_of(const Loaded& loaded, std::int64_t bundle,
                                    const std::vector<Dot>& former) {
        for (const PendingChange& pending : loaded.pending) {
            if (pending.bundle != bundle) continue;
            Change change{pending.kind->number, pending.record, pending.creates, pending.scope,
                          pending.writes};
            for (Write& write : change.writes) {
                write.former = former;
                name_frozen(write, loaded, bundle);
            }
            return change;
        }
        return std::nullopt;
    }

    // Own earlier writes are named by capture; where their dot is already given, by that as well.
    void name_frozen(Write& write, const Loaded& loaded, std::int64_t bundle) {
        for (const PendingChange& earlier : loaded.pending) {
            if (earlier.bundle >= bundle || earlier.state != BundleState::frozen) continue;
            const Write* theirs = earlier.write_of(write.field);
            if (!theirs) continue;
            const auto row = load_bundle(db_, earlier.bundle);
            for (const Added& add : theirs->adds)
                for (const OverwrittenCapture& own : write.over_own)
                    if (own.capture == add.capture && own.key == add.key)
                        write.over.push_back({{writer_, row->counter}, add.key});
        }
    }

    sqlite::Database& db_;
    std::uint64_t writer_;
    std::uint64_t counter_;
    std::map<std::int64_t, std::uint64_t> counters_;  // given here, by bundle
    const std::string no_reasons_ = encode(std::vector<Refusal>{});
    sqlite::Statement parts_, freeze_, list_;
};

std::vector<std::int64_t> take_queue(sqlite::Database& db, std::size_t limit) {
    ToSend next = next_to_send(db, limit);
    for (; !next.circle.empty(); next = next_to_send(db, limit)) join_circle(db, next.circle);
    return std::move(next.ids);
}

// Freezes what may go now while it fits; in a recovery, behind what was sent and not answered.
void take_bundles(sqlite::Database& db, const Limits& limits, bool again, Outgoing& out) {
    Freezer freezer(db, out.writer);
    std::size_t size = 0;
    const auto room_for = [&](const std::string& bytes) {
        return size == 0 || size + bytes.size() <= limits.request_bytes_max;
    };
    // After a restore, what was sent and not answered goes again as it was.
    if (again) {
        auto frozen = db.prepare("SELECT id, bytes FROM bundle WHERE state = 2 ORDER BY counter");
        while (frozen.step()) {
            std::string bytes(frozen.blob(1));
            size += bytes.size();
            db.prepare("INSERT INTO request_bundle(bundle) VALUES(?)")
                .bind(1, frozen.integer(0))
                .run();
            out.bundles.push_back(std::move(bytes));
        }
    }
    const std::size_t places =
        limits.request_bundles_max -
        std::min<std::size_t>(limits.request_bundles_max, out.bundles.size());
    std::vector<std::int64_t> ids = take_queue(db, places);
    for (std::size_t taken = 0, next = 0; next < ids.size(); ++next) {
        auto bytes = freezer.bytes_of(ids[next]);
        if (!bytes) {
            BundleRow row = *load_bundle(db, ids[next]);
            if (!park_without_rows(db, row))
                throw Error(ErrorCode::internal, "a bundle cannot be frozen and lacks no row");
            // What waits for it stays as well.
            ids = take_queue(db, places - taken);
            next = static_cast<std::size_t>(-1);
            continue;
        }
        if (!room_for(*bytes)) break;
        size += bytes->size();
        freezer.freeze(ids[next], *bytes);
        bytes->shrink_to_fit();  // it has grown by doubling, and there are 2,000 of them
        out.bundles.push_back(*std::move(bytes));
        ++taken;
    }
    freezer.keep_counter();
}

// What was captured before enrolment gets its author and territory.
void adopt(Store::Core::Writing& writing, const Identity& identity) {
    sqlite::Database& db = writing.db;
    std::vector<RecordId> created;
    auto select = db.prepare("SELECT DISTINCT record FROM change WHERE creates");
    while (select.step()) created.push_back(select.id(0));
    select.reset();
    const std::string territory = own_territory(identity);
    for (const RecordId& id : created) {
        auto loaded = load(db, id);
        if (!loaded) continue;
        Row& row = loaded->row;
        for (PendingChange& change : loaded->pending) {
            if (!change.creates) continue;
            const Write* made = change.write_of(common_field::created_at);
            if (!made || made->adds.empty()) continue;
            const Added at = made->adds[0];
            change.write_for(common_field::created_by).adds = {
                {"", Value(identity.rep), at.stamp, at.capture}};
            if (row.confirmed.scope.empty())
                row.confirmed.scope = own_scope(row.record(), identity.rep);
            if (row.confirmed.scope.empty()) row.confirmed.scope = territory;
            if (row.kind->home == Home::territory) change.scope = row.confirmed.scope;
        }
        save_with_pending(db, row, loaded->pending);
        writing.changed(*row.kind, id);
    }
}

void note_mended(sqlite::Database& db, std::size_t records, const Instant& now) {
    set_meta(db, "mended",
             meta_integer(db, "mended").value_or(0) + static_cast<std::int64_t>(records));
    set_meta(db, "mended_at", now.packed());
}

}  // namespace

IncomingRecord IncomingRecord::from(std::string bytes) {
    IncomingRecord record;
    std::string scope;
    WireReader r(bytes);
    r(record.kind, record.id, scope, record.move);
    record.bytes = std::move(bytes);
    return record;
}

std::optional<Identity> Replica::identity() const {
    const Store::Core::Reading reading(store_.core());
    return stored_identity(reading.db);
}

std::string Replica::new_enrolment_secret() {
    Store::Core::Writing writing(store_.core());
    if (const auto kept = meta(writing.db, "next_secret")) return *kept;
    const std::string secret = draw_secret(store_.core().environment());
    set_meta(writing.db, "next_secret", secret);
    writing.commit();
    return secret;
}

bool Replica::not_known() {
    Store::Core::Writing writing(store_.core());
    if (!step_back(writing)) return false;
    writing.commit();
    return true;
}

std::string Replica::enrolment_secret() {
    asked_ms_ = store_.core().elapsed_ms();
    Store::Core::Writing writing(store_.core());
    if (const auto kept = meta(writing.db, "enrolment_secret")) return *kept;
    const std::string secret = draw_secret(store_.core().environment());
    set_meta(writing.db, "enrolment_secret", secret);
    writing.commit();
    return secret;
}

void Replica::enrol(const Identity& identity, std::optional<std::int64_t> server_time_ms) {
    Store::Core::Writing writing(store_.core());
    auto present = stored_identity(writing.db);
    // Who is given a new invitation goes on with what waits for them here.
    if (!present && !writing.db.prepare("SELECT 1 FROM bundle LIMIT 1").step())
        if (const auto user = parked_user(writing.db, identity)) {
            bring_back(writing, *user);
            present = stored_identity(writing.db);
        }
    if (present && (present->tenant != identity.tenant || present->rep != identity.rep))
        throw Error(ErrorCode::conflict, "the file is another user's");
    if (present && present->writer != identity.writer) {
        begin_anew(store_.core(), writing, identity);
    } else {
        store_identity(writing.db, identity);
        if (!present) adopt(writing, identity);
    }
    if (server_time_ms && asked_ms_)
        learn_server_time(store_.core(), writing, *server_time_ms,
                          store_.core().elapsed_ms() - *asked_ms_);
    writing.commit();
}

void Replica::begin_run() {
    Store::Core::Writing writing(store_.core());
    set_meta(writing.db, "run", meta_integer(writing.db, "run").value_or(1) + 1);
    writing.commit();
}

std::size_t Replica::sendable(std::size_t at_most) const {
    const Store::Core::Reading reading(store_.core());
    return next_to_send(reading.db, at_most).ids.size();
}

std::size_t Replica::unanswered() const {
    const Store::Core::Reading reading(store_.core());
    auto select = reading.db.prepare(  // the second term is for the index
        "SELECT COUNT(*) FROM bundle WHERE state = 2 AND state <> 1");
    return select.step() ? static_cast<std::size_t>(select.integer(0)) : 0;
}

std::size_t Replica::kept_back() const {
    const Store::Core::Reading reading(store_.core());
    auto select = reading.db.prepare("SELECT COUNT(*) FROM bundle WHERE state NOT IN (0, 2)");
    return select.step() ? static_cast<std::size_t>(select.integer(0)) : 0;
}

Outgoing Replica::compose(const Limits& limits, std::optional<Comparison> comparison) {
    asked_ms_ = store_.core().elapsed_ms();
    Store::Core::Writing writing(store_.core());
    sqlite::Database& db = writing.db;
    const auto identity = stored_identity(db);
    if (!identity)
        throw Error(ErrorCode::not_enrolled, "the file has not been enrolled with a server");
    if (auto in_flight = stored_request(db, *identity)) return *std::move(in_flight);

    const auto recovery = open_recovery(db);
    const bool offers = recovery && take_offers(db, limits);
    Outgoing out;
    out.last = newest_entry(db);
    while (out.next == 0) out.next = store_.core().environment().random64() >> 1;
    if (comparison && comparable(db)) out.comparison = std::move(comparison);
    if (recovery) {
        out.kind = offers ? RequestKind::recover : recovery->kind;
        out.basis = recovery->basis;
        out.cursor = recovery->cursor;
        out.receipt = recovery->receipt;
    }
    fill_in(db, out, *identity);

    if (!offers) take_bundles(db, limits, recovery.has_value(), out);
    db.prepare("INSERT INTO request(one, next, kind, last_id, last_tag, extra) VALUES(1,?,?,?,?,?)")
        .bind(1, out.next)
        .bind(2, static_cast<std::int64_t>(out.kind))
        .bind(3, out.last.id)
        .bind(4, out.last.tag)
        .bind_blob(5, encode_extra(out))
        .run();
    writing.commit();
    store_.core().give_back_pages();  // what is made of the request wants the room
    return out;
}

std::optional<Settled> Replica::settle(Incoming incoming) {
    const auto settled = take(std::move(incoming));
    if (settled && settled->again) {
        Store::Core::Writing writing(store_.core());
        note_mended(writing.db, settled->mended, store_.core().now());
        writing.commit();
    }
    return settled;
}

std::optional<Settled> Replica::take(Incoming incoming) {
    Store::Core::Writing writing(store_.core());
    sqlite::Database& db = writing.db;
    auto kind = RequestKind::normal;
    {
        auto request = db.prepare("SELECT next, kind FROM request");
        if (!request.step() ||
            (request.unsigned_integer(0) != incoming.next && !RAPPORT_PLANTED("take_any_reply")))
            return std::nullopt;
        kind = static_cast<RequestKind>(request.integer(1));
    }
    const auto recovery = kind == RequestKind::normal ? std::nullopt : open_recovery(db);
    // A tag of offers leaves no entry: it is where the recovery goes on from.
    const bool of_offers = recovery && note_offered(db, *recovery, incoming.tag);
    if (of_offers) incoming.leaves_entry = false;
    // An answer from before its user logged out goes on from what has gone from this file.
    if (meta(db, "anew") && !of_offers && !incoming.renewal_begins && !incoming.revoked)
        return std::nullopt;
    const bool ends_recovery = recovery && incoming.leaves_entry;
    const Instant now = store_.core().now();
    if (ends_recovery) end_recovery(db, *recovery, now);
    if (incoming.revoked) set_meta(db, "revoked", std::int64_t{1});
    // What was offered comes once more with a download of everything, as it stands by then.
    if (recovery && !ends_recovery && recovery->cursor.empty()) incoming.records.clear();
    set_meta(db, "last_sync", now.packed());
    for (const auto& [writer, name] : incoming.authors) note_author(db, writer, name);
    if (incoming.limits) {
        store_limits(db, *incoming.limits);
        db.prepare("UPDATE bundle SET later_run = 1 WHERE state = 1 AND later_run = ?")
            .bind(1, kUntilServerIsNewer)
            .run();
    }
    if (!incoming.scopes.empty()) {
        Identity identity = *stored_identity(db);
        if (identity.scopes != incoming.scopes) {
            // What a scope given back holds comes anew, and not what has left it meanwhile.
            finish_hiding(writing);
            set_meta(db, "scopes_changed", std::int64_t{1});
        }
        identity.scopes = incoming.scopes;
        store_identity(db, identity);
        unstage_out_of_reach(db);
    }
    // In the order of their ids they go to the end of each index, which fills its pages.
    std::stable_sort(incoming.records.begin(), incoming.records.end(),
                     [](const IncomingRecord& a, const IncomingRecord& b) {
                         return std::tie(a.kind, a.id) < std::tie(b.kind, b.id);
                     });
    std::vector<RecordId> arrived;
    for (const IncomingRecord& record : incoming.records) arrived.push_back(record.id);
    // What lies staged from before belongs to a pull that is not gone on with.
    if (incoming.revoked || incoming.renewal_begins)
        db.execute("DELETE FROM staged; DELETE FROM staged_departure");
    if (incoming.renewal_begins) {
        db.execute("DELETE FROM renewed");
        set_meta(db, "renewal", kMarking);
    }
    if (incoming.leaves_entry && !RAPPORT_PLANTED("keep_no_entry")) {
        db.execute("DELETE FROM meta WHERE key='anew'");
        db.prepare("INSERT INTO entry(id, tag, cursor, receipt) VALUES(?,?,?,?)")
            .bind(1, incoming.next)
            .bind(2, incoming.tag)
            .bind_blob(3, incoming.cursor)
            .bind(4, incoming.receipt)
            .run();
        const std::int64_t entry = db.last_row_id();
        note_entry(db, entry, incoming.checkpoint || incoming.download);
        if (ends_recovery) keep_touched(db, entry);
        // Of a download the rows themselves are the list.
        if (incoming.download) arrived = {kEverything};
        auto touch = db.prepare("INSERT OR IGNORE INTO touched(entry, record) VALUES(?,?)");
        for (const RecordId& record : arrived) touch.bind(1, entry).bind(2, record).run();
        for (const Departure& departure : incoming.departures)
            touch.bind(1, entry).bind(2, departure.id).run();
        db.prepare("DELETE FROM touched WHERE entry <= ?").bind(1, entry - kEntriesKept).run();
        db.prepare("DELETE FROM entry_more WHERE entry <= ?").bind(1, entry - kEntriesKept).run();
        db.prepare("DELETE FROM entry WHERE seq <= ?").bind(1, entry - kEntriesKept).run();
    }
    Settled settled;
    // What was offered was answered before this request's bundles were judged, and their verdicts
    // count at once. What is not this device's now is hidden under the new entry: a server restored
    // to before that asks for it.
    if (ends_recovery && incoming.download)
        if (const auto newest = apply_staged(writing, {}, settled))
            store_.core().clock().observe(*newest);
    stage(db, incoming);
    db.execute("DELETE FROM request; DELETE FROM request_bundle");
    // As the request left the rows, and so before what has changed since.
    for (const IncomingStretch& stretch : incoming.differing)
        store_.core().clock().observe(mend(writing, stretch, settled));
    if (settled.mended > 0) note_mended(db, settled.mended, now);
    if (incoming.checkpoint && !meta_integer(db, kCompareAt))
        set_meta(db, kCompareAt, incoming.server_time_ms + kCompareEveryMs);
    if (incoming.checkpoint || incoming.download ||
        RAPPORT_PLANTED("apply_pages_before_the_checkpoint")) {
        const auto newest = apply_staged(writing, incoming, settled);
        if (!newest) {
            Settled again;
            again.again = true;
            again.mended = 1;  // at least
            return again;
        }
        store_.core().clock().observe(*newest);
    }
    if (incoming.checkpoint && !incoming.revoked) {
        db.execute("DELETE FROM incomplete");
        if (meta_integer(db, "renewal") == kMarking) set_meta(db, "renewal", kPurging);
    } else {
        for (const std::string& scope : incoming.incomplete)
            db.prepare("INSERT OR IGNORE INTO incomplete(scope) VALUES(?)").bind(1, scope).run();
    }
    if (asked_ms_)
        learn_server_time(store_.core(), writing, incoming.server_time_ms,
                          store_.core().elapsed_ms() - *asked_ms_);
    take_orders(writing, incoming.erasures);
    writing.commit();
    return settled;
}

bool Replica::tidy() {
    const std::int64_t long_ago = Instant(store_.core().now().at - kHiddenFor).packed();
    {
        const Store::Core::Reading reading(store_.core());
        auto any = reading.db.prepare("SELECT 1 FROM departed WHERE " + std::string(kNotAskedFor) +
                                      " LIMIT 1");
        if (!any.bind(1, long_ago).step() && meta_integer(reading.db, "renewal") != kPurging &&
            !meta_integer(reading.db, "scopes_changed"))
            return false;
    }
    Store::Core::Writing writing(store_.core());
    bool more =
        meta_integer(writing.db, "scopes_changed") && hide_out_of_reach(writing, kTidiedRows);
    if (!more) more = drop_departed(writing, long_ago, kTidiedRows);
    if (!more && meta_integer(writing.db, "renewal") == kPurging)
        more = drop_not_renewed(writing, kTidiedRows);
    writing.commit();
    return more;
}

bool Replica::in_flight(std::uint64_t next) const {
    const Store::Core::Reading reading(store_.core());
    auto request = reading.db.prepare("SELECT 1 FROM request WHERE next = ?");
    return request.bind(1, next).step() || RAPPORT_PLANTED("take_any_reply");
}

void Replica::recover(const std::vector<EntryRef>& server_entries) {
    Store::Core::Writing writing(store_.core());
    if (const auto identity = stored_identity(writing.db))
        begin_recovery(store_.core(), writing, *identity, server_entries);
    writing.commit();
}

void Replica::fork() {
    Store::Core::Writing writing(store_.core());
    fork_off(store_.core(), writing);
    writing.commit();
}

void Replica::note_declined() {
    Store::Core::Writing writing(store_.core());
    turn_into_fork(store_.core(), writing);  // what it carried is unsent again
    set_meta(writing.db, "declined", std::int64_t{1});
    writing.commit();
}

bool Replica::declined() const {
    const Store::Core::Reading reading(store_.core());
    return meta_integer(reading.db, "declined").has_value();
}

bool Replica::comparison_due() const {
    const Store::Core::Reading reading(store_.core());
    const auto at = meta_integer(reading.db, kCompareAt);
    if (!at) return false;
    const std::int64_t left = *at - store_.core().server_time_ms();
    return left <= 0 || left > kCompareEveryMs;  // or a clock was set back
}

std::vector<Stretch> Replica::stretches_behind(const ComparePoint& from) const {
    const Store::Core::Reading reading(store_.core());
    if (!comparable(reading.db)) return {};
    return rapport::stretches_behind(reading.db, from);
}

void Replica::note_compared(std::optional<std::size_t> differing) {
    Store::Core::Writing writing(store_.core());
    set_meta(writing.db, kCompareAt, store_.core().server_time_ms() + kCompareEveryMs);
    if (differing) {
        set_meta(writing.db, "compared_at", store_.core().now().packed());
        set_meta(writing.db, "differing", static_cast<std::int64_t>(*differing));
    }
    writing.commit();
}

bool Replica::drop_comparison() {
    Store::Core::Writing writing(store_.core());
    Outgoing out;
    {
        auto select = writing.db.prepare("SELECT extra FROM request");
        if (!select.step()) return false;
        decode_extra(select.blob(0), out);
    }
    if (!out.comparison) return false;
    out.comparison.reset();
    writing.db.prepare("UPDATE request SET extra = ?").bind_blob(1, encode_extra(out)).run();
    writing.commit();
    return true;
}

bool Replica::anew() const {
    const Store::Core::Reading reading(store_.core());
    return meta(reading.db, "anew").has_value();
}

ErasureOrder Replica::order_done() const {
    const Store::Core::Reading reading(store_.core());
    return rapport::order_done(reading.db);
}

std::vector<ErasureOrder> Replica::orders_after(std::uint64_t number, std::size_t limit) const {
    const Store::Core::Reading reading(store_.core());
    return rapport::orders_after(reading.db, number, limit);
}

bool Replica::scrub() {
    {
        const Store::Core::Reading reading(store_.core());
        if (!scrub_due(reading.db)) return true;
    }
    if (!store_.core().scrub()) return false;
    Store::Core::Writing writing(store_.core());
    note_scrubbed(writing.db);
    writing.commit();
    return true;
}

Limits Replica::limits() const {
    const Store::Core::Reading reading(store_.core());
    return stored_limits(reading.db);
}

}  // namespace rapport
