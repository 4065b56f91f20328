// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "model/archive.hpp"
#include "model/hash.hpp"
#include "model/json.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

constexpr std::size_t kLimitMax = 1000;
constexpr std::size_t kConditionsMax = 100;  // SQLite reads no deeper than 1,000
constexpr std::int64_t kInstantStep =
    2048;  // packed instants of one millisecond, one per zone offset

[[noreturn]] void invalid(const std::string& sentence) {
    throw Error(ErrorCode::invalid_argument, sentence);
}

struct Parameter {
    Value value;
    bool blob = false;
};
struct Sql {
    std::string text;
    std::vector<Parameter> parameters;

    void bind(sqlite::Statement& statement) const {
        int index = 0;
        for (const auto& [value, blob] : parameters) {
            ++index;
            if (const auto* integer = value.integer())
                statement.bind(index, *integer);
            else if (const auto* text_value = value.text(); text_value && blob)
                statement.bind_blob(index, *text_value);
            else if (text_value)
                statement.bind(index, std::string_view(*text_value));
            else
                statement.bind_null(index);
        }
    }
};

std::string literal(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\0') invalid("a name with a zero byte");
        out += c;
        if (c == '\'') out += c;
    }
    return out + "'";
}

/// What a condition or a sort names: a column, or an expression that reads one.
struct Operand {
    std::string name;
    std::string sql;
    TypeInfo type;
    const Field* whole = nullptr;  // a set, map or group as a whole
};

Operand operand_of(const Kind& kind, const std::string& name) {
    TypeInfo text;
    if (name == "scope") return {name, "scope", text, nullptr};
    if (name == "id") {
        text.shape = Shape::reference;
        return {name, "id", text, nullptr};
    }
    const auto dot = name.find('.');
    const Field* field = kind.field(std::string_view(name).substr(0, dot));
    if (!field) invalid(kind.name + " has no field " + name);
    const std::string column = identifier(column_of(*field));
    const bool group = field->type.shape == Shape::group && !field->is_keyed();
    if (dot == std::string::npos) {
        if (field->is_keyed() || group) return {name, column, field->type, field};
        return {name, column, field->type, nullptr};
    }
    const std::string rest = name.substr(dot + 1);
    if (group)
        for (const PartInfo& part : field->type.parts)
            if (part.name == rest)
                return {name, identifier(column_of(*field, part)), part.type, nullptr};
    const bool plain = field->type.shape == Shape::text || field->type.shape == Shape::code ||
                       field->type.shape == Shape::integer || field->type.shape == Shape::boolean;
    if (field->policy == Policy::per_key && plain)
        return {name,
                "(SELECT value FROM json_each(" + column + ") WHERE key=" + literal(rest) + ")",
                field->type, nullptr};
    invalid(kind.name + " has no field " + name);
}

/// The place of a code in its list, unknown codes after all others; null stays null.
std::string rank_sql(const Operand& operand) {
    std::string sql = "CASE " + operand.sql;
    std::size_t place = 0;
    for (const std::string_view code : operand.type.codes)
        sql += " WHEN " + literal(code) + " THEN " + std::to_string(place++);
    return sql + " WHEN " + operand.sql + " THEN " + std::to_string(place) + " END";
}
std::int64_t rank_of(const TypeInfo& type, const std::string& code) {
    return std::find(type.codes.begin(), type.codes.end(), code) - type.codes.begin();
}

/// The value as the column holds it.
Parameter parameter_for(const Operand& operand, const Value& value) {
    const std::string* text = value.text();
    switch (operand.type.shape) {
        case Shape::boolean:
        case Shape::integer:
            if (value.integer()) return {value};
            invalid(operand.name + " is compared with a whole number");
        case Shape::instant:
            if (value.integer()) return {value};
            if (const auto instant = text ? Instant::parse(*text) : std::nullopt)
                return {instant->packed()};
            invalid(operand.name + " is compared with a time");
        case Shape::reference:
            if (text && RecordId::from_bytes(*text)) return {value, true};
            if (const auto id = text ? RecordId::parse(*text) : std::nullopt)
                return {id->raw(), true};
            invalid(operand.name + " is compared with a record id");
        default:
            if (text) return {value};
            invalid(operand.name + " is compared with a text");
    }
}

const char* sign_of(Compare compare) {
    switch (compare) {
        case Compare::equal:
            return "=";
        case Compare::not_equal:
            return " IS NOT ";
        case Compare::less:
            return "<";
        case Compare::less_equal:
            return "<=";
        case Compare::greater:
            return ">";
        case Compare::greater_equal:
            return ">=";
        default:
            return nullptr;
    }
}

/// Moments compare as moments, whatever zone each was noted in.
void add_instant(Sql& sql, const std::string& column, Compare compare, std::int64_t packed) {
    const std::int64_t first = packed - (packed & (kInstantStep - 1)),
                       last = first + kInstantStep - 1;
    switch (compare) {
        case Compare::equal:
            sql.text += column + " BETWEEN ? AND ?";
            sql.parameters.insert(sql.parameters.end(), {{first}, {last}});
            return;
        case Compare::not_equal:
            sql.text += "(" + column + " BETWEEN ? AND ?) IS NOT 1";
            sql.parameters.insert(sql.parameters.end(), {{first}, {last}});
            return;
        case Compare::less:
        case Compare::greater_equal:
            sql.parameters.push_back({first});
            break;
        default:
            sql.parameters.push_back({last});
            break;
    }
    sql.text += column + sign_of(compare) + "?";
}

void add_whole(Sql& sql, const Operand& operand, const Condition& condition) {
    const Field& field = *operand.whole;
    const bool equality =
        condition.compare == Compare::equal || condition.compare == Compare::not_equal;
    if (equality && condition.value.is_null()) {
        std::string all;
        for (const Column& column : columns_of(field))
            all += (all.empty() ? "" : " AND ") + identifier(column.name) + " IS NULL";
        sql.text += condition.compare == Compare::equal ? "(" + all + ")" : "NOT (" + all + ")";
        return;
    }
    if (field.is_set() && condition.compare == Compare::contains && !condition.value.is_null()) {
        // The element as JSON gives it, in whatever shape.
        const bool group = field.type.shape == Shape::group;
        if (!group) {
            const Value element = parameter_for(operand, condition.value).value;
            sql.parameters.push_back(
                {content_to_json(field, {{canonical_bytes(element), element}})});
        } else if (const Parts* parts = condition.value.parts();
                   parts && parts->size() == field.type.parts.size()) {
            sql.parameters.push_back(
                {content_to_json(field, {{canonical_bytes(condition.value), condition.value}})});
        } else {
            invalid(operand.name + " holds groups; give all their parts");
        }
        sql.text += "EXISTS(SELECT 1 FROM json_each(" + operand.sql +
                    ") WHERE value=json_extract(?,'$[0]'))";
        return;
    }
    if (field.is_keyed())
        invalid(field.is_set()
                    ? operand.name + " is a set; ask what it contains"
                    : operand.name + " is a map; ask for one key, " + operand.name + ".KEY");
    const Parts* parts = condition.value.parts();
    if (!equality || !parts || parts->size() != field.type.parts.size())
        invalid(operand.name + " is a group; ask for one part, " + operand.name + ".PART");
    std::string all;
    for (std::size_t i = 0; i < parts->size(); ++i) {
        const PartInfo& part = field.type.parts[i];
        const Operand column{operand.name, identifier(column_of(field, part)), part.type, nullptr};
        all += (all.empty() ? "" : " AND ") + column.sql + " IS ?";
        sql.parameters.push_back((*parts)[i].is_null() ? Parameter{}
                                                       : parameter_for(column, (*parts)[i]));
    }
    sql.text += condition.compare == Compare::equal ? "(" + all + ")" : "NOT (" + all + ")";
}

/// The customer and those that were merged into it, whose records are its own now.
std::vector<Parameter> joined_customers(sqlite::Database& db, const Parameter& customer) {
    auto statement = db.prepare(
        "WITH RECURSIVE one(id) AS (SELECT ?1 UNION SELECT c.id FROM customer c JOIN one ON "
        "c.merged_into=one.id) SELECT id FROM one");
    statement.bind_blob(1, *customer.value.text());
    std::vector<Parameter> ids;
    while (statement.step()) ids.push_back({Value(std::string(statement.blob(0))), true});
    return ids;
}

void add_condition(sqlite::Database& db, Sql& sql, const Kind& kind, const Condition& condition) {
    const Operand operand = operand_of(kind, condition.field);
    sql.text += " AND ";
    if (operand.whole) return add_whole(sql, operand, condition);
    if (condition.value.is_null()) {
        if (condition.compare == Compare::equal)
            sql.text += operand.sql + " IS NULL";
        else if (condition.compare == Compare::not_equal)
            sql.text += operand.sql + " IS NOT NULL";
        else
            invalid(operand.name + " is compared with nothing");
        return;
    }
    const Parameter parameter = parameter_for(operand, condition.value);
    if (condition.compare == Compare::contains) {
        if (operand.type.shape != Shape::text)
            invalid(operand.name + " is neither a set nor a text");
        sql.text += "instr(" + operand.sql + ",?)>0";
        sql.parameters.push_back(parameter);
    } else if (!sign_of(condition.compare)) {
        invalid("an unknown comparison of " + operand.name);
    } else if (operand.type.shape == Shape::instant) {
        add_instant(sql, operand.sql, condition.compare, *parameter.value.integer());
    } else if (operand.type.shape == Shape::code && condition.compare != Compare::equal &&
               condition.compare != Compare::not_equal) {
        sql.text += rank_sql(operand) + sign_of(condition.compare) + "?";
        sql.parameters.push_back({rank_of(operand.type, *parameter.value.text())});
    } else if (operand.type.refers_to == "customer" && condition.compare == Compare::equal) {
        const std::vector<Parameter> ids = joined_customers(db, parameter);
        std::string places;
        for (std::size_t i = 0; i < ids.size(); ++i) places += places.empty() ? "?" : ",?";
        // One is the rule, and only `=` keeps the order of the index.
        sql.text += operand.sql + (ids.size() == 1 ? "=?" : " IN (" + places + ")");
        sql.parameters.insert(sql.parameters.end(), ids.begin(), ids.end());
    } else {
        sql.text += operand.sql + sign_of(condition.compare) + "?";
        sql.parameters.push_back(parameter);
    }
}

Sql where_of(sqlite::Database& db, const Query& query) {
    if (!query.kind) invalid("a query names its kind");
    if (query.where.size() > kConditionsMax) invalid("a query has at most 100 conditions");
    Sql sql{" WHERE status&" + std::to_string(kRowHidden) + "=0", {}};
    if (query.since) {
        if (query.kind->time.empty()) invalid(query.kind->name + " has no time to ask for");
        sql.text += " AND ";
        add_instant(sql, operand_of(*query.kind, std::string(query.kind->time)).sql,
                    Compare::greater_equal, query.since->packed());
    }
    for (const Condition& condition : query.where) add_condition(db, sql, *query.kind, condition);
    return sql;
}

// ---- order and pages

/// What rows are ordered by before their number; empty `sql`: by their number alone.
struct SortKey {
    std::string sql;
    Shape shape = Shape::integer;

    Value at(const sqlite::Statement& statement, int column) const {
        if (statement.is_null(column)) return {};
        if (shape == Shape::text) return std::string(statement.text(column));
        if (shape == Shape::reference) return std::string(statement.blob(column));
        return statement.integer(column);
    }
};

SortKey sort_of(const Query& query) {
    const std::string name = query.sort.empty() ? std::string(query.kind->time) : query.sort;
    if (name.empty()) return {};
    const Operand operand = operand_of(*query.kind, name);
    if (operand.whole) invalid("records do not sort by " + name);
    if (operand.type.shape == Shape::code) return {rank_sql(operand), Shape::integer};
    return {operand.sql, operand.type.shape};
}

/// The last record of a page: what the next page starts after.
struct Mark {
    std::int64_t row = 0;
    Value key;
};

std::uint64_t fingerprint(const Query& query) {
    WireWriter w;
    w(query.kind->number);
    for (const Condition& condition : query.where)
        w(condition.field, condition.compare, condition.value);
    w(query.since.has_value(), query.since ? query.since->packed() : std::int64_t{0}, query.sort,
      query.descending);
    return hash64(w.str());
}

constexpr std::string_view kHexDigits = "0123456789abcdef";

std::string token_of(const Query& query, const Mark& mark) {
    WireWriter w;
    w(fingerprint(query), mark.row, mark.key);
    std::string token;
    for (const char c : w.str()) {
        token += kHexDigits[static_cast<unsigned char>(c) >> 4];
        token += kHexDigits[static_cast<unsigned char>(c) & 15];
    }
    return token;
}

Mark mark_in(const Query& query) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < query.after.size(); i += 2) {
        const auto high = kHexDigits.find(query.after[i]),
                   low = kHexDigits.find(query.after[i + 1]);
        if (high == std::string_view::npos || low == std::string_view::npos)
            invalid("`after` is not a page's `next`");
        bytes += static_cast<char>(high << 4 | low);
    }
    Mark mark;
    std::uint64_t of = 0;
    try {
        WireReader r(bytes);
        r(of, mark.row, mark.key);
        r.finish();
    } catch (const Error&) {
        invalid("`after` is not a page's `next`");
    }
    if (query.after.size() % 2 != 0 || mark.key.parts()) invalid("`after` is not a page's `next`");
    if (of != fingerprint(query)) invalid("`after` is the `next` of another query");
    return mark;
}

/// The conditions whose rows, one after the other, are those behind the mark. Nulls come first in
/// rising order, and two plain ranges can each use an index where one condition with OR could not.
std::vector<Sql> ranges_after(const SortKey& key, const Mark& mark, bool descending) {
    const std::string beyond = descending ? "<" : ">";
    const std::string row = "row" + beyond + "?";
    if (key.sql.empty()) return {{" AND " + row, {{mark.row}}}};
    if (mark.key.is_null()) {
        const Sql same{" AND " + key.sql + " IS NULL AND " + row, {{mark.row}}};
        if (descending) return {same};
        return {same, {" AND " + key.sql + " IS NOT NULL", {}}};
    }
    const Parameter value{mark.key, key.shape == Shape::reference};
    const Sql rest{" AND " + key.sql + beyond + "=? AND (" + key.sql + beyond + "? OR " + row + ")",
                   {value, value, {mark.row}}};
    if (descending) return {rest, {" AND " + key.sql + " IS NULL", {}}};
    return {rest};
}

Page page_of(const Store::Core& core, const Query& query) {
    const Store::Core::Reading reading(core);
    const Sql where = where_of(reading.db, query);
    if (query.limit < 1 || query.limit > kLimitMax) invalid("a page has 1 to 1000 records");
    const SortKey key = sort_of(query);
    const std::string way = query.descending ? " DESC" : "";
    std::vector<Sql> ranges{Sql{}};
    if (!query.after.empty()) ranges = ranges_after(key, mark_in(query), query.descending);

    Page page;
    Mark last;
    for (const Sql& range : ranges) {
        Sql sql{"SELECT " + select_list(*query.kind) + "," + (key.sql.empty() ? "NULL" : key.sql) +
                    " FROM " + identifier(query.kind->name) + where.text + range.text +
                    " ORDER BY " + (key.sql.empty() ? "" : key.sql + way + ",") + "row" + way +
                    " LIMIT ?",
                where.parameters};
        sql.parameters.insert(sql.parameters.end(), range.parameters.begin(),
                              range.parameters.end());
        const std::size_t wanted = query.limit + 1 - page.records.size();
        sql.parameters.push_back({static_cast<std::int64_t>(wanted)});
        auto statement = reading.db.prepare(sql.text);
        sql.bind(statement);
        while (statement.step()) {
            if (page.records.size() == query.limit) {
                page.next = token_of(query, last);
                return page;
            }
            page.records.push_back(record_at(statement, *query.kind));
            last = {statement.integer(0), key.at(statement, statement.columns() - 1)};
        }
    }
    return page;
}

// A query whose page somebody wants to see whenever it has become another one.
class WatchedQuery {
public:
    WatchedQuery(const Store::Core& core, Query query, std::function<void(const Page&)> callback)
        : core_(core), query_(std::move(query)), callback_(std::move(callback)) {}

    void begin(const Page& first) {
        last_ = fingerprint_of(first);
        callback_(first);
        go_on();
    }
    // Something changed. While one thread looks, others only ask it to look again.
    void look() {
        {
            const std::lock_guard lock(mutex_);
            again_ = true;
            if (looking_) return;
            looking_ = true;
        }
        go_on();
    }
    void end() { ended_ = true; }

private:
    static std::uint64_t fingerprint_of(const Page& page) {
        std::string all = page.next;
        for (const Record& record : page.records) all += '\n' + to_json(record);
        return hash64(all);
    }

    void go_on() {
        for (;;) {
            {
                const std::lock_guard lock(mutex_);
                looking_ = again_ && !ended_;
                if (!looking_) return;
                again_ = false;
            }
            try {
                const Page page = page_of(core_, query_);
                const std::uint64_t seen = fingerprint_of(page);
                if (seen == last_ || ended_) continue;
                last_ = seen;
                callback_(page);
            } catch (...) {  // theirs, as in Observers; or the disk's, which the next query meets
            }
        }
    }

    const Store::Core& core_;
    const Query query_;
    const std::function<void(const Page&)> callback_;
    std::mutex mutex_;
    bool looking_ = true;  // until begin() is through
    bool again_ = true;    // something may have changed before anybody listened
    std::atomic<bool> ended_{false};
    std::uint64_t last_ = 0;
};

}  // namespace

Page Store::query(const Query& query) const { return page_of(*core_, query); }

Subscription Store::observe_query(const Query& query, std::function<void(const Page&)> callback) {
    const Page first = page_of(*core_, query);
    const auto watched = std::make_shared<WatchedQuery>(*core_, query, std::move(callback));
    auto changes = std::make_shared<Subscription>(
        observe({query.kind}, [watched](const Changes&) { watched->look(); }));
    Subscription subscription([watched, changes]() mutable {
        watched->end();
        changes.reset();
    });
    watched->begin(first);
    return subscription;
}

std::size_t Store::count(const Query& query) const {
    Core::Reading reading(*core_);
    const Sql where = where_of(reading.db, query);
    auto statement =
        reading.db.prepare("SELECT count(*) FROM " + identifier(query.kind->name) + where.text);
    where.bind(statement);
    return statement.step() ? static_cast<std::size_t>(statement.integer(0)) : 0;
}

std::optional<Record> Store::find(const RecordId& id) const {
    Core::Reading reading(*core_);
    const auto row = load_row(reading.db, id);
    if (!row || row->status & kRowHidden) return std::nullopt;
    return row->record();
}

std::optional<RecordId> Store::find_external(const std::string& system,
                                             const std::string& id) const {
    Core::Reading reading(*core_);
    auto statement = reading.db.prepare(
        "SELECT record, kind FROM external_id WHERE system=? AND id=? ORDER BY record");
    statement.bind_all(std::string_view(system), std::string_view(id));
    while (statement.step()) {
        const Kind* kind = kind_numbered(static_cast<std::uint16_t>(statement.integer(1)));
        if (!kind) continue;
        const RecordId record = statement.id(0);
        auto row =
            reading.db.prepare("SELECT status FROM " + identifier(kind->name) + " WHERE id=?");
        row.bind(1, record);
        if (row.step() && !(row.integer(0) & kRowHidden)) return record;
    }
    return std::nullopt;
}

}  // namespace rapport
