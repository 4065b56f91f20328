// SPDX-License-Identifier: Apache-2.0
#include "model/erasure.hpp"

#include <algorithm>

#include "model/refusals.hpp"

namespace rapport {
namespace {

constexpr int kDepthMax = 8;  // record -> visit -> customer is 2

void each_reference(const TypeInfo& type, const Value& value,
                    const std::function<void(const RecordId&)>& each) {
    if (const Parts* parts = value.parts(); parts && type.shape == Shape::group)
        for (std::size_t i = 0; i < parts->size() && i < type.parts.size(); ++i)
            each_reference(type.parts[i].type, (*parts)[i], each);
    if (type.shape != Shape::reference || !value.text()) return;
    if (const auto id = RecordId::from_bytes(*value.text())) each(*id);
}

template <class Wanted>
std::set<RecordId> named(const RecordState& state, const Wanted& wanted) {
    std::set<RecordId> ids;
    const Kind* kind = kind_numbered(state.kind);
    for (const auto& [number, live] : state.fields)
        if (const Field* field = kind ? kind->field(number) : nullptr; field && wanted(*field))
            for (const LiveValue& l : live.live)
                each_reference(field->type, l.value, [&](const RecordId& id) { ids.insert(id); });
    return ids;
}

template <class Wanted>
std::set<RecordId> named(const Change& change, const Wanted& wanted) {
    std::set<RecordId> ids;
    const Kind* kind = kind_numbered(change.kind);
    for (const Write& write : change.writes)
        if (const Field* field = kind ? kind->field(write.field) : nullptr; field && wanted(*field))
            for (const Added& add : write.adds)
                each_reference(field->type, add.value, [&](const RecordId& id) { ids.insert(id); });
    return ids;
}

bool any(const Field&) { return true; }

auto is_root_of(std::uint16_t number) {
    const Kind* kind = kind_numbered(number);
    const std::string_view root = kind ? kind->root : std::string_view();
    return [root](const Field& field) { return !root.empty() && field.name == root; };
}

bool reached(const RecordState& state, const std::set<RecordId>& subjects,
             const std::function<const RecordState*(const RecordId&)>& find, int depth) {
    if (subjects.contains(state.id)) return true;
    for (const RecordId& id : references_of(state))
        if (subjects.contains(id)) return true;
    if (depth == kDepthMax) return false;
    for (const RecordId& id : parents_of(state))
        if (const RecordState* parent = find(id);
            parent && reached(*parent, subjects, find, depth + 1))
            return true;
    return false;
}

}  // namespace

bool erasable(const Field& field) {
    return field.personal || field.number == common_field::ext ||
           field.number == common_field::external_ids;
}

void each_reference(const Field& field, const Value& value,
                    const std::function<void(const RecordId&)>& each) {
    each_reference(field.type, value, each);
}

std::set<RecordId> references_of(const RecordState& state) { return named(state, any); }
std::set<RecordId> references_of(const Change& change) { return named(change, any); }
std::set<RecordId> parents_of(const RecordState& state) {
    return named(state, is_root_of(state.kind));
}
std::set<RecordId> parents_of(const Change& change) {
    return named(change, is_root_of(change.kind));
}

bool reached(const RecordState& state, const std::set<RecordId>& subjects,
             const std::function<const RecordState*(const RecordId&)>& find) {
    return reached(state, subjects, find, 0);
}

bool strip(RecordState& state, std::vector<std::pair<std::uint16_t, LiveValue>>* taken) {
    bool any_taken = false;
    const Kind* kind = kind_numbered(state.kind);
    for (auto& [number, field_state] : state.fields) {
        const Field* field = kind ? kind->field(number) : nullptr;
        if (field && !erasable(*field)) continue;
        field_state.known.clear();  // their hashes tell a short text
        if (field_state.live.empty()) continue;
        any_taken = true;
        for (LiveValue& l : field_state.live) {
            const auto at = std::lower_bound(
                field_state.counters.begin(), field_state.counters.end(), l.dot.writer,
                [](const Dot& d, std::uint64_t writer) { return d.writer < writer; });
            if (at == field_state.counters.end() || at->writer != l.dot.writer)
                field_state.counters.insert(at, l.dot);
            else
                at->counter = std::max(at->counter, l.dot.counter);
            if (taken && field) taken->emplace_back(number, std::move(l));
        }
        field_state.live.clear();
    }
    return any_taken;
}

bool strip(std::vector<Refusal>& reasons) {
    bool any = false;
    for (Refusal& reason : reasons)
        if (reason.code == "rejected" && !reason.parameters.empty() &&
            !reason.parameters.front().empty()) {
            reason = refusal(reason.record, reason.field, "rejected", {""});
            any = true;
        }
    return any;
}

bool strip(Change& change, std::vector<Write>* taken) {
    const Kind* kind = kind_numbered(change.kind);
    const auto goes = [&](const Write& write) {
        const Field* field = kind ? kind->field(write.field) : nullptr;
        return field && erasable(*field);
    };
    const auto from = std::stable_partition(change.writes.begin(), change.writes.end(),
                                            [&](const Write& write) { return !goes(write); });
    const bool any_taken = from != change.writes.end();
    if (taken) taken->insert(taken->end(), from, change.writes.end());
    change.writes.erase(from, change.writes.end());
    return any_taken;
}

}  // namespace rapport
