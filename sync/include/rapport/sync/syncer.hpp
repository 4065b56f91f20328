// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "rapport/store.hpp"
#include "rapport/sync/transport.hpp"

namespace rapport {

/// How far one sync may go.
struct SyncBudget {
    Milliseconds time{60000};
    std::uint64_t bytes = UINT64_MAX;  ///< bodies, both ways
    bool compare = false;  ///< what is confirmed with what the server has; else that is done once a
                           ///< day, when everything else is
};

struct SyncProgress {
    std::size_t bundles_done = 0,
                bundles_total =
                    0;  ///< with a verdict / to send when the run began, plus captured since
    std::size_t records_received = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0;
};

enum class SyncEnd : std::uint8_t {
    complete,        ///< everything sendable was judged and the heads were reached
    out_of_budget,   ///< time or bytes; the rest goes next time
    not_reached,     ///< no network, or the server is away; nothing lost
    not_authorised,  ///< the credential is unknown or revoked; captures stay
    needs_recovery,  ///< one more copy of this file than the server accepts; nothing is sent until
                     ///< it is enrolled with a new code
    rejected,        ///< the server does not take this protocol or request; see `sentence`
    cancelled,
    not_enrolled,
};
std::string_view name_of(SyncEnd end);

/// What a sync came to. It adds up: sent = applied + refused + later + review + unanswered, and
/// applied + unanswered + left is all that was queued. While no byte left the device nothing counts
/// as sent.
struct SyncResult {
    SyncEnd end = SyncEnd::complete;
    std::string sentence;  ///< what a person may do about it; empty when complete
    std::size_t sent = 0;  ///< bundles sent with a verdict awaited
    std::size_t applied = 0;
    std::size_t conflicted = 0;  ///< of the applied ones
    std::size_t refused = 0;
    std::size_t later = 0;
    std::size_t review = 0;      ///< a person at the centre decides
    std::size_t decided = 0;     ///< of earlier syncs, in review until now
    std::size_t unanswered = 0;  ///< sent, no verdict yet
    std::size_t left = 0;  ///< bundles still on the device: waiting, in review, refused before, not
                           ///< sent for lack of budget
    std::size_t received = 0;  ///< records that became visible
    bool compared = false;     ///< all that is confirmed was compared with what the server has
    std::size_t mended = 0;    ///< confirmed records that were not what the server has, and are now
    std::size_t differing = 0;  ///< that still are not, because there is unsent work on them
    int requests = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0;
    std::optional<Milliseconds> retry_after;  ///< when the server or the backoff says to try again
};

/// `{"end": ..., "sentence": ..., "sent": 2, ...}`, all members but those that are not set.
std::string to_json(const SyncResult& result);

/// Replicates a store with its server.  Ownership: borrows store, transport, environment.
/// Thread-safety: sync_for() one thread at a time; cancel() any thread.
class Syncer {
public:
    Syncer(Store& store, Transport& transport, Environment& environment = system_environment());
    ~Syncer();

    /// Redeems an invitation code. What was captured before gets its author and territory.
    /// Errors: network_failed, not_authorised (code unknown, used or expired), conflict (file
    /// already enrolled elsewhere).
    void enrol(const std::string& server_url, const std::string& code);

    /// Sends unsent captures in dependency order, takes verdicts and what others changed, until all
    /// is done or the budget is used. May be stopped at any instruction. Failures of the network
    /// end it; they are no exceptions.
    SyncResult sync_for(const SyncBudget& budget = {},
                        const std::function<void(const SyncProgress&)>& progress = {});
    /// Makes the running sync_for return soon with `cancelled`.
    void cancel();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Exponential backoff with full jitter: between 0 and min(cap, base * 2^failures), never before
/// `retry_after`.
class Backoff {
public:
    Milliseconds next(Environment& environment, std::optional<Milliseconds> retry_after);
    void succeeded() { failures_ = 0; }

private:
    int failures_ = 0;
};

}  // namespace rapport
