// SPDX-License-Identifier: Apache-2.0
#include "store/capture.hpp"

#include <algorithm>
#include <set>

#include "model/defaults.hpp"
#include "model/home.hpp"
#include "model/lifecycle.hpp"
#include "model/planted.hpp"
#include "model/questions.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "store/identity.hpp"
#include "store/needs.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

void add_references(const Field& field, const Value& value, std::vector<RecordId>& to) {
    if (field.type.shape != Shape::reference) return;
    if (const auto* raw = value.text())
        if (auto id = RecordId::from_bytes(*raw)) to.push_back(*id);
}

// One record of the capture under way.
struct Working {
    RecordEdit edit;
    Loaded loaded;
    std::vector<RecordId> references;  // that come in with this edit
};

std::string scope_of_new(sqlite::Database& db, const Record& record,
                         const std::string& captured_by);

// What every capture of a transaction asks of the file.
struct Standing {
    explicit Standing(sqlite::Database& db) : limits(stored_limits(db)) {
        const auto identity = stored_identity(db);
        author = identity ? identity->rep : meta(db, "rep").value_or("");
        if (identity) role = identity->role;
    }
    std::string author;
    Role role = Role::rep;
    Limits limits;
};

// At least as many bytes as the encoded value has.
std::size_t bytes_at_most(const Value& value) {
    std::size_t bytes = 12;
    if (const auto* text = value.text()) bytes += text->size();
    if (const auto* parts = value.parts())
        for (const Value& part : *parts) bytes += bytes_at_most(part);
    return bytes;
}
std::size_t bytes_at_most(const Write& write) {
    constexpr std::size_t kTwoNumbersAndKey = 32;
    std::size_t bytes = 32 + 30 * write.folded.size() + 20 * write.former.size();
    for (const Added& a : write.adds) bytes += 44 + a.key.size() + bytes_at_most(a.value);
    for (const Overwritten& o : write.over) bytes += kTwoNumbersAndKey + o.key.size();
    for (const OverwrittenCapture& o : write.over_own) bytes += kTwoNumbersAndKey + o.key.size();
    return bytes;
}

// One capture: loads the records, settles which bundle the edits go into, writes, validates,
// stores.
class Capture {
public:
    Capture(Store::Core& core, Store::Core::Writing& writing, const Standing& standing,
            const CommitOptions& options)
        : core_(core),
          options_(options),
          writing_(writing),
          db_(writing_.db),
          now_(core.now()),
          standing_(standing),
          role_(standing.role),
          limits_(standing.limits) {}

    // Refused, it leaves nothing in the transaction.
    Captured run(std::span<const RecordEdit> edits) {
        for (const RecordEdit& edit : edits) load_record(edit);
        if (refused()) return std::move(captured_);
        take_stamp();
        choose_bundle();
        for (Working& w : working_) write_record(w);
        for (Working& w : working_) check_whole(w);
        check_size();
        if (refused()) return std::move(captured_);
        store();
        for (const Working& w : working_) captured_.ids.push_back(w.edit.id);
        return std::move(captured_);
    }

private:
    bool refused() const { return !captured_.refusals.empty(); }
    void refuse(const RecordId& record, const std::string& field, RefusalCode code,
                std::vector<std::string> parameters = {}) {
        captured_.refusals.push_back(refusal(record, field, code, std::move(parameters)));
    }

    void load_record(const RecordEdit& edit) {
        Working w{edit, {}, {}};
        if (edit.create) {
            if (w.edit.id.is_nil()) w.edit.id = draw_id();
            if (kind_holding(db_, w.edit.id)) return refuse(w.edit.id, "", "exists");
            w.loaded.row.kind = edit.kind;
            w.loaded.row.id = w.edit.id;
            w.loaded.row.confirmed.kind = edit.kind->number;
            w.loaded.row.confirmed.id = w.edit.id;
            add_defaults(w);
        } else {
            auto loaded = load(db_, edit.id);
            // Of what has departed only refused work can still be repaired.
            if (!loaded || (loaded->row.status & kRowHidden &&
                            std::none_of(loaded->pending.begin(), loaded->pending.end(),
                                         [](const PendingChange& change) {
                                             return change.state == BundleState::refused;
                                         })))
                return refuse(edit.id, "", "not_found");
            if (edit.kind && edit.kind != loaded->row.kind)
                return refuse(edit.id, "", "other_kind", {loaded->row.kind->name});
            w.edit.kind = loaded->row.kind;
            w.loaded = std::move(*loaded);
            complete_edit(w);
        }
        check_writers(w);
        for (const FieldEdit& f : w.edit.fields)
            for (const Item& item : f.content) add_references(*f.field, item.value, w.references);
        working_.push_back(std::move(w));
    }

    RecordId draw_id() {
        std::array<std::uint8_t, 10> random{};
        core_.environment().random(random);
        return time_ordered_id(now_.at.time_since_epoch().count(), random);
    }

    // The edit's fields, completed by what a new record may leave out.
    void add_defaults(Working& w) {
        Record record{w.edit.kind, w.edit.id, {}, {}};
        for (const FieldEdit& f : w.edit.fields) record.fields[f.field->number] = f.content;
        std::set<std::uint16_t> given;
        for (const auto& [number, content] : record.fields) given.insert(number);
        CaptureFacts facts{now_, standing_.author, core_.file(), {}};
        if (const auto* raw = record.value("visit_id").text();
            raw && record.shown("customer_id").empty())
            if (auto visit = RecordId::from_bytes(*raw)) facts.visit_customer = customer_of(*visit);
        set_defaults(record, facts);
        for (auto& [number, content] : record.fields)
            if (!given.contains(number))
                w.edit.fields.push_back(
                    {w.edit.kind->field(number), FieldEdit::Op::set, std::move(content)});
    }

    RecordId customer_of(const RecordId& visit) {
        const auto named = [](const Value& value) {
            const auto* raw = value.text();
            return (raw ? RecordId::from_bytes(*raw) : std::nullopt).value_or(RecordId{});
        };
        for (const Working& w : working_)
            if (w.edit.id == visit)
                for (const FieldEdit& f : w.edit.fields)
                    if (f.field->name == "customer_id" && !f.content.empty())
                        return named(f.content[0].value);
        if (const auto row = load_row(db_, visit)) {
            const Record record = row->record();
            return named(record.value("customer_id"));
        }
        return {};
    }

    // An open visit that gets its result is closed by it, and what was told is done.
    static void complete_edit(Working& w) {
        const auto edits = [&](std::string_view name) {
            return std::any_of(w.edit.fields.begin(), w.edit.fields.end(), [&](const FieldEdit& f) {
                return f.field->name == name && f.op == FieldEdit::Op::set;
            });
        };
        const auto enters = [&](const char* state) {
            if (!edits("state"))
                w.edit.fields.push_back(
                    {w.edit.kind->field("state"), FieldEdit::Op::set, {{"", Value(state)}}});
        };
        if (w.edit.kind->name == "visit" && edits("result")) enters("closed");
        if (w.edit.kind->name == "loop_task" && edits("told_at")) enters("done");
    }

    void check_writers(const Working& w) {
        // What has not left as a whole is still being created: a draft, or a refused bundle.
        const bool creates =
            w.edit.create || std::any_of(w.loaded.pending.begin(), w.loaded.pending.end(),
                                         [](const PendingChange& c) {
                                             return c.creates && (c.state == BundleState::draft ||
                                                                  c.state == BundleState::refused);
                                         });
        check_writer(*w.edit.kind, nullptr, w.edit.id, creates, role_, captured_.refusals);
        const Record present = creates ? Record{} : w.loaded.row.record();
        for (const FieldEdit& f : w.edit.fields) {
            check_writer(*w.edit.kind, f.field, w.edit.id, creates, role_, captured_.refusals);
            if (!creates) check_open(present, *f.field, captured_.refusals);
        }
    }

    // ---- when

    // Later than everything the edited fields hold, also where the clock was set back behind it.
    // What the server has not confirmed it may have replaced: no stamp gets in that is too far
    // ahead.
    void take_stamp() {
        const std::int64_t now_ms = core_.server_time_ms();
        const Stamp furthest = HybridClock::at(now_ms + kStampAheadMsMax);
        const auto seen = [&](const Working& w, bool pending) {
            Stamp newest = 0;
            for (const FieldEdit& f : w.edit.fields)
                newest =
                    std::max(newest, newest_stamp(w.loaded, f.field->number,
                                                  [&](const PendingChange&) { return pending; }));
            return newest;
        };
        for (const Working& w : working_)
            core_.clock().observe(std::max(seen(w, false), std::min(seen(w, true), furthest)));
        stamp_ = core_.clock().tick(now_ms);
        capture_ = {core_.capture_file(), core_.capture_number(stamp_)};
    }

    // ---- which bundle

    // A draft or a refused bundle takes the edits of its own records and what is added to them; a
    // lone edit joins an unsent bundle that holds nothing but this record, if no later bundle
    // carries one of the fields; everything else is a new bundle.
    void choose_bundle() {
        bundle_ = open_bundle();
        if (!bundle_ && working_.size() == 1 && !working_[0].edit.create && !options_.as_draft)
            bundle_ = bundle_to_join(working_[0]);
        if (bundle_) {
            bundle_row_ = *load_bundle(db_, bundle_);
            return;
        }
        bundle_row_.state = options_.as_draft ? BundleState::draft : BundleState::queued;
        bundle_row_.id = bundle_ = next_bundle(db_);
        opened_bundle_ = true;  // and stands in the file once it is known what it needs
    }

    // The one draft or refused bundle that all edited records are part of; 0 if there is none.
    std::int64_t open_bundle() const {
        std::set<std::int64_t> bundles;
        for (const Working& w : working_) {
            if (w.edit.create) continue;
            std::int64_t open = 0;
            for (const PendingChange& change : w.loaded.pending)
                if (change.state == BundleState::draft || change.state == BundleState::refused)
                    open = change.bundle;
            bundles.insert(open);
        }
        return bundles.size() == 1 ? *bundles.begin() : 0;
    }

    std::int64_t bundle_to_join(const Working& w) {
        for (auto change = w.loaded.pending.rbegin(); change != w.loaded.pending.rend(); ++change) {
            const bool open =
                change->state == BundleState::queued || RAPPORT_PLANTED("confirm_a_newer_revision");
            if (open && records_of(db_, change->bundle).size() == 1 &&
                !refers_behind(w, change->bundle))
                return change->bundle;
            for (const FieldEdit& f : w.edit.fields)
                if (change->write_of(f.field->number) &&
                    !RAPPORT_PLANTED("coalesce_behind_a_later_bundle"))
                    return 0;
        }
        return 0;
    }

    // Does the edit name a record that only a later bundle creates?
    bool refers_behind(const Working& w, std::int64_t bundle) {
        for (const RecordId& id : w.references) {
            auto select =
                db_.prepare("SELECT 1 FROM change WHERE record = ? AND creates AND bundle > ?");
            if (select.bind(1, id).bind(2, bundle).step()) return true;
        }
        return false;
    }

    // ---- writing

    PendingChange& own_change(Working& w) {
        for (PendingChange& change : w.loaded.pending)
            if (change.bundle == bundle_) return change;
        PendingChange change;
        change.bundle = bundle_;
        change.state = bundle_row_.state;
        change.kind = w.edit.kind;
        change.record = w.edit.id;
        change.creates = w.edit.create;
        const auto at = std::find_if(w.loaded.pending.begin(), w.loaded.pending.end(),
                                     [&](const PendingChange& c) { return c.bundle > bundle_; });
        return *w.loaded.pending.insert(at, std::move(change));
    }

    void write_record(Working& w) {
        PendingChange& change = own_change(w);
        change.writes.reserve(change.writes.size() + w.edit.fields.size());
        for (FieldEdit& f : w.edit.fields) {
            const std::size_t before = captured_.refusals.size();
            check_content(*f.field, w.edit.id, f.content, limits_, captured_.refusals);
            if (captured_.refusals.size() != before) continue;
            if (bundle_row_.state == BundleState::refused) absorb_later(w, change, *f.field);
            if (f.field->is_keyed())
                write_keyed(w, change, f);
            else
                write_register(w, change, f);
        }
        std::erase_if(change.writes, [](const Write& write) {
            return write.adds.empty() && write.over.empty() && write.over_own.empty() &&
                   write.folded.empty();
        });
        if (w.edit.create) {
            Record record{w.edit.kind, w.edit.id, {}, {}};
            refresh(w.loaded.row, w.loaded.pending);
            record.fields = std::move(w.loaded.row.shown);
            w.loaded.row.confirmed.scope =
                !w.edit.scope.empty() ? w.edit.scope : scope_in_capture(record);
            w.loaded.row.shown = std::move(record.fields);
            if (w.edit.kind->home == Home::territory) change.scope = w.loaded.row.confirmed.scope;
        } else {
            refresh(w.loaded.row, w.loaded.pending);
        }
    }

    std::string scope_in_capture(const Record& record) {
        if (!record.kind->root.empty())
            if (const auto* raw = record.value(record.kind->root).text())
                for (const Working& w : working_)
                    if (w.edit.id.raw() == *raw && w.edit.id != record.id)
                        return w.loaded.row.confirmed.scope;
        return scope_of_new(db_, record, standing_.author);
    }

    // A refused bundle is repaired in place: what later bundles, which all wait for it, say about
    // the field moves into it.
    static void absorb_later(Working& w, PendingChange& target, const Field& field) {
        for (PendingChange& later : w.loaded.pending) {
            if (later.bundle <= target.bundle) continue;
            if (const Write* theirs = later.write_of(field.number))
                for (const Added& add : theirs->adds)
                    add_references(field, add.value, w.references);
            absorb(target, later, field.number);
        }
    }

    void write_register(Working& w, PendingChange& change, const FieldEdit& f) {
        const Field& field = *f.field;
        const Value value =
            f.op == FieldEdit::Op::set && !f.content.empty() ? f.content[0].value : Value();
        const Content shown = shown_now(w, field);
        const bool same =
            value.is_null() ? shown.empty() : shown.size() == 1 && shown[0].value == value;
        if (same && !options_.resolves) return;
        if (!may_change(w, change, field, value)) return;

        Write* own = change.write_of(field.number);
        const PendingChange* earlier = nullptr;
        for (const PendingChange& c : w.loaded.pending)
            if (c.bundle < change.bundle && c.write_of(field.number)) earlier = &c;

        if (own) {
            for (const Added& add : own->adds)
                own->folded.push_back({add.capture, content_hash(add.key, add.value)});
            own->adds.clear();
        } else {
            own = &change.write_for(field.number);
            if (earlier) {
                for (const Added& add : earlier->write_of(field.number)->adds)
                    if (!RAPPORT_PLANTED("forget_own_earlier_write"))
                        own->over_own.push_back({add.capture, add.key});
            } else if (const auto it = w.loaded.row.confirmed.fields.find(field.number);
                       it != w.loaded.row.confirmed.fields.end()) {
                own->over = shown_dots(field, it->second);
            }
        }
        if (options_.resolves || RAPPORT_PLANTED("edit_overwrites_the_unseen"))
            if (const auto it = w.loaded.row.confirmed.fields.find(field.number);
                it != w.loaded.row.confirmed.fields.end())
                for (const LiveValue& l : it->second.live) name_once(own->over, {l.dot, l.key});
        own->adds.push_back({"", value, stamp_, capture_});
    }

    static Content shown_now(const Working& w, const Field& field, std::int64_t without = 0) {
        const auto writes = [&](const PendingChange& c) {
            return c.bundle != without && c.write_of(field.number);
        };
        const bool pending = std::any_of(w.loaded.pending.begin(), w.loaded.pending.end(), writes);
        if (!pending && !w.loaded.row.confirmed.fields.count(field.number)) return {};
        return show(field, overlay(w.loaded.row, w.loaded.pending, field.number, without));
    }

    static void name_once(std::vector<Overwritten>& over, Overwritten o) {
        if (std::find(over.begin(), over.end(), o) == over.end()) over.push_back(std::move(o));
    }

    // Policies that stop a write at capture.
    bool may_change(const Working& w, const PendingChange& change, const Field& field,
                    const Value& value) {
        const Content seen = shown_now(w, field, change.bundle);
        switch (field.policy) {
            case Policy::write_once: {
                const bool own_is_open = change.state == BundleState::draft ||
                                         change.state == BundleState::refused || w.edit.create;
                if ((seen.empty() && (!change.write_of(field.number) || own_is_open)) ||
                    options_.resolves)
                    return true;
                refuse(w.edit.id, field.name, "write_once", {"captured"});
                return false;
            }
            case Policy::absorbing:
                if (value.integer() && *value.integer() != 0) return true;
                refuse(w.edit.id, field.name, "absorbing", {"captured"});
                return false;
            case Policy::highest:
            case Policy::lowest: {
                if (seen.empty()) return true;
                const int order = compare_in_order(field, value, seen[0].value);
                const bool backwards = field.policy == Policy::highest ? order < 0 : order > 0;
                if (!backwards || field.marks.lowered_by.contains(role_)) return true;
                refuse(w.edit.id, field.name, "not_lowerable",
                       {field.policy == Policy::highest ? "only_raised" : "only_lowered"});
                return false;
            }
            default:
                return true;
        }
    }

    void write_keyed(Working& w, PendingChange& change, const FieldEdit& f) {
        const Field& field = *f.field;
        const Content shown = shown_now(w, field);
        const auto find = [](const Content& content, const std::string& key) {
            return std::find_if(content.begin(), content.end(),
                                [&](const Item& item) { return item.key == key; });
        };
        Content adds;
        std::vector<std::string> leaves;
        if (f.op == FieldEdit::Op::add || f.op == FieldEdit::Op::set)
            for (const Item& item : f.content)
                if (const auto it = find(shown, item.key);
                    it == shown.end() || it->value != item.value || options_.resolves) {
                    adds.push_back(item);
                    if (it != shown.end()) leaves.push_back(item.key);
                }
        if (f.op == FieldEdit::Op::set || f.op == FieldEdit::Op::clear)
            for (const Item& item : shown)
                if (f.op == FieldEdit::Op::clear || find(f.content, item.key) == f.content.end())
                    leaves.push_back(item.key);
        if (f.op == FieldEdit::Op::remove)
            for (const Item& item : f.content)
                if (find(shown, item.key) != shown.end()) leaves.push_back(item.key);

        Write& own = change.write_for(field.number);
        for (const std::string& key : leaves) take_away(w, change, own, key);
        for (const Item& item : adds) own.adds.push_back({item.key, item.value, stamp_, capture_});
        if (!field.is_set())  // a map keeps "no value" as a value of its own, so that it can meet a
                              // concurrent one
            for (const std::string& key : leaves)
                if (find(adds, key) == adds.end())
                    own.adds.push_back({key, Value(), stamp_, capture_});
    }

    static void take_away(const Working& w, const PendingChange& change, Write& own,
                          const std::string& key) {
        own.adds.erase_if([&](const Added& add) {
            if (add.key != key) return false;
            own.folded.push_back({add.capture, content_hash(add.key, add.value)});
            return true;
        });
        if (const auto it = w.loaded.row.confirmed.fields.find(own.field);
            it != w.loaded.row.confirmed.fields.end())
            for (const LiveValue& l : it->second.live)
                if (l.key == key) name_once(own.over, {l.dot, l.key});
        for (const PendingChange& earlier : w.loaded.pending) {
            if (earlier.bundle >= change.bundle) continue;
            if (const Write* write = earlier.write_of(own.field))
                for (const Added& add : write->adds)
                    if (add.key == key) own.over_own.push_back({add.capture, add.key});
        }
    }

    // ---- the whole

    void check_whole(Working& w) {
        if (bundle_row_.state == BundleState::draft) return;
        // Lent, not copied: a capture that fails on the way is undone with its row.
        Row& shown = w.loaded.row;
        Record record{shown.kind, shown.id, shown.confirmed.scope, std::move(shown.shown)};
        check_whole(w, record);
        shown.shown = std::move(record.fields);
    }

    void check_whole(const Working& w, const Record& record) {
        check_record(record, captured_.refusals);
        if (w.edit.kind->name == "answer")
            if (const auto* raw = record.value("question_id").text())
                if (const auto question = RecordId::from_bytes(*raw))
                    if (const auto row = load_row(db_, *question))
                        check_answer(record, row->record(), captured_.refusals);
    }

    void check_size() {
        if (working_.size() > limits_.bundle_changes_max)
            refuse({}, "", "too_many_records",
                   {"counted", std::to_string(limits_.bundle_changes_max),
                    std::to_string(working_.size())});
        std::size_t most = 64;
        for (Working& w : working_) {
            most += 80 + own_change(w).scope.size();
            for (const Write& write : own_change(w).writes) most += bytes_at_most(write);
        }
        if (most <= limits_.bundle_bytes_max) return;
        Bundle bundle;
        for (Working& w : working_)
            bundle.changes.push_back(
                {w.edit.kind->number, w.edit.id, w.edit.create, {}, own_change(w).writes});
        if (const std::size_t size = encode_bundle(bundle).size(); size > limits_.bundle_bytes_max)
            refuse({}, "", "too_large",
                   {"bundle", std::to_string(limits_.bundle_bytes_max), std::to_string(size)});
    }

    void store() {
        for (Working& w : working_) {
            save_shown(db_, w.loaded.row, w.loaded.pending);
            writing_.changed(*w.edit.kind, w.edit.id);
        }
        if (bundle_row_.state == BundleState::draft) {
            touch_draft(db_, bundle_, now_);
            for (const Working& w : working_) forget_typed_into(w);
        }
        std::set<std::int64_t> emptied;
        for (Working& w : working_)
            for (const PendingChange& change : w.loaded.pending)
                if (change.writes.empty() && !change.creates &&
                    records_of(db_, change.bundle).empty())
                    emptied.insert(change.bundle);
        for (const std::int64_t bundle : emptied)
            if (bundle != bundle_ || !opened_bundle_) delete_bundle(db_, bundle);
        if (emptied.contains(bundle_)) {
            for (Working& w : working_) {
                w.loaded.pending = load_pending(db_, w.loaded.row);
                save_with_pending(db_, w.loaded.row, w.loaded.pending);
            }
            return;
        }
        if (opened_bundle_ && holds_stamp()) writing_.clock_is_in_queue(stamp_);
        if (opened_bundle_)
            insert_bundle(db_, bundle_, bundle_row_.state, now_, needs());
        else
            add_needs(db_, bundle_, needs());
        if (bundle_row_.state == BundleState::refused || bundle_row_.later_run != 0) {
            bundle_row_.state = BundleState::queued;  // an edited bundle may go at once
            bundle_row_.later_run = 0;
            bundle_row_.reasons.clear();
            save_bundle(db_, bundle_row_);
        }
    }

    bool holds_stamp() {
        return std::any_of(working_.begin(), working_.end(), [&](Working& w) {
            const std::vector<Write>& writes = own_change(w).writes;
            return std::any_of(writes.begin(), writes.end(), [&](const Write& write) {
                return !write.adds.empty() && write.adds.back().stamp == stamp_;
            });
        });
    }

    void forget_typed_into(const Working& w) {
        if (w.edit.create) return;
        for (const std::string& name : options_.typed) forget_typed(db_, w.edit.id, name);
        if (options_.typed.empty())
            for (const FieldEdit& f : w.edit.fields) forget_typed(db_, w.edit.id, f.field->name);
    }

    // The earlier bundles this one depends on: they create what it changes or refers to, or change
    // a field it changes.
    std::vector<std::int64_t> needs() {
        std::vector<std::int64_t> needs;
        const auto need = [&](std::int64_t earlier) {
            if (earlier == bundle_ || RAPPORT_PLANTED("forget_what_a_bundle_needs")) return;
            insert_need(needs, earlier);
        };
        if (RAPPORT_PLANTED("wait_for_the_bundle_before"))
            need(std::max<std::int64_t>(bundle_ - 1, 1));
        for (Working& w : working_) {
            const PendingChange& own = own_change(w);
            for (const PendingChange& earlier : w.loaded.pending) {
                if (earlier.bundle >= bundle_) continue;
                const bool shares =
                    std::any_of(own.writes.begin(), own.writes.end(), [&](const Write& write) {
                        return std::any_of(earlier.writes.begin(), earlier.writes.end(),
                                           [&](const Write& e) { return e.field == write.field; });
                    });
                if (earlier.creates || shares) need(earlier.bundle);
            }
            for (const RecordId& id : w.references) {
                auto select = db_.prepare("SELECT bundle FROM change WHERE record = ? AND creates");
                select.bind(1, id);
                while (select.step()) need(select.integer(0));
            }
        }
        return needs;
    }

    Store::Core& core_;
    CommitOptions options_;
    Store::Core::Writing& writing_;
    sqlite::Database& db_;
    Instant now_;
    const Standing& standing_;
    const Role role_;
    const Limits& limits_;
    Stamp stamp_ = 0;
    CaptureId capture_;
    std::vector<Working> working_;
    std::int64_t bundle_ = 0;
    bool opened_bundle_ = false;
    BundleRow bundle_row_;
    Captured captured_;
};

void check_arguments(std::span<const RecordEdit> edits) {
    for (const RecordEdit& edit : edits) {
        if (edit.create && !edit.kind)
            throw Error(ErrorCode::invalid_argument, "a new record needs a kind");
        for (const FieldEdit& f : edit.fields)
            if (!f.field) throw Error(ErrorCode::invalid_argument, "an edit names no field");
    }
}

}  // namespace

Role capture_role(sqlite::Database& db) {
    const auto identity = stored_identity(db);
    return identity ? identity->role : Role::rep;
}

namespace {

std::string scope_of_new(sqlite::Database& db, const Record& record,
                         const std::string& captured_by) {
    if (std::string scope = own_scope(record, captured_by); !scope.empty()) return scope;
    if (record.kind->home == Home::territory) {
        const auto identity = stored_identity(db);
        return identity ? own_territory(*identity) : "";
    }
    const auto* raw = record.kind->root.empty() ? nullptr : record.value(record.kind->root).text();
    const auto root = raw ? RecordId::from_bytes(*raw) : std::nullopt;
    const auto scope = root ? scope_of(db, *root) : std::nullopt;
    // A request about a theme stays with its author: reasons are not for everybody.
    if (scope && *scope == "global" && record.kind->name == "state_request")
        return captured_by.empty() ? "" : "rep/" + captured_by;
    return scope.value_or("");
}

}  // namespace

std::string scope_for(sqlite::Database& db, const Record& record) {
    return scope_of_new(db, record, author(db));
}

Captured commit_edits(Store::Core& core, std::span<const RecordEdit> edits,
                      const CommitOptions& options) {
    if (edits.empty()) return {};
    check_arguments(edits);
    Store::Core::Writing writing(core);
    const Standing standing(writing.db);
    Captured captured = Capture(core, writing, standing, options).run(edits);
    if (captured) writing.commit();
    return captured;
}

std::vector<Captured> Store::commit_all(std::span<const std::span<const RecordEdit>> bundles) {
    for (const std::span<const RecordEdit> edits : bundles) check_arguments(edits);
    Core::Writing writing(*core_);
    const Standing standing(writing.db);
    std::vector<Captured> all;
    all.reserve(bundles.size());
    for (const std::span<const RecordEdit> edits : bundles)
        all.push_back(edits.empty() ? Captured{}
                                    : Capture(*core_, writing, standing, {}).run(edits));
    writing.commit();
    return all;
}

Captured Store::commit(std::span<const RecordEdit> edits, bool as_draft) {
    return commit_edits(*core_, edits, {.as_draft = as_draft, .resolves = false, .typed = {}});
}

}  // namespace rapport
