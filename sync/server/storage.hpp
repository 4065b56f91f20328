// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/bundle.hpp"
#include "model/erasure.hpp"
#include "model/state.hpp"
#include "rapport/refusal.hpp"

/// What the engine needs of a database. SQLite is the embedded default; nothing in it is SQLite's.
namespace rapport::server {

/// One entry of the list that both sides keep: a sync id with the tags it was answered under and
/// the cursor of each answer.
struct ServerEntry {
    std::uint64_t id = 0;
    std::uint64_t receipt = 0;
    struct Answer {
        std::uint64_t tag = 0;
        std::string cursor;  ///< empty: it answered offers
    };
    std::vector<Answer> answers;  ///< oldest first
};
inline bool is_of_offers(const ServerEntry::Answer& answer) { return answer.cursor.empty(); }

struct Device {
    std::string tenant;
    std::uint64_t writer = 0;  ///< unique over all tenants
    std::uint64_t parent = 0;  ///< writer it was forked from; 0 = none
    std::string rep;           ///< user name
    Role role = Role::rep;
    std::vector<std::string> scopes;
    std::string credential_hash;  ///< hex SHA-256 of the bearer secret
    bool revoked = false;
    std::uint64_t receipt = 0;
    std::vector<ServerEntry> entries;  ///< oldest first, at most 32
    std::int64_t enrolled_at_ms = 0, last_seen_ms = 0;
    std::int64_t last_sync_ms = 0;  ///< when it last had sent all it could; 0 = never
    std::string file_id;            ///< as the device named itself at enrolment
};

struct LostScope {
    std::string scope;
    std::int64_t at_ms = 0;
};

struct StoredVerdict {
    Verdict verdict = Verdict::applied;
    std::vector<Refusal> reasons;
};

/// A bundle as it came, with what became of it.
struct StoredBundle {
    std::uint64_t writer = 0;
    std::uint64_t counter = 0;
    StoredVerdict verdict;
    std::string bytes;
    std::int64_t received_at_ms = 0;
};

/// What a person decided about a bundle in review, until its device has it.
struct LateVerdict {
    std::uint64_t counter = 0;
    StoredVerdict verdict;
    std::uint64_t told_in = 0;  ///< sync whose reply told it first and left an entry; 0: none yet
};

/// A record with what the centre knows about it beside its fields.
struct StoredRecord {
    RecordState state;           ///< with captures
    RecordId root;               ///< the customer it hangs on; nil if none
    RecordId subject;            ///< its subject_id; nil if none
    std::uint64_t position = 0;  ///< in its scope's stream
    std::uint64_t commit = 0;    ///< in the tenant's feed
    std::string event;           ///< of the feed line: created, changed
    std::string bundle;          ///< `<writer>.<counter>` of the bundle that changed it last
    std::string author;          ///< who changed it last
    std::int64_t received_at_ms = 0;
};

struct Stream {
    std::uint64_t id = 0;  ///< random, so that a restored server does not reuse one
    std::string scope;
    std::uint64_t head = 0;
};

struct StoredDeparture {
    std::uint16_t kind = 0;
    RecordId id;
    std::uint64_t move = 0;
    std::string from, to;
    std::uint64_t position = 0;  ///< in the stream it left
    std::uint64_t commit = 0;
    std::int64_t at_ms = 0;  ///< when it left, by the server's clock
};

/// A move of more records than one commit takes, until all are where they belong.
struct OpenMove {
    RecordId customer;     ///< what hangs on it follows it; nil: all customers of `from` go to `to`
    std::string from, to;  ///< only without a customer
    RecordId after;        ///< with a customer: what hangs on it is settled up to this id
};

/// A value that left the live set, for people.
struct HistoryLine {
    RecordId record;
    std::uint16_t field = 0;
    LiveValue value;
    std::string author;
    std::int64_t left_at_ms = 0;
    std::string left_by;  ///< `<writer>.<counter>`
};

/// A decided or merged theme whose wishes are more than one commit takes.
struct OpenDecision {
    RecordId theme;
    RecordId after;  ///< wishes up to this id have it already
};

/// A record that the server is to look at by itself at some time, because its state may change
/// then.
struct Deadline {
    std::string tenant;
    RecordId record;
    std::int64_t at_ms = 0;
};

/// Something that a recovery came upon and that an administrator should look at.
struct RecoveryNote {
    std::uint64_t id = 0;  ///< given when it is stored
    std::string tenant;
    std::int64_t at_ms = 0;
    std::uint64_t writer = 0;  ///< of the device that offered it, or whose value it is
    std::uint16_t kind = 0;
    RecordId record;
    std::string field;
    std::string code;     ///< what it is: see server/recovery.hpp
    std::string offered;  ///< the encoded record, where it was kept back; else empty
};

struct Invitation {
    std::string code_hash, tenant, rep;
    Role role = Role::rep;
    std::vector<std::string> scopes;
    std::int64_t expires_at_ms = 0;
    std::uint64_t redeemed_by = 0;  ///< writer; 0 = open
};
struct ApiKey {
    std::string key_hash, tenant;
    Role role = Role::feed;
    std::int64_t created_at_ms = 0;
    bool revoked = false;
};

/// An erasure order this database has carried out.
struct StoredErasure {
    ErasureOrder order;
    std::uint64_t commit = 0;  ///< in the tenant's feed
};

/// Words about somebody erased, kept back until the data protection officer decides.
struct HeldText {
    RecordId record;
    std::uint16_t kind = 0;
    Write write;
    Dot dot;
    std::string author;
    std::int64_t received_at_ms = 0;
};

/// One open transaction: everything read is one snapshot, everything written is durable when
/// commit() returns and gone when it is destroyed without.  Confined.
class Transaction {
public:
    virtual ~Transaction() = default;
    /// Runs `work`; if it returns false or throws, what it wrote is undone.
    virtual bool savepoint(const std::function<bool()>& work) = 0;
    virtual void commit() = 0;

    // devices and rights
    virtual std::optional<Device> device(std::uint64_t writer) = 0;
    virtual std::optional<Device> device_by_credential(const std::string& credential_hash) = 0;
    virtual std::vector<Device> devices() = 0;
    virtual void save(const Device& device) = 0;
    /// When the device was revoked; nullopt: it was not.
    virtual std::optional<std::int64_t> revoked_at(std::uint64_t writer) = 0;
    virtual void save_revocation(std::uint64_t writer, std::int64_t at_ms) = 0;
    /// A scope that was taken from a device, or part of one that ends in `*`.
    virtual std::vector<LostScope> lost_scopes(std::uint64_t writer) = 0;
    virtual void save(std::uint64_t writer, const LostScope& lost) = 0;
    virtual std::optional<Invitation> invitation(const std::string& code_hash) = 0;
    virtual void save(const Invitation& invitation) = 0;
    virtual std::optional<ApiKey> api_key(const std::string& key_hash) = 0;
    virtual std::vector<ApiKey> api_keys() = 0;
    virtual void save(const ApiKey& key) = 0;

    // bundles
    virtual std::optional<StoredVerdict> verdict(std::uint64_t writer, std::uint64_t counter) = 0;
    /// `bytes` is the bundle as it came, kept with its verdict; empty if it is to come again.
    virtual void save_verdict(std::uint64_t writer, std::uint64_t counter,
                              const StoredVerdict& verdict, std::string_view bytes,
                              std::int64_t received_at_ms) = 0;
    virtual std::optional<StoredBundle> bundle(std::uint64_t writer, std::uint64_t counter) = 0;
    /// Bundles of a tenant that wait for somebody: refused and not sent again since, or in review.
    /// hash64 of the bundle as its device sent it, whatever was taken out of it since.
    virtual std::optional<std::uint64_t> sent_hash(std::uint64_t writer, std::uint64_t counter) = 0;
    /// To be called where what is kept of a bundle is not what came; the first hash counts.
    virtual void keep_sent_hash(std::uint64_t writer, std::uint64_t counter,
                                std::uint64_t hash) = 0;
    /// In the order they came.
    virtual void open_bundles(const std::string& tenant,
                              const std::function<void(const StoredBundle&)>& each) = 0;
    /// The device sent this bundle again under a later counter: it is open no more.
    virtual void sent_again(std::uint64_t writer, std::uint64_t counter) = 0;
    /// The verdict of a person on a bundle in review; it becomes a late verdict.
    virtual void decide(std::uint64_t writer, std::uint64_t counter,
                        const StoredVerdict& verdict) = 0;
    virtual std::vector<LateVerdict> late_verdicts(std::uint64_t writer) = 0;
    /// The reply to this sync tells all late verdicts of the writer.
    virtual void tell_late_verdicts(std::uint64_t writer, std::uint64_t sync) = 0;
    /// The device has the reply to this sync, and the late verdicts it told.
    virtual void late_verdicts_arrived(std::uint64_t writer, std::uint64_t sync) = 0;

    // records and streams
    virtual std::optional<StoredRecord> record(const std::string& tenant, const RecordId& id) = 0;
    /// The same for who does not change it: one copy for all who look at it. Null if there is none.
    virtual std::shared_ptr<const StoredRecord> look_at(const std::string& tenant,
                                                        const RecordId& id) = 0;
    /// Moves the record to the head of its scope's stream (position = ++head) and of the tenant's
    /// feed (commit as given).
    virtual void save(const std::string& tenant, StoredRecord& record) = 0;
    /// A record as it was just saved, so that it need not be read again by who asks for it in this
    /// transaction.
    virtual void remember(const std::string& tenant, StoredRecord record) = 0;
    virtual std::vector<Stream> streams(const std::string& tenant) = 0;
    /// Records of a stream after a position, in position order.
    virtual std::vector<StoredRecord> changed(const std::string& tenant, const std::string& scope,
                                              std::uint64_t after, std::size_t limit) = 0;
    /// Records of a kind in a scope with ids below `below`, the newest (by id) first, without those
    /// placed behind `up_to` in the stream.
    virtual std::vector<StoredRecord> newest(const std::string& tenant, const std::string& scope,
                                             std::uint16_t kind, const RecordId& below,
                                             std::uint64_t up_to, std::size_t limit) = 0;
    virtual std::vector<StoredDeparture> departed(const std::string& tenant,
                                                  const std::string& scope, std::uint64_t after,
                                                  std::size_t limit) = 0;
    /// Puts the departure at the head of the stream it left (position = ++head) and into the feed
    /// (commit as given).
    virtual void save(const std::string& tenant, StoredDeparture& departure) = 0;
    /// The departures of one record, the latest first.
    virtual std::vector<StoredDeparture> departures_of(const std::string& tenant,
                                                       const RecordId& id) = 0;
    /// Records whose root is `root`, by id, after one.
    virtual std::vector<RecordId> hanging_on(const std::string& tenant, const RecordId& root,
                                             const RecordId& after, std::size_t limit) = 0;
    /// Gives a record another root and leaves it where it stands in its stream.
    virtual void save_root(const std::string& tenant, const RecordId& id, const RecordId& root) = 0;
    /// Records of a kind that live in this scope.
    virtual std::vector<RecordId> living_in(const std::string& tenant, std::uint16_t kind,
                                            const std::string& scope, std::size_t limit) = 0;
    /// Those of customers before those of territories.
    virtual std::vector<OpenMove> open_moves(const std::string& tenant) = 0;
    /// In place of one of the same customer and `from`.
    virtual void save(const std::string& tenant, const OpenMove& move) = 0;
    virtual void remove(const std::string& tenant, const OpenMove& move) = 0;
    /// Records of a kind whose subject_id is `subject`.
    virtual std::vector<RecordId> with_subject(const std::string& tenant, const RecordId& subject,
                                               std::uint16_t kind) = 0;
    /// All records of a kind: for kinds of which a company has few.
    virtual std::vector<RecordId> of_kind(const std::string& tenant, std::uint16_t kind) = 0;
    /// Records that link to `target` in a set or register the engine registered with save_links;
    /// with a `root` only those that hang on it. By id, after one.
    virtual std::vector<RecordId> linking_to(const std::string& tenant, const RecordId& target,
                                             const RecordId& root, const RecordId& after,
                                             std::size_t limit) = 0;
    virtual void save_links(const std::string& tenant, const RecordId& from,
                            const std::vector<RecordId>& targets) = 0;
    virtual std::optional<RecordId> by_external_id(const std::string& tenant, std::uint16_t kind,
                                                   const std::string& system,
                                                   const std::string& id) = 0;
    virtual void save_external_ids(const std::string& tenant, std::uint16_t kind,
                                   const RecordId& record,
                                   const std::vector<std::pair<std::string, std::string>>& ids) = 0;
    /// Next value of a named sequence of the tenant, from 1.
    virtual std::uint64_t next_number(const std::string& tenant, const std::string& sequence) = 0;
    virtual std::vector<OpenDecision> open_decisions(const std::string& tenant) = 0;
    /// In place of one of the same theme.
    virtual void save(const std::string& tenant, const OpenDecision& decision) = 0;
    virtual void remove(const std::string& tenant, const OpenDecision& decision) = 0;
    /// In place of one of the same record.
    virtual void save(const Deadline& deadline) = 0;
    virtual void remove(const Deadline& deadline) = 0;
    /// Of all tenants, up to a time, the earliest first.
    virtual std::vector<Deadline> deadlines(std::int64_t up_to_ms, std::size_t limit) = 0;
    /// Tasks that no device of their rep has shown to have.
    virtual std::vector<RecordId> undelivered(const std::string& tenant,
                                              const std::string& rep) = 0;
    /// In place of another rep of the same task.
    virtual void save_undelivered(const std::string& tenant, const std::string& rep,
                                  const RecordId& task) = 0;
    virtual void remove_undelivered(const std::string& tenant, const RecordId& task) = 0;
    virtual void append(const std::string& tenant, const HistoryLine& line) = 0;
    virtual std::vector<HistoryLine> history(const std::string& tenant, const RecordId& record) = 0;

    // recovery
    /// With an id only what it keeps back is changed. Else it is a new one, unless all but the time
    /// is noted already: what two files of one writer offered stays apart.
    virtual void save(const RecoveryNote& note) = 0;
    /// In the order they were first noted.
    virtual std::vector<RecoveryNote> recovery_notes(const std::string& tenant) = 0;
    /// The encoded record as the newest note keeps it back; none if no note does.
    virtual std::optional<std::string> kept_back(const std::string& tenant,
                                                 const RecordId& record) = 0;
    virtual void remove(const RecoveryNote& note) = 0;
    /// The user behind a writer whose device row a restored server has lost.
    virtual void save_author(std::uint64_t writer, const std::string& name) = 0;
    virtual std::optional<std::string> author(std::uint64_t writer) = 0;
    /// The next value of the sequence is above this one.
    virtual void raise_number(const std::string& tenant, const std::string& sequence,
                              std::uint64_t at_least) = 0;
    // erasures
    /// Small values by name.
    virtual std::optional<std::string> note(const std::string& name) = 0;
    virtual void save_note(const std::string& name, std::string_view value) = 0;
    virtual void forget_note(const std::string& name) = 0;
    virtual std::vector<StoredErasure> erasures(const std::string& tenant) = 0;
    virtual void save(const std::string& tenant, const StoredErasure& erasure) = 0;
    /// What was superseded in these fields of a record.
    virtual void forget_history(const std::string& tenant, const RecordId& record,
                                const std::vector<std::uint16_t>& fields) = 0;
    enum class Which { all, not_applied };
    /// Passes bundles of the tenant's devices in the order they came, and keeps the bytes and
    /// reasons of those for which `change` returns true.
    virtual void rewrite_bundles(const std::string& tenant, Which which,
                                 const std::function<bool(StoredBundle&)>& change) = 0;
    virtual void hold(const std::string& tenant, const HeldText& text) = 0;
    /// In the order they came; of one record unless it is nil.
    virtual std::vector<HeldText> held_texts(const std::string& tenant, const RecordId& record) = 0;
    virtual void forget_held(const std::string& tenant, const RecordId& record) = 0;

    // feed
    virtual std::uint64_t feed_head(const std::string& tenant) = 0;
    /// The number of the next commit of the tenant's feed; raised at once.
    virtual std::uint64_t next_commit(const std::string& tenant) = 0;
    /// Whole commits after `after` in order, at least one, until `records_min` records are there.
    virtual std::vector<StoredRecord> feed(const std::string& tenant, std::uint64_t after,
                                           std::size_t records_min) = 0;
    /// The same of departures.
    virtual std::vector<StoredDeparture> feed_departures(const std::string& tenant,
                                                         std::uint64_t after,
                                                         std::size_t departures_min) = 0;
    /// The same of erasure orders.
    virtual std::vector<StoredErasure> feed_erasures(const std::string& tenant, std::uint64_t after,
                                                     std::size_t erasures_min) = 0;
    /// A commit behind which stands everything received at `at_ms` or later; the last such commit
    /// that still holds a record. 0 = from the start.
    virtual std::uint64_t commit_before(const std::string& tenant, std::int64_t at_ms) = 0;

    virtual std::uint64_t count(const std::string& tenant, std::uint16_t kind) = 0;
    virtual std::vector<std::string> tenants() = 0;

    /// Hybrid time of the last commit that used one; server time never runs behind it.
    virtual Stamp last_stamp() = 0;
    virtual void save_last_stamp(Stamp stamp) = 0;
};

class Storage {
public:
    virtual ~Storage() = default;
    /// One writing transaction at a time; a second waits.
    virtual std::unique_ptr<Transaction> begin_write() = 0;
    /// Reads one snapshot and never waits for a writer.
    virtual std::unique_ptr<Transaction> begin_read() = 0;
    /// A consistent copy of the whole database.
    virtual void backup(const std::string& to_path) = 0;
    /// Leaves no byte of what has been removed: in free pages, unless `log_only`, and in the log.
    /// Between two transactions. False: a reader is in the way of the log, and only of that.
    virtual bool scrub(bool log_only) = 0;
};

/// Opens or creates the SQLite storage (WAL, synchronous=FULL).
std::unique_ptr<Storage> open_sqlite_storage(const std::string& path);

}  // namespace rapport::server
