// SPDX-License-Identifier: Apache-2.0
#include "store/search.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "store/rows.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

constexpr std::size_t kLimitMax = 1000;
constexpr std::size_t kOffsetMax = 10'000;
constexpr std::size_t kTypedBytesMax = 4096;
constexpr std::size_t kTypedWordsMax = 32;
constexpr std::size_t kPrefixLettersMin = 3;  // a shorter beginning is the one of most words
constexpr int kBeginningsMax = 300;           // words that one may become
constexpr int kRowsPerStep = 256;             // about 10 ms on a phone of 2020
constexpr int kStepsBeforeSearch = 4;
constexpr int kRankedOfKindMax =
    1500;  // ranking looks at every match; a word of every note has many
constexpr int kKindShift =
    40;  // document = kind * 2^40 + row: dense within a kind, so deltas stay short
constexpr std::size_t kSnippetBytesMax = 160, kSnippetBefore = 48;

// ---- what of a kind is searched

struct Searched {
    struct Piece {
        std::string name;  // `field` or `group.part`
        std::string column;
    };
    const Kind* kind;
    std::vector<Piece> pieces;
    std::string customer;  // the column that names the customer, or what the record is about
    bool directly = true;  // the former

    std::string table() const { return identifier(kind->name); }
    // All texts of a row as one; `row` is empty, `OLD.` or `NEW.`.
    std::string text(const std::string& row) const {
        std::string sql;
        for (const Piece& piece : pieces)
            sql +=
                (sql.empty() ? "" : "||char(10)||") + ("coalesce(" + row + piece.column) + ",'')";
        return sql;
    }
};

std::string column_to(const Kind& kind, std::string_view reference) {
    const Field* field = reference.empty() ? nullptr : kind.field(reference);
    return field ? identifier(column_of(*field)) : std::string();
}

// `near`: customer ?3 and what names it; `far`: what is about one of these.
const std::string& hanging_on_customer() {
    static const std::string sql = [] {
        std::string near = "SELECT ?3", far;
        for (const Kind* kind : all_kinds()) {
            const std::string customer = column_to(*kind, "customer_id"),
                              root = column_to(*kind, kind->root);
            const std::string ids = "SELECT id FROM " + identifier(kind->name) + " WHERE ";
            if (!customer.empty())
                near += " UNION ALL " + ids + customer + "=?3";
            else if (!root.empty() && !kind->append_only)
                far += (far.empty() ? "" : " UNION ALL ") + ids + root + " IN near";
        }
        return "WITH near(id) AS (" + near + "), far(id) AS (" + far + ") ";
    }();
    return sql;
}

Searched searched_of(const Kind& kind) {
    Searched texts{&kind, {}, {}};
    for (const Field& field : kind.fields) {
        if (!field.marks.searched || field.is_keyed()) continue;
        if (field.type.shape == Shape::text)
            texts.pieces.push_back({field.name, identifier(column_of(field))});
        for (const PartInfo& part : field.type.parts)
            if (part.type.shape == Shape::text)
                texts.pieces.push_back({field.name + "." + std::string(part.name),
                                        identifier(column_of(field, part))});
    }
    texts.customer = kind.name == "customer" ? "id" : column_to(kind, "customer_id");
    texts.directly = !texts.customer.empty();
    if (!texts.directly) texts.customer = column_to(kind, kind.root);
    return texts;
}

const std::vector<Searched>& searched_kinds() {
    static const std::vector<Searched> all = [] {
        std::vector<Searched> kinds;
        for (const Kind* kind : all_kinds())
            if (Searched texts = searched_of(*kind); !texts.pieces.empty())
                kinds.push_back(std::move(texts));
        return kinds;
    }();
    return all;
}

const Searched* searched_numbered(std::int64_t number) {
    for (const Searched& texts : searched_kinds())
        if (texts.kind->number == number) return &texts;
    return nullptr;
}

std::int64_t document(std::int64_t kind, std::int64_t row) { return (kind << kKindShift) | row; }

// What the index was made by; another one is made anew.
const std::string& fingerprint() {
    static const std::string text = [] {
        std::string all = std::to_string(kFoldVersion) + " words, Unicode " +
                          std::string(utf8proc_unicode_version());
        for (const Searched& texts : searched_kinds()) {
            all += ";" + texts.kind->name;
            for (const Searched::Piece& piece : texts.pieces) all += "," + piece.name;
        }
        return all;
    }();
    return text;
}

bool index_is_ours(sqlite::Database& db) { return meta(db, "search") == fingerprint(); }

// ---- the tables

void make_triggers(sqlite::Database& db, const Searched& texts) {
    const std::string number = std::to_string(texts.kind->number), table = texts.table();
    std::string columns, differs;
    for (const Searched::Piece& piece : texts.pieces) {
        columns += (columns.empty() ? "" : ",") + piece.column;
        differs +=
            (differs.empty() ? "OLD." : " OR OLD.") + piece.column + " IS NOT NEW." + piece.column;
    }
    const std::string indexed =
        " WHEN OLD.row<=(SELECT done FROM search_kind WHERE kind=" + number + ")";
    const std::string mark = " BEGIN INSERT OR IGNORE INTO search_mark(kind, row, text) VALUES(" +
                             number + ",OLD.row," + texts.text("OLD.") + "); END";
    db.execute("CREATE TRIGGER " + identifier("search_" + texts.kind->name + "_update") +
               " AFTER UPDATE OF " + columns + " ON " + table + indexed + " AND (" + differs + ")" +
               mark);
    db.execute("CREATE TRIGGER " + identifier("search_" + texts.kind->name + "_delete") +
               " AFTER DELETE ON " + table + indexed + mark);
}

void make_index(sqlite::Database& db) {
    std::vector<std::string> triggers;
    {
        auto select = db.prepare(
            "SELECT name FROM sqlite_schema WHERE type='trigger' AND name GLOB 'search_*'");
        while (select.step()) triggers.emplace_back(select.text(0));
    }
    for (const std::string& trigger : triggers) db.execute("DROP TRIGGER " + identifier(trigger));
    db.execute(
        "DROP TABLE IF EXISTS search_word;"
        "DROP TABLE IF EXISTS search; DROP TABLE IF EXISTS search_kind;"
        "DROP TABLE IF EXISTS search_mark;"
        "CREATE VIRTUAL TABLE search USING fts5(text, content='', tokenize='ascii');"
        "CREATE VIRTUAL TABLE search_word USING fts5vocab(search, row);"
        "CREATE TABLE search_kind(kind INTEGER PRIMARY KEY, done INTEGER NOT NULL) STRICT;"
        "CREATE TABLE search_mark(kind INTEGER NOT NULL, row INTEGER NOT NULL, text TEXT NOT NULL,"
        "PRIMARY KEY(kind, row)) WITHOUT ROWID, STRICT");
    for (const Searched& texts : searched_kinds()) {
        db.prepare("INSERT INTO search_kind(kind, done) VALUES(?,0)")
            .bind_all(static_cast<int>(texts.kind->number))
            .run();
        make_triggers(db, texts);
    }
    set_meta(db, "search", fingerprint());
}

// ---- one step

void add_document(sqlite::Database& db, std::int64_t id, std::string_view text) {
    const std::string words = folded(text);
    if (words.empty()) return;
    db.prepare("INSERT INTO search(rowid, text) VALUES(?,?)").bind_all(id, words).run();
}

void forget_document(sqlite::Database& db, std::int64_t id, std::string_view text) {
    const std::string words = folded(text);
    if (words.empty()) return;
    db.prepare("INSERT INTO search(search, rowid, text) VALUES('delete',?,?)")
        .bind_all(id, words)
        .run();
}

struct Text {
    std::int64_t kind = 0;
    std::int64_t row = 0;
    std::string text;
};

int settle_marks(sqlite::Database& db, int most) {
    std::vector<Text> marks;
    {
        auto select = db.prepare("SELECT kind, row, text FROM search_mark LIMIT ?");
        select.bind(1, most);
        while (select.step())
            marks.push_back({select.integer(0), select.integer(1), std::string(select.text(2))});
    }
    for (const Text& mark : marks) {
        const Searched& texts = *searched_numbered(mark.kind);
        forget_document(db, document(mark.kind, mark.row), mark.text);
        auto select =
            db.prepare("SELECT " + texts.text("") + " FROM " + texts.table() + " WHERE row=?");
        select.bind(1, mark.row);
        if (select.step())
            add_document(db, document(mark.kind, mark.row), select.text(0));
        else  // its number may be given again
            db.prepare("UPDATE search_kind SET done=min(done,(SELECT coalesce(max(row),0) FROM " +
                       texts.table() + ")) WHERE kind=?")
                .bind_all(mark.kind)
                .run();
        db.prepare("DELETE FROM search_mark WHERE kind=? AND row=?")
            .bind_all(mark.kind, mark.row)
            .run();
    }
    return static_cast<int>(marks.size());
}

int add_new_rows(sqlite::Database& db, const Searched& texts, int most) {
    const std::int64_t kind = texts.kind->number;
    int added = 0;
    std::int64_t last = 0;
    auto select = db.prepare("SELECT row, " + texts.text("") + " FROM " + texts.table() +
                             " WHERE row>(SELECT done FROM search_kind WHERE kind=?1)"
                             " ORDER BY row LIMIT ?2");
    select.bind(1, kind).bind(2, most);
    for (; select.step(); ++added) {
        last = select.integer(0);
        add_document(db, document(kind, last), select.text(1));
    }
    select.reset();
    if (added > 0)
        db.prepare("UPDATE search_kind SET done=? WHERE kind=?").bind_all(last, kind).run();
    return added;
}

// ---- what was typed

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::size_t letters_in(const std::string& word) {
    return static_cast<std::size_t>(
        std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool begins_with(const std::string& word, const std::string& beginning) {
    return word.compare(0, beginning.size(), beginning) == 0;
}

std::string any_form(const SearchTerms::Term& term, const SearchTerms::Beginning& beginning) {
    if (term.words.size() > 1) {
        std::string phrase;
        for (const auto& forms : term.words) phrase += (phrase.empty() ? "" : " ") + forms.front();
        return '"' + phrase + (term.prefix ? "\"*" : "\"");
    }
    const auto& forms = term.words.front();
    const auto longer = term.prefix ? beginning(forms.front()) : std::vector<std::string>{};
    std::string any = '"' + forms.front() + (term.prefix && longer.empty() ? "\"*" : "\"");
    for (const std::string& word : longer)
        if (word != forms.front()) any += " OR \"" + word + '"';
    for (std::size_t i = 1; i < forms.size(); ++i)
        if (!term.prefix || !begins_with(forms[i], forms.front())) any += " OR \"" + forms[i] + '"';
    return any;
}

bool stands_at(const SearchTerms::Term& term, const std::vector<Word>& words, std::size_t at) {
    if (at + term.words.size() > words.size()) return false;
    for (std::size_t i = 0; i < term.words.size(); ++i) {
        const auto& forms = term.words[i];
        const std::string& word = words[at + i].folded;
        const bool goes_on = term.prefix && i + 1 == term.words.size();
        if (!(goes_on && begins_with(word, forms.front())) &&
            std::find(forms.begin(), forms.end(), word) == forms.end())
            return false;
    }
    return true;
}

// ---- hits

struct Match {
    std::int64_t document = 0;
    std::int64_t rank = 0;
};

std::vector<std::string> words_beginning(sqlite::Database& db, const std::string& beginning) {
    std::vector<std::string> words;
    auto select = db.prepare("SELECT term FROM search_word WHERE term>=?1 AND term<?2 LIMIT ?3");
    select.bind_all(std::string_view(beginning), std::string_view(beginning + '\xFF'),
                    kBeginningsMax + 1);
    while (select.step()) words.emplace_back(select.text(0));
    if (words.size() > static_cast<std::size_t>(kBeginningsMax)) words.clear();
    return words;
}

// Matches by the index, of each kind the newest. A kind with too many is left by asking again from
// the kind below it.
std::vector<Match> ranked(sqlite::Database& db, const SearchTerms& terms,
                          const SearchRequest& request) {
    db.begin_ranking();
    std::string sql =
        "SELECT rowid, rank_of(search) FROM search WHERE search MATCH ?1 AND rowid<?2";
    std::string kinds, of_customer;
    for (const Searched& texts : searched_kinds()) {
        const std::string number = std::to_string(texts.kind->number);
        if (std::find(request.kinds.begin(), request.kinds.end(), texts.kind) !=
            request.kinds.end())
            kinds += (kinds.empty() ? "" : ",") + number;
        if (!texts.customer.empty())
            of_customer +=
                (of_customer.empty() ? "SELECT " : " UNION ALL SELECT ") +
                std::to_string(document(texts.kind->number, 0)) + "+row FROM " + texts.table() +
                " WHERE " + texts.customer +
                (texts.directly ? "=?3" : " IN (SELECT id FROM near UNION ALL SELECT id FROM far)");
    }
    if (!request.kinds.empty())
        sql += " AND +rowid>>" + std::to_string(kKindShift) + " IN (" + kinds + ")";
    if (!request.customer.is_nil())
        sql = hanging_on_customer() + sql + " AND +rowid IN (" + of_customer + ")";
    auto select = db.prepare(sql + " ORDER BY rowid DESC");

    const std::string expression = terms.expression(
        [&](const std::string& beginning) { return words_beginning(db, beginning); });
    std::vector<Match> found;
    std::int64_t below = INT64_MAX, kind = 0;
    for (bool again = true; again;) {
        again = false;
        select.reset();
        select.bind(1, std::string_view(expression)).bind(2, below);
        if (!request.customer.is_nil()) select.bind(3, request.customer);
        for (int of_kind = 0; select.step(); ++of_kind) {
            const std::int64_t id = select.integer(0);
            if (id >> kKindShift != kind) of_kind = 0;
            kind = id >> kKindShift;
            if (of_kind == kRankedOfKindMax) {
                below = document(kind, 0);
                again = true;
                break;
            }
            found.push_back({id, select.integer(1)});
        }
    }
    std::sort(found.begin(), found.end(), [](const Match& a, const Match& b) {
        return a.rank != b.rank ? a.rank > b.rank : a.document > b.document;
    });
    return found;
}

bool starts_code_point(std::string_view text, std::size_t at) {
    return at >= text.size() || (text[at] & 0xC0) != 0x80;
}

void cut_snippet(SearchHit& hit, std::string_view text) {
    const TextRange first = hit.ranges.front();
    std::size_t begin = first.begin > kSnippetBefore ? first.begin - kSnippetBefore : 0;
    if (begin > 0) {
        while (begin < first.begin && !is_blank(text[begin])) ++begin;
        while (begin < first.begin && is_blank(text[begin])) ++begin;
    }
    std::size_t end = std::min(text.size(), begin + kSnippetBytesMax);
    if (end < text.size()) {
        while (end > first.end && !is_blank(text[end])) --end;
        while (!starts_code_point(text, end)) --end;
    }
    const std::string before = begin > 0 ? "… " : "", after = end < text.size() ? " …" : "";
    hit.snippet = before + std::string(text.substr(begin, end - begin)) + after;
    std::replace_if(hit.snippet.begin(), hit.snippet.end(), is_blank, ' ');
    for (const TextRange& range : hit.ranges)
        if (range.begin < end)
            hit.snippet_ranges.push_back({range.begin - begin + before.size(),
                                          std::min(range.end, end) - begin + before.size()});
}

// The hit as the record's texts bear it out: the index may hold what has been written over since,
// and knows nothing of where one field ends.
std::optional<SearchHit> verified(sqlite::Database& db, const SearchTerms& terms,
                                  const Match& match) {
    const Searched* texts = searched_numbered(match.document >> kKindShift);
    if (!texts) return std::nullopt;
    std::string columns;
    for (const Searched::Piece& piece : texts->pieces) columns += "," + piece.column;
    auto select =
        db.prepare("SELECT id, status" + columns + " FROM " + texts->table() + " WHERE row=?");
    select.bind(1, match.document & ((std::int64_t{1} << kKindShift) - 1));
    if (!select.step() || (select.integer(1) & kRowHidden)) return std::nullopt;

    std::vector<bool> found(terms.terms().size(), false);
    SearchHit hit;
    std::size_t most = 0;
    std::string shown;
    for (std::size_t i = 0; i < texts->pieces.size(); ++i) {
        const std::string_view text = select.text(static_cast<int>(i) + 2);
        SearchTerms::Answer answer = terms.look_in(text);
        std::size_t wanted = 0;
        for (std::size_t t = 0; t < found.size(); ++t) {
            if (!answer.found[t]) continue;
            if (terms.terms()[t].excluded) return std::nullopt;
            found[t] = true;
            ++wanted;
        }
        if (wanted <= most) continue;
        most = wanted;
        hit.field = texts->pieces[i].name;
        hit.ranges = std::move(answer.ranges);
        shown = text;
    }
    for (std::size_t t = 0; t < found.size(); ++t)
        if (!found[t] && !terms.terms()[t].excluded) return std::nullopt;
    hit.kind = texts->kind;
    hit.id = select.id(0);
    hit.rank = match.rank;
    cut_snippet(hit, shown);
    return hit;
}

void bring_up_to_date(Store::Core& core) {
    for (int step = 0; step < kStepsBeforeSearch; ++step) {
        {
            const Store::Core::Reading reading(core);
            if (!index_is_behind(reading.db)) return;
        }
        const auto writing = Store::Core::Writing::if_free(core);
        if (!writing) return;
        index_step(*writing);
        writing->commit();
    }
}

}  // namespace

// ---- SearchTerms

SearchTerms::SearchTerms(std::string_view typed) {
    typed = typed.substr(0, kTypedBytesMax);
    std::size_t taken = 0;
    bool last_goes_on = false;
    for (std::size_t i = 0; i < typed.size();) {
        if (is_blank(typed[i])) {
            ++i;
            continue;
        }
        Term term;
        term.excluded = typed[i] == '-';
        if (term.excluded) ++i;
        const bool quoted = i < typed.size() && typed[i] == '"';
        if (quoted) ++i;
        const std::size_t begin = i;
        while (i < typed.size() && typed[i] != '"' && (quoted || !is_blank(typed[i]))) ++i;
        const auto words = words_of(typed.substr(begin, i - begin));
        if (quoted) ++i;
        if (words.empty()) continue;
        if ((taken += words.size()) > kTypedWordsMax) break;
        for (const Word& word : words)
            term.words.push_back(!quoted && words.size() == 1 ? forms_of(word.folded)
                                                              : std::vector{word.folded});
        last_goes_on = !quoted && !term.excluded;
        terms_.push_back(std::move(term));
    }
    if (last_goes_on)
        terms_.back().prefix = letters_in(terms_.back().words.back().front()) >= kPrefixLettersMin;
}

bool SearchTerms::empty() const {
    return std::all_of(terms_.begin(), terms_.end(), [](const Term& t) { return t.excluded; });
}

std::string SearchTerms::expression(const Beginning& words) const {
    std::string wanted, excluded;
    for (const Term& term : terms_) {
        std::string& side = term.excluded ? excluded : wanted;
        side += (side.empty()    ? "("
                 : term.excluded ? " OR ("
                                 : " AND (") +
                any_form(term, words) + ")";
    }
    return excluded.empty() ? wanted : "(" + wanted + ") NOT (" + excluded + ")";
}

SearchTerms::Answer SearchTerms::look_in(std::string_view text) const {
    const std::vector<Word> words = words_of(text);
    std::vector<bool> hit(words.size(), false);
    Answer answer{std::vector<bool>(terms_.size(), false), {}};
    for (std::size_t t = 0; t < terms_.size(); ++t)
        for (std::size_t at = 0; at < words.size(); ++at) {
            if (!stands_at(terms_[t], words, at)) continue;
            answer.found[t] = true;
            if (!terms_[t].excluded)
                std::fill_n(hit.begin() + static_cast<std::ptrdiff_t>(at), terms_[t].words.size(),
                            true);
        }
    for (std::size_t at = 0; at < words.size(); ++at)
        if (hit[at]) answer.ranges.push_back({words[at].begin, words[at].end});
    return answer;
}

// ---- the index

bool index_step(Store::Core::Writing& writing) {
    sqlite::Database& db = writing.db;
    if (!index_is_ours(db)) make_index(db);
    int left = kRowsPerStep;
    left -= settle_marks(db, left);
    for (const Searched& texts : searched_kinds()) {
        if (left == 0) break;
        left -= add_new_rows(db, texts, left);
    }
    return index_is_behind(db);
}

void drop_index(sqlite::Database& db) {
    if (meta(db, "search")) make_index(db);
}

void clean_index(sqlite::Database& db) {
    if (!meta(db, "search")) return;
    if (!index_is_ours(db)) return make_index(db);
    while (settle_marks(db, kRowsPerStep) > 0) {
    }
    // Words that no record has any more leave when all segments become one.
    db.execute("INSERT INTO search(search) VALUES('optimize')");
}

bool index_is_behind(sqlite::Database& db) {
    const bool ours = index_is_ours(db);
    if (ours && db.prepare("SELECT 1 FROM search_mark LIMIT 1").step()) return true;
    for (const Searched& texts : searched_kinds()) {
        auto beyond = db.prepare("SELECT 1 FROM " + texts.table() + " WHERE row>" +
                                 (ours ? "(SELECT done FROM search_kind WHERE kind=" +
                                             std::to_string(texts.kind->number) + ")"
                                       : "0") +
                                 " LIMIT 1");
        if (beyond.step()) return true;
    }
    return false;
}

std::vector<std::string> examine_index(sqlite::Database& db) {
    std::vector<std::string> findings;
    if (!index_is_ours(db)) return findings;
    for (const Searched& texts : searched_kinds()) {
        const std::int64_t kind = texts.kind->number;
        std::size_t missing = 0, surplus = 0;
        auto rows = db.prepare(
            "SELECT " + texts.text("") +
            ", EXISTS(SELECT 1 FROM search_docsize WHERE id=?1+row) FROM " + texts.table() +
            " WHERE row<=(SELECT done FROM search_kind WHERE kind=?2) AND NOT EXISTS(SELECT 1 FROM "
            "search_mark m WHERE m.kind=?2 AND m.row=" +
            texts.table() + ".row)");
        rows.bind(1, document(kind, 0)).bind(2, kind);
        while (rows.step()) {
            const bool held = rows.integer(1) != 0, wanted = !folded(rows.text(0)).empty();
            missing += wanted && !held ? 1U : 0U;
            surplus += held && !wanted ? 1U : 0U;
        }
        auto orphans = db.prepare(
            "SELECT count(*) FROM search_docsize WHERE id BETWEEN ?1 AND ?2 AND id-?1 NOT IN "
            "(SELECT row FROM " +
            texts.table() +
            ") AND NOT EXISTS(SELECT 1 FROM search_mark m WHERE m.kind=?3 AND m.row=id-?1)");
        orphans.bind(1, document(kind, 0)).bind(2, document(kind + 1, 0) - 1).bind(3, kind);
        orphans.step();
        surplus += static_cast<std::size_t>(orphans.integer(0));
        if (missing > 0)
            findings.push_back("the search index lacks " + std::to_string(missing) + " of " +
                               texts.kind->name);
        if (surplus > 0)
            findings.push_back("the search index holds " + std::to_string(surplus) + " of " +
                               texts.kind->name + " that are not there");
    }
    return findings;
}

// ---- Store

bool Store::index_some() {
    {
        const Core::Reading reading(*core_);
        if (!index_is_behind(reading.db)) return false;
    }
    Core::Writing writing(*core_);
    const bool more = index_step(writing);
    writing.commit();
    return more;
}

SearchPage Store::search(const SearchRequest& request) const {
    if (request.limit < 1 || request.limit > kLimitMax || request.offset > kOffsetMax)
        throw Error(ErrorCode::invalid_argument,
                    "a search shows 1 to 1000 hits, after at most 10000 others");
    if (!core_->read_only()) bring_up_to_date(*core_);
    const SearchTerms terms(request.text);
    const Core::Reading reading(*core_);
    SearchPage page;
    page.behind = index_is_behind(reading.db);
    if (terms.empty() || !index_is_ours(reading.db)) return page;
    std::size_t passed = 0;
    for (const Match& match : ranked(reading.db, terms, request)) {
        auto hit = verified(reading.db, terms, match);
        if (!hit || passed++ < request.offset) continue;
        if (page.hits.size() == request.limit) {
            page.more = true;
            break;
        }
        page.hits.push_back(*std::move(hit));
    }
    return page;
}

}  // namespace rapport
