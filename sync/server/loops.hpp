// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "server/changeset.hpp"

/// Closing the loop: every decision is told to every customer it concerns, by the rep who owns the
/// customer now. A LoopTask has a name-based id of (subject, decision version, customer), so one is
/// never made twice.
namespace rapport::server {

/// The customer a record hangs on, after merges; null if it hangs on none.
StoredRecord* customer_of(Changeset& changes, const StoredRecord& record);

/// The rep whose enrolled device reaches the scope: `preferred` if that is one of them, else the
/// first by name; empty if there is none.
std::string rep_for(Round& round, const std::string& tenant, std::string_view scope,
                    const std::string& preferred);

/// The task that tells `customer` this decision, made if there is none. The tasks of the subject's
/// earlier decisions that this customer has not been told are cancelled.
StoredRecord& open_loop(Round& round, Changeset& changes, const StoredRecord& subject,
                        std::int64_t decision, const StoredRecord& customer);

/// Cancels what has not been told yet of a subject whose decision no longer stands.
void cancel_loops(Round& round, Changeset& changes, const StoredRecord& subject);

/// The device shows to have all up to this cursor: sets `delivered_at` of the tasks of its rep that
/// it thereby has for the first time.
void note_delivered(Round& round, const Device& device, std::string_view cursor);
/// Notes an addressed task as one whose delivery is awaited; other records are not.
void await_delivery(Round& round, const std::string& tenant, const StoredRecord& record);

/// Addresses an open LoopTask to the rep who owns its customer now; other records stay as they are.
/// For whoever changes where a customer's records live: called with each of them once it has its
/// new scope.
void readdress(Round& round, Changeset& changes, StoredRecord& record);

}  // namespace rapport::server
