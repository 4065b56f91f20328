// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "model/archive.hpp"
#include "model/hash.hpp"
#include "rapport/error.hpp"
#include "server/storage.hpp"
#include "sqlite/database.hpp"

namespace rapport::server {
namespace {

// The tenant leads every key but those of writers, which are unique over all tenants, and of
// secrets, which find it.
constexpr std::int64_t kSchema = 2;
constexpr const char* kCreate = R"sql(
CREATE TABLE last_stamp (one INTEGER PRIMARY KEY CHECK (one = 1), stamp INTEGER NOT NULL) STRICT;
INSERT INTO last_stamp VALUES (1, 0);

CREATE TABLE device (
    writer INTEGER PRIMARY KEY, tenant TEXT NOT NULL, parent INTEGER NOT NULL, rep TEXT NOT NULL, role TEXT NOT NULL,
    scopes TEXT NOT NULL, credential_hash TEXT NOT NULL, revoked INTEGER NOT NULL, receipt INTEGER NOT NULL,
    entries BLOB NOT NULL, enrolled_at_ms INTEGER NOT NULL, last_seen_ms INTEGER NOT NULL, file_id TEXT NOT NULL,
    last_sync_ms INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX device_credential ON device (credential_hash) WHERE credential_hash <> '';
CREATE TABLE invitation (
    code_hash TEXT PRIMARY KEY, tenant TEXT NOT NULL, rep TEXT NOT NULL, role TEXT NOT NULL, scopes TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL, redeemed_by INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE api_key (
    key_hash TEXT PRIMARY KEY, tenant TEXT NOT NULL, role TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
    revoked INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE bundle (
    writer INTEGER NOT NULL, counter INTEGER NOT NULL, verdict INTEGER NOT NULL, reasons BLOB NOT NULL,
    bytes BLOB NOT NULL, received_at_ms INTEGER NOT NULL, PRIMARY KEY (writer, counter)) STRICT;

CREATE TABLE stream (
    tenant TEXT NOT NULL, scope TEXT NOT NULL, id INTEGER NOT NULL, head INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope)) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    tenant TEXT NOT NULL, id BLOB NOT NULL, kind INTEGER NOT NULL, scope TEXT NOT NULL, move INTEGER NOT NULL,
    position INTEGER NOT NULL, commit_no INTEGER NOT NULL, root BLOB, subject BLOB, event TEXT NOT NULL,
    bundle TEXT NOT NULL, author TEXT NOT NULL, received_at_ms INTEGER NOT NULL, fields BLOB NOT NULL,
    PRIMARY KEY (tenant, id)) STRICT;
CREATE UNIQUE INDEX record_stream ON record (tenant, scope, position);
CREATE INDEX record_feed ON record (tenant, commit_no);
CREATE INDEX record_subject ON record (tenant, subject, kind) WHERE subject IS NOT NULL;
CREATE INDEX record_kind ON record (tenant, kind, scope, id);
CREATE INDEX record_root ON record (tenant, root, id) WHERE root IS NOT NULL;
CREATE TABLE departure (
    tenant TEXT NOT NULL, scope TEXT NOT NULL, position INTEGER NOT NULL, kind INTEGER NOT NULL, id BLOB NOT NULL,
    move INTEGER NOT NULL, went_to TEXT NOT NULL, commit_no INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, position)) STRICT, WITHOUT ROWID;
CREATE INDEX departure_record ON departure (tenant, id);
CREATE TABLE open_move (
    tenant TEXT NOT NULL, customer BLOB NOT NULL, from_scope TEXT NOT NULL, to_scope TEXT NOT NULL,
    after BLOB NOT NULL, PRIMARY KEY (tenant, customer, from_scope)) STRICT, WITHOUT ROWID;
CREATE TABLE link (
    tenant TEXT NOT NULL, target BLOB NOT NULL, origin BLOB NOT NULL,
    PRIMARY KEY (tenant, target, origin)) STRICT, WITHOUT ROWID;
CREATE INDEX link_origin ON link (tenant, origin);
CREATE TABLE open_decision (
    tenant TEXT NOT NULL, theme BLOB NOT NULL, after BLOB NOT NULL,
    PRIMARY KEY (tenant, theme)) STRICT, WITHOUT ROWID;
CREATE TABLE external_id (
    tenant TEXT NOT NULL, kind INTEGER NOT NULL, system TEXT NOT NULL, id TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, system, id)) STRICT, WITHOUT ROWID;
CREATE INDEX external_id_record ON external_id (tenant, record);
CREATE TABLE number (
    tenant TEXT NOT NULL, sequence TEXT NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (tenant, sequence)) STRICT, WITHOUT ROWID;
CREATE TABLE history (
    line INTEGER PRIMARY KEY, tenant TEXT NOT NULL, record BLOB NOT NULL, field INTEGER NOT NULL,
    writer INTEGER NOT NULL, counter INTEGER NOT NULL, stamp INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    capture_file INTEGER NOT NULL, capture_number INTEGER NOT NULL, author TEXT NOT NULL,
    left_at_ms INTEGER NOT NULL, left_by TEXT NOT NULL) STRICT;
CREATE INDEX history_record ON history (tenant, record);
CREATE TABLE feed (tenant TEXT PRIMARY KEY, head INTEGER NOT NULL) STRICT, WITHOUT ROWID;
)sql";
// What came later: a file that lacks it gets it when it is opened.
constexpr const char* kAdded = R"sql(
CREATE INDEX IF NOT EXISTS departure_feed ON departure (tenant, commit_no);
CREATE TABLE IF NOT EXISTS open_bundle (
    writer INTEGER NOT NULL, counter INTEGER NOT NULL,
    PRIMARY KEY (writer, counter)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent_hash (
    writer INTEGER NOT NULL, counter INTEGER NOT NULL, hash INTEGER NOT NULL,
    PRIMARY KEY (writer, counter)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS late_verdict (
    writer INTEGER NOT NULL, counter INTEGER NOT NULL, told_in INTEGER NOT NULL,
    PRIMARY KEY (writer, counter)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recovery_note (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, at_ms INTEGER NOT NULL, writer INTEGER NOT NULL,
    kind INTEGER NOT NULL, record BLOB NOT NULL, field TEXT NOT NULL, code TEXT NOT NULL, offered BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS revocation (writer INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS lost_scope (
    writer INTEGER NOT NULL, scope TEXT NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (writer, scope)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost_author (writer INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasure (
    tenant TEXT NOT NULL, number INTEGER NOT NULL, order_bytes BLOB NOT NULL, commit_no INTEGER NOT NULL,
    PRIMARY KEY (tenant, number)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held_text (
    line INTEGER PRIMARY KEY, tenant TEXT NOT NULL, record BLOB NOT NULL, kind INTEGER NOT NULL, writes BLOB NOT NULL,
    writer INTEGER NOT NULL, counter INTEGER NOT NULL, author TEXT NOT NULL, received_at_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS held_text_record ON held_text (tenant, record);
CREATE TABLE IF NOT EXISTS deadline (
    tenant TEXT NOT NULL, record BLOB NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, record)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deadline_at ON deadline (at_ms);
CREATE TABLE IF NOT EXISTS undelivered (
    tenant TEXT NOT NULL, task BLOB NOT NULL, rep TEXT NOT NULL,
    PRIMARY KEY (tenant, task)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS undelivered_rep ON undelivered (tenant, rep);
CREATE INDEX IF NOT EXISTS bundle_not_applied ON bundle (writer) WHERE verdict <> 1;
)sql";
// One note held what came last of a writer about a record; what two files offered needs two.
constexpr const char* kFrom1 = R"sql(
CREATE TABLE further_note (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, at_ms INTEGER NOT NULL, writer INTEGER NOT NULL,
    kind INTEGER NOT NULL, record BLOB NOT NULL, field TEXT NOT NULL, code TEXT NOT NULL, offered BLOB NOT NULL) STRICT;
INSERT INTO further_note SELECT id, tenant, at_ms, writer, kind, record, field, code, offered FROM recovery_note;
DROP TABLE recovery_note;
ALTER TABLE further_note RENAME TO recovery_note;
)sql";
constexpr const char* kNoteIndex =
    "CREATE INDEX IF NOT EXISTS recovery_note_record ON recovery_note (tenant, record)";

constexpr const char* kRecordColumns =
    "id, kind, scope, move, position, commit_no, root, subject, event, bundle, author, "
    "received_at_ms, fields";

// ---- small encodings

std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
    return text;
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

Role role_from(std::string_view name) {
    if (const auto role = role_named(name)) return *role;
    throw Error(ErrorCode::storage_damaged,
                "the server's file names a role this version does not know");
}

std::string encode_entries(const Device& device) {
    WireWriter w;
    w.varint(device.entries.size());
    for (const ServerEntry& entry : device.entries) {
        w(entry.id, entry.receipt);
        w.varint(entry.answers.size());
        for (const ServerEntry::Answer& answer : entry.answers) w(answer.tag, answer.cursor);
    }
    return w.take();
}

void decode_entries(std::string_view bytes, Device& device) {
    WireReader r(bytes);
    for (std::size_t n = r.count(); n > 0; --n) {
        ServerEntry& entry = device.entries.emplace_back();
        r(entry.id, entry.receipt);
        for (std::size_t answers = r.count(); answers > 0; --answers) {
            ServerEntry::Answer& answer = entry.answers.emplace_back();
            r(answer.tag, answer.cursor);
        }
    }
    r.finish();
}

void bind_optional(sqlite::Statement& statement, int index, const RecordId& id) {
    if (id.is_nil())
        statement.bind_null(index);
    else
        statement.bind(index, id);
}

StoredRecord read_record(const sqlite::Statement& row) {
    StoredRecord record;
    record.state.id = row.id(0);
    record.state.kind = static_cast<std::uint16_t>(row.integer(1));
    record.state.scope = row.text(2);
    record.state.move = row.unsigned_integer(3);
    record.position = row.unsigned_integer(4);
    record.commit = row.unsigned_integer(5);
    if (!row.is_null(6)) record.root = row.id(6);
    if (!row.is_null(7)) record.subject = row.id(7);
    record.event = row.text(8);
    record.bundle = row.text(9);
    record.author = row.text(10);
    record.received_at_ms = row.integer(11);
    decode_fields(row.blob(12), true, record.state);
    return record;
}

Device read_device(const sqlite::Statement& row) {
    Device device;
    device.writer = row.unsigned_integer(0);
    device.tenant = row.text(1);
    device.parent = row.unsigned_integer(2);
    device.rep = row.text(3);
    device.role = role_from(row.text(4));
    device.scopes = lines_of(row.text(5));
    device.credential_hash = row.text(6);
    device.revoked = row.integer(7) != 0;
    device.receipt = row.unsigned_integer(8);
    decode_entries(row.blob(9), device);
    device.enrolled_at_ms = row.integer(10);
    device.last_seen_ms = row.integer(11);
    device.file_id = row.text(12);
    device.last_sync_ms = row.integer(13);
    return device;
}

constexpr const char* kBundleColumns =
    "b.writer, b.counter, b.verdict, b.reasons, b.bytes, b.received_at_ms";

StoredBundle read_bundle(const sqlite::Statement& row) {
    return {row.unsigned_integer(0),
            row.unsigned_integer(1),
            {static_cast<Verdict>(row.integer(2)), decode<std::vector<Refusal>>(row.blob(3))},
            std::string(row.blob(4)),
            row.integer(5)};
}

constexpr const char* kDeviceColumns =
    "writer, tenant, parent, rep, role, scopes, credential_hash, revoked, receipt, entries, "
    "enrolled_at_ms, last_seen_ms, "
    "file_id, last_sync_ms";

constexpr const char* kDepartureColumns =
    "kind, id, move, scope, went_to, position, commit_no, at_ms";

StoredDeparture read_departure(const sqlite::Statement& row) {
    return {static_cast<std::uint16_t>(row.integer(0)),
            row.id(1),
            row.unsigned_integer(2),
            std::string(row.text(3)),
            std::string(row.text(4)),
            row.unsigned_integer(5),
            row.unsigned_integer(6),
            row.integer(7)};
}

std::vector<StoredDeparture> read_departures(sqlite::Statement& q) {
    std::vector<StoredDeparture> departures;
    while (q.step()) departures.push_back(read_departure(q));
    return departures;
}

StoredErasure read_erasure(const sqlite::Statement& row) {
    return {decode<ErasureOrder>(row.blob(0)), row.unsigned_integer(1)};
}

// ---- the transaction

class SqliteTransaction : public Transaction {
public:
    SqliteTransaction(sqlite::Database& db, sqlite::Transaction::Kind kind)
        : db_(db), transaction_(db, kind) {
        if (kind == sqlite::Transaction::Kind::deferred)
            last_stamp();  // a deferred snapshot begins with its first read
    }

    bool savepoint(const std::function<bool()>& work) override {
        write_counters();
        struct Kept {
            SqliteTransaction& transaction;
            bool stands = false;
            ~Kept() {
                if (stands) return;
                transaction.read_.clear();
                transaction.saved_.clear();
                transaction.applied_.clear();
                transaction.counters_.clear();
            }
        } kept{*this};
        sqlite::Savepoint savepoint(db_);
        if (!work()) return false;
        savepoint.release();
        return kept.stands = true;
    }
    void commit() override {
        write_counters();
        transaction_.commit();
    }

    // devices and rights
    std::optional<Device> device(std::uint64_t writer) override {
        auto q =
            db_.prepare(std::string("SELECT ") + kDeviceColumns + " FROM device WHERE writer = ?");
        q.bind_all(writer);
        if (!q.step()) return std::nullopt;
        return read_device(q);
    }
    std::optional<Device> device_by_credential(const std::string& credential_hash) override {
        auto q = db_.prepare(std::string("SELECT ") + kDeviceColumns +
                             " FROM device WHERE credential_hash = ? AND credential_hash <> ''");
        q.bind_all(credential_hash);
        if (!q.step()) return std::nullopt;
        return read_device(q);
    }
    std::vector<Device> devices() override {
        auto q = db_.prepare(std::string("SELECT ") + kDeviceColumns +
                             " FROM device ORDER BY tenant, rep, enrolled_at_ms, writer");
        std::vector<Device> devices;
        while (q.step()) devices.push_back(read_device(q));
        return devices;
    }
    void save(const Device& d) override {
        auto q = db_.prepare(
            std::string("INSERT INTO device (") + kDeviceColumns +
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) "
            "ON CONFLICT (writer) DO UPDATE SET tenant = ?2, parent = ?3, rep = ?4, role = ?5, "
            "scopes = ?6, credential_hash = ?7, revoked = ?8, receipt = ?9, entries = ?10, "
            "enrolled_at_ms = ?11, last_seen_ms = ?12, file_id = ?13, last_sync_ms = ?14");
        q.bind_all(d.writer, d.tenant, d.parent, d.rep, name_of(d.role), joined(d.scopes),
                   d.credential_hash, d.revoked, d.receipt);
        q.bind_blob(10, encode_entries(d));
        q.bind(11, d.enrolled_at_ms)
            .bind(12, d.last_seen_ms)
            .bind(13, d.file_id)
            .bind(14, d.last_sync_ms);
        q.run();
    }
    std::optional<std::int64_t> revoked_at(std::uint64_t writer) override {
        auto q = db_.prepare("SELECT at_ms FROM revocation WHERE writer = ?");
        q.bind_all(writer);
        if (!q.step()) return std::nullopt;
        return q.integer(0);
    }
    void save_revocation(std::uint64_t writer, std::int64_t at_ms) override {
        db_.prepare("INSERT OR IGNORE INTO revocation (writer, at_ms) VALUES (?, ?)")
            .bind_all(writer, at_ms)
            .run();
    }
    std::vector<LostScope> lost_scopes(std::uint64_t writer) override {
        auto q = db_.prepare("SELECT scope, at_ms FROM lost_scope WHERE writer = ?");
        q.bind_all(writer);
        std::vector<LostScope> lost;
        while (q.step()) lost.push_back({std::string(q.text(0)), q.integer(1)});
        return lost;
    }
    void save(std::uint64_t writer, const LostScope& lost) override {
        db_.prepare("INSERT OR REPLACE INTO lost_scope (writer, scope, at_ms) VALUES (?, ?, ?)")
            .bind_all(writer, lost.scope, lost.at_ms)
            .run();
    }
    std::optional<Invitation> invitation(const std::string& code_hash) override {
        auto q = db_.prepare(
            "SELECT tenant, rep, role, scopes, expires_at_ms, redeemed_by FROM invitation WHERE "
            "code_hash = ?");
        q.bind_all(code_hash);
        if (!q.step()) return std::nullopt;
        return Invitation{code_hash,
                          std::string(q.text(0)),
                          std::string(q.text(1)),
                          role_from(q.text(2)),
                          lines_of(q.text(3)),
                          q.integer(4),
                          q.unsigned_integer(5)};
    }
    void save(const Invitation& i) override {
        auto q = db_.prepare(
            "INSERT OR REPLACE INTO invitation (code_hash, tenant, rep, role, scopes, "
            "expires_at_ms, "
            "redeemed_by) VALUES (?, ?, ?, ?, ?, ?, ?)");
        q.bind_all(i.code_hash, i.tenant, i.rep, name_of(i.role), joined(i.scopes), i.expires_at_ms,
                   i.redeemed_by)
            .run();
    }
    std::optional<ApiKey> api_key(const std::string& key_hash) override {
        auto q = db_.prepare(
            "SELECT tenant, role, created_at_ms, revoked FROM api_key WHERE key_hash = ?");
        q.bind_all(key_hash);
        if (!q.step()) return std::nullopt;
        return ApiKey{key_hash, std::string(q.text(0)), role_from(q.text(1)), q.integer(2),
                      q.integer(3) != 0};
    }
    std::vector<ApiKey> api_keys() override {
        auto q = db_.prepare(
            "SELECT key_hash, tenant, role, created_at_ms, revoked FROM api_key ORDER BY "
            "created_at_ms, key_hash");
        std::vector<ApiKey> keys;
        while (q.step())
            keys.push_back({std::string(q.text(0)), std::string(q.text(1)), role_from(q.text(2)),
                            q.integer(3), q.integer(4) != 0});
        return keys;
    }
    void save(const ApiKey& k) override {
        auto q = db_.prepare(
            "INSERT OR REPLACE INTO api_key (key_hash, tenant, role, created_at_ms, revoked) "
            "VALUES (?, ?, ?, ?, ?)");
        q.bind_all(k.key_hash, k.tenant, name_of(k.role), k.created_at_ms, k.revoked).run();
    }

    // bundles
    std::optional<StoredVerdict> verdict(std::uint64_t writer, std::uint64_t counter) override {
        if (applied_.contains({writer, counter})) return StoredVerdict{Verdict::applied, {}};
        auto q =
            db_.prepare("SELECT verdict, reasons FROM bundle WHERE writer = ? AND counter = ?");
        q.bind_all(writer, counter);
        if (!q.step()) return std::nullopt;
        return StoredVerdict{static_cast<Verdict>(q.integer(0)),
                             decode<std::vector<Refusal>>(q.blob(1))};
    }
    std::optional<std::uint64_t> sent_hash(std::uint64_t writer, std::uint64_t counter) override {
        auto kept = db_.prepare("SELECT hash FROM sent_hash WHERE writer = ? AND counter = ?");
        kept.bind_all(writer, counter);
        if (kept.step()) return kept.unsigned_integer(0);
        const auto stored = bundle(writer, counter);
        return stored ? std::optional(hash64(stored->bytes)) : std::nullopt;
    }
    void keep_sent_hash(std::uint64_t writer, std::uint64_t counter, std::uint64_t hash) override {
        db_.prepare("INSERT OR IGNORE INTO sent_hash (writer, counter, hash) VALUES (?, ?, ?)")
            .bind_all(writer, counter, hash)
            .run();
    }
    void save_verdict(std::uint64_t writer, std::uint64_t counter, const StoredVerdict& verdict,
                      std::string_view bytes, std::int64_t received_at_ms) override {
        auto q = db_.prepare(
            "INSERT INTO bundle (writer, counter, verdict, reasons, bytes, received_at_ms) "
            "VALUES (?, ?, ?, ?, ?, ?)");
        q.bind_all(writer, counter, static_cast<int>(verdict.verdict));
        const std::string reasons = encode(verdict.reasons);
        q.bind_borrowed_blob(4, reasons).bind_borrowed_blob(5, bytes).bind(6, received_at_ms);
        q.run();
        if (verdict.verdict == Verdict::applied) applied_.emplace(writer, counter);
        if (verdict.verdict == Verdict::refused || verdict.verdict == Verdict::review)
            db_.prepare("INSERT INTO open_bundle (writer, counter) VALUES (?, ?)")
                .bind_all(writer, counter)
                .run();
    }
    std::optional<StoredBundle> bundle(std::uint64_t writer, std::uint64_t counter) override {
        auto q = db_.prepare(std::string("SELECT ") + kBundleColumns +
                             " FROM bundle b WHERE writer = ? AND counter = ?");
        q.bind_all(writer, counter);
        if (!q.step()) return std::nullopt;
        return read_bundle(q);
    }
    void open_bundles(const std::string& tenant,
                      const std::function<void(const StoredBundle&)>& each) override {
        auto q = db_.prepare(
            std::string("SELECT ") + kBundleColumns +
            " FROM open_bundle o JOIN bundle b ON b.writer = o.writer AND b.counter = o.counter "
            "JOIN device d ON d.writer = o.writer WHERE d.tenant = ? ORDER BY b.rowid");
        q.bind_all(tenant);
        while (q.step()) each(read_bundle(q));
    }
    void sent_again(std::uint64_t writer, std::uint64_t counter) override {
        db_.prepare("DELETE FROM open_bundle WHERE writer = ? AND counter = ?")
            .bind_all(writer, counter)
            .run();
    }
    void decide(std::uint64_t writer, std::uint64_t counter,
                const StoredVerdict& verdict) override {
        auto q = db_.prepare(
            "UPDATE bundle SET verdict = ?, reasons = ? WHERE writer = ? AND counter = ?");
        q.bind(1, static_cast<int>(verdict.verdict)).bind_blob(2, encode(verdict.reasons));
        q.bind(3, writer).bind(4, counter).run();
        if (verdict.verdict != Verdict::refused) sent_again(writer, counter);
        db_.prepare("INSERT INTO late_verdict (writer, counter, told_in) VALUES (?, ?, 0)")
            .bind_all(writer, counter)
            .run();
    }
    std::vector<LateVerdict> late_verdicts(std::uint64_t writer) override {
        auto q = db_.prepare(
            "SELECT b.counter, b.verdict, b.reasons, l.told_in FROM late_verdict l "
            "JOIN bundle b ON b.writer = l.writer AND b.counter = l.counter WHERE l.writer = ? "
            "ORDER BY l.counter");
        q.bind_all(writer);
        std::vector<LateVerdict> late;
        while (q.step())
            late.push_back(
                {q.unsigned_integer(0),
                 {static_cast<Verdict>(q.integer(1)), decode<std::vector<Refusal>>(q.blob(2))},
                 q.unsigned_integer(3)});
        return late;
    }
    void tell_late_verdicts(std::uint64_t writer, std::uint64_t sync) override {
        db_.prepare("UPDATE late_verdict SET told_in = ? WHERE writer = ?")
            .bind_all(sync, writer)
            .run();
    }
    void late_verdicts_arrived(std::uint64_t writer, std::uint64_t sync) override {
        db_.prepare("DELETE FROM late_verdict WHERE writer = ? AND told_in = ?")
            .bind_all(writer, sync)
            .run();
    }

    // records and streams
    std::optional<StoredRecord> record(const std::string& tenant, const RecordId& id) override {
        const auto stored = look_at(tenant, id);
        return stored ? std::optional(*stored) : std::nullopt;
    }
    std::shared_ptr<const StoredRecord> look_at(const std::string& tenant,
                                                const RecordId& id) override {
        const auto before = read_.find({tenant, id});
        if (before != read_.end()) return before->second;
        if (const auto at = saved_.find(id); at != saved_.end() && at->second.tenant == tenant) {
            StoredRecord record = std::move(at->second.record);
            saved_.erase(at);
            return keep(tenant, std::move(record));
        }
        static const std::string kById =
            std::string("SELECT ") + kRecordColumns + " FROM record WHERE tenant = ? AND id = ?";
        auto q = db_.prepare(kById);
        q.bind_all(tenant, id);
        return q.step() ? keep(tenant, read_record(q)) : nullptr;
    }
    void save(const std::string& tenant, StoredRecord& r) override {
        forget(tenant, r.state.id);
        r.position = raise_head(tenant, r.state.scope);
        static const std::string kSave =
            std::string("INSERT INTO record (tenant, ") + kRecordColumns +
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
            "?14) ON CONFLICT (tenant, id) DO UPDATE SET "
            "kind = ?3, scope = ?4, move = ?5, position = ?6, commit_no = ?7, "
            "root = ?8, subject = ?9, event = ?10, "
            "bundle = ?11, author = ?12, received_at_ms = ?13, fields = ?14";
        auto q = db_.prepare(kSave);
        const std::string fields = encode_fields(r.state, true);
        q.bind_borrowed(1, tenant).bind_borrowed_blob(2, r.state.id.view());
        q.bind(3, int{r.state.kind}).bind_borrowed(4, r.state.scope).bind(5, r.state.move);
        q.bind(6, r.position).bind(7, r.commit);
        bind_optional(q, 8, r.root);
        bind_optional(q, 9, r.subject);
        q.bind_borrowed(10, r.event).bind_borrowed(11, r.bundle).bind_borrowed(12, r.author);
        q.bind(13, r.received_at_ms).bind_borrowed_blob(14, fields);
        q.run();
    }
    void remember(const std::string& tenant, StoredRecord record) override {
        if (saved_.size() >= kSavedMax) saved_.clear();
        const RecordId id = record.state.id;
        saved_.insert_or_assign(id, Saved{tenant, std::move(record)});
    }
    std::vector<Stream> streams(const std::string& tenant) override {
        write_counters();
        auto q = db_.prepare("SELECT id, scope, head FROM stream WHERE tenant = ? ORDER BY scope");
        q.bind_all(tenant);
        std::vector<Stream> streams;
        while (q.step())
            streams.push_back(
                {q.unsigned_integer(0), std::string(q.text(1)), q.unsigned_integer(2)});
        return streams;
    }
    std::vector<StoredRecord> changed(const std::string& tenant, const std::string& scope,
                                      std::uint64_t after, std::size_t limit) override {
        auto q = db_.prepare(std::string("SELECT ") + kRecordColumns +
                             " FROM record WHERE tenant = ? AND scope = ? AND position > ? ORDER "
                             "BY position LIMIT ?");
        q.bind_all(tenant, scope, after, static_cast<std::int64_t>(limit));
        return take_records(tenant, q);
    }
    std::vector<StoredRecord> newest(const std::string& tenant, const std::string& scope,
                                     std::uint16_t kind, const RecordId& below, std::uint64_t up_to,
                                     std::size_t limit) override {
        auto q = db_.prepare(std::string("SELECT ") + kRecordColumns +
                             " FROM record WHERE tenant = ? AND kind = ? AND scope = ? AND id < ? "
                             "AND position <= ? ORDER BY id DESC LIMIT ?");
        q.bind_all(tenant, int{kind}, scope, below, up_to, static_cast<std::int64_t>(limit));
        return take_records(tenant, q);
    }
    std::vector<StoredDeparture> departed(const std::string& tenant, const std::string& scope,
                                          std::uint64_t after, std::size_t limit) override {
        auto q = db_.prepare(std::string("SELECT ") + kDepartureColumns +
                             " FROM departure WHERE tenant = ? AND scope = ? AND position > ? "
                             "ORDER BY position LIMIT ?");
        q.bind_all(tenant, scope, after, static_cast<std::int64_t>(limit));
        return read_departures(q);
    }
    void save(const std::string& tenant, StoredDeparture& d) override {
        d.position = raise_head(tenant, d.from);
        auto q = db_.prepare(std::string("INSERT INTO departure (tenant, ") + kDepartureColumns +
                             ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
        q.bind_all(tenant, int{d.kind}, d.id, d.move, d.from, d.to, d.position, d.commit, d.at_ms)
            .run();
    }
    std::vector<StoredDeparture> departures_of(const std::string& tenant,
                                               const RecordId& id) override {
        auto q = db_.prepare(std::string("SELECT ") + kDepartureColumns +
                             " FROM departure WHERE tenant = ? AND id = ? ORDER BY move DESC");
        q.bind_all(tenant, id);
        return read_departures(q);
    }
    std::vector<RecordId> hanging_on(const std::string& tenant, const RecordId& root,
                                     const RecordId& after, std::size_t limit) override {
        auto q = db_.prepare(
            "SELECT id FROM record WHERE tenant = ? AND root = ? AND id > ? ORDER BY id LIMIT ?");
        q.bind_all(tenant, root, after, static_cast<std::int64_t>(limit));
        return ids(q);
    }
    void save_root(const std::string& tenant, const RecordId& id, const RecordId& root) override {
        forget(tenant, id);
        db_.prepare("UPDATE record SET root = ? WHERE tenant = ? AND id = ?")
            .bind_all(root, tenant, id)
            .run();
    }
    std::vector<RecordId> living_in(const std::string& tenant, std::uint16_t kind,
                                    const std::string& scope, std::size_t limit) override {
        auto q = db_.prepare(
            "SELECT id FROM record WHERE tenant = ? AND kind = ? AND scope = ? LIMIT ?");
        q.bind_all(tenant, int{kind}, scope, static_cast<std::int64_t>(limit));
        return ids(q);
    }
    std::vector<OpenMove> open_moves(const std::string& tenant) override {
        auto q = db_.prepare(
            "SELECT customer, from_scope, to_scope, after FROM open_move WHERE tenant = ? "
            "ORDER BY customer DESC, from_scope");
        q.bind_all(tenant);
        std::vector<OpenMove> moves;
        while (q.step())
            moves.push_back({q.id(0), std::string(q.text(1)), std::string(q.text(2)), q.id(3)});
        return moves;
    }
    void save(const std::string& tenant, const OpenMove& m) override {
        db_.prepare(
               "INSERT OR REPLACE INTO open_move (tenant, customer, from_scope, to_scope, after) "
               "VALUES (?, ?, ?, ?, ?)")
            .bind_all(tenant, m.customer, m.from, m.to, m.after)
            .run();
    }
    void remove(const std::string& tenant, const OpenMove& m) override {
        db_.prepare("DELETE FROM open_move WHERE tenant = ? AND customer = ? AND from_scope = ?")
            .bind_all(tenant, m.customer, m.from)
            .run();
    }
    std::vector<RecordId> with_subject(const std::string& tenant, const RecordId& subject,
                                       std::uint16_t kind) override {
        auto q = db_.prepare(
            "SELECT id FROM record WHERE tenant = ? AND subject = ? AND kind = ? ORDER BY id");
        q.bind_all(tenant, subject, int{kind});
        return ids(q);
    }
    std::vector<RecordId> of_kind(const std::string& tenant, std::uint16_t kind) override {
        auto q = db_.prepare("SELECT id FROM record WHERE tenant = ? AND kind = ?");
        q.bind_all(tenant, int{kind});
        return ids(q);
    }
    std::vector<RecordId> linking_to(const std::string& tenant, const RecordId& target,
                                     const RecordId& root, const RecordId& after,
                                     std::size_t limit) override {
        auto q = db_.prepare(
            root.is_nil() ? "SELECT origin FROM link WHERE tenant = ?1 AND target = ?2 AND "
                            "origin > ?3 ORDER BY origin LIMIT ?4"
                          : "SELECT origin FROM link CROSS JOIN record ON record.tenant = "
                            "link.tenant AND record.id = link.origin WHERE link.tenant = ?1 AND "
                            "link.target = ?2 AND origin > ?3 AND record.root = ?5 "
                            "ORDER BY origin LIMIT ?4");
        q.bind_all(tenant, target, after, static_cast<std::int64_t>(limit));
        if (!root.is_nil()) q.bind(5, root);
        return ids(q);
    }
    void save_links(const std::string& tenant, const RecordId& from,
                    const std::vector<RecordId>& targets) override {
        db_.prepare("DELETE FROM link WHERE tenant = ? AND origin = ?")
            .bind_all(tenant, from)
            .run();
        auto q =
            db_.prepare("INSERT OR IGNORE INTO link (tenant, target, origin) VALUES (?, ?, ?)");
        for (const RecordId& target : targets) q.bind_all(tenant, target, from).run();
    }
    std::optional<RecordId> by_external_id(const std::string& tenant, std::uint16_t kind,
                                           const std::string& system,
                                           const std::string& id) override {
        auto q = db_.prepare(
            "SELECT record FROM external_id WHERE tenant = ? AND kind = ? AND system = ? AND id = "
            "?");
        q.bind_all(tenant, int{kind}, system, id);
        if (!q.step()) return std::nullopt;
        return q.id(0);
    }
    void save_external_ids(
        const std::string& tenant, std::uint16_t kind, const RecordId& record,
        const std::vector<std::pair<std::string, std::string>>& external) override {
        db_.prepare("DELETE FROM external_id WHERE tenant = ? AND record = ?")
            .bind_all(tenant, record)
            .run();
        auto q = db_.prepare(
            "INSERT INTO external_id (tenant, kind, system, id, record) VALUES (?, ?, ?, ?, ?)");
        for (const auto& [system, id] : external)
            q.bind_all(tenant, int{kind}, system, id, record).run();
    }
    std::uint64_t next_number(const std::string& tenant, const std::string& sequence) override {
        return raise(Counts::numbers, tenant, sequence);
    }
    std::vector<OpenDecision> open_decisions(const std::string& tenant) override {
        auto q =
            db_.prepare("SELECT theme, after FROM open_decision WHERE tenant = ? ORDER BY theme");
        q.bind_all(tenant);
        std::vector<OpenDecision> open;
        while (q.step()) open.push_back({q.id(0), q.id(1)});
        return open;
    }
    void save(const std::string& tenant, const OpenDecision& d) override {
        db_.prepare("INSERT OR REPLACE INTO open_decision (tenant, theme, after) VALUES (?, ?, ?)")
            .bind_all(tenant, d.theme, d.after)
            .run();
    }
    void remove(const std::string& tenant, const OpenDecision& d) override {
        db_.prepare("DELETE FROM open_decision WHERE tenant = ? AND theme = ?")
            .bind_all(tenant, d.theme)
            .run();
    }
    void save(const Deadline& d) override {
        db_.prepare("INSERT OR REPLACE INTO deadline (tenant, record, at_ms) VALUES (?, ?, ?)")
            .bind_all(d.tenant, d.record, d.at_ms)
            .run();
    }
    void remove(const Deadline& d) override {
        db_.prepare("DELETE FROM deadline WHERE tenant = ? AND record = ?")
            .bind_all(d.tenant, d.record)
            .run();
    }
    std::vector<Deadline> deadlines(std::int64_t up_to_ms, std::size_t limit) override {
        auto q = db_.prepare(
            "SELECT tenant, record, at_ms FROM deadline WHERE at_ms <= ? ORDER BY at_ms LIMIT ?");
        q.bind_all(up_to_ms, static_cast<std::int64_t>(limit));
        std::vector<Deadline> due;
        while (q.step()) due.push_back({std::string(q.text(0)), q.id(1), q.integer(2)});
        return due;
    }
    std::vector<RecordId> undelivered(const std::string& tenant, const std::string& rep) override {
        auto q = db_.prepare("SELECT task FROM undelivered WHERE tenant = ? AND rep = ?");
        q.bind_all(tenant, rep);
        return ids(q);
    }
    void save_undelivered(const std::string& tenant, const std::string& rep,
                          const RecordId& task) override {
        db_.prepare("INSERT OR REPLACE INTO undelivered (tenant, task, rep) VALUES (?, ?, ?)")
            .bind_all(tenant, task, rep)
            .run();
    }
    void remove_undelivered(const std::string& tenant, const RecordId& task) override {
        db_.prepare("DELETE FROM undelivered WHERE tenant = ? AND task = ?")
            .bind_all(tenant, task)
            .run();
    }
    void append(const std::string& tenant, const HistoryLine& line) override {
        const LiveValue& v = line.value;
        WireWriter value;
        value(v.value);
        auto q = db_.prepare(
            "INSERT INTO history (tenant, record, field, writer, counter, stamp, key, value, "
            "capture_file, "
            "capture_number, author, left_at_ms, left_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
            "?, ?)");
        q.bind_all(tenant, line.record, int{line.field}, v.dot.writer, v.dot.counter, v.stamp);
        q.bind_blob(7, v.key).bind_blob(8, value.str());
        q.bind(9, v.capture.file).bind(10, v.capture.number);
        q.bind(11, line.author).bind(12, line.left_at_ms).bind(13, line.left_by);
        q.run();
    }
    std::vector<HistoryLine> history(const std::string& tenant, const RecordId& record) override {
        auto q = db_.prepare(
            "SELECT field, writer, counter, stamp, key, value, capture_file, capture_number, "
            "author, "
            "left_at_ms, left_by FROM history WHERE tenant = ? AND record = ? ORDER BY line");
        q.bind_all(tenant, record);
        std::vector<HistoryLine> lines;
        while (q.step()) {
            HistoryLine& line = lines.emplace_back();
            line.record = record;
            line.field = static_cast<std::uint16_t>(q.integer(0));
            line.value.dot = {q.unsigned_integer(1), q.unsigned_integer(2)};
            line.value.stamp = q.unsigned_integer(3);
            line.value.key = q.blob(4);
            WireReader value(q.blob(5));
            value(line.value.value);
            value.finish();
            line.value.capture = {q.unsigned_integer(6), q.unsigned_integer(7)};
            line.author = q.text(8);
            line.left_at_ms = q.integer(9);
            line.left_by = q.text(10);
        }
        return lines;
    }

    // recovery
    void save(const RecoveryNote& n) override {
        if (n.id != 0) {
            db_.prepare("UPDATE recovery_note SET offered = ? WHERE id = ?")
                .bind_blob(1, n.offered)
                .bind(2, n.id)
                .run();
            return;
        }
        auto renew = db_.prepare(
            "UPDATE recovery_note SET at_ms = ? WHERE tenant = ? AND record = ? AND field = ? AND "
            "code = ? AND writer = ? AND offered = ?");
        renew.bind_all(n.at_ms, n.tenant, n.record, n.field, n.code, n.writer);
        renew.bind_blob(7, n.offered).run();
        if (db_.changes() > 0) return;
        auto q = db_.prepare(
            "INSERT INTO recovery_note (tenant, at_ms, writer, kind, record, field, code, offered) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
        q.bind_all(n.tenant, n.at_ms, n.writer, int{n.kind}, n.record, n.field, n.code);
        q.bind_blob(8, n.offered).run();
    }
    std::vector<RecoveryNote> recovery_notes(const std::string& tenant) override {
        auto q = db_.prepare(
            "SELECT id, at_ms, writer, kind, record, field, code, offered FROM recovery_note "
            "WHERE tenant = ? ORDER BY id");
        q.bind_all(tenant);
        std::vector<RecoveryNote> notes;
        while (q.step())
            notes.push_back({q.unsigned_integer(0), tenant, q.integer(1), q.unsigned_integer(2),
                             static_cast<std::uint16_t>(q.integer(3)), q.id(4),
                             std::string(q.text(5)), std::string(q.text(6)),
                             std::string(q.blob(7))});
        return notes;
    }
    std::optional<std::string> kept_back(const std::string& tenant,
                                         const RecordId& record) override {
        auto q = db_.prepare(
            "SELECT offered FROM recovery_note WHERE tenant = ? AND record = ? AND "
            "length(offered) > 0 ORDER BY id DESC LIMIT 1");
        q.bind_all(tenant, record);
        if (!q.step()) return std::nullopt;
        return std::string(q.blob(0));
    }
    void remove(const RecoveryNote& n) override {
        db_.prepare("DELETE FROM recovery_note WHERE tenant = ? AND id = ?")
            .bind_all(n.tenant, n.id)
            .run();
    }
    void save_author(std::uint64_t writer, const std::string& name) override {
        db_.prepare("INSERT OR IGNORE INTO lost_author (writer, name) VALUES (?, ?)")
            .bind_all(writer, name)
            .run();
    }
    std::optional<std::string> author(std::uint64_t writer) override {
        auto q = db_.prepare("SELECT name FROM lost_author WHERE writer = ?");
        q.bind_all(writer);
        if (!q.step()) return std::nullopt;
        return std::string(q.text(0));
    }
    void raise_number(const std::string& tenant, const std::string& sequence,
                      std::uint64_t at_least) override {
        Counter& counter = counter_of(Counts::numbers, tenant, sequence);
        if (counter.last >= at_least) return;
        counter.last = at_least;
        counter.raised = true;
    }
    // erasures
    std::optional<std::string> note(const std::string& name) override {
        auto q = db_.prepare("SELECT value FROM note WHERE name = ?");
        q.bind_all(name);
        if (!q.step()) return std::nullopt;
        return std::string(q.blob(0));
    }
    void save_note(const std::string& name, std::string_view value) override {
        auto q = db_.prepare("INSERT OR REPLACE INTO note (name, value) VALUES (?, ?)");
        q.bind(1, name).bind_blob(2, value).run();
    }
    void forget_note(const std::string& name) override {
        db_.prepare("DELETE FROM note WHERE name = ?").bind_all(name).run();
    }
    std::vector<StoredErasure> erasures(const std::string& tenant) override {
        auto q = db_.prepare(
            "SELECT order_bytes, commit_no FROM erasure WHERE tenant = ? ORDER BY number");
        q.bind_all(tenant);
        std::vector<StoredErasure> all;
        while (q.step()) all.push_back(read_erasure(q));
        return all;
    }
    void save(const std::string& tenant, const StoredErasure& e) override {
        auto q = db_.prepare(
            "INSERT OR REPLACE INTO erasure (tenant, number, order_bytes, commit_no) "
            "VALUES (?, ?, ?, ?)");
        q.bind_all(tenant, e.order.number);
        q.bind_blob(3, encode(e.order)).bind(4, e.commit).run();
    }
    void forget_history(const std::string& tenant, const RecordId& record,
                        const std::vector<std::uint16_t>& fields) override {
        auto q = db_.prepare("DELETE FROM history WHERE tenant = ? AND record = ? AND field = ?");
        for (const std::uint16_t field : fields) q.bind_all(tenant, record, int{field}).run();
    }
    void rewrite_bundles(const std::string& tenant, Which which,
                         const std::function<bool(StoredBundle&)>& change) override {
        constexpr std::int64_t kReadAtOnce = 256;
        for (std::int64_t after = 0;;) {
            std::vector<std::pair<std::int64_t, StoredBundle>> some;
            const bool all = which == Which::all;
            // By itself SQLite would read the whole table for the order.
            auto q =
                db_.prepare(std::string("SELECT ") + kBundleColumns + ", b.rowid FROM bundle b" +
                            (all ? "" : " INDEXED BY bundle_not_applied") +
                            " JOIN device d ON d.writer = b.writer WHERE b.rowid > ? "
                            "AND d.tenant = ?" +
                            (all ? "" : " AND b.verdict <> 1") + " ORDER BY b.rowid LIMIT ?");
            q.bind_all(after, tenant, kReadAtOnce);
            while (q.step()) some.emplace_back(q.integer(6), read_bundle(q));
            q.reset();
            if (some.empty()) return;
            after = some.back().first;
            auto keep = db_.prepare("UPDATE bundle SET reasons = ?, bytes = ? WHERE rowid = ?");
            for (auto& [row, stored] : some) {
                const std::uint64_t hash = hash64(stored.bytes);
                if (!change(stored)) continue;
                keep_sent_hash(stored.writer, stored.counter, hash);
                keep.bind_blob(1, encode(stored.verdict.reasons))
                    .bind_blob(2, stored.bytes)
                    .bind(3, row)
                    .run();
            }
        }
    }
    void hold(const std::string& tenant, const HeldText& t) override {
        auto q = db_.prepare(
            "INSERT INTO held_text (tenant, record, kind, writes, writer, counter, author, "
            "received_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
        q.bind_all(tenant, t.record, int{t.kind});
        q.bind_blob(4, encode_writes({t.write})).bind(5, t.dot.writer).bind(6, t.dot.counter);
        q.bind(7, t.author).bind(8, t.received_at_ms).run();
    }
    std::vector<HeldText> held_texts(const std::string& tenant, const RecordId& record) override {
        auto q = db_.prepare(
            std::string("SELECT record, kind, writes, writer, counter, author, received_at_ms "
                        "FROM held_text WHERE tenant = ?1") +
            (record.is_nil() ? "" : " AND record = ?2") + " ORDER BY line");
        q.bind(1, tenant);
        if (!record.is_nil()) q.bind(2, record);
        std::vector<HeldText> held;
        while (q.step())
            held.push_back({q.id(0),
                            static_cast<std::uint16_t>(q.integer(1)),
                            decode_writes(q.blob(2)).front(),
                            {q.unsigned_integer(3), q.unsigned_integer(4)},
                            std::string(q.text(5)),
                            q.integer(6)});
        return held;
    }
    void forget_held(const std::string& tenant, const RecordId& record) override {
        db_.prepare("DELETE FROM held_text WHERE tenant = ? AND record = ?")
            .bind_all(tenant, record)
            .run();
    }
    std::vector<StoredErasure> feed_erasures(const std::string& tenant, std::uint64_t after,
                                             std::size_t erasures_min) override {
        auto q = db_.prepare(
            "SELECT order_bytes, commit_no FROM erasure WHERE tenant = ? AND commit_no > ? "
            "ORDER BY commit_no, number");
        q.bind_all(tenant, after);
        std::vector<StoredErasure> all;
        while (q.step()) {
            StoredErasure erasure = read_erasure(q);
            if (all.size() >= erasures_min && erasure.commit != all.back().commit) break;
            all.push_back(std::move(erasure));
        }
        return all;
    }

    // feed
    std::uint64_t feed_head(const std::string& tenant) override {
        return counter_of(Counts::commits, tenant, {}).last;
    }
    std::uint64_t next_commit(const std::string& tenant) override {
        return raise(Counts::commits, tenant, {});
    }
    std::vector<StoredRecord> feed(const std::string& tenant, std::uint64_t after,
                                   std::size_t records_min) override {
        auto q = db_.prepare(
            std::string("SELECT ") + kRecordColumns +
            " FROM record WHERE tenant = ? AND commit_no > ? ORDER BY commit_no, position, id");
        q.bind_all(tenant, after);
        std::vector<StoredRecord> records;
        while (q.step()) {
            if (!records.empty() && records.size() >= records_min &&
                q.unsigned_integer(5) != records.back().commit)
                break;
            records.push_back(read_record(q));
        }
        return records;
    }
    std::vector<StoredDeparture> feed_departures(const std::string& tenant, std::uint64_t after,
                                                 std::size_t departures_min) override {
        auto q = db_.prepare(std::string("SELECT ") + kDepartureColumns +
                             " FROM departure WHERE tenant = ? AND commit_no > ? "
                             "ORDER BY commit_no, scope, position");
        q.bind_all(tenant, after);
        std::vector<StoredDeparture> departures;
        while (q.step()) {
            StoredDeparture departure = read_departure(q);
            if (!departures.empty() && departures.size() >= departures_min &&
                departure.commit != departures.back().commit)
                break;
            departures.push_back(std::move(departure));
        }
        return departures;
    }
    std::uint64_t commit_before(const std::string& tenant, std::int64_t at_ms) override {
        // Times rise with commits, so halving finds it without an index that every commit would
        // have to keep.
        std::uint64_t before = 0, behind = feed_head(tenant) + 1;
        while (behind - before > 1) {
            const std::uint64_t middle = before + (behind - before) / 2;
            auto q = db_.prepare(
                "SELECT commit_no, received_at_ms FROM record WHERE tenant = ? AND commit_no >= ? "
                "AND commit_no < ? ORDER BY commit_no LIMIT 1");
            q.bind_all(tenant, middle, behind);
            if (q.step() && q.integer(1) < at_ms)
                before = q.unsigned_integer(0);
            else
                behind = middle;
        }
        return before;
    }

    std::uint64_t count(const std::string& tenant, std::uint16_t kind) override {
        auto q = db_.prepare("SELECT count(*) FROM record WHERE tenant = ? AND kind = ?");
        return only(q.bind_all(tenant, int{kind}));
    }
    std::vector<std::string> tenants() override {
        auto q = db_.prepare(
            "SELECT tenant FROM device UNION SELECT tenant FROM invitation UNION SELECT tenant "
            "FROM api_key "
            "UNION SELECT tenant FROM feed ORDER BY 1");
        std::vector<std::string> names;
        while (q.step()) names.emplace_back(q.text(0));
        return names;
    }

    Stamp last_stamp() override {
        auto q = db_.prepare("SELECT stamp FROM last_stamp");
        return only(q);
    }
    void save_last_stamp(Stamp stamp) override {
        db_.prepare("UPDATE last_stamp SET stamp = ?").bind_all(stamp).run();
    }

private:
    static std::uint64_t only(sqlite::Statement& q) {
        if (!q.step())
            throw Error(ErrorCode::storage_damaged,
                        "the server's file lacks a row that is always there");
        const std::uint64_t value = q.unsigned_integer(0);
        while (
            q.step()) {  // an INSERT ... RETURNING takes effect when it has been stepped to its end
        }
        return value;
    }
    static std::vector<RecordId> ids(sqlite::Statement& q) {
        std::vector<RecordId> found;
        while (q.step()) found.push_back(q.id(0));
        return found;
    }
    // What rises with every record is read once and written once, before the commit, a savepoint or
    // somebody who reads it from the file.
    enum class Counts { commits, positions, numbers };
    struct Counter {
        std::uint64_t last = 0;
        bool raised = false;
    };
    using CounterKey = std::tuple<Counts, std::string, std::string>;

    Counter& counter_of(Counts what, const std::string& tenant, const std::string& name) {
        CounterKey key{what, tenant, name};
        if (const auto at = counters_.find(key); at != counters_.end()) return at->second;
        Counter counter;
        auto q = db_.prepare(what == Counts::commits
                                 ? "SELECT head FROM feed WHERE tenant = ?1 AND ?2 = ''"
                             : what == Counts::positions
                                 ? "SELECT head FROM stream WHERE tenant = ? AND scope = ?"
                                 : "SELECT last FROM number WHERE tenant = ? AND sequence = ?");
        q.bind_all(tenant, name);
        if (q.step()) counter.last = q.unsigned_integer(0);
        return counters_.emplace(std::move(key), counter).first->second;
    }
    std::uint64_t raise(Counts what, const std::string& tenant, const std::string& name) {
        Counter& counter = counter_of(what, tenant, name);
        counter.raised = true;
        return ++counter.last;
    }
    void write_counters() {
        for (auto& [key, counter] : counters_) {
            if (!counter.raised) continue;
            const auto& [what, tenant, name] = key;
            // Ids have 62 bits with the highest set, so a cursor's length says nothing about
            // chance.
            auto q = db_.prepare(
                what == Counts::commits ? "INSERT INTO feed (tenant, head) VALUES (?1, ?3) "
                                          "ON CONFLICT (tenant) DO UPDATE SET head = ?3"
                : what == Counts::positions
                    ? "INSERT INTO stream (tenant, scope, id, head) VALUES (?1, ?2, "
                      "(random() & 0x1FFFFFFFFFFFFFFF) | 0x2000000000000000, ?3) "
                      "ON CONFLICT (tenant, scope) DO UPDATE SET head = ?3"
                    : "INSERT INTO number (tenant, sequence, last) VALUES (?1, ?2, ?3) "
                      "ON CONFLICT (tenant, sequence) DO UPDATE SET last = ?3");
            if (what != Counts::commits) q.bind(2, name);
            q.bind(1, tenant).bind(3, counter.last).run();
            counter.raised = false;
        }
    }
    std::uint64_t raise_head(const std::string& tenant, const std::string& scope) {
        return raise(Counts::positions, tenant, scope);
    }

    std::shared_ptr<const StoredRecord> keep(const std::string& tenant, StoredRecord record) {
        if (read_.size() >= kReadMax) read_.clear();
        auto& kept = read_[{tenant, record.state.id}];
        kept = std::make_shared<const StoredRecord>(std::move(record));
        return kept;
    }

    void forget(const std::string& tenant, const RecordId& id) {
        read_.erase({tenant, id});
        saved_.erase(id);
    }

    /// What was saved here is handed out rather than read, once.
    std::vector<StoredRecord> take_records(const std::string& tenant, sqlite::Statement& q) {
        std::vector<StoredRecord> records;
        while (q.step()) {
            const auto at = saved_.empty() ? saved_.end() : saved_.find(q.id(0));
            if (at == saved_.end() || at->second.tenant != tenant) {
                records.push_back(read_record(q));
                continue;
            }
            records.push_back(std::move(at->second.record));
            saved_.erase(at);
        }
        return records;
    }

    sqlite::Database& db_;
    sqlite::Transaction transaction_;
    // What many bundles of a request refer to is read and decoded once.
    static constexpr std::size_t kReadMax = 256;
    std::map<std::pair<std::string, RecordId>, std::shared_ptr<const StoredRecord>> read_;
    // As they stand in the file, with what a request of a few thousand bundles brings.
    static constexpr std::size_t kSavedMax = 4096;
    struct Saved {
        std::string tenant;
        StoredRecord record;
    };
    struct IdHash {
        std::size_t operator()(const RecordId& id) const {
            std::size_t last = 0;
            std::memcpy(&last, id.bytes.data() + id.bytes.size() - sizeof last, sizeof last);
            return last;
        }
    };
    std::unordered_map<RecordId, Saved, IdHash> saved_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> applied_;  // writer, counter
    std::map<CounterKey, Counter> counters_;
};

// ---- the storage

class SqliteStorage : public Storage {
public:
    explicit SqliteStorage(const std::string& path)
        : path_(path), writer_(sqlite::Database::open(path, {})) {
        // The pages of the largest commit stay in memory until it ends: with SQLite's 2 MB they
        // would go into the log, be read again, and go there a second time.
        writer_.execute("PRAGMA cache_size = -65536");
        sqlite::Transaction transaction(writer_);
        std::int64_t found = 0;
        {
            auto q = writer_.prepare("PRAGMA user_version");
            if (q.step()) found = q.integer(0);
        }
        if (found > kSchema)
            throw Error(ErrorCode::storage_newer,
                        "the server's file was written by a newer version");
        if (found == 0) writer_.execute(kCreate);
        writer_.execute(kAdded);
        if (found == 1) writer_.execute(kFrom1);
        writer_.execute(kNoteIndex);
        if (found < kSchema) writer_.execute("PRAGMA user_version = " + std::to_string(kSchema));
        transaction.commit();
    }

    std::unique_ptr<Transaction> begin_write() override { return std::make_unique<Writing>(*this); }
    std::unique_ptr<Transaction> begin_read() override { return std::make_unique<Reading>(*this); }
    void backup(const std::string& to_path) override {
        Borrowed reader(*this);
        sqlite::Transaction snapshot(*reader.db, sqlite::Transaction::Kind::deferred);
        reader.db->execute("SELECT stamp FROM last_stamp");  // holds the snapshot, so that writers
                                                             // do not restart the copy
        reader.db->backup_to(to_path);
    }
    bool scrub(bool log_only) override {
        const std::lock_guard lock(writing_);
        if (!log_only) writer_.vacuum();
        return writer_.truncate_log();
    }

private:
    struct Lock {
        explicit Lock(SqliteStorage& storage) : lock(storage.writing_) {}
        std::unique_lock<std::mutex> lock;
    };
    /// The base that is constructed first and destroyed last holds the connection.
    struct Writing : private Lock, public SqliteTransaction {
        explicit Writing(SqliteStorage& storage)
            : Lock(storage),
              SqliteTransaction(storage.writer_, sqlite::Transaction::Kind::immediate) {}
    };
    struct Borrowed {
        explicit Borrowed(SqliteStorage& storage_)
            : storage(storage_), db(storage_.take_reader()) {}
        Borrowed(const Borrowed&) = delete;
        Borrowed& operator=(const Borrowed&) = delete;
        ~Borrowed() { storage.give_back(std::move(db)); }
        SqliteStorage& storage;
        std::unique_ptr<sqlite::Database> db;
    };
    struct Reading : private Borrowed, public SqliteTransaction {
        explicit Reading(SqliteStorage& storage_)
            : Borrowed(storage_),
              SqliteTransaction(*Borrowed::db, sqlite::Transaction::Kind::deferred) {}
    };

    std::unique_ptr<sqlite::Database> take_reader() {
        {
            const std::lock_guard lock(reading_);
            if (!readers_.empty()) {
                auto reader = std::move(readers_.back());
                readers_.pop_back();
                return reader;
            }
        }
        return std::make_unique<sqlite::Database>(
            sqlite::Database::open(path_, {.read_only = true}));
    }
    void give_back(std::unique_ptr<sqlite::Database> reader) {
        const std::lock_guard lock(reading_);
        try {
            readers_.push_back(std::move(reader));
        } catch (const std::bad_alloc&) {  // it is closed; the next one opens its own
        }
    }

    const std::string path_;
    std::mutex writing_;
    sqlite::Database writer_;
    std::mutex reading_;
    std::vector<std::unique_ptr<sqlite::Database>> readers_;
};

}  // namespace

std::unique_ptr<Storage> open_sqlite_storage(const std::string& path) {
    return std::make_unique<SqliteStorage>(path);
}

}  // namespace rapport::server
