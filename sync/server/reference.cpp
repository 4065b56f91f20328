// SPDX-License-Identifier: Apache-2.0
// Reference data: what the office or an ERP writes for everybody.
#include <algorithm>

#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "server/admission.hpp"
#include "server/engine.hpp"
#include "server/scopes.hpp"
#include "server/states.hpp"

namespace rapport::server {
namespace {

/// What names a record of this kind when it comes without an id; empty if nothing does.
std::string natural_key(const Record& record) {
    const auto text = [&](std::string_view field) {
        const std::string* t = record.value(field).text();
        return t ? *t : std::string();
    };
    const std::string& kind = record.kind->name;
    if (kind == "product" || kind == "territory") return text("code");
    if (kind == "theme") return text("title");
    if (kind == "code_list" && !text("list").empty() && !text("code").empty())
        return text("list") + "/" + text("code");
    return {};
}

class Import {
public:
    Import(Round& round, Changeset& changes) : round_(round), changes_(changes) {}

    Engine::Written take(Record record) {
        Engine::Written written;
        written.id = record.id;
        const auto refuse = [&](RefusalCode code, std::vector<std::string> parameters = {}) {
            written.refusals.push_back(refusal(written.id, {}, code, std::move(parameters)));
        };
        if (!record.kind) {
            refuse(refusal_code::kUnknownKind, {"imported"});
        } else if (record.kind->home != Home::global) {
            refuse("not_reference_data");
        } else if (check_fields(record, written.refusals)) {
            written.id = record.id = identify(record);
            if (record.id.is_nil()) refuse(refusal_code::kRequired, {"name"});
        }
        if (written.refusals.empty()) apply(record, written.refusals);
        return written;
    }

private:
    bool check_fields(Record& record, std::vector<Refusal>& refusals) {
        for (auto& [number, content] : record.fields) {
            const Field* field = record.kind->field(number);
            if (!field) {
                refusals.push_back(
                    refusal(record.id, {}, refusal_code::kUnknownField, {"imported"}));
                continue;
            }
            // The feed's own lines come back with what the server's rules wrote.
            if (field->policy == Policy::owned && content != shown_now(record.id, *field))
                refusals.push_back(
                    refusal(record.id, field->name, refusal_code::kNotWritable, {"imported"}));
            check_content(*field, record.id, content, round_.limits, refusals);
            if (field->type.shape != Shape::reference) continue;
            for (const Item& item : content)
                check_reference(*field, record.id, item.value, refusals);
        }
        return refusals.empty();
    }

    Content shown_now(const RecordId& id, const Field& field) {
        const StoredRecord* record = id.is_nil() ? nullptr : changes_.find(id);
        return record ? shown(*record, field.name) : Content{};
    }

    void check_reference(const Field& field, const RecordId& record, const Value& value,
                         std::vector<Refusal>& refusals) {
        const auto id = value.text() ? RecordId::from_bytes(*value.text()) : std::nullopt;
        const StoredRecord* target = id ? changes_.find(*id) : nullptr;
        const Kind* kind = target ? kind_numbered(target->state.kind) : nullptr;
        if (!kind || (!field.type.refers_to.empty() && kind->name != field.type.refers_to))
            refusals.push_back(refusal(record, field.name, refusal_code::kUnknownReference));
    }

    RecordId identify(const Record& record) {
        if (!record.id.is_nil()) return record.id;
        const auto names = external_names(record.shown("external_ids"));
        for (const ExternalName& name : names)
            if (const auto holder = changes_.other_holder(*record.kind, {}, name)) return *holder;
        std::string key = natural_key(record);
        if (key.empty() && !names.empty())
            key = "@" + names.front().first + ":" + names.front().second;
        return key.empty() ? RecordId{} : name_based_id(changes_.tenant(), record.kind->name, key);
    }

    void apply(const Record& incoming, std::vector<Refusal>& refusals) {
        StoredRecord* record = changes_.find(incoming.id);
        if (record && record->state.kind != incoming.kind->number) {
            refusals.push_back(refusal(incoming.id, {}, "wrong_kind"));
            return;
        }
        Record whole = record ? show(record->state) : incoming;
        for (const auto& [number, content] : incoming.fields) whole.fields[number] = content;
        whole.fields.try_emplace(common_field::created_at, Content{{"", round_.now.packed()}});
        check_record(whole, refusals);
        for (const ExternalName& name : external_names(whole.shown("external_ids")))
            if (changes_.other_holder(*incoming.kind, incoming.id, name))
                refusals.push_back(refusal(incoming.id, "external_ids", "duplicate_external_id"));
        if (!refusals.empty()) return;

        const bool is_new = !record;
        const Stamp stamp = round_.tick();
        if (is_new) {
            record = &changes_.create(*incoming.kind, incoming.id);
            record->state.scope = kGlobalScope;
            whole.fields.try_emplace(common_field::created_by, Content{{"", Value(kServerName)}});
            whole.fields.try_emplace(common_field::schema_version,
                                     Content{{"", Value(kSchemaVersion)}});
        }
        for (const auto& [number, content] : is_new ? whole.fields : incoming.fields)
            changes_.write(*record, *incoming.kind->field(number), content, stamp);
        if (is_new) begin_life(round_, changes_, *record);
    }

    Round& round_;
    Changeset& changes_;
};

}  // namespace

std::vector<Engine::Written> Engine::write_as_server(const std::string& tenant,
                                                     const std::vector<Record>& records) {
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_);
    Changeset changes(round, tenant, bundle_name(kServerWriter, round.tick()), kServerName);
    Import import(round, changes);
    std::vector<Written> written;
    for (const Record& record : records) written.push_back(import.take(record));
    if (!changes.empty()) {
        changes.save();
        tx->save_last_stamp(round.clock.last());
        tx->commit();
    }
    return written;
}

}  // namespace rapport::server
