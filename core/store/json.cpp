// SPDX-License-Identifier: Apache-2.0
#include "rapport/json.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "model/json.hpp"
#include "model/json_text.hpp"
#include "model/json_tree.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "store/core.hpp"

namespace rapport {
namespace {

using Json = nlohmann::json;

[[noreturn]] void invalid(const std::string& sentence) {
    throw Error(ErrorCode::invalid_argument, sentence);
}

// A text from outside; bounded, and no object names a key twice.
JsonTree parsed(std::string_view json) {
    JsonTree read = read_json(json);
    if (const auto fault = read.fault)
        invalid(*fault == refusal_code::kTooLarge        ? "the text is longer than 1 MiB"
                : *fault == refusal_code::kTooDeep       ? "the text is nested too deeply"
                : *fault == refusal_code::kTooManyValues ? "the text holds too many values"
                : *fault == refusal_code::kDuplicateKey  ? "an object of the text names a key twice"
                                                         : "the text is not JSON in UTF-8");
    return read;
}

JsonTree objects_of(std::string_view json) {
    JsonTree read = parsed(json);
    const bool objects =
        read.tree.is_array() && std::all_of(read.tree.begin(), read.tree.end(),
                                            [](const Json& j) { return j.is_object(); });
    if (!objects) invalid("the text is not an array of objects");
    return read;
}

std::optional<RecordId> find_reference(const Store& store, std::string_view reference) {
    const std::size_t colon = reference.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    return store.find_external(std::string(reference.substr(0, colon)),
                               std::string(reference.substr(colon + 1)));
}

RecordId draw_id(const Store& store) {
    Environment& environment = store.core().environment();
    std::array<std::uint8_t, 10> random{};
    environment.random(random);
    return time_ordered_id(environment.now().at.time_since_epoch().count(), random);
}

const std::string* text_of(const Json& object, const char* name) {
    const auto at = object.find(name);
    return at == object.end() ? nullptr : at->get_ptr<const std::string*>();
}

// The id that an object names, or that of the record it calls `@system:id`.
RecordId id_of(const Store& store, const Json& object) {
    const std::string* text = text_of(object, "id");
    if (!text || text->empty()) return {};
    if (text->front() == '@')
        return find_reference(store, std::string_view(*text).substr(1)).value_or(RecordId{});
    return RecordId::parse(*text).value_or(RecordId{});
}

// The changes of one record.
class Changing {
public:
    Changing(const Store& store, const Record& present, std::vector<Refusal>& out)
        : resolve_(
              [&store](std::string_view reference) { return find_reference(store, reference); }),
          out_(out) {
        edit.kind = present.kind;
        edit.id = present.id;
    }

    void take(const std::string& member, const Json& fields) {
        if (member == "id") return;
        if (member != "fields" && member != "add" && member != "remove")
            return out_.push_back(refusal(edit.id, member, "unknown_field", {"member"}));
        if (!fields.is_object())
            return out_.push_back(refusal(edit.id, member, "wrong_type", {"fields"}));
        for (const auto& [name, json] : fields.items()) {
            const Field* field = edit.kind->field(name);
            if (!field)
                out_.push_back(refusal(edit.id, name, "unknown_field", {edit.kind->name}));
            else if (member == "fields")
                write(*field, json);
            else if (!field->is_keyed())
                out_.push_back(refusal(edit.id, name, "not_a_set", {"member"}));
            else
                change(*field, member == "add" ? FieldEdit::Op::add : FieldEdit::Op::remove, json);
        }
    }

    RecordEdit edit;

private:
    void write(const Field& field, const Json& json) {
        if (json.is_null()) return edit.fields.push_back({&field, FieldEdit::Op::clear, {}});
        if (auto content = content_from_json(field, dumped(json), resolve_, edit.id, out_))
            edit.fields.push_back({&field, FieldEdit::Op::set, std::move(*content)});
    }
    void change(const Field& field, FieldEdit::Op op, const Json& json) {
        if (!field.is_set() && op == FieldEdit::Op::remove) {
            Content keys;
            for (const Json& key : json)
                if (const auto* text = key.get_ptr<const std::string*>())
                    keys.push_back({*text, Value()});
            if (!json.is_array() || keys.size() != json.size())
                return out_.push_back(refusal(edit.id, field.name, "wrong_type", {"array"}));
            return edit.fields.push_back({&field, op, std::move(keys)});
        }
        if (auto content = content_from_json(field, dumped(json), resolve_, edit.id, out_))
            edit.fields.push_back({&field, op, std::move(*content)});
    }

    const ResolveReference resolve_;
    std::vector<Refusal>& out_;
};

Compare compare_called(const std::string& sign) {
    static const std::map<std::string_view, Compare> signs{
        {"=", Compare::equal},       {"!=", Compare::not_equal}, {"<", Compare::less},
        {"<=", Compare::less_equal}, {">", Compare::greater},    {">=", Compare::greater_equal},
        {"~", Compare::contains}};
    const auto at = signs.find(sign);
    if (at == signs.end()) invalid("`is` is one of = != < <= > >= ~");
    return at->second;
}

// The value of a condition, in the type of its field or part; a set is asked for one element.
Value value_called(const Kind& kind, const std::string& name, const Json& json) {
    if (json.is_null()) return {};
    const std::size_t dot = name.find('.');
    const Field* field = kind.field(name.substr(0, dot));
    if (!field) invalid("`where` names no field of a " + kind.name);
    std::vector<Refusal> refusals;
    const auto read = [&](const std::string& whole) -> Value {
        const auto content = content_from_json(*field, whole, {}, {}, refusals);
        if (!content || content->empty()) invalid("`where` has a value that `" + name + "` lacks");
        return content->front().value;
    };
    if (field->is_set()) return read("[" + dumped(json) + "]");
    if (dot == std::string::npos) return read(dumped(json));
    const Value whole = read(JsonObject().add_json(name.substr(dot + 1), dumped(json)).text());
    for (std::size_t i = 0; i < field->type.parts.size(); ++i)
        if (field->type.parts[i].name == name.substr(dot + 1)) return (*whole.parts())[i];
    return {};
}

void take_member(Query& query, const std::string& name, const Json& json) {
    const auto text = [&]() -> const std::string& {
        const auto* given = json.get_ptr<const std::string*>();
        if (!given) invalid("`" + name + "` is a text");
        return *given;
    };
    if (name == "where") {
        if (!json.is_array()) invalid("`where` is an array");
        for (const Json& condition : json) {
            const std::string* field =
                condition.is_object() ? text_of(condition, "field") : nullptr;
            if (!field) invalid("a condition of `where` names its field");
            const std::string* is = text_of(condition, "is");
            const auto value = condition.find("value");
            query.where.push_back(
                {*field, is ? compare_called(*is) : Compare::equal,
                 value == condition.end() ? Value() : value_called(*query.kind, *field, *value)});
        }
    } else if (name == "since") {
        query.since = Instant::parse(text());
        if (!query.since) invalid("`since` is a time as in RFC 3339");
    } else if (name == "sort") {
        query.descending = text().rfind('-', 0) == 0;
        query.sort = text().substr(query.descending ? 1 : 0);
    } else if (name == "limit") {
        if (!json.is_number_unsigned()) invalid("`limit` is a whole number");
        query.limit = json.get<std::size_t>();
    } else if (name == "after") {
        if (!json.is_null()) query.after = text();
    } else if (name != "kind") {
        invalid("a query has no member `" + name + "`");
    }
}

std::string written(const std::optional<Instant>& time) {
    return time ? json_string(time->rfc3339()) : "null";
}

std::string written(const std::vector<Refusal>& refusals, Language language) {
    return json_array(refusals, [&](const Refusal& r) { return to_json(r, language); });
}

std::string written(const std::vector<RecordId>& ids) {
    return json_array(ids, [](const RecordId& id) { return json_string(id.text()); });
}

std::string written(const TitledRecord& record) {
    return JsonObject()
        .add("kind", record.kind->name)
        .add("id", record.id.text())
        .add("title", record.title)
        .text();
}

std::string written(const std::vector<TitledRecord>& records) {
    return json_array(records, [](const TitledRecord& record) { return written(record); });
}

std::string written(const TurnedDown& request, Language language) {
    return JsonObject()
        .add("id", request.request.text())
        .add_json("subject", written(request.subject))
        .add("to", request.to)
        .add("at", request.at.rfc3339())
        .add_json("why", to_json(request.why, language))
        .text();
}

std::string written(const LoggedOut& user) {
    return JsonObject()
        .add("rep", user.rep)
        .add("tenant", user.tenant)
        .add("server", user.server)
        .add("left_at", user.left_at.rfc3339())
        .add("unsent", user.unsent)
        .add("drafts", user.drafts)
        .add_json("unreceived_since", written(user.unreceived_since))
        .text();
}

}  // namespace

AskedEdits new_records(const Store& store, std::string_view json) {
    const JsonTree read = objects_of(json);
    const Json& objects = read.tree;
    std::vector<RecordId> ids;
    std::map<std::string, RecordId, std::less<>> named;
    AskedEdits asked;
    for (const Json& object : objects) {
        const RecordId given = id_of(store, object);
        ids.push_back(given.is_nil() ? draw_id(store) : given);
        if (const std::string* ref = text_of(object, "ref"); ref && !ref->empty())
            if (!named.emplace(*ref, ids.back()).second)
                asked.refusals.push_back(refusal(ids.back(), "ref", "ref_used"));
    }
    const ResolveReference resolve = [&](std::string_view reference) -> std::optional<RecordId> {
        if (const auto at = named.find(reference); at != named.end()) return at->second;
        return find_reference(store, reference);
    };
    for (std::size_t i = 0; i < objects.size(); ++i) {
        ImportLine line = parse_import_line(dumped(objects[i]), resolve);
        for (Refusal& refusal : line.refusals) {
            refusal.record = ids[i];
            asked.refusals.push_back(std::move(refusal));
        }
        if (!line.record.kind) continue;
        RecordEdit& edit = asked.edits.emplace_back();
        edit.kind = line.record.kind;
        edit.id = ids[i];
        edit.create = true;
        if (edit.kind->home == Home::territory) edit.scope = line.record.scope;
        for (auto& [number, content] : line.record.fields)
            edit.fields.push_back(
                {edit.kind->field(number), FieldEdit::Op::set, std::move(content)});
    }
    return asked;
}

AskedEdits changes(const Store& store, std::string_view json) {
    AskedEdits asked;
    const JsonTree read = objects_of(json);
    for (const Json& object : read.tree) {
        const RecordId id = id_of(store, object);
        const auto present = id.is_nil() ? std::nullopt : store.find(id);
        if (!present) {
            asked.refusals.push_back(refusal(id, "id", "not_found"));
            continue;
        }
        Changing changing(store, *present, asked.refusals);
        for (const auto& [name, member] : object.items()) changing.take(name, member);
        asked.edits.push_back(std::move(changing.edit));
    }
    return asked;
}

Query asked_query(std::string_view json) {
    const JsonTree read = parsed(json);
    const Json& tree = read.tree;
    if (!tree.is_object()) invalid("a query is an object");
    Query query;
    const std::string* kind = text_of(tree, "kind");
    query.kind = kind ? kind_named(*kind) : nullptr;
    if (!query.kind) invalid("`kind` names no kind of record");
    for (const auto& [name, member] : tree.items()) take_member(query, name, member);
    return query;
}

std::string to_json(const Store& store, const Record& record) {
    return to_json(record, {{"sync", json_string(name_of(store.status(record.id).state))}});
}

std::string to_json(const Store& store, const Page& page) {
    return JsonObject()
        .add_json("records",
                  json_array(page.records, [&](const Record& r) { return to_json(store, r); }))
        .add_json("next", page.next.empty() ? "null" : json_string(page.next))
        .text();
}

std::string to_json(const Refusal& refusal, Language language) {
    return JsonObject()
        .add_json("record", refusal.record.is_nil() ? "null" : json_string(refusal.record.text()))
        .add("field", refusal.field)
        .add("code", refusal.code)
        .add("sentence", sentence(refusal, language))
        .text();
}

std::string to_json(const Captured& captured, Language language) {
    return JsonObject()
        .add_json("ids", written(captured.ids))
        .add_json("refusals", written(captured.refusals, language))
        .text();
}

std::string to_json(const RecordStatus& status, Language language) {
    return JsonObject()
        .add("sync", name_of(status.state))
        .add("conflict", status.conflict)
        .add_json("reasons", written(status.reasons, language))
        .add_json("waits_for", written(status.waits_for))
        .text();
}

std::string to_json(const HeldBundle& bundle, Language language) {
    const auto needed = [](const HeldBundle::Needed& n) {
        return JsonObject()
            .add("sync", name_of(n.state))
            .add("code", n.code)
            .add_json("records", written(n.records))
            .text();
    };
    return JsonObject()
        .add("sync", name_of(bundle.state))
        .add("captured_at", bundle.captured_at.rfc3339())
        .add_json("records", written(bundle.records))
        .add_json("reasons", written(bundle.reasons, language))
        .add_json("waits_for", json_array(bundle.waits_for, needed))
        .text();
}

std::string to_json(const Overview& o, const std::vector<HeldBundle>& held, Language language) {
    const auto bundle = [&](const HeldBundle& b) { return to_json(b, language); };
    const auto request = [&](const TurnedDown& r) { return written(r, language); };
    const auto user = [](const LoggedOut& u) { return written(u); };
    return JsonObject()
        .add("file_id", o.file_id)
        .add("enrolled", o.enrolled)
        .add("server", o.server)
        .add("tenant", o.tenant)
        .add("rep", o.rep)
        .add("role", o.role)
        .add_json("scopes", json_array(o.scopes, json_string))
        .add("drafts", o.drafts)
        .add("queued", o.queued)
        .add("sent", o.sent)
        .add("refused", o.refused)
        .add("review", o.review)
        .add("waiting", o.waiting)
        .add("conflicts", o.conflicts)
        .add("departed", o.departed)
        .add_json("incomplete", json_array(o.incomplete, json_string))
        .add_json("unreceived_since", written(o.unreceived_since))
        .add_json("last_sync", written(o.last_sync))
        .add_json("compared_at", written(o.compared_at))
        .add("mended", o.mended)
        .add_json("mended_at", written(o.mended_at))
        .add("differing", o.differing)
        .add_json("forked_at", written(o.forked_at))
        .add_json("recovered_at", written(o.recovered_at))
        .add("recovering", o.recovering)
        .add("revoked", o.revoked)
        .add("declined", o.declined)
        .add_json("turned_down", json_array(o.turned_down, request))
        .add_json("logged_out", json_array(o.logged_out, user))
        .add_json("held", json_array(held, bundle))
        .text();
}

std::string to_json(const Changes& changes) {
    JsonObject object;
    for (const Changes::Of& of : changes.kinds) object.add_json(of.kind->name, written(of.ids));
    return object.text();
}

}  // namespace rapport
