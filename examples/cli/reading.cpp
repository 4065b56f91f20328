// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "assignment.hpp"
#include "model/json_schema.hpp"
#include "rapport/json.hpp"
#include "shown.hpp"

namespace rapport::cli {

namespace {

constexpr std::size_t kPage = 1000;
constexpr std::size_t kChildrenShown = 100;  // of each kind

std::string fields_json(const Record& record) {
    std::string out = "{";
    for (const Field& field : record.kind->fields) {
        const auto found = record.fields.find(field.number);
        if (found == record.fields.end() || found->second.empty()) continue;
        if (out.size() > 1) out += ',';
        out += json_string(field.name) + ":" + content_to_json(field, found->second);
    }
    return out + "}";
}

std::string array_of(const std::vector<std::string>& elements) {
    std::string out = "[";
    for (const std::string& element : elements) out += (out.size() > 1 ? "," : "") + element;
    return out + "]";
}

Condition condition_called(const Store& store, const Kind& kind, const std::string& text) {
    struct Sign {
        std::string_view text;
        Compare compare;
    };
    // Two-character signs first, so that >= is not read as > followed by a value.
    static const std::vector<Sign> signs{
        {"!=", Compare::not_equal}, {"<=", Compare::less_equal}, {">=", Compare::greater_equal},
        {"=", Compare::equal},      {"<", Compare::less},        {">", Compare::greater},
        {"~", Compare::contains}};
    const auto at = text.find_first_of("!<>=~");
    if (at == std::string::npos || at == 0)
        throw Failure(kUsage,
                      "\"" + text + "\" is no condition; write f=v with =, !=, <, <=, >, >= or ~");
    for (const Sign& sign : signs) {
        if (text.compare(at, sign.text.size(), sign.text) != 0) continue;
        const Column column = column_called(kind, text.substr(0, at));
        Condition condition{column.name, sign.compare, {}};
        const std::string value = text.substr(at + sign.text.size());
        // The words of a text are compared as they are: half a phone number is no phone number.
        const TypeInfo& type = column.part != nullptr ? column.part->type : column.field->type;
        if (sign.compare == Compare::contains && type.shape == Shape::text)
            condition.value = Value(value);
        else
            condition.value =
                value_called(*column.field, column.part != nullptr ? column.part->name : "", value,
                             references_in(store));
        return condition;
    }
    throw Failure(kUsage,
                  "\"" + text + "\" is no condition; write f=v with =, !=, <, <=, >, >= or ~");
}

Cell cell_of(const Column& column, const Content& content, Format format, Reader& reader) {
    if (content.empty()) return {};
    const bool people = format == Format::table;
    if (!people && format != Format::csv) {
        if (column.part == nullptr) return Cell::raw(content_to_json(*column.field, content));
        return column.part->type.shape == Shape::integer
                   ? Cell(*content.front().value.integer())
                   : Cell(plain(column.part->type, content.front().value));
    }
    const TypeInfo& type = column.part != nullptr ? column.part->type : column.field->type;
    if (column.part != nullptr)
        return people && type.shape == Shape::instant
                   ? Cell(minute(Instant::unpack(*content.front().value.integer())))
                   : Cell(plain(type, content.front().value));
    std::string text =
        people ? reader.shown(*column.field, content) : plain(*column.field, content);
    if (type.shape == Shape::integer && content.size() == 1 && !column.field->is_keyed()) {
        Cell number(std::move(text));
        number.kind = Cell::Kind::number;
        return number;
    }
    return type.shape == Shape::code || type.shape == Shape::instant ? Cell::whole(std::move(text))
                                                                     : Cell(std::move(text));
}

struct Child {
    const Kind* kind;
    std::vector<Record> records;
    std::size_t count;
};

std::vector<Child> children_of(const Store& store, const Record& parent) {
    std::vector<Child> children;
    for (const Kind* kind : all_kinds()) {
        Child child{kind, {}, 0};
        for (const Field& field : kind->fields) {
            const bool refers = field.type.shape == Shape::reference && !field.is_keyed() &&
                                (field.type.refers_to == parent.kind->name ||
                                 (field.type.refers_to.empty() && field.name == "subject_id"));
            if (!refers) continue;
            Query query;
            query.kind = kind;
            query.where = {{field.name, Compare::equal, Value(parent.id.raw())}};
            query.limit = kChildrenShown;
            child.count += store.count(query);
            Page page = store.query(query);
            std::move(page.records.begin(), page.records.end(), std::back_inserter(child.records));
        }
        if (child.count > 0) children.push_back(std::move(child));
    }
    return children;
}

std::vector<Conflict> conflicts_of(const Store& store, const RecordId& id) {
    std::vector<Conflict> found;
    for (Conflict& conflict : store.conflicts())
        if (conflict.record == id) found.push_back(std::move(conflict));
    return found;
}

std::string marks_of(const Candidate& candidate) {
    return std::string(candidate.mine ? "mine" : "") +
           (candidate.mine && candidate.shown ? ", " : "") + (candidate.shown ? "shown" : "");
}

std::string candidates_json(const Conflict& conflict) {
    std::vector<std::string> values;
    for (const Candidate& c : conflict.candidates)
        values.push_back("{\"author\":" + json_string(c.author) + ",\"at\":" +
                         json_string(c.at.rfc3339()) + ",\"mine\":" + (c.mine ? "true" : "false") +
                         ",\"shown\":" + (c.shown ? "true" : "false") +
                         ",\"value\":" + content_to_json(*conflict.field, c.content) + "}");
    return array_of(values);
}

std::string conflict_json(const Conflict& conflict) {
    return "{\"id\":" + json_string(conflict.id) + ",\"kind\":" + json_string(conflict.kind->name) +
           ",\"record\":" + json_string(conflict.record.text()) +
           ",\"field\":" + json_string(conflict.field->name) +
           (conflict.key.empty() ? "" : ",\"key\":" + json_string(conflict.key)) +
           ",\"values\":" + candidates_json(conflict) + "}";
}

void print_values(std::ostream& out, const Conflict& conflict, Reader& reader) {
    Rows rows(out, Format::table, {"", "author", "at", "", "value"}, terminal_width(STDOUT_FILENO));
    for (const Candidate& c : conflict.candidates)
        rows.add(
            {Cell(" "), Cell(c.author), Cell::whole(local_second(c.at)), Cell::whole(marks_of(c)),
             Cell(c.content.empty() ? "(cleared)" : reader.shown(*conflict.field, c.content))});
}

// What a person reads about a state of sync.
std::string_view shown_name(SyncState state) {
    const bool german = language() == Language::german;
    switch (state) {
        case SyncState::refused:
            return german ? "abgelehnt" : "refused";
        case SyncState::review:
            return german ? "wird geprüft" : "in review";
        case SyncState::waits:
            return german ? "wartet" : "waits";
        case SyncState::draft:
            return german ? "Entwurf" : "draft";
        default:
            return name_of(state);
    }
}

std::string_view heading_of(SyncState state) {
    const bool german = language() == Language::german;
    switch (state) {
        case SyncState::refused:
            return german ? "abgelehnt; `rapport set` berichtigt und sendet erneut:"
                          : "refused; `rapport set` repairs and sends again:";
        case SyncState::review:
            return german ? "wird in der Zentrale geprüft; hier ist nichts zu tun:"
                          : "in review at the centre; nothing to do here:";
        default:
            return german ? "wartet:" : "waiting:";
    }
}

void print_held(std::ostream& out, const std::vector<HeldBundle>& held, SyncState state) {
    bool headed = false;
    const auto line = [](const TitledRecord& record) {
        return record.kind->name + ' ' + record.id.text() + "  " + fitted(record.title, 40);
    };
    for (const HeldBundle& bundle : held) {
        if (bundle.state != state) continue;
        if (!headed) out << '\n' << heading_of(state) << '\n';
        headed = true;
        for (const TitledRecord& record : bundle.records) {
            out << "  " << line(record) << '\n';
            for (const Refusal& reason : bundle.reasons)
                if (reason.record == record.id) out << "    " << sentence_of(reason) << '\n';
        }
        for (const Refusal& reason : bundle.reasons)
            if (reason.record.is_nil()) out << "    " << sentence_of(reason) << '\n';
        for (const HeldBundle::Needed& needed : bundle.waits_for)
            for (const TitledRecord& record : needed.records)
                out << (language() == Language::german ? "    auf " : "    for ") << line(record)
                    << ": " << shown_name(needed.state)
                    << (needed.code.empty() ? "" : " (" + needed.code + ")") << '\n';
    }
}

// What became of the file where it, another one or the server was a copy, or was turned away.
std::vector<std::string> told_of_copies(const Overview& o) {
    const bool german = language() == Language::german;
    std::vector<std::string> told;
    if (o.forked_at)
        told.push_back((german ? "Geht seit " : "since ") + minute(*o.forked_at) +
                       (german ? " als eigenes Gerät weiter, weil die Datei zurückgespielt oder "
                                 "kopiert wurde; was nicht gesendet war, wird einmal gesendet."
                               : " a device of its own, because the file was restored or copied; "
                                 "what was unsent is sent once"));
    if (o.recovered_at)
        told.push_back((german ? "Die Zentrale wurde aus einer Sicherung zurückgespielt (bemerkt "
                               : "the server was restored from a backup (noticed ") +
                       minute(*o.recovered_at) +
                       (german ? "); dieses Gerät hat ihr zurückgegeben, was ihr fehlte."
                               : "); this device has given back what it lacked"));
    if (o.recovering)
        told.push_back(german ? "Der Abgleich danach läuft noch; bitte erneut abgleichen."
                              : "this is still under way; sync again");
    if (o.revoked)
        told.push_back(german ? "Dieses Gerät wurde gesperrt: Es gibt ab, was nicht gesendet war, "
                                "und empfängt nichts. Mit einer neuen Einladung geht es weiter."
                              : "this device was revoked: it hands in what is unsent and receives "
                                "nothing; a new invitation lets it go on");
    if (o.declined)
        told.push_back(german ? "Diese Datei ist eine Kopie zu viel und sendet nichts mehr. Mit "
                                "einer neuen Einladung geht sie mit allem weiter."
                              : "this file is one copy too many and sends nothing; a new "
                                "invitation lets it go on with everything");
    return told;
}

std::string received_sentence(const Overview& overview) {
    if (overview.unreceived_since)
        return "all received up to " + minute(*overview.unreceived_since);
    if (!overview.last_sync) return "nothing was sent yet, nothing waits";
    return "all received";
}

/// `answered (with decision, reply_text)`: what `rapport request` may ask for.
std::string described(const NextState& next) {
    std::string with;
    for (const std::string& field : next.needs) with += (with.empty() ? "" : ", ") + field;
    if (next.needs_reason) with += with.empty() ? "a reason" : ", a reason";
    return next.to + (with.empty() ? "" : " (with " + with + ")");
}

}  // namespace

int list(const ListOptions& options) {
    const Kind& kind = kind_called(options.kind);
    const Store store = open_store(options.file, true);
    Query query;
    query.kind = &kind;
    for (const std::string& where : options.where)
        query.where.push_back(condition_called(store, kind, where));
    if (!options.since.empty()) query.since = moment_called(options.since);
    if (!options.sort.empty()) {
        query.descending = options.sort.front() == '-';
        query.sort = column_called(kind, options.sort.substr(query.descending ? 1 : 0)).name;
    }

    Reader reader(store);
    const bool people = options.format == Format::table;
    const bool whole = !people && options.format != Format::csv && options.columns.empty();
    std::vector<Column> columns;
    for (const std::string& name : options.columns) columns.push_back(column_called(kind, name));
    if (columns.empty()) columns = people ? telling_columns(kind) : all_columns(kind);
    std::vector<std::string> heads{"id"};
    if (whole) {
        heads = {"kind", "id", "scope", "sync", "fields"};
    } else {
        if (!people && options.columns.empty()) heads.emplace_back("scope");
        for (const Column& column : columns) heads.push_back(column.name);
        heads.emplace_back("sync");
    }
    Rows rows(std::cout, options.format, heads, terminal_width(STDOUT_FILENO));
    for (;;) {
        const std::size_t left = options.limit == 0 ? kPage : options.limit - rows.count();
        query.limit = std::min(kPage, left);
        const Page page = store.query(query);
        for (const Record& record : page.records) {
            const std::string sync(name_of(store.status(record.id).state));
            const Cell id = Cell::whole(record.id.text());
            if (whole) {
                rows.add({kind.name, id, record.scope.empty() ? Cell() : Cell(record.scope), sync,
                          Cell::raw(fields_json(record))});
                continue;
            }
            std::vector<Cell> row{id};
            if (!people && options.columns.empty()) row.emplace_back(record.scope);
            for (const Column& column : columns)
                row.push_back(cell_of(column, column.of(record), options.format, reader));
            row.push_back(Cell::whole(sync));
            rows.add(std::move(row));
        }
        query.after = page.next;
        if (page.next.empty() || (options.limit != 0 && rows.count() >= options.limit)) break;
    }
    rows.finish();
    if (!query.after.empty()) {
        query.after.clear();
        complain(std::to_string(rows.count()) + " of " + std::to_string(store.count(query)) +
                 " shown; --limit 0 shows all");
    }
    return kDone;
}

int show(const ShowOptions& options) {
    const Store store = open_store(options.file, true);
    const RecordId id = id_called(store, options.id);
    const auto record = store.find(id);
    if (!record) {
        for (const Departed& d : store.departed(SIZE_MAX))
            if (d.id == id)
                throw Failure(kRefused, "the " + d.kind->name + " left this device's territories" +
                                            (d.scope.empty() ? "" : " and is in " + d.scope));
        throw Failure(kRefused, "no record in this file has the id " + id.text());
    }
    const RecordStatus status = store.status(id);
    const std::vector<Conflict> open = conflicts_of(store, id);
    const std::vector<Child> children = children_of(store, *record);
    const std::vector<NextState> next = store.next_states(id);
    const auto why = turned_down(*record);
    Reader reader(store);

    if (options.format == Format::json || options.format == Format::ndjson) {
        std::vector<std::string> reasons, waits, conflicted, ways, below;
        for (const Refusal& reason : status.reasons) reasons.push_back(to_json(reason, language()));
        for (const RecordId& other : status.waits_for) waits.push_back(json_string(other.text()));
        for (const Conflict& conflict : open) conflicted.push_back(conflict_json(conflict));
        for (const NextState& n : next) ways.push_back(json_string(n.to));
        for (const Child& child : children)
            for (const Record& r : child.records)
                below.push_back("{\"kind\":" + json_string(r.kind->name) +
                                ",\"id\":" + json_string(r.id.text()) + ",\"sync\":" +
                                json_string(name_of(store.status(r.id).state)) + "}");
        std::cout << "{\"kind\":" << json_string(record->kind->name)
                  << ",\"id\":" << json_string(id.text())
                  << ",\"scope\":" << (record->scope.empty() ? "null" : json_string(record->scope))
                  << ",\"sync\":" << json_string(name_of(status.state))
                  << ",\"reasons\":" << array_of(reasons) << ",\"waits_for\":" << array_of(waits)
                  << ",\"fields\":" << fields_json(*record)
                  << (why ? ",\"turned_down\":" + to_json(*why, language()) : "")
                  << ",\"conflicts\":" << array_of(conflicted) << ",\"next\":" << array_of(ways)
                  << ",\"children\":" << array_of(below) << "}\n";
        return kDone;
    }

    const bool people = options.format == Format::table;
    {
        Rows rows(std::cout, options.format, {"field", "value"}, 0);
        const auto add_row = [&](std::string name, std::string value) {
            rows.add(
                {std::move(name), people ? Cell::whole(std::move(value)) : Cell(std::move(value))});
        };
        add_row("kind", record->kind->name);
        add_row("id", id.text());
        if (!record->scope.empty()) add_row("scope", record->scope);
        for (const Field& field : record->kind->fields) {
            const auto found = record->fields.find(field.number);
            if (found == record->fields.end() || found->second.empty()) continue;
            if (!people) {
                add_row(field.name, plain(field, found->second));
                continue;
            }
            std::string value = why && field.name == "verdict_sentence"
                                    ? sentence(*why, language())
                                    : reader.shown(field, found->second);
            if (field.type.shape == Shape::reference)
                for (const Item& item : found->second)
                    value += (value.empty() ? "" : "  ") + plain(field.type, item.value);
            add_row(field.name, std::move(value));
        }
        for (const NextState& n : next) add_row("may become", described(n));
        add_row("sync", std::string(name_of(status.state)));
        if (!people)
            for (const Refusal& reason : status.reasons) add_row("reason", sentence_of(reason));
    }
    if (!people) return kDone;

    for (const Refusal& reason : status.reasons) std::cout << "  " << sentence_of(reason) << '\n';
    for (const RecordId& other : status.waits_for)
        std::cout << "  waits for " << other.text() << "  " << reader.label(other) << '\n';
    for (const Conflict& conflict : open) {
        std::cout << "\nconflict " << conflict.id << '\n';
        print_values(std::cout, conflict, reader);
    }
    if (!children.empty()) {
        std::cout << '\n';
        Rows rows(std::cout, Format::table, {"refers to it", "id", "", "sync"},
                  terminal_width(STDOUT_FILENO));
        for (const Child& child : children) {
            for (const Record& r : child.records)
                rows.add({Cell::whole(r.kind->name), Cell::whole(r.id.text()), reader.label(r),
                          Cell::whole(std::string(name_of(store.status(r.id).state)))});
            if (child.count > child.records.size())
                rows.add({Cell::whole(child.kind->name),
                          "and " + std::to_string(child.count - child.records.size()) + " more", "",
                          ""});
        }
    }
    return kDone;
}

int status(const StatusOptions& options) {
    const Store store = open_store(options.file, true);
    const Overview o = store.overview();
    const std::vector<HeldBundle> held = store.held();

    std::string scopes;
    for (const std::string& scope : o.scopes) scopes += (scopes.empty() ? "" : ", ") + scope;

    if (options.format == Format::json || options.format == Format::ndjson) {
        std::cout << to_json(o, held, language()) << '\n';
        return kDone;
    }

    const bool people = options.format == Format::table;
    {
        Rows rows(std::cout, options.format, {"item", "value"}, 0);
        const auto add_row = [&](const char* name, std::string value) {
            rows.add({name, people ? Cell::whole(std::move(value)) : Cell(std::move(value))});
        };
        add_row("file", people ? options.file + " (" + o.file_id + ")" : o.file_id);
        add_row("rep", o.rep + (people && !o.role.empty() ? " (" + o.role + ")" : ""));
        add_row("server", o.enrolled ? o.server : people ? "not enrolled yet" : "");
        if (o.enrolled) {
            add_row("tenant", o.tenant);
            add_row("scopes", scopes);
        }
        add_row("last_sync", !o.last_sync ? (people ? "never" : "")
                             : people     ? local_second(*o.last_sync)
                                          : o.last_sync->rfc3339());
        add_row("received", received_sentence(o));
        if (o.compared_at)
            add_row("compared", people ? local_second(*o.compared_at) : o.compared_at->rfc3339());
        if (o.mended_at)
            add_row("mended",
                    people ? counted(o.mended, "record") + ", last " + local_second(*o.mended_at)
                           : std::to_string(o.mended));
        if (o.differing > 0) add_row("differing", std::to_string(o.differing));
        add_row("drafts", std::to_string(o.drafts));
        add_row("queued", std::to_string(o.queued));
        add_row("sent", std::to_string(o.sent));
        add_row("refused", std::to_string(o.refused));
        add_row("review", std::to_string(o.review));
        add_row("waiting", std::to_string(o.waiting));
        add_row("conflicts", std::to_string(o.conflicts));
        add_row("departed", std::to_string(o.departed));
        for (const std::string& scope : o.incomplete) add_row("incomplete", scope);
        for (const std::string& told : told_of_copies(o)) add_row("note", told);
        for (const LoggedOut& user : o.logged_out)
            add_row("logged_out", "unsent work of " + user.rep + ": " + waiting_of(user));
        if (!people) {
            for (const HeldBundle& bundle : held)
                for (const Refusal& reason : bundle.reasons)
                    add_row("reason", bundle.records.front().id.text() + " " + sentence_of(reason));
            for (const TurnedDown& request : o.turned_down)
                add_row("turned_down",
                        request.subject.id.text() + " " + sentence(request.why, language()));
        }
    }
    if (!people) return kDone;
    for (const SyncState state : {SyncState::refused, SyncState::review, SyncState::waits})
        print_held(std::cout, held, state);
    if (!o.turned_down.empty())
        std::cout << '\n'
                  << (language() == Language::german ? "nicht bewilligte Statuswechsel:"
                                                     : "changes of state that were turned down:")
                  << '\n';
    for (const TurnedDown& request : o.turned_down)
        std::cout << "  " << request.subject.kind->name << ' ' << request.subject.id.text() << "  "
                  << fitted(request.subject.title, 40) << " -> " << request.to << "\n    "
                  << sentence(request.why, language()) << '\n';
    if (o.conflicts > 0)
        std::cout << "\n`rapport conflicts " << options.file
                  << "` shows all values of the conflicts\n";
    return kDone;
}

int departed(const DepartedOptions& options) {
    const Store store = open_store(options.file, true);
    const bool people = options.format == Format::table;
    Rows rows(std::cout, options.format, {"kind", "id", "at", "left_at", "scope"},
              terminal_width(STDOUT_FILENO));
    for (const Departed& d : store.departed(options.limit == 0 ? SIZE_MAX : options.limit)) {
        const auto time = [&](const Instant& at) {
            return Cell::whole(people ? local_second(at) : at.rfc3339());
        };
        rows.add({Cell::whole(d.kind->name), Cell::whole(d.id.text()), d.at ? time(*d.at) : Cell(),
                  time(d.left_at), d.scope.empty() ? Cell() : Cell::whole(d.scope)});
    }
    rows.finish();
    return kDone;
}

int conflicts(const ConflictsOptions& options) {
    const Store store = open_store(options.file, true);
    const std::vector<Conflict> open = store.conflicts();
    Reader reader(store);
    if (options.format == Format::json || options.format == Format::ndjson) {
        Rows rows(std::cout, options.format, {"id", "kind", "record", "field", "key", "values"}, 0);
        for (const Conflict& c : open)
            rows.add({c.id, c.kind->name, c.record.text(), c.field->name,
                      c.key.empty() ? Cell() : Cell(c.key), Cell::raw(candidates_json(c))});
        return kDone;
    }
    if (options.format == Format::csv) {
        Rows rows(std::cout, Format::csv,
                  {"id", "kind", "record", "field", "author", "at", "mine", "shown", "value"}, 0);
        for (const Conflict& c : open)
            for (const Candidate& v : c.candidates)
                rows.add({c.id, c.kind->name, c.record.text(), c.field->name, v.author,
                          v.at.rfc3339(), v.mine, v.shown, plain(*c.field, v.content)});
        return kDone;
    }
    bool first = true;
    for (const Conflict& c : open) {
        std::cout << (first ? "" : "\n") << c.id << "\n  " << c.kind->name << " "
                  << fitted(reader.label(c.record), 60) << ", " << c.field->name
                  << (c.key.empty() ? "" : "." + c.key) << '\n';
        print_values(std::cout, c, reader);
        first = false;
    }
    std::cout
        << (first ? "no conflicts\n"
                  : "\n`rapport resolve FILE CONFLICT --keep mine|theirs|both` or `--value TEXT` "
                    "writes over all values\n");
    return kDone;
}

int resolve(const ResolveOptions& options) {
    if (options.keep.has_value() == options.value.has_value())
        throw Failure(kUsage, "say either --keep mine|theirs|both or --value TEXT");
    Store store = open_store(options.file, false);
    Captured captured;
    if (options.keep) {
        const Keep keep = *options.keep == "mine"     ? Keep::mine
                          : *options.keep == "theirs" ? Keep::theirs
                                                      : Keep::both;
        captured = store.resolve(options.conflict, keep);
    } else {
        const auto open = store.conflicts();
        const auto found = std::find_if(
            open.begin(), open.end(), [&](const Conflict& c) { return c.id == options.conflict; });
        if (found == open.end())
            throw Failure(kRefused, "there is no open conflict " + options.conflict +
                                        "; `rapport conflicts` lists them");
        const auto known = references_in(store);
        const auto content = found->key.empty()
                                 ? content_called(*found->field, *options.value, known,
                                                  found->record, captured.refusals)
                                 : content_from_text(*found->field, found->key, *options.value,
                                                     known, found->record, captured.refusals);
        if (captured && content) captured = store.resolve(options.conflict, Keep::value, *content);
    }
    for (const Refusal& refusal : captured.refusals) complain(sentence_of(refusal));
    return captured ? kDone : kRefused;
}

int export_lines(const ExportOptions& options) {
    const Kind* kind = options.kind.empty() ? nullptr : &kind_called(options.kind);
    const Store store = open_store(options.file, true);
    store.export_records(kind, options.unsent,
                         [](const std::string& json) { std::cout << json << '\n'; });
    return kDone;
}

int schema(const std::string& kind) {
    std::cout << json_schema(kind.empty() ? all_kinds() : std::vector{&kind_called(kind)});
    return kDone;
}

}  // namespace rapport::cli
