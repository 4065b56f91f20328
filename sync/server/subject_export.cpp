// SPDX-License-Identifier: Apache-2.0
#include "server/subject_export.hpp"

#include <nlohmann/json.hpp>

#include "model/json.hpp"
#include "server/admission.hpp"
#include "server/erasure.hpp"
#include "server/feed.hpp"

namespace rapport::server {
namespace {

std::string quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string time_of(std::int64_t unix_ms) {
    return quoted(Instant(TimePoint(Milliseconds(unix_ms))).rfc3339());
}

using Leading = std::vector<std::pair<std::string, std::string>>;

/// One value as a record that has nothing else.
std::string line_of(const Kind& kind, const RecordId& id, std::uint16_t field, Content content,
                    const Leading& leading) {
    Record record{&kind, id, {}, {}};
    record.fields[field] = std::move(content);
    return to_json(record, leading);
}

}  // namespace

bool export_subject(Round& snapshot, const std::string& tenant, const RecordId& subject,
                    const std::function<void(const std::string& json)>& line) {
    Transaction& tx = snapshot.tx;
    const auto stored = tx.record(tenant, subject);
    if (!stored) return false;
    Changeset looked_at(snapshot, tenant, "", "");
    ErasureOrder order;
    order.kind = stored->state.kind;
    order.subject = subject;
    const std::vector<RecordId> ids = reached_by(snapshot, looked_at, order);
    const std::set<RecordId> reached(ids.begin(), ids.end());
    for (const RecordId& id : ids)
        if (const StoredRecord* record = looked_at.find(id)) line(feed_line(*record));
    for (const RecordId& id : ids) {
        const StoredRecord* record = looked_at.find(id);
        const Kind* kind = record ? kind_numbered(record->state.kind) : nullptr;
        if (!kind) continue;
        for (const HistoryLine& was : tx.history(tenant, id))
            if (!was.value.value.is_null())
                line(line_of(*kind, id, was.field, {{was.value.key, was.value.value}},
                             {{"event", "\"superseded\""},
                              {"bundle", quoted(was.left_by)},
                              {"author", quoted(was.author)},
                              {"received_at", time_of(was.left_at_ms)}}));
    }
    for (const HeldText& text : tx.held_texts(tenant, {})) {
        const Kind* kind = kind_numbered(text.kind);
        if (!kind || !reached.contains(text.record)) continue;
        for (const Added& add : text.write.adds)
            line(line_of(*kind, text.record, text.write.field, {{add.key, add.value}},
                         {{"event", "\"held\""},
                          {"bundle", quoted(bundle_name(text.dot.writer, text.dot.counter))},
                          {"author", quoted(text.author)},
                          {"received_at", time_of(text.received_at_ms)}}));
    }
    tx.open_bundles(tenant, [&](const StoredBundle& open) {
        const Bundle bundle = decode_bundle(open.bytes);
        for (const Change& change : bundle.changes) {
            bool about = reached.contains(change.id);
            for (const RecordId& id : references_of(change)) about |= id == subject;
            const Kind* kind = kind_numbered(change.kind);
            if (!about || !kind) continue;
            Record record{kind, change.id, change.scope, {}};
            for (const Write& write : change.writes)
                for (const Added& add : write.adds)
                    record.fields[write.field].push_back({add.key, add.value});
            const bool review = open.verdict.verdict == Verdict::review;
            line(to_json(record, {{"event", review ? "\"review\"" : "\"refused\""},
                                  {"bundle", quoted(bundle_name(open.writer, open.counter))},
                                  {"author", quoted(snapshot.name_of(open.writer))},
                                  {"received_at", time_of(open.received_at_ms)}}));
        }
    });
    for (const RecoveryNote& note : tx.recovery_notes(tenant)) {
        if (note.offered.empty() || !reached.contains(note.record)) continue;
        line(to_json(show(decode_record(note.offered)),
                     {{"event", "\"kept_back\""},
                      {"author", quoted(snapshot.name_of(note.writer))},
                      {"received_at", time_of(note.at_ms)}}));
    }
    for (const StoredErasure& erasure : tx.erasures(tenant))
        if (erasure.order.subject == subject) line(feed_line(erasure));
    return true;
}

}  // namespace rapport::server
