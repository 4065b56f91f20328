// SPDX-License-Identifier: Apache-2.0
#include "server/states.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>

#include "model/json.hpp"
#include "model/lifecycle.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "server/approvals.hpp"
#include "server/loops.hpp"
#include "server/moves.hpp"
#include "server/scopes.hpp"

namespace rapport::server {
namespace {

using Brought = std::map<std::string, std::string>;
using Days = std::chrono::duration<std::int64_t, std::ratio<86400>>;

const Kind& the_kind(std::string_view name) {
    if (const Kind* kind = kind_named(name)) return *kind;
    throw Error(ErrorCode::internal,
                "the server's rules name a kind this version lacks: " + std::string(name));
}

bool is_a(const StoredRecord& record, std::string_view kind) {
    return record.state.kind == the_kind(kind).number;
}

std::int64_t version_of(const StoredRecord& record) {
    const Value version = shown_value(record, "state_version");
    return version.integer() ? *version.integer() : kFirstStateVersion;
}

/// How long quality has to answer, by how bad it is.
Days time_to_answer(std::string_view severity) {
    if (severity == "safety") return Days{1};
    if (severity == "critical") return Days{3};
    if (severity == "major") return Days{7};
    return Days{14};
}

std::string number_prefix(const StoredRecord& record) {
    if (is_a(record, "complaint")) return "C-";
    if (is_a(record, "product_wish")) return "W-";
    if (is_a(record, "price_request")) return "P-";
    if (is_a(record, "customisation_request")) return "A-";
    return {};
}

std::string next_human_number(Round& round, const std::string& tenant, const std::string& prefix) {
    const std::chrono::year_month_day day(std::chrono::floor<std::chrono::days>(round.now.at));
    const std::string series = prefix + std::to_string(static_cast<int>(day.year()));
    const std::string digits = std::to_string(round.tx.next_number(tenant, series));
    return series + "-" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

// ---- what a guard may look at

void look_at_loop(Changeset& changes, const StoredRecord& subject, TransitionFacts& facts) {
    const StoredRecord* latest = nullptr;
    std::int64_t latest_version = -1;
    for (const StoredRecord* task : changes.about(subject.state.id, the_kind("loop_task"))) {
        const Value version = shown_value(*task, "decision_version");
        const std::int64_t v = version.integer() ? *version.integer() : 0;
        if (v <= latest_version) continue;
        latest = task;
        latest_version = v;
    }
    if (!latest) return;
    const std::string reaction = shown_text(*latest, "reaction");
    const Value told_at = shown_value(*latest, "told_at");
    facts.customer_unhappy = reaction == "unhappy" || reaction == "reopened";
    facts.customer_told = !told_at.is_null() && !facts.customer_unhappy;
    if (told_at.integer()) facts.silent_since = Instant::unpack(*told_at.integer());
    for (const char* name : {"told_at", "reaction"}) {
        const Field* field = the_kind("loop_task").field(name);
        const auto at = latest->state.fields.find(field->number);
        if (at == latest->state.fields.end()) continue;
        for (const LiveValue& l : at->second.live) {
            const Instant written(TimePoint(Milliseconds(HybridClock::wall_ms(l.stamp))));
            if (!facts.silent_since || facts.silent_since->at < written.at)
                facts.silent_since = written;
        }
    }
}

/// When the subject came into its present state, by the server's clock.
std::int64_t entered_ms(const StoredRecord& subject) {
    Stamp entered = 0;
    if (const auto at = subject.state.fields.find(common_field::state);
        at != subject.state.fields.end())
        for (const LiveValue& l : at->second.live) entered = std::max(entered, l.stamp);
    return HybridClock::wall_ms(entered);
}

bool has_corrective_action(Changeset& changes, const StoredRecord& subject) {
    const auto actions = changes.about(subject.state.id, the_kind("corrective_action"));
    return std::any_of(actions.begin(), actions.end(), [](const StoredRecord* action) {
        return !shown(*action, "owner").empty() && !shown(*action, "due_at").empty();
    });
}

bool has_new_note(Changeset& changes, const StoredRecord& subject) {
    const auto notes = changes.about(subject.state.id, the_kind("note"));
    return std::any_of(notes.begin(), notes.end(), [&](const StoredRecord* note) {
        return changes.is_new(*note) || note->received_at_ms > entered_ms(subject);
    });
}

/// The record the request wants the subject merged into, if the device may know it.
std::optional<Record> named_other(Changeset& changes, const Device& device,
                                  const Brought& brought) {
    for (const char* name : {"duplicate_of", "merged_into"}) {
        const auto at = brought.find(name);
        const auto id = at == brought.end() ? std::nullopt : RecordId::parse(at->second);
        const StoredRecord* other = id ? changes.find(*id) : nullptr;
        if (other && reaches(device, other->state.scope)) return show(other->state);
    }
    return std::nullopt;
}

// ---- changing a state

void record_event(Round& round, Changeset& changes, StoredRecord& subject, const std::string& from,
                  const std::string& by, const std::string& reason, Stamp stamp) {
    const std::int64_t version = version_of(subject);
    const Kind& kind = the_kind("status_event");
    const RecordId id = name_based_id(changes.tenant(), kind.name,
                                      subject.state.id.text() + ":" + std::to_string(version));
    if (changes.find(id)) return;
    StoredRecord& event = changes.create_as_server(kind, id, stamp);
    changes.hang(event, subject);
    const auto set = [&](const char* field, Value value) {
        changes.write(event, field, std::move(value), stamp);
    };
    set("subject_id", subject.state.id.raw());
    set("from", from);
    set("to", shown_text(subject, "state"));
    set("version", version);
    set("by", by);
    if (!reason.empty()) set("reason", reason);
    set("at", round.now.packed());
}

bool is_decision(std::string_view theme_state) {
    return theme_state == "planned" || theme_state == "declined" || theme_state == "delivered";
}

bool is_approval(const StoredRecord& record) {
    return is_a(record, "price_request") || is_a(record, "customisation_request");
}

void note_times(Round& round, Changeset& changes, StoredRecord& subject, const std::string& from,
                std::string_view to, const std::string& by, Stamp stamp) {
    const Value now(round.now.packed());
    if (is_a(subject, "complaint")) {
        if (to == "acknowledged" && shown(subject, "ack_at").empty())
            changes.write(subject, "ack_at", now, stamp);
        if (to == "answered") changes.write(subject, "answered_at", now, stamp);
        if (to == "closed") changes.write(subject, "closed_at", now, stamp);
        if (from == "closed") changes.write(subject, "closed_at", Value(), stamp);
    }
    if (is_approval(subject) && (to == "approved" || to == "rejected" || to == "countered")) {
        changes.write(subject, "decided_by", by, stamp);
        changes.write(subject, "decided_at", now, stamp);
    }
    if (is_a(subject, "theme") && is_decision(to)) {
        const Value version = shown_value(subject, "decision_version");
        changes.write(subject, "decision_version", (version.integer() ? *version.integer() : 0) + 1,
                      stamp);
    }
}

void enter(Round& round, Changeset& changes, StoredRecord& subject, std::string_view to,
           const std::string& by, const std::string& reason) {
    const Stamp stamp = round.tick();
    const std::string from = shown_text(subject, "state");
    changes.write(subject, "state", std::string(to), stamp);
    changes.write(subject, "state_version", version_of(subject) + 1, stamp);
    note_times(round, changes, subject, from, to, by, stamp);
    record_event(round, changes, subject, from, by, reason, stamp);
    set_deadline(round, changes, subject);
}

/// Does the theme have a decision that stands?
bool is_decided(const StoredRecord& theme) {
    const std::string state = shown_text(theme, "state");
    return is_decision(state) || state == "in_progress";
}

std::int64_t decision_of(const StoredRecord& theme) {
    const Value version = shown_value(theme, "decision_version");
    return version.integer() ? *version.integer() : 0;
}

/// Enters the state if the server's own rules allow it; who may is data of the lifecycle.
void enter_if_allowed(Round& round, Changeset& changes, StoredRecord& subject, std::string_view to,
                      bool told) {
    const Record shown_subject = show(subject.state);
    TransitionFacts facts;
    facts.subject = &shown_subject;
    facts.now = round.now;
    facts.customer_told = told;
    const StateDecision decision =
        judge(*changes.lifecycle(*shown_subject.kind), facts, to, version_of(subject), Role::sys);
    if (decision.verdict == StateVerdict::accepted)
        enter(round, changes, subject, to, kServerName, {});
}

/// A wish mirrors the decisions on its themes: decided while its customer has not been told one of
/// them, told after that. Repeating it changes nothing.
void mirror_decisions(Round& round, Changeset& changes, StoredRecord& wish) {
    const std::string state = shown_text(wish, "state");
    if (state != "triaged" && state != "decided" && state != "told") return;
    const StoredRecord* customer = customer_of(changes, wish);
    if (!customer) return;
    bool decided = false, told = true;
    for (const Item& item : shown(wish, "theme_ids")) {
        const auto id = item.value.text() ? RecordId::from_bytes(*item.value.text()) : std::nullopt;
        const StoredRecord* theme = id ? changes.find(*id) : nullptr;
        if (!theme || !is_decided(*theme)) continue;
        decided = true;
        const StoredRecord& task =
            open_loop(round, changes, *theme, decision_of(*theme), *customer);
        told &= !shown(task, "told_at").empty();
    }
    if (!decided) return;
    if (state != "decided" && !(state == "told" && told))
        enter_if_allowed(round, changes, wish, "decided", false);
    if (told && shown_text(wish, "state") == "decided")
        enter_if_allowed(round, changes, wish, "told", true);
}

// ---- what a change of state brings about

constexpr const char* kQuestionRule = "wish_question";

/// The question of product management reaches the rep as a task.
void ask_back(Round& round, Changeset& changes, const StoredRecord& wish) {
    const std::string rep =
        rep_for(round, changes.tenant(), wish.state.scope, shown_text(wish, "created_by"));
    if (rep.empty()) return;
    const Stamp stamp = round.tick();
    const RecordId id = name_based_id(changes.tenant(), "task",
                                      std::string(kQuestionRule) + ":" + wish.state.id.text() +
                                          ":" + std::to_string(version_of(wish)));
    StoredRecord& task = changes.create_as_server(the_kind("task"), id, stamp);
    task.state.scope = std::string(kPersonScopes) + rep;
    task.root = wish.root;
    const auto set = [&](const char* field, Value value) {
        changes.write(task, field, std::move(value), stamp);
    };
    set("subject_id", wish.state.id.raw());
    set("text", shown_value(wish, "question"));
    set("assignee", rep);
    set("priority", "normal");
    set("state", "open");
    set("source_rule", kQuestionRule);
}

void question_answered(Round& round, Changeset& changes, const StoredRecord& wish) {
    for (StoredRecord* task : changes.about(wish.state.id, the_kind("task")))
        if (shown_text(*task, "source_rule") == kQuestionRule &&
            shown_text(*task, "state") == "open")
            changes.write(*task, "state", "done", round.tick());
}

/// A wish linked to a theme that went into another one counts there from now on.
void relink(Round& round, Changeset& changes, StoredRecord& wish, const StoredRecord& theme) {
    const Value into = shown_value(theme, "merged_into");
    if (into.is_null()) return;
    Content content = shown(wish, "theme_ids");
    content.push_back({canonical_bytes(into), into});
    std::sort(content.begin(), content.end(),
              [](const Item& a, const Item& b) { return a.key < b.key; });
    content.erase(std::unique(content.begin(), content.end()), content.end());
    changes.write(wish, *kind_numbered(wish.state.kind)->field("theme_ids"), content, round.tick());
}

constexpr std::size_t kWishesMax = 200;  // in one commit: some 30 ms

/// Gives the wishes behind a decided or merged theme what that means for them; those beyond
/// kWishesMax follow by continue_decisions().
std::size_t spread(Round& round, Changeset& changes, const StoredRecord& theme,
                   const RecordId& after) {
    const auto ids = round.tx.linking_to(changes.tenant(), theme.state.id, {}, after, kWishesMax);
    for (const RecordId& id : ids) {
        StoredRecord* wish = changes.find(id);
        if (!wish) continue;
        if (shown_text(theme, "state") == "merged") relink(round, changes, *wish, theme);
        if (is_a(*wish, "product_wish")) mirror_decisions(round, changes, *wish);
    }
    if (ids.size() < kWishesMax) {
        round.tx.remove(changes.tenant(), OpenDecision{theme.state.id, {}});
    } else {
        round.tx.save(changes.tenant(), OpenDecision{theme.state.id, ids.back()});
        round.work_open = true;
    }
    return ids.size();
}

void follow_up(Round& round, Changeset& changes, StoredRecord& subject, const std::string& from,
               std::string_view to) {
    if (is_a(subject, "complaint")) {
        if (const StoredRecord* customer = customer_of(changes, subject);
            to == "answered" && customer)
            open_loop(round, changes, subject, version_of(subject), *customer);
        if (from == "answered" && to != "closed") cancel_loops(round, changes, subject);
    } else if (is_a(subject, "product_wish")) {
        if (to == "triaged") mirror_decisions(round, changes, subject);
        if (to == "needs_info") ask_back(round, changes, subject);
        if (from == "needs_info") question_answered(round, changes, subject);
    } else if (is_a(subject, "theme")) {
        if (is_decision(to) || to == "merged") spread(round, changes, subject, {});
    }
}

/// A merged customer and what hangs on it go where the other one lives.
void join_customers(Round& round, Changeset& changes, StoredRecord& lost) {
    const StoredRecord& home = changes.standing(lost);
    const std::string from = lost.state.scope;
    lost.root = home.state.id;
    lost.state.scope = home.state.scope;
    if (from != home.state.scope) changes.depart(lost, from);
    let_follow(round, changes.tenant(), lost.state.id);
}

/// The owned fields that came with a request, as their types read them. Findings turn the request
/// down.
std::vector<std::pair<const Field*, Content>> parse(const Round& round, const StoredRecord& subject,
                                                    const Brought& brought,
                                                    std::vector<Refusal>& findings) {
    std::vector<std::pair<const Field*, Content>> fields;
    for (const auto& [name, text] : brought) {
        const Field* field = kind_numbered(subject.state.kind)->field(name);
        if (!field) {
            findings.push_back(
                refusal(subject.state.id, name, refusal_code::kUnknownField, {"requested"}));
            continue;
        }
        auto content = content_from_text(*field, {}, text, {}, subject.state.id, findings);
        if (!content) continue;
        check_content(*field, subject.state.id, *content, round.limits, findings);
        fields.emplace_back(field, std::move(*content));
    }
    return fields;
}

StateDecision turned_down(Refusal why) {
    return {StateVerdict::refused,
            std::move(why.code),
            std::move(why.sentence),
            std::move(why.parameters),
            nullptr,
            std::move(why.field)};
}

StateDecision judge_and_apply(Round& round, Changeset& changes, const Device& device,
                              const StoredRecord& request, StoredRecord& subject) {
    const Lifecycle* lifecycle = changes.lifecycle(*kind_numbered(subject.state.kind));
    if (!lifecycle)
        return turned_down(refusal(subject.state.id, {}, "no_lifecycle",
                                   {kind_numbered(subject.state.kind)->name}));

    const std::string to = shown_text(request, "to"), reason = shown_text(request, "reason");
    Brought brought;
    for (const Item& item : shown(request, "fields"))
        if (item.value.text() && !item.value.text()->empty())
            brought.emplace(item.key, *item.value.text());
    if (is_a(subject, "complaint") && to == "acknowledged" && shown(subject, "due_at").empty())
        brought.try_emplace(
            "due_at",
            Instant(round.now.at + time_to_answer(shown_text(subject, "severity"))).rfc3339());

    const Record shown_subject = show(subject.state);
    const std::optional<Record> other = named_other(changes, device, brought);
    TransitionFacts facts;
    facts.subject = &shown_subject;
    facts.fields = &brought;
    facts.reason = reason;
    facts.now = round.now;
    facts.has_new_note = has_new_note(changes, subject);
    facts.has_corrective_action = has_corrective_action(changes, subject);
    facts.other = other ? &*other : nullptr;
    look_at_loop(changes, subject, facts);

    const Value expected = shown_value(request, "expected_version");
    StateDecision decision =
        judge(*lifecycle, facts, to, expected.integer() ? *expected.integer() : 0, device.role);
    if (decision.verdict != StateVerdict::accepted) return decision;

    std::vector<Refusal> findings;
    const auto fields = parse(round, subject, brought, findings);
    if (!findings.empty()) return turned_down(std::move(findings.front()));
    const Stamp stamp = round.tick();
    for (const auto& [field, content] : fields) changes.write(subject, *field, content, stamp);
    const std::string from = shown_text(subject, "state");
    enter(round, changes, subject, to, device.rep, reason);
    follow_up(round, changes, subject, from, to);
    if (is_a(subject, "customer") && to == "merged") join_customers(round, changes, subject);
    return decision;
}

/// One a line, for the device to fill its own sentence with.
std::string lines_of(const std::vector<std::string>& parameters) {
    std::string lines;
    for (const std::string& parameter : parameters) {
        if (&parameter != &parameters.front()) lines += '\n';
        for (const char c : parameter) lines += c == '\n' ? ' ' : c;
    }
    return lines;
}

std::string_view name_of(StateVerdict verdict) {
    switch (verdict) {
        case StateVerdict::accepted:
            return "accepted";
        case StateVerdict::refused:
            return "refused";
        case StateVerdict::already_there:
            return "already_there";
    }
    return {};
}

}  // namespace

void begin_life(Round& round, Changeset& changes, StoredRecord& record) {
    const Lifecycle* lifecycle = changes.lifecycle(*kind_numbered(record.state.kind));
    if (!lifecycle) return;
    const Stamp stamp = round.tick();
    changes.write(record, "state", std::string(lifecycle->initial), stamp);
    changes.write(record, "state_version", kFirstStateVersion, stamp);
    if (const std::string prefix = number_prefix(record); !prefix.empty())
        changes.write(record, "number", next_human_number(round, changes.tenant(), prefix), stamp);
}

StateDecision judge_as_server(Round& round, Changeset& changes, const Record& subject,
                              std::string_view to) {
    const Lifecycle* lifecycle = changes.lifecycle(*subject.kind);
    if (!lifecycle)
        return turned_down(refusal(subject.id, {}, "no_lifecycle", {subject.kind->name}));
    TransitionFacts facts;
    facts.subject = &subject;
    facts.now = round.now;
    const Value version = subject.value(common_field::state_version);
    return judge(*lifecycle, facts, to, version.integer() ? *version.integer() : kFirstStateVersion,
                 Role::sys);
}

void enter_as_server(Round& round, Changeset& changes, StoredRecord& subject, std::string_view to) {
    const std::string from = shown_text(subject, "state");
    enter(round, changes, subject, to, kServerName, {});
    follow_up(round, changes, subject, from, to);
}

void judge_new(Round& round, Changeset& changes, const Device& device, StoredRecord& record) {
    if (!is_approval(record)) return;
    const Judgement judgement = judge_limits(round, changes, device, record);
    const Stamp stamp = round.tick();
    if (!judgement.within_limit)
        changes.write(record, "approver", std::string(rapport::name_of(judgement.approver)), stamp);
    if (judgement.in_good_faith) changes.write(record, "in_good_faith", 1, stamp);
    if (judgement.lead_time_days > 0)
        changes.write(record, "lead_time_days", judgement.lead_time_days, stamp);
    enter_if_allowed(round, changes, record,
                     judgement.within_limit ? "within_limit" : "needs_approval", false);
}

void record_changed(Round& round, Changeset& changes, StoredRecord& record) {
    if (is_a(record, "product_wish")) return mirror_decisions(round, changes, record);
    if (!is_a(record, "loop_task") || shown(record, "told_at").empty()) return;
    set_deadline(round, changes, record);
    const RecordId subject = shown_reference(record, "subject_id");
    for (StoredRecord* wish : changes.linked_to(subject, record.root))
        if (is_a(*wish, "product_wish")) mirror_decisions(round, changes, *wish);
}

namespace {

/// What time alone does to a record as it stands.
struct ByTime {
    ByTime(Round& round, Changeset& changes, const StoredRecord& subject)
        : lifecycle(changes.lifecycle(*kind_numbered(subject.state.kind))),
          shown(show(subject.state)) {
        facts.subject = &shown;
        facts.now = round.now;
        if (is_a(subject, "complaint")) look_at_loop(changes, subject, facts);
        if (lifecycle) change = timed_change(*lifecycle, facts);
    }
    ByTime(const ByTime&) = delete;
    ByTime& operator=(const ByTime&) = delete;

    const Lifecycle* const lifecycle;
    const Record shown;
    TransitionFacts facts;
    std::optional<TimedChange> change;
};

}  // namespace

void set_deadline(Round& round, Changeset& changes, StoredRecord& record) {
    if (is_a(record, "loop_task")) {
        StoredRecord* subject = changes.find(shown_reference(record, "subject_id"));
        if (subject && is_a(*subject, "complaint")) set_deadline(round, changes, *subject);
        return;
    }
    const ByTime by_time(round, changes, record);
    Deadline deadline{changes.tenant(), record.state.id, 0};
    if (!by_time.change) return round.tx.remove(deadline);
    deadline.at_ms = by_time.change->at.at.time_since_epoch().count();
    round.tx.save(deadline);
    round.deadline_ms = std::min(round.deadline_ms, deadline.at_ms);
}

void meet_deadline(Round& round, Changeset& changes, StoredRecord& record) {
    const ByTime by_time(round, changes, record);
    if (!by_time.change || by_time.change->at.at > round.now.at)
        return set_deadline(round, changes, record);
    round.tx.remove(Deadline{changes.tenant(), record.state.id, 0});
    const std::string to = by_time.change->to;
    const StateDecision decision =
        judge(*by_time.lifecycle, by_time.facts, to, version_of(record), Role::sys);
    if (decision.verdict == StateVerdict::accepted) enter_as_server(round, changes, record, to);
}

std::size_t continue_decisions(Round& round, Changeset& changes) {
    for (const OpenDecision& open : round.tx.open_decisions(changes.tenant()))
        if (const StoredRecord* theme = changes.find(open.theme))
            if (const std::size_t wishes = spread(round, changes, *theme, open.after))
                return wishes;
    return 0;
}

void decide(Round& round, Changeset& changes, const Device& device, StoredRecord& request) {
    if (!shown(request, "verdict").empty()) return;
    StoredRecord* subject = changes.find(shown_reference(request, "subject_id"));
    if (!subject)
        throw Error(ErrorCode::internal, "a state request without a subject was admitted");
    const StateDecision decision = judge_and_apply(round, changes, device, request, *subject);
    const Stamp stamp = round.tick();
    changes.write(request, "verdict", std::string(name_of(decision.verdict)), stamp);
    if (!decision.code.empty()) changes.write(request, "verdict_code", decision.code, stamp);
    if (!decision.sentence.empty())
        changes.write(request, "verdict_sentence", decision.sentence, stamp);
    if (!decision.field.empty()) changes.write(request, "verdict_field", decision.field, stamp);
    if (std::string lines = lines_of(decision.parameters); !lines.empty())
        changes.write(request, "verdict_parameters", std::move(lines), stamp);
    changes.write(request, "verdict_at", round.now.packed(), stamp);
}

}  // namespace rapport::server
