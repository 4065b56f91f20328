// SPDX-License-Identifier: Apache-2.0
#include "store/rows.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "model/json.hpp"
#include "model/json_text.hpp"
#include "model/json_tree.hpp"
#include "model/validation.hpp"
#include "rapport/error.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

enum At : int { kRow, kId, kScope, kMove, kStatus, kVersion, kSiblings };

// Where a kind's fields stand in its select list, and the statements over it.
struct Layout {
    const Kind* kind = nullptr;
    struct Place {
        const Field* field;
        int first;
        std::string sets;  // "column=?" for each of its columns
    };
    std::vector<Place> places;
    std::string columns, select, by_id, insert, erase;
    const Field* external_ids = nullptr;

    const Place& place_of(const Field& field) const {
        return places[static_cast<std::size_t>(&field - kind->fields.data())];
    }
};

Layout lay_out(const Kind& kind) {
    Layout layout;
    layout.kind = &kind;
    std::vector<std::string> names{"row", "id", "scope", "move", "status", "version", "siblings"};
    for (const Field& field : kind.fields) {
        layout.places.push_back({&field, static_cast<int>(names.size()), {}});
        for (const Column& column : columns_of(field)) {
            names.push_back(identifier(column.name));
            layout.places.back().sets += "," + names.back() + "=?";
        }
    }
    std::string marks;
    for (std::size_t i = 0; i < names.size(); ++i) {
        layout.columns += (i ? "," : "") + names[i];
        if (i == kRow) continue;
        marks += ",?";
    }
    const std::string table = identifier(kind.name);
    layout.select = "SELECT " + layout.columns + " FROM " + table;
    layout.by_id = layout.select + " WHERE id=?";
    layout.insert = "INSERT INTO " + table + "(" + layout.columns.substr(4) + ") VALUES(" +
                    marks.substr(1) + ")";
    layout.erase = "DELETE FROM " + table + " WHERE row=?";
    layout.external_ids = kind.field(common_field::external_ids);
    return layout;
}

const Layout& layout_of(const Kind& kind) {
    static std::mutex mutex;
    static std::unordered_map<const Kind*, Layout> layouts;
    const std::lock_guard lock(mutex);
    auto it = layouts.find(&kind);
    if (it == layouts.end()) it = layouts.emplace(&kind, lay_out(kind)).first;
    return it->second;
}

// The text of a statement over some of a kind's columns, which `key` names within `what` it does.
// There are few of each and they are long, so they are made once.
template <class Make>
std::string text_over(const Kind& kind, char what, const std::vector<std::uint16_t>& key,
                      Make make) {
    constexpr std::size_t kTextsMax = 500;
    using Key = std::tuple<std::uint16_t, char, std::vector<std::uint16_t>>;
    static std::mutex mutex;
    static std::map<Key, std::string, std::less<>> texts;
    const std::lock_guard lock(mutex);
    const auto known = texts.find(std::tie(kind.number, what, key));
    if (known != texts.end()) return known->second;
    if (texts.size() == kTextsMax) texts.clear();
    return texts.emplace(Key{kind.number, what, key}, make()).first->second;
}

std::vector<std::string> column_names(const Field& field) {
    std::vector<std::string> names;
    for (const Column& column : columns_of(field)) names.push_back(identifier(column.name));
    return names;
}

[[noreturn]] void damaged(const Kind& kind, const std::string& what) {
    throw Error(ErrorCode::storage_damaged, "a row of " + kind.name + " has " + what);
}

// ---- one value in its column

bool is_integer(Shape shape) {
    return shape == Shape::boolean || shape == Shape::integer || shape == Shape::instant;
}

// Would the columns give back exactly this value? What does not fit, as a group to which a newer
// server has added a part, stays in the version alone and is not shown.
bool fits(const TypeInfo& type, const Value& value) {
    if (type.shape != Shape::group)
        return is_integer(type.shape) ? value.integer() != nullptr : value.text() != nullptr;
    const Parts* parts = value.parts();
    if (!parts || parts->size() != type.parts.size()) return false;
    bool any = false;
    for (std::size_t i = 0; i < parts->size(); ++i) {
        if ((*parts)[i].is_null()) continue;
        if (type.parts[i].type.shape == Shape::group || !fits(type.parts[i].type, (*parts)[i]))
            return false;
        any = true;
    }
    return any;
}

void bind_value(sqlite::Statement& statement, int index, Shape shape, const Value& value) {
    if (value.is_null())
        statement.bind_null(index);
    else if (is_integer(shape))
        statement.bind(index, *value.integer());
    else if (shape == Shape::reference)
        statement.bind_blob(index, *value.text());
    else
        statement.bind(index, std::string_view(*value.text()));
}

Value value_at(const sqlite::Statement& statement, int column, Shape shape) {
    if (statement.is_null(column)) return {};
    if (is_integer(shape)) return statement.integer(column);
    return std::string(shape == Shape::reference ? statement.blob(column) : statement.text(column));
}

void leave_out_misfits(const Field& field, Content& content) {
    const auto misfits = [&](const Item& item) {
        if (!field.is_keyed()) return !fits(field.type, item.value);
        const Parts* parts = item.value.parts();
        return parts && parts->size() > field.type.parts.size();
    };
    content.erase(std::remove_if(content.begin(), content.end(), misfits), content.end());
}

// ---- one field in its columns

// Returns how many columns the field has.
int bind_content(sqlite::Statement& statement, int index, const Field& field,
                 const Content* content) {
    const bool group = field.type.shape == Shape::group && !field.is_keyed();
    const int width = group ? static_cast<int>(field.type.parts.size()) : 1;
    if (!content || content->empty()) {
        for (int i = 0; i < width; ++i) statement.bind_null(index + i);
    } else if (field.is_keyed()) {
        statement.bind(index, std::string_view(content_to_json(field, *content)));
    } else if (field.policy == Policy::keep_both && content->size() > 1) {
        std::vector<std::string> texts;
        for (const Item& item : *content) texts.push_back(*item.value.text());
        statement.bind(index, std::string_view(detail::joined(texts)));
    } else {
        const Value& value = content->front().value;
        if (!group) bind_value(statement, index, field.type.shape, value);
        for (int i = 0; group && i < width; ++i) {
            const auto part = static_cast<std::size_t>(i);
            bind_value(statement, index + i, field.type.parts[part].type.shape,
                       (*value.parts())[part]);
        }
    }
    return width;
}

Content keyed_content(const Kind& kind, const Field& field, std::string_view json) {
    std::vector<Refusal> refusals;
    auto content = content_from_json(field, json, {}, RecordId{}, refusals);
    if (!content) damaged(kind, "an unreadable " + field.name);
    std::sort(content->begin(), content->end(),
              [](const Item& a, const Item& b) { return a.key < b.key; });
    return std::move(*content);
}

// Leaves `column` behind those of the register.
Value register_at(const sqlite::Statement& statement, int& column, const Field& field) {
    if (field.type.shape != Shape::group) return value_at(statement, column++, field.type.shape);
    Parts parts;
    parts.reserve(field.type.parts.size());
    bool any = false;
    for (const PartInfo& part : field.type.parts) {
        parts.push_back(value_at(statement, column++, part.type.shape));
        any = any || !parts.back().is_null();
    }
    return any ? Value(std::move(parts)) : Value();
}

Content content_at(const sqlite::Statement& statement, int column, const Field& field,
                   const Kind& kind) {
    if (field.is_keyed())
        return statement.is_null(column) ? Content{}
                                         : keyed_content(kind, field, statement.text(column));
    Content content;
    if (Value value = register_at(statement, column, field); !value.is_null())
        content.push_back({"", std::move(value)});
    return content;
}

// ---- texts with more than one sibling, which a text column cannot hold apart

std::string siblings_of(const Row& row) {
    std::map<std::string, std::string> all;
    for (const auto& [number, content] : row.shown) {
        const Field* field = row.kind->field(number);
        if (!field || field->policy != Policy::keep_both || content.size() < 2) continue;
        all[std::to_string(number)] =
            json_array(content, [](const Item& item) { return json_string(*item.value.text()); });
    }
    JsonObject object;
    for (const auto& [number, texts] : all) object.add_json(number, texts);
    return object.empty() ? std::string() : object.text();
}

void read_siblings(std::string_view json, const Kind& kind, FieldMap<Content>& shown) {
    const JsonTree read = read_stored_json(json);
    if (!read.tree.is_object()) damaged(kind, "unreadable siblings");
    for (const auto& [number, texts] : read.tree.items()) {
        const Field* field = nullptr;
        for (const Field& f : kind.fields)
            if (std::to_string(f.number) == number) field = &f;
        if (!field) continue;  // a newer build's
        if (field->policy != Policy::keep_both || !texts.is_array() || texts.size() < 2)
            damaged(kind, "siblings where " + field->name + " can have none");
        Content content;
        for (const auto& text : texts) {
            if (!text.is_string()) damaged(kind, "unreadable siblings");
            content.push_back({"", Value(text.get<std::string>())});
        }
        shown[field->number] = std::move(content);
    }
}

FieldMap<Content> shown_at(const sqlite::Statement& statement, const Kind& kind) {
    FieldMap<Content> shown;
    for (const Layout::Place& place : layout_of(kind).places)
        if (Content content = content_at(statement, place.first, *place.field, kind);
            !content.empty())
            shown.emplace(place.field->number, std::move(content));
    if (!statement.is_null(kSiblings)) read_siblings(statement.text(kSiblings), kind, shown);
    return shown;
}

// ---- the confirmed state

std::string version_of(const Row& row) {
    return encode_fields(row.confirmed, false, [&](std::uint16_t number, const LiveValue& live) {
        const Field* field = row.kind->field(number);
        if (!field || field->is_keyed() || row.confirmed.fields.at(number).live.size() != 1)
            return false;
        const auto shown = row.shown.find(number);
        return shown != row.shown.end() && shown->second.size() == 1 &&
               shown->second[0].value == live.value && fits(field->type, live.value);
    });
}

bool mend(std::string& text) {
    if (is_utf8(text)) return false;
    text = read_stored_json(json_string(text)).tree.get<std::string>();
    return true;
}

bool mend(const TypeInfo& type, Value& value) {
    if (auto* text = std::get_if<std::string>(&value.is))
        return type.shape != Shape::reference && mend(*text);
    auto* parts = std::get_if<Parts>(&value.is);
    if (!parts || type.shape != Shape::group) return false;
    bool mended = false;
    for (std::size_t i = 0; i < std::min(parts->size(), type.parts.size()); ++i)
        mended = mend(type.parts[i].type, (*parts)[i]) || mended;
    return mended;
}

}  // namespace

bool mend(const Field& field, std::string& key, Value& value) {
    const bool mended = mend(field.type, value);
    if (field.policy == Policy::per_key) return mend(key) || mended;
    std::string own = field.is_set() ? canonical_bytes(value) : std::string();
    if (key == own) return mended;
    key = std::move(own);
    return true;
}

namespace {

void read_version(std::string_view version, Row& row) {
    try {
        decode_fields(version, false, row.confirmed);
    } catch (const Error&) {
        damaged(*row.kind, "an unreadable version");
    }
    for (auto& [number, field_state] : row.confirmed.fields) {
        const Field* field = row.kind->field(number);
        if (!field) {
            // A newer build may have left out what its own columns hold; it finds it there again.
            Content content;
            for (const LiveValue& live : field_state.live)
                if (!live.elided) content.push_back({live.key, live.value});
            if (!content.empty()) row.shown.emplace(number, std::move(content));
            continue;
        }
        for (LiveValue& live : field_state.live) {
            if (!live.elided) {
                if (mend(*field, live.key, live.value))
                    damaged(*row.kind, "a version with a broken " + field->name);
                continue;
            }
            const auto shown = row.shown.find(number);
            if (shown == row.shown.end() || shown->second.size() != 1)
                damaged(*row.kind, "no value where its version expects one: " + field->name);
            live.value = shown->second[0].value;
            live.elided = false;
        }
    }
}

std::string update_of(const Layout& layout, const std::vector<const Layout::Place*>& places) {
    std::string sql = "UPDATE " + identifier(layout.kind->name) +
                      " SET scope=?,move=?,status=?,version=?,siblings=?";
    for (const Layout::Place* place : places) sql += place->sets;
    return sql + " WHERE row=?";
}

bool is_indexed(sqlite::Database& db, const Kind& kind) {
    const std::string& numbers = db.per_schema([](sqlite::Database& file) {
        std::string all;
        for (const Kind* indexed : indexed_kinds(file))
            all += std::to_string(indexed->number) + ' ';
        return ' ' + all;
    });
    return numbers.find(' ' + std::to_string(kind.number) + ' ') != std::string::npos;
}

// ---- ids in other systems

void forget_external_ids(sqlite::Database& db, const RecordId& id) {
    db.prepare("DELETE FROM external_id WHERE record=?").bind_all(id).run();
}

void note_external_ids(sqlite::Database& db, const Field& field, const Row& row, bool fresh) {
    if (!fresh) forget_external_ids(db, row.id);
    const auto shown = row.shown.find(field.number);
    if (shown == row.shown.end()) return;
    for (const Item& item : shown->second) {
        const Parts* parts = item.value.parts();
        if (!parts || parts->size() != 2 || !(*parts)[0].text() || !(*parts)[1].text()) continue;
        db.prepare("INSERT OR IGNORE INTO external_id(system, id, record, kind) VALUES(?,?,?,?)")
            .bind_all(std::string_view(*(*parts)[0].text()), std::string_view(*(*parts)[1].text()),
                      row.id, std::int64_t{row.kind->number})
            .run();
    }
}

}  // namespace

Record Row::record() const { return {kind, id, confirmed.scope, shown}; }

std::optional<Row> load_row(sqlite::Database& db, const Kind& kind, const RecordId& id) {
    auto statement = db.prepare(layout_of(kind).by_id);
    statement.bind(1, id);
    if (!statement.step()) return std::nullopt;
    return row_at(statement, kind);
}

std::optional<Row> load_row(sqlite::Database& db, const RecordId& id) {
    const Kind* kind = kind_holding(db, id);
    return kind ? load_row(db, *kind, id) : std::nullopt;
}

std::optional<std::vector<Value>> values_of_new(sqlite::Database& db, const Kind& kind,
                                                const RecordId& id,
                                                const std::vector<std::uint16_t>& registers) {
    std::vector<const Field*> fields;
    fields.reserve(registers.size());
    for (const std::uint16_t number : registers) {
        fields.push_back(kind.field(number));
        if (!fields.back() || fields.back()->is_keyed()) return std::nullopt;
    }
    auto statement = db.prepare(text_over(kind, 'v', registers, [&] {
        std::string sql = "SELECT version IS NULL";
        for (const Field* field : fields)
            for (const std::string& column : column_names(*field)) sql += "," + column;
        return sql + " FROM " + identifier(kind.name) + " WHERE id=?";
    }));
    statement.bind(1, id);
    if (!statement.step() || statement.integer(0) == 0) return std::nullopt;
    std::vector<Value> values;
    values.reserve(fields.size());
    int column = 1;
    for (const Field* field : fields) values.push_back(register_at(statement, column, *field));
    return values;
}

std::optional<std::string> scope_of(sqlite::Database& db, const RecordId& id) {
    const Kind* kind = kind_holding(db, id);
    if (!kind) return std::nullopt;
    auto statement = db.prepare("SELECT scope FROM " + identifier(kind->name) + " WHERE id=?");
    statement.bind(1, id);
    if (!statement.step()) return std::nullopt;
    return std::string(statement.text(0));
}

const Kind* kind_holding(sqlite::Database& db, const RecordId& id) {
    const std::string& sql = db.per_schema([](sqlite::Database& file) {
        std::string all;
        for (const Kind* kind : indexed_kinds(file))
            all += (all.empty() ? "" : " UNION ALL ") + ("SELECT " + std::to_string(kind->number)) +
                   " FROM " + identifier(kind->name) + " WHERE id=?1";
        return all.empty() ? all : all + " LIMIT 1";
    });
    if (sql.empty()) return nullptr;
    auto statement = db.prepare(sql);
    statement.bind(1, id);
    return statement.step() ? kind_numbered(static_cast<std::uint16_t>(statement.integer(0)))
                            : nullptr;
}

void save_row(sqlite::Database& db, Row& row) {
    const Layout& layout = layout_of(*row.kind);
    const bool fresh = row.row == 0;
    if (fresh && !is_indexed(db, *row.kind)) index_kind(db, *row.kind);
    const auto content_in = [](const auto& shown, const Field& field) -> const Content* {
        const auto at = shown.find(field.number);
        return at == shown.end() ? nullptr : &at->second;
    };
    std::vector<const Layout::Place*> places;
    for (const Layout::Place& place : layout.places) {
        const Content* now = content_in(row.shown, *place.field);
        const Content* before = row.read ? content_in(*row.read, *place.field) : nullptr;
        if (row.read && (now && before ? *now == *before : now == before)) continue;
        places.push_back(&place);
        if (!now) continue;
        Content& content = row.shown[place.field->number];
        leave_out_misfits(*place.field, content);
        if (content.empty()) row.shown.erase(place.field->number);
    }
    {
        auto statement = fresh ? db.prepare(layout.insert) : db.prepare(update_of(layout, places));
        int next = fresh ? 2 : 1;
        if (fresh) statement.bind(1, row.id);
        statement.bind(next, std::string_view(row.confirmed.scope));
        statement.bind(next + 1, row.confirmed.move).bind(next + 2, row.status);
        if (row.confirmed_once)
            statement.bind_blob(next + 3, version_of(row));
        else
            statement.bind_null(next + 3);
        if (const std::string siblings = siblings_of(row); siblings.empty())
            statement.bind_null(next + 4);
        else
            statement.bind(next + 4, std::string_view(siblings));
        next += 5;
        for (const Layout::Place* place : places) {
            const Content* content = content_in(row.shown, *place->field);
            next += bind_content(statement, next, *place->field, content);
        }
        if (!fresh) statement.bind(next, row.row);
        statement.run();
    }
    row.read.reset();
    if (fresh) row.row = db.last_row_id();
    const bool ids_written =
        layout.external_ids && std::any_of(places.begin(), places.end(), [&](const auto* place) {
            return place->field == layout.external_ids;
        });
    if (ids_written) note_external_ids(db, *layout.external_ids, row, fresh);
}

bool confirm_row(sqlite::Database& db, const RecordState& confirmed,
                 const std::vector<const Field*>& as_shown) {
    const Kind& kind = *kind_numbered(confirmed.kind);
    std::vector<const Field*> others;
    std::vector<std::uint16_t> key;  // those that are shown, 0, the others
    key.reserve(confirmed.fields.size() + 1);
    for (const Field* field : as_shown) key.push_back(field->number);
    key.push_back(0);
    for (const auto& [number, state] : confirmed.fields) {
        const Field* field = kind.field(number);
        if (std::find(as_shown.begin(), as_shown.end(), field) != as_shown.end()) continue;
        others.push_back(field);
        key.push_back(number);
    }
    auto update = db.prepare(text_over(kind, 'c', key, [&] {
        const Layout& layout = layout_of(kind);
        std::string sql = "UPDATE " + identifier(kind.name) +
                          " SET scope=?,move=?,status=0,version=?,siblings=NULL";
        for (const Field* field : others) sql += layout.place_of(*field).sets;
        sql += " WHERE id=? AND version IS NULL AND status=" + std::to_string(kRowPending);
        for (const Field* field : as_shown) {
            if (field->is_keyed()) continue;
            std::string set;
            for (const std::string& column : column_names(*field))
                set += (set.empty() ? "" : " OR ") + column + " IS NOT NULL";
            sql += " AND (" + set + ")";
        }
        return sql;
    }));
    const std::string version =
        encode_fields(confirmed, false, [&](std::uint16_t number, const LiveValue& live) {
            const Field& field = *kind.field(number);
            return !field.is_keyed() && fits(field.type, live.value);
        });
    update.bind_borrowed(1, confirmed.scope).bind(2, confirmed.move);
    update.bind_borrowed_blob(3, version);
    int next = 4;
    for (const Field* field : others) {
        Content content = show(*field, confirmed.fields.at(field->number));
        leave_out_misfits(*field, content);
        next += bind_content(update, next, *field, &content);
    }
    update.bind(next, confirmed.id).run();
    return db.changes() == 1;
}

void delete_row(sqlite::Database& db, const Row& row) {
    const Layout& layout = layout_of(*row.kind);
    db.prepare(layout.erase).bind_all(row.row).run();
    if (layout.external_ids) forget_external_ids(db, row.id);
}

std::vector<const Field*> wrongly_shown(const Row& row) {
    std::vector<const Field*> wrong;
    for (const Field& field : row.kind->fields) {
        const auto shown = row.shown.find(field.number);
        const auto state = row.confirmed.fields.find(field.number);
        Content expected =
            state == row.confirmed.fields.end() ? Content{} : show(field, state->second);
        leave_out_misfits(field, expected);
        if ((shown == row.shown.end() ? Content{} : shown->second) != expected)
            wrong.push_back(&field);
    }
    return wrong;
}

const std::string& select_of(const Kind& kind) { return layout_of(kind).select; }
const std::string& select_list(const Kind& kind) { return layout_of(kind).columns; }

Row row_at(sqlite::Statement& statement, const Kind& kind) {
    Row row;
    row.row = statement.integer(kRow);
    row.kind = &kind;
    row.id = statement.id(kId);
    row.status = statement.integer(kStatus);
    row.shown = shown_at(statement, kind);
    row.read = row.shown;
    row.confirmed.kind = kind.number;
    row.confirmed.id = row.id;
    row.confirmed.scope = statement.text(kScope);
    row.confirmed.move = statement.unsigned_integer(kMove);
    row.confirmed_once = !statement.is_null(kVersion);
    if (row.confirmed_once) read_version(statement.blob(kVersion), row);
    return row;
}

Record record_at(sqlite::Statement& statement, const Kind& kind) {
    return {&kind, statement.id(kId), std::string(statement.text(kScope)),
            shown_at(statement, kind)};
}

}  // namespace rapport
