// SPDX-License-Identifier: Apache-2.0
#include "model/lifecycle.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "rapport/kinds.hpp"

using namespace rapport;

namespace {

const Kind* const kMachines[] = {&kind_of<Customer>(),
                                 &kind_of<Complaint>(),
                                 &kind_of<ProductWish>(),
                                 &kind_of<Theme>(),
                                 &kind_of<MarketingQuestion>(),
                                 &kind_of<PriceRequest>(),
                                 &kind_of<CustomisationRequest>()};

/// A record, what stands around it, and one request.
struct Case {
    Record subject;
    std::map<std::string, std::string> fields;
    Record other;
    TransitionFacts facts;

    explicit Case(const Kind& kind, const char* state = nullptr) {
        subject.kind = other.kind = &kind;
        subject.id = *RecordId::parse("0195a0f0-0000-7000-8000-000000000001");
        other.id = *RecordId::parse("0195a0f0-0000-7000-8000-000000000002");
        if (kind.field("customer_id")) {
            subject.set("customer_id", std::string(16, 'c'));
            other.set("customer_id", std::string(16, 'c'));
        }
        if (state) subject.set("state", state);
        facts.now = *Instant::parse("2026-03-06T12:00:00+01:00");
    }
    StateDecision ask(const char* to, Role role, std::int64_t version = kFirstStateVersion) {
        facts.subject = &subject;
        facts.fields = &fields;
        return judge(*lifecycle_of(*subject.kind), facts, to, version, role);
    }
    std::string code(const char* to, Role role) { return ask(to, role).code; }
    bool accepted(const char* to, Role role) {
        return ask(to, role).verdict == StateVerdict::accepted;
    }
};

/// "from to role role" of every transition, one a line, sorted.
std::set<std::string> ways(const Kind& kind) {
    std::set<std::string> out;
    for (const std::string_view from : kind.field("state")->type.codes)
        for (const std::string_view to : kind.field("state")->type.codes) {
            std::string roles;
            for (int i = 0; i <= static_cast<int>(Role::feed); ++i) {
                Case c(kind, std::string(from).c_str());
                const auto role = static_cast<Role>(i);
                const StateDecision d = c.ask(std::string(to).c_str(), role);
                if (d.verdict != StateVerdict::already_there && d.code != "no_such_transition" &&
                    d.code != "not_your_role")
                    roles.append(" ").append(name_of(role));
            }
            if (!roles.empty()) out.insert(std::string(from) + " " + std::string(to) + roles);
        }
    return out;
}

std::set<std::string> lines(const char* text) {
    std::set<std::string> out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
        if (const auto start = line.find_first_not_of(' '); start != std::string::npos)
            out.insert(line.substr(start));
    return out;
}

}  // namespace

TEST_CASE("a complaint goes the ways of its lifecycle and no other") {
    CHECK(ways(kind_of<Complaint>()) == lines(R"(
        submitted acknowledged qm sys
        acknowledged assessed qm
        assessed investigating qm
        assessed answered qm
        investigating action qm
        investigating answered qm
        action answered qm
        answered closed rep sys
        answered investigating rep qm
        closed investigating rep qm
        submitted withdrawn rep qm
        acknowledged withdrawn rep qm
        assessed withdrawn rep qm
        investigating withdrawn rep qm
        submitted merged qm
        acknowledged merged qm
        assessed merged qm
        investigating merged qm
    )"));
}

TEST_CASE("a wish goes the ways of its lifecycle and no other") {
    CHECK(ways(kind_of<ProductWish>()) == lines(R"(
        submitted needs_info mkt pm
        needs_info submitted rep
        submitted triaged mkt pm
        submitted merged pm
        triaged merged pm
        triaged decided sys
        decided told sys
        told decided sys
        submitted withdrawn rep
        needs_info withdrawn rep
        triaged withdrawn rep
    )"));
}

TEST_CASE("only product management moves a theme") {
    CHECK(ways(kind_of<Theme>()) == lines(R"(
        open under_review pm
        under_review planned pm
        planned in_progress pm
        in_progress delivered pm
        under_review declined pm
        under_review parked pm
        parked under_review pm
        declined under_review pm
        planned under_review pm
        open merged pm
        under_review merged pm
        planned merged pm
        in_progress merged pm
        parked merged pm
    )"));
}

TEST_CASE("a customer becomes active, dormant, lost and is won back") {
    CHECK(ways(kind_of<Customer>()) == lines(R"(
        prospect active rep mgr sys
        prospect lost rep mgr
        active dormant rep mgr sys
        active lost rep mgr
        dormant active rep mgr sys
        dormant lost rep mgr
        lost active rep mgr sys
        prospect merged mgr mkt
        active merged mgr mkt
        dormant merged mgr mkt
        lost merged mgr mkt
    )"));
}

TEST_CASE("the machines name only fields and states that exist") {
    for (const Kind* kind : kMachines) {
        const Lifecycle& l = *lifecycle_of(*kind);
        const auto& codes = kind->field("state")->type.codes;
        const std::set<std::string_view> states(codes.begin(), codes.end());
        CHECK(codes.front() == l.initial);
        std::set<std::string_view> reached{l.initial};
        for (const Transition& t : l.transitions) {
            CHECK(states.count(t.from) == 1);
            CHECK(states.count(t.to) == 1);
            CHECK_FALSE(t.who.empty());
            reached.insert(t.to);
            for (const auto& name : t.needs) CHECK_MESSAGE(kind->field(name), name);
            for (const auto& name : t.sets) {
                REQUIRE_MESSAGE(kind->field(name), name);
                CHECK(kind->field(name)->policy == Policy::owned);
            }
            for (const auto& name : t.brings)
                CHECK(std::count(t.sets.begin(), t.sets.end(), name) == 1);
        }
        CHECK(reached == states);
    }
    CHECK(lifecycle_of(kind_of<Visit>()) == nullptr);
}

TEST_CASE(
    "a request for the present state is already there, even when stale or by the wrong role") {
    Case c(kind_of<Complaint>(), "acknowledged");
    c.subject.set("state_version", 7);
    CHECK(c.ask("acknowledged", Role::rep, 3).verdict == StateVerdict::already_there);
    CHECK(Case(kind_of<Theme>()).ask("open", Role::pm).verdict == StateVerdict::already_there);
}

TEST_CASE("of several reasons to refuse the first in the fixed order is given") {
    Case c(kind_of<Complaint>(), "investigating");
    c.subject.set("state_version", 4);
    CHECK(c.ask("closed", Role::pm, 3).code == "stale_version");
    CHECK(c.ask("closed", Role::pm, 4).code == "no_such_transition");
    CHECK(c.ask("merged", Role::rep, 4).code == "not_your_role");
    CHECK(c.ask("withdrawn", Role::rep, 4).code == "reason_missing");
    c.facts.reason = "Kunde zieht zurück";
    CHECK(c.ask("withdrawn", Role::rep, 4).verdict == StateVerdict::accepted);
    const StateDecision missing = c.ask("action", Role::qm, 4);
    CHECK(missing.code == "field_missing");
    CHECK(missing.sentence.find("cause_code") != std::string::npos);
    CHECK(missing.transition == nullptr);
    c.subject.set("cause_code", "mixed_goods");
    c.fields["cost"] = "5";
    CHECK(c.ask("action", Role::qm, 4).code == "field_not_settable");
    c.fields.clear();
    CHECK(c.ask("action", Role::qm, 4).code == "corrective_action_missing");
    c.facts.has_corrective_action = true;
    CHECK(c.ask("action", Role::qm, 4).transition->to == "action");
    CHECK(c.ask("nowhere", Role::qm, 4).code == "no_such_transition");
}

TEST_CASE("an answer needs decision and text, from the request or from before") {
    Case c(kind_of<Complaint>(), "assessed");
    c.fields["decision"] = "goodwill";
    CHECK(c.code("answered", Role::qm) == "field_missing");
    c.fields["reply_text"] = "";
    CHECK(c.code("answered", Role::qm) == "field_missing");
    c.subject.set("reply_text", "Wir ersetzen die Charge.");
    c.fields.erase("reply_text");
    CHECK(c.accepted("answered", Role::qm));
}

TEST_CASE("quality may bring the due date when it acknowledges, but never the number") {
    Case c(kind_of<Complaint>());
    CHECK(c.accepted("acknowledged", Role::sys));
    c.fields["due_at"] = "2026-03-20T12:00:00Z";
    CHECK(c.accepted("acknowledged", Role::qm));
    c.fields["number"] = "C-1";
    CHECK(c.code("acknowledged", Role::qm) == "field_not_settable");
}

TEST_CASE(
    "a complaint closes when the customer was told and is not unhappy, or silent for 14 days") {
    Case c(kind_of<Complaint>(), "answered");
    CHECK(c.code("closed", Role::rep) == "customer_not_told");
    c.facts.customer_unhappy = true;
    CHECK(c.code("closed", Role::rep) == "customer_unhappy");
    c.facts.silent_since = *Instant::parse("2026-02-20T12:00:00.001+01:00");
    CHECK(c.code("closed", Role::rep) == "customer_unhappy");
    c.facts.silent_since = *Instant::parse("2026-02-20T12:00:00+01:00");
    CHECK(c.accepted("closed", Role::sys));
    c.facts = TransitionFacts{};
    c.facts.customer_told = true;
    CHECK(c.accepted("closed", Role::rep));
}

TEST_CASE(
    "a complaint is reopened within 180 days of its answer, with a reason or an unhappy customer") {
    for (const char* from : {"answered", "closed"}) {
        Case c(kind_of<Complaint>(), from);
        c.subject.set("answered_at", Instant::parse("2025-09-07T12:00:00+01:00")->packed());
        CHECK(c.code("investigating", Role::rep) == "reason_missing");
        c.facts.reason = "wieder undicht";
        CHECK(c.accepted("investigating", Role::rep));
        c.facts.reason = {};
        c.facts.customer_unhappy = true;
        CHECK(c.accepted("investigating", Role::qm));
        c.subject.set("answered_at", Instant::parse("2025-09-07T11:59:59+01:00")->packed());
        CHECK(c.code("investigating", Role::qm) == "too_late");
    }
}

TEST_CASE("complaints and wishes merge only with another of the same customer that stands") {
    for (const Kind* kind : {&kind_of<Complaint>(), &kind_of<ProductWish>()}) {
        const Role who = kind->name == "complaint" ? Role::qm : Role::pm;
        Case c(*kind);
        CHECK(c.code("merged", who) == "field_missing");
        c.fields["duplicate_of"] = c.other.id.text();
        CHECK(c.code("merged", who) == "other_unknown");
        c.facts.other = &c.subject;
        CHECK(c.code("merged", who) == "merged_with_itself");
        c.facts.other = &c.other;
        CHECK(c.accepted("merged", who));
        c.other.set("customer_id", std::string(16, 'd'));
        CHECK(c.code("merged", who) == "other_customer");
        c.other.set("state", "merged");
        CHECK(c.code("merged", who) == "other_is_merged");
        c.other.kind = &kind_of<Theme>();
        CHECK(c.code("merged", who) == "other_unknown");
    }
}

TEST_CASE("a wish asks back with a new question each time and returns with a new note") {
    Case c(kind_of<ProductWish>());
    c.subject.set("question", "Welcher Durchmesser?");
    CHECK(c.code("needs_info", Role::pm) == "field_missing");
    c.fields["question"] = "Und welche Farbe?";
    CHECK(c.accepted("needs_info", Role::pm));
    c.fields.clear();
    c.subject.set("state", "needs_info");
    CHECK(c.code("submitted", Role::rep) == "note_missing");
    c.facts.has_new_note = true;
    CHECK(c.accepted("submitted", Role::rep));
}

TEST_CASE("a wish is triaged once it has a theme and told once its customer was") {
    Case c(kind_of<ProductWish>());
    CHECK(c.code("triaged", Role::pm) == "field_missing");
    c.subject.set("theme_ids", std::string(16, 't'));
    CHECK(c.accepted("triaged", Role::pm));
    c.subject.set("state", "decided");
    CHECK(c.code("told", Role::sys) == "customer_not_told");
    c.facts.customer_unhappy = true;  // told, and unhappy with it
    CHECK(c.accepted("told", Role::sys));
}

TEST_CASE("declining a theme takes a reason and a fresh text for the customers") {
    Case c(kind_of<Theme>(), "under_review");
    c.subject.set("decision_text_for_customer", "Wird geplant.");
    CHECK(c.code("declined", Role::pm) == "reason_missing");
    c.facts.reason = "too_costly";
    CHECK(c.code("declined", Role::pm) == "field_missing");
    c.fields["decision_text_for_customer"] = "Das bauen wir nicht.";
    CHECK(c.accepted("declined", Role::pm));
    CHECK(c.accepted("planned", Role::pm));
}

TEST_CASE("a question goes from draft to live to closed, by marketing") {
    CHECK(ways(kind_of<MarketingQuestion>()) == lines(R"(
        draft live mkt sys
        draft closed mkt sys
        live closed mkt sys
    )"));
}

TEST_CASE("a price request is judged by the server, then by the role that must agree") {
    CHECK(ways(kind_of<PriceRequest>()) == lines(R"(
        submitted within_limit sys
        submitted needs_approval sys
        submitted withdrawn rep
        within_limit withdrawn rep
        needs_approval approved mgr mkt qm pm price admin
        needs_approval rejected mgr mkt qm pm price admin
        needs_approval countered mgr mkt qm pm price admin
        needs_approval withdrawn rep
        approved expired rep mgr price sys
        approved withdrawn rep
        countered accepted rep
        countered expired rep mgr price sys
        countered withdrawn rep
    )"));
    Case c(kind_of<PriceRequest>(), "needs_approval");
    c.subject.set("approver", "price");
    CHECK(c.code("approved", Role::mgr) == "other_approver");
    CHECK(c.accepted("approved", Role::price));
    CHECK(c.code("rejected", Role::price) == "field_missing");
    CHECK(c.code("countered", Role::price) == "field_missing");
    c.fields["counter_bp"] = "1000";
    CHECK(c.accepted("countered", Role::price));
    c.fields.clear();
    c.subject.set("state", "countered");
    CHECK(c.code("expired", Role::rep) == "offer_holds");
    c.subject.set("offer_until", Instant::parse("2026-03-06T12:00:00.001+01:00")->packed());
    CHECK(c.code("expired", Role::rep) == "offer_holds");
    c.subject.set("offer_until", Instant::parse("2026-03-06T12:00:00+01:00")->packed());
    CHECK(c.accepted("expired", Role::rep));
}

namespace {

Record table_of(const char* initial, std::vector<StateRow> rows) {
    StateTable table;
    table.created_at = *Instant::parse("2026-03-06T12:00:00+01:00");
    table.kind = "complaint";
    table.version = 1;
    table.initial = initial;
    table.rows.elements = std::move(rows);
    return to_record(table, *RecordId::parse("0195a0f0-0000-7000-8000-000000000009"));
}

std::string codes_of(const Record& table) {
    std::vector<Refusal> refusals;
    check_state_table(table, refusals);
    std::string codes;
    for (const Refusal& r : refusals) codes += (codes.empty() ? "" : " ") + r.code;
    return codes;
}

}  // namespace

TEST_CASE("a state table says who may go where, under which condition and with what") {
    const Record table =
        table_of("submitted", {{"submitted", "in_lab", "qm, rep", "", "", "lot", "due_at", true},
                               {"in_lab", "done", "qm", "new_note", "ask_the_lab", "", "", {}}});
    CHECK(codes_of(table) == "");
    const Lifecycle l = lifecycle_from(table);
    CHECK(l.kind == "complaint");
    CHECK(l.initial == "submitted");
    Case c(kind_of<Complaint>());
    const auto ask = [&](const char* to, Role role) {
        c.facts.subject = &c.subject;
        c.facts.fields = &c.fields;
        return judge(l, c.facts, to, kFirstStateVersion, role);
    };
    CHECK(ask("acknowledged", Role::qm).code == "no_such_transition");
    CHECK(ask("in_lab", Role::pm).code == "not_your_role");
    CHECK(ask("in_lab", Role::rep).code == "reason_missing");
    c.facts.reason = "Probe liegt bei";
    CHECK(ask("in_lab", Role::rep).code == "field_missing");
    c.subject.set("lot", "4711");
    c.fields["owner"] = "Q1";
    CHECK(ask("in_lab", Role::qm).code == "field_not_settable");
    c.fields = {{"due_at", "2026-03-20T12:00:00Z"}};
    CHECK(ask("in_lab", Role::qm).verdict == StateVerdict::accepted);
    c.fields.clear();
    c.subject.set("state", "in_lab");
    CHECK(ask("done", Role::qm).code == "ask_the_lab");
    c.facts.has_new_note = true;
    CHECK(ask("done", Role::qm).verdict == StateVerdict::accepted);
}

TEST_CASE("a state table that names what nobody knows is refused") {
    CHECK(codes_of(table_of("submitted", {{"submitted", "x", "boss", "", "", "", "", {}}})) ==
          "unknown_role");
    CHECK(codes_of(table_of("submitted", {{"submitted", "x", "qm", "moon", "", "", "", {}}})) ==
          "unknown_guard");
    CHECK(codes_of(table_of("submitted", {{"submitted", "x", "qm", "", "", "colour", "", {}}})) ==
          "unknown_field");
    CHECK(codes_of(table_of("submitted", {{"submitted", "x", "qm", "", "", "", "lot", {}}})) ==
          "unknown_field");
    CHECK(codes_of(table_of("submitted", {{"submitted", "x", "qm", "", "", "", "state", {}}})) ==
          "unknown_field");
    CHECK(codes_of(table_of("begun", {{"submitted", "x", "qm", "", "", "", "", {}}})) ==
          "no_way_out");
    Record visit = table_of("submitted", {{"submitted", "x", "qm", "", "", "", "", {}}});
    visit.set("kind", "visit");
    CHECK(codes_of(visit) == "unknown_kind");
}

TEST_CASE("a device that only asks leaves the guards to the server") {
    Case c(kind_of<Complaint>(), "answered");
    c.facts.only_asking = true;
    CHECK(c.accepted("closed", Role::rep));
    CHECK(c.code("closed", Role::qm) == "not_your_role");
}
