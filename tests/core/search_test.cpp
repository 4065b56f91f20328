// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"
#include "store/search.hpp"

using namespace rapport;

namespace {

struct World {
    TempDir folder;
    std::string path = folder.file("a.rapport");
    Store store = Store::open(path);
    Id<Customer> customer = customer_named("Molkerei Morkenhoven");

    Id<Customer> customer_named(const std::string& name) {
        Customer c;
        c.name = name;
        return store.put(c).first;
    }

    Id<Complaint> complaint(const std::string& verbatim) {
        Complaint c;
        c.customer_id = customer;
        c.product_text = "Becher";
        c.verbatim = verbatim;
        c.severity = Severity::major;
        const auto [id, captured] = store.put(c);
        REQUIRE(captured);
        return id;
    }
    SearchPage search(const std::string& text) { return store.search({.text = text}); }
    std::vector<RecordId> found(const std::string& text) {
        std::vector<RecordId> ids;
        for (const SearchHit& hit : search(text).hits) ids.push_back(hit.id);
        return ids;
    }
    bool finds(const std::string& text, const RecordId& id) {
        const auto ids = found(text);
        return std::find(ids.begin(), ids.end(), id) != ids.end();
    }
    std::int64_t number(const std::string& sql) {
        Store::Core::Reading reading(store.core());
        auto statement = reading.db.prepare(sql);
        return statement.step() ? statement.integer(0) : -1;
    }
    void change(const RecordId& id, const Kind& kind, std::int64_t status) {
        Store::Core::Writing writing(store.core());
        Row row = *load_row(writing.db, kind, id);
        row.status = status;
        save_row(writing.db, row);
        writing.commit();
    }
};

Store::Options reading_only() {
    Store::Options options;
    options.read_only = true;
    return options;
}

std::string marked(const SearchHit& hit) {
    std::string text;
    std::size_t at = 0;
    for (const TextRange& range : hit.snippet_ranges) {
        text += hit.snippet.substr(at, range.begin - at) + "[" +
                hit.snippet.substr(range.begin, range.end - range.begin) + "]";
        at = range.end;
    }
    return text + hit.snippet.substr(at);
}

}  // namespace

TEST_CASE("a record is found by all its words, in any order, form and spelling") {
    World world;
    const RecordId leak = world.complaint("Der Deckel ist undicht, Größe 95.");
    const RecordId other = world.complaint("Ein dichter Becher ohne Deckel");
    using Ids = std::vector<RecordId>;
    CHECK(world.found("undichter Deckel") == Ids{leak});
    CHECK(world.found("groesse") == Ids{leak});
    CHECK(world.found("GROSSE") == Ids{leak});
    CHECK(world.found("deck").size() == 2);      // the last word may go on
    CHECK(world.found("deck undicht").empty());  // the others are whole
    CHECK(world.found("de").empty());            // too short to go on
    CHECK(world.found("\"Deckel ist undicht\"") == Ids{leak});
    CHECK(world.found("\"undicht Deckel\"").empty());
    CHECK(world.found("\"Deck\"").empty());
    CHECK(world.found("Deckel -undicht") == Ids{other});
    CHECK(world.found("Deckel -\"ist undicht\"") == Ids{other});
    CHECK(world.found("-undicht").empty());
    CHECK(world.found("").empty());
    CHECK(world.found("Morkenhoven") == Ids{world.customer});
}

TEST_CASE("words of several fields find a record, a phrase only within one") {
    World world;
    const RecordId id = world.complaint("undicht");  // product_text is Becher
    CHECK(world.finds("Becher undicht", id));
    CHECK_FALSE(world.finds("\"Becher undicht\"", id));
}

TEST_CASE("a hit shows the field, the words and a line around them") {
    World world;
    std::string text = "Anfang. ";
    for (int i = 0; i < 30; ++i) text += "Füllwörter stehen davor. ";
    const RecordId id = world.complaint(text + "Die größere\nPalette kippt um. " + text);
    const SearchPage page = world.search("groessere kippt");
    REQUIRE(page.hits.size() == 1);
    const SearchHit& hit = page.hits[0];
    CHECK(hit.id == id);
    CHECK(hit.kind == &kind_of<Complaint>());
    CHECK(hit.field == "verbatim");
    const std::string whole = *world.store.read(Id<Complaint>(id))->verbatim;
    REQUIRE(hit.ranges.size() == 2);
    CHECK(whole.substr(hit.ranges[0].begin, hit.ranges[0].end - hit.ranges[0].begin) == "größere");
    CHECK(marked(hit).find("[größere] Palette [kippt] um.") != std::string::npos);
    CHECK(hit.snippet.size() < 180);
    CHECK(hit.snippet.substr(0, 3) == "…");
}

TEST_CASE("what says more about the words comes first, then the newest") {
    World world;
    for (const char* text : {"Deckel", "Rand", "Folie", "Druck"}) world.complaint(text);
    const RecordId once = world.complaint(
        "Bei der Lieferung war neben vielem anderen auch der Henkel an einem der Becher ab");
    const RecordId twice = world.complaint("Henkel ab, zweiter Henkel locker");
    const RecordId same = world.complaint("Henkel ab, zweiter Henkel locker");
    CHECK(world.found("Henkel") == std::vector<RecordId>{same, twice, once});
    const auto hits = world.search("Henkel").hits;
    CHECK(hits[0].rank > hits[2].rank);
}

TEST_CASE("a beginning that very many words have finds all of them") {
    World world;
    for (int i = 0; i < 350; ++i) world.complaint("Muster" + std::to_string(i) + " der Ware");
    world.complaint("Ware ohne Fehl");
    SearchRequest request{.text = "must", .limit = 1000};
    CHECK(world.store.search(request).hits.size() == 350);
    request.text = "muster34";  // 34 and 340 to 349
    CHECK(world.store.search(request).hits.size() == 11);
    request.text = "ware must";
    CHECK(world.store.search(request).hits.size() == 350);
}

TEST_CASE("a rare word says more than one that most records have") {
    World world;
    for (int i = 0; i < 40; ++i) world.complaint("Die Ware und der Becher " + std::to_string(i));
    const RecordId common = world.complaint("Ware Ware Henkel und Rand und Folie");
    const RecordId rare = world.complaint("Henkel Henkel Ware und Rand und Folie");
    CHECK(world.found("Ware Henkel") == std::vector<RecordId>{rare, common});
}

TEST_CASE("pages follow each other, kinds and customers narrow") {
    World world;
    for (int i = 0; i < 7; ++i) world.complaint("Palette " + std::to_string(i));
    const auto other = world.customer_named("Palettenbau Süd");
    SearchRequest request{.text = "palette", .limit = 3};
    std::vector<RecordId> all;
    for (;;) {
        const SearchPage page = world.store.search(request);
        for (const SearchHit& hit : page.hits) all.push_back(hit.id);
        if (!page.more) break;
        request.offset += request.limit;
    }
    CHECK(all.size() == 8);
    std::sort(all.begin(), all.end());
    CHECK(std::unique(all.begin(), all.end()) == all.end());

    request = {.text = "palette"};
    request.kinds = {&kind_of<Complaint>()};
    CHECK(world.store.search(request).hits.size() == 7);
    request.kinds = {&kind_of<Attachment>(), &kind_of<Customer>()};
    CHECK(world.store.search(request).hits.size() == 1);
    request.kinds.clear();
    request.customer = other;
    REQUIRE(world.store.search(request).hits.size() == 1);
    CHECK(world.store.search(request).hits[0].id == other);
    request.customer = world.customer;
    CHECK(world.store.search(request).hits.size() == 7);
    request.limit = 0;
    CHECK_THROWS_AS(world.store.search(request), Error);
}

TEST_CASE("a search at a customer finds what is about its contacts, visits and complaints") {
    World world;
    const auto leak = world.complaint("Deckel undicht");
    const auto note = [&](const RecordId& about) {
        Note n;
        n.subject_id = AnyId(about);
        n.text = "Zitronenfalter";
        const auto [id, captured] = world.store.put(n);
        REQUIRE(captured);
        return RecordId(id);
    };
    Visit met;
    met.customer_id = world.customer;
    met.type = VisitType::visit;
    const auto visit = world.store.put(met).first;
    Contact person;
    person.customer_id = world.customer;
    person.name = PersonName{"Ute", "Kaulquappe"};
    const auto contact = world.store.put(person).first;
    const auto other = world.customer_named("Palettenbau Süd");
    std::vector<RecordId> expected{note(world.customer), note(leak), note(visit), note(contact)};
    const RecordId elsewhere = note(other);
    SearchRequest request{.text = "Zitronenfalter"};
    CHECK(world.store.search(request).hits.size() == 5);
    request.customer = world.customer;
    std::vector<RecordId> found;
    for (const SearchHit& hit : world.store.search(request).hits) found.push_back(hit.id);
    std::sort(found.begin(), found.end());
    std::sort(expected.begin(), expected.end());
    CHECK(found == expected);
    request.customer = other;
    REQUIRE(world.store.search(request).hits.size() == 1);
    CHECK(world.store.search(request).hits[0].id == elsewhere);
}

TEST_CASE("a value that was written over is found no more, the new one is") {
    World world;
    const auto id = world.complaint("Der Henkel bricht");
    CHECK(world.finds("Henkel", id));
    Note note;
    note.subject_id = AnyId(id);
    note.text = "unveränderlich";
    REQUIRE(world.store.put(note).second);
    CHECK(world.store.edit(id).set(&Complaint::description, "Charge 4711").save());
    CHECK(world.finds("4711", id));
    CHECK(world.store.edit(id).set(&Complaint::description, "Charge 4812").save());
    CHECK(world.store.edit(id).set(&Complaint::description, "Charge 4913").save());
    CHECK_FALSE(world.finds("4711", id));
    CHECK_FALSE(world.finds("4812", id));
    CHECK(world.finds("4913", id));
    CHECK(world.store.edit(id).clear(&Complaint::description).save());
    CHECK_FALSE(world.finds("4913", id));
    CHECK(world.finds("Henkel", id));
    while (world.store.index_some()) {
    }
    CHECK(world.number("SELECT count(*) FROM search WHERE search MATCH '\"4711\" OR \"4913\"'") ==
          0);
    CHECK(world.store.check().empty());
}

TEST_CASE("departed records are not found, drafts are until they are discarded") {
    World world;
    const auto gone = world.complaint("Henkel verbogen");
    CHECK(world.finds("Henkel", gone));
    world.change(gone, kind_of<Complaint>(), kRowHidden);
    CHECK_FALSE(world.finds("Henkel", gone));
    world.change(gone, kind_of<Complaint>(), kRowPending);
    CHECK(world.finds("Henkel", gone));

    const auto draft_of = [&](const char* text) {
        Bundling bundle = world.store.bundle();
        ProductWish wish;
        wish.customer_id = world.customer;
        wish.need = text;
        const auto id = bundle.add(wish);
        REQUIRE(bundle.save_draft());
        return id;
    };
    const RecordId first = draft_of("Deckel mit Clip");
    CHECK(world.finds("Clip", first));
    world.store.discard(first);
    const RecordId second = draft_of("Becher ohne Rand");  // takes the number of the first row
    CHECK_FALSE(world.finds("Clip", first));
    CHECK(world.found("Clip").empty());
    CHECK(world.finds("Rand", second));
    world.store.discard(second);
    CHECK(world.found("Rand").empty());  // now its mark is settled before the number is given again
    CHECK(world.finds("Spezialdichtung", draft_of("Spezialdichtung")));
}

TEST_CASE("a capture writes nothing for the index, an edit of an indexed text one mark") {
    World world;
    const auto id = world.complaint("Deckel undicht");
    CHECK(world.number("SELECT count(*) FROM sqlite_schema WHERE name GLOB 'search*'") == 0);
    while (world.store.index_some()) {
    }
    const auto marks = [&] { return world.number("SELECT count(*) FROM search_mark"); };
    const auto done = [&] {
        return world.number("SELECT sum(done) FROM search_kind") +
               world.number("SELECT count(*) FROM search_docsize");
    };
    const auto before = done();
    world.complaint("Noch einer");
    CHECK(world.store.edit(id).set(&Complaint::remedy_wanted, Remedy::replace).save());
    CHECK(marks() == 0);
    CHECK(world.store.edit(id).set(&Complaint::description, "a").save());
    CHECK(world.store.edit(id).set(&Complaint::description, "b").save());
    CHECK(marks() == 1);
    CHECK(done() == before);
}

TEST_CASE("the index grows by bounded steps, and a search says what it does not hold yet") {
    World world;
    constexpr std::size_t kRecords = 1600;
    {
        Store::Core::Writing writing(world.store.core());
        for (std::size_t i = 0; i < kRecords; ++i) {
            Row row;
            row.kind = &kind_of<Note>();
            row.id.bytes[0] = 2;
            row.id.bytes[14] = static_cast<std::uint8_t>(i >> 8);
            row.id.bytes[15] = static_cast<std::uint8_t>(i);
            row.confirmed.kind = row.kind->number;
            row.confirmed.id = row.id;
            row.confirmed_once = true;
            Note note;
            note.text = "Notiz vieler Worte";
            row.shown = to_record(note, row.id).fields;
            save_row(writing.db, row);
        }
        writing.commit();
    }
    const SearchPage first = world.search("Notiz");
    CHECK(first.behind);
    CHECK_FALSE(first.hits.empty());
    int steps = 0;
    for (std::int64_t last = world.number("SELECT count(*) FROM search_docsize");
         world.store.index_some(); ++steps) {
        const auto now = world.number("SELECT count(*) FROM search_docsize");
        CHECK(now - last <= 256);
        last = now;
    }
    CHECK(steps >= 1);
    CHECK_FALSE(world.search("Notiz").behind);
    CHECK(world.number("SELECT count(*) FROM search_docsize") == kRecords + 1);
    // Of a kind with very many matches the newest 1,500, and those of the other kinds as well.
    const RecordId other = world.complaint("Notiz am Rand");
    SearchRequest last{.text = "Notiz", .limit = 1000, .offset = 1000};
    CHECK(world.store.search(last).hits.size() == 501);
    CHECK(world.finds("Notiz Rand", other));
}

TEST_CASE("an index made by another build is made anew") {
    World world;
    const auto id = world.complaint("Deckel undicht");
    CHECK(world.finds("undicht", id));
    {
        Store::Core::Writing writing(world.store.core());
        writing.db.execute("UPDATE meta SET value='older' WHERE key='search'");
        writing.commit();
    }
    CHECK(world.finds("undicht", id));
    CHECK(world.found("undicht").size() == 1);
}

TEST_CASE("who only reads finds what is indexed and hears that something is not") {
    World world;
    const auto id = world.complaint("Deckel undicht");
    const Store reader = Store::open(world.path, reading_only());
    CHECK(reader.search({.text = "undicht"}).behind);
    CHECK(reader.search({.text = "undicht"}).hits.empty());
    CHECK(world.finds("undicht", id));
    CHECK_FALSE(reader.search({.text = "undicht"}).behind);
    CHECK(reader.search({.text = "undicht"}).hits.size() == 1);
    CHECK(world.store.edit(id).set(&Complaint::description, "Charge 9").save());
    CHECK(reader.search({.text = "undicht"}).behind);
}

TEST_CASE("a search does not wait for a writer") {
    World world;
    const auto id = world.complaint("Deckel undicht");
    CHECK(world.finds("undicht", id));
    world.complaint("Henkel ab");
    SearchPage page;
    {
        Store::Core::Writing writing(world.store.core());
        std::thread([&] { page = world.search("undicht"); }).join();
    }
    CHECK(page.hits.size() == 1);
    CHECK(page.behind);
}

TEST_CASE("whatever is typed is text") {
    World world;
    const auto id = world.complaint("AND NEAR(deckel) NOT text: * ^ OR");
    for (const char* typed : {"AND",
                              "NOT",
                              "NEAR(",
                              "deckel*",
                              "text:deckel",
                              "^deckel",
                              "{deckel}",
                              "a OR b",
                              "\"",
                              "\"\"",
                              "-",
                              "--",
                              "-\"",
                              "'; DROP TABLE search; --",
                              "deckel\"AND",
                              "\"deckel",
                              "((",
                              "\xFF\xFE",
                              "-\"-\"-deckel",
                              "deckel -",
                              "+deckel",
                              "deckel AND NOT"})
        CHECK_NOTHROW(world.search(typed));
    CHECK(world.finds("\"NEAR(deckel) NOT\"", id));
    CHECK(world.finds("NOT:text", id));
    std::string many;
    for (int i = 0; i < 500; ++i) many += "wort" + std::to_string(i) + " ";
    CHECK_NOTHROW(world.search(many));
    CHECK_NOTHROW(world.search(std::string(100'000, '"')));
    CHECK_NOTHROW(world.search(std::string("deckel\0AND", 10)));
}

TEST_CASE("the doctor sees an index that does not hold what the rows say") {
    World world;
    world.complaint("Deckel undicht");
    while (world.store.index_some()) {
    }
    CHECK(world.store.check().empty());
    {
        Store::Core::Writing writing(world.store.core());
        writing.db.execute("INSERT INTO search(rowid, text) VALUES((8<<40)+99, 'nirgends')");
        writing.db.execute("UPDATE search_kind SET done=done+1");
        writing.commit();
    }
    world.complaint("Henkel ab");
    CHECK(world.store.check().size() == 2);
}
