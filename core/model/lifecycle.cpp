// SPDX-License-Identifier: Apache-2.0
#include "model/lifecycle.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "model/planted.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"

namespace rapport {
namespace {

using Days = std::chrono::duration<std::int64_t, std::ratio<86400>>;
constexpr Days kSilence{14};     ///< after which an unhappy customer counts as having let it rest
constexpr Days kReopenFor{180};  ///< after the answer

// ---- guards

std::string_view told(const TransitionFacts& f, Role) {
    if (f.customer_told) return {};
    if (!f.customer_unhappy) return "customer_not_told";
    return f.silent_since && f.now.at - f.silent_since->at >= kSilence ? "" : "customer_unhappy";
}

std::string_view decision_told(const TransitionFacts& f, Role) {
    return f.customer_told || f.customer_unhappy ? "" : "customer_not_told";
}

std::string_view may_reopen(const TransitionFacts& f, Role) {
    const auto* answered = f.subject->value("answered_at").integer();
    if (answered && f.now.at - Instant::unpack(*answered).at > kReopenFor) return "too_late";
    return f.customer_unhappy || !f.reason.empty() ? "" : "reason_missing";
}

std::string_view new_note(const TransitionFacts& f, Role) {
    return f.has_new_note ? "" : "note_missing";
}

std::string_view corrective_action(const TransitionFacts& f, Role) {
    return f.has_corrective_action ? "" : "corrective_action_missing";
}

std::string_view approver(const TransitionFacts& f, Role role) {
    const auto* named = f.subject->value("approver").text();
    return !named || *named == name_of(role) ? "" : "other_approver";
}

std::string_view offer_over(const TransitionFacts& f, Role) {
    const auto* until = f.subject->value("offer_until").integer();
    return until && Instant::unpack(*until).at <= f.now.at ? "" : "offer_holds";
}

// From when on the guard of a transition lets the server pass, if only time is in the way.
std::optional<Instant> opens_at(Guard guard, const TransitionFacts& f) {
    if (guard == told && (f.customer_told || f.customer_unhappy) && f.silent_since)
        return Instant(f.silent_since->at + kSilence);
    if (guard == offer_over)
        if (const auto* until = f.subject->value("offer_until").integer())
            return Instant::unpack(*until);
    return std::nullopt;
}

/// A merged record is never merged into, so that merges form no circle.
std::string_view other_stands(const TransitionFacts& f, Role) {
    if (!f.other || f.other->kind != f.subject->kind) return "other_unknown";
    if (f.other->id == f.subject->id) return "merged_with_itself";
    return f.other->value("state") == Value("merged") ? "other_is_merged" : "";
}

std::string_view same_customer(const TransitionFacts& f, Role role) {
    if (const auto code = other_stands(f, role); !code.empty()) return code;
    return f.other->value("customer_id") == f.subject->value("customer_id") ? "" : "other_customer";
}

constexpr std::pair<std::string_view, Guard> kGuards[] = {
    {"customer_told", told},
    {"decision_told", decision_told},
    {"may_reopen", may_reopen},
    {"new_note", new_note},
    {"corrective_action", corrective_action},
    {"approver", approver},
    {"offer_over", offer_over},
    {"other_stands", other_stands},
    {"same_customer", same_customer},
};

Guard guard_named(std::string_view name) {
    for (const auto& [known, guard] : kGuards)
        if (known == name) return guard;
    return nullptr;
}

// ---- the machines

using enum Role;

const Lifecycle& of_customer() {
    static const Lifecycle lifecycle = [] {
        const Roles sales = Roles(rep) | mgr;
        Lifecycle l{"customer", "prospect", {}};
        l.transitions = {
            {.from = "prospect", .to = "active", .who = sales | sys},
            {.from = "prospect", .to = "lost", .who = sales, .needs_reason = true},
            {.from = "active", .to = "dormant", .who = sales | sys},
            {.from = "active", .to = "lost", .who = sales, .needs_reason = true},
            {.from = "dormant", .to = "active", .who = sales | sys},
            {.from = "dormant", .to = "lost", .who = sales, .needs_reason = true},
            {.from = "lost", .to = "active", .who = sales | sys},
        };
        for (const char* from : {"prospect", "active", "dormant", "lost"})
            l.transitions.push_back({.from = from,
                                     .to = "merged",
                                     .who = Roles(mgr) | mkt,
                                     .needs = {"merged_into"},
                                     .sets = {"merged_into"},
                                     .guard = other_stands});
        return l;
    }();
    return lifecycle;
}

const Lifecycle& of_complaint() {
    static const Lifecycle lifecycle = [] {
        Lifecycle l{"complaint", "submitted", {}};
        l.transitions = {
            {.from = "submitted",
             .to = "acknowledged",
             .who = Roles(sys) | qm,
             .sets = {"due_at", "owner"}},  // number and due_at are the server's to give
            {.from = "acknowledged",
             .to = "assessed",
             .who = qm,
             .needs = {"defect_code", "severity"},
             .sets = {"due_at", "owner"}},
            {.from = "assessed",
             .to = "investigating",
             .who = qm,
             .needs = {"owner"},
             .sets = {"owner", "due_at"}},
            {.from = "investigating",
             .to = "action",
             .who = qm,
             .needs = {"cause_code"},
             .sets = {"owner", "due_at"},
             .guard = corrective_action},
            {.from = "answered", .to = "closed", .who = Roles(sys) | rep, .guard = told},
        };
        for (const char* from : {"assessed", "investigating", "action"})
            l.transitions.push_back({.from = from,
                                     .to = "answered",
                                     .who = qm,
                                     .needs = {"decision", "reply_text"},
                                     .sets = {"decision", "reply_text"}});
        for (const char* from : {"answered", "closed"})
            l.transitions.push_back(
                {.from = from, .to = "investigating", .who = Roles(rep) | qm, .guard = may_reopen});
        for (const char* from : {"submitted", "acknowledged", "assessed", "investigating"}) {
            l.transitions.push_back(
                {.from = from, .to = "withdrawn", .who = Roles(rep) | qm, .needs_reason = true});
            l.transitions.push_back({.from = from,
                                     .to = "merged",
                                     .who = qm,
                                     .needs = {"duplicate_of"},
                                     .sets = {"duplicate_of"},
                                     .guard = same_customer});
        }
        return l;
    }();
    return lifecycle;
}

const Lifecycle& of_wish() {
    static const Lifecycle lifecycle = [] {
        Lifecycle l{"product_wish", "submitted", {}};
        l.transitions = {
            {.from = "submitted",
             .to = "needs_info",
             .who = Roles(pm) | mkt,
             .brings = {"question"},
             .sets = {"question"}},
            {.from = "needs_info", .to = "submitted", .who = rep, .guard = new_note},
            {.from = "submitted", .to = "triaged", .who = Roles(pm) | mkt, .needs = {"theme_ids"}},
            {.from = "triaged", .to = "decided", .who = sys},
            {.from = "decided", .to = "told", .who = sys, .guard = decision_told},
            {.from = "told", .to = "decided", .who = sys},
        };
        for (const char* from : {"submitted", "triaged"})
            l.transitions.push_back({.from = from,
                                     .to = "merged",
                                     .who = pm,
                                     .needs = {"duplicate_of"},
                                     .sets = {"duplicate_of"},
                                     .guard = same_customer});
        for (const char* from : {"submitted", "needs_info", "triaged"})
            l.transitions.push_back({.from = from, .to = "withdrawn", .who = rep});
        return l;
    }();
    return lifecycle;
}

const Lifecycle& of_theme() {
    static const Lifecycle lifecycle = [] {
        Lifecycle l{"theme", "open", {}};
        const auto decide = [&l](const char* from, const char* to) -> Transition& {
            return l.transitions.emplace_back(
                Transition{.from = from,
                           .to = to,
                           .who = pm,
                           .sets = {"decision_text_internal", "decision_text_for_customer"}});
        };
        l.transitions.push_back({.from = "open", .to = "under_review", .who = pm});
        decide("under_review", "planned");
        decide("planned", "in_progress");
        decide("in_progress", "delivered");
        Transition& declined = decide("under_review", "declined");
        declined.needs_reason = true;
        declined.brings = {"decision_text_for_customer"};
        decide("under_review", "parked");
        for (const char* from : {"parked", "declined", "planned"})
            l.transitions.push_back({.from = from, .to = "under_review", .who = pm});
        for (const char* from : {"open", "under_review", "planned", "in_progress", "parked"})
            l.transitions.push_back({.from = from,
                                     .to = "merged",
                                     .who = pm,
                                     .needs = {"merged_into"},
                                     .sets = {"merged_into"},
                                     .guard = other_stands});
        return l;
    }();
    return lifecycle;
}

const Lifecycle& of_question() {
    static const Lifecycle lifecycle{"marketing_question",
                                     "draft",
                                     {{.from = "draft", .to = "live", .who = Roles(mkt) | sys},
                                      {.from = "draft", .to = "closed", .who = Roles(mkt) | sys},
                                      {.from = "live", .to = "closed", .who = Roles(mkt) | sys}}};
    return lifecycle;
}

/// Price and customisation requests: `answer` are the fields an approver may set.
Lifecycle of_approval(const char* kind, const std::vector<std::string>& answer,
                      const char* counter) {
    const Roles approvers = Roles(mgr) | mkt | qm | pm | price | admin;
    Lifecycle l{kind, "submitted", {}};
    for (const char* to : {"within_limit", "needs_approval"})
        l.transitions.push_back({.from = "submitted", .to = to, .who = sys});
    l.transitions.push_back({.from = "needs_approval",
                             .to = "approved",
                             .who = approvers,
                             .sets = answer,
                             .guard = approver});
    l.transitions.push_back({.from = "needs_approval",
                             .to = "rejected",
                             .who = approvers,
                             .needs = {"reply_text"},
                             .sets = {"reply_text"},
                             .guard = approver});
    l.transitions.push_back({.from = "needs_approval",
                             .to = "countered",
                             .who = approvers,
                             .brings = {counter},
                             .sets = answer,
                             .guard = approver});
    l.transitions.push_back({.from = "countered", .to = "accepted", .who = rep});
    for (const char* from : {"approved", "countered"})
        l.transitions.push_back({.from = from,
                                 .to = "expired",
                                 .who = Roles(rep) | mgr | price | sys,
                                 .guard = offer_over});
    for (const char* from :
         {"submitted", "within_limit", "needs_approval", "approved", "countered"})
        l.transitions.push_back({.from = from, .to = "withdrawn", .who = rep});
    return l;
}

const Lifecycle& of_price_request() {
    static const Lifecycle lifecycle =
        of_approval("price_request", {"counter_bp", "reply_text", "offer_until"}, "counter_bp");
    return lifecycle;
}

const Lifecycle& of_customisation_request() {
    static const Lifecycle lifecycle = of_approval(
        "customisation_request",
        {"lead_time_days", "effort", "price_minor", "price_currency", "reply_text", "offer_until"},
        "reply_text");
    return lifecycle;
}

// ---- judging

bool holds(const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool brought(const TransitionFacts& facts, const Transition& t, std::string_view name) {
    if (!facts.fields || !holds(t.sets, name)) return false;
    const auto at = facts.fields->find(std::string(name));
    return at != facts.fields->end() && !at->second.empty();
}

std::string names_of(Roles roles) {
    std::string out;
    for (int i = 0; i <= static_cast<int>(feed); ++i)
        if (const auto role = static_cast<Role>(i); roles.contains(role))
            out.append(out.empty() ? "" : ", ").append(name_of(role));
    return out;
}

StateDecision refuse(RefusalCode code, std::vector<std::string> parameters = {}) {
    std::string english = sentence_of(code.text(), {}, parameters, Language::english);
    return {StateVerdict::refused, std::string(code.text()), std::move(english),
            std::move(parameters), nullptr};
}

/// By a guard, in the words of its own code; `as` is the code a state table gives it, if any.
StateDecision by_guard(std::string_view guard, std::string_view as) {
    std::vector<std::string> parameters;
    if (!as.empty()) parameters = {std::string(kSaidByGuard), std::string(guard)};
    return {StateVerdict::refused, std::string(as.empty() ? guard : as),
            sentence_of(guard, {}, {}, Language::english), std::move(parameters), nullptr};
}

// ---- state tables

/// The names in a text, which blanks or commas part.
std::vector<std::string> names_in(const Value& value) {
    std::vector<std::string> names;
    std::string name;
    for (const char c : value.text() ? *value.text() + " " : std::string())
        if (c != ' ' && c != ',')
            name += c;
        else if (!name.empty())
            names.push_back(std::exchange(name, {}));
    return names;
}

std::string text_of(const Value& value) { return value.text() ? *value.text() : std::string(); }

/// The parts of a StateRow by their names, whatever their order in the group.
const Value& part_of(const Record& table, const Item& row, std::string_view name) {
    static const Value kNull;
    const Parts* parts = row.value.parts();
    const auto& infos = table.kind->field("rows")->type.parts;
    for (std::size_t i = 0; parts && i < infos.size() && i < parts->size(); ++i)
        if (infos[i].name == name) return (*parts)[i];
    return kNull;
}

}  // namespace

const Lifecycle* lifecycle_of(const Kind& kind) {
    for (const Lifecycle* l : {&of_customer(), &of_complaint(), &of_wish(), &of_theme(),
                               &of_question(), &of_price_request(), &of_customisation_request()})
        if (l->kind == kind.name) return l;
    return nullptr;
}

Lifecycle lifecycle_from(const Record& table) {
    Lifecycle l{text_of(table.value("kind")), text_of(table.value("initial")), {}};
    for (const Item& row : table.shown("rows")) {
        const auto part = [&](const char* name) -> const Value& {
            return part_of(table, row, name);
        };
        Transition t;
        t.from = text_of(part("from"));
        t.to = text_of(part("to"));
        for (const std::string& name : names_in(part("roles")))
            if (const auto role = role_named(name)) t.who = t.who | *role;
        t.needs_reason = part("needs_reason") == Value(1);
        t.needs = names_in(part("needs"));
        t.sets = names_in(part("sets"));
        t.guard = guard_named(text_of(part("guard")));
        t.code = text_of(part("code"));
        l.transitions.push_back(std::move(t));
    }
    return l;
}

std::string guard_names() {
    std::string out;
    for (const auto& [name, guard] : kGuards) out.append(out.empty() ? "" : ", ").append(name);
    return out;
}

void check_state_table(const Record& table, std::vector<Refusal>& out) {
    const auto refuse = [&](const char* field, RefusalCode code,
                            std::vector<std::string> parameters = {}) {
        out.push_back(refusal(table.id, field, code, std::move(parameters)));
    };
    const Kind* kind = kind_named(text_of(table.value("kind")));
    if (!kind || !lifecycle_of(*kind))
        return refuse("kind", refusal_code::kUnknownKind, {"workflow"});
    bool begins = false;
    for (const Item& row : table.shown("rows")) {
        const auto part = [&](const char* name) -> const Value& {
            return part_of(table, row, name);
        };
        begins |= part("from") == table.value("initial");
        for (const std::string& name : names_in(part("roles")))
            if (!role_named(name)) refuse("rows", "unknown_role", {name});
        const std::string guard = text_of(part("guard"));
        if (!guard.empty() && !guard_named(guard))
            refuse("rows", "unknown_guard", {guard_names(), guard});
        for (const std::string& name : names_in(part("needs")))
            if (!kind->field(name))
                refuse("rows", refusal_code::kUnknownField, {"needed", kind->name, name});
        for (const std::string& name : names_in(part("sets")))
            if (const Field* f = kind->field(name); !f || f->policy != Policy::owned ||
                                                    f->number == common_field::state ||
                                                    f->number == common_field::state_version)
                refuse("rows", refusal_code::kUnknownField, {"set", kind->name, name});
    }
    if (!begins) refuse("initial", "no_way_out");
}

StateDecision judge(const Lifecycle& lifecycle, const TransitionFacts& facts, std::string_view to,
                    std::int64_t expected_version, Role role) {
    const auto* state = facts.subject->value("state").text();
    const std::string_view from =
        state && !state->empty() ? std::string_view(*state) : lifecycle.initial;
    if (from == to)
        return {
            StateVerdict::already_there, {}, "It is `" + std::string(to) + "` already.", {}, {}};

    const auto* stored = facts.subject->value("state_version").integer();
    const std::int64_t version = stored ? *stored : kFirstStateVersion;
    if (expected_version != version && !RAPPORT_PLANTED("change_a_state_from_any_version"))
        return refuse("stale_version", {std::string(from), std::to_string(version),
                                        std::to_string(expected_version)});

    const auto t = std::find_if(
        lifecycle.transitions.begin(), lifecycle.transitions.end(),
        [&](const Transition& candidate) { return candidate.from == from && candidate.to == to; });
    if (t == lifecycle.transitions.end())
        return refuse("no_such_transition", {std::string(from), std::string(to)});
    if (!t->who.contains(role))
        return refuse("not_your_role", {std::string(from), std::string(to), names_of(t->who),
                                        std::string(name_of(role))});
    if (t->needs_reason && facts.reason.empty()) return refuse("reason_missing");
    for (const std::string& name : t->needs)
        if (!brought(facts, *t, name) && facts.subject->shown(name).empty())
            return refuse("field_missing", {name});
    for (const std::string& name : t->brings)
        if (!brought(facts, *t, name)) return refuse("field_missing", {"brought", name});
    if (facts.fields)
        for (const auto& [name, text] : *facts.fields)
            if (!holds(t->sets, name)) return refuse("field_not_settable", {name});
    if (t->guard && !facts.only_asking)
        if (const std::string_view code = t->guard(facts, role); !code.empty())
            return by_guard(code, t->code);
    return {StateVerdict::accepted, {}, {}, {}, &*t};
}

std::optional<TimedChange> timed_change(const Lifecycle& lifecycle, const TransitionFacts& facts) {
    const Value& state = facts.subject->value("state");
    std::optional<TimedChange> first;
    for (const Transition& t : lifecycle.transitions) {
        if (Value(t.from) != state || !t.who.contains(Role::sys)) continue;
        const auto at = opens_at(t.guard, facts);
        if (at && (!first || at->at < first->at.at)) first = TimedChange{t.to, *at};
    }
    return first;
}

}  // namespace rapport
