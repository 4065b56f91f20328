// SPDX-License-Identifier: Apache-2.0
// What must hold after every event and at the end.
#include <algorithm>
#include <charconv>
#include <functional>

#include "model/hash.hpp"
#include "server/recovery.hpp"
#include "sim/simulation.hpp"
#include "sim/violation.hpp"
#include "sqlite/database.hpp"
#include "store/core.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"
#include "store/schema.hpp"

namespace rapport::sim {
namespace {

constexpr std::int64_t kAheadMsMax = 5 * 60 * 1000 + 1000;

std::string name_of_record(const RecordState& state) {
    const Kind* kind = kind_numbered(state.kind);
    return (kind ? kind->name : "record") + " " + state.id.text();
}

}  // namespace

bool in_reach(const server::Device& device, const std::string& scope) {
    if (scope == "global" || scope == "rep/" + device.rep) return true;
    if (scope == "policy/" + std::string(name_of(device.role))) return true;
    return std::any_of(device.scopes.begin(), device.scopes.end(), [&](const std::string& granted) {
        return granted.back() == '*' ? scope.rfind(granted.substr(0, granted.size() - 1), 0) == 0
                                     : scope == granted;
    });
}

void add_unknown_field(RecordState& state) {
    const std::uint64_t what = hash64(state.id.raw());
    FieldState& field = state.fields[kUnknownField];
    field = {};
    field.live.push_back({{kServerWriter, 1 + what % 1000},
                          Stamp{1} << 20,
                          "",
                          Value("neu " + std::to_string(what)),
                          {},
                          false});
    field.counters = {{kServerWriter, 1 + what % 1000}};
}

/// Looking changes nothing, and a fault that strikes a look is gone with it.
void Simulation::look_at_centre(const std::function<void(server::Transaction&)>& work) {
    const std::uint64_t version = centre_version_;
    for (bool seen = false; !seen;) {
        seen = at_centre([&] { work(*servers_[0].storage->begin_read()); });
        if (!seen) server_disk_->heal();
    }
    centre_version_ = version;
}

/// The centre's own verdict on each bundle, once it has one.
void Simulation::note_arrivals(std::uint64_t writer, const std::vector<std::string>& bundles) {
    if (bundles.empty()) return;
    std::vector<std::pair<Bundle, std::optional<server::StoredVerdict>>> judged;
    std::optional<server::Device> device;
    look_at_centre([&](server::Transaction& tx) {
        device = tx.device(writer);
        judged.clear();
        for (const std::string& bytes : bundles) {
            Bundle bundle = decode_bundle(bytes);
            const auto stored = tx.verdict(writer, bundle.counter);
            std::optional<server::StoredVerdict> verdict;
            if (stored &&
                (tx.sent_hash(writer, bundle.counter) == hash64(bytes) || !erased_.empty()))
                verdict = stored;
            else
                expect(!stored || copies_ > 0, "a counter is used once",
                       "the centre holds another bundle under this counter");
            judged.emplace_back(std::move(bundle), std::move(verdict));
        }
    });
    if (!device) return;
    std::set<RecordId> touched;
    for (std::size_t i = 0; i < judged.size(); ++i) {
        const auto& [bundle, verdict] = judged[i];
        if (!verdict) continue;
        const std::pair<Verdict, std::uint64_t> now{verdict->verdict, hash64(bundles[i])};
        const auto [kept, first] = judged_.emplace(std::make_pair(writer, bundle.counter), now);
        expect(
            first || kept->second == now || (!erased_.empty() && kept->second.first == now.first),
            "a repeat gets the same verdict",
            "a counter has another verdict or other bytes than before");
        expect(bundle.counter <= device->receipt, "the receipt counts what was judged",
               "a bundle has a verdict and the receipt of its device ends before it");
        if (!first) continue;
        if (verdict->verdict == Verdict::refused) strike("bundle refused");
        if (verdict->verdict == Verdict::later) strike("bundle told later");
        if (verdict->verdict == Verdict::review) strike("bundle in review");
        if (verdict->verdict == Verdict::applied) {
            oracle_.arrived(bundle, {writer, bundle.counter});
            note_overtaken(writer);
        }
        for (const Change& change : bundle.changes) touched.insert(change.id);
    }
    if (touched.empty()) return;
    const std::int64_t tenant = std::stoll(device->tenant.substr(1));
    look_at_centre([&](server::Transaction& tx) {
        for (const RecordId& id : touched) judge_record(tx, tenant, id);
    });
}

bool Simulation::keeps_back(server::Transaction& tx, const std::string& tenant,
                            const RecordId& id) {
    const auto notes = tx.recovery_notes(tenant);
    return std::any_of(notes.begin(), notes.end(), [&](const server::RecoveryNote& note) {
        return note.record == id && !note.offered.empty();
    });
}

/// The same value that one user put into the same place twice, where a restored centre has
/// forgotten one of the names it came under. It is one from then on.
void Simulation::note_taken_for_one(server::Transaction& tx, const server::StoredRecord& stored,
                                    const Site& site, std::set<int>& expected,
                                    const std::set<int>& live) {
    const auto user_of = [&](std::uint64_t writer) {
        const auto device = tx.device(writer);
        return device ? device->rep : tx.author(writer).value_or("");
    };
    const auto at = stored.state.fields.find(site.field);
    if (at == stored.state.fields.end()) return;
    std::erase_if(expected, [&](int number) {
        const Capture& capture = oracle_.at(number);
        if (live.contains(number) || capture.dot == Dot{}) return false;
        for (const LiveValue& l : at->second.live)
            if (l.key == capture.key && l.value == capture.value &&
                !(tx.device(l.dot.writer) && tx.device(capture.dot.writer)) &&
                user_of(l.dot.writer) == user_of(capture.dot.writer)) {
                oracle_.taken_for(number, oracle_.which(site, l));
                return true;
            }
        return false;
    });
}

/// A value leaves the live set only by a write whose author's screen had shown it, and enters it
/// once.
void Simulation::judge_record(server::Transaction& tx, std::int64_t tenant, const RecordId& id) {
    const auto stored = tx.record(tenant_name(tenant), id);
    for (const std::uint16_t number : oracle_.followed(id)) {
        const Site site{id, number};
        if (orders_wait_ && is_erased(site)) continue;
        std::set<int> expected = is_erased(site) ? std::set<int>{} : oracle_.live(site);
        std::set<int> live;
        std::size_t values = 0;
        if (stored)
            if (const auto at = stored->state.fields.find(number); at != stored->state.fields.end())
                for (const LiveValue& l : at->second.live) {
                    if (l.dot.writer == kServerWriter) continue;
                    ++values;
                    const int which = oracle_.which(site, l);
                    expect(which >= 0, "nothing is there that nobody captured",
                           name_of_record(stored->state) + " field " + std::to_string(number) +
                               " holds a value nobody captured there");
                    live.insert(which);
                    expect(HybridClock::wall_ms(l.stamp) <= newest_server_ms_ + kAheadMsMax,
                           "no stamp is far ahead of the centre",
                           "a stamp is " +
                               std::to_string(HybridClock::wall_ms(l.stamp) - newest_server_ms_) +
                               " ms ahead of the centre");
                }
        if (doubled()) continue;  // what comes back after two faults is listed for a person
        if (stored && restores_ > 0) note_taken_for_one(tx, *stored, site, expected, live);
        expect(values == live.size(), "every effect exactly once",
               id.text() + " field " + std::to_string(number) + " holds a value twice");
        for (const int which : expected)
            expect(live.contains(which), "no value leaves unseen",
                   "~w" + std::to_string(which) + "~ left " + id.text() + " field " +
                       std::to_string(number) + " and nobody who saw it wrote over it");
        // Where what replaced it is kept back, it leaves once a person lets that in.
        if (restores_ > 0 && keeps_back(tx, tenant_name(tenant), id)) continue;
        for (const int which : live)
            expect(expected.contains(which), "what was written over leaves",
                   "~w" + std::to_string(which) + "~ is live in " + id.text() + " field " +
                       std::to_string(number) + ", though a write that saw it arrived");
        if (stored && live.size() > 1) {
            const Field* field = kind_numbered(stored->state.kind)->field(number);
            if (field && !field->is_keyed()) strike("conflict");
        }
    }
}

/// Every text in the bytes of a reply is one its reader may see.
void Simulation::judge_sent(server::Transaction& tx, const server::Device& device,
                            std::string_view archive) {
    for (const std::string& bytes : decode<protocol::Reply>(archive).records) {
        const RecordState state = decode_record(bytes);
        const Kind* kind = kind_numbered(state.kind);
        for (const auto& [number, values] : state.fields) {
            const Field* field = kind->field(number);
            expect(field && field->visible_to(device.role), "nobody sees what is not theirs",
                   kind->name + " field " + std::to_string(number) +
                       " is on its way to a role that may not see it");
        }
    }
    each_text(archive, [&](int number) {
        const Capture& capture = oracle_.at(number);
        const std::string text = "~w" + std::to_string(number) + "~";
        expect(tenant_name(capture.tenant) == device.tenant, "nobody sees what is not theirs",
               text + " of another tenant is on its way");
        const auto stored = tx.record(device.tenant, capture.site.record);
        expect(stored && in_reach(device, stored->state.scope), "nobody sees what is not theirs",
               text + " is on its way to a device that does not reach its scope");
        const Field* field = kind_numbered(stored->state.kind)->field(capture.site.field);
        expect(field && field->visible_to(device.role), "nobody sees what is not theirs",
               text + " is on its way to a role that may not see the field");
        expect(!is_erased(capture.site), "nothing erased comes back",
               text + " of an erased customer is on its way to a device");
    });
}

/// A text is a word and ` ~w`, its number and `~`; the end alone comes about by chance, in a
/// checksum.
void Simulation::each_text(std::string_view bytes, const std::function<void(int)>& work) const {
    constexpr std::string_view kMark = " ~w";
    for (std::size_t at = bytes.find(kMark); at != std::string_view::npos;
         at = bytes.find(kMark, at + kMark.size())) {
        int number = -1;
        const std::string_view rest = bytes.substr(at + kMark.size());
        const char* const end = rest.data() + rest.size();
        const auto read = std::from_chars(rest.data(), end, number);
        const bool whole = at > 0 && bytes[at - 1] >= 'a' && bytes[at - 1] <= 'z' &&
                           read.ec == std::errc() && read.ptr != end && *read.ptr == '~';
        if (whole && oracle_.knows(number)) work(number);
    }
}

/// No path destroys an unsent capture.
void Simulation::judge_unsent(Unit& u) {
    if (u.unsent.empty() || u.doomed) return;
    std::map<RecordId, std::set<int>> held;  // captures pending, by record
    const auto pending = [&](const RecordId& id) -> const std::set<int>& {
        const auto [at, first] = held.try_emplace(id);
        if (!first) return at->second;
        const Store::Core::Reading reading(u.store->core());
        const auto loaded = load(reading.db, *kinds_.at(id), id);
        if (!loaded) return at->second;
        // A late answer of a centre that has been restored since confirms what that one has lost;
        // it will be offered.
        for (const auto& [field, state] : loaded->row.confirmed.fields)
            for (const LiveValue& l : state.live)
                if (const int which = oracle_.which({id, field}, l); taken_back_.contains(which))
                    at->second.insert(which);
        for (const PendingChange& change : loaded->pending)
            for (const Write& write : change.writes) {
                const Site site{id, write.field};
                for (const Added& add : write.adds)
                    at->second.insert(
                        oracle_.find(add.capture, site, content_hash(add.key, add.value)));
                for (const KnownCapture& folded : write.folded)
                    at->second.insert(oracle_.find(folded.id, site, folded.hash));
            }
        return at->second;
    };
    const auto safe = [&](int number) {
        const Capture& capture = oracle_.at(number);
        return capture.arrived || capture.gone || pending(capture.site.record).contains(number);
    };
    const std::uint64_t failed = u.disk->failed();
    try {
        for (auto it = u.unsent.begin(); it != u.unsent.end();) {
            const Capture& capture = oracle_.at(*it);
            if (capture.arrived || capture.gone || is_erased(capture.site)) {
                it = u.unsent.erase(it);
                continue;
            }
            bool kept = safe(*it);
            for (const int later : oracle_.at_site(capture.site))
                kept = kept || (oracle_.at(later).seen.contains(*it) && safe(later));
            // The answer of a centre restored since had confirmed it, and then the device offered
            // it.
            if (!kept && doubled())
                look_at_centre([&](server::Transaction& tx) {
                    kept = keeps_back(tx, tenant_name(capture.tenant), capture.site.record);
                });
            expect(kept, "no unsent work is destroyed",
                   "~w" + std::to_string(*it) + "~ of " + capture.site.record.text() + " field " +
                       std::to_string(capture.site.field) +
                       " is neither on its device nor at the centre");
            ++it;
        }
    } catch (const Error& e) {  // the disk failed while we looked
        expect(u.disk->crashed() || u.disk->failed() != failed, "no error without a fault",
               e.what());
        after_faults(u, failed);
    }
}

/// At a checkpoint the device holds what the centre holds for it, to the byte, and nothing else.
void Simulation::judge_copy(Unit& u) {
    if (u.doomed || u.declined) return;
    const std::uint64_t failed = u.disk->failed();
    std::vector<std::pair<RecordState, const Kind*>> expected;
    std::set<RecordId> in_scope;
    look_at_centre([&](server::Transaction& tx) {
        expected.clear();
        in_scope.clear();
        const auto device = tx.device(u.writer);
        for (const server::Stream& stream : tx.streams(device->tenant)) {
            if (!in_reach(*device, stream.scope)) continue;
            for (auto& stored : tx.changed(device->tenant, stream.scope, 0, 1'000'000)) {
                const Kind* kind = kind_numbered(stored.state.kind);
                if (!kind->seen_by.empty() && !kind->seen_by.contains(device->role)) continue;
                in_scope.insert(stored.state.id);
                stored.state.fields.erase_if([&](const auto& entry) {
                    const Field* field = kind->field(entry.first);
                    return field && !field->visible_to(device->role);
                });
                for (auto& [number, field] : stored.state.fields) {
                    field.known.clear();
                    for (LiveValue& l : field.live) l.capture = {};
                }
                if (u.newer_server) add_unknown_field(stored.state);
                expected.emplace_back(std::move(stored.state), kind);
            }
        }
    });
    try {
        const Store::Core::Reading reading(u.store->core());
        for (const auto& [state, kind] : expected) {
            const auto held = load_row(reading.db, *kind, state.id);
            expect(held.has_value(), "a device holds what is its",
                   "device " + std::to_string(u.event) + " lacks " + name_of_record(state));
            expect(held->confirmed == state, "a device holds what the centre holds",
                   "device " + std::to_string(u.event) + " holds another state of " +
                       name_of_record(state));
            expect((held->status & kRowHidden) == 0, "a device holds what is its",
                   "device " + std::to_string(u.event) + " hides " + name_of_record(state));
            if (u.newer_server) strike("field of a newer server kept");
        }
        for (const Kind* kind : all_kinds()) {
            auto rows =
                reading.db.prepare("SELECT id, status, scope FROM " + identifier(kind->name));
            while (rows.step()) {
                if (in_scope.contains(rows.id(0))) continue;
                const std::int64_t status = rows.integer(1);
                if ((status & kRowHidden) && (status & kRowPending))
                    strike("customer gone with unsent edits");
                expect((status & (kRowHidden | kRowPending | kRowDraft)) != 0,
                       "a device shows only what is its",
                       "device " + std::to_string(u.event) + " shows a " + kind->name +
                           " that is not in its scopes, as one of " + std::string(rows.text(2)));
            }
        }
    } catch (const Error& e) {
        expect(u.disk->crashed() || u.disk->failed() != failed, "no error without a fault",
               e.what());
        after_faults(u, failed);
    }
}

/// What was saved together is visible together, except while a download is under way or its
/// customer moves.
void Simulation::judge_whole(Unit& u) {
    if (u.doomed || u.declined || territory_moved_ || scopes_changed_ || restores_ + copies_ > 0)
        return;
    const std::uint64_t failed = u.disk->failed();
    try {
        const Store::Core::Reading reading(u.store->core());
        if (reading.db.prepare("SELECT 1 FROM incomplete LIMIT 1").step()) return;
        for (auto whole = wholes_.rbegin(); whole != wholes_.rend() && whole - wholes_.rbegin() < 8;
             ++whole) {
            if (moved_.contains(whole_of_[whole->first])) continue;
            int known = 0, unknown = 0;
            for (const int number : whole->second) {
                const Capture& capture = oracle_.at(number);
                const auto row =
                    load_row(reading.db, *kinds_.at(capture.site.record), capture.site.record);
                const bool visible = row && row->confirmed_once && (row->status & kRowHidden) == 0;
                (visible ? known : unknown) += 1;
            }
            expect(known == 0 || unknown == 0, "what was saved together arrives together",
                   "device " + std::to_string(u.event) + " has " + std::to_string(known) +
                       " values of a bundle and lacks " + std::to_string(unknown));
        }
    } catch (const Error& e) {
        expect(u.disk->crashed() || u.disk->failed() != failed, "no error without a fault",
               e.what());
        after_faults(u, failed);
    }
}

/// What the centre keeps back of what it was offered.
std::set<int> Simulation::kept_for_a_person() {
    std::set<int> kept;
    look_at_centre([&](server::Transaction& tx) {
        for (const std::string& tenant : tx.tenants())
            for (const server::RecoveryNote& note : tx.recovery_notes(tenant)) {
                if (note.offered.empty()) continue;
                strike(note.code == server::recovery_code::kReplaced
                           ? "value replaced unseen kept for a person"
                           : "offer kept back for a person");
                const RecordState state = decode_record(note.offered);
                for (const auto& [field, held] : state.fields)
                    for (const LiveValue& l : held.live) {
                        kept.insert(oracle_.which({state.id, field}, l));
                        // Of two files the same dot is two values.
                        for (const int number : oracle_.at_site({state.id, field}))
                            if (const Capture& capture = oracle_.at(number);
                                capture.key == l.key && capture.value == l.value)
                                kept.insert(number);
                    }
            }
    });
    kept.erase(-1);
    return kept;
}

/// Nothing anybody captured is lost: it came to the centre, or stands on a device, or was kept back
/// for a person, or somebody who saw it wrote over it.
void Simulation::judge_lost() {
    std::set<int> kept = kept_for_a_person();
    std::set<int> excused, offered = offered_;
    for (std::size_t n = 0; n < oracle_.size(); ++n) {
        const int number = static_cast<int>(n);
        if (!oracle_.knows(number)) continue;
        const Capture& capture = oracle_.at(number);
        if (capture.excused) excused.insert(number);
        bool held = capture.arrived || capture.gone || is_erased(capture.site);
        for (auto& [event, u] : units_) {
            held = held || u->unsent.contains(number);
            for (auto& [rep, user] : u->logged_out) held = held || user.unsent.contains(number);
        }
        if (held) kept.insert(number);
    }
    kept = oracle_.with_seen(kept);
    kept.merge(excused);
    for (auto& [event, numbers] : could_offer_)
        if (const Unit& u = *units_.at(event); !u.declined && standing(u) != Standing::revoked)
            offered.insert(numbers.begin(), numbers.end());
    for (int number = 0; static_cast<std::size_t>(number) < oracle_.size(); ++number) {
        // What everybody who had it dropped before they could offer it is lost with the centre.
        const bool dropped =
            forgetful_ && taken_back_.contains(number) && !offered.contains(number);
        expect(!oracle_.knows(number) || kept.contains(number) || dropped,
               "no confirmed work is lost",
               "~w" + std::to_string(number) + "~ was confirmed and is nowhere any more");
    }
}

/// After two faults nothing tells what was seen; yet no value that came is gone without a trace.
void Simulation::judge_readable(server::Transaction& tx, const std::string& tenant,
                                const RecordState& state) {
    const auto history = tx.history(tenant, state.id);
    std::vector<RecordState> kept;
    for (const server::RecoveryNote& note : tx.recovery_notes(tenant))
        if (note.record == state.id && !note.offered.empty())
            kept.push_back(decode_record(note.offered));
    for (const std::uint16_t field : oracle_.followed(state.id)) {
        const Site site{state.id, field};
        if (is_erased(site)) continue;
        for (const int which : oracle_.live(site)) {
            const Capture& c = oracle_.at(which);
            const auto is_it = [&](const LiveValue& l) {
                return l.key == c.key && l.value == c.value;
            };
            const auto stands_in = [&](const RecordState& s) {
                const auto at = s.fields.find(field);
                return at != s.fields.end() &&
                       std::any_of(at->second.live.begin(), at->second.live.end(), is_it);
            };
            const bool left =
                std::any_of(history.begin(), history.end(), [&](const server::HistoryLine& line) {
                    return line.field == field && is_it(line.value);
                });
            expect(!oracle_.under_any_dot(which) || left || stands_in(state) ||
                       std::any_of(kept.begin(), kept.end(), stands_in),
                   "nothing is lost without a trace",
                   "~w" + std::to_string(which) + "~ is neither live nor in the history of " +
                       name_of_record(state) + " nor kept for a person");
        }
    }
}

/// What is left on a device waits for a person, or for something that does.
void Simulation::judge_parked(Unit& u) {
    const Store::Core::Reading reading(u.store->core());
    std::map<std::int64_t, std::int64_t> states;
    std::set<std::int64_t> parked, told_later;
    std::vector<std::pair<std::int64_t, std::int64_t>> edges;
    auto bundles = reading.db.prepare("SELECT id, state, later_run, needs FROM bundle");
    while (bundles.step()) {
        const auto state = static_cast<BundleState>(bundles.integer(1));
        expect(state != BundleState::frozen, "queues drain or park",
               "a bundle is still on its way when everything rests");
        if (state != BundleState::queued) parked.insert(bundles.integer(0));
        if (bundles.integer(2) != 0) told_later.insert(bundles.integer(0));
        states[bundles.integer(0)] = bundles.integer(1);
        for (const std::int64_t needed : needs_in(bundles, 3))
            edges.emplace_back(bundles.integer(0), needed);
    }
    std::erase_if(edges, [&](const auto& edge) { return !states.contains(edge.second); });
    for (const auto& [bundle, needed] : edges) {
        auto reason = reading.db.prepare(
            "SELECT 1 FROM change a JOIN change b ON a.record = b.record WHERE a.bundle = ?1 AND "
            "b.bundle = ?2 UNION ALL SELECT 1 FROM change WHERE bundle = ?2 AND creates");
        expect(reason.bind(1, bundle).bind(2, needed).step(), "a poison bundle blocks nobody",
               "a bundle waits for one it has nothing to do with");
    }
    for (bool more = true; more;) {
        more = false;
        for (const auto& [bundle, needed] : edges)
            if ((parked.contains(needed) || told_later.contains(needed)) &&
                parked.insert(bundle).second)
                more = true;
    }
    for (const auto& [bundle, state] : states)
        expect(parked.contains(bundle) || told_later.contains(bundle), "queues drain or park",
               "a bundle stays on device " + std::to_string(u.event) + " and waits for nothing");
    auto reviews = reading.db.prepare("SELECT counter FROM bundle WHERE state = 4");
    while (reviews.step()) {
        const std::uint64_t counter = reviews.unsigned_integer(0);
        look_at_centre([&](server::Transaction& tx) {
            const auto verdict = tx.verdict(u.writer, counter);
            expect(restores_ + copies_ > 0 || (verdict && verdict->verdict == Verdict::review),
                   "a late verdict arrives", "a device waits for a person who has decided already");
        });
    }
    if (states.empty())
        expect(!u.store->overview().unreceived_since, "status is derived",
               "nothing is left on the device and the status says something is");
}

/// What a sync says of itself adds up.
void Simulation::judge_result(Unit& u, const SyncResult& r) {
    trace(to_json(r));
    expect(r.sent == r.applied + r.refused + r.later + r.review + r.unanswered,
           "what a sync says adds up", to_json(r));
    // A comparison that finds something finds what another part of the library did wrong.
    expect(r.mended == 0, "there is nothing to mend", to_json(r));
    expect(!u.told_to_wait || (r.retry_after && *r.retry_after >= Milliseconds(17'000)),
           "Retry-After is obeyed", to_json(r));
    if (r.end == SyncEnd::not_authorised) {
        const Standing s = standing(u);
        expect(s == Standing::revoked || (s == Standing::unknown && restores_ > 0),
               "nobody is turned away who is known",
               "device " + std::to_string(u.event) + ": " + r.sentence);
        return;
    }
    if (r.end == SyncEnd::needs_recovery) {
        expect(u.copies > 0, "nobody is turned away without a copy",
               "a device file that nobody copied has to be enrolled anew");
        return;
    }
    expect(r.end != SyncEnd::rejected && r.end != SyncEnd::not_enrolled,
           "a device and its centre understand each other",
           "device " + std::to_string(u.event) + ": " + std::string(name_of(r.end)) + ": " +
               r.sentence);
}

void Simulation::judge_file(Unit& u) {
    for (const std::string& finding : u.store->check())
        violated("files are sound", "device " + std::to_string(u.event) + ": " + finding);
}

/// The centre as a whole, at rest: every state change once, every losing value readable.
void Simulation::judge_centre() {
    look_at_centre([&](server::Transaction& tx) {
        std::map<std::int64_t, std::set<RecordId>> records;
        for (const auto& [id, tenant] : tenants_) records[tenant].insert(id);
        for (std::size_t n = 0; n < oracle_.size(); ++n)
            if (oracle_.knows(static_cast<int>(n)))
                judge_record(tx, oracle_.at(static_cast<int>(n)).tenant,
                             oracle_.at(static_cast<int>(n)).site.record);
        std::set<std::pair<std::int64_t, std::string>> numbers;
        std::set<std::pair<std::string, std::int64_t>> accepted;
        for (const auto& [tenant, ids] : records)
            for (const RecordId& id : ids) {
                const auto stored = tx.record(tenant_name(tenant), id);
                if (!stored) continue;
                const Record shown = show(stored->state);
                if (shown.kind->name == "state_request") {
                    const auto* verdict = shown.value("verdict").text();
                    // What it asks for went with a centre that was restored, and nobody has it.
                    const auto* subject = shown.value("subject_id").text();
                    if (!verdict && restores_ > 0 && subject &&
                        !tx.record(tenant_name(tenant), *RecordId::from_bytes(*subject)))
                        continue;
                    expect(verdict != nullptr, "every request is answered",
                           "a state request has no verdict");
                    strike(*verdict == "accepted" ? "state changed" : "state request turned down");
                    const auto* expected = shown.value("expected_version").integer();
                    if (*verdict == "accepted" && expected && restores_ == 0)
                        expect(
                            accepted.insert({*shown.value("subject_id").text(), *expected}).second,
                            "every effect exactly once",
                            "two requests changed a state from one and the same version");
                }
                if (!stored->root.is_nil() && stored->state.scope.rfind("territory/", 0) == 0) {
                    const auto root = tx.record(tenant_name(tenant), stored->root);
                    expect(!root || root->state.scope == stored->state.scope,
                           "what hangs on a customer lives where it does",
                           name_of_record(stored->state) + " was left behind");
                }
                // A centre that has forgotten numbers and states gives them again until it is
                // offered what it gave; that is listed for a person.
                if (const auto* number = shown.value("number").text(); number && restores_ == 0)
                    expect(numbers.insert({tenant, *number}).second, "every effect exactly once",
                           "two records have one human number");
                if (const auto* version = shown.value("state_version").integer();
                    version && restores_ == 0) {
                    const auto events = tx.with_subject(tenant_name(tenant), id,
                                                        kind_named("status_event")->number);
                    expect(static_cast<std::int64_t>(events.size()) == *version - 1 ||
                               (events.size() == static_cast<std::size_t>(*version)),
                           "every effect exactly once",
                           name_of_record(stored->state) + " is in state version " +
                               std::to_string(*version) + " after " +
                               std::to_string(events.size()) + " changes");
                }
                if (doubled()) {
                    judge_readable(tx, tenant_name(tenant), stored->state);
                    continue;
                }
                std::map<Site, std::set<int>> left;
                std::map<int, Stamp> stamps;
                const auto capture_of = [&](const Site& site, const LiveValue& l) {
                    return oracle_.which(site, l);
                };
                for (const server::HistoryLine& line : tx.history(tenant_name(tenant), id)) {
                    const Site site{id, line.field};
                    const int which = capture_of(site, line.value);
                    if (which < 0) continue;
                    stamps[which] = line.value.stamp;
                    expect(left[site].insert(which).second, "every effect exactly once",
                           "~w" + std::to_string(which) + "~ left twice");
                }
                for (const auto& [field, state] : stored->state.fields)
                    for (const LiveValue& l : state.live)
                        if (const int which = capture_of({id, field}, l); which >= 0)
                            stamps[which] = l.stamp;
                for (const auto& [which, stamp] : stamps)
                    for (const int seen : oracle_.at(which).seen)
                        if (const auto earlier = stamps.find(seen);
                            earlier != stamps.end() && !shared_.contains(seen))
                            expect(earlier->second < stamp, "what was seen is earlier",
                                   "~w" + std::to_string(which) + "~ has no later stamp than ~w" +
                                       std::to_string(seen) + "~, which its author saw");
                for (const std::uint16_t field : oracle_.followed(id)) {
                    const Site site{id, field};
                    if (is_erased(site)) continue;
                    const std::set<int> live = oracle_.live(site);
                    for (const int which : oracle_.at_site(site)) {
                        const Capture& c = oracle_.at(which);
                        // What its own author coalesced never came on its own.
                        const bool was_live = oracle_.under_any_dot(which);
                        expect(
                            !c.arrived || live.contains(which) || !was_live ||
                                left[site].contains(which),
                            "every losing value is readable",
                            "~w" + std::to_string(which) + "~ is neither live nor in the history");
                    }
                }
            }
    });
    auto db =
        sqlite::Database::open(folder_.file("server.db"), {.read_only = true, .create = false});
    auto check = db.prepare("PRAGMA integrity_check");
    check.step();
    expect(check.text(0) == "ok", "files are sound", "the centre: " + std::string(check.text(0)));
    judge_erased(folder_.file("server.db"), "the centre", false);
}

}  // namespace rapport::sim
