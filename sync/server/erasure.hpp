// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/erasure.hpp"
#include "protocol/messages.hpp"
#include "server/changeset.hpp"
#include "server/round.hpp"
#include "server/storage.hpp"

/// Erasure orders at the centre: the file they are kept in, and what they do to the records.
namespace rapport::server {

/// The orders of all tenants, in an append-only file of their own: a database restored from a
/// backup does not know what was erased since, this file does.
///
/// One JSON object per line, a blank and the line's XXH64 in hex: an order, or what was decided
/// about the held texts of a record. A line counts once it is flushed to the disk; a torn last line
/// is cut off when the file is opened. Ids and times only, never a name.
///
/// Ownership: owns its file.  Thread-safety: confined, but for lacking().
class Erasures {
public:
    /// Opens or creates. Errors: storage_failed; storage_damaged when a line before the last is not
    /// what was written.
    explicit Erasures(std::string path);

    struct Line {
        std::string tenant;
        ErasureOrder order;        ///< of an order
        bool holds_texts = false;  ///< of an order: texts that only name the subject were held
        RecordId decided;          ///< of a decision: the record; nil for an order
        bool released = false;     ///< of a decision: its texts are shown; else they are gone
    };
    /// On disk when it returns.
    void append(const Line& line);

    const std::vector<Line>& lines() const { return lines_; }
    /// Of the order with the highest number; nullptr: the tenant has none.
    const ErasureOrder* highest(const std::string& tenant) const;
    /// Orders of the tenant above a number, in their order.
    std::vector<ErasureOrder> after(const std::string& tenant, std::uint64_t number,
                                    std::size_t limit) const;
    /// Everybody erased, for ever.
    const std::set<RecordId>& subjects(const std::string& tenant) const;
    /// The order on a subject; nullptr: there is none.
    const ErasureOrder* order_on(const std::string& tenant, const RecordId& subject) const;
    bool released(const std::string& tenant, const RecordId& record) const;

    /// Devices name orders of this tenant that are not here: nothing is to be served before they
    /// are.
    bool lacking() const { return lacking_; }
    void note_lacking(const std::string& tenant, std::uint64_t number);
    std::uint64_t lacking_up_to(const std::string& tenant) const;

private:
    void take(Line line);
    struct File {
        int number = -1;
        File() = default;
        File(const File&) = delete;
        File& operator=(const File&) = delete;
        ~File();
    };
    std::string path_;
    File file_;
    std::vector<Line> lines_;
    struct Tenant {
        std::vector<ErasureOrder> orders;  ///< by number, from 1
        std::set<RecordId> subjects, released;
        std::uint64_t lacking = 0;
    };
    std::map<std::string, Tenant> tenants_;
    std::atomic<bool> lacking_{false};
};

/// `<store path>.erasures`
std::string erasures_path(const std::string& store_path);

/// The records an order reaches, the subject first, as far as they have arrived.
std::vector<RecordId> reached_by(Round& round, Changeset& changes, const ErasureOrder& order);

/// What carrying out an order took.
struct Erased {
    std::uint64_t number = 0;
    std::size_t records = 0, bundles = 0, held = 0;
    std::vector<RecordId> released_before;  ///< that it reached all the same
};

/// Takes the personal fields of everything the order reaches: records with their conflicts, what
/// was superseded in them, stored bundles, held texts; tells the feed. Part of the round's
/// transaction; repeating it is harmless: only an order that is `fresh` takes words that were
/// released, because that was decided after the others.
Erased carry_out(Round& round, const Erasures& erasures, const Erasures::Line& order, bool fresh);

/// Carries out once more the orders that reach one of these records: it was joined from an offer,
/// and what it hangs on was not here then.
void carry_out_late(Round& round, const std::string& tenant, const std::vector<RecordId>& records);
/// Takes words about these records from bundles that were not applied and from what recoveries kept
/// back: that orders reach the records was not known when those came.
void strip_kept(Round& round, const std::string& tenant, const std::set<RecordId>& reached);

/// What of a bundle, or of a record a device offers as it holds it, must not reach the merge.
struct Stripped {
    std::set<RecordId> reached;  ///< records of it that orders reach: to be marked as erased
    std::vector<HeldText> held;  ///< words about a subject, to be kept when the bundle is applied
    bool anything = false;       ///< something was taken
};
/// Takes what orders reach out of the bundle: the subject's own personal fields for good, those of
/// records that name it, unless they were released, into `held`.
Stripped strip(Transaction& tx, const Erasures& erasures, const Device& device, Bundle& bundle,
               std::int64_t now_ms);
/// Keeps what was taken, once.
void hold(Transaction& tx, const std::string& tenant, const Stripped& stripped);
/// The same of a record as a device holds it: erasable fields leave with their counters, so that
/// joining it moves nothing of them. Returns whether an order reaches it.
bool strip(Transaction& tx, const Erasures& erasures, const std::string& tenant,
           RecordState& witnessed);

inline constexpr std::size_t kErasuresPerReply = 500;

/// The part of a request that is about orders: takes those the device hands back, notes which it
/// has carried out. A reply: orders are missing here, nothing else may be answered. Throws
/// Error(protocol_violated) for what this server never gave, Error(cancelled) while another
/// device's orders are missing.
std::optional<protocol::Reply> settle_erasures(Round& round, const Device& device,
                                               const protocol::Request& request);
/// The highest order a device has carried out; 0: none.
std::uint64_t erasures_done_by(Transaction& tx, std::uint64_t writer);

/// Makes the server's own orders, so that one a device hands back is known.
class Seal {
public:
    explicit Seal(std::string key) : key_(std::move(key)) {}
    std::uint64_t claim(const std::string& tenant, std::uint64_t number) const;
    std::uint64_t seal(const std::string& tenant, const ErasureOrder& order) const;

private:
    std::uint64_t mac(const std::string& text) const;
    std::string key_;
};

}  // namespace rapport::server
