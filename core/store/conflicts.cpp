// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "model/lifecycle.hpp"
#include "model/refusals.hpp"
#include "store/capture.hpp"
#include "store/core.hpp"
#include "store/identity.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

std::string author_of(sqlite::Database& db, Dot dot) {
    if (dot.writer == kUnsentWriter) return author(db);
    if (dot.writer == kServerWriter) return "server";
    auto select = db.prepare("SELECT name FROM author WHERE writer = ?");
    if (select.bind(1, dot.writer).step()) return std::string(select.text(0));
    return "";
}

// The conflicts of one field: one, or for a map one per key.
void append_conflicts(sqlite::Database& db, const Loaded& loaded, const Field& field,
                      std::vector<Conflict>& out) {
    const FieldState state = overlay(loaded.row, loaded.pending, field.number);
    if (!conflicted(field, state)) return;
    const auto identity = stored_identity(db);
    const Content shown = show(field, state);
    std::vector<std::string> keys;
    for (const LiveValue& l : state.live)
        if (std::find(keys.begin(), keys.end(), l.key) == keys.end()) keys.push_back(l.key);
    for (const std::string& key : keys) {
        Conflict c;
        c.id = loaded.row.id.text() + ":" + field.name + (key.empty() ? "" : "." + key);
        c.kind = loaded.row.kind;
        c.record = loaded.row.id;
        c.field = &field;
        c.key = key;
        for (const LiveValue& l : state.live) {
            if (l.key != key) continue;
            Candidate candidate;
            if (!l.value.is_null()) candidate.content = {{key, l.value}};
            const auto same =
                std::find_if(c.candidates.begin(), c.candidates.end(),
                             [&](const Candidate& k) { return k.content == candidate.content; });
            const bool mine =
                l.dot.writer == kUnsentWriter || (identity && l.dot.writer == identity->writer);
            if (same != c.candidates.end()) {
                same->mine |= mine;
                continue;
            }
            candidate.author = author_of(db, l.dot);
            candidate.at = Instant(TimePoint(Milliseconds(HybridClock::wall_ms(l.stamp))));
            candidate.mine = mine;
            candidate.shown = l.value.is_null() ? shown.empty()
                                                : std::find(shown.begin(), shown.end(),
                                                            Item{key, l.value}) != shown.end();
            c.candidates.push_back(std::move(candidate));
        }
        if (c.candidates.size() < 2) continue;
        std::sort(c.candidates.begin(), c.candidates.end(),
                  [](const Candidate& a, const Candidate& b) { return a.at < b.at; });
        out.push_back(std::move(c));
    }
}

std::vector<Conflict> conflicts_of(sqlite::Database& db, const RecordId& id) {
    std::vector<Conflict> found;
    if (const auto loaded = load(db, id); loaded && !(loaded->row.status & kRowHidden))
        for (const Field& field : loaded->row.kind->fields)
            append_conflicts(db, *loaded, field, found);
    return found;
}

std::optional<Conflict> conflict_named(sqlite::Database& db, const std::string& conflict_id) {
    const auto record = RecordId::parse(std::string_view(conflict_id).substr(0, 36));
    if (!record)
        throw Error(ErrorCode::invalid_argument, "a conflict is named <record id>:<field>");
    for (Conflict& c : conflicts_of(db, *record))
        if (c.id == conflict_id) return std::move(c);
    return std::nullopt;
}

Refusal not_resolvable(const Conflict& c, const char* form) {
    return refusal(c.record, c.field->name, "not_resolvable", {form});
}

}  // namespace

std::vector<Conflict> Store::conflicts(std::size_t limit) const {
    const Core::Reading reading(*core_);
    std::vector<Conflict> found;
    for (const Kind* kind : indexed_kinds(reading.db)) {
        // Left to itself SQLite reads the table, for the order's sake.
        auto select =
            reading.db.prepare("SELECT id FROM \"" + kind->name + "\" INDEXED BY \"" + kind->name +
                               "_status\" WHERE status <> 0 AND status & 4 <> 0 "
                               "ORDER BY row");
        while (found.size() < limit && select.step())
            for (Conflict& c : conflicts_of(reading.db, select.id(0)))
                found.push_back(std::move(c));
    }
    if (found.size() > limit) found.resize(limit);
    return found;
}

Captured Store::resolve(const std::string& conflict_id, Keep keep, const Content& value) {
    std::optional<Conflict> conflict;
    {
        const Core::Reading reading(*core_);
        conflict = conflict_named(reading.db, conflict_id);
    }
    if (!conflict) throw Error(ErrorCode::not_found, "there is no conflict " + conflict_id);
    Content chosen = value;
    Captured captured;
    if (keep == Keep::both) {
        if (conflict->field->policy != Policy::keep_both) {
            captured.refusals.push_back(not_resolvable(*conflict, "only_texts"));
            return captured;
        }
        std::vector<std::string> texts;
        for (const Candidate& c : conflict->candidates)
            if (!c.content.empty() && c.content[0].value.text())
                texts.push_back(*c.content[0].value.text());
        chosen = {{"", Value(detail::joined(texts))}};
    } else if (keep != Keep::value) {
        const Candidate* found = nullptr;
        for (const Candidate& c : conflict->candidates)
            if (c.mine == (keep == Keep::mine)) found = &c;  // the newest of that side
        if (!found) {
            captured.refusals.push_back(
                not_resolvable(*conflict, keep == Keep::mine ? "none_mine" : "none_theirs"));
            return captured;
        }
        chosen = found->content;
    }
    FieldEdit edit{conflict->field, FieldEdit::Op::set, chosen};
    if (!conflict->key.empty()) {
        edit.op = chosen.empty() ? FieldEdit::Op::remove : FieldEdit::Op::add;
        edit.content = {{conflict->key, chosen.empty() ? Value() : chosen[0].value}};
    } else if (chosen.empty()) {
        edit.op = FieldEdit::Op::clear;
    }
    const RecordEdit record{conflict->kind, conflict->record, false, {}, {edit}};
    return commit_edits(*core_, std::span<const RecordEdit>(&record, 1),
                        {.as_draft = false, .resolves = true, .typed = {}});
}

}  // namespace rapport
