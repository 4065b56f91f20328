// SPDX-License-Identifier: Apache-2.0
#include "server/projection.hpp"

#include <algorithm>

#include "model/planted.hpp"

namespace rapport::server {
namespace {

/// How much a record lets out. While two levels stand against each other it is the smaller.
Disclosure disclosure_of(const Kind& kind, const RecordState& state) {
    const Field* field = kind.field("disclosure");
    const auto at = field ? state.fields.find(field->number) : state.fields.end();
    if (at == state.fields.end() || at->second.live.empty()) return Disclosure::none;
    Disclosure disclosed = Disclosure::full;
    for (const LiveValue& l : at->second.live)
        disclosed =
            std::min(disclosed, TypeOf<Disclosure>::from_value(l.value).value_or(Disclosure::none));
    return disclosed;
}

const Kind* kind_of_subject(Round& round, const Device& device, const Kind& kind,
                            const RecordState& request) {
    const Field* field = kind.field("subject_id");
    const auto at = request.fields.find(field->number);
    if (at == request.fields.end()) return nullptr;
    const Content content = show(*field, at->second);
    const std::string* raw = content.empty() ? nullptr : content.front().value.text();
    const auto id = raw ? RecordId::from_bytes(*raw) : std::nullopt;
    const auto subject = id ? round.tx.record(device.tenant, *id) : std::nullopt;
    return subject ? kind_numbered(subject->state.kind) : nullptr;
}

/// A state request carries values of its subject's fields, which keep their audience.
void drop_hidden_requests(Round& round, const Device& device, const Kind& kind,
                          RecordState& request) {
    const auto requested = request.fields.find(kind.field("fields")->number);
    if (requested == request.fields.end()) return;
    const Kind* subject = kind_of_subject(round, device, kind, request);
    requested->second.live.erase_if([&](const LiveValue& l) {
        const Field* field = subject ? subject->field(l.key) : nullptr;
        return !field || !field->visible_to(device.role);
    });
}

}  // namespace

bool may_see(const Device& device, const Kind& kind) {
    return kind.seen_by.empty() || kind.seen_by.contains(device.role);
}

std::optional<RecordState> project(Round& round, const Device& device, RecordState visible) {
    const Kind* kind = kind_numbered(visible.kind);
    if (!kind || !may_see(device, *kind)) return std::nullopt;
    const Disclosure disclosed = disclosure_of(*kind, visible);
    visible.fields.erase_if([&](const auto& entry) {
        const Field* field = kind->field(entry.first);
        return !field || (!field->visible_to(device.role, disclosed) &&
                          !RAPPORT_PLANTED("forget_the_audience"));
    });
    if (kind->name == "state_request") drop_hidden_requests(round, device, *kind, visible);
    return visible;
}

}  // namespace rapport::server
