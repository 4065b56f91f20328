// SPDX-License-Identifier: Apache-2.0
#include "rapport/json.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "model/json.hpp"
#include "model/json_tree.hpp"
#include "model/refusals.hpp"
#include "model/validation.hpp"
#include "store/core.hpp"

namespace rapport {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

[[noreturn]] void invalid(const std::string& sentence) {
    throw Error(ErrorCode::invalid_argument, sentence);
}

template <class Tree>
std::string dumped(const Tree& tree) {
    return tree.dump(-1, ' ', false, Tree::error_handler_t::replace);
}

// The tree of a text from outside; bounded, and no object names a key twice.
Json parsed(std::string_view json) {
    auto [tree, fault] = read_json(json);
    if (fault)
        invalid(*fault == refusal_code::kTooLarge        ? "the text is longer than 1 MiB"
                : *fault == refusal_code::kTooDeep       ? "the text is nested too deeply"
                : *fault == refusal_code::kTooManyValues ? "the text holds too many values"
                : *fault == refusal_code::kDuplicateKey  ? "an object of the text names a key twice"
                                                         : "the text is not JSON in UTF-8");
    return std::move(tree);
}

Json objects_of(std::string_view json) {
    Json tree = parsed(json);
    const bool objects =
        tree.is_array() &&
        std::all_of(tree.begin(), tree.end(), [](const Json& j) { return j.is_object(); });
    if (!objects) invalid("the text is not an array of objects");
    return tree;
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
    const auto read = [&](const Json& whole) -> Value {
        const auto content = content_from_json(*field, dumped(whole), {}, {}, refusals);
        if (!content || content->empty()) invalid("`where` has a value that `" + name + "` lacks");
        return content->front().value;
    };
    if (field->is_set()) return read(Json::array({json}));
    if (dot == std::string::npos) return read(json);
    const Value whole = read(Json{{name.substr(dot + 1), json}});
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

OrderedJson tree_of(const Refusal& refusal, Language language) {
    return {
        {"record", refusal.record.is_nil() ? OrderedJson() : OrderedJson(refusal.record.text())},
        {"field", refusal.field},
        {"code", refusal.code},
        {"sentence", sentence(refusal, language)}};
}

OrderedJson tree_of(const std::vector<Refusal>& refusals, Language language) {
    OrderedJson list = OrderedJson::array();
    for (const Refusal& refusal : refusals) list.push_back(tree_of(refusal, language));
    return list;
}

OrderedJson tree_of(const std::vector<RecordId>& ids) {
    OrderedJson list = OrderedJson::array();
    for (const RecordId& id : ids) list.push_back(id.text());
    return list;
}

OrderedJson tree_of(const std::vector<TitledRecord>& records) {
    OrderedJson list = OrderedJson::array();
    for (const TitledRecord& record : records)
        list.push_back(
            {{"kind", record.kind->name}, {"id", record.id.text()}, {"title", record.title}});
    return list;
}

OrderedJson tree_of(const HeldBundle& bundle, Language language) {
    OrderedJson needed = OrderedJson::array();
    for (const HeldBundle::Needed& n : bundle.waits_for)
        needed.push_back(
            {{"sync", name_of(n.state)}, {"code", n.code}, {"records", tree_of(n.records)}});
    return {{"sync", name_of(bundle.state)},
            {"captured_at", bundle.captured_at.rfc3339()},
            {"records", tree_of(bundle.records)},
            {"reasons", tree_of(bundle.reasons, language)},
            {"waits_for", std::move(needed)}};
}

OrderedJson tree_of(const std::optional<Instant>& time) {
    return time ? OrderedJson(time->rfc3339()) : OrderedJson();
}

}  // namespace

AskedEdits new_records(const Store& store, std::string_view json) {
    const Json objects = objects_of(json);
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
    for (const Json& object : objects_of(json)) {
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
    const Json tree = parsed(json);
    if (!tree.is_object()) invalid("a query is an object");
    Query query;
    const std::string* kind = text_of(tree, "kind");
    query.kind = kind ? kind_named(*kind) : nullptr;
    if (!query.kind) invalid("`kind` names no kind of record");
    for (const auto& [name, member] : tree.items()) take_member(query, name, member);
    return query;
}

std::string to_json(const Store& store, const Record& record) {
    return to_json(record,
                   {{"sync", "\"" + std::string(name_of(store.status(record.id).state)) + "\""}});
}

std::string to_json(const Store& store, const Page& page) {
    std::string records;
    for (const Record& record : page.records)
        records.append(records.empty() ? "" : ",").append(to_json(store, record));
    const OrderedJson next = page.next.empty() ? OrderedJson() : OrderedJson(page.next);
    return "{\"records\":[" + records + "],\"next\":" + dumped(next) + "}";
}

std::string to_json(const Refusal& refusal, Language language) {
    return dumped(tree_of(refusal, language));
}

std::string to_json(const Captured& captured, Language language) {
    return dumped(OrderedJson{{"ids", tree_of(captured.ids)},
                              {"refusals", tree_of(captured.refusals, language)}});
}

std::string to_json(const RecordStatus& status, Language language) {
    return dumped(OrderedJson{{"sync", name_of(status.state)},
                              {"conflict", status.conflict},
                              {"reasons", tree_of(status.reasons, language)},
                              {"waits_for", tree_of(status.waits_for)}});
}

std::string to_json(const HeldBundle& bundle, Language language) {
    return dumped(tree_of(bundle, language));
}

std::string to_json(const Overview& o, const std::vector<HeldBundle>& held, Language language) {
    OrderedJson bundles = OrderedJson::array();
    for (const HeldBundle& bundle : held) bundles.push_back(tree_of(bundle, language));
    OrderedJson requests = OrderedJson::array();
    for (const TurnedDown& request : o.turned_down)
        requests.push_back({{"id", request.request.text()},
                            {"subject", tree_of(std::vector{request.subject}).front()},
                            {"to", request.to},
                            {"at", request.at.rfc3339()},
                            {"why", tree_of(request.why, language)}});
    OrderedJson users = OrderedJson::array();
    for (const LoggedOut& user : o.logged_out)
        users.push_back({{"rep", user.rep},
                         {"tenant", user.tenant},
                         {"server", user.server},
                         {"left_at", user.left_at.rfc3339()},
                         {"unsent", user.unsent},
                         {"drafts", user.drafts},
                         {"unreceived_since", tree_of(user.unreceived_since)}});
    return dumped(OrderedJson{{"file_id", o.file_id},
                              {"enrolled", o.enrolled},
                              {"server", o.server},
                              {"tenant", o.tenant},
                              {"rep", o.rep},
                              {"role", o.role},
                              {"scopes", o.scopes},
                              {"drafts", o.drafts},
                              {"queued", o.queued},
                              {"sent", o.sent},
                              {"refused", o.refused},
                              {"review", o.review},
                              {"waiting", o.waiting},
                              {"conflicts", o.conflicts},
                              {"departed", o.departed},
                              {"incomplete", o.incomplete},
                              {"unreceived_since", tree_of(o.unreceived_since)},
                              {"last_sync", tree_of(o.last_sync)},
                              {"compared_at", tree_of(o.compared_at)},
                              {"mended", o.mended},
                              {"mended_at", tree_of(o.mended_at)},
                              {"differing", o.differing},
                              {"forked_at", tree_of(o.forked_at)},
                              {"recovered_at", tree_of(o.recovered_at)},
                              {"recovering", o.recovering},
                              {"revoked", o.revoked},
                              {"declined", o.declined},
                              {"turned_down", std::move(requests)},
                              {"logged_out", std::move(users)},
                              {"held", std::move(bundles)}});
}

std::string to_json(const Changes& changes) {
    OrderedJson tree = OrderedJson::object();
    for (const Changes::Of& of : changes.kinds) tree[of.kind->name] = tree_of(of.ids);
    return dumped(tree);
}

}  // namespace rapport
