// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <set>
#include <vector>

#include "model/bundle.hpp"
#include "model/state.hpp"
#include "rapport/refusal.hpp"

/// What an erasure order takes, the same on device and server: pure rules, no I/O.
namespace rapport {

/// The personal data of one subject, a contact or a customer who is a person, go and never come
/// back. It outranks every edit, also one captured before it was known.
struct ErasureOrder {
    std::uint64_t number = 0;  ///< of the tenant, from 1 without gaps
    std::uint16_t kind = 0;    ///< of the subject
    RecordId subject;
    std::int64_t issued_at_ms = 0;
    std::uint64_t seal = 0;   ///< by which the server knows an order a device hands back as its own
    std::uint64_t claim = 0;  ///< by which it believes that there is an order of this number

    template <class A>
    void serialize(A& a) {
        a(number, kind, subject, issued_at_ms, seal, claim);
    }
    friend bool operator==(const ErasureOrder&, const ErasureOrder&) = default;
};

/// Does an order take this field? The personal ones, and what may hold personal data without
/// saying so: the company's own fields and the ids under which other systems know the person.
bool erasable(const Field& field);

/// The records named in these values of a field, in sets and in parts of groups too.
void each_reference(const Field& field, const Value& value,
                    const std::function<void(const RecordId&)>& each);
std::set<RecordId> references_of(const RecordState& state);
std::set<RecordId> references_of(const Change& change);
/// The records it hangs on: those its kind's root field names.
std::set<RecordId> parents_of(const RecordState& state);
std::set<RecordId> parents_of(const Change& change);

/// Do the orders on `subjects` reach this record? It is a subject, names one in any field, or hangs
/// on a record they reach. `find` may return null.
bool reached(const RecordState& state, const std::set<RecordId>& subjects,
             const std::function<const RecordState*(const RecordId&)>& find);

/// Takes the values of all erasable fields, and of those this build does not know; the counters
/// stay, so that what was merged once counts as already here. Returns whether anything was taken;
/// `taken` gets the values of known fields.
bool strip(RecordState& state, std::vector<std::pair<std::uint16_t, LiveValue>>* taken = nullptr);
/// The office's words on a bundle may name somebody as well. Returns whether any were taken.
bool strip(std::vector<Refusal>& reasons);
/// Takes the writes of all erasable fields. Returns whether any was taken.
bool strip(Change& change, std::vector<Write>* taken = nullptr);

}  // namespace rapport
