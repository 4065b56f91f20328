// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/few.hpp"
#include "rapport/kind.hpp"
#include "rapport/value.hpp"

/// How concurrent edits meet: pure functions over dots and live values, the same on device and
/// server.
namespace rapport {

/// Names one write for ever: the writer that sent it and its sending counter. Given when a bundle
/// is frozen.
struct Dot {
    std::uint64_t writer = 0;
    std::uint64_t counter = 0;
    friend auto operator<=>(const Dot&, const Dot&) = default;
};

/// The server itself as a writer; its counters are the hybrid times of its commits, so a restored
/// server does not reuse one.
inline constexpr std::uint64_t kServerWriter = 1;
/// Stands for "this device, not yet sent" while pending writes are shown over the confirmed state;
/// never stored or sent.
inline constexpr std::uint64_t kUnsentWriter = UINT64_MAX;

/// Names one captured write from the moment of capture: the device file and its local number. Kept
/// through refreezing and forks, so that a write delivered twice under two dots is recognised.
struct CaptureId {
    std::uint64_t file = 0;
    std::uint64_t number = 0;
    bool is_none() const { return file == 0; }
    friend auto operator<=>(const CaptureId&, const CaptureId&) = default;
};

/// A hybrid logical time: 48 bits of Unix milliseconds, 16 bits of counter. Orders writes; never
/// shown as a time.
using Stamp = std::uint64_t;

/// A value nobody who has seen it has written over.
struct LiveValue {
    Dot dot;
    Stamp stamp = 0;
    std::string key;      ///< the element of a set, the key of a map; empty for registers
    Value value;          ///< null = cleared
    CaptureId capture;    ///< known to the server only
    bool elided = false;  ///< the value's bytes were left out because the reader holds them
    friend bool operator==(const LiveValue&, const LiveValue&) = default;
};

struct KnownCapture {
    CaptureId id;
    std::uint64_t hash = 0;
    friend bool operator==(const KnownCapture&, const KnownCapture&) = default;
};

/// All the merge keeps of one field.
struct FieldState {
    Few<LiveValue> live;  ///< ordered by (dot, key)
    Few<Dot> counters;    ///< per writer the highest counter merged into this field, by writer
    std::vector<KnownCapture> known;  ///< server only: captures that are no longer live

    std::uint64_t merged_up_to(std::uint64_t writer) const;
    friend bool operator==(const FieldState&, const FieldState&) = default;
};

/// A live value a write has seen and replaces. For registers the key is empty.
struct Overwritten {
    Dot dot;
    std::string key;
    friend bool operator==(const Overwritten&, const Overwritten&) = default;
};
/// The same for a write of this file that had no dot yet when it was seen; the server translates
/// it.
struct OverwrittenCapture {
    CaptureId capture;
    std::string key;
    friend bool operator==(const OverwrittenCapture&, const OverwrittenCapture&) = default;
};
/// A value a write brings in. Registers bring exactly one (null clears), sets any number, maps one
/// per key.
struct Added {
    std::string key;
    Value value;
    Stamp stamp = 0;
    CaptureId capture;
    friend bool operator==(const Added&, const Added&) = default;
};

/// One bundle's change of one field.
struct Write {
    std::uint16_t field = 0;
    Few<Added> adds;
    std::vector<Overwritten> over;
    std::vector<OverwrittenCapture> over_own;
    std::vector<KnownCapture> folded;  ///< captures this write coalesced, whose own values are gone
    std::vector<Dot> former;  ///< dots under which this write was sent before and not applied
    friend bool operator==(const Write&, const Write&) = default;
};

/// Content hash of a capture; equal content has equal hashes on every platform.
std::uint64_t content_hash(std::string_view key, const Value& value);

/// Merges one write into a field under its dot. A write whose dot is not above the counter, or
/// whose captures are all known with the same hash, is here and changes at most counters. Live
/// values that leave are appended to `left`, and so are values of the write that had been replaced
/// before they came. Returns whether anything entered or left.
bool merge(FieldState& state, const Write& write, Dot dot, bool keyed,
           std::vector<LiveValue>* left = nullptr);

/// Removes what the write overwrites, for one whose value has come before without it: a device that
/// had seen it offered it to a restored server.
void leave_overwritten(FieldState& state, const Write& write, bool keyed,
                       std::vector<LiveValue>& left);

/// From here on what comes under this dot, or an earlier one of its writer, has been here before.
void count_as_merged(FieldState& state, Dot dot);

/// Joins a field state that a device saw confirmed before the server was restored.
void join_witnessed(FieldState& state, const FieldState& witnessed);

/// What the field shows. `unsent` pending values (writer kUnsentWriter) win over confirmed ones for
/// last-writer fields.
Content show(const Field& field, const FieldState& state);

/// The live values of which the shown content is made, with what stands beside them unseen removed:
/// the dots an ordinary edit overwrites.
std::vector<Overwritten> shown_dots(const Field& field, const FieldState& state);

/// Has the field more than one distinct live value, where its policy makes that a conflict?
bool conflicted(const Field& field, const FieldState& state);

/// -1, 0, 1 in the type's own order: codes by their place in the list (unknown codes above all),
/// else by value.
int compare_in_order(const Field& field, const Value& a, const Value& b);

}  // namespace rapport
