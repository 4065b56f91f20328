// SPDX-License-Identifier: Apache-2.0
#include "server/loops.hpp"

#include <set>

#include "rapport/error.hpp"
#include "rapport/kinds/loop_task.hpp"
#include "server/admission.hpp"
#include "server/pull.hpp"
#include "server/scopes.hpp"

namespace rapport::server {
namespace {

const Kind& loop_tasks() { return rapport::kind_of<LoopTask>(); }

RecordId id_of(const Changeset& changes, const RecordId& subject, std::int64_t decision,
               const RecordId& customer) {
    return name_based_id(changes.tenant(), loop_tasks().name,
                         subject.text() + ":" + std::to_string(decision) + ":" + customer.text());
}

bool is_open(const StoredRecord& task) {
    return shown_text(task, "state") == "open" && shown(task, "told_at").empty();
}

void cancel(Round& round, Changeset& changes, StoredRecord& task) {
    if (is_open(task)) changes.write(task, "state", "cancelled", round.tick());
}

}  // namespace

StoredRecord* customer_of(Changeset& changes, const StoredRecord& record) {
    StoredRecord* customer = changes.find(record.root);
    return customer ? &changes.standing(*customer) : nullptr;
}

std::string rep_for(Round& round, const std::string& tenant, std::string_view scope,
                    const std::string& preferred) {
    std::set<std::string> reps;
    for (const Device& device : round.devices())
        if (device.tenant == tenant && device.role == Role::rep && !device.revoked &&
            !device.credential_hash.empty() && reaches(device, scope))
            reps.insert(device.rep);
    if (reps.count(preferred) != 0) return preferred;
    return reps.empty() ? std::string() : *reps.begin();
}

StoredRecord& open_loop(Round& round, Changeset& changes, const StoredRecord& subject,
                        std::int64_t decision, const StoredRecord& customer) {
    const RecordId id = id_of(changes, subject.state.id, decision, customer.state.id);
    if (StoredRecord* known = changes.find(id)) return *known;
    for (std::int64_t earlier = 1; earlier < decision; ++earlier)
        if (StoredRecord* task =
                changes.find(id_of(changes, subject.state.id, earlier, customer.state.id)))
            cancel(round, changes, *task);

    const Stamp stamp = round.tick();
    StoredRecord& task = changes.create_as_server(loop_tasks(), id, stamp);
    task.state.scope = customer.state.scope;
    task.root = customer.state.id;
    changes.write(task, "subject_id", subject.state.id.raw(), stamp);
    changes.write(task, "decision_version", decision, stamp);
    changes.write(task, "customer_id", customer.state.id.raw(), stamp);
    changes.write(task, "state", "open", stamp);
    readdress(round, changes, task);
    return task;
}

void cancel_loops(Round& round, Changeset& changes, const StoredRecord& subject) {
    for (StoredRecord* task : changes.about(subject.state.id, loop_tasks()))
        cancel(round, changes, *task);
}

void await_delivery(Round& round, const std::string& tenant, const StoredRecord& record) {
    if (record.state.kind != loop_tasks().number) return;
    const std::string rep = shown_text(record, "rep_id");
    if (is_open(record) && !rep.empty() && shown(record, "delivered_at").empty())
        round.tx.save_undelivered(tenant, rep, record.state.id);
    else
        round.tx.remove_undelivered(tenant, record.state.id);
}

void note_delivered(Round& round, const Device& device, std::string_view cursor) {
    if (device.role != Role::rep || cursor.empty()) return;
    const auto awaited = round.tx.undelivered(device.tenant, device.rep);
    if (awaited.empty()) return;
    const auto sent = sent_up_to(round, device.tenant, cursor);
    const Stamp stamp = round.tick();
    Changeset changes(round, device.tenant, bundle_name(kServerWriter, stamp), kServerName);
    for (const RecordId& id : awaited) {
        if (StoredRecord* task = changes.find(id); task && is_open(*task)) {
            const auto at = sent.find(task->state.scope);
            if (at == sent.end() || at->second < task->position) continue;
            changes.write(*task, "delivered_at", round.now.packed(), stamp);
        }
        round.tx.remove_undelivered(device.tenant, id);
    }
    changes.save();
}

void readdress(Round& round, Changeset& changes, StoredRecord& record) {
    if (record.state.kind != loop_tasks().number || !is_open(record)) return;
    const StoredRecord* customer = customer_of(changes, record);
    const std::string creator = customer ? shown_text(*customer, "created_by") : std::string();
    const std::string rep = rep_for(round, changes.tenant(), record.state.scope, creator);
    changes.write(record, "rep_id", rep.empty() ? Value() : Value(rep), round.tick());
    await_delivery(round, changes.tenant(), record);
}

}  // namespace rapport::server
