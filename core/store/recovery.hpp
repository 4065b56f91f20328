// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/core.hpp"
#include "store/replica.hpp"

/// How a file and its server find together again after one of the two was restored from a copy, or
/// the file was copied (sync/PROTOCOL.md, "Recovery").
namespace rapport {

/// Kept in `meta` from the mismatch until the reply that settles it.
struct Recovery {
    RequestKind kind = RequestKind::recover;
    EntryRef basis;             ///< the server's newest entry
    std::int64_t common = 0;    ///< seq of the newest entry both sides have and nothing was staged
                                ///< at; 0: none
    std::string cursor;         ///< where the pull continues
    std::uint64_t receipt = 0;  ///< recover: the counter before the first unanswered bundle
    std::uint64_t writer = 0;   ///< fork: the new one
    std::string credential;     ///< fork: the new one
    bool again = false;         ///< fork: it was granted before, by a server that has forgotten it
};
std::optional<Recovery> open_recovery(sqlite::Database& db);

/// Decides which side was restored and gets ready: what was staged is dropped, because the pull
/// goes back to before it, and the records to offer are listed. A fork gives up the counters of its
/// unanswered bundles.
void begin_recovery(Store::Core& core, Store::Core::Writing& writing, const Identity& identity,
                    const std::vector<EntryRef>& server_entries);
/// On as a fork, under a name that nobody has had; what was carried is unsent again.
void turn_into_fork(Store::Core& core, Store::Core::Writing& writing);
/// The server has found that another file sends under this writer; or that the fork this file asks
/// for has been in use: by a file of which this one is a copy. Then it forks from that one.
void fork_off(Store::Core& core, Store::Core::Writing& writing);

/// The server does not know this file's credential. Where it came of a fork, the server may have
/// been restored to before that: the fork is asked for again, under the credential it came of, and
/// everything is offered. False: there is nothing to go back to.
bool step_back(Store::Core::Writing& writing);
/// The file has been enrolled anew, as another device of the same user: all unsent work goes under
/// its new name, and everything it holds confirmed is offered.
void begin_anew(Store::Core& core, Store::Core::Writing& writing, const Identity& identity);

/// Takes the next records to offer into the request; false: none are left.
bool take_offers(sqlite::Database& db, const Limits& limits);
/// Fills in the offers that were taken. Returns false if the request carries none.
bool load_offers(sqlite::Database& db, Outgoing& out);
/// The offers in flight have arrived, and the recovery goes on from `tag` (0: as before). False:
/// none were in flight.
bool note_offered(sqlite::Database& db, Recovery recovery, std::uint64_t tag);

/// The request that ends the recovery was answered: before its entry is added the newer ones go; a
/// fork becomes who it is from now on.
void end_recovery(sqlite::Database& db, const Recovery& recovery, const Instant& now);
/// In `touched`: everything this file holds, because the entry is of a download.
inline constexpr RecordId kEverything{};
/// Everything offered belongs to the entry that was added.
void keep_touched(sqlite::Database& db, std::int64_t entry);

/// Bundles that have a verdict since the common entry, by the hash of their bytes.
std::vector<SentBundle> sent_since(sqlite::Database& db, std::int64_t entry);
/// Notes beside an entry what a recovery needs of it: whether nothing is staged at it, and what its
/// request carried. Call while `request_bundle` still says so.
void note_entry(sqlite::Database& db, std::int64_t entry, bool whole);

/// A new bearer secret: 32 random bytes as base64url.
std::string draw_secret(Environment& environment);

}  // namespace rapport
