// SPDX-License-Identifier: Apache-2.0
#include "model/lifecycle.hpp"

#include <algorithm>
#include <chrono>

#include "model/refusals.hpp"

namespace rapport {
namespace {

using Days = std::chrono::duration<std::int64_t, std::ratio<86400>>;
constexpr Days kSilence{14};     ///< after which an unhappy customer counts as having let it rest
constexpr Days kReopenFor{180};  ///< after the answer

// ---- guards

std::string_view told(const TransitionFacts& f) {
    if (f.customer_told) return {};
    if (!f.customer_unhappy) return "customer_not_told";
    return f.silent_since && f.now.at - f.silent_since->at >= kSilence ? "" : "customer_unhappy";
}

std::string_view decision_told(const TransitionFacts& f) {
    return f.customer_told || f.customer_unhappy ? "" : "customer_not_told";
}

std::string_view may_reopen(const TransitionFacts& f) {
    const auto* answered = f.subject->value("answered_at").integer();
    if (answered && f.now.at - Instant::unpack(*answered).at > kReopenFor) return "too_late";
    return f.customer_unhappy || !f.reason.empty() ? "" : "reason_missing";
}

std::string_view new_note(const TransitionFacts& f) { return f.has_new_note ? "" : "note_missing"; }

/// A merged record is never merged into, so that merges form no circle.
std::string_view other_stands(const TransitionFacts& f) {
    if (!f.other || f.other->kind != f.subject->kind) return "other_unknown";
    if (f.other->id == f.subject->id) return "merged_with_itself";
    return f.other->value("state") == Value("merged") ? "other_is_merged" : "";
}

std::string_view same_customer(const TransitionFacts& f) {
    if (const auto code = other_stands(f); !code.empty()) return code;
    return f.other->value("customer_id") == f.subject->value("customer_id") ? "" : "other_customer";
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
        for (const std::string_view from : {"prospect", "active", "dormant", "lost"})
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
             .sets = {"owner", "due_at"}},
            {.from = "answered", .to = "closed", .who = Roles(sys) | rep, .guard = told},
        };
        for (const std::string_view from : {"assessed", "investigating", "action"})
            l.transitions.push_back({.from = from,
                                     .to = "answered",
                                     .who = qm,
                                     .needs = {"decision", "reply_text"},
                                     .sets = {"decision", "reply_text"}});
        for (const std::string_view from : {"answered", "closed"})
            l.transitions.push_back(
                {.from = from, .to = "investigating", .who = Roles(rep) | qm, .guard = may_reopen});
        for (const std::string_view from :
             {"submitted", "acknowledged", "assessed", "investigating"}) {
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
        for (const std::string_view from : {"submitted", "triaged"})
            l.transitions.push_back({.from = from,
                                     .to = "merged",
                                     .who = pm,
                                     .needs = {"duplicate_of"},
                                     .sets = {"duplicate_of"},
                                     .guard = same_customer});
        for (const std::string_view from : {"submitted", "needs_info", "triaged"})
            l.transitions.push_back({.from = from, .to = "withdrawn", .who = rep});
        return l;
    }();
    return lifecycle;
}

const Lifecycle& of_theme() {
    static const Lifecycle lifecycle = [] {
        Lifecycle l{"theme", "open", {}};
        const auto decide = [&l](std::string_view from, std::string_view to) -> Transition& {
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
        for (const std::string_view from : {"parked", "declined", "planned"})
            l.transitions.push_back({.from = from, .to = "under_review", .who = pm});
        for (const std::string_view from :
             {"open", "under_review", "planned", "in_progress", "parked"})
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

// ---- judging

bool holds(const std::vector<std::string_view>& names, std::string_view name) {
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

/// The code of a guard.
StateDecision turned_down(std::string_view code) {
    std::string english = sentence_of(code, {}, {}, Language::english);
    if (english.empty()) english = "The change of state is not possible now.";
    return {StateVerdict::refused, std::string(code), std::move(english), {}, nullptr};
}

}  // namespace

const Lifecycle* lifecycle_of(const Kind& kind) {
    for (const Lifecycle* l : {&of_customer(), &of_complaint(), &of_wish(), &of_theme()})
        if (l->kind == kind.name) return l;
    return nullptr;
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
    if (expected_version != version)
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
    for (const std::string_view name : t->needs)
        if (!brought(facts, *t, name) && facts.subject->shown(name).empty())
            return refuse("field_missing", {std::string(name)});
    for (const std::string_view name : t->brings)
        if (!brought(facts, *t, name))
            return refuse("field_missing", {"brought", std::string(name)});
    if (facts.fields)
        for (const auto& [name, text] : *facts.fields)
            if (!holds(t->sets, name)) return refuse("field_not_settable", {name});
    if (t->guard && !facts.only_asking)
        if (const std::string_view code = t->guard(facts); !code.empty()) return turned_down(code);
    return {StateVerdict::accepted, {}, {}, {}, &*t};
}

}  // namespace rapport
