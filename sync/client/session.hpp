// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "store/replica.hpp"

namespace rapport {

/// The conversation of one device with its server, without I/O: plain archives out, plain archives
/// in.
///
/// Ownership: borrows its Store.  Thread-safety: confined.
class Session {
public:
    explicit Session(Store& store) : replica_(store) {}

    /// A new run: what was told `later` may be sent again.
    void begin();

    /// From the next request on, what the file holds confirmed is compared with what the server
    /// has, and mended; the conversation is done when all of it has been. Only once it was done.
    void compare();
    /// The server rejected the request in flight. Returns whether to go on without comparing: one
    /// that is older than this library knows of no comparison.
    bool take_rejected();

    /// The archive of the next request: the one in flight, or a newly composed one.
    /// Errors: not_enrolled.
    std::string next_request();

    struct Step {
        bool counted = false;          ///< false: not the reply to the request in flight; ignored
        bool done = false;             ///< heads reached and nothing more to send
        bool declined = false;         ///< a person has to enrol the file anew
        bool revoked = false;          ///< what was unsent has been handed in; nothing comes
        bool out_of_step = false;      ///< server and file do not find together in this run
        bool compared = false;         ///< compare() is through with everything
        std::size_t page_records = 0;  ///< that this page brought, visible or staged
        Settled settled;
    };
    /// Takes a reply. Throws Error(protocol_violated) for bytes that are no reply; nothing was
    /// changed then.
    Step take_reply(std::string_view archive);

    /// The server does not know the credential. Returns whether to go on, under another one.
    bool take_not_known() { return replica_.not_known(); }

    /// Bundles that could be sent now.
    std::size_t sendable() const { return replica_.sendable(); }

    bool comparison_due() const { return replica_.comparison_due(); }

private:
    std::optional<Comparison> next_comparison();
    /// `at_rest`: there is nothing else to do; `changed`: the rows are others than before. Returns
    /// whether all is compared.
    bool go_on_comparing(const std::optional<ComparePoint>& up_to, bool at_rest, bool changed);
    void end_comparison(bool whole);

    /// A comparison under way.
    struct Comparing {
        ComparePoint up_to;
        std::vector<Stretch> open;  ///< behind that; empty: to be counted
        std::size_t differing = 0;
        int in_vain = 0;  ///< requests that got no further, because others write all the time
    };
    Replica replica_;
    std::optional<Comparing> comparing_;
    int mismatches_ = 0;                         // in this run
    bool again_ = false;                         // the request in flight is a repeat for its answer
    std::optional<std::uint64_t> orders_known_;  ///< by a server that asked for those after it
};

}  // namespace rapport
