// SPDX-License-Identifier: Apache-2.0
#include "model/lifecycle.hpp"
#include "model/refusals.hpp"
#include "rapport/kinds/state_request.hpp"
#include "rapport/kinds/state_table.hpp"
#include "store/capture.hpp"
#include "store/core.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

// How the subject stands once the requests already on their way are granted.
struct Expected {
    std::string state;
    std::int64_t version = 1;
};

Expected expected_state(sqlite::Database& db, const Record& subject) {
    Expected e;
    if (const auto* state = subject.value(common_field::state).text()) e.state = *state;
    if (const auto* version = subject.value(common_field::state_version).integer())
        e.version = *version;
    auto open = db.prepare(
        "SELECT \"to\", expected_version FROM state_request WHERE subject_id = ? AND verdict IS "
        "NULL ORDER BY row");
    open.bind(1, subject.id);
    while (open.step())
        if (open.integer(1) == e.version) {
            e.state = open.text(0);
            ++e.version;
        }
    return e;
}

// By the newest table this file holds for the kind, else as this build brings it.
std::optional<Lifecycle> workflow_of(sqlite::Database& db, const Kind& kind) {
    const Lifecycle* built_in = lifecycle_of(kind);
    if (!built_in) return std::nullopt;
    const Kind& tables = kind_of<StateTable>();
    auto newest = db.prepare("SELECT id FROM state_table WHERE kind = ? ORDER BY " +
                             identifier(column_of(*tables.field("version"))) + " DESC, id");
    newest.bind(1, kind.name);
    while (newest.step())
        if (const auto row = load_row(db, newest.id(0)); row && !(row->status & kRowHidden))
            return lifecycle_from(row->record());
    return *built_in;
}

Row subject_row(sqlite::Database& db, const RecordId& subject) {
    auto row = load_row(db, subject);
    if (!row || row->status & kRowHidden)
        throw Error(ErrorCode::not_found, "there is no record " + subject.text());
    return std::move(*row);
}

}  // namespace

std::vector<NextState> Store::next_states(const RecordId& subject) const {
    const Core::Reading reading(*core_);
    const Row row = subject_row(reading.db, subject);
    const auto lifecycle = workflow_of(reading.db, *row.kind);
    std::vector<NextState> next;
    if (!lifecycle) return next;
    const std::string state = expected_state(reading.db, row.record()).state;
    for (const Transition& t : lifecycle->transitions) {
        if (t.from != (state.empty() ? lifecycle->initial : state) ||
            !t.who.contains(capture_role(reading.db)))
            continue;
        NextState& n = next.emplace_back(NextState{t.to, t.needs_reason, t.needs, t.sets});
        n.needs.insert(n.needs.end(), t.brings.begin(), t.brings.end());
    }
    return next;
}

Captured Store::request_state(const RecordId& subject, const std::string& to,
                              const std::string& reason,
                              const std::map<std::string, std::string>& fields) {
    StateRequest request;
    Captured captured;
    {
        const Core::Reading reading(*core_);
        const Row row = subject_row(reading.db, subject);
        const auto lifecycle = workflow_of(reading.db, *row.kind);
        if (!lifecycle) {
            captured.refusals.push_back(refusal(subject, "", "no_lifecycle", {row.kind->name}));
            return captured;
        }
        Record record = row.record();
        const Expected expected = expected_state(reading.db, record);
        record.set("state", Value(expected.state));
        record.set("state_version", Value(expected.version));
        TransitionFacts facts;
        facts.subject = &record;
        facts.fields = &fields;
        facts.reason = reason;
        facts.now = core_->now();
        facts.only_asking = true;  // guards look at what only the server knows
        const StateDecision decision =
            judge(*lifecycle, facts, to, expected.version, capture_role(reading.db));
        if (decision.verdict == StateVerdict::refused) {
            captured.refusals.push_back(
                {subject, "to", decision.code, decision.sentence, decision.parameters});
            return captured;
        }
        request.subject_id = AnyId(subject);
        request.expected_version = expected.version;
        request.to = to;
        if (!reason.empty()) request.reason = reason;
        for (const auto& [name, text] : fields) request.fields.entries.emplace(name, text);
    }
    return put(request).second;
}

}  // namespace rapport
