// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/messages.hpp"
#include "rapport/environment.hpp"
#include "server/erasure.hpp"
#include "server/round.hpp"
#include "server/storage.hpp"

namespace rapport::server {

/// The rules of the centre: admits, judges and merges bundles, answers pulls. Opens no socket and
/// reads no clock.
///
/// Ownership: borrows storage, environment and erasure orders.  Thread-safety: confined; the caller
/// has one thread for it.
class Engine {
public:
    /// A device whose cursor is older than the horizon gets everything anew. Orders that the
    /// storage has not carried out, because it is an older one from a backup, are carried out here;
    /// without `erasures` nothing can be erased.
    Engine(Storage& storage, Environment& environment, Limits limits = {},
           std::int64_t horizon_days = kHorizonDays, Erasures* erasures = nullptr);

    /// One sync request of an authenticated device: the writer its credential names, and the plain
    /// archive.
    struct Call {
        std::uint64_t writer = 0;
        std::string archive;
    };
    struct Answer {
        std::string archive;     ///< of the reply; empty if `error` says something
        std::string error_code;  ///< protocol_violated, limit_exceeded, not_authorised, internal;
                                 ///< empty = none
        std::string error_sentence;
        std::size_t differing = 0;  ///< stretches that the device held otherwise, of those compared
        std::size_t differing_records = 0;  ///< that are sent for them
        bool compared = false;
        std::vector<Verdict> verdicts;  ///< that it tells
        bool recovered = false;         ///< the device brought back what this server had lost
        bool forked = false;            ///< its file goes on as another device from now on
    };
    /// Handles all calls in one durable commit; of a call that fails, and of a bundle that is not
    /// applied, nothing stays. Answers may leave once this returns. Throws Error when the storage
    /// fails; then nothing of any call happened.
    std::vector<Answer> sync(const std::vector<Call>& calls);
    Answer sync(const Call& call) { return sync(std::vector<Call>{call}).front(); }

    /// Reference data from the office or an ERP: creates or updates records as the server itself,
    /// one commit. A record without id is found by its external ids, else by what names it (the
    /// code of a product or territory, list and code, the title of a theme), so that a second
    /// import updates the first; what did not change is not written again.
    struct Written {
        RecordId id;
        std::vector<Refusal> refusals;  ///< with any, this record was left out
    };
    std::vector<Written> write_as_server(const std::string& tenant,
                                         const std::vector<Record>& records);

    /// Hands a customer, or every customer of a territory, over to another territory, with all that
    /// hangs on it. Only the beginning is done and durable on return; carry_on() does the rest. To
    /// begin what is under way already changes nothing.
    struct HandOver {
        RecordId customer;  ///< nil: all of `from`
        std::string from, to;
    };
    /// Returns why not; nullopt: it has begun.
    std::optional<Refusal> begin(const std::string& tenant, const HandOver& hand_over);
    /// One commit of bounded size of what is still to be moved or told of a decision, or changes
    /// its state because its time has come, here or since before the engine was made. Returns how
    /// many records it looked at, at least 1; 0: nothing was left. To be called after each commit,
    /// and from time to time without one.
    std::size_t carry_on();
    /// Admits a bundle in review with the authority of the office. `applied` and `refused` are its
    /// final verdict, told to its device with its next syncs; `later`: what it needs has still not
    /// arrived, and it stays in review. Nullopt: the tenant has no such bundle in review.
    std::optional<StoredVerdict> accept(const std::string& tenant, Dot bundle);
    /// Refuses a bundle in review for good, in the words of the office: code `rejected`. False: the
    /// tenant has no such bundle in review.
    bool reject(const std::string& tenant, Dot bundle, const std::string& reason);

    /// Joins a record that a recovery kept back. False: there is none of this number, or this
    /// server still does not take it.
    bool accept_offered(const std::string& tenant, std::uint64_t note);
    /// The administrator has seen it. False: there is none of this number.
    bool dismiss_note(const std::string& tenant, std::uint64_t note);
    /// Orders the personal data of a contact or customer erased, and carries it out: durable on
    /// return, but for free pages, which scrub() cleans. With `holds_texts` the words of records
    /// that only name the subject are held for a decision, else they go as well. A second order on
    /// a subject is the first one, carried out again. Nullopt: the tenant has no such record, or it
    /// is of another kind.
    std::optional<Erased> erase(const std::string& tenant, const RecordId& subject,
                                bool holds_texts);
    /// Shows the held texts of a record again, or takes them for good; what is written into it
    /// later is shown, or held again. False: nothing of it is held.
    bool decide_held(const std::string& tenant, const RecordId& record, bool release);
    /// Cleans free pages and the log of what was erased; takes as long as writing the database
    /// anew. False: a reader is in the way, try again; carry_on() does, too.
    bool scrub();
    const Erasures* erasures() const { return erasures_; }

    const Limits& limits() const { return limits_; }

private:
    /// Makes the round durable and notes what it leaves for carry_on().
    void commit(Round& round);
    /// The next records that change by the time alone; returns how many it looked at.
    std::size_t keep_deadlines();
    /// Makes file and storage hold the same orders, and carries out what is not.
    void catch_up_with_erasures();
    /// Before every round that counts as having all orders: one whose commit failed is in the file.
    void carry_out_what_is_left();

    Storage& storage_;
    Environment& environment_;
    Limits limits_;
    std::int64_t horizon_days_;
    bool work_open_ = true;            ///< until storage was asked
    std::int64_t deadline_ms_ = 0;     ///< of the next record; 0: until storage was asked
    std::int64_t server_time_ms_ = 0;  ///< of the last commit: a wall clock may be set back
    Erasures* const erasures_;
    std::size_t erasures_done_ = 0;  ///< lines of their file this storage has
    enum class Scrub { done, log, all } scrub_ = Scrub::done;
};

}  // namespace rapport::server
