// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "model/json.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "store/capture.hpp"
#include "store/lost_rows.hpp"
#include "store/needs.hpp"

namespace rapport {
namespace {

// The draft a record is part of; 0 if none.
std::int64_t draft_of(const Loaded& loaded) {
    for (const PendingChange& change : loaded.pending)
        if (change.state == BundleState::draft) return change.bundle;
    return 0;
}

// The draft, else what was refused last.
std::int64_t discardable_of(const Loaded& loaded) {
    std::int64_t bundle = draft_of(loaded);
    for (auto change = loaded.pending.rbegin(); bundle == 0 && change != loaded.pending.rend();
         ++change)
        if (change->state == BundleState::refused) bundle = change->bundle;
    return bundle;
}

Loaded draft_record(sqlite::Database& db, const RecordId& id) {
    auto loaded = load(db, id);
    if (!loaded) throw Error(ErrorCode::not_found, "there is no record " + id.text());
    if (draft_of(*loaded) == 0)
        throw Error(ErrorCode::conflict, "record " + id.text() + " is not a draft");
    return *std::move(loaded);
}

constexpr std::size_t kTitleBytesMax = 120;

// What a list shows of a draft.
std::string title_of(const Record& record) {
    static constexpr std::array<std::string_view, 8> kTelling{
        "name", "title", "verbatim", "need", "summary", "text", "description", "product_text"};
    for (const std::string_view name : kTelling) {
        std::string title;
        for (const Item& item : record.shown(name)) {
            const std::vector<Value> one{item.value};
            for (const Value& value : item.value.parts() ? *item.value.parts() : one)
                if (value.text()) title += (title.empty() ? "" : " ") + *value.text();
        }
        if (title.empty() || record.kind->field(name)->type.shape == Shape::reference) continue;
        if (title.size() > kTitleBytesMax) {
            std::size_t end = kTitleBytesMax;
            while (end > 0 && (title[end] & 0xC0) == 0x80) --end;
            title.resize(end);
        }
        return title;
    }
    return {};
}

std::vector<Draft::Typed> typed_into(sqlite::Database& db, const RecordId& record) {
    std::vector<Draft::Typed> typed;
    auto select = db.prepare("SELECT field, text FROM draft_text WHERE record=? ORDER BY field");
    select.bind(1, record);
    while (select.step())
        typed.push_back({record, std::string(select.text(0)), std::string(select.text(1))});
    return typed;
}

// What a person means by the text typed into one field, or into one part of a group together with
// what stands typed in its other parts: an amount is none without its currency.
class TypedEdit {
public:
    std::vector<std::string> names;  // whose texts the edit takes in

    TypedEdit(const Record& record, std::string name, const ResolveReference& resolve)
        : names{name}, record_(record), name_(std::move(name)), resolve_(resolve) {
        const auto dot = name_.find('.');
        field_ = record.kind->field(std::string_view(name_).substr(0, dot));
        if (dot != std::string::npos) rest_ = name_.substr(dot + 1);
        has_part_ =
            field_ && field_->type.shape == Shape::group && !field_->is_keyed() && is_part(rest_);
        has_key_ = field_ && field_->policy == Policy::per_key && !rest_.empty();
        if (!field_ || (dot != std::string::npos && !has_part_ && !has_key_))
            throw Error(ErrorCode::invalid_argument, record.kind->name + " has no field " + name_);
    }

    // None, with the reasons, if the text is no value yet.
    std::optional<FieldEdit> take(const std::string& text, const std::vector<Draft::Typed>& others,
                                  std::vector<Refusal>& refusals) {
        auto content = content_from_text(*field_, rest_, text, resolve_, record_.id, refusals);
        if (!content) return std::nullopt;
        if (has_part_) content = whole_group(*content, others);
        FieldEdit edit{field_, FieldEdit::Op::set, *std::move(content)};
        if (has_key_)
            edit.op = text.empty() ? FieldEdit::Op::remove : FieldEdit::Op::add;
        else if (edit.content.empty())
            edit.op = FieldEdit::Op::clear;
        return edit;
    }

    // Does the record show something that clearing would take away?
    bool shows_something() const {
        const Content& shown = record_.shown(field_->name);
        if (!has_part_ || shown.empty() || !shown[0].value.parts()) return false;
        for (std::size_t i = 0; i < field_->type.parts.size(); ++i)
            if (field_->type.parts[i].name == rest_) return !(*shown[0].value.parts())[i].is_null();
        return false;
    }

private:
    bool is_part(std::string_view name) const {
        return std::any_of(field_->type.parts.begin(), field_->type.parts.end(),
                           [&](const PartInfo& part) { return part.name == name; });
    }
    Content whole_group(const Content& typed, const std::vector<Draft::Typed>& others) {
        Content whole = record_.shown(field_->name);
        for (const Draft::Typed& other : others) {
            if (other.field == name_ || other.field.rfind(field_->name + ".", 0) != 0) continue;
            const std::string part = other.field.substr(field_->name.size() + 1);
            std::vector<Refusal> not_yet;
            const auto content =
                content_from_text(*field_, part, other.text, resolve_, record_.id, not_yet);
            if (!content) continue;
            whole = over_part(*field_, part, whole, *content);
            names.push_back(other.field);
        }
        return over_part(*field_, rest_, whole, typed);
    }

    const Record& record_;
    const std::string name_;
    const ResolveReference& resolve_;
    const Field* field_ = nullptr;
    std::string rest_;  // the part or key
    bool has_part_ = false, has_key_ = false;
};

}  // namespace

void touch_draft(sqlite::Database& db, std::int64_t bundle, const Instant& now) {
    db.prepare("UPDATE bundle SET captured_at=? WHERE id=?").bind_all(now.packed(), bundle).run();
}

void forget_typed(sqlite::Database& db, const RecordId& record, const std::string& name) {
    db.prepare("DELETE FROM draft_text WHERE record=?1 AND (field=?2 OR field GLOB ?2||'.*')")
        .bind_all(record, name)
        .run();
}

std::vector<Draft> Store::drafts() const {
    const Core::Reading reading(*core_);
    std::vector<Draft> drafts;
    auto select = reading.db.prepare(
        "SELECT id, captured_at FROM bundle WHERE state=0 ORDER BY captured_at DESC, id DESC");
    while (select.step()) {
        Draft draft;
        draft.touched = Instant::unpack(select.integer(1));
        for (const auto& [id, kind] : records_of(reading.db, select.integer(0))) {
            const auto row = load_row(reading.db, id);
            if (!row) continue;
            if (!draft.kind) draft.kind = row->kind;
            if (draft.title.empty()) draft.title = title_of(row->record());
            draft.records.push_back(id);
            for (Draft::Typed& typed : typed_into(reading.db, id))
                draft.unfinished.push_back(std::move(typed));
        }
        if (draft.kind) drafts.push_back(std::move(draft));
    }
    return drafts;
}

std::vector<Refusal> Store::autosave(const RecordId& record, const std::string& field,
                                     const std::string& text) {
    std::vector<Refusal> refusals;
    std::optional<FieldEdit> edit;
    std::vector<std::string> names;
    bool unfinished = !text.empty();
    {
        const Core::Reading reading(*core_);
        const Record draft = draft_record(reading.db, record).row.record();
        const ResolveReference resolve =
            [&](std::string_view reference) -> std::optional<RecordId> {
            const auto colon = reference.find(':');
            if (colon == std::string_view::npos) return RecordId::parse(reference);
            return find_external(std::string(reference.substr(0, colon)),
                                 std::string(reference.substr(colon + 1)));
        };
        TypedEdit typed(draft, field, resolve);
        edit = typed.take(text, typed_into(reading.db, record), refusals);
        names = std::move(typed.names);
        unfinished = unfinished || typed.shows_something();
    }
    if (edit) {
        const RecordEdit whole{nullptr, record, false, {}, {*std::move(edit)}};
        refusals = commit_edits(*core_, std::span<const RecordEdit>(&whole, 1),
                                {.as_draft = false, .resolves = false, .typed = std::move(names)})
                       .refusals;
    }
    if (refusals.empty()) return refusals;
    Core::Writing writing(*core_);
    const Loaded draft = draft_record(writing.db, record);
    forget_typed(writing.db, record, field);
    if (unfinished)
        writing.db.prepare("INSERT INTO draft_text(record, field, text) VALUES(?,?,?)")
            .bind_all(record, std::string_view(field), std::string_view(text))
            .run();
    else
        refusals.clear();  // nothing was there and nothing is
    touch_draft(writing.db, draft_of(draft), core_->now());
    writing.changed(*draft.row.kind, record);
    writing.commit();
    return refusals;
}

Captured Store::submit(const RecordId& any_record_of_the_draft) {
    Core::Writing writing(*core_);
    const std::int64_t bundle = draft_of(draft_record(writing.db, any_record_of_the_draft));
    const auto records = records_of(writing.db, bundle);
    Captured captured;
    for (const auto& [id, kind] : records) {
        if (const auto row = load_row(writing.db, id))
            check_record(row->record(), captured.refusals);
        else
            captured.refusals.push_back(refusal(id, {}, "row_lost"));
        for (const Draft::Typed& typed : typed_into(writing.db, id))
            captured.refusals.push_back(
                {id, typed.field, refusal_code::kMalformed,
                 "what was typed into " + typed.field + " is not a value yet"});
        captured.ids.push_back(id);
    }
    if (!captured) return captured;
    BundleRow row = *load_bundle(writing.db, bundle);
    row.state = BundleState::queued;
    save_bundle(writing.db, row);
    touch_draft(writing.db, bundle, core_->now());  // from now on it is captured
    for (const auto& [id, kind] : records) {
        auto loaded = load(writing.db, id);
        save_with_pending(writing.db, loaded->row, loaded->pending);
        writing.changed(*kind, id);
    }
    writing.commit();
    return captured;
}

void Store::discard(const RecordId& any_record) {
    Core::Writing writing(*core_);
    auto asked = load(writing.db, any_record);
    if (!asked) asked = without_row(writing.db, any_record);
    if (!asked) throw Error(ErrorCode::not_found, "there is no record " + any_record.text());
    const std::int64_t bundle = discardable_of(*asked);
    if (bundle == 0)
        throw Error(ErrorCode::conflict,
                    "record " + any_record.text() + " is no draft, and nothing of it is refused");
    if (is_needed(writing.db, bundle))
        throw Error(ErrorCode::conflict, "something captured later needs what this would remove");
    const auto records = records_of(writing.db, bundle);
    std::vector<Loaded> loaded;
    for (const auto& [id, kind] : records)
        if (auto held = load(writing.db, id)) loaded.push_back(*std::move(held));
    delete_bundle(writing.db, bundle);
    for (Loaded& l : loaded) {
        bool made_here = false;
        std::erase_if(l.pending, [&](const PendingChange& c) {
            if (c.bundle == bundle) made_here = c.creates;
            return c.bundle == bundle;
        });
        writing.db.prepare("DELETE FROM draft_text WHERE record=?").bind_all(l.row.id).run();
        if (made_here)
            delete_row(writing.db, l.row);
        else
            save_with_pending(writing.db, l.row, l.pending);
        writing.changed(*l.row.kind, l.row.id);
    }
    writing.commit();
}

}  // namespace rapport
