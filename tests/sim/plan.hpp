// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

/// What happens in one simulated history, written down before anything of it happens.
namespace rapport::sim {

/// One thing that happens: a verb and named numbers. What it does when the device or record it
/// names is not there is nothing, so that any part of a plan is a plan.
struct Event {
    std::uint32_t number = 0;  ///< kept when others are taken away; records are named by the event
                               ///< that captured them
    std::string verb;
    std::map<std::string, std::int64_t, std::less<>> arguments;

    std::int64_t get(std::string_view name, std::int64_t otherwise = 0) const;
    /// A number that depends on the plan's seed and this event only.
    std::uint64_t draw(std::uint64_t seed, std::uint64_t salt) const;
};

/// A history from one seed. The text form has a line per event, `NUMBER VERB NAME=VALUE ...`, under
/// a line `seed N`; lines that begin with # are for people.
struct Plan {
    std::uint64_t seed = 0;
    std::vector<Event> events;

    /// World, faults and operations of a seed. The last event is `settle`: the faults stop and
    /// everything has to come to rest.
    /// A `plain` one leaves out what somebody has to recover from; all else in it is the same.
    static Plan drawn_from(std::uint64_t seed, bool plain = false);
    /// Throws std::runtime_error for a text that is no plan.
    static Plan parse(std::string_view text);
    std::string text() const;
};

/// What the network may do to one exchange, as the `fate` of a sync.
enum class Fate : std::int64_t {
    none,
    request_lost,
    reply_lost,
    twice,        ///< delivered twice at once; the second answer is the one that arrives
    request_cut,  ///< at any byte
    reply_cut,
    request_flipped,  ///< one bit
    reply_flipped,
    portal,         ///< 200 and a page of somebody else
    busy,           ///< 429 with Retry-After
    away,           ///< 503 with Retry-After
    old_reply,      ///< a proxy answers with what it answered before
    killed_before,  ///< the device's process ends while the request is on its way
    killed_after,   ///< the same once it was answered
    last = killed_after
};

}  // namespace rapport::sim
