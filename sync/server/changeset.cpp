// SPDX-License-Identifier: Apache-2.0
#include "server/changeset.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "model/bundle.hpp"
#include "model/planted.hpp"
#include "rapport/error.hpp"
#include "rapport/kinds/state_table.hpp"

namespace rapport::server {
namespace {

constexpr std::string_view kLinks = "theme_ids";
constexpr std::string_view kMerged = "merged";
constexpr int kMergesMax = 1000;  // one after the other; merges form no circle

const Kind& kind_of(const StoredRecord& record) {
    if (const Kind* kind = kind_numbered(record.state.kind)) return *kind;
    throw Error(ErrorCode::storage_newer,
                "the server's file holds a kind of record this version does not know");
}

std::vector<RecordId> references(const Content& content) {
    std::vector<RecordId> ids;
    for (const Item& item : content)
        if (const std::string* raw = item.value.text())
            if (const auto id = RecordId::from_bytes(*raw)) ids.push_back(*id);
    return ids;
}

const LiveValue* newest_of(const FieldState& state, const std::string& key) {
    const LiveValue* newest = nullptr;
    for (const LiveValue& l : state.live)
        if (l.key == key && (!newest || l.stamp > newest->stamp)) newest = &l;
    return newest;
}

/// Has something of this write come before, from a copy of its file or as sent under another name?
/// Devices, which keep no captures of what is confirmed, cannot tell.
bool knows_by_capture(const FieldState& state, const Write& write, std::uint64_t writer) {
    const auto lives = [&](const CaptureId& capture, bool anothers) {
        return std::any_of(state.live.begin(), state.live.end(), [&](const LiveValue& l) {
            return l.capture == capture && !(anothers && l.dot.writer == writer);
        });
    };
    const auto was_here = [&](const CaptureId& capture) {
        return !capture.is_none() &&
               (lives(capture, false) ||
                std::any_of(state.known.begin(), state.known.end(),
                            [&](const KnownCapture& k) { return k.id == capture; }));
    };
    return std::any_of(write.adds.begin(), write.adds.end(),
                       [&](const Added& add) { return was_here(add.capture); }) ||
           std::any_of(write.folded.begin(), write.folded.end(),
                       [&](const KnownCapture& folded) { return was_here(folded.id); }) ||
           std::any_of(write.over_own.begin(), write.over_own.end(),
                       [&](const OverwrittenCapture& own) { return lives(own.capture, true); });
}

/// The server's write that makes a set or map show exactly this content, touching only what
/// differs.
Write keyed_write(const Field& field, const FieldState& state, const Content& content,
                  Stamp stamp) {
    Write write;
    write.field = field.number;
    const Content before = show(field, state);
    const auto find = [](const Content& in, const std::string& key) {
        return std::find_if(in.begin(), in.end(),
                            [&](const Item& item) { return item.key == key; });
    };
    const auto overwrite = [&](const std::string& key) {
        for (const LiveValue& l : state.live)
            if (l.key == key) write.over.push_back({l.dot, l.key});
    };
    for (const Item& item : content) {
        const auto old = find(before, item.key);
        if (old != before.end() && old->value == item.value) continue;
        if (old == before.end() && item.value.is_null()) continue;
        write.adds.push_back({item.key, item.value, stamp, {}});
        overwrite(item.key);
    }
    for (const Item& old : before) {
        if (find(content, old.key) != content.end()) continue;
        overwrite(old.key);
        // An element leaves by being overwritten; a key is written over with nothing.
        if (!field.is_set() && newest_of(state, old.key))
            write.adds.push_back({old.key, Value(), stamp, {}});
    }
    return write;
}

Write register_write(const Field& field, const FieldState& state, const Content& content,
                     Stamp stamp) {
    Write write;
    write.field = field.number;
    Value value = content.empty() ? Value() : content.front().value;
    if (content.size() > 1) {
        std::vector<std::string> texts;
        for (const Item& item : content)
            if (const std::string* text = item.value.text()) texts.push_back(*text);
        value = Value(detail::joined(texts));
    }
    write.adds.push_back({"", std::move(value), stamp, {}});
    for (const LiveValue& l : state.live) write.over.push_back({l.dot, l.key});
    return write;
}

}  // namespace

Changeset::Changeset(Round& round, std::string tenant, std::string bundle, std::string author)
    : round_(round),
      tenant_(std::move(tenant)),
      bundle_(std::move(bundle)),
      author_(std::move(author)) {}

StoredRecord* Changeset::find(const RecordId& id) {
    if (const auto at = held_.find(id); at != held_.end()) return &at->second.record;
    const StoredRecord* stored = look_at(id);
    return stored ? &held_.emplace(id, Held{*stored}).first->second.record : nullptr;
}

const StoredRecord* Changeset::look_at(const RecordId& id) {
    if (const auto at = held_.find(id); at != held_.end()) return &at->second.record;
    if (const auto at = seen_.find(id); at != seen_.end()) return at->second.get();
    auto stored = round_.tx.look_at(tenant_, id);
    return stored ? seen_.emplace(id, std::move(stored)).first->second.get() : nullptr;
}

StoredRecord& Changeset::create(const Kind& kind, const RecordId& id) {
    Held held;
    held.is_new = true;
    held.record.state.kind = kind.number;
    held.record.state.id = id;
    StoredRecord& record = held_.emplace(id, std::move(held)).first->second.record;
    touch(record);
    return record;
}

StoredRecord& Changeset::create_as_server(const Kind& kind, const RecordId& id, Stamp stamp) {
    StoredRecord& record = create(kind, id);
    write(record, "created_at", round_.now.packed(), stamp);
    write(record, "created_by", kServerName, stamp);
    write(record, "schema_version", kSchemaVersion, stamp);
    return record;
}

bool Changeset::is_new(const StoredRecord& record) const {
    const auto at = held_.find(record.state.id);
    return at != held_.end() && at->second.is_new;
}

void Changeset::touch(const StoredRecord& record) {
    Held& h = held(record);
    if (!h.touched) order_.push_back(record.state.id);
    h.touched = true;
}

StoredRecord& Changeset::standing(StoredRecord& customer) {
    const StoredRecord& home = standing(std::as_const(customer));
    return &home == &customer ? customer : *find(home.state.id);
}

const StoredRecord& Changeset::standing(const StoredRecord& customer) {
    const StoredRecord* at = &customer;
    for (int merges = 0; merges < kMergesMax && shown_text(*at, "state") == kMerged; ++merges) {
        const StoredRecord* into = look_at(shown_reference(*at, "merged_into"));
        if (!into) break;
        at = into;
    }
    return *at;
}

void Changeset::hang(StoredRecord& record, const StoredRecord& on) {
    record.root = {};
    record.state.scope = on.state.scope;
    const StoredRecord* customer = kind_of(on).home == Home::territory ? &on
                                   : on.root.is_nil()                  ? nullptr
                                                                       : look_at(on.root);
    if (!customer) return;
    const StoredRecord& home = standing(*customer);
    record.root = home.state.id;
    record.state.scope = home.state.scope;
}

void Changeset::depart(StoredRecord& record, const std::string& from) {
    touch(record);
    not_as_sent(record);
    const RecordState& s = record.state;
    if (!RAPPORT_PLANTED("move_without_a_number")) ++record.state.move;
    departures_.push_back({s.kind, s.id, s.move, from, s.scope, 0, 0, round_.now_ms()});
}

void Changeset::merge(StoredRecord& record, const Field& field, const Write& write, Dot dot) {
    FieldState& state = record.state.fields[field.number];
    if (!field.is_keyed() && was_replaced_before(state, write, dot)) count_as_merged(state, dot);
    const bool named = name_offered_before(state, write, dot);
    know_offered_before(record, field, write, dot);
    if (knows_by_capture(state, write, dot.writer)) not_as_sent(record);
    std::vector<LiveValue> left;
    rapport::merge(state, write, dot, field.is_keyed(), &left);
    if (named) leave_overwritten(state, write, field.is_keyed(), left);
    // What was offered first and replaced since has left before.
    std::erase_if(left,
                  [&](const LiveValue& l) { return l.dot == dot && has_left(record, field, l); });
    // What it replaces may have been held back, as further ahead than this one is let through now.
    Stamp seen = 0;
    for (const LiveValue& l : left) {
        if (l.dot == dot)
            replaced_unseen_.push_back({record.state.id, &field, l});
        else
            seen = std::max(seen, l.stamp);
    }
    for (LiveValue& l : state.live)
        if (l.dot == dot && l.stamp <= seen && !RAPPORT_PLANTED("let_a_stamp_fall_behind")) {
            l.stamp = seen + 1;
            not_as_sent(record);
        }
    note_written(record, field, std::move(left));
}

bool Changeset::has_left(const StoredRecord& record, const Field& field, const LiveValue& value) {
    const auto lines = round_.tx.history(tenant_, record.state.id);
    return std::any_of(lines.begin(), lines.end(), [&](const HistoryLine& line) {
        return line.field == field.number && line.value.dot == value.dot &&
               line.value.key == value.key && line.value.value == value.value;
    });
}

/// What its writer wrote next into the same field waits for it. Where that has been counted and was
/// not taken up here, it was offered, and what became of both with it.
bool Changeset::was_replaced_before(const FieldState& state, const Write& write, Dot dot) {
    if (write.former.empty()) return false;
    const std::uint64_t counted = state.merged_up_to(dot.writer);
    const bool any = std::any_of(write.former.begin(), write.former.end(), [&](const Dot& former) {
        return former.writer == dot.writer && counted >= former.counter &&
               std::none_of(state.live.begin(), state.live.end(),
                            [&](const LiveValue& l) { return l.dot == former; });
    });
    if (!any) return false;
    const auto verdict = round_.tx.verdict(dot.writer, counted);
    return !verdict || verdict->verdict != Verdict::applied;
}

/// What a restored server was offered has lost its capture id; sent again under another counter, or
/// another name of its file, it is the same words of the same author, who has not seen them here.
bool Changeset::name_offered_before(FieldState& state, const Write& write, Dot dot) {
    bool any = false;
    for (LiveValue& l : state.live) {
        const bool is_former =
            std::find(write.former.begin(), write.former.end(), l.dot) != write.former.end();
        if (!l.capture.is_none() || l.dot.writer == kServerWriter ||
            (l.dot.writer == dot.writer && !is_former) ||
            std::find(write.over.begin(), write.over.end(), Overwritten{l.dot, l.key}) !=
                write.over.end())
            continue;
        for (const Added& add : write.adds)
            if (add.key == l.key && add.value == l.value &&
                round_.of_one_file(l.dot.writer, dot.writer)) {
                l.capture = add.capture;
                any = true;
            }
    }
    return any;
}

/// The same for what was replaced since it was offered: it does not come again, also not under
/// another counter. Under another name the stamp tells it from words that their author wrote anew.
void Changeset::know_offered_before(StoredRecord& record, const Field& field, const Write& write,
                                    Dot dot) {
    FieldState& state = record.state.fields[field.number];
    const auto is_former = [&](const Dot& d) {
        return std::find(write.former.begin(), write.former.end(), d) != write.former.end();
    };
    const auto is_other_name = [&](const Dot& d) {
        return d.writer != dot.writer && d.writer != kServerWriter &&
               round_.name_of(d.writer) == round_.name_of(dot.writer) &&
               (round_.offered_up_to(d.writer) > 0 || !round_.tx.device(d.writer));
    };
    if (write.former.empty() &&
        std::none_of(state.counters.begin(), state.counters.end(), is_other_name))
        return;
    for (const HistoryLine& line : round_.tx.history(tenant_, record.state.id)) {
        const LiveValue& l = line.value;
        if (line.field != field.number || !l.capture.is_none()) continue;
        for (const Added& add : write.adds)
            if (add.key == l.key && add.value == l.value &&
                (is_former(l.dot) || (add.stamp == l.stamp && is_other_name(l.dot) &&
                                      round_.of_one_file(l.dot.writer, dot.writer))))
                state.known.push_back({add.capture, content_hash(add.key, add.value)});
    }
}

/// A file that goes on under another name sends again what had come, and until it hears that it had
/// holds it under its new dot: the same words of the same author, and neither has seen the other.
FieldState Changeset::without_twins(const FieldState& present, FieldState witnessed) {
    const auto is_twin = [&](const LiveValue& w, const LiveValue& l) {
        return l.key == w.key && l.value == w.value && l.dot.writer != w.dot.writer &&
               witnessed.merged_up_to(l.dot.writer) < l.dot.counter &&
               present.merged_up_to(w.dot.writer) < w.dot.counter &&
               round_.of_one_file(l.dot.writer, w.dot.writer);
    };
    witnessed.live.erase_if([&](const LiveValue& w) {
        return std::any_of(present.live.begin(), present.live.end(),
                           [&](const LiveValue& l) { return is_twin(w, l); });
    });
    return witnessed;
}

bool Changeset::join(StoredRecord& record, const Field& field, const FieldState& witnessed,
                     const std::function<bool(const LiveValue&)>& hidden) {
    FieldState& present = record.state.fields[field.number];
    const FieldState before = present;
    std::vector<LiveValue> aside;
    present.live.erase_if([&](const LiveValue& l) {
        if (!hidden(l)) return false;
        aside.push_back(l);
        return true;
    });
    join_witnessed(present, without_twins(present, witnessed));
    for (LiveValue& l : aside) present.live.push_back(std::move(l));
    std::sort(present.live.begin(), present.live.end(), [](const LiveValue& a, const LiveValue& b) {
        return std::tie(a.dot, a.key) < std::tie(b.dot, b.key);
    });
    for (const LiveValue& w : witnessed.live)
        if (before.merged_up_to(w.dot.writer) >= w.dot.counter &&
            std::find(present.live.begin(), present.live.end(), w) == present.live.end() &&
            (is_of_another_file(field, w) || is_covered_unseen(record, field, before, w)))
            replaced_unseen_.push_back({record.state.id, &field, w});
    if (present == before) return false;
    not_as_sent(record);
    std::vector<LiveValue> left;
    for (const LiveValue& l : before.live) {
        if (std::find(present.live.begin(), present.live.end(), l) != present.live.end()) continue;
        left.push_back(l);
        // Who writes over a value that they have seen does so under a newer stamp.
        const LiveValue* newest = nullptr;
        for (const LiveValue& w : witnessed.live)
            if (w.key == l.key && (!newest || w.stamp > newest->stamp)) newest = &w;
        if (newest && newest->stamp < l.stamp && l.dot.writer != kServerWriter)
            replaced_unseen_.push_back({record.state.id, &field, l});
    }
    note_written(record, field, std::move(left));
    return true;
}

/// Did the bundle that came under the value's dot bring other words? Then a file was put back, and
/// the value is one that was lost with this server's memory.
bool Changeset::is_of_another_file(const Field& field, const LiveValue& value) const {
    const auto stored = round_.tx.bundle(value.dot.writer, value.dot.counter);
    if (!stored || stored->bytes.empty()) return false;
    const Bundle bundle = decode_bundle(stored->bytes);
    // A merged customer's go to another record than the bundle names.
    for (const Change& change : bundle.changes)
        for (const Write& write : change.writes)
            if (write.field == field.number &&
                std::any_of(write.adds.begin(), write.adds.end(), [&](const Added& add) {
                    return add.key == value.key && add.value == value.value;
                }))
                return false;
    return true;
}

/// Was it lost with this server's memory, and is it covered by what its own file has written since?
/// That had left its reach meanwhile, and the file held it no more.
bool Changeset::is_covered_unseen(const StoredRecord& record, const Field& field,
                                  const FieldState& before, const LiveValue& value) {
    const auto came = [&](std::uint64_t counter) {
        return round_.tx.verdict(value.dot.writer, counter).has_value();
    };
    return came(before.merged_up_to(value.dot.writer)) && !came(value.dot.counter) &&
           !has_left(record, field, value);
}

bool Changeset::write(StoredRecord& record, const Field& field, const Content& content,
                      Stamp stamp) {
    const auto at = record.state.fields.find(field.number);
    const FieldState before = at == record.state.fields.end() ? FieldState{} : at->second;
    if (show(field, before) == content) return false;
    const Write write = field.is_keyed() ? keyed_write(field, before, content, stamp)
                                         : register_write(field, before, content, stamp);
    if (write.adds.empty() && write.over.empty()) return false;
    merge(record, field, write, {kServerWriter, stamp});
    not_as_sent(record);
    return true;
}

bool Changeset::write(StoredRecord& record, std::string_view field, Value value, Stamp stamp) {
    const Field* f = kind_of(record).field(field);
    if (!f)
        throw Error(ErrorCode::internal, "a rule of the server writes the field `" +
                                             std::string(field) + "`, which its kind lacks");
    return write(record, *f, value.is_null() ? Content{} : Content{{"", std::move(value)}}, stamp);
}

void Changeset::note_written(StoredRecord& record, const Field& field,
                             std::vector<LiveValue> left) {
    touch(record);
    Held& h = held(record);
    if (field.number == common_field::external_ids) {
        h.external_ids_written = true;
        for (const ExternalName& name : external_names(shown(record, field.name)))
            takers_[{record.state.kind, name}].push_back(record.state.id);
    }
    h.links_written |= field.name == kLinks;
    for (LiveValue& value : left) {
        const std::string& author = round_.name_of(value.dot.writer);
        history_.push_back(
            {record.state.id, field.number, std::move(value), author, round_.now_ms(), bundle_});
    }
}

const Lifecycle* Changeset::lifecycle(const Kind& kind) {
    const Lifecycle* built_in = lifecycle_of(kind);
    if (!built_in) return nullptr;
    const Kind& tables = rapport::kind_of<StateTable>();
    // What others have found holds unless a table is changed here.
    const bool own = std::any_of(order_.begin(), order_.end(), [&](const RecordId& id) {
        return held_.at(id).record.state.kind == tables.number;
    });
    auto& known = own ? lifecycles_ : round_.lifecycles;
    const std::pair key(tenant_, kind.number);
    if (const auto at = known.find(key); at != known.end()) return &at->second;
    std::int64_t newest = 0;
    Lifecycle found = *built_in;
    for (const RecordId& id : round_.tx.of_kind(tenant_, tables.number)) {
        const StoredRecord& table = *find(id);
        const Value version = shown_value(table, "version");
        if (shown_text(table, "kind") != kind.name || !version.integer() ||
            *version.integer() <= newest)
            continue;
        newest = *version.integer();
        found = lifecycle_from(show(table.state));
    }
    return &known.emplace(key, std::move(found)).first->second;
}

std::vector<StoredRecord*> Changeset::about(const RecordId& subject, const Kind& kind) {
    std::vector<StoredRecord*> found;
    for (const RecordId& id : round_.tx.with_subject(tenant_, subject, kind.number))
        found.push_back(find(id));
    for (auto& [id, h] : held_)
        if (h.is_new && h.record.state.kind == kind.number &&
            shown_reference(h.record, "subject_id") == subject)
            found.push_back(&h.record);
    return found;
}

std::vector<StoredRecord*> Changeset::linked_to(const RecordId& theme, const RecordId& customer) {
    for (const RecordId& id : round_.tx.linking_to(tenant_, theme, customer, {}, SIZE_MAX >> 1U))
        find(id);
    std::vector<StoredRecord*> found;
    for (auto& [id, h] : held_) {
        if (h.record.root != customer) continue;
        const std::vector<RecordId> links = references(shown(h.record, kLinks));
        if (std::find(links.begin(), links.end(), theme) != links.end()) found.push_back(&h.record);
    }
    return found;
}

std::optional<RecordId> Changeset::other_holder(const Kind& kind, const RecordId& except,
                                                const ExternalName& name) {
    std::vector<RecordId> candidates = takers_[{kind.number, name}];
    if (const auto stored = round_.tx.by_external_id(tenant_, kind.number, name.first, name.second))
        candidates.push_back(*stored);
    for (const RecordId& id : candidates) {
        if (id == except) continue;
        const auto names = external_names(shown(*find(id), "external_ids"));
        if (std::find(names.begin(), names.end(), name) != names.end()) return id;
    }
    return std::nullopt;
}

void Changeset::save() {
    if (order_.empty()) return;
    const std::uint64_t commit = round_.tx.next_commit(tenant_);
    round_.tick();  // so that no later commit is of an earlier time
    // All give up their old ids before any takes new ones: two records may exchange one.
    for (const RecordId& id : order_)
        if (const Held& h = held_.at(id); h.external_ids_written)
            round_.tx.save_external_ids(tenant_, h.record.state.kind, id, {});
    for (const RecordId& id : order_) {
        Held& h = held_.at(id);
        StoredRecord& r = h.record;
        if (!h.is_new) {
            ChangedRecord& changed =
                round_.changed.try_emplace(id, ChangedRecord{r.position}).first->second;
            changed.only_as_sent = changed.only_as_sent && h.only_as_sent;
        }
        r.subject = shown_reference(r, "subject_id");
        r.commit = commit;
        r.event = h.is_new ? "created" : "changed";
        r.bundle = bundle_;
        r.author = author_;
        r.received_at_ms = round_.now_ms();
        if (r.state.kind == rapport::kind_of<StateTable>().number) round_.lifecycles.clear();
        round_.tx.save(tenant_, r);
        if (h.external_ids_written)
            round_.tx.save_external_ids(tenant_, r.state.kind, id,
                                        external_names(shown(r, "external_ids")));
        if (h.links_written) round_.tx.save_links(tenant_, id, references(shown(r, kLinks)));
    }
    for (StoredDeparture& departure : departures_) {
        departure.commit = commit;
        round_.tx.save(tenant_, departure);
    }
    for (const HistoryLine& line : history_)
        if (!RAPPORT_PLANTED("forget_the_history")) round_.tx.append(tenant_, line);
}

void Changeset::give_up() {
    for (const RecordId& id : order_) round_.tx.remember(tenant_, std::move(held_.at(id).record));
}

Content shown(const StoredRecord& record, std::string_view field) {
    const Field* f = kind_of(record).field(field);
    const auto at = f ? record.state.fields.find(f->number) : record.state.fields.end();
    return at == record.state.fields.end() ? Content{} : show(*f, at->second);
}

Value shown_value(const StoredRecord& record, std::string_view field) {
    const Content content = shown(record, field);
    return content.empty() ? Value() : content.front().value;
}

std::string shown_text(const StoredRecord& record, std::string_view field) {
    const Value value = shown_value(record, field);
    return value.text() ? *value.text() : std::string();
}

RecordId shown_reference(const StoredRecord& record, std::string_view field) {
    return RecordId::from_bytes(shown_text(record, field)).value_or(RecordId{});
}

std::vector<ExternalName> external_names(const Content& external_ids) {
    std::vector<ExternalName> names;
    for (const Item& item : external_ids) {
        const Parts* parts = item.value.parts();
        if (parts && parts->size() >= 2 && (*parts)[0].text() && (*parts)[1].text())
            names.emplace_back(*(*parts)[0].text(), *(*parts)[1].text());
    }
    return names;
}

}  // namespace rapport::server
