// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/record.hpp"
#include "rapport/refusal.hpp"

/// The state machines of the kinds that have a state, as data. The server decides; devices show and
/// ask.
namespace rapport {

/// `state_version` of a record that has not changed its state yet.
inline constexpr std::int64_t kFirstStateVersion = 1;

/// What a guard may look at.
struct TransitionFacts {
    const Record* subject = nullptr;                             ///< as it stands
    const std::map<std::string, std::string>* fields = nullptr;  ///< that come with the request
    std::string_view reason;
    Instant now;
    bool customer_told = false;  ///< a LoopTask of the subject has told_at and no unhappy reaction
    bool customer_unhappy = false;
    bool has_corrective_action = false;   ///< one of the subject has an owner and a due date
    bool has_new_note = false;            ///< a Note was added since the state was entered
    std::optional<Instant> silent_since;  ///< when the customer was last told or last reacted
    const Record* other =
        nullptr;  ///< what the request's `duplicate_of` or `merged_into` names; null if unknown
    bool only_asking = false;  ///< a device looks ahead: guards are left to the server
};

/// A further condition on a request of a role; returns a refusal code or an empty view.
using Guard = std::string_view (*)(const TransitionFacts&, Role);

struct Transition {
    std::string from, to;
    Roles who;  ///< Role::sys = the server's own rules as well
    bool needs_reason = false;
    /// Fields the request must bring or the subject must already have, by name.
    std::vector<std::string> needs{};
    /// Fields the request must bring even if the subject has them already.
    std::vector<std::string> brings{};
    /// OWNED fields of the subject the request may set with this transition.
    std::vector<std::string> sets{};
    Guard guard = nullptr;  ///< may be null
    std::string code{};     ///< of a refusal by the guard; empty = the guard's own
};

struct Lifecycle {
    std::string kind;
    std::string initial;
    std::vector<Transition> transitions;
};

/// The lifecycle this build brings for a kind; null for kinds without. A StateTable replaces it.
const Lifecycle* lifecycle_of(const Kind& kind);

/// The lifecycle a StateTable lays down. It was checked when it was written: what this build does
/// not know of it (a guard, a role) is left out, and the server, which is never older, still
/// checks.
Lifecycle lifecycle_from(const Record& state_table);

/// The conditions a StateTable may name, in a sentence's form: `customer_told, ...`.
std::string guard_names();

/// What is wrong with a StateTable: its kind has no state, a row names no role, field or guard that
/// is known, or the initial state leads nowhere.
void check_state_table(const Record& state_table, std::vector<Refusal>& out);

enum class StateVerdict : std::uint8_t { accepted, refused, already_there };
struct StateDecision {
    StateVerdict verdict = StateVerdict::accepted;
    std::string code;      ///< of a refusal: no_such_transition, stale_version, no_such_transition,
                           ///< not_your_role, reason_missing, ...
    std::string sentence;  ///< English
    std::vector<std::string> parameters{};   ///< what the sentences of the code are filled with
    const Transition* transition = nullptr;  ///< when accepted
    std::string field{};                     ///< that is at fault; may be empty
};

/// Judges one request: the expected state version must be the present one, or the target the
/// present state. Of several reasons to refuse it names the first of: stale_version,
/// no_such_transition, not_your_role, reason_missing, field_missing (the sentence names the field),
/// field_not_settable, and the guard's own code.
StateDecision judge(const Lifecycle& lifecycle, const TransitionFacts& facts, std::string_view to,
                    std::int64_t expected_version, Role role);

/// A change that the server makes by itself, and when.
struct TimedChange {
    std::string to;
    Instant at;
};
/// The earliest of the server's own changes from the subject's state that wait for nothing but
/// time: the customer has been silent for 14 days (`customer_told`), or the offer is over
/// (`offer_over`). Nullopt: there is none.
std::optional<TimedChange> timed_change(const Lifecycle& lifecycle, const TransitionFacts& facts);

}  // namespace rapport
