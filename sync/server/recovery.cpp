// SPDX-License-Identifier: Apache-2.0
#include "server/recovery.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "model/hash.hpp"
#include "model/home.hpp"
#include "model/validation.hpp"
#include "server/admission.hpp"
#include "server/changeset.hpp"
#include "server/erasure.hpp"
#include "server/loops.hpp"
#include "server/moves.hpp"
#include "server/projection.hpp"
#include "server/scopes.hpp"
#include "server/states.hpp"

namespace rapport::server {
namespace {

constexpr std::int64_t kAheadMsMax = 5 * 60'000;  // of the server's clock, for its own dots

/// A state request whose author had heard that it arrived, and not yet what it led to.
void decide_if_open(Round& round, Changeset& changes, const Device& device, const RecordId& id) {
    StoredRecord& record = *changes.find(id);
    if (kind_numbered(record.state.kind)->name == "state_request" &&
        shown_text(record, "verdict").empty() &&
        changes.find(shown_reference(record, "subject_id")))
        decide(round, changes, device, record);
}

/// `C-2026-00007` -> `C-2026`, 7.
std::optional<std::pair<std::string, std::uint64_t>> numbered(const std::string& text) {
    const std::size_t dash = text.rfind('-');
    if (dash == std::string::npos) return std::nullopt;
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, fault] = std::from_chars(text.data() + dash + 1, end, number);
    if (fault != std::errc() || stop != end) return std::nullopt;
    return std::pair(text.substr(0, dash), number);
}

/// Has the record a live value under this dot that the change does not write?
bool has_other_words(const StoredRecord& record, const Change& change, const Dot& dot) {
    for (const Write& write : change.writes) {
        const auto at = record.state.fields.find(write.field);
        if (at == record.state.fields.end()) continue;
        for (const LiveValue& l : at->second.live) {
            const auto is_it = [&](const Added& add) {
                return add.key == l.key && add.value == l.value;
            };
            if (l.dot == dot && std::none_of(write.adds.begin(), write.adds.end(), is_it))
                return true;
        }
    }
    return false;
}

class Joining {
public:
    Joining(Round& round, const Device& device)
        : round_(round),
          device_(device),
          changes_(round, device.tenant, bundle_name(kServerWriter, round.tick()), kServerName) {}

    Changeset& changes() { return changes_; }

    void keep_back(const RecordState& offered, const char* code) { note(offered, {}, code, true); }

    /// Why the record cannot be joined; null: it can.
    const char* obstacle(const RecordState& offered) {
        const Kind* kind = kind_numbered(offered.kind);
        if (!kind || offered.scope.empty()) return recovery_code::kMalformed;
        const StoredRecord* stored = changes_.find(offered.id);
        if (stored && stored->state.kind != offered.kind) return recovery_code::kMalformed;
        if (!may_see(device_, *kind) || !within_reach(offered, stored))
            return recovery_code::kOutOfScope;
        for (const auto& [number, state] : offered.fields) {
            const Field* field = kind->field(number);
            if (!field) return recovery_code::kMalformed;
            for (const LiveValue& l : state.live)
                if (!takes(offered, *field, l)) return recovery_code::kMalformed;
            for (const Dot& dot : state.counters)
                if (from_the_future(dot)) return recovery_code::kMalformed;
            if (number == common_field::external_ids && held_by_another(offered, *kind, state))
                return recovery_code::kDuplicateId;
        }
        return nullptr;
    }

    void join(const RecordState& offered) {
        const Kind& kind = *kind_numbered(offered.kind);
        StoredRecord* record = changes_.find(offered.id);
        if (!record) {
            record = &changes_.create(kind, offered.id);
            record->state.scope = offered.scope;
            record->state.move = offered.move;
        }
        adopt_scope(*record, offered);
        const RecordState before = record->state;
        const auto shown_before = project(round_, device_, before);
        for (const auto& [number, witnessed] : offered.fields) {
            const Field& field = *kind.field(number);
            if (!field.visible_to(device_.role)) continue;
            for (const Dot& dot : witnessed.counters) note_offered(dot.writer, dot.counter);
            note_left_values(offered, field, before, witnessed);
            const auto hidden = [&](const LiveValue& l) {
                const auto at = shown_before->fields.find(field.number);
                return at == shown_before->fields.end() ||
                       std::none_of(
                           at->second.live.begin(), at->second.live.end(),
                           [&](const LiveValue& s) { return s.dot == l.dot && s.key == l.key; });
            };
            if (!changes_.join(*record, field, witnessed, hidden)) continue;
            if (field.policy == Policy::owned)
                note(offered, field.name, recovery_code::kServerField, false);
            for (const Dot& dot : witnessed.counters)
                if (dot.writer == kServerWriter) round_.clock.observe(dot.counter);
        }
        if (const auto number = numbered(shown_text(*record, "number")))
            round_.tx.raise_number(device_.tenant, number->first, number->second);
        if (changes_.is_new(*record)) {
            if (shown(*record, "state").empty()) begin_life(round_, changes_, *record);
            fresh_.push_back(offered.id);
        }
        joined_.push_back(offered.id);
    }

    /// What was offered stands beside what the server has: nobody knows which file's dots are
    /// which.
    void join_beside(const RecordState& offered) {
        const Kind& kind = *kind_numbered(offered.kind);
        StoredRecord* record = changes_.find(offered.id);
        if (!record) return join(offered);
        for (const auto& [number, witnessed] : offered.fields) {
            const Field& field = *kind.field(number);
            if (field.policy == Policy::owned || !field.visible_to(device_.role)) continue;
            Write write;
            write.field = number;
            const auto& live = record->state.fields[number].live;
            for (const LiveValue& l : witnessed.live)
                if (std::none_of(live.begin(), live.end(), [&](const LiveValue& present) {
                        return present.key == l.key && present.value == l.value;
                    }))
                    write.adds.push_back({l.key, l.value, l.stamp, {}});
            if (!field.is_keyed() && write.adds.size() > 1) {
                for (const Added& add : std::exchange(write.adds, {})) {
                    write.adds = {add};
                    changes_.merge(*record, field, write, {kServerWriter, round_.tick()});
                }
            } else if (!write.adds.empty()) {
                changes_.merge(*record, field, write, {kServerWriter, round_.tick()});
            }
        }
    }

    void note_offered(std::uint64_t writer, std::uint64_t counter) {
        if (writer == kServerWriter) return;
        std::uint64_t& highest = offered_[writer];
        highest = std::max(highest, counter);
    }

    void save() {
        for (const auto& [writer, counter] : offered_)
            if (const auto device = round_.tx.device(writer);
                device && counter > std::max(device->receipt, round_.offered_up_to(writer)))
                round_.save_offered_up_to(writer, counter);
        for (const RecordId& id : fresh_) hang(round_, changes_, *changes_.find(id));
        for (const RecordId& id : fresh_)
            if (const StoredRecord& record = *changes_.find(id); unrooted(record))
                note(record.state, {}, recovery_code::kUnrooted, false);
        judge_again();
        for (const RecordId& id : joined_) {
            StoredRecord& record = *changes_.find(id);
            set_deadline(round_, changes_, record);
            await_delivery(round_, device_.tenant, record);
        }
        changes_.save();
        keep_replaced(round_, device_.writer, changes_);
        carry_out_late(round_, device_.tenant, joined_);
    }

    /// What it asks for may not be here yet; it is decided when that comes.
    void judge_again() {
        for (const RecordId& id : fresh_) decide_if_open(round_, changes_, device_, id);
    }

    /// Hangs a record on its customer, where that is here.
    static void hang(Round& round, Changeset& changes, StoredRecord& record) {
        const Kind& kind = *kind_numbered(record.state.kind);
        if (kind.home == Home::territory) {
            StoredRecord& home = changes.standing(record);
            if (&home != &record) record.root = home.state.id;
            return;
        }
        RecordId above = shown_reference(record, kind.root);
        for (int depth = 0; depth < kHomeDepthMax && !above.is_nil(); ++depth) {
            StoredRecord* parent = changes.find(above);
            if (!parent) return;
            const Kind& parent_kind = *kind_numbered(parent->state.kind);
            record.root = parent_kind.home == Home::territory ? changes.standing(*parent).state.id
                                                              : parent->root;
            if (!record.root.is_nil()) {
                // It went with its customer, or has to follow it.
                const StoredRecord* home = changes.find(record.root);
                if (home && record.state.scope != home->state.scope &&
                    record.state.scope.rfind(kTerritoryScopes, 0) == 0)
                    let_follow(round, changes.tenant(), record.root);
                return;
            }
            above = shown_reference(*parent, parent_kind.root);
        }
    }

    static bool unrooted(const StoredRecord& record) {
        const Kind& kind = *kind_numbered(record.state.kind);
        return kind.home != Home::territory && record.root.is_nil() && !kind.root.empty() &&
               record.state.scope.rfind(kTerritoryScopes, 0) == 0;
    }

private:
    static constexpr int kHomeDepthMax = 8;

    void note(const RecordState& offered, const std::string& field, const char* code,
              bool kept_back) {
        round_.tx.save(RecoveryNote{0, device_.tenant, round_.now_ms(), device_.writer,
                                    offered.kind, offered.id, field, code,
                                    kept_back ? encode_record(offered) : std::string()});
    }

    /// Where the record lives; a departed one that the device kept it may still offer.
    bool within_reach(const RecordState& offered, const StoredRecord* stored) {
        if (!stored || offered.move > stored->state.move) return reaches(device_, offered.scope);
        if (reaches(device_, stored->state.scope)) return true;
        const auto departures = round_.tx.departures_of(device_.tenant, offered.id);
        return std::any_of(departures.begin(), departures.end(),
                           [&](const StoredDeparture& d) { return reaches(device_, d.from); });
    }

    bool from_the_future(Dot dot) const {
        return dot.writer == kServerWriter &&
               HybridClock::wall_ms(dot.counter) > round_.now_ms() + kAheadMsMax;
    }

    bool takes(const RecordState& offered, const Field& field, const LiveValue& l) const {
        if (l.elided || l.dot.writer == 0 || l.dot.writer == kUnsentWriter ||
            from_the_future(l.dot))
            return false;
        if (l.value.is_null()) return true;
        std::vector<Refusal> found;
        Content content{{l.key, l.value}};
        check_content(field, offered.id, content, round_.limits, found);
        return found.empty();
    }

    bool held_by_another(const RecordState& offered, const Kind& kind, const FieldState& state) {
        Content content;
        for (const LiveValue& l : state.live) content.push_back({l.key, l.value});
        for (const ExternalName& name : external_names(content))
            if (changes_.other_holder(kind, offered.id, name)) return true;
        return false;
    }

    /// The hand-over that was lost happened: who reads the scope it left is told again.
    void adopt_scope(StoredRecord& record, const RecordState& offered) {
        if (offered.move <= record.state.move) return;
        const std::string from = record.state.scope;
        if (offered.scope == from) {
            record.state.move = offered.move;
            return changes_.touch(record);
        }
        record.state.scope = offered.scope;
        record.state.move = offered.move - 1;
        changes_.depart(record, from);
        if (kind_numbered(record.state.kind)->home == Home::territory)
            let_follow(round_, device_.tenant, record.state.id);
    }

    /// The server counts by its clock, so what it wrote since it was restored hides what it had
    /// written before.
    void note_left_values(const RecordState& offered, const Field& field, const RecordState& before,
                          const FieldState& witnessed) {
        const auto at = before.fields.find(field.number);
        if (at == before.fields.end()) return;
        const FieldState& present = at->second;
        for (const LiveValue& l : witnessed.live) {
            if (l.dot.writer != kServerWriter ||
                present.merged_up_to(kServerWriter) < l.dot.counter)
                continue;
            if (std::none_of(present.live.begin(), present.live.end(), [&](const LiveValue& p) {
                    return p.key == l.key && p.value == l.value;
                }))
                return note(offered, field.name, recovery_code::kServerValue, false);
        }
    }

    Round& round_;
    const Device& device_;
    Changeset changes_;
    std::vector<RecordId> fresh_, joined_;
    std::map<std::uint64_t, std::uint64_t> offered_;  ///< by writer the highest counter
};

}  // namespace

void keep_replaced(Round& round, std::uint64_t bringer, Changeset& changes) {
    for (const auto& [id, field, value] : changes.replaced_unseen()) {
        const RecordState& state = changes.find(id)->state;
        const auto& live = state.fields.at(field->number).live;
        if (std::any_of(live.begin(), live.end(), [&](const LiveValue& l) {
                return l.key == value.key && l.value == value.value;
            }))
            continue;
        RecordState kept{state.kind, id, state.scope, state.move, {}};
        kept.fields[field->number].live.push_back(value);
        const std::uint64_t writer = value.dot.writer;
        round.tx.save(RecoveryNote{0, changes.tenant(), round.now_ms(),
                                   round.tx.device(writer) ? writer : bringer, state.kind, id,
                                   field->name, recovery_code::kReplaced, encode_record(kept)});
    }
}

bool written_by_two(Round& round, const Device& device, const protocol::Request& request) {
    return std::any_of(request.sent.begin(), request.sent.end(), [&](const protocol::Sent& sent) {
        const auto hash = round.tx.sent_hash(device.writer, sent.counter);
        return hash && *hash != sent.hash;
    });
}

bool differs_from_offered(Round& round, const Device& device, const protocol::Request& request) {
    if (request.bundles.empty() || round.offered_up_to(device.writer) <= device.receipt)
        return false;
    for (const std::string& bytes : request.bundles) {
        const Bundle bundle = decode_bundle(bytes);
        if (bundle.counter <= device.receipt) continue;
        if (const auto hash = round.tx.sent_hash(device.writer, bundle.counter)) {
            if (*hash != hash64(bytes)) return true;
            continue;
        }
        for (const Change& change : bundle.changes)
            if (const auto record = round.tx.record(device.tenant, change.id);
                record && has_other_words(*record, change, {device.writer, bundle.counter}))
                return true;
    }
    return false;
}

void take_offers(Round& round, const Device& device, const protocol::Request& request,
                 protocol::Reply& reply) {
    for (const protocol::Author& author : request.authors)
        if (author.writer != kServerWriter && !round.tx.device(author.writer))
            round.tx.save_author(author.writer, author.name);
    const bool two_files = written_by_two(round, device, request);
    {
        Joining joining(round, device);
        for (const protocol::Sent& sent : request.sent) {
            if (two_files || sent.counter <= device.receipt) continue;
            round.tx.keep_sent_hash(device.writer, sent.counter, sent.hash);
            joining.note_offered(device.writer, sent.counter);
        }
        for (const std::string& bytes : request.witnessed) {
            RecordState offered = decode_record(bytes);
            const bool erased =
                round.erasures && strip(round.tx, *round.erasures, device.tenant, offered);
            const char* obstacle = two_files ? recovery_code::kTwoFiles : joining.obstacle(offered);
            if (obstacle)
                joining.keep_back(offered, obstacle);
            else
                joining.join(offered);
            if (erased && !obstacle)
                joining.changes().write(*joining.changes().find(offered.id), "erased",
                                        Value(std::int64_t{1}), round.tick());
        }
        joining.save();
    }
    std::set<std::uint64_t> writers;
    for (const RecordId& id : request.touched) {
        const auto stored = round.tx.record(device.tenant, id);
        const auto visible = stored && reaches(device, stored->state.scope)
                                 ? project(round, device, stored->state)
                                 : std::nullopt;
        if (!visible) {
            reply.not_yours.push_back(id);
            continue;
        }
        for (const auto& [number, field] : visible->fields)
            for (const LiveValue& l : field.live) writers.insert(l.dot.writer);
        reply.records.push_back(encode_record(*visible));
    }
    for (const std::uint64_t writer : writers)
        reply.authors.push_back({writer, round.name_of(writer)});
    settle_unrooted(round, device.tenant);
}

void settle_unrooted(Round& round, const std::string& tenant) {
    Changeset changes(round, tenant, bundle_name(kServerWriter, round.tick()), kServerName);
    std::vector<RecordId> rooted;
    for (const RecoveryNote& note : round.tx.recovery_notes(tenant)) {
        if (note.code != recovery_code::kUnrooted) continue;
        StoredRecord* record = changes.find(note.record);
        if (!record) continue;
        Joining::hang(round, changes, *record);
        if (Joining::unrooted(*record)) continue;
        round.tx.save_root(tenant, note.record, record->root);
        round.tx.remove(note);
        rooted.push_back(note.record);
        if (const auto device = round.tx.device(note.writer))
            decide_if_open(round, changes, *device, note.record);
    }
    changes.save();
    carry_out_late(round, tenant, rooted);
}

bool take_kept_back(Round& round, const RecoveryNote& note) {
    auto device = round.tx.device(note.writer);
    if (!device || note.offered.empty()) return false;
    RecordState offered = decode_record(note.offered);
    if (round.erasures) strip(round.tx, *round.erasures, note.tenant, offered);
    // The office answers for where it may live.
    device->scopes.push_back(offered.scope);
    Joining joining(round, *device);
    if (joining.obstacle(offered)) return false;
    if (note.code == recovery_code::kTwoFiles || note.code == recovery_code::kReplaced)
        joining.join_beside(offered);
    else
        joining.join(offered);
    joining.save();
    carry_out_late(round, note.tenant, {offered.id});
    settle_unrooted(round, note.tenant);
    round.tx.remove(note);
    return true;
}

}  // namespace rapport::server
