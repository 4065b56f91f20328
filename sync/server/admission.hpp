// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/changeset.hpp"

namespace rapport::server {

/// Judges one bundle of a device against what the server has: form, rights, references, home, and
/// the rules over the merged record. All reasons of one step are found before it is refused, so
/// that a person repairs it once.
///
/// Ownership: borrows round, device and bundle.  Thread-safety: confined.
class Admission {
public:
    Admission(Round& round, const Device& device, const Bundle& bundle);

    /// `applied`: everything is merged and saved through the round's transaction. Otherwise nothing
    /// was written that a rolled back savepoint does not undo. `later`: it needs what has not
    /// arrived; sending it again may succeed.
    StoredVerdict judge();

private:
    bool all_needed_applied();
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
    void check_home(const Change& change);
    void check_whole(const Change& change);
    void check_contacts(const StoredRecord& record, const Change& change);
    void check_external_ids(const StoredRecord& record);

    void refuse(const RecordId& record, std::string_view field, const char* code,
                std::string sentence);
    void wait_for(const RecordId& record, std::string_view field, const char* code,
                  std::string sentence);

    Round& round_;
    const Device& device_;
    const Bundle& bundle_;
    Changeset changes_;
    std::map<RecordId, std::vector<Refusal>>
        stood_before_;  ///< what was wrong with a record before this bundle
    std::vector<Refusal> refusals_, waits_;
};

/// `<writer>.<counter>`: how feed and history name a bundle.
std::string bundle_name(std::uint64_t writer, std::uint64_t counter);

}  // namespace rapport::server
