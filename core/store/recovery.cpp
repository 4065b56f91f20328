// SPDX-License-Identifier: Apache-2.0
#include "store/recovery.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "model/archive.hpp"
#include "model/hash.hpp"
#include "store/apply.hpp"
#include "store/identity.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

constexpr std::int64_t kOffersMax = 500;  // in one request: a commit of some 50 ms at the centre
constexpr std::uint64_t kWriterMask = (std::uint64_t{1} << 40) - 1;

// States of a row of `offer`.
constexpr int kOpen = 0, kInFlight = 1, kOffered = 2;

struct StoredRecovery {
    Recovery recovery;
    template <class A>
    void serialize(A& a) {
        auto kind = static_cast<std::uint8_t>(recovery.kind);
        auto common = static_cast<std::uint64_t>(recovery.common);
        a(kind, recovery.basis.id, recovery.basis.tag, common, recovery.cursor, recovery.receipt,
          recovery.writer, recovery.credential, recovery.again);
        recovery.kind = static_cast<RequestKind>(kind);
        recovery.common = static_cast<std::int64_t>(common);
    }
};

// Of the device this file was before its fork.
struct Parent {
    std::uint64_t writer = 0;
    std::string credential;
    template <class A>
    void serialize(A& a) {
        a(writer, credential);
    }
};

void store(sqlite::Database& db, const Recovery& recovery) {
    db.prepare("INSERT OR REPLACE INTO meta VALUES('recovery', ?)")
        .bind_blob(1, encode(StoredRecovery{recovery}))
        .run();
}

struct OwnEntry {
    std::int64_t seq = 0;
    EntryRef name;
    std::string cursor;
    std::uint64_t receipt = 0;
    bool whole = false;
};

// Newest first.
std::vector<OwnEntry> own_entries(sqlite::Database& db) {
    std::vector<OwnEntry> entries;
    auto select = db.prepare(
        "SELECT seq, id, tag, cursor, receipt, coalesce(whole, 0) FROM entry LEFT JOIN entry_more "
        "ON entry_more.entry = seq ORDER BY seq DESC");
    while (select.step())
        entries.push_back({select.integer(0),
                           {select.unsigned_integer(1), select.unsigned_integer(2)},
                           std::string(select.blob(3)),
                           select.unsigned_integer(4),
                           select.integer(5) != 0});
    return entries;
}

enum class Offer { held, nothing };

// `nothing` only asks for their present state.
void list_touched(sqlite::Database& db, std::int64_t since, Offer offer = Offer::held) {
    std::vector<RecordId> records;
    auto select = db.prepare("SELECT DISTINCT record FROM touched WHERE entry > ? AND record <> ?");
    select.bind(1, since).bind(2, kEverything);
    while (select.step()) records.push_back(select.id(0));
    select.reset();
    for (const RecordId& id : records) {
        const Kind* kind = offer == Offer::held ? kind_holding(db, id) : nullptr;
        db.prepare("INSERT OR IGNORE INTO offer(record, kind, state) VALUES(?,?,0)")
            .bind(1, id)
            .bind(2, kind ? int{kind->number} : 0)
            .run();
    }
}

bool everything_touched(sqlite::Database& db, std::int64_t since) {
    auto select = db.prepare("SELECT 1 FROM touched WHERE entry > ? AND record = ? LIMIT 1");
    return select.bind(1, since).bind(2, kEverything).step();
}

void list_everything(sqlite::Database& db) {
    for (const Kind* kind : all_kinds())
        db.execute("INSERT OR IGNORE INTO offer(record, kind, state) SELECT id, " +
                   std::to_string(kind->number) + ", 0 FROM " + identifier(kind->name) +
                   " WHERE version IS NOT NULL");
    list_touched(db, 0);
}

void tell_observers(Store::Core::Writing& writing, const std::string& bundles) {
    auto select = writing.db.prepare(
        "SELECT DISTINCT c.record, c.kind FROM change c JOIN bundle b ON b.id = c.bundle WHERE "
        "b." +
        bundles);
    while (select.step())
        if (const Kind* kind = kind_numbered(static_cast<std::uint16_t>(select.integer(1))))
            writing.changed(*kind, select.id(0));
}

// Unsent again, under their capture ids. Nothing names a dot of the old writer that has no verdict:
// it may be the other file's.
void thaw(Store::Core& core, Store::Core::Writing& writing) {
    sqlite::Database& db = writing.db;
    tell_observers(writing, "state IN (2, 4)");
    db.execute(
        "UPDATE bundle SET state = 1, counter = NULL, bytes = NULL, verdict = NULL, reasons = NULL "
        "WHERE state IN (2, 4); UPDATE bundle SET former = NULL WHERE former IS NOT NULL");
    drop_emptied(db);
    set_meta(db, "counter", std::int64_t{0});
    const auto file =
        std::max<std::int64_t>(static_cast<std::int64_t>(core.environment().random64() >> 1), 1);
    set_meta(db, "file", file);
    core.renumber(static_cast<std::uint64_t>(file));
}

// The fork's, as the server granted it.
void take_name(sqlite::Database& db, const Recovery& fork) {
    Identity identity = *stored_identity(db);
    db.prepare("INSERT OR REPLACE INTO meta VALUES('parent', ?)")
        .bind_blob(1, encode(Parent{identity.writer, identity.credential}))
        .run();
    identity.writer = fork.writer;
    identity.credential = fork.credential;
    store_identity(db, identity);
}

void thaw_for_fork(Store::Core& core, Store::Core::Writing& writing, Recovery& recovery) {
    thaw(core, writing);
    Environment& environment = core.environment();
    recovery.kind = RequestKind::fork;
    recovery.receipt = 0;
    recovery.credential = draw_secret(environment);
    do recovery.writer = environment.random64() & kWriterMask;
    while (recovery.writer <= kServerWriter);
}

// What a restored server has lost of a review comes again; else it would wait for a verdict that
// nobody gives.
void send_reviews_again(Store::Core::Writing& writing, std::uint64_t writer,
                        std::uint64_t common_receipt) {
    sqlite::Database& db = writing.db;
    std::vector<std::int64_t> bundles;
    auto select = db.prepare("SELECT id FROM bundle WHERE state = 4 AND counter > ?");
    select.bind(1, common_receipt);
    while (select.step()) bundles.push_back(select.integer(0));
    select.reset();
    for (const std::int64_t id : bundles) {
        BundleRow row = *load_bundle(db, id);
        row.former.push_back({writer, row.counter});
        row.counter = 0;
        row.state = BundleState::queued;
        row.reasons.clear();
        save_bundle(db, row);
        for (const auto& [record, kind] : records_of(db, id)) writing.changed(*kind, record);
    }
    drop_emptied(db);
}

void drop_what_is_under_way(sqlite::Database& db) {
    db.execute(
        "DELETE FROM request; DELETE FROM request_bundle; DELETE FROM staged; DELETE FROM "
        "staged_departure; DELETE FROM offer");
    db.execute("UPDATE bundle SET verdict = NULL WHERE verdict IS NOT NULL");
}

// Who downloads everything again is not told what left before: what does not arrive goes, as in a
// renewal.
void mark_what_arrives(sqlite::Database& db, const Recovery& recovery) {
    db.execute("DELETE FROM renewed; DELETE FROM meta WHERE key = 'renewal'");
    if (recovery.cursor.empty()) set_meta(db, "renewal", kMarking);
}

std::uint64_t before_first_unanswered(sqlite::Database& db) {
    auto select = db.prepare("SELECT MIN(counter) FROM bundle WHERE state = 2 AND state <> 1");
    if (select.step() && !select.is_null(0)) return select.unsigned_integer(0) - 1;
    return static_cast<std::uint64_t>(meta_integer(db, "counter").value_or(0));
}

// Its own entries go when the recovery ends; whatever it holds the server may have lost.
void ask_for_fork_again(Store::Core::Writing& writing, Recovery recovery) {
    sqlite::Database& db = writing.db;
    list_everything(db);
    send_reviews_again(writing, recovery.writer, 0);
    recovery.receipt = before_first_unanswered(db);
    store(db, recovery);
    mark_what_arrives(db, recovery);
}

}  // namespace

std::optional<Recovery> open_recovery(sqlite::Database& db) {
    auto select = db.prepare("SELECT value FROM meta WHERE key = 'recovery'");
    if (!select.step()) return std::nullopt;
    return decode<StoredRecovery>(select.blob(0)).recovery;
}

void begin_recovery(Store::Core& core, Store::Core::Writing& writing, const Identity& identity,
                    const std::vector<EntryRef>& server_entries) {
    sqlite::Database& db = writing.db;
    drop_what_is_under_way(db);
    // What is out of reach now a server may have to send again that was restored to before that.
    finish_hiding(writing);

    const std::vector<OwnEntry> own = own_entries(db);
    const auto known = [&](const OwnEntry& e) {
        return std::find(server_entries.begin(), server_entries.end(), e.name) !=
               server_entries.end();
    };
    const auto common = std::find_if(own.begin(), own.end(),
                                     [&](const OwnEntry& e) { return e.whole && known(e); });
    const bool last_known = !own.empty() && known(own.front());
    // A file enrolled anew has no entry until its first recovery ends.
    const auto open = open_recovery(db);
    const bool known_there = !own.empty() || open;
    // The entry 0 is that of what was offered to a server without any. A repetition of a request of
    // this file may have left the entry at a restored server, under another tag.
    const bool none_there = server_entries.empty() || server_entries.back().id == 0;
    const bool server_restored =
        none_there ? known_there : std::any_of(own.begin(), own.end(), [&](const OwnEntry& e) {
            return e.name.id == server_entries.back().id;
        });

    // What was offered for the fork that is asked for again is lost once more.
    if (open && open->again && std::none_of(own.begin(), own.end(), known)) {
        Recovery again = *open;
        again.basis = server_entries.empty() ? EntryRef{} : server_entries.back();
        return ask_for_fork_again(writing, std::move(again));
    }

    // Once it knows of another file under its writer it goes on as a fork: its counters are those
    // of the fork, and what the other one sent under the old ones is not what it sends.
    const bool forks = !server_restored || (open && open->kind == RequestKind::fork);

    Recovery recovery;
    if (!server_entries.empty()) recovery.basis = server_entries.back();
    if (common != own.end()) {
        recovery.common = common->seq;
        recovery.cursor = common->cursor;
    }
    // A renewal that has not ended marks what arrives; going back in the middle of it would remove
    // what arrived before.
    if (meta_integer(db, "renewal")) recovery.cursor.clear();
    mark_what_arrives(db, recovery);
    if (known_there && (server_restored || !last_known))
        set_meta(db, "recovered_at", core.now().packed());
    if (!last_known) {
        if (recovery.common != 0 && !everything_touched(db, recovery.common))
            list_touched(db, recovery.common);
        else
            list_everything(db);
    } else if (recovery.common != 0) {
        // What lay staged may have come with a recovery before, and not because it had changed.
        list_touched(db, recovery.common, Offer::nothing);
    }
    if (forks) {
        thaw_for_fork(core, writing, recovery);
    } else {
        send_reviews_again(writing, identity.writer, common == own.end() ? 0 : common->receipt);
        recovery.receipt = before_first_unanswered(db);
    }
    store(db, recovery);
}

bool step_back(Store::Core::Writing& writing) {
    sqlite::Database& db = writing.db;
    auto kept = db.prepare("SELECT value FROM meta WHERE key = 'parent'");
    if (!kept.step()) return false;
    const auto parent = decode<Parent>(kept.blob(0));
    kept.reset();
    drop_what_is_under_way(db);
    Identity identity = *stored_identity(db);
    Recovery recovery;
    recovery.kind = RequestKind::fork;
    recovery.again = true;
    recovery.writer = identity.writer;
    recovery.credential = identity.credential;
    identity.writer = parent.writer;
    identity.credential = parent.credential;
    store_identity(db, identity);
    db.execute("DELETE FROM meta WHERE key = 'parent'");
    ask_for_fork_again(writing, std::move(recovery));
    return true;
}

void begin_anew(Store::Core& core, Store::Core::Writing& writing, const Identity& identity) {
    sqlite::Database& db = writing.db;
    drop_what_is_under_way(db);
    thaw(core, writing);
    store_identity(db, identity);
    db.execute(
        "DELETE FROM meta WHERE key IN ('parent', 'declined', 'revoked', 'next_secret', 'anew'); "
        "DELETE FROM entry; DELETE FROM entry_more; DELETE FROM touched");
    list_everything(db);
    store(db, Recovery{});
    mark_what_arrives(db, Recovery{});
}

void turn_into_fork(Store::Core& core, Store::Core::Writing& writing) {
    writing.db.execute("DELETE FROM request; DELETE FROM request_bundle");
    auto recovery = open_recovery(writing.db);
    if (!recovery) return;
    recovery->again = false;
    thaw_for_fork(core, writing, *recovery);
    store(writing.db, *recovery);
}

void fork_off(Store::Core& core, Store::Core::Writing& writing) {
    const auto recovery = open_recovery(writing.db);
    if (recovery && recovery->kind == RequestKind::fork) take_name(writing.db, *recovery);
    turn_into_fork(core, writing);
}

// ---- offers

bool take_offers(sqlite::Database& db, const Limits& limits) {
    struct Listed {
        RecordId id;
        const Kind* kind;
    };
    std::vector<Listed> listed;
    // What others hang on comes first; what this file has no row of last.
    auto select = db.prepare(
        "SELECT record, kind FROM offer WHERE state = 0 ORDER BY kind = 0, kind, record LIMIT ?");
    select.bind(1, kOffersMax);
    while (select.step())
        listed.push_back(
            {select.id(0), kind_numbered(static_cast<std::uint16_t>(select.integer(1)))});
    select.reset();
    std::size_t bytes = 0, taken = 0;
    for (const Listed& c : listed) {
        if (const auto row = c.kind ? load_row(db, *c.kind, c.id) : std::nullopt)
            bytes += encode_record(row->confirmed).size();
        if (taken > 0 && bytes > limits.request_bytes_max / 2) break;
        db.prepare("UPDATE offer SET state = ? WHERE record = ?")
            .bind(1, kInFlight)
            .bind(2, c.id)
            .run();
        ++taken;
    }
    return taken > 0;
}

bool load_offers(sqlite::Database& db, Outgoing& out) {
    auto select =
        db.prepare("SELECT record, kind FROM offer WHERE state = ? ORDER BY kind, record");
    select.bind(1, kInFlight);
    while (select.step()) {
        const RecordId id = select.id(0);
        out.touched.push_back(id);
        const Kind* kind = kind_numbered(static_cast<std::uint16_t>(select.integer(1)));
        const auto row = kind ? load_row(db, *kind, id) : std::nullopt;
        if (!row || !row->confirmed_once) continue;
        out.witnessed.push_back(encode_record(row->confirmed));
        for (const auto& [number, field] : row->confirmed.fields)
            for (const LiveValue& l : field.live) out.authors[l.dot.writer];
    }
    if (out.touched.empty()) return false;
    for (auto it = out.authors.begin(); it != out.authors.end();) {
        auto name = db.prepare("SELECT name FROM author WHERE writer = ?");
        if (name.bind(1, it->first).step()) {
            it->second = name.text(0);
            ++it;
        } else {
            it = out.authors.erase(it);
        }
    }
    return true;
}

bool note_offered(sqlite::Database& db, Recovery recovery, std::uint64_t tag) {
    db.prepare("UPDATE offer SET state = ? WHERE state = ?")
        .bind(1, kOffered)
        .bind(2, kInFlight)
        .run();
    if (db.changes() == 0) return false;
    if (tag != 0) {
        recovery.basis.tag = tag;
        store(db, recovery);
    }
    return true;
}

// ---- the end

void end_recovery(sqlite::Database& db, const Recovery& recovery, const Instant& now) {
    if (recovery.kind == RequestKind::fork) {
        if (!recovery.again) set_meta(db, "forked_at", now.packed());
        take_name(db, recovery);
    }
    const std::int64_t kept = recovery.kind == RequestKind::fork ? 0 : recovery.common;
    for (const char* sql :
         {"DELETE FROM touched WHERE entry > ?", "DELETE FROM entry_more WHERE entry > ?",
          "DELETE FROM entry WHERE seq > ?"})
        db.prepare(sql).bind(1, kept).run();
    db.execute("DELETE FROM meta WHERE key = 'recovery'");
}

void keep_touched(sqlite::Database& db, std::int64_t entry) {
    db.prepare("INSERT OR IGNORE INTO touched(entry, record) SELECT ?, record FROM offer")
        .bind(1, entry)
        .run();
    db.execute("DELETE FROM offer");
}

// ---- entries

std::vector<SentBundle> sent_since(sqlite::Database& db, std::int64_t entry) {
    std::vector<SentBundle> sent;
    auto select = db.prepare("SELECT sent FROM entry_more WHERE entry > ? ORDER BY entry");
    select.bind(1, entry);
    while (select.step()) {
        WireReader r(select.blob(0));
        for (std::size_t n = r.count(); n > 0; --n) {
            SentBundle& bundle = sent.emplace_back();
            r(bundle.counter, bundle.hash);
        }
    }
    return sent;
}

void note_entry(sqlite::Database& db, std::int64_t entry, bool whole) {
    std::vector<SentBundle> sent;
    auto select = db.prepare(
        "SELECT b.counter, b.bytes FROM request_bundle r JOIN bundle b ON b.id = r.bundle");
    while (select.step()) sent.push_back({select.unsigned_integer(0), hash64(select.blob(1))});
    // Sorted here: SQLite would set the bytes of a whole request aside for it.
    std::sort(sent.begin(), sent.end(),
              [](const SentBundle& a, const SentBundle& b) { return a.counter < b.counter; });
    WireWriter list;
    list.varint(sent.size());
    for (const SentBundle& bundle : sent) list(bundle.counter, bundle.hash);
    db.prepare("INSERT OR REPLACE INTO entry_more(entry, whole, sent) VALUES(?,?,?)")
        .bind(1, entry)
        .bind(2, whole)
        .bind_blob(3, list.str())
        .run();
}

std::string draw_secret(Environment& environment) {
    static constexpr char kAlphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::array<std::uint8_t, 43> random{};
    environment.random(random);
    std::string secret;
    for (const std::uint8_t byte : random) secret += kAlphabet[byte & 63];  // 43 x 6 bits
    return secret;
}

}  // namespace rapport
