// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/bundle.hpp"
#include "protocol/messages.hpp"
#include "server/round.hpp"

namespace rapport::server {

/// The bundles of a request by their counters.
using Carried = std::map<std::uint64_t, const Bundle*>;

/// What one reply brings down: everything of the device's streams after its cursor, as far as one
/// page goes.
struct Page {
    std::vector<std::string> records;  ///< encoded, projected to what the device may see
    std::vector<protocol::Departed> departures;
    std::vector<RecordId> not_yours;  ///< judged ones that live out of reach and have never moved
    std::vector<protocol::Author> authors;
    std::string cursor;           ///< where the next page begins; the same bytes if nothing moved
    bool checkpoint = false;      ///< every stream reached its head as this transaction sees it
    bool download = false;        ///< of streams the device has not had yet, by key
    bool renewal = false;         ///< the download replaces what the device holds
    bool renewal_begins = false;  ///< with this page
    std::vector<std::string> incomplete;  ///< download: the scopes it is of
    std::set<RecordId> confirmed;         ///< that are not on it: the device makes them itself
    std::uint64_t confirmed_sum = 0;      ///< of their checksums
    bool scopes_changed = false;  ///< the cursor was given while the device had other scopes
};

/// Reads the page after `cursor` (empty: from the start). A stream the cursor does not know is
/// downloaded first, up to an end fixed at its first page and by key: customers, contacts, visits,
/// then the rest, the newest of each first. With a cursor older than the horizon all are. Fields
/// and records the device's role may not see are dropped before anything is encoded. `carried` are
/// the bundles in the request: of values that came with them only the bytes are left out, since the
/// device holds them, unless they were merged into another record than the bundle names. With
/// `as_sent` a record stays out as a whole (Page::confirmed) if the device had it before and only
/// the bundles of this request have changed it, as they came; only if one page is enough for all.
/// `judged` are the records that the reply confirms with a verdict: of those that the device does
/// not reach it is told, whether or not a change of its streams is about them. `anew` says that the
/// device asks from the start because it holds nothing any more: a renewal. Throws Error(internal)
/// for bytes that are no cursor: they come from the server's own entries.
Page pull(Round& round, const Device& device, std::string_view cursor, const Carried& carried,
          const std::vector<RecordId>& judged, bool as_sent, bool anew);

/// The cursor with the start of each stream it does not know: such a stream is not downloaded but
/// read from its first change. A device whose sync with a restored server is at its end may hold
/// records of it that have left since it offered them, of which only departures tell. An empty one
/// stays empty: the device removes what does not come.
std::string with_further_streams(Round& round, const Device& device, std::string_view cursor);

/// The scopes of the device's streams behind whose heads the cursor is. Nullopt: it is of a pull
/// that goes on, or was given while the device had other scopes.
std::optional<std::set<std::string>> behind_heads(Round& round, const Device& device,
                                                  std::string_view cursor);

/// By scope the position up to which everything was sent; without streams that are still being
/// downloaded.
std::map<std::string, std::uint64_t> sent_up_to(Round& round, const std::string& tenant,
                                                std::string_view cursor);

/// Throws Error(protocol_violated) unless the bytes are a cursor: for those that a device sends.
void check_cursor(std::string_view cursor);

}  // namespace rapport::server
