// SPDX-License-Identifier: Apache-2.0
// Reference data: what the office or an ERP writes for everybody.
#include <algorithm>

#include "model/home.hpp"
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
    const auto versioned = [&](std::string_view name) {
        const std::int64_t* version = record.value("version").integer();
        const std::string code = text(name);
        return code.empty() || !version ? std::string() : code + "/" + std::to_string(*version);
    };
    if (kind == "product" || kind == "territory" || kind == "custom_option") return text("code");
    if (kind == "marketing_question" || kind == "discount_policy") return versioned("code");
    if (kind == "state_table") return versioned("kind");
    if (kind == "theme") return text("title");
    if (kind == "code_list" && !text("list").empty() && !text("code").empty())
        return text("list") + "/" + text("code");
    return {};
}

/// What the office writes: what everybody shares, questions and policies.
bool is_office_kind(const Kind& kind) {
    return kind.home == Home::global || kind.home == Home::target || kind.home == Home::policy;
}

/// Figures of a customer that an ERP brings and no device writes.
bool is_erp_field(const Kind& kind, const Field& field) {
    return kind.home == Home::territory && field.policy == Policy::owned && field.central;
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
        } else if (!is_office_kind(*record.kind) && record.kind->home != Home::territory) {
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
            const bool erp = is_erp_field(*record.kind, *field);
            const bool changed = content != shown_now(record.id, *field);
            if (field->policy == Policy::owned && !erp && field->number != common_field::state &&
                changed)
                refusals.push_back(
                    refusal(record.id, field->name, refusal_code::kNotWritable, {"imported"}));
            if (record.kind->home == Home::territory && !erp &&
                field->number != common_field::external_ids && changed)
                refusals.push_back(
                    refusal(record.id, field->name, refusal_code::kNotWritable, {"of_customer"}));
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

    void apply(Record incoming, std::vector<Refusal>& refusals) {
        StoredRecord* record = changes_.find(incoming.id);
        if (record && record->state.kind != incoming.kind->number) {
            refusals.push_back(refusal(incoming.id, {}, "wrong_kind"));
            return;
        }
        if (!record && incoming.kind->home == Home::territory) {
            refusals.push_back(refusal(incoming.id, {}, "unknown_record", {"customer"}));
            return;
        }
        if (incoming.kind->home == Home::territory)  // it named the customer and is no news
            incoming.fields.erase(common_field::external_ids);
        // A state is no field to write but one to get to.
        const auto state = incoming.fields.find(common_field::state);
        const std::string wanted = state == incoming.fields.end() || state->second.empty() ||
                                           !state->second.front().value.text()
                                       ? std::string()
                                       : *state->second.front().value.text();
        if (state != incoming.fields.end()) incoming.fields.erase(state);
        Record whole = record ? show(record->state) : incoming;
        for (const auto& [number, content] : incoming.fields) {
            const Content& present = whole.fields[number];
            if (record && present != content)
                check_unchanged(whole, *incoming.kind->field(number), refusals);
            whole.fields[number] = content;
        }
        whole.fields.emplace(common_field::created_at, Content{{"", round_.now.packed()}});
        check_record(whole, refusals);
        for (const ExternalName& name : external_names(whole.shown("external_ids")))
            if (changes_.other_holder(*incoming.kind, incoming.id, name))
                refusals.push_back(refusal(incoming.id, "external_ids", "duplicate_external_id"));
        bool enters = false;
        if (!wanted.empty()) {
            StateDecision decision = judge_as_server(round_, changes_, whole, wanted);
            enters = decision.verdict == StateVerdict::accepted;
            if (decision.verdict == StateVerdict::refused)
                refusals.push_back({incoming.id, "state", std::move(decision.code),
                                    std::move(decision.sentence), std::move(decision.parameters)});
        }
        if (!refusals.empty()) return;

        const bool is_new = !record;
        const Stamp stamp = round_.tick();
        if (is_new) {
            record = &changes_.create(*incoming.kind, incoming.id);
            record->state.scope = own_scope(incoming, kServerName);
            whole.fields.emplace(common_field::created_by, Content{{"", Value(kServerName)}});
            whole.fields.emplace(common_field::schema_version,
                                 Content{{"", Value(kSchemaVersion)}});
        }
        for (const auto& [number, content] : is_new ? whole.fields : incoming.fields)
            changes_.write(*record, *incoming.kind->field(number), content, stamp);
        if (is_new) begin_life(round_, changes_, *record);
        if (enters) enter_as_server(round_, changes_, *record, wanted);
    }

    /// What was given out under a version stays what it was: a change is the next version.
    static void check_unchanged(const Record& present, const Field& field,
                                std::vector<Refusal>& refusals) {
        check_open(present, field, refusals);
        const bool given_out = field.marks.fixed || (field.policy == Policy::write_once &&
                                                     field.number >= common_field::first_own &&
                                                     present.kind->field("version") != nullptr);
        if (given_out && !present.shown(field.name).empty())
            refusals.push_back(
                refusal(present.id, field.name, refusal_code::kWriteOnce, {"version"}));
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
        commit(round);
    }
    return written;
}

}  // namespace rapport::server
