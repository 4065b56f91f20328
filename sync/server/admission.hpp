// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/refusals.hpp"
#include "server/changeset.hpp"

namespace rapport::server {

/// Under whose rights a bundle is judged.
enum class Authority : std::uint8_t {
    device,  ///< its own
    office,  ///< somebody has looked at it: neither scopes nor the author count, all else does
};

/// Judges one bundle of a device against what the server has: form, rights, references, home, and
/// the rules over the merged record. All reasons of one step are found before it is refused, so
/// that a person repairs it once.
///
/// Ownership: borrows round, device and bundle.  Thread-safety: confined.
class Admission {
public:
    /// `erased` are records of the bundle that an erasure order reaches; what the order takes was
    /// taken from the bundle before.
    Admission(Round& round, const Device& device, const Bundle& bundle,
              Authority authority = Authority::device, std::set<RecordId> erased = {});

    /// `applied`: everything is merged and saved through the round's transaction. Otherwise nothing
    /// was written: all checks come before the first write, so that a bundle needs no savepoint of
    /// its own. `later`: it needs what has not
    /// arrived; sending it again may succeed. `review`: it was sent again for kReviewAfter and a
    /// record it changes has still not arrived, or it changes or names what has left the device's
    /// scopes, and its author had no right to that any more.
    StoredVerdict judge();

private:
    bool all_needed_applied();
    bool waited_too_long();
    bool may_reach(std::string_view scope) const;
    void check_size();
    void take_in(const Change& change);
    StoredRecord* open(const Kind& kind, const Change& change);
    void check_write(const Kind& kind, const Field& field, const Change& change,
                     const FieldState& before, const Write& write);
    void check_overwriting(const Field& field, const RecordId& id, const FieldState& before,
                           const Write& write);
    void check_author(const Kind& kind, const Change& change);
    void check_references(const Change& change);
    void check_reference(const Field& field, const TypeInfo& type, const RecordId& record,
                         const Value& value);
    void settle_home(StoredRecord& record, int depth = 0);
    void settle_departed(StoredRecord& record);
    void tell_again(StoredRecord& record);
    /// The departure that took the record out of the device's reach; nullopt: it is within, or was
    /// never.
    std::optional<StoredDeparture> departure_of(const StoredRecord& record);
    /// The same of what it hangs on, or of what that hangs on.
    std::optional<StoredDeparture> departure_above(const StoredRecord& record);
    bool has_left(const StoredRecord& record, const std::string& scope);
    /// Rights in the past: did the author have them when this was captured?
    bool in_time(const StoredDeparture& departure) const;
    /// When the device lost the scope; nullopt: it has it, or never had it.
    std::optional<std::int64_t> lost_ms(std::string_view scope);
    /// May the device change or name the record? If not, `record` and `field` get the reason.
    bool admit(const StoredRecord& target, const RecordId& record, std::string_view field,
               std::vector<std::string> parameters = {});
    std::vector<OverwrittenCapture> known_by_capture(const Field& field, const RecordId& id,
                                                     const FieldState& before, const Write& write);
    void redirect(StoredRecord& home, const Field& field, const RecordId& lost, Write write);
    RecordId customer_of(const StoredRecord& record);
    void check_home(const Change& change);
    void check_whole(const Change& change);
    void check_contacts(const StoredRecord& record, const Change& change);
    void check_question(const Record& answer);
    void check_external_ids(const StoredRecord& record);

    static void note(std::vector<Refusal>& among, const RecordId& record, std::string_view field,
                     RefusalCode code, std::vector<std::string> parameters);
    void refuse(const RecordId& record, std::string_view field, RefusalCode code,
                std::vector<std::string> parameters = {});
    void wait_for(const RecordId& record, std::string_view field, RefusalCode code,
                  std::vector<std::string> parameters = {});

    Round& round_;
    const Device& device_;
    const Bundle& bundle_;
    const Authority authority_;
    const std::set<RecordId> erased_;
    Changeset changes_;
    std::map<RecordId, std::vector<Refusal>>
        stood_before_;                   ///< what was wrong with a record before this bundle
    std::map<RecordId, Record> stands_;  ///< records of kinds that are edited in one state only
    std::int64_t captured_ms_ = 0;       ///< when it was captured, but never before the last sync
    struct Redirected {
        StoredRecord* home;
        const Field* field;
        RecordId lost;
        const Write* write;
    };
    std::vector<Redirected> redirected_;  ///< of customers that were merged into another
    std::vector<Refusal> refusals_, waits_, reviews_;
};

/// When a bundle was captured: its newest stamp as a time; that of the device's clock if it only
/// takes away.
std::int64_t captured_ms(const Bundle& bundle);

/// How long a bundle is told `later` because a record it changes is unknown, before a person looks
/// at it: a device that was away over a long weekend has brought it by then.
inline constexpr std::chrono::hours kReviewAfter{7 * 24};

/// `<writer>.<counter>`: how feed and history name a bundle.
std::string bundle_name(std::uint64_t writer, std::uint64_t counter);

}  // namespace rapport::server
