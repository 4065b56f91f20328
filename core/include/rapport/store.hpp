// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "rapport/doctor.hpp"
#include "rapport/environment.hpp"
#include "rapport/error.hpp"
#include "rapport/query.hpp"
#include "rapport/record.hpp"
#include "rapport/refusal.hpp"
#include "rapport/search.hpp"

namespace rapport {

/// One field of one record as the user leaves it.
struct FieldEdit {
    enum class Op : std::uint8_t {
        set,     ///< registers: the value; sets: exactly these elements; maps: exactly these keys
        clear,   ///< unset
        add,     ///< sets: add these elements; maps: write these keys
        remove,  ///< sets and maps: take these elements or keys away
    };
    const Field* field = nullptr;
    Op op = Op::set;
    Content content;
};

/// What is to happen to one record.
struct RecordEdit {
    const Kind* kind = nullptr;
    RecordId id;
    bool create = false;
    std::string scope;  ///< with create of a Customer by the office: its territory; else empty (the
                        ///< device's own)
    std::vector<FieldEdit> fields;
};

/// What a capture came to. Refusals are everyday answers; with one, nothing was stored.
struct Captured {
    std::vector<RecordId> ids;  ///< one per record of the bundle, in order
    std::vector<Refusal> refusals;
    explicit operator bool() const { return refusals.empty(); }
};

enum class SyncState : std::uint8_t {
    draft,      ///< never leaves the device until submitted
    queued,     ///< captured, not sent
    sent,       ///< sent, no verdict yet
    confirmed,  ///< the server has it
    refused,    ///< the server will not take it as it is; `reasons` say why; an edit resubmits it
    review,     ///< a person at the centre decides; kept here, not sent again
    waits,      ///< waits for another bundle, or for the server to know what it refers to
    conflict,   ///< confirmed, and a field has values nobody has reconciled
};
std::string_view name_of(SyncState state);

struct RecordStatus {
    SyncState state = SyncState::confirmed;
    std::vector<Refusal> reasons;
    std::vector<RecordId> waits_for;  ///< records of the bundles it waits for
    bool conflict = false;
};

/// A record as a person recognises it.
struct TitledRecord {
    const Kind* kind = nullptr;
    RecordId id;
    std::string title;
};

/// A bundle that does not go on by itself, and why.
struct HeldBundle {
    SyncState state = SyncState::refused;  ///< refused, review or waits
    Instant captured_at;
    std::vector<TitledRecord> records;  ///< those it creates first
    std::vector<Refusal> reasons;       ///< the server's; empty when it only waits for others
    /// What it waits for: the bundle that is refused, in review, told `later` or still a draft.
    struct Needed {
        SyncState state = SyncState::refused;
        std::string code;  ///< of its first reason; empty when it has none
        std::vector<TitledRecord> records;
    };
    std::vector<Needed> waits_for{};
};

/// Somebody who has logged out of this file, and what of theirs waits until they log in again.
struct LoggedOut {
    std::string rep, tenant, server;
    Instant left_at;
    std::size_t unsent = 0, drafts = 0;       ///< bundles
    std::optional<Instant> unreceived_since;  ///< capture time of the earliest unsent one
};

/// A change of state that was asked for and that the centre turned down.
struct TurnedDown {
    RecordId request;
    TitledRecord subject;
    std::string to;
    Instant at;
    Refusal why;
};

/// How the file stands as a whole. Derived when asked, never stored.
struct Overview {
    std::size_t drafts = 0, queued = 0, sent = 0, refused = 0, review = 0,
                waiting = 0;    ///< bundles
    std::size_t conflicts = 0;  ///< fields
    std::optional<Instant>
        unreceived_since;  ///< capture time of the earliest bundle without an applied verdict
    std::optional<Instant> last_sync;  ///< the last reply that counted
    bool enrolled = false;
    std::string server, tenant, rep, role;
    std::vector<std::string> scopes;
    std::vector<std::string> incomplete;  ///< scopes whose first download is not at its end
    std::size_t departed = 0;             ///< records that left this device's scopes
    std::optional<Instant> compared_at;   ///< when all confirmed ones were last compared with the
                                          ///< server's
    std::size_t mended = 0;               ///< confirmed records that were found to be wrong, ever
    std::optional<Instant> mended_at;     ///< the last of them
    std::size_t differing = 0;            ///< still wrong then, because of unsent work on them
    std::string file_id;                  ///< 16 hex digits
    std::vector<LoggedOut> logged_out;    ///< in the order they left
    /// When this file went on as a device of its own, because it or another one was a copy.
    std::optional<Instant> forked_at;
    /// When the server was found to have been restored from a backup; it is given back what it
    /// lacks.
    std::optional<Instant> recovered_at;
    bool recovering = false;  ///< one of the two is under way
    bool revoked = false;     ///< it may hand in what is unsent and receives nothing
    bool declined = false;    ///< one copy too many: it sends nothing until it is enrolled anew
    /// This user's of the last 30 days, the newest first: of each record the last one asked for, if
    /// it was turned down and the record has not become that by now.
    std::vector<TurnedDown> turned_down;
};

/// A record that left this device's scopes: gone from lists and searches, but who worked on it can
/// see where it is.
struct Departed {
    const Kind* kind = nullptr;
    RecordId id;
    std::optional<Instant> at;  ///< its own time: when the visit began, the complaint was received
    Instant left_at;            ///< when this device was told
    std::string scope;          ///< where it is now; empty if this device may not know
};

/// What a person has begun and not submitted. It never leaves the device.
struct Draft {
    const Kind* kind = nullptr;     ///< of its first record
    std::vector<RecordId> records;  ///< the first it was begun with; `find` reads them
    std::string title;              ///< the first words that tell which it is; may be empty
    Instant touched;                ///< when something was last typed
    struct Typed {
        RecordId record;
        std::string field;  ///< as given to `autosave`
        std::string text;
    };
    std::vector<Typed> unfinished;  ///< what was typed and is no value yet
};

/// One value of a conflict.
struct Candidate {
    Content content;     ///< what the field would show with this value alone
    std::string author;  ///< name, as far as known
    Instant at;          ///< when it was written, by the writer's corrected clock; UTC
    bool mine = false;   ///< written by this file
    bool shown = false;  ///< the value the field shows now
};
/// A field with more than one value nobody who saw them all has written over. Its id is made from
/// record and field.
struct Conflict {
    std::string id;  ///< `<record id>:<field name>`
    const Kind* kind = nullptr;
    RecordId record;
    const Field* field = nullptr;
    std::string key;  ///< of a per-key field
    std::vector<Candidate> candidates;
};
enum class Keep : std::uint8_t { mine, theirs, both, value };

/// A change of state a record may go through next.
struct NextState {
    std::string to;
    bool needs_reason = false;
    std::vector<std::string> needs;  ///< fields that must be set first or come with the request
    std::vector<std::string> sets;   ///< fields of the server that may come with the request
};

/// What a commit or a checkpoint changed.
struct Changes {
    struct Of {
        const Kind* kind;
        std::vector<RecordId> ids;
    };
    std::vector<Of> kinds;
};

/// Stops observing when destroyed; after that no callback runs.  Move-only.
class Subscription {
public:
    Subscription() = default;
    explicit Subscription(std::function<void()> cancel) : cancel_(std::move(cancel)) {}
    Subscription(Subscription&& other) noexcept : cancel_(std::exchange(other.cancel_, nullptr)) {}
    Subscription& operator=(Subscription&& other) noexcept {
        std::swap(cancel_, other.cancel_);
        return *this;
    }
    ~Subscription() {
        if (cancel_) cancel_();
    }

private:
    std::function<void()> cancel_;
};

template <class K>
class Edit;
class Bundling;

/// The visits, complaints and wishes of one device, in one file.
///
/// A capture is one SQLite transaction with synchronous=FULL: when the call returns it is on disk,
/// before that nothing of it is. What was saved together is one bundle. Reading never waits for
/// writing.
///
/// Ownership: move-only; subscriptions and a Syncer borrow it.  Thread-safety: thread-safe.
/// Errors: storage_failed, storage_damaged, storage_busy, storage_newer as exceptions; refusals as
/// values.
class Store {
public:
    struct Options {
        bool read_only = false;        ///< never waits and takes no lock; the file must exist
        std::string rep;               ///< with a new file: who captures, until enrolment says so
        Milliseconds lock_wait{5000};  ///< how long to wait for another writing process
        Environment* environment = nullptr;  ///< null = system_environment()
    };
    /// Opens or creates the file. One process at a time opens it for writing; a second waits
    /// `lock_wait`, then gets storage_busy with the pid that holds it.
    static Store open(const std::string& path, const Options& options);
    static Store open(const std::string& path) { return open(path, Options{}); }
    Store(Store&&) noexcept;
    Store& operator=(Store&&) noexcept;
    ~Store();

    // ---- capture
    /// One record as a bundle of its own.
    template <class K>
    std::pair<Id<K>, Captured> put(const K& record);
    /// Starts an edit of one record; `save()` captures it.
    template <class K>
    Edit<K> edit(const Id<K>& id);
    /// Starts a bundle of several records; `save()` captures all or nothing.
    Bundling bundle();
    /// The general form: all edits in one transaction as one bundle, or, as a draft, kept on the
    /// device until `submit`. Ids of new records may be nil; they are then drawn and returned.
    Captured commit(std::span<const RecordEdit> edits, bool as_draft = false);
    /// Many bundles in one transaction, for imports: each is accepted or refused as a whole as by
    /// `commit`, in their order, a refused one leaves nothing and stops no other, and when the call
    /// returns all accepted ones are on disk. One answer per bundle. A few hundred records at a
    /// time keep other writers from waiting long.
    std::vector<Captured> commit_all(std::span<const std::span<const RecordEdit>> bundles);
    /// Drafts, the one last touched first.
    std::vector<Draft> drafts() const;
    /// Keeps what a person has typed into one field of a draft: `field`, `group.part` or `map.key`,
    /// empty text clears it. On disk when it returns, valid or not: text that is no value yet stays
    /// beside the draft until another one comes, and is returned with the reasons.
    /// Errors: not_found; conflict if the record is no draft; invalid_argument for another name.
    std::vector<Refusal> autosave(const RecordId& record, const std::string& field,
                                  const std::string& text);
    /// Checks a draft as a whole and queues it. Errors: not_found.
    Captured submit(const RecordId& any_record_of_the_draft);
    /// Removes a draft, else the last refused work on it, for good. Errors: not_found, conflict.
    void discard(const RecordId& any_record);
    /// Asks the server for a change of state of `subject`; the answer arrives on the returned
    /// StateRequest.
    Captured request_state(const RecordId& subject, const std::string& to,
                           const std::string& reason,
                           const std::map<std::string, std::string>& fields);

    /// What `request_state` may ask for now in this device's role, by the newest StateTable this
    /// file holds for the kind, else by the workflow the build brings. Empty for kinds without
    /// states. Conditions only the server can check may still turn the request down. Errors:
    /// not_found.
    std::vector<NextState> next_states(const RecordId& subject) const;

    // ---- users
    /// Ends the session of the user this file is enrolled for, so that another may enrol with it or
    /// log in. What the server has confirmed is removed from the file; unsent work and drafts stay
    /// in it, and nobody else sees or sends them. Takes as long as writing the file anew. Errors:
    /// not_enrolled.
    void log_out();
    /// Goes on where this user logged out: unsent work and drafts are there at once, the rest comes
    /// with the next sync. Whoever calls this has made sure that it is them. Errors: not_found;
    /// conflict while somebody else is logged in, or unsent work of nobody is there.
    void log_in(const std::string& rep);

    // ---- read
    std::optional<Record> find(const RecordId& id) const;
    template <class K>
    std::optional<K> read(const Id<K>& id) const {
        auto r = find(id);
        if (!r || r->kind != &kind_of<K>()) return std::nullopt;
        return from_record<K>(*r);
    }
    Page query(const Query& query) const;
    std::size_t count(const Query& query) const;
    /// A record by its id in another system (`@erp:4711`).
    std::optional<RecordId> find_external(const std::string& system, const std::string& id) const;
    RecordStatus status(const RecordId& id) const;
    /// The gravest state among a visit (or any record) and the records that refer to it.
    RecordStatus status_with_children(const RecordId& id) const;
    Overview overview() const;
    /// The latest to leave first.
    std::vector<Departed> departed(std::size_t limit = 1000) const;

    // ---- search
    /// Records by the words of their texts, best first. Indexes what is missing first, as far as
    /// that takes no more than a moment and nobody is writing; `behind` says whether it was all.
    /// Errors: invalid_argument for a limit out of bounds.
    SearchPage search(const SearchRequest& request) const;
    /// Brings at most a few hundred records into the search index, in one transaction; true if more
    /// are left. For an app's idle moments; captures never wait for the index.
    bool index_some();
    /// The bundles that are refused, in review or wait for another, in the order they were
    /// captured.
    std::vector<HeldBundle> held() const;

    // ---- conflicts
    std::vector<Conflict> conflicts(std::size_t limit = 1000) const;
    /// Writes over all values of the conflict. `both` joins texts and is refused for other fields.
    Captured resolve(const std::string& conflict_id, Keep keep, const Content& value = {});

    // ---- observe, export
    /// Calls back after each commit and checkpoint that changed records of these kinds (all kinds
    /// if empty), on the thread that committed, with no lock held.
    Subscription observe(std::vector<const Kind*> kinds,
                         std::function<void(const Changes&)> callback);
    /// The same for these records only.
    Subscription observe_records(std::vector<RecordId> ids,
                                 std::function<void(const Changes&)> callback);
    /// Calls back with the query's page at once, and again when a commit or checkpoint has made it
    /// another one; what several threads changed meanwhile comes as one page. On this thread first,
    /// then on those that commit, one call at a time, with no lock held. Errors: as query().
    Subscription observe_query(const Query& query, std::function<void(const Page&)> callback);
    /// Every record (or only those with unsent work) to `line` as canonical JSON, one call per
    /// record.
    void export_records(const Kind* kind, bool unsent_only,
                        const std::function<void(const std::string& json)>& line) const;

    /// SQLite's integrity_check plus the store's own rules; one sentence per finding, empty =
    /// sound.
    std::vector<std::string> check() const;
    /// The same with counts, and how far the server has acknowledged what was sent.
    Diagnosis diagnose() const;

    class Core;  ///< for the library's own parts
    Core& core() const { return *core_; }

private:
    explicit Store(std::unique_ptr<Core> core);
    std::unique_ptr<Core> core_;
};

/// Collects edits of one record. `store.edit(id).set(&Complaint::remedy_wanted,
/// Remedy::replace).save()`.
template <class K>
class Edit {
public:
    Edit(Store* store, const RecordId& id, bool create = false) : store_(store) {
        edit_.kind = &kind_of<K>();
        edit_.id = id;
        edit_.create = create;
    }
    /// Any field takes a value; a set or a map then holds exactly what is given.
    template <class F, class C, class V>
    Edit& set(F C::*member, V&& value) {
        F holder{};
        holder = std::forward<V>(value);
        const Field& f = field_of(member);
        return push(f, FieldEdit::Op::set, f.read(&holder));
    }
    template <class F, class C>
    Edit& clear(F C::*member) {
        return push(field_of(member), FieldEdit::Op::clear, {});
    }
    /// One element of a set.
    template <class F, class C>
    Edit& add(F C::*member, const typename F::Element& element) {
        return element_op(member, FieldEdit::Op::add, element);
    }
    template <class F, class C>
    Edit& remove(F C::*member, const typename F::Element& element) {
        return element_op(member, FieldEdit::Op::remove, element);
    }
    /// One key of a map.
    template <class F, class C>
    Edit& put(F C::*member, const std::string& key, const typename F::Element& value) {
        static_assert(F::kPolicy == Policy::per_key, "only maps have keys");
        return push(field_of(member), FieldEdit::Op::add,
                    {{key, TypeOf<typename F::Element>::to_value(value)}});
    }
    template <class F, class C>
    Edit& take(F C::*member, const std::string& key) {
        static_assert(F::kPolicy == Policy::per_key, "only maps have keys");
        return push(field_of(member), FieldEdit::Op::remove, {{key, Value()}});
    }
    Captured save() { return store_->commit(std::span<const RecordEdit>(&edit_, 1)); }
    const RecordEdit& record_edit() const { return edit_; }

private:
    template <class F, class C>
    static const Field& field_of(F C::*member) {
        static const K sample{};
        return kind_of<K>().field_at(
            static_cast<std::size_t>(reinterpret_cast<const char*>(&(sample.*member)) -
                                     reinterpret_cast<const char*>(&sample)));
    }
    template <class F, class C>
    Edit& element_op(F C::*member, FieldEdit::Op op, const typename F::Element& element) {
        static_assert(F::kPolicy == Policy::add_wins, "only sets have elements");
        const Value v = TypeOf<typename F::Element>::to_value(element);
        return push(field_of(member), op, {{canonical_bytes(v), v}});
    }
    Edit& push(const Field& f, FieldEdit::Op op, Content content) {
        edit_.fields.push_back({&f, op, std::move(content)});
        return *this;
    }
    Store* store_;
    RecordEdit edit_;
};

/// A typed struct as the edit that creates it.
template <class K>
RecordEdit creation(const K& record, const RecordId& id) {
    RecordEdit edit{&kind_of<K>(), id, true, {}, {}};
    Record r = to_record(record, id);
    for (auto& [number, content] : r.fields)
        edit.fields.push_back({r.kind->field(number), FieldEdit::Op::set, std::move(content)});
    return edit;
}

/// Collects several records into one bundle: a visit with its complaints and wishes.
class Bundling {
public:
    explicit Bundling(Store* store) : store_(store) {}
    /// Adds a new record; its id can be used at once in the records that follow.
    template <class K>
    Id<K> add(const K& record) {
        const RecordId id = draw_id();
        edits_.push_back(creation(record, id));
        return Id<K>(id);
    }
    template <class K>
    Bundling& change(const Edit<K>& edit) {
        edits_.push_back(edit.record_edit());
        return *this;
    }
    Captured save() { return store_->commit(edits_); }
    Captured save_draft() { return store_->commit(edits_, true); }

private:
    RecordId draw_id();
    Store* store_;
    std::vector<RecordEdit> edits_;
};

template <class K>
std::pair<Id<K>, Captured> Store::put(const K& record) {
    const RecordEdit edit = creation(record, RecordId{});
    Captured captured = commit(std::span<const RecordEdit>(&edit, 1));
    return {captured ? Id<K>(captured.ids.front()) : Id<K>(), std::move(captured)};
}
template <class K>
Edit<K> Store::edit(const Id<K>& id) {
    return Edit<K>(this, id);
}
inline Bundling Store::bundle() { return Bundling(this); }

}  // namespace rapport
