// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/process.hpp"
#include "support/temp_dir.hpp"

namespace {

using nlohmann::json;
using rapport::test::Outcome;
using rapport::test::Process;

Outcome rapport_command(std::vector<std::string> words, const std::string& input = {}) {
    words.insert(words.begin(), RAPPORT_PROGRAM);
    return rapport::test::run(words, input);
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// What RFC 4180 says stands in the cells.
std::vector<std::vector<std::string>> csv_of(const std::string& text) {
    std::vector<std::vector<std::string>> rows(1, {""});
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
            rows.back().back() += '"';
            ++i;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && c == ',') {
            rows.back().emplace_back();
        } else if (!quoted && c == '\n') {
            rows.push_back({""});
        } else {
            rows.back().back() += c;
        }
    }
    CHECK_FALSE(quoted);
    CHECK(rows.back() == std::vector<std::string>{""});
    rows.pop_back();
    return rows;
}

// A device file of a rep with one customer.
struct Device {
    TempDir folder;
    std::string file = folder.file("r17.rapport");
    std::string customer;

    Device() {
        REQUIRE(run({"init", file, "--rep", "R17"}).exit == 0);
        customer = add({"customer", "name=Molkerei Morkenhoven", "address.street=Rurauenweg 14",
                        "address.city=Düren", "address.country=DE", "external_ids=erp:10023",
                        "tags=Molkerei,Eigenmarke"});
    }
    Outcome run(std::vector<std::string> words, const std::string& input = {}) const {
        return rapport_command(std::move(words), input);
    }
    /// The id of the one record, or of the first.
    std::string add(std::vector<std::string> words) const {
        words.insert(words.begin(), {"add", file});
        const Outcome outcome = run(words);
        INFO(outcome.err);
        REQUIRE(outcome.exit == 0);
        return lines_of(outcome.out).at(0);
    }
    std::string complaint() const {
        return add({"complaint", "customer_id=" + customer, "product_text=Becher 500 g",
                    "verbatim=Deckel undicht", "severity=major"});
    }
    json shown(const std::string& id) const {
        const Outcome outcome = run({"show", file, id, "--format", "json"});
        INFO(outcome.err);
        REQUIRE(outcome.exit == 0);
        return json::parse(outcome.out);
    }
    json status() const { return json::parse(run({"status", file, "--format", "json"}).out); }
    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(folder.file(name), std::ios::binary) << text;
        return folder.file(name);
    }
};

}  // namespace

TEST_CASE("a rep captures a visit with its complaint and finds both again") {
    const Device device;
    const Outcome added = device.run(
        {"add", device.file, "visit", "customer_id=@erp:10023", "type=visit",
         "purpose=complain,service", "started_at=2026-03-02T08:57:00+01:00",
         "summary=Linie 3 angesehen", "+", "complaint", "customer_id=@erp:10023", "visit_id=@1",
         "product_text=Stülpdeckel", "verbatim=Eure Deckel springen ab", "severity=major", "+",
         "note", "subject_id=@1", "text=Fünf Musterdeckel im Kofferraum"});
    INFO(added.err);
    REQUIRE(added.exit == 0);
    const auto ids = lines_of(added.out);
    REQUIRE(ids.size() == 3);

    const json complaint = device.shown(ids[1]);
    CHECK(complaint["kind"] == "complaint");
    CHECK(complaint["sync"] == "queued");
    CHECK(complaint["fields"]["visit_id"] == ids[0]);
    CHECK(complaint["fields"]["customer_id"] == device.customer);
    CHECK(complaint["fields"]["created_by"] == "R17");

    const json visit = device.shown(ids[0]);
    std::vector<std::string> children;
    for (const auto& child : visit["children"]) children.push_back(child["id"]);
    CHECK(std::count(children.begin(), children.end(), ids[1]) == 1);
    CHECK(std::count(children.begin(), children.end(), ids[2]) == 1);

    const Outcome table = device.run({"list", device.file, "visit"});
    CHECK(table.exit == 0);
    CHECK(has(table.out, ids[0]));
    CHECK(has(table.out, "2026-03-02 08:57"));
    CHECK(has(table.out, "Molkerei Morkenhoven"));
    CHECK(has(table.out, "queued"));

    // The customer and the visit: two bundles, five records.
    CHECK(device.status()["queued"] == 2);
    const Outcome status = device.run({"status", device.file});
    CHECK(has(status.out, "all received up to"));
    CHECK(has(status.out, "not enrolled yet"));
}

TEST_CASE("one part of a group changes and the others stay") {
    const Device device;
    CHECK(device.run({"set", device.file, device.customer, "address.street=Neuer Weg 2"}).exit ==
          0);
    CHECK(device.shown(device.customer)["fields"]["address"] ==
          json::parse(R"({"street":"Neuer Weg 2","city":"Düren","country":"DE"})"));
    CHECK(
        device.run({"set", device.file, device.customer, "address.street=", "address.city=Jülich"})
            .exit == 0);
    CHECK(device.shown(device.customer)["fields"]["address"] ==
          json::parse(R"({"city":"Jülich","country":"DE"})"));
}

TEST_CASE("sets, maps and JSON values are written as the manual says") {
    const Device device;
    CHECK(device
              .run({"set", device.file, device.customer, "tags+=Bio,Export", "tags-=Molkerei",
                    "ext.kdnr=99", "ext.tour=Nord"})
              .exit == 0);
    json fields = device.shown(device.customer)["fields"];
    CHECK(fields["tags"] == json::parse(R"(["Bio","Eigenmarke","Export"])"));
    CHECK(fields["ext"] == json::parse(R"({"kdnr":"99","tour":"Nord"})"));
    CHECK(device
              .run({"set", device.file, device.customer, "tags=A", "ext.kdnr=",
                    "phone=+49242108665", "address:={\"city\":\"Aachen\",\"country\":\"DE\"}"})
              .exit == 0);
    fields = device.shown(device.customer)["fields"];
    CHECK(fields["tags"] == json::parse(R"(["A"])"));
    CHECK(fields["ext"] == json::parse(R"({"tour":"Nord"})"));
    CHECK(fields["address"]["city"] == "Aachen");
    CHECK(fields["phone"] == "+49242108665");
    CHECK(device.run({"set", device.file, device.customer, "phone=", "tags="}).exit == 0);
    fields = device.shown(device.customer)["fields"];
    CHECK_FALSE(fields.contains("phone"));
    CHECK_FALSE(fields.contains("tags"));
}

TEST_CASE("a draft stays on the device until it is submitted or discarded") {
    const Device device;
    const std::string draft = device.add(
        {"complaint", "customer_id=" + device.customer, "verbatim=Deckel undicht", "--draft"});
    CHECK(device.shown(draft)["sync"] == "draft");
    CHECK(device.status()["drafts"] == 1);

    const Outcome early = device.run({"submit", device.file, draft});
    CHECK(early.exit == 1);
    CHECK(has(early.err, "severity: "));
    CHECK(device.shown(draft)["sync"] == "draft");

    CHECK(device.run({"set", device.file, draft, "severity=minor", "product_text=Becher"}).exit ==
          0);
    CHECK(device.run({"submit", device.file, draft}).exit == 0);
    CHECK(device.shown(draft)["sync"] == "queued");
    CHECK(device.run({"discard", device.file, draft}).exit == 1);

    const std::string other = device.add({"visit", "customer_id=" + device.customer, "--draft"});
    CHECK(device.run({"discard", device.file, other}).exit == 0);
    CHECK(device.run({"show", device.file, other}).exit == 1);
    CHECK(device.status()["drafts"] == 0);
}

TEST_CASE("a typo is met with the nearest name and nothing is captured") {
    const Device device;
    Outcome outcome = device.run({"add", device.file, "complaint", "customer_id=" + device.customer,
                                  "verbatm=x", "severety=major", "qty_affected.unti=H87"});
    CHECK(outcome.exit == 1);
    CHECK(outcome.out.empty());
    CHECK(has(outcome.err, "did you mean verbatim?"));
    CHECK(has(outcome.err, "did you mean severity?"));
    CHECK(has(outcome.err, "did you mean unit?"));
    CHECK(json::parse(device.run({"list", device.file, "complaint", "--format", "json"}).out)
              .empty());

    CHECK(has(device.run({"add", device.file, "complant", "verbatim=x"}).err,
              "did you mean complaint?"));
    CHECK(has(device.run({"list", device.file, "complaint", "--where", "severiti=major"}).err,
              "did you mean severity?"));
    CHECK(has(device.run({"list", device.file, "complaint", "--sort", "-recieved_at"}).err,
              "did you mean received_at?"));
    outcome = device.run({"lst", device.file, "complaint"});
    CHECK(outcome.exit == 2);
    CHECK(has(outcome.err, "did you mean list?"));
}

TEST_CASE("a value that does not fit is refused with field and code") {
    const Device device;
    const auto add_complaint = [&](const std::string& word) {
        return device.run({"add", device.file, "complaint", "customer_id=" + device.customer,
                           "product_text=Becher", "verbatim=Deckel undicht", "severity=major",
                           word});
    };
    Outcome outcome = add_complaint("gtin=4006381333932");
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.err, "complaint: gtin: "));
    CHECK(has(outcome.err, "gtin_check_digit"));
    outcome = add_complaint("severity=huge");
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.err, "severity: "));
    outcome = add_complaint("contact_id=@erp:nobody");
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.err, "contact_id: "));
    CHECK(device.status()["queued"] == 1);
    CHECK(add_complaint("gtin=4006381333931").exit == 0);

    // Of several records the message says which.
    outcome = device.run({"add", device.file, "visit", "customer_id=" + device.customer, "+",
                          "note", "subject_id=@1"});
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.err, "@2 note: text: "));
}

TEST_CASE("usage errors exit with 2 and say what was expected") {
    const Device device;
    for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
             {},
             {"list"},
             {"list", device.file},
             {"list", device.file, "visit", "--format", "xml"},
             {"list", device.file, "visit", "--colour"},
             {"list", device.file, "visit", "--where", "result"},
             {"list", device.file, "visit", "--since", "gestern"},
             {"add", device.file},
             {"add", device.file, "visit", "oops"},
             {"add", device.file, "+", "visit"},
             {"add", device.file, "visit", "type=visit", "+"},
             {"sync", device.file, "--for", "soon"},
             {"resolve", device.file, device.customer + ":name"},
             {"resolve", device.file, device.customer + ":name", "--keep", "none"}}) {
        const Outcome outcome = device.run(words);
        CAPTURE(outcome.err);
        CHECK(outcome.exit == 2);
        CHECK(outcome.out.empty());
        CHECK(outcome.err.rfind("rapport: ", 0) == 0);
    }
}

TEST_CASE("a record is shown with what it may become next") {
    const Device device;
    const std::string id = device.complaint();
    CHECK(device.shown(id)["next"] == json::array({"withdrawn"}));
    CHECK(has(device.run({"show", device.file, id}).out, "withdrawn (with a reason)"));
    CHECK(device.run({"request", device.file, id, "withdrawn", "--reason", "Irrtum"}).exit == 0);
    CHECK(device.shown(id)["next"] == json::array());
}

TEST_CASE("every command explains itself") {
    const Outcome all = rapport_command({"--help"});
    CHECK(all.exit == 0);
    for (const std::string command :
         {"init", "enrol", "add", "set", "request", "list", "search", "show", "sync", "status",
          "loop", "conflicts", "resolve", "import", "export", "doctor", "drafts", "submit",
          "discard"}) {
        CAPTURE(command);
        CHECK(has(all.out, "\n  " + command + " "));
        const Outcome one = rapport_command({command, "--help"});
        CHECK(one.exit == 0);
        CHECK(has(one.out, "Usage: rapport " + command));
        CHECK(has(one.out, "\n  rapport " + command + " "));
    }
    const Outcome version = rapport_command({"--version"});
    CHECK(version.exit == 0);
    CHECK(version.out.rfind("rapport ", 0) == 0);
}

TEST_CASE("conditions, order, time and number of a list") {
    const Device device;
    const auto visit = [&](const std::string& day, const std::string& result,
                           const std::string& mood) {
        return device.add({"visit", "customer_id=" + device.customer, "type=call", "purpose=survey",
                           "started_at=2026-03-0" + day + "T10:00:00+01:00",
                           "ended_at=2026-03-0" + day + "T10:30:00+01:00", "result=" + result,
                           "mood=" + mood});
    };
    const std::string first = visit("2", "order", "-1"), second = visit("3", "order", "2"),
                      third = visit("4", "follow_up", "0");
    const auto ids = [&](std::vector<std::string> words) {
        words.insert(words.begin(), {"list", device.file, "visit", "--format", "ndjson"});
        const Outcome outcome = device.run(words);
        CAPTURE(outcome.err);
        CHECK(outcome.exit == 0);
        std::vector<std::string> found;
        for (const std::string& line : lines_of(outcome.out))
            found.push_back(json::parse(line)["id"]);
        return found;
    };
    using Ids = std::vector<std::string>;
    CHECK(ids({}) == Ids{third, second, first});
    CHECK(ids({"--where", "result=order"}) == Ids{second, first});
    CHECK(ids({"--where", "result!=order"}) == Ids{third});
    CHECK(ids({"--where", "mood>=0", "--where", "mood<2"}) == Ids{third});
    CHECK(ids({"--where", "mood>0"}) == Ids{second});
    CHECK(ids({"--where", "mood<=-1"}) == Ids{first});
    CHECK(ids({"--where", "purpose~survey", "--limit", "1"}) == Ids{third});
    CHECK(ids({"--where", "purpose~renew"}).empty());
    CHECK(ids({"--where", "customer_id=@erp:10023", "--sort", "mood"}) ==
          Ids{first, third, second});
    CHECK(ids({"--sort", "-mood"}) == Ids{second, third, first});
    CHECK(ids({"--sort=-started_at"}) == Ids{third, second, first});
    CHECK(ids({"--since", "2026-03-03T00:00:00+01:00"}) == Ids{third, second});
    CHECK(ids({"--since", "2026-03-04"}) == Ids{third});
    CHECK(ids({"--where", "summary="}) == Ids{third, second, first});
    CHECK(has(device.run({"list", device.file, "visit", "--limit", "2"}).err, "2 of 3 shown"));
}

TEST_CASE("tables, CSV, JSON and NDJSON of one list say the same") {
    const Device device;
    const std::string id = device.add(
        {"complaint", "customer_id=" + device.customer, "product_text=Becher, 500 g \"neu\"",
         "verbatim=Deckel undicht", "severity=major",
         "description=Erste Zeile\nzweite Zeile; 10 % Ausschuss", "remedy_wanted:=null",
         "qty_affected:={\"value_milli\":4200000,\"unit\":\"H87\"}"});
    const auto listed = [&](const std::string& format) {
        const Outcome outcome = device.run({"list", device.file, "complaint", "--format", format});
        CHECK(outcome.exit == 0);
        CHECK(outcome.err.empty());
        return outcome.out;
    };
    const json array = json::parse(listed("json"));
    REQUIRE(array.size() == 1);
    const auto lines = lines_of(listed("ndjson"));
    REQUIRE(lines.size() == 1);
    CHECK(json::parse(lines[0]) == array[0]);
    CHECK(array[0]["id"] == id);
    CHECK(array[0]["fields"]["description"] == "Erste Zeile\nzweite Zeile; 10 % Ausschuss");

    const auto rows = csv_of(listed("csv"));
    REQUIRE(rows.size() == 2);
    REQUIRE(rows[0].size() == rows[1].size());
    const auto cell = [&](const std::string& column) {
        const auto at = std::find(rows[0].begin(), rows[0].end(), column);
        REQUIRE(at != rows[0].end());
        return rows[1][static_cast<std::size_t>(at - rows[0].begin())];
    };
    CHECK(cell("id") == id);
    CHECK(cell("product_text") == "Becher, 500 g \"neu\"");
    CHECK(cell("description") == "Erste Zeile\nzweite Zeile; 10 % Ausschuss");
    CHECK(cell("qty_affected.value_milli") == "4200000");
    CHECK(cell("qty_affected.unit") == "H87");
    CHECK(cell("customer_id") == device.customer);
    CHECK(cell("sync") == "queued");

    const Outcome chosen = device.run({"list", device.file, "complaint", "--columns",
                                       "severity,qty_affected.unit", "--format", "ndjson"});
    CHECK(json::parse(chosen.out) ==
          json::parse(R"({"id":")" + id +
                      R"(","severity":"major","qty_affected.unit":"H87","sync":"queued"})"));

    // Every command that lists takes every format.
    for (const std::string format : {"table", "json", "csv", "ndjson"}) {
        CAPTURE(format);
        CHECK(device.run({"show", device.file, id, "--format", format}).exit == 0);
        CHECK(device.run({"status", device.file, "--format", format}).exit == 0);
        CHECK(device.run({"conflicts", device.file, "--format", format}).exit == 0);
        CHECK(device.run({"doctor", device.file, "--format", format}).exit == 0);
    }
    CHECK(csv_of(device.run({"show", device.file, id, "--format", "csv"}).out).size() > 5);
    CHECK(json::parse(device.run({"doctor", device.file, "--format", "json"}).out).size() == 2);
    CHECK(json::parse(device.run({"conflicts", device.file, "--format", "json"}).out).empty());
}

TEST_CASE("a request for a change of state is captured, an impossible one refused at once") {
    const Device device;
    const std::string complaint = device.complaint();
    Outcome outcome = device.run({"request", device.file, complaint, "withdrawn"});
    CHECK(outcome.exit == 1);  // it needs a reason
    outcome = device.run({"request", device.file, complaint, "closed", "--reason", "fertig"});
    CHECK(outcome.exit == 1);
    outcome = device.run({"request", device.file, complaint, "withdrawn", "due_t=1"});
    CHECK(has(outcome.err, "did you mean due_at?"));
    outcome = device.run(
        {"request", device.file, complaint, "withdrawn", "--reason", "Kunde hat sich geirrt"});
    INFO(outcome.err);
    REQUIRE(outcome.exit == 0);
    const json request = device.shown(lines_of(outcome.out).at(0));
    CHECK(request["kind"] == "state_request");
    CHECK(request["fields"]["subject_id"] == complaint);
    CHECK(request["fields"]["to"] == "withdrawn");
}

TEST_CASE("the good lines of an import go in and each bad one is reported with its number") {
    const Device device;
    const std::string data = device.write(
        "data.ndjson",
        R"({"kind":"visit","ref":"v1","bundle":"b1","fields":{"customer_id":"@erp:10023","type":"call","purpose":["survey"],"started_at":"2026-03-02T08:10:00+01:00"}})"
        "\n"
        R"({"kind":"complaint","bundle":"b1","fields":{"customer_id":"@erp:10023","visit_id":"@v1","product_text":"Becher","verbatim":"undicht","severity":"major"}})"
        "\n"
        "\n"
        R"({"kind":"complaint","fields":{"customer_id":"@erp:10023","product_text":"Becher","verbatim":"undicht","severity":"major","gtin":"4006381333932"}})"
        "\n"
        R"({"kind":"visit","ref":"v2","bundle":"b2","fields":{"customer_id":"@erp:10023","type":"call","started_at":"2026-03-03T08:10:00+01:00"}})"
        "\n"
        R"({"kind":"note","bundle":"b2","fields":{"subject_id":"@v2","txt":"x"}})"
        "\n"
        R"({"kind":"note","fields":{"subject_id":"@v2","text":"sein Besuch fehlt"}})"
        "\n"
        R"({"kind":"note","fields":{"subject_id":"@v1","text":"passt"}})"
        "\n"
        "this is no JSON\n"
        R"({"kind":"product_wish","bundle":"b3","fields":{"customer_id":"@c9","need":"Deckel","importance":"nice"}})"
        "\n"
        R"({"kind":"customer","ref":"c9","bundle":"b3","fields":{"name":"Käserei Nord"}})");
    const Outcome outcome = device.run({"import", device.file, data});
    CHECK(outcome.exit == 1);
    INFO(outcome.err);
    CHECK(has(outcome.err, "line 4: gtin: "));
    CHECK(has(outcome.err, "line 6: txt: "));
    CHECK(has(outcome.err, "line 7: subject_id: "));
    CHECK(has(outcome.err, "line 9: "));
    CHECK(lines_of(outcome.err).size() == 4);
    CHECK(has(outcome.out, "imported 5 records in 3 bundles"));
    CHECK(has(outcome.out, "left out 5 lines"));
    CHECK(json::parse(device.run({"list", device.file, "visit", "--format", "json"}).out).size() ==
          1);
    CHECK(json::parse(device.run({"list", device.file, "product_wish", "--format", "json"}).out)
              .size() == 1);
    CHECK(device.status()["queued"] == 4);
}

TEST_CASE("an unreadable line inside a bundle takes its bundle with it") {
    const Device device;
    const std::string note = R"(","fields":{"subject_id":"@erp:10023","text":"x"}})"
                             "\n";
    const Outcome outcome =
        device.run({"import", device.file, "-"},
                   R"({"kind":"note","bundle":"a)" + note + "{broken\n" +
                       R"({"kind":"note","bundle":"a)" + note + R"({"kind":"note","bundle":"b)" +
                       note + "{broken\n" + R"({"kind":"note","bundle":"c)" + note);
    CHECK(outcome.exit == 1);
    CHECK(has(outcome.err, "line 2: "));
    CHECK(has(outcome.err, "line 5: "));
    CHECK(has(outcome.out, "imported 2 records in 2 bundles, left out 4 lines"));
}

TEST_CASE("five thousand lines go in and come out, and a second import changes nothing") {
    const Device device;
    std::string data;
    for (int i = 0; i < 5000; ++i)
        data += R"({"kind":"note","ref":"n)" + std::to_string(i) + R"(","bundle":"b)" +
                std::to_string(i / 50) + R"(","fields":{"subject_id":"@erp:10023","text":"Notiz )" +
                std::to_string(i) + "\"}}\n";
    const Outcome imported = device.run({"import", device.file, device.write("many.ndjson", data)});
    INFO(imported.err);
    CHECK(imported.exit == 0);
    CHECK(has(imported.out, "imported 5000 records in 100 bundles"));

    const Outcome exported = device.run({"export", device.file, "--kind", "note"});
    CHECK(exported.exit == 0);
    const auto lines = lines_of(exported.out);
    REQUIRE(lines.size() == 5000);
    for (const std::string& line : lines) {
        const json record = json::parse(line);
        CHECK(record["kind"] == "note");
    }
    CHECK(lines_of(device.run({"export", device.file, "--unsent"}).out).size() == 5001);
    CHECK(lines_of(
              device.run({"list", device.file, "note", "--limit", "0", "--format", "ndjson"}).out)
              .size() == 5000);

    const Outcome again = device.run({"import", device.file, "-"}, exported.out);
    INFO(again.err);
    CHECK(again.exit == 0);
    CHECK(has(again.out, "imported 0 records in 0 bundles, 5000 were there already"));
    CHECK(device.run({"doctor", device.file}).exit == 0);
}

TEST_CASE("a second writer waits and then says whose process holds the file, while readers go on") {
    const Device device;
    // An import that waits for its next line holds the file.
    TempDir pipes;
    const std::string fifo = pipes.file("lines");
    REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
    Process holder({RAPPORT_PROGRAM, "import", device.file, fifo});
    {
        // Opens once the import has opened its end.
        std::ofstream lines(fifo);
        lines << R"({"kind":"note","fields":{"subject_id":"@erp:10023","text":"eins"}})"
                 "\n"
              << R"({"kind":"note","fields":{"subject_id":"@erp:10023","text":"zwei"}})"
              << std::endl;
        // The first note is there: the import has the lock.
        while (
            lines_of(device.run({"list", device.file, "note", "--format", "ndjson"}).out).empty())
            REQUIRE(holder.running());
        const Outcome second = device.run({"set", device.file, device.customer, "name=Andere"});
        CHECK(second.exit == 1);
        CHECK(has(second.err, std::to_string(holder.pid())));
        CHECK(device.run({"status", device.file}).exit == 0);
        CHECK(device.run({"show", device.file, device.customer}).exit == 0);
    }
    const Outcome first = holder.wait();
    CHECK(first.exit == 0);
    CHECK(has(first.out, "imported 2 records"));
    CHECK(device.run({"set", device.file, device.customer, "name=Andere"}).exit == 0);
    CHECK(device.shown(device.customer)["fields"]["name"] == "Andere");
}

TEST_CASE("a file that is not there is not made by mistake") {
    const TempDir folder;
    const std::string file = folder.file("missing.rapport");
    for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
             {"list", file, "visit"},
             {"add", file, "visit", "type=visit"},
             {"sync", file},
             {"enrol", file, "--server", "http://127.0.0.1:1", "--code", "X"},
             {"status", file},
             {"import", file, "-"}}) {
        const Outcome outcome = rapport_command(words);
        CHECK(outcome.exit == 1);
        CHECK(has(outcome.err, "rapport init"));
        CHECK_FALSE(std::filesystem::exists(file));
    }
    REQUIRE(rapport_command({"init", file}).exit == 0);
    CHECK(rapport_command({"init", file}).exit == 1);
    std::ofstream(folder.file("letter.txt"))
        << "Sehr geehrte Damen und Herren, dies ist ein Brief und keine Datenbank.";
    const Outcome letter = rapport_command({"list", folder.file("letter.txt"), "visit"});
    CHECK(letter.exit == 1);
    CHECK_FALSE(letter.err.empty());
}

TEST_CASE("without a server a sync says so and nothing is lost") {
    const Device device;
    const Outcome not_enrolled = device.run({"sync", device.file, "--for", "5s"});
    CHECK(not_enrolled.exit == 1);
    CHECK_FALSE(not_enrolled.err.empty());
    // Nobody listens on port 1.
    const Outcome enrol =
        device.run({"enrol", device.file, "--server", "http://127.0.0.1:1", "--code", "K7QM"});
    CHECK(enrol.exit == 3);
    CHECK(device.status()["enrolled"] == false);
    CHECK(device.status()["queued"] == 1);
}

TEST_CASE("a person finds records by the words of their texts") {
    const Device device;
    const std::string complaint = device.complaint();
    device.add({"note", "subject_id=" + complaint, "text=Muster der Becher liegt bei Größe 95"});
    const Outcome found = device.run({"search", device.file, "undichter Deckel"});
    INFO(found.err);
    CHECK(found.exit == 0);
    CHECK(has(found.out, "complaint " + complaint + "  Molkerei Morkenhoven\n    verbatim: "));
    CHECK(has(found.out, "[Deckel] [undicht]"));
    CHECK(has(device.run({"search", device.file, "groesse", "95"}).out, "[Größe] [95]"));
    CHECK(device.run({"search", device.file, "Dichtung"}).out == "nothing found\n");
    CHECK(device.run({"search", device.file, "x", "--kind", "complant"}).exit == 1);

    const Outcome lines = device.run({"search", device.file, "becher", "--customer", "@erp:10023",
                                      "--kind", "complaint", "--format", "ndjson"});
    REQUIRE(lines_of(lines.out).size() == 1);
    const json hit = json::parse(lines.out);
    CHECK(hit["id"] == complaint);
    CHECK(hit["field"] == "product_text");
    CHECK(hit["ranges"] == json::parse("[[0,6]]"));
    CHECK(hit["snippet"] == "Becher 500 g");

    const Outcome first = device.run({"search", device.file, "becher", "--limit", "1"});
    CHECK(has(first.err, "--offset 1 "));
    CHECK(device.run({"search", device.file, "becher", "--offset", "1"}).out != first.out);
}

TEST_CASE("the doctor saves what can be read of a damaged file into a new one") {
    const Device device;
    const std::string complaint = device.complaint();
    const std::string fresh = device.folder.file("new.rapport");
    REQUIRE(device.run({"doctor", device.file}).exit == 0);
    {
        std::fstream file(device.file, std::ios::in | std::ios::out | std::ios::binary);
        file << std::string(4096, '\0');
    }
    std::stringstream before;
    before << std::ifstream(device.file, std::ios::binary).rdbuf();
    const Outcome looked = device.run({"doctor", device.file});
    CHECK(looked.exit == 1);
    CHECK(has(looked.err, "--salvage"));
    const Outcome saved = device.run({"doctor", device.file, "--salvage", fresh});
    INFO(saved.err);
    CHECK(has(saved.out, "2 bundles of unsent work"));
    std::stringstream after;
    after << std::ifstream(device.file, std::ios::binary).rdbuf();
    CHECK(before.str() == after.str());
    CHECK(device.run({"doctor", fresh}).exit == 0);
    const Outcome shown = device.run({"show", fresh, complaint, "--format", "json"});
    REQUIRE(shown.exit == 0);
    CHECK(json::parse(shown.out)["sync"] == "queued");
    CHECK(device.run({"doctor", device.file, "--salvage", fresh}).exit == 1);  // it exists
}

TEST_CASE("a draft keeps what is typed into it, valid or not, until it is submitted") {
    const Device device;
    const std::string id = device.add(
        {"complaint", "customer_id=" + device.customer, "verbatim=Deckel undicht", "--draft"});
    const Outcome typed = device.run({"drafts", device.file, id, "severity=maj",
                                      "description=Charge 4711", "qty_affected.value_milli=12,5"});
    CHECK(typed.exit == 1);
    CHECK(has(typed.err, "severity"));
    const Outcome listed = device.run({"drafts", device.file, "--format", "json"});
    INFO(listed.err);
    const json drafts = json::parse(listed.out);
    REQUIRE(drafts.size() == 1);
    CHECK(drafts[0]["id"] == id);
    CHECK(drafts[0]["title"] == "Deckel undicht");
    CHECK(drafts[0]["unfinished"] == "qty_affected.value_milli=12,5, severity=maj");
    CHECK(device.shown(id)["fields"]["description"] == "Charge 4711");
    CHECK(device.run({"submit", device.file, id}).exit == 1);
    CHECK(device
              .run({"drafts", device.file, id, "severity=major",
                    "qty_affected.value_milli=", "product_text=Becher"})
              .exit == 0);
    const Outcome submitted = device.run({"submit", device.file, id});
    INFO(submitted.err);
    CHECK(submitted.exit == 0);
    CHECK(json::parse(device.run({"drafts", device.file, "--format", "json"}).out).empty());
    CHECK(device.shown(id)["sync"] == "queued");
}
