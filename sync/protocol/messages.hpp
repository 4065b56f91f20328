// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/archive.hpp"
#include "model/bundle.hpp"
#include "model/comparison.hpp"
#include "model/erasure.hpp"
#include "model/limits.hpp"
#include "rapport/refusal.hpp"

/// The messages of POST /v1/sync. Field by field in sync/PROTOCOL.md.
namespace rapport::protocol {

inline constexpr std::uint32_t kVersionMin = 1, kVersionMax = 1;
inline constexpr const char* kContentType = "application/vnd.rapport.sync";

struct Entry {
    std::uint64_t id = 0;
    std::uint64_t tag = 0;
    template <class A>
    void serialize(A& a) {
        a(id, tag);
    }
    friend bool operator==(const Entry&, const Entry&) = default;
};

struct Author {
    std::uint64_t writer = 0;
    std::string name;
    template <class A>
    void serialize(A& a) {
        a(writer, name);
    }
    friend bool operator==(const Author&, const Author&) = default;
};

/// A bundle the device has a verdict of: hash64 of its bytes.
struct Sent {
    std::uint64_t counter = 0;
    std::uint64_t hash = 0;
    template <class A>
    void serialize(A& a) {
        a(counter, hash);
    }
    friend bool operator==(const Sent&, const Sent&) = default;
};

/// What a request is for. Numbers are on the wire.
enum : std::uint8_t { kNormal = 0, kRecover = 1, kFork = 2 };

struct Request {
    std::uint32_t version = kVersionMax;
    std::uint8_t kind = kNormal;
    std::uint64_t writer = 0;
    Entry last;              ///< the device's newest entry; zeros: none
    std::uint64_t next = 0;  ///< this sync
    std::uint32_t limits_version = 0;
    std::vector<std::string> bundles;
    bool anew = false;  ///< the device has none of what earlier syncs brought: begin at the start
    // Only once the device has carried out an erasure order:
    std::uint64_t erasures = 0;            ///< the highest; 0: none
    std::uint64_t erasures_claim = 0;      ///< of that one
    std::vector<ErasureOrder> handed;      ///< those the server asked for
    std::optional<Comparison> comparison;  ///< of what the device holds as its newest entry left it
    // Only when kind is not normal:
    Entry basis;                         ///< recover: the centre's newest entry
    std::string cursor;                  ///< recover, fork: where the pull continues
    std::uint64_t receipt = 0;           ///< recover: counter before the first unanswered bundle
    std::uint64_t parent = 0;            ///< fork: the writer it was
    std::string credential;              ///< fork: the new bearer secret
    std::uint64_t file = 0;              ///< fork: number of the file from now on
    bool more = false;                   ///< recover: only offers, the request itself follows
    std::vector<Sent> sent;              ///< recover: since the common entry
    std::vector<Author> authors;         ///< of the witnessed values
    std::vector<std::string> witnessed;  ///< encoded records
    std::vector<RecordId> touched;       ///< these the reply tells about

    template <class A>
    void serialize(A& a) {
        auto head = static_cast<std::uint8_t>(kind | (erasures != 0 ? kNamesErasures : 0) |
                                              (anew ? kAnew : 0) | (comparison ? kCompares : 0));
        a(version, head, writer, last, next, limits_version, bundles);
        kind = static_cast<std::uint8_t>(head & ~(kNamesErasures | kAnew | kCompares));
        anew = (head & kAnew) != 0;
        if ((head & kNamesErasures) != 0) {
            a(erasures, erasures_claim, handed);
            if (erasures == 0)
                throw Error(ErrorCode::protocol_violated, "an erasure order without a number");
        }
        if ((head & kCompares) != 0) {
            if (!comparison) comparison.emplace();
            a(*comparison);
        }
        if (kind != kNormal)
            a(basis, cursor, receipt, parent, credential, file, more, sent, authors, witnessed,
              touched);
    }
    friend bool operator==(const Request&, const Request&) = default;

private:
    static constexpr int kNamesErasures = 4, kAnew = 8, kCompares = 16;
};

struct BundleVerdict {
    std::uint64_t counter = 0;
    Verdict verdict = Verdict::applied;
    std::vector<Refusal> reasons;
    template <class A>
    void serialize(A& a) {
        a(counter, verdict, reasons);
    }
    friend bool operator==(const BundleVerdict&, const BundleVerdict&) = default;
};
struct Departed {
    std::uint16_t kind = 0;
    RecordId id;
    std::uint64_t move = 0;
    std::string scope;
    template <class A>
    void serialize(A& a) {
        a(kind, id, move, scope);
    }
    friend bool operator==(const Departed&, const Departed&) = default;
};

/// Part of what was compared, in which the device holds something else.
struct Differing {
    ComparePoint from, to;
    std::uint32_t records = 0;  ///< that the device may see there, at their place in the reply's

    template <class A>
    void serialize(A& a) {
        a(from, to, records);
    }
    friend bool operator==(const Differing&, const Differing&) = default;
};

/// How far a comparison came, and what differed; a device that was not up to date is compared only
/// as far as that does not matter.
struct Compared {
    ComparePoint up_to;
    std::vector<Differing> differing;

    template <class A>
    void serialize(A& a) {
        a(up_to, differing);
    }
    friend bool operator==(const Compared&, const Compared&) = default;
};

enum class Outcome : std::uint8_t {
    ok = 0,
    mismatch = 1,  ///< the entries do not meet; nothing was changed; `entries` is the server's list
    fork = 2,      ///< another file sends under this writer; go on as a fork
    declined = 3,  ///< no further fork of this credential; the file must be enrolled anew
    erasures_wanted = 4,  ///< the server lacks orders the device has; nothing was changed
};

struct Reply {
    Outcome outcome = Outcome::ok;
    std::uint64_t next = 0;           ///< echo
    std::int64_t server_time_ms = 0;  ///< Unix milliseconds
    // ok:
    std::uint64_t tag = 0;  ///< 0: this sync left no entry
    std::string cursor;     ///< only with an entry
    std::uint64_t receipt = 0;
    bool checkpoint = true;
    bool download = false;  ///< the records are of a first download and may be shown at once
    bool renewal = false;   ///< what the device holds and does not get until the checkpoint goes
    bool renewal_begins = false;  ///< what came before this page does not count for it
    bool revoked = false;         ///< the device may hand in what it has, and receives nothing else
    std::vector<std::string> incomplete;  ///< download: the scopes it is of
    std::vector<BundleVerdict> verdicts;
    std::vector<std::string> records;  ///< encoded records; those of `compared` come first
    std::vector<Departed> departures;
    std::vector<RecordId> not_yours;
    std::vector<Author> authors;
    std::vector<std::string>
        scopes;                    ///< when an entry is left and they may have changed; else empty
    std::optional<Limits> limits;  ///< when the request named another version
    std::vector<ErasureOrder> erasures;  ///< orders the device has not named, in their order
    std::optional<Compared> compared;    ///< when the request asked
    std::optional<Confirmed> confirmed;  ///< only at a checkpoint that is the only page of its pull
    // erasures_wanted:
    std::uint64_t erasures_known = 0;  ///< the server's highest
    // mismatch:
    std::vector<Entry> entries;

    template <class A>
    void serialize(A& a) {
        a(outcome, next, server_time_ms);
        if (outcome == Outcome::erasures_wanted) {
            a(erasures_known);
            return;
        }
        if (outcome != Outcome::ok) {
            a(entries);
            return;
        }
        auto page = static_cast<std::uint8_t>(
            (checkpoint ? kCheckpoint : 0) | (download ? kDownload : 0) | (renewal ? kRenewal : 0) |
            (revoked ? kRevoked : 0) | (erasures.empty() ? 0 : kErasures) |
            (compared ? kCompared : 0) | (renewal_begins ? kRenewalBegins : 0) |
            (confirmed ? kConfirmed : 0));
        a(tag, cursor, receipt, page);
        checkpoint = (page & kCheckpoint) != 0;
        download = (page & kDownload) != 0;
        renewal = (page & kRenewal) != 0;
        renewal_begins = (page & kRenewalBegins) != 0;
        revoked = (page & kRevoked) != 0;
        if (download) a(incomplete);
        a(verdicts, records, departures, not_yours, authors, scopes, limits);
        if ((page & kErasures) != 0) {
            a(erasures);
            if (erasures.empty())
                throw Error(ErrorCode::protocol_violated, "a page names orders and has none");
        }
        if ((page & kCompared) != 0) {
            if (!compared) compared.emplace();
            a(*compared);
        }
        if ((page & kConfirmed) != 0) {
            if (!confirmed) confirmed.emplace();
            a(*confirmed);
        }
    }
    friend bool operator==(const Reply&, const Reply&) = default;

private:
    static constexpr int kCheckpoint = 1, kDownload = 2, kRenewal = 4, kRevoked = 8, kErasures = 16,
                         kCompared = 32, kRenewalBegins = 64, kConfirmed = 128;
};

/// What an archive is of, for laying what is alike in it side by side.
enum class Contents { opaque, request, reply };

/// A message as an HTTP body: 1 byte form (0 identity, 1 zstd, 2 and 3 zstd of a request's and a
/// reply's columns), 4 bytes length and 4 bytes checksum of the plain archive, both little endian,
/// then the archive or a zstd frame (window <= 1 MiB). Small bodies stay as they are.
std::string pack(std::string archive, Contents contents = Contents::opaque);
/// Throws Error(protocol_violated), or limit_exceeded when the plain archive is larger than
/// `bytes_max`.
std::string unpack(std::string_view body, std::size_t bytes_max);

}  // namespace rapport::protocol
