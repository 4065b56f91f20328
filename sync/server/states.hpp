// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/changeset.hpp"

/// Where the lifecycles of the model meet the records: only the server changes a state.
namespace rapport::server {

/// Gives a new record of a kind with a lifecycle its first state, version 1 and its human number.
void begin_life(Round& round, Changeset& changes, StoredRecord& record);

/// Would the server itself, by its own rules or for the office, bring a record that stands like
/// this into the state?
StateDecision judge_as_server(Round& round, Changeset& changes, const Record& subject,
                              std::string_view to);
/// Brings it there, with all that follows. Expects that judge_as_server() accepted it.
void enter_as_server(Round& round, Changeset& changes, StoredRecord& subject, std::string_view to);

/// Judges a new price or customisation request against the limits; other kinds stay as they are.
void judge_new(Round& round, Changeset& changes, const Device& device, StoredRecord& record);

/// What follows from a device's change of a record: a wish linked to a decided theme is decided,
/// and one whose customer was told is told.
void record_changed(Round& round, Changeset& changes, StoredRecord& record);

/// Notes when the server is to look at the record, or at what a LoopTask is about, because its
/// state changes with time alone (timed_change). To be called when something has changed that this
/// hangs on.
void set_deadline(Round& round, Changeset& changes, StoredRecord& record);
/// Its time has come: changes its state, if that still holds, or notes when it will.
void meet_deadline(Round& round, Changeset& changes, StoredRecord& record);

/// Gives the next wishes of one open decision of the tenant what it means for them; the caller
/// saves the changes. Returns how many it looked at; 0: no decision is open.
std::size_t continue_decisions(Round& round, Changeset& changes);

/// Judges a StateRequest that has no verdict yet, writes the verdict on it and, if it is accepted,
/// changes its subject and what follows from that: a StatusEvent, times, the wishes behind a
/// decided theme, LoopTasks for the customers to tell, a task with a question for the rep. A
/// request turned down is a verdict, no refusal of its bundle.
void decide(Round& round, Changeset& changes, const Device& device, StoredRecord& request);

}  // namespace rapport::server
