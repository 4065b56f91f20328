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

    /// The archive of the next request: the one in flight, or a newly composed one.
    /// Errors: not_enrolled.
    std::string next_request();

    struct Step {
        bool counted = false;          ///< false: not the reply to the request in flight; ignored
        bool done = false;             ///< heads reached and nothing more to send
        bool declined = false;         ///< a person has to enrol the file anew
        bool revoked = false;          ///< what was unsent has been handed in; nothing comes
        bool out_of_step = false;      ///< server and file do not find together in this run
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

private:
    Replica replica_;
    int mismatches_ = 0;                         // in this run
    std::optional<std::uint64_t> orders_known_;  ///< by a server that asked for those after it
};

}  // namespace rapport
