// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/bundle.hpp"
#include "model/comparison.hpp"
#include "model/erasure.hpp"
#include "model/limits.hpp"
#include "model/state.hpp"
#include "rapport/store.hpp"

/// The store as the sync session sees it: what to send, and what to do with what came back. Every
/// call is one transaction.
namespace rapport {

/// Who this file is to its server. Given at enrolment.
struct Identity {
    std::string server;  ///< base URL
    std::string tenant;
    std::string rep;
    Role role = Role::rep;
    std::vector<std::string> scopes;  ///< `territory/DE-50`, or with a trailing `*`
    std::uint64_t writer = 0;
    std::string credential;  ///< bearer secret
};

/// Names one sync: id chosen by the device before sending, tag drawn by the server. Both zero: none
/// yet.
struct EntryRef {
    std::uint64_t id = 0;
    std::uint64_t tag = 0;
    friend bool operator==(const EntryRef&, const EntryRef&) = default;
};

enum class RequestKind : std::uint8_t { normal = 0, recover = 1, fork = 2 };

/// A bundle this file has a verdict of, by the hash of its bytes.
struct SentBundle {
    std::uint64_t counter = 0;
    std::uint64_t hash = 0;
};

/// A request as it was composed once and stored; a retry is the same one.
struct Outgoing {
    RequestKind kind = RequestKind::normal;
    std::uint64_t writer = 0;
    EntryRef last;                     ///< the newest entry of this file
    std::uint64_t next = 0;            ///< id of this sync
    EntryRef basis;                    ///< recover, fork: the server's newest entry
    std::string cursor;                ///< recover, fork: where to continue; else empty
    std::uint64_t receipt = 0;         ///< recover: the counter before the first unanswered bundle
    std::vector<std::string> bundles;  ///< frozen bytes, in counter order
    std::uint64_t parent = 0;          ///< fork: the writer this file was
    std::string credential;            ///< fork: the new bearer secret
    std::uint64_t file = 0;            ///< fork: its number from now on
    bool more = false;                 ///< recover: offers only; the request itself follows
    std::vector<SentBundle> sent;      ///< recover: with a verdict since the common entry
    std::map<std::uint64_t, std::string> authors;  ///< of the witnessed values
    std::vector<std::string> witnessed;            ///< encoded records
    std::vector<RecordId> touched;                 ///< those and the ones this file dropped
    std::optional<Comparison> comparison;          ///< of what the newest entry has left
};

struct IncomingVerdict {
    std::uint64_t counter = 0;
    Verdict verdict = Verdict::applied;
    std::vector<Refusal> reasons;
};

/// A record that left this device's scopes.
struct Departure {
    std::uint16_t kind = 0;
    RecordId id;
    std::uint64_t move = 0;
    std::string scope;  ///< where it went; empty if the device may not know
};

/// A record of a reply. It stays encoded until it is applied: a page of them decoded takes ten
/// times the memory. Elided values are those of the dots this request carried.
struct IncomingRecord {
    std::uint16_t kind = 0;
    RecordId id;
    std::uint64_t move = 0;
    std::string bytes;
    /// Throws Error(protocol_violated) if it begins like no record.
    static IncomingRecord from(std::string bytes);
    RecordState state() const { return decode_record(bytes); }
};

/// All that the server has for this device between two points, where the file holds something else.
struct IncomingStretch {
    ComparePoint from, to;
    std::vector<IncomingRecord> records;
};

/// A reply that counts, decoded.
struct Incoming {
    std::uint64_t next = 0;  ///< echo of the request's id
    std::uint64_t tag = 0;
    bool leaves_entry = false;  ///< it changed the cursor or the receipt
    std::string cursor;
    std::uint64_t receipt = 0;
    std::vector<IncomingVerdict> verdicts;
    std::vector<IncomingRecord> records;
    std::vector<Departure> departures;
    std::vector<RecordId> not_yours;
    std::map<std::uint64_t, std::string> authors;  ///< writer -> name
    bool checkpoint = false;      ///< this page reached the heads: what is staged becomes visible
    bool download = false;        ///< of a first download: visible at once
    bool revoked = false;         ///< verdicts only; nothing that is staged becomes visible
    bool renewal_begins = false;  ///< rows that do not come from here to the checkpoint go
    std::vector<std::string> incomplete;  ///< download: the scopes it is of
    std::int64_t server_time_ms = 0;
    std::vector<std::string> scopes;     ///< the device's scopes if they changed; else empty
    std::optional<Limits> limits;        ///< if they changed
    std::vector<ErasureOrder> erasures;  ///< that this file does not have
    std::vector<IncomingStretch> differing;
    std::optional<Confirmed> confirmed;  ///< records that this file makes by itself
};

/// What settling a reply did, counted in bundles and records.
struct Settled {
    std::size_t applied = 0, refused = 0, later = 0, review = 0;
    std::size_t decided = 0;     ///< bundles that had been in review
    std::size_t conflicted = 0;  ///< applied bundles that left a field of theirs in conflict
    std::size_t records = 0;     ///< records that became visible
    std::size_t mended = 0;      ///< confirmed records that were not what the server has
    std::size_t differing = 0;   ///< those that still are not
    /// Nothing was settled: what the reply leaves out is not what this file makes. The request goes
    /// again, and its answer leaves out nothing.
    bool again = false;
};

/// Ownership: borrows its Store.  Thread-safety: thread-safe through the store's writer lock.
class Replica {
public:
    explicit Replica(Store& store) : store_(store) {}

    std::optional<Identity> identity() const;
    /// Takes the identity; what was captured before gets its author and territory, and its stamps
    /// the server's time. A file that was enrolled before, as another device of the same user, goes
    /// on as this one with all unsent work. Errors: conflict (another user's).
    void enrol(const Identity& identity, std::optional<std::int64_t> server_time_ms = {});

    /// The bearer secret this file enrols with: 32 random bytes as base64url, drawn once and kept,
    /// so that an enrolment whose answer was lost can be repeated.
    std::string enrolment_secret();
    /// Another one, for a file that is enrolled and needs a new credential; the same until that one
    /// is in use.
    std::string new_enrolment_secret();
    /// The server does not know this file's credential. Returns whether another request may help:
    /// the server may have been restored to before a fork of this file, which is then asked for
    /// again.
    bool not_known();

    /// The request in flight if there is one; else freezes sendable bundles in dependency order
    /// while they fit `limits` (never fewer than one if any is sendable) and stores the new
    /// request. Bundles that wait for one that is refused or in review stay; bundles told `later`
    /// since `begin_run` stay too.
    /// A new request carries the comparison if everything is as the newest entry left it.
    Outgoing compose(const Limits& limits, std::optional<Comparison> comparison = {});
    /// A new sync run: bundles told `later` in earlier runs may be sent again.
    void begin_run();
    /// Bundles `compose` would send now, those in flight not counted; counts up to `at_most`.
    std::size_t sendable(std::size_t at_most = SIZE_MAX >> 1) const;
    /// Bundles in flight, without a verdict that has become visible.
    std::size_t unanswered() const;
    /// Bundles on the device that are neither drafts nor in flight.
    std::size_t kept_back() const;

    /// Takes a reply to the request in flight: the entry, the staged page and, at a checkpoint,
    /// verdicts first and then changes made visible, all in one transaction. A reply to another
    /// request is ignored (returns nullopt).
    std::optional<Settled> settle(Incoming incoming);
    /// Removes rows that nobody needs any more, a bounded number in one transaction. Returns
    /// whether there may be more.
    bool tidy();
    /// Is this the id of the request in flight?
    bool in_flight(std::uint64_t next) const;
    /// The server's entries did not match: it or this file was restored from a copy, or the file
    /// was copied. The next requests settle that: first what the server may have lost is offered to
    /// it, then the file goes on under its writer, or under a new one. Nothing is lost.
    void recover(const std::vector<EntryRef>& server_entries);
    /// The server knows another file under this writer, or under that of the fork which is asked
    /// for: the recovery ends in a new one.
    void fork();
    /// The server gives this file no further writer; a person has to enrol it anew.
    void note_declined();
    bool declined() const;

    /// Should what is confirmed be compared with the server? Once a day.
    bool comparison_due() const;
    /// All that is confirmed behind a point, in stretches; none if it cannot be compared now.
    std::vector<Stretch> stretches_behind(const ComparePoint& from) const;
    /// The next comparison is due in a day. With a number everything was compared, and so many
    /// records still differ.
    void note_compared(std::optional<std::size_t> differing);
    /// Takes the comparison out of the request in flight, for a server that knows of none. False:
    /// there is none in it.
    bool drop_comparison();

    /// Has what earlier syncs brought been removed, because the user was logged out?
    bool anew() const;
    /// The highest erasure order this file has carried out to the last free page; number 0: none.
    ErasureOrder order_done() const;
    /// Orders above a number, for a server that has lost them.
    std::vector<ErasureOrder> orders_after(std::uint64_t number, std::size_t limit) const;
    /// Cleans free pages and log of what the orders taken up have removed; at most one writing of
    /// the whole file. False: a reader is in the way, try again later.
    bool scrub();

    Limits limits() const;

private:
    std::optional<Settled> take(Incoming incoming);

    Store& store_;
    std::optional<std::int64_t> asked_ms_;  // Core::elapsed_ms() when the answer was last asked for
};

}  // namespace rapport
