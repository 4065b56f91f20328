// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <array>
#include <filesystem>
#include <iostream>

#include "assignment.hpp"
#include "shown.hpp"

namespace rapport::cli {

namespace {

RecordId new_id() {
    Environment& environment = system_environment();
    std::array<std::uint8_t, 10> random{};
    environment.random(random);
    return time_ordered_id(environment.now().at.time_since_epoch().count(), random);
}

Record present_record(const Store& store, const RecordId& id) {
    auto record = store.find(id);
    // Of what has departed, refused work can still be repaired.
    for (const HeldBundle& bundle : record ? std::vector<HeldBundle>() : store.held())
        for (const TitledRecord& held : bundle.records)
            if (bundle.state == SyncState::refused && held.id == id) return {held.kind, id, {}, {}};
    if (!record) throw Failure(kRefused, "no record in this file has the id " + id.text());
    return std::move(*record);
}

// One record of an `add`: its kind and its words.
struct Typed {
    const Kind* kind = nullptr;
    std::vector<Assignment> assignments;
};

std::vector<Typed> records_called(const std::vector<std::string>& words) {
    std::vector<Typed> records;
    bool wants_kind = true;
    for (const std::string& word : words) {
        if (word == "+") {
            if (wants_kind) throw Failure(kUsage, "a kind must stand before and after each +");
            wants_kind = true;
        } else if (wants_kind) {
            if (word.find('=') != std::string::npos)
                throw Failure(kUsage, "\"" + word + "\" stands where a kind must: KIND f=v ...");
            records.push_back({&kind_called(word), {}});
            wants_kind = false;
        } else {
            records.back().assignments.push_back(assignment_called(word));
        }
    }
    if (wants_kind) throw Failure(kUsage, "a kind must stand before and after each +");
    return records;
}

// Of several records the one that a refusal is about is named by its place and kind.
void complain_about(const std::vector<Refusal>& refusals, const std::vector<RecordEdit>& edits) {
    for (const Refusal& refusal : refusals) {
        std::string where;
        for (std::size_t i = 0; i < edits.size(); ++i)
            if (edits[i].id == refusal.record)
                where = (edits.size() > 1 ? "@" + std::to_string(i + 1) + " " : "") +
                        edits[i].kind->name + ": ";
        complain(where + sentence_of(refusal));
    }
}

}  // namespace

int init(const InitOptions& options) {
    std::error_code ignored;
    if (std::filesystem::exists(options.file, ignored))
        throw Failure(kRefused, options.file + " exists already; nothing was changed");
    Store::Options how;
    how.rep = options.rep;
    const Store store = Store::open(options.file, how);
    std::cout << "made " << options.file << " (file " << store.overview().file_id << ")\n";
    return kDone;
}

int add(const AddOptions& options) {
    const std::vector<Typed> typed = records_called(options.words);
    Store store = open_store(options.file, false);
    std::vector<RecordId> ids;
    for (std::size_t i = 0; i < typed.size(); ++i) ids.push_back(new_id());
    const ResolveReference known = references_in(store);
    const ResolveReference resolve = [&](std::string_view reference) -> std::optional<RecordId> {
        std::string_view number = reference;
        if (!number.empty() && number.front() == '@') number.remove_prefix(1);
        if (!number.empty() && number.size() < 6 &&
            number.find_first_not_of("0123456789") == std::string_view::npos) {
            const auto place = static_cast<std::size_t>(std::stoul(std::string(number)));
            if (place == 0 || place > ids.size()) return std::nullopt;
            return ids[place - 1];
        }
        return known(reference);
    };

    std::vector<Refusal> refusals;
    std::vector<RecordEdit> edits;
    for (std::size_t i = 0; i < typed.size(); ++i) {
        RecordWords words(*typed[i].kind, ids[i], nullptr, resolve);
        for (const Assignment& assignment : typed[i].assignments) words.take(assignment, refusals);
        edits.push_back(words.edit());
    }
    Captured captured;
    if (refusals.empty()) {
        captured = store.commit(edits, options.draft);
        refusals = captured.refusals;
    }
    complain_about(refusals, edits);
    if (!refusals.empty()) {
        complain("nothing was captured");
        return kRefused;
    }
    for (const RecordId& id : captured.ids) std::cout << id.text() << '\n';
    return kDone;
}

int set(const SetOptions& options) {
    std::vector<Assignment> assignments;
    for (const std::string& word : options.words) assignments.push_back(assignment_called(word));
    Store store = open_store(options.file, false);
    const Record present = present_record(store, id_called(store, options.id));
    const ResolveReference resolve = references_in(store);
    std::vector<Refusal> refusals;
    RecordWords words(*present.kind, present.id, &present, resolve);
    for (const Assignment& assignment : assignments) words.take(assignment, refusals);
    const std::vector<RecordEdit> edits{words.edit()};
    if (refusals.empty()) refusals = store.commit(edits).refusals;
    complain_about(refusals, edits);
    if (refusals.empty()) return kDone;
    complain("nothing was changed");
    return kRefused;
}

int request(const RequestOptions& options) {
    Store store = open_store(options.file, false);
    const Record subject = present_record(store, id_called(store, options.id));
    const ResolveReference resolve = references_in(store);
    std::map<std::string, std::string> fields;
    for (const std::string& word : options.words) {
        const Assignment a = assignment_called(word);
        if (a.op != Assignment::Op::set)
            throw Failure(kUsage, "a request takes plain f=v, not \"" + word + "\"");
        const auto dot = a.name.find('.');
        const Column column = column_called(*subject.kind, a.name.substr(0, dot));
        std::string value = a.value;
        if (column.field->type.shape == Shape::reference && !value.empty() && value.front() == '@')
            value = id_called(store, value).text();
        fields[a.name] = std::move(value);
    }
    const Captured captured =
        store.request_state(subject.id, options.state, options.reason, fields);
    for (const Refusal& refusal : captured.refusals)
        complain(subject.kind->name + ": " + sentence_of(refusal));
    if (!captured) {
        complain("nothing was requested");
        return kRefused;
    }
    for (const RecordId& id : captured.ids) std::cout << id.text() << '\n';
    return kDone;
}

int drafts(const DraftsOptions& options) {
    if (!options.id.empty()) {
        Store store = open_store(options.file, false);
        const RecordId id = id_called(store, options.id);
        bool finished = true;
        for (const std::string& word : options.words) {
            const Assignment a = assignment_called(word);
            if (a.op != Assignment::Op::set)
                throw Failure(kUsage, "a draft takes plain f=v, not \"" + word + "\"");
            for (const Refusal& refusal : store.autosave(id, a.name, a.value)) {
                complain("kept, but no value yet: " + sentence_of(refusal));
                finished = false;
            }
        }
        return finished ? kDone : kRefused;
    }
    const Store store = open_store(options.file, true);
    Rows rows(std::cout, options.format,
              {"touched", "id", "kind", "records", "title", "unfinished"},
              terminal_width(STDOUT_FILENO));
    for (const Draft& draft : store.drafts()) {
        std::string unfinished;
        for (const Draft::Typed& typed : draft.unfinished)
            unfinished += (unfinished.empty() ? "" : ", ") + typed.field + "=" + typed.text;
        rows.add({Cell::whole(options.format == Format::table ? local_second(draft.touched)
                                                              : draft.touched.rfc3339()),
                  Cell::whole(draft.records.front().text()), draft.kind->name, draft.records.size(),
                  draft.title, unfinished});
    }
    return kDone;
}

int submit(const DraftOptions& options) {
    Store store = open_store(options.file, false);
    const Captured captured = store.submit(id_called(store, options.id));
    for (const Refusal& refusal : captured.refusals) {
        const auto record = store.find(refusal.record);
        complain((record ? record->kind->name + " " + record->id.text() + ": " : "") +
                 sentence_of(refusal));
    }
    if (!captured) {
        complain("the draft is kept as it is; `rapport set` repairs it");
        return kRefused;
    }
    for (const RecordId& id : captured.ids) std::cout << id.text() << '\n';
    return kDone;
}

int discard(const DraftOptions& options) {
    Store store = open_store(options.file, false);
    store.discard(id_called(store, options.id));
    return kDone;
}

}  // namespace rapport::cli
