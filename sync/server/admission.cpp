// SPDX-License-Identifier: Apache-2.0
#include "server/admission.hpp"

#include <algorithm>
#include <set>

#include "model/hash.hpp"
#include "model/home.hpp"
#include "model/planted.hpp"
#include "model/questions.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "server/erasure.hpp"
#include "server/recovery.hpp"
#include "server/scopes.hpp"
#include "server/states.hpp"

namespace rapport::server {
namespace {

constexpr int kHomeDepthMax = 8;  // record -> visit -> customer is 2

/// How a write makes a live value leave.
enum class Leaves {
    not_at_all,
    seen,    ///< it was on the writer's screen
    own,     ///< captured on the writer's own file, before it had a dot
    resent,  ///< it is this very write under a former dot, or what was coalesced into it
};

Leaves leaves(const Write& write, const LiveValue& l, bool keyed) {
    if (std::find(write.former.begin(), write.former.end(), l.dot) != write.former.end())
        return Leaves::resent;
    for (const KnownCapture& k : write.folded)
        if (k.id == l.capture && !l.capture.is_none()) return Leaves::resent;
    for (const OverwrittenCapture& o : write.over_own)
        if (o.capture == l.capture && (!keyed || o.key == l.key)) return Leaves::own;
    for (const Overwritten& o : write.over)
        if (o.dot == l.dot && (!keyed || o.key == l.key)) return Leaves::seen;
    return Leaves::not_at_all;
}

/// Does a write of a merged customer's field go to the customer it was merged into? What was
/// written once and what every record has stay with the record they are about.
bool goes_along(const Field& field) {
    return field.number >= common_field::first_own && field.policy != Policy::write_once;
}

bool writes(const Change& change, std::uint16_t field) {
    return std::any_of(change.writes.begin(), change.writes.end(),
                       [&](const Write& w) { return w.field == field; });
}

}  // namespace

std::int64_t captured_ms(const Bundle& bundle) {
    Stamp newest = 0;
    for (const Change& change : bundle.changes)
        for (const Write& write : change.writes)
            for (const Added& add : write.adds) newest = std::max(newest, add.stamp);
    return newest != 0 ? HybridClock::wall_ms(newest)
                       : Instant::unpack(bundle.captured_at).at.time_since_epoch().count();
}

std::string bundle_name(std::uint64_t writer, std::uint64_t counter) {
    return std::to_string(writer) + "." + std::to_string(counter);
}

Admission::Admission(Round& round, const Device& device, const Bundle& bundle, Authority authority,
                     std::set<RecordId> erased)
    : round_(round),
      device_(device),
      bundle_(bundle),
      authority_(authority),
      erased_(std::move(erased)),
      changes_(round, device.tenant, bundle_name(device.writer, bundle.counter), device.rep),
      captured_ms_(std::max(captured_ms(bundle), device.last_sync_ms)) {}

StoredVerdict Admission::judge() {
    if (!all_needed_applied()) return {Verdict::later, waits_};
    const auto step = [&](auto check) {
        if (!refusals_.empty()) return;
        for (const Change& change : bundle_.changes) check(change);
    };
    check_size();
    step([&](const Change& c) { take_in(c); });
    for (const Redirected& r : redirected_) redirect(*r.home, *r.field, r.lost, *r.write);
    step([&](const Change& c) { check_references(c); });
    if (refusals_.empty() && !waits_.empty())
        return {waited_too_long() ? Verdict::review : Verdict::later, waits_};
    if (refusals_.empty() && !reviews_.empty()) return {Verdict::review, reviews_};
    step([&](const Change& c) { check_home(c); });
    step([&](const Change& c) { check_whole(c); });
    if (!refusals_.empty()) return {Verdict::refused, refusals_};
    if (!reviews_.empty()) return {Verdict::review, reviews_};

    for (const Change& change : bundle_.changes) {
        StoredRecord& record = *changes_.find(change.id);
        if (!changes_.is_new(record)) continue;
        begin_life(round_, changes_, record);
        judge_new(round_, changes_, device_, record);
    }
    for (const Change& change : bundle_.changes)
        if (const Kind* kind = kind_numbered(change.kind); kind->name == "state_request")
            decide(round_, changes_, device_, *changes_.find(change.id));
    for (const Change& change : bundle_.changes)
        record_changed(round_, changes_, *changes_.find(change.id));
    std::set<RecordId> late;  // what had come about them was not known to be reached
    for (const Change& change : bundle_.changes)
        if (erased_.contains(change.id) && changes_.is_new(*changes_.find(change.id)))
            late.insert(change.id);
    changes_.save();
    if (!changes_.replaced_unseen().empty() &&
        bundle_.counter <= round_.offered_up_to(device_.writer))
        keep_replaced(round_, device_.writer, changes_);
    changes_.give_up();
    strip_kept(round_, device_.tenant, late);
    return {Verdict::applied, {}};
}

bool Admission::all_needed_applied() {
    for (const std::uint64_t needed : bundle_.needs) {
        const auto verdict = round_.tx.verdict(device_.writer, needed);
        if (verdict &&
            (verdict->verdict == Verdict::applied || RAPPORT_PLANTED("judge_before_what_it_needs")))
            continue;
        wait_for({}, {}, "waits_for");
        return false;
    }
    return true;
}

// Its former dots lead to when it was told so first: they stand in the order it was sent.
bool Admission::waited_too_long() {
    const auto unknown = [](const Refusal& reason) { return reason.code == "unknown_record"; };
    if (authority_ == Authority::office || std::none_of(waits_.begin(), waits_.end(), unknown))
        return false;
    for (const Change& change : bundle_.changes)
        for (const Write& write : change.writes)
            for (const Dot& former : write.former) {
                if (former.writer != device_.writer) continue;
                const auto sent = round_.tx.bundle(former.writer, former.counter);
                if (sent && sent->verdict.verdict == Verdict::later &&
                    std::any_of(sent->verdict.reasons.begin(), sent->verdict.reasons.end(),
                                unknown))
                    return round_.now_ms() - sent->received_at_ms >=
                           std::chrono::duration_cast<Milliseconds>(kReviewAfter).count();
            }
    return false;
}

bool Admission::may_reach(std::string_view scope) const {
    return authority_ == Authority::office || reaches(device_, scope);
}

void Admission::check_size() {
    if (bundle_.changes.size() > round_.limits.bundle_changes_max)
        refuse({}, {}, "too_many_records", {std::to_string(round_.limits.bundle_changes_max)});
    if (bundle_.changes.size() == 1) return;
    std::set<RecordId> seen;
    for (const Change& change : bundle_.changes)
        if (!seen.insert(change.id).second)
            refuse(change.id, {}, refusal_code::kMalformed, {"twice"});
}

// ---- one change: form and rights, then merged in memory

void Admission::take_in(const Change& change) {
    const Kind* kind = kind_numbered(change.kind);
    if (!kind) return wait_for(change.id, {}, refusal_code::kUnknownKind, {"server"});
    StoredRecord* record = open(*kind, change);
    if (!record) return;
    StoredRecord& home = kind->home == Home::territory ? changes_.standing(*record) : *record;
    if (erased_.contains(change.id))
        changes_.write(*record, "erased", Value(std::int64_t{1}), round_.tick());
    check_author(*kind, change);
    check_writer(*kind, nullptr, change.id, change.create, device_.role, refusals_);
    for (const Write& write : change.writes) {
        const Field* field = kind->field(write.field);
        if (!field) {
            wait_for(change.id, {}, refusal_code::kUnknownField, {"server"});
            continue;
        }
        static const FieldState none;
        const auto at = record->state.fields.find(field->number);
        const FieldState& before = at == record->state.fields.end() ? none : at->second;
        const std::size_t found = refusals_.size();
        std::optional<Write> named;
        if (const auto own = known_by_capture(*field, change.id, before, write); !own.empty()) {
            named = write;
            named->over_own.insert(named->over_own.end(), own.begin(), own.end());
        }
        check_write(*kind, *field, change, before, named ? *named : write);
        if (refusals_.size() != found) continue;
        if (&home != record && goes_along(*field))
            redirected_.push_back({&home, field, change.id, &write});
        else
            changes_.merge(*record, *field, named ? *named : write,
                           {device_.writer, bundle_.counter});
    }
}

/// What a write replaces of its own author may be here under another dot: a file that goes on under
/// another name sends again what had come, and learns of its first name with the record only.
std::vector<OverwrittenCapture> Admission::known_by_capture(const Field& field, const RecordId& id,
                                                            const FieldState& before,
                                                            const Write& write) {
    std::vector<OverwrittenCapture> own;
    for (const Overwritten& over : write.over) {
        const auto is_it = [&](const LiveValue& l) { return l.dot == over.dot; };
        if (before.live.empty() || std::any_of(before.live.begin(), before.live.end(), is_it) ||
            round_.name_of(over.dot.writer) != device_.rep)
            continue;
        const auto sent = round_.tx.bundle(over.dot.writer, over.dot.counter);
        if (!sent || sent->verdict.verdict != Verdict::applied) continue;
        for (const Change& change : decode_bundle(sent->bytes).changes)
            for (const Write& earlier : change.writes)
                for (const Added& add : earlier.adds)
                    if (change.id == id && earlier.field == field.number &&
                        !add.capture.is_none() && (!field.is_keyed() || add.key == over.key))
                        own.push_back({add.capture, add.key});
    }
    return own;
}

/// Its author has seen nothing of the other customer, so nothing there leaves; a value that differs
/// stands beside the other for a person to decide.
void Admission::redirect(StoredRecord& home, const Field& field, const RecordId& lost,
                         Write write) {
    write.over.clear();
    // A capture id is one for all that was saved together, so here it must say whose field it was.
    const auto name = [&](CaptureId& capture) {
        if (!capture.is_none()) capture.file = hash64(lost.raw(), capture.file) | 1;
    };
    for (Added& add : write.adds) name(add.capture);
    for (OverwrittenCapture& own : write.over_own) name(own.capture);
    for (KnownCapture& folded : write.folded) name(folded.id);
    // Two writes of one bundle that meet in a field need two dots, or the second would be taken for
    // a repetition of the first.
    const bool taken =
        home.state.fields[field.number].merged_up_to(device_.writer) >= bundle_.counter;
    changes_.not_as_sent(home);
    changes_.merge(
        home, field, write,
        taken ? Dot{kServerWriter, round_.tick()} : Dot{device_.writer, bundle_.counter});
}

StoredRecord* Admission::open(const Kind& kind, const Change& change) {
    StoredRecord* record = changes_.find(change.id);
    if (!record && !change.create) {
        wait_for(change.id, {}, "unknown_record");
        return nullptr;
    }
    if (!record) {
        constexpr std::size_t kByTheServer = 4;  // its state, version and number
        record = &changes_.create(kind, change.id);
        record->state.fields.reserve(change.writes.size() + kByTheServer);
        if (kind.home == Home::territory)
            record->state.scope = change.scope.empty() ? only_territory(device_) : change.scope;
        return record;
    }
    if (record->state.kind != change.kind) {
        refuse(change.id, {}, "wrong_kind");
        return nullptr;
    }
    if (!admit(*record, change.id, {})) return nullptr;
    std::vector<Refusal> before;
    check_record(show(record->state), before);
    stood_before_.emplace(change.id, std::move(before));
    if (!kind.open_state.empty()) stands_.emplace(change.id, show(record->state));
    changes_.touch(*record);
    return record;
}

void Admission::check_author(const Kind& kind, const Change& change) {
    if (authority_ == Authority::office) return;
    const Field* field = kind.field(common_field::created_by);
    const Value rep(device_.rep);
    bool named = false;
    for (const Write& write : change.writes)
        if (write.field == common_field::created_by)
            for (const Added& add : write.adds) {
                named = true;
                if (add.value == rep) continue;
                refuse(change.id, field->name, "not_author");
            }
    if (change.create && !named) refuse(change.id, field->name, "not_author", {"unnamed"});
}

void Admission::check_write(const Kind& kind, const Field& field, const Change& change,
                            const FieldState& before, const Write& write) {
    check_writer(kind, &field, change.id, change.create, device_.role, refusals_);
    if (const auto present = stands_.find(change.id); present != stands_.end())
        check_open(present->second, field, refusals_);
    const auto malformed = [&](const char* form) {
        refuse(change.id, field.name, refusal_code::kMalformed, {form});
    };
    if (!field.is_keyed() && write.adds.size() != 1) malformed("one_value");
    for (const OverwrittenCapture& o : write.over_own)
        if (o.capture.is_none()) malformed("nameless_capture");
    for (const Overwritten& o : write.over)
        if (o.dot.writer == kUnsentWriter ||
            (o.dot.writer == device_.writer && o.dot.counter >= bundle_.counter))
            malformed("unsent_write");
        else if (o.dot.writer != device_.writer &&
                 o.dot.counter > before.merged_up_to(o.dot.writer))
            // Naming it would make that writer's future writes count as already here.
            wait_for(change.id, field.name, "unknown_dot");
    for (const Dot& dot : write.former)
        if (dot.counter >= bundle_.counter && dot.writer == device_.writer)
            malformed("later_name");
        else if (dot.writer != device_.writer)
            malformed("other_device");

    for (const Added& add : write.adds) {
        if (!field.is_keyed() && !add.key.empty()) malformed("keyed");
        if (field.is_set() && add.value.is_null()) malformed("empty_element");
        if (field.policy != Policy::per_key && add.value.is_null()) continue;
        if (add.key.empty() && is_canonical(field, add.value)) continue;
        Content content{{add.key, add.value}};
        const std::size_t found = refusals_.size();
        check_content(field, change.id, content, round_.limits, refusals_);
        // The device shows its own bytes until the record comes down again, and they are never sent
        // back to it.
        if (refusals_.size() == found &&
            (content.size() != 1 || content[0].key != add.key || content[0].value != add.value))
            malformed("not_canonical");
    }
    check_overwriting(field, change.id, before, write);
}

void Admission::check_overwriting(const Field& field, const RecordId& id, const FieldState& before,
                                  const Write& write) {
    const Value incoming = write.adds.empty() ? Value() : write.adds.front().value;
    for (const LiveValue& l : before.live) {
        const Leaves how = leaves(write, l, field.is_keyed());
        if (how == Leaves::not_at_all || how == Leaves::resent) continue;
        switch (field.policy) {
            case Policy::write_once:
                if (how == Leaves::seen && !conflicted(field, before) && incoming != l.value)
                    return refuse(id, field.name, refusal_code::kWriteOnce, {"valued"});
                break;
            case Policy::highest:
                if (compare_in_order(field, l.value, incoming) > 0 &&
                    !field.marks.lowered_by.contains(device_.role))
                    return refuse(id, field.name, "not_lowerable",
                                  {std::string(name_of(device_.role))});
                break;
            case Policy::lowest:
                if (!l.value.is_null() &&
                    (incoming.is_null() || compare_in_order(field, incoming, l.value) > 0))
                    return refuse(id, field.name, "not_lowerable", {"lowest"});
                break;
            case Policy::absorbing:
                if (compare_in_order(field, l.value, incoming) > 0)
                    return refuse(id, field.name, "absorbing");
                break;
            default:
                break;
        }
    }
}

// ---- what it refers to

void Admission::check_references(const Change& change) {
    const Kind* kind = kind_numbered(change.kind);
    for (const Write& write : change.writes)
        if (const Field* field = kind ? kind->field(write.field) : nullptr)
            for (const Added& add : write.adds)
                check_reference(*field, field->type, change.id, add.value);
}

void Admission::check_reference(const Field& field, const TypeInfo& type, const RecordId& record,
                                const Value& value) {
    if (const Parts* parts = value.parts(); parts && type.shape == Shape::group)
        for (std::size_t i = 0; i < parts->size() && i < type.parts.size(); ++i)
            check_reference(field, type.parts[i].type, record, (*parts)[i]);
    if (type.shape != Shape::reference || !value.text()) return;
    const auto id = RecordId::from_bytes(*value.text());
    const StoredRecord* target = id ? changes_.look_at(*id) : nullptr;
    if (!target) {
        wait_for(record, field.name, refusal_code::kUnknownReference, {"awaited"});
        return;
    }
    const Kind* kind = kind_numbered(target->state.kind);
    if (!type.refers_to.empty() && (!kind || kind->name != type.refers_to))
        refuse(record, field.name, "wrong_kind", {"reference", std::string(type.refers_to)});
    if (!changes_.is_new(*target)) admit(*target, record, field.name, {"reference"});
}

// ---- what the device reaches, and what it reached when this was captured

std::optional<StoredDeparture> Admission::departure_of(const StoredRecord& record) {
    if (reaches(device_, record.state.scope)) return std::nullopt;
    for (StoredDeparture& departure : round_.tx.departures_of(device_.tenant, record.state.id))
        if (reaches(device_, departure.from)) return std::move(departure);
    return std::nullopt;
}

bool Admission::has_left(const StoredRecord& record, const std::string& scope) {
    const auto departures = round_.tx.departures_of(device_.tenant, record.state.id);
    return std::any_of(departures.begin(), departures.end(),
                       [&](const StoredDeparture& d) { return d.from == scope; });
}

std::optional<StoredDeparture> Admission::departure_above(const StoredRecord& record) {
    const StoredRecord* at = &record;
    for (int depth = 0; at && depth <= kHomeDepthMax; ++depth) {
        if (auto departure = departure_of(*at)) return departure;
        const std::string_view root = kind_numbered(at->state.kind)->root;
        at = root.empty() ? nullptr : changes_.look_at(shown_reference(*at, root));
    }
    return std::nullopt;
}

bool Admission::in_time(const StoredDeparture& departure) const {
    return captured_ms_ <= departure.at_ms;
}

std::optional<std::int64_t> Admission::lost_ms(std::string_view scope) {
    std::optional<std::int64_t> latest;
    for (const LostScope& lost : round_.tx.lost_scopes(device_.writer))
        if (covers(lost.scope, scope)) latest = std::max(latest.value_or(0), lost.at_ms);
    return latest;
}

bool Admission::admit(const StoredRecord& target, const RecordId& record, std::string_view field,
                      std::vector<std::string> parameters) {
    if (may_reach(target.state.scope)) return true;
    const auto departure = departure_of(target);
    if (departure && in_time(*departure)) return true;
    const auto lost = lost_ms(target.state.scope);
    if (lost && captured_ms_ <= *lost) return true;
    note(departure || lost ? reviews_ : refusals_, record, field, "not_in_scope",
         std::move(parameters));
    return false;
}

// ---- where it lives

void Admission::settle_home(StoredRecord& record, int depth) {
    const Kind& kind = *kind_numbered(record.state.kind);
    if (kind.home == Home::territory) return;
    if (kind.home != Home::customer && kind.home != Home::subject)
        if (std::string scope = own_scope(show(record.state), device_.rep); !scope.empty()) {
            record.state.scope = std::move(scope);
            return;
        }
    if (kind.root.empty()) return;
    const RecordId id = shown_reference(record, kind.root);
    const StoredRecord* parent = changes_.look_at(id);
    if (!parent || depth > kHomeDepthMax) return;
    if (parent->state.scope.empty()) settle_home(*changes_.find(id), depth + 1);
    changes_.hang(record, *changes_.look_at(id));
}

/// A new record whose customer has left: it lives there, and its author is told where it went.
void Admission::settle_departed(StoredRecord& record) {
    const auto departure = departure_above(record);
    const auto lost = lost_ms(record.state.scope);
    const bool office = authority_ == Authority::office;
    const bool lost_since = lost && captured_ms_ <= *lost;
    if (departure && (office || lost_since || in_time(*departure)))
        return changes_.depart(record, departure->from);
    if (office || lost_since) return;
    note(departure || lost ? reviews_ : refusals_, record.state.id, {}, "not_in_scope", {"home"});
}

/// A file that goes on under another name made it before it heard that it is here, and has left; or
/// never came to where this device made it, because its customer had left before.
void Admission::tell_again(StoredRecord& record) {
    if (reaches(device_, record.state.scope)) return;
    if (const auto departure = departure_above(record)) changes_.depart(record, departure->from);
}

void Admission::check_home(const Change& change) {
    StoredRecord& record = *changes_.find(change.id);
    const Kind& kind = *kind_numbered(change.kind);
    if (change.create && !changes_.is_new(record)) tell_again(record);
    const std::string before = record.state.scope;
    const Field* root = kind.field(kind.root);
    if (changes_.is_new(record)) {
        settle_home(record);
    } else if (kind.home == Home::territory) {
        if (!change.scope.empty() && change.scope != before &&
            !(change.create && has_left(record, change.scope)))
            refuse(change.id, "scope", "scope_mismatch");
        return;
    } else if (root && kind.home != Home::person && writes(change, root->number)) {
        settle_home(record);
        if (record.state.scope != before)
            refuse(change.id, root->name, "scope_mismatch", {"moves"});
        return;
    }
    const std::string& scope = record.state.scope;
    if (scope.empty() && root && kind.home != Home::person)
        refuse(change.id, root->name, refusal_code::kRequired);
    else if (scope.empty())
        refuse(change.id, "scope", refusal_code::kRequired, {"territory"});
    else if (kind.home == Home::territory &&
             (scope.rfind(kTerritoryScopes, 0) != 0 || !canonical_text(Format::scope, scope)))
        refuse(change.id, "scope", refusal_code::kMalformed, {"home"});
    else if (changes_.is_new(record) && !may_write_into(device_, scope))
        settle_departed(record);
}

// ---- the record as it would stand

void Admission::check_whole(const Change& change) {
    const StoredRecord& record = *changes_.find(change.id);
    const Record shown_record = show(record.state);
    std::vector<Refusal> findings;
    check_record(shown_record, findings);
    const std::vector<Refusal>& before = stood_before_[change.id];
    for (Refusal& finding : findings)
        if (std::find(before.begin(), before.end(), finding) == before.end())
            refusals_.push_back(std::move(finding));
    for (const Write& write : change.writes) {
        const Field* field = shown_record.kind->field(write.field);
        const auto at = shown_record.fields.find(write.field);
        if (field->is_keyed() && !write.adds.empty() && at != shown_record.fields.end() &&
            at->second.size() > round_.limits.set_elements_max)
            refuse(change.id, field->name, refusal_code::kTooMany,
                   {std::to_string(round_.limits.set_elements_max)});
    }
    check_contacts(record, change);
    if (shown_record.kind->name == "answer") check_question(shown_record);
    if (writes(change, common_field::external_ids)) check_external_ids(record);
}

void Admission::check_contacts(const StoredRecord& record, const Change& change) {
    const Kind& kind = *kind_numbered(change.kind);
    for (const Write& write : change.writes) {
        const Field* field = kind.field(write.field);
        if (field->type.refers_to != "contact") continue;
        for (const Added& add : write.adds) {
            const auto id =
                add.value.text() ? RecordId::from_bytes(*add.value.text()) : std::nullopt;
            const StoredRecord* contact = id ? changes_.look_at(*id) : nullptr;
            if (contact && customer_of(*contact) != customer_of(record))
                refuse(change.id, field->name, "other_customer", {"contact"});
        }
    }
}

/// A record may hang on a customer that was merged, until it has followed.
RecordId Admission::customer_of(const StoredRecord& record) {
    const StoredRecord* root = record.root.is_nil() ? nullptr : changes_.look_at(record.root);
    return root ? changes_.standing(*root).state.id : record.root;
}

void Admission::check_question(const Record& answer) {
    const auto named = [&](const char* field) -> const StoredRecord* {
        const std::string* raw = answer.value(field).text();
        const auto id = raw ? RecordId::from_bytes(*raw) : std::nullopt;
        return id ? changes_.look_at(*id) : nullptr;
    };
    if (const StoredRecord* question = named("question_id"))
        check_answer(answer, show(question->state), refusals_);
    if (const StoredRecord* replaced = named("replaces");
        replaced && shown_value(*replaced, "question_id") != answer.value("question_id"))
        refuse(answer.id, "replaces", "other_question");
}

void Admission::check_external_ids(const StoredRecord& record) {
    for (const ExternalName& name : external_names(shown(record, "external_ids")))
        if (changes_.other_holder(*kind_numbered(record.state.kind), record.state.id, name))
            refuse(record.state.id, "external_ids", "duplicate_external_id");
}

// ---- reasons

void Admission::note(std::vector<Refusal>& among, const RecordId& record, std::string_view field,
                     RefusalCode code, std::vector<std::string> parameters) {
    Refusal reason = refusal(record, field, code, std::move(parameters));
    if (std::find(among.begin(), among.end(), reason) == among.end())
        among.push_back(std::move(reason));
}

void Admission::refuse(const RecordId& record, std::string_view field, RefusalCode code,
                       std::vector<std::string> parameters) {
    note(refusals_, record, field, code, std::move(parameters));
}

void Admission::wait_for(const RecordId& record, std::string_view field, RefusalCode code,
                         std::vector<std::string> parameters) {
    note(waits_, record, field, code, std::move(parameters));
}

}  // namespace rapport::server
