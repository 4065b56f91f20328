// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "programs.hpp"

using namespace rapport::test;

namespace {

// A folder, a server in it, and what most cases begin with.
struct Centre {
    TempDir folder;
    Server server{folder.file("server.db")};

    Device device(const std::string& name, const std::string& rep, const std::string& role,
                  const std::string& scope, const std::string& tenant = "default") const {
        Device made(folder, name, rep);
        made.enrol(server, role, scope, tenant);
        return made;
    }
    Device rep(const std::string& name, const std::string& rep = "R17",
               const std::string& territory = "DE-50") const {
        return device(name, rep, "rep", "territory/" + territory);
    }
    Device office(const std::string& name, const std::string& role) const {
        return device(name, name, role, "territory/*");
    }
    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(folder.file(name), std::ios::binary) << text;
        return folder.file(name);
    }
    // The number in the device's row that `rapportd devices` calls writer.
    std::string writer_of(const std::string& rep) const {
        for (const Json& row : server.rows({"devices"}))
            if (row["rep"] == rep) return row["writer"];
        FAIL("no device of this rep");
        return {};
    }
};

const Json* find(const std::vector<Json>& objects, const std::string& member,
                 const std::string& value) {
    const auto at = std::find_if(objects.begin(), objects.end(),
                                 [&](const Json& o) { return o.at(member) == value; });
    return at == objects.end() ? nullptr : &*at;
}

std::set<std::string> ids_of(const std::vector<Json>& records) {
    std::set<std::string> ids;
    for (const Json& record : records) ids.insert(record.at("id").get<std::string>());
    return ids;
}

std::set<std::string> keys_of(const std::map<std::string, Json>& records) {
    std::set<std::string> keys;
    for (const auto& [key, value] : records) keys.insert(key);
    return keys;
}

}  // namespace

TEST_CASE("what was captured before enrolment gets its author and territory with it") {
    const Centre centre;
    // Nobody has said yet whose file it is.
    const std::string file = centre.folder.file("early.rapport");
    output_of(rapport_words({"init", file}));
    Words ids = lines_of(output_of(rapport_words(
        {"add", file, "customer", "name=Molkerei Morkenhoven", "+", "visit", "customer_id=@1",
         "type=visit", "started_at=2026-03-02T09:00:00+01:00", "+", "complaint", "customer_id=@1",
         "visit_id=@2", "product_text=Becher", "verbatim=Deckel undicht", "severity=major"})));
    REQUIRE(ids.size() == 3);
    // Whose visit it was says whose wish it is.
    ids.push_back(
        last_word(output_of(rapport_words({"add", file, "product_wish", "visit_id=" + ids[1],
                                           "need=Deckel mit Lasche", "importance=nice"}))));
    output_of(rapport_words({"enrol", file, "--server", centre.server.url(), "--code",
                             centre.server.invite("R17", "rep", "territory/DE-50")}));
    output_of(rapport_words({"sync", file}));

    const auto feed = centre.server.feed(centre.server.feed_key());
    for (const std::string& id : ids) {
        CAPTURE(id);
        const Json shown =
            Json::parse(output_of(rapport_words({"show", file, id, "--format", "json"})));
        CHECK(shown["sync"] == "confirmed");
        CHECK(shown["scope"] == "territory/DE-50");
        CHECK(shown["fields"]["created_by"] == "R17");
        REQUIRE(feed.count(id) == 1);
        CHECK(feed.at(id)["scope"] == "territory/DE-50");
        CHECK(feed.at(id)["author"] == "R17");
        CHECK(feed.at(id)["event"] == "created");
        CHECK((feed.at(id)["bundle"] == feed.at(ids[0])["bundle"]) == (id != ids[3]));
        CHECK(feed.at(id)["fields"] == shown["fields"]);
    }
    CHECK(feed.at(ids[3])["fields"]["customer_id"] == ids[0]);
}

TEST_CASE("a sync without its server loses nothing, and the next one brings everything over") {
    Centre centre;
    const Device phone = centre.rep("phone");
    CHECK(centre.server.stop().exit == 0);
    const std::string customer = phone.customer("Käserei Nord");
    const std::string first = phone.complaint(customer, "Rand zu weit");
    const std::string unsent = phone.output("export", {"--unsent"});
    CHECK(lines_of(unsent).size() == 2);

    for (int attempt = 0; attempt < 2; ++attempt) {
        const Outcome away = phone.sync();
        CHECK(away.exit == 3);
        CHECK(has(away.err, "not reached"));
        CHECK(phone.unsent() == 2);
        CHECK(phone.output("export", {"--unsent"}) == unsent);
    }
    // Bundles that were put into a request stay as they are; an edit becomes one of its own.
    phone.set(first, {"lot=L4630"});
    CHECK(phone.unsent() == 3);

    centre.server.start();
    phone.synced();
    CHECK(phone.unsent() == 0);
    const auto feed = centre.server.feed(centre.server.feed_key());
    CHECK(keys_of(feed) == std::set<std::string>{customer, first});
    CHECK(feed.at(first)["fields"]["lot"] == "L4630");
    CHECK(phone.state_of(first) == "confirmed");
    CHECK(phone.exported({"--unsent"}).empty());
}

TEST_CASE("a customer goes to another rep with unsent work on it, and its author sees where") {
    Centre centre;
    const Device north = centre.rep("north"), south = centre.rep("south", "R23", "DE-40");
    const std::string customer = north.customer("Molkerei Mork");
    const std::string leak = north.complaint(customer, "Deckel undicht");
    const std::string stays = north.customer("Molkerei Bleibt");
    north.synced();
    south.synced();
    north.set(leak, {"description=zwei Paletten"});
    const std::string visit = north
                                  .add({"visit", "customer_id=" + customer, "type=visit",
                                        "started_at=2026-03-02T09:00:00+01:00"})
                                  .at(0);

    centre.server.administered({"handover", "--customer", customer, "--to", "territory/DE-40"});
    north.synced();
    south.synced();
    CHECK(south.shown(leak)["fields"]["description"] == "zwei Paletten");
    CHECK(south.shown(visit)["scope"] == "territory/DE-40");
    const auto feed = centre.server.feed(centre.server.feed_key());
    for (const std::string& id : {customer, leak, visit}) {
        CAPTURE(id);
        CHECK_FALSE(north.knows(id));
        CHECK(feed.at(id)["scope"] == "territory/DE-40");
        const auto departed =
            Json::parse(north.output("departed", {"--format", "json"})).get<std::vector<Json>>();
        const Json* line = find(departed, "id", id);
        REQUIRE(line);
        CHECK((*line)["scope"] == "territory/DE-40");
    }
    CHECK(has(north.run("show", {leak}).err, "territory/DE-40"));
    CHECK(north.knows(stays));
    CHECK(north.unsent() == 0);
    CHECK(north.status()["departed"] == 3);
    CHECK(ids_of(north.list("complaint")).empty());

    // The same without a running server, and all of a territory.
    CHECK(centre.server.stop().exit == 0);
    centre.server.administered(
        {"handover", "--from", "territory/DE-40", "--to", "territory/DE-50"});
    centre.server.start();
    north.synced();
    south.synced();
    CHECK(north.shown(visit)["fields"]["started_at"] == "2026-03-02T09:00:00.000+01:00");
    CHECK(north.status()["departed"] == 0);
    CHECK_FALSE(south.knows(customer));
    CHECK(centre.server.administer({"handover", "--customer", "4711", "--to", "territory/DE-40"})
              .exit == 2);
}

TEST_CASE("two devices of one rep edit one complaint and no word is lost") {
    const Centre centre;
    const Device phone = centre.rep("phone"), tablet = centre.rep("tablet");
    const std::string leak = phone.complaint(phone.customer("Molkerei Mork"), "Deckel undicht");
    phone.synced();
    tablet.synced();

    phone.set(leak, {"lot=L4630-A", "remedy_wanted=credit", "severity=safety",
                     "description=95,4 statt 95,0 mm"});
    tablet.set(leak, {"occurred_at=2026-03-02T08:00:00+01:00", "remedy_wanted=refund",
                      "severity=critical", "description=Linie 3 steht"});
    for (const Device* device : {&phone, &tablet, &phone}) device->synced();

    const std::string key = centre.server.feed_key();
    const Json met = phone.shown(leak);
    CHECK(met["fields"] == tablet.shown(leak)["fields"]);
    CHECK(met["fields"]["lot"] == "L4630-A");
    CHECK(met["fields"]["severity"] == "safety");
    CHECK(met["fields"].contains("occurred_at"));
    CHECK(met["sync"] == "conflict");
    CHECK(centre.server.feed(key).at(leak)["conflicts"].size() == 2);

    for (const Device* device : {&phone, &tablet}) {
        CAPTURE(device->file());
        const auto open = device->conflicts();
        REQUIRE(open.size() == 2);
        for (const auto& [field, values] :
             {std::pair{"remedy_wanted", Json{"credit", "refund"}},
              std::pair{"description", Json{"95,4 statt 95,0 mm", "Linie 3 steht"}}}) {
            const Json* conflict = find(open, "id", leak + ":" + field);
            REQUIRE(conflict != nullptr);
            Json found = Json::array();
            int mine = 0;
            for (const Json& value : conflict->at("values")) {
                found.push_back(value["value"]);
                mine += value["mine"] == true;
                CHECK(value["author"] == "R17");
            }
            std::sort(found.begin(), found.end());
            CHECK(found == values);
            CHECK(mine == 1);
        }
    }

    phone.output("resolve", {leak + ":description", "--keep", "both"});
    phone.output("resolve", {leak + ":remedy_wanted", "--keep", "theirs"});
    CHECK(phone.run("resolve", {leak + ":remedy_wanted", "--keep", "mine"}).exit == 1);
    for (const Device* device : {&phone, &tablet}) device->synced();
    for (const Device* device : {&phone, &tablet}) {
        CAPTURE(device->file());
        CHECK(device->conflicts().empty());
        const Json fields = device->shown(leak)["fields"];
        CHECK(fields["remedy_wanted"] == "refund");
        CHECK(has(fields["description"], "95,4 statt 95,0 mm"));
        CHECK(has(fields["description"], "Linie 3 steht"));
        CHECK(device->state_of(leak) == "confirmed");
    }
    CHECK_FALSE(centre.server.feed(key).at(leak).contains("conflicts"));
}

TEST_CASE("a refused bundle blocks only what depends on it, and goes once it is repaired") {
    const Centre centre;
    const Device phone = centre.rep("phone"), other = centre.rep("other", "R23", "DE-40");
    phone.customer("Molkerei Mork", {"external_ids=erp:10023"});
    phone.synced();

    const Words mistaken =
        other.add({"customer", "name=Feinkost Abendroth", "external_ids=erp:10023", "+",
                   "product_wish", "customer_id=@1", "need=Sichtfenster", "importance=nice"});
    const std::string dependant = other.complaint(mistaken[0], "Beutel gerissen");
    const std::string elsewhere = other.customer("Bäckerei Brand");
    Outcome outcome = other.sync();
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.out, "refused 1"));

    const Json status = other.status();
    CHECK(status["refused"] == 1);
    CHECK(status["waiting"] == 1);
    const auto held = status["held"].get<std::vector<Json>>();
    REQUIRE(held.size() == 2);
    CHECK(held[0]["sync"] == "refused");
    const auto records = held[0]["records"].get<std::vector<Json>>();
    CHECK(ids_of(records) == std::set<std::string>(mistaken.begin(), mistaken.end()));
    CHECK(find(records, "id", mistaken[0])->at("title") == "Feinkost Abendroth");
    REQUIRE(held[0]["reasons"].size() == 1);
    const Json& reason = held[0]["reasons"][0];
    CHECK(reason["code"] == "duplicate_external_id");
    CHECK(reason["field"] == "external_ids");
    CHECK(reason["record"] == mistaken[0]);
    CHECK(reason["sentence"] == "Another record has the same id in the same system.");
    CHECK(held[1]["sync"] == "waits");
    CHECK(held[1]["records"][0]["id"] == dependant);
    CHECK(held[1]["records"][0]["title"] == "Beutel gerissen");
    REQUIRE(held[1]["waits_for"].size() == 1);
    CHECK(held[1]["waits_for"][0]["sync"] == "refused");
    CHECK(held[1]["waits_for"][0]["code"] == "duplicate_external_id");
    CHECK(find(held[1]["waits_for"][0]["records"].get<std::vector<Json>>(), "id", mistaken[0]) !=
          nullptr);
    // And in the rep's own language.
    const std::string german = other.output("status", {"--lang", "de"});
    CHECK(has(german, "Ein anderer Datensatz hat im selben System dieselbe Id."));
    CHECK(has(german, "auf customer " + mistaken[0] +
                          "  Feinkost Abendroth: abgelehnt (duplicate_external_id)"));
    CHECK(other.state_of(elsewhere) == "confirmed");

    const std::string key = centre.server.feed_key();
    auto feed = centre.server.feed(key);
    for (const std::string& id : {mistaken[0], mistaken[1], dependant}) CHECK(feed.count(id) == 0);
    CHECK(feed.count(elsewhere) == 1);
    // Asking again changes nothing.
    CHECK(other.sync().exit == 1);
    CHECK(other.unsent() == 2);

    other.set(mistaken[0], {"external_ids-=erp:10023", "external_ids+=erp:24205"});
    CHECK(other.state_of(mistaken[0]) == "queued");
    other.synced();
    CHECK(other.unsent() == 0);
    feed = centre.server.feed(key);
    for (const std::string& id : {mistaken[0], mistaken[1], dependant}) {
        REQUIRE(feed.count(id) == 1);
        CHECK(other.state_of(id) == "confirmed");
    }
    CHECK(feed.at(mistaken[0])["bundle"] == feed.at(mistaken[1])["bundle"]);
    CHECK(feed.at(mistaken[0])["fields"]["external_ids"] ==
          Json::parse(R"([{"system":"erp","id":"24205"}])"));
}

TEST_CASE("quality's request is accepted, and one against an older state is refused alone") {
    const Centre centre;
    const Device phone = centre.rep("phone"), quality = centre.office("quality", "qm");
    const std::string customer = phone.customer("Molkerei Mork");
    const std::string leak = phone.complaint(customer, "Deckel undicht"),
                      mistake = phone.complaint(customer, "doch nicht");
    phone.synced();
    quality.synced();

    const std::string accepted = quality.request(leak, {"acknowledged"}),
                      stale = quality.request(mistake, {"acknowledged"});
    quality.set(mistake, {"defect_code=dimension"});
    phone.request(mistake, {"withdrawn", "--reason", "Kunde hat sich geirrt"});
    phone.synced();
    quality.synced();  // a request turned down refuses no bundle
    phone.synced();

    CHECK(quality.unsent() == 0);
    CHECK(quality.shown(accepted)["fields"]["verdict"] == "accepted");
    const Json verdict = quality.shown(stale)["fields"];
    CHECK(verdict["verdict"] == "refused");
    CHECK(verdict["verdict_code"] == "stale_version");
    CHECK(has(verdict["verdict_sentence"], "withdrawn"));
    for (const Device* device : {&phone, &quality}) {
        CAPTURE(device->file());
        const Json acknowledged = device->shown(leak)["fields"];
        CHECK(acknowledged["state"] == "acknowledged");
        CHECK(acknowledged.contains("number"));
        CHECK(acknowledged.contains("ack_at"));
        const Json withdrawn = device->shown(mistake)["fields"];
        CHECK(withdrawn["state"] == "withdrawn");
        CHECK(withdrawn["defect_code"] == "dimension");
        const auto events = device->list("status_event", {"--where", "subject_id=" + leak});
        REQUIRE(events.size() == 1);
        CHECK(events[0]["fields"]["to"] == "acknowledged");
        CHECK(events[0]["fields"]["by"] == "quality");
    }
    // An impossible one is refused on the spot.
    CHECK(quality.run("request", {leak, "closed"}).exit == 1);
    CHECK(phone.run("request", {leak, "assessed"}).exit == 1);
}

TEST_CASE("a decision reaches the reps, and what only the centre may see reaches no device") {
    const Centre centre;
    const std::string internal = "Werkzeug bei T bestellt 84000 Euro",
                      open = "Der Nachfüllbeutel kommt im Herbst.";
    centre.server.administered(
        {"import",
         centre.write("themes.ndjson", R"({"kind":"theme","fields":{"title":"Nachfüllbeutel"}})")});
    const Device phone = centre.rep("phone"), other = centre.rep("other", "R23", "DE-40"),
                 quality = centre.office("quality", "qm"), product = centre.office("product", "pm");
    const std::vector<const Device*> all{&phone, &other, &quality, &product};
    const std::string customer = phone.customer("Nordsee Feinkost");
    for (const Device* device : all) device->synced();
    const std::string theme = product.list("theme").at(0)["id"];
    product.request(theme, {"under_review"});
    product.synced();
    product.request(theme, {"planned", "decision_text_for_customer=" + open,
                            "decision_text_internal=" + internal});
    for (const Device* device : {&product, &product, &phone, &other, &quality}) device->synced();

    for (const Device* device : all) {
        CAPTURE(device->file());
        const Json fields = device->shown(theme)["fields"];
        CHECK(fields["state"] == "planned");
        CHECK(fields["decision_text_for_customer"] == open);
        CHECK_FALSE(fields.contains("decision_text_internal"));
        CHECK(device->run("doctor").exit == 0);
        const std::string bytes = bytes_of(device->file());
        CHECK(has(bytes, open));
        // Whoever wrote it has it in what was captured there.
        if (device != &product) CHECK_FALSE(has(bytes, internal));
    }
    // Nor does what lies in somebody else's territory.
    CHECK(quality.knows(customer));
    CHECK_FALSE(other.knows(customer));
    CHECK(has(bytes_of(quality.file()), "Nordsee Feinkost"));
    CHECK_FALSE(has(bytes_of(other.file()), "Nordsee Feinkost"));

    const auto feed = centre.server.feed(centre.server.feed_key());
    CHECK(feed.at(theme)["fields"]["decision_text_internal"] == internal);
}

TEST_CASE("the feed goes by pages, goes on where it stopped, and takes its own key only") {
    const Centre centre;
    const Device phone = centre.rep("phone");
    const std::string customer = phone.customer("Molkerei Mork");
    std::set<std::string> all{customer}, complaints;
    for (int i = 0; i < 5; ++i)
        complaints.insert(phone.complaint(customer, "Fall " + std::to_string(i)));
    all.insert(complaints.begin(), complaints.end());
    phone.synced();

    const std::string key = centre.server.feed_key();
    std::set<std::string> read;
    std::string after, halfway;
    for (int pages = 0;; ++pages) {
        REQUIRE(pages < 20);
        const FeedPage page = centre.server.feed_page(key, "limit=2&after=" + after);
        CHECK(page.records.size() <= 2);
        if (page.records.empty()) break;
        for (const std::string& id : ids_of(page.records)) CHECK(read.insert(id).second);
        after = page.cursor;
        if (pages == 0) halfway = after;
    }
    CHECK(read == all);

    // What changes comes again, behind everything else; a reader that stopped goes on where it was.
    const std::string changed = *complaints.begin();
    phone.set(changed, {"description=nachgemessen"});
    phone.synced();
    const FeedPage news = centre.server.feed_page(key, "after=" + after);
    REQUIRE(news.records.size() == 1);
    CHECK(news.records[0]["id"] == changed);
    CHECK(news.records[0]["event"] == "changed");
    CHECK(news.records[0]["fields"]["description"] == "nachgemessen");
    const FeedPage rest = centre.server.feed_page(key, "after=" + halfway);
    CHECK(ids_of(rest.records).count(changed) == 1);

    CHECK(keys_of(centre.server.feed(key, "kind=complaint")) == complaints);
    CHECK(keys_of(centre.server.feed(key, "kind=customer")) == std::set<std::string>{customer});

    const std::string feed = centre.server.url() + "/v1/feed";
    const HttpReply unknown = http(feed, "no-such-key");
    CHECK(unknown.status == 401);
    CHECK(has(unknown.type, "application/problem+json"));
    CHECK_FALSE(has(unknown.body, customer));
    CHECK(http(feed, "").status == 401);
    CHECK(http(feed + "?after=AAAA", key).status == 400);
    CHECK(http(feed + "?kind=nothing", key).status == 400);
    const std::string name = centre.server.rows({"key", "list"}).at(0)["name"];
    centre.server.administered({"key", "revoke", name});
    CHECK(http(feed, key).status == 401);
}

TEST_CASE(
    "a revoked device hands in its captures, keeps them, and the centre can take them from a "
    "file") {
    const Centre centre;
    const Device phone = centre.rep("phone");
    const std::string customer = phone.customer("Molkerei Mork");
    phone.synced();
    const std::string leak = phone.complaint(customer, "Deckel undicht");
    const std::string visit = phone
                                  .add({"visit", "customer_id=" + customer, "type=call",
                                        "started_at=2026-03-02T09:00:00+01:00"})
                                  .at(0);
    centre.server.administered({"devices", "revoke", centre.writer_of("R17")});

    phone.set(leak, {"lot=L1"});  // capturing goes on
    CHECK(phone.shown(leak)["fields"]["verbatim"] == "Deckel undicht");

    const std::string file = centre.write("unsent.ndjson", phone.output("export", {"--unsent"}));
    const auto rows = centre.server.rows({"accept", file});
    REQUIRE(rows.size() == 2);
    for (const Json& row : rows) {
        CHECK(row["outcome"] == "created");
        CHECK(row["author"] == "R17");
    }
    const Outcome outcome = phone.sync();
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.err, "revoked"));
    CHECK(Json::parse(phone.run("sync", {"--format", "json"}).out).at(0)["end"] ==
          "not_authorised");
    // Captured before: taken. After: a person decides.
    CHECK(centre.server.rows({"review", "list"}).size() <= 1);
    const std::string key = centre.server.feed_key();
    const auto feed = centre.server.feed(key);
    REQUIRE(feed.count(leak) == 1);
    REQUIRE(feed.count(visit) == 1);
    CHECK(feed.at(leak)["scope"] == "territory/DE-50");
    for (const char* field : {"verbatim", "lot", "created_by", "created_at", "customer_id"})
        CHECK(feed.at(leak)["fields"][field] == phone.shown(leak)["fields"][field]);
    for (const Json& row : centre.server.rows({"accept", file})) CHECK(row["outcome"] == "known");
    CHECK(centre.server.feed(key) == feed);

    // The rep's next device has it all.
    const Device next = centre.rep("next");
    next.synced();
    CHECK(next.shown(leak)["fields"]["lot"] == "L1");
}

TEST_CASE("a backup of a running server is a store of its own that reads the same") {
    const Centre centre;
    const Device phone = centre.rep("phone");
    const std::string leak = phone.complaint(phone.customer("Molkerei Mork"), "Deckel undicht");
    phone.synced();
    const std::string key = centre.server.feed_key();
    const auto feed = centre.server.feed(key);
    const std::string copy = centre.folder.file("copy.db");
    centre.server.administered({"backup", "--to", copy});
    CHECK(centre.server.administer({"backup", "--to", copy}).exit == 1);
    phone.set(leak, {"lot=L2"});  // after the backup
    phone.synced();

    const Server restored(copy);
    CHECK(restored.feed(key) == feed);
    CHECK(restored.rows({"devices"}).size() == 1);
    CHECK_FALSE(restored.rows({"stats"}).empty());
    CHECK(centre.server.feed(key).at(leak)["fields"]["lot"] == "L2");
}

TEST_CASE("two tenants of one server know nothing of each other") {
    const Centre centre;
    const Device ours = centre.device("ours", "R17", "rep", "territory/DE-50", "nord"),
                 theirs = centre.device("theirs", "R17", "rep", "territory/DE-50", "sued");
    const std::string our_office =
        centre.device("quality", "Q1", "qm", "territory/*", "nord").file();
    // The same number in the same system is no clash: they are two companies.
    const std::string customer = ours.customer("Nordwurst", {"external_ids=erp:10023"}),
                      other = theirs.customer("Suedbrot", {"external_ids=erp:10023"});
    for (int round = 0; round < 2; ++round) {
        ours.synced();
        theirs.synced();
        output_of(rapport_words({"sync", our_office}));
    }
    CHECK(ids_of(ours.exported({"--kind", "customer"})) == std::set<std::string>{customer});
    CHECK(ids_of(theirs.exported({"--kind", "customer"})) == std::set<std::string>{other});
    CHECK_FALSE(has(bytes_of(ours.file()), "Suedbrot"));
    CHECK_FALSE(has(bytes_of(our_office), "Suedbrot"));
    CHECK(has(bytes_of(our_office), "Nordwurst"));

    CHECK(keys_of(centre.server.feed(centre.server.feed_key("nord"))) ==
          std::set<std::string>{customer});
    CHECK(keys_of(centre.server.feed(centre.server.feed_key("sued"))) ==
          std::set<std::string>{other});
    CHECK(centre.server.feed(centre.server.feed_key("west")).empty());
    // A record of the other tenant is no record here, even by its id.
    const std::string file = centre.write(
        "line.ndjson", R"({"kind":"note","fields":{"subject_id":")" + other + R"(","text":"x"}})");
    ours.output("import", {file});
    ours.sync();
    CHECK(ours.unsent() == 1);
    CHECK(centre.server.feed(centre.server.feed_key("sued")).size() == 1);
}

TEST_CASE("a watching sync takes along what is captured beside it") {
    const Centre centre;
    const Device phone = centre.rep("phone");
    Process watch(phone.words("sync", {"--watch", "20ms"}));
    REQUIRE(watch.printed("sent 0, applied 0"));
    const std::string customer = phone.customer("Molkerei Mork");
    CHECK(watch.printed("sent 1, applied 1"));
    phone.complaint(customer, "Deckel undicht");
    while (phone.unsent() > 0) REQUIRE(watch.running());
    CHECK(watch.stop().exit == 0);
    CHECK(centre.server.feed(centre.server.feed_key()).size() == 2);
}

TEST_CASE("an invitation is for one file, which may ask again") {
    const Centre centre;
    const Device phone(centre.folder, "phone", "R17"), thief(centre.folder, "thief", "R17");
    const std::string code = centre.server.invite("R17", "rep", "territory/DE-50");
    CHECK(phone.enrol_with(centre.server, "WRONG-CODE").exit == 1);
    CHECK(phone.status()["enrolled"] == false);
    CHECK(phone.enrol_with(centre.server, code).exit == 0);
    const Outcome again = thief.enrol_with(centre.server, code);
    CHECK(again.exit == 1);
    CHECK(has(again.err, "used"));
    CHECK(thief.status()["enrolled"] == false);
    CHECK(phone.enrol_with(centre.server, code).exit == 0);
    CHECK(centre.server.rows({"devices"}).size() == 1);
    phone.customer("Molkerei Mork");
    phone.synced();
    // Not for a tenant, role or scope of the file's own choosing either.
    CHECK(phone.status()["role"] == "rep");
    CHECK(phone.status()["scopes"] == Json{"territory/DE-50"});
}

TEST_CASE("an unknown credential gets 401 and nothing else") {
    const Centre centre;
    const Device phone = centre.rep("phone");
    const HttpReply reply =
        http(centre.server.url() + "/v1/sync", "not-a-credential-of-any-device-at-all-1234",
             std::string("x"), "application/vnd.rapport.sync");
    CHECK(reply.status == 401);
    CHECK(has(reply.type, "application/problem+json"));
    CHECK(Json::parse(reply.body)["status"] == 401);
    // A key of the feed is no credential, and the store holds none in the clear.
    const std::string key = centre.server.feed_key();
    CHECK(http(centre.server.url() + "/v1/sync", key, std::string("x"),
               "application/vnd.rapport.sync")
              .status == 401);
    CHECK_FALSE(has(bytes_of(centre.folder.file("server.db")), key));
}

TEST_CASE("each role captures its own fields only, and is told so at once") {
    const Centre centre;
    const Device phone = centre.rep("phone"), quality = centre.office("quality", "qm"),
                 product = centre.office("product", "pm");
    const std::string customer = phone.customer("Molkerei Mork");
    const std::string leak = phone.complaint(customer, "Deckel undicht");
    phone.synced();
    quality.synced();
    product.synced();
    const std::string theme = product.add({"theme", "title=Deckel"}).at(0);

    const auto refused = [](const Device& device, const std::string& command, const Words& words) {
        const Outcome outcome = device.run(command, words);
        CAPTURE(outcome.out);
        CHECK(outcome.exit == 1);
        CHECK_FALSE(outcome.err.empty());
    };
    refused(phone, "set", {leak, "defect_code=dimension"});
    refused(phone, "set", {leak, "state=closed"});
    refused(phone, "set", {leak, "theme_ids+=" + theme});
    refused(phone, "add", {"theme", "title=Eigenes"});
    refused(quality, "set", {leak, "remedy_wanted=credit"});
    refused(quality, "set", {leak, "verbatim=anders"});
    refused(
        quality, "add",
        {"complaint", "customer_id=" + customer, "product_text=B", "verbatim=v", "severity=minor"});
    refused(product, "set", {leak, "defect_code=dimension"});
    CHECK(phone.unsent() == 0);
    CHECK(quality.unsent() == 0);

    quality.set(leak, {"severity=minor", "defect_code=dimension"});  // lowering is quality's right
    refused(phone, "set", {leak, "severity=minor"});
    quality.synced();
    phone.synced();
    CHECK(phone.shown(leak)["fields"]["severity"] == "minor");
    CHECK(phone.shown(leak)["fields"]["defect_code"] == "dimension");
}
