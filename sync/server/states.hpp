// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/changeset.hpp"

/// Where the lifecycles of the model meet the records: only the server changes a state.
namespace rapport::server {

/// Gives a new record of a kind with a lifecycle its first state, version 1 and its human number.
void begin_life(Round& round, Changeset& changes, StoredRecord& record);

/// Judges a StateRequest that has no verdict yet, writes the verdict on it and, if it is accepted,
/// changes its subject and what follows from that: a StatusEvent, times, and the wishes behind a
/// decided theme. A request turned down is a verdict, no refusal of its bundle.
void decide(Round& round, Changeset& changes, const Device& device, StoredRecord& request);

}  // namespace rapport::server
