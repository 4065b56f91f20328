// SPDX-License-Identifier: Apache-2.0
// What backend teams get: a working week as typed tables and as a feed that a reader follows.
#include <algorithm>
#include <set>

#include "programs.hpp"
#include "server/storage.hpp"

using namespace rapport::test;

namespace {

// Rows of the sqlite3 shell, opened for reading while the server has the file open.
std::vector<Json> ask(const std::string& file, const std::string& sql) {
    const std::string out = output_of({"sqlite3", "-readonly", "-json", file, sql});
    return out.empty() ? std::vector<Json>{} : Json::parse(out).get<std::vector<Json>>();
}

std::string text_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    REQUIRE(in);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> sql_blocks(const std::string& path) {
    std::vector<std::string> blocks;
    const std::string text = text_of(path), fence = "```sql\n";
    for (std::size_t at = text.find(fence); at != std::string::npos; at = text.find(fence, at)) {
        at += fence.size();
        blocks.push_back(text.substr(at, text.find("```", at) - at));
    }
    return blocks;
}

std::string code(const Json& record, const char* field) {
    return record["fields"].value(field, std::string());
}

/// The week of examples/week at the centre, with wishes linked to themes and complaints answered.
struct Week {
    TempDir folder;
    Server server{folder.file("centre.db"), {"--views"}};
    std::string key = server.feed_key();
    std::string views = folder.file("centre.db.views/default.db");

    Week() {
        const std::string data = RAPPORT_WEEK_DIR;
        server.administered({"import", data + "/central.ndjson"});
        for (const auto& [rep, territory] :
             {std::pair{"r17", "DE-50"}, std::pair{"r23", "DE-40"}}) {
            const Device phone(folder, rep, rep == std::string("r17") ? "R17" : "R23");
            phone.enrol(server, "rep", std::string("territory/") + territory);
            phone.synced();
            phone.output("import", {data + "/rep-" + rep + "-customers.ndjson"});
            phone.output("import", {data + "/rep-" + rep + "-phone.ndjson"});
            phone.synced();
        }
        link_wishes();
        answer_complaints();
    }

    std::vector<Json> of_kind(const std::string& kind) const {
        std::vector<Json> records;
        for (auto& [id, record] : server.feed(key, "limit=5000&kind=" + kind))
            if (code(record, "state") != "withdrawn") records.push_back(record);
        return records;
    }
    void in_step() const {
        const Json place = server.rows({"views", "--update"}).at(0);
        REQUIRE(place["commit"] == place["feed head"]);
    }

private:
    void link_wishes() {
        const Device office(folder, "product", "P1");
        office.enrol(server, "pm", "territory/*");
        office.synced();
        std::string links;
        const auto themes = of_kind("theme");
        for (const Json& wish : of_kind("product_wish")) {
            Json ids = Json::array();
            for (const Json& theme : themes)
                for (const Json& hint : wish["fields"].value("theme_hint", Json::array()))
                    if (theme["fields"]["labels"].value("de", "") == hint)
                        ids.push_back(theme["id"]);
            if (!ids.empty())
                links += Json{{"kind", "product_wish"},
                              {"id", wish["id"]},
                              {"fields", {{"theme_ids", ids}}}}
                             .dump() +
                         "\n";
        }
        REQUIRE_FALSE(links.empty());
        std::ofstream(folder.file("links")) << links;
        office.output("import", {folder.file("links")});
        office.synced();
    }
    void answer_complaints() {
        const Device quality(folder, "quality", "Q1");
        quality.enrol(server, "qm", "territory/*");
        quality.synced();
        const auto complaints = of_kind("complaint");
        REQUIRE(complaints.size() > 3);
        for (std::size_t i = 0; i < 2; ++i) {
            const std::string id = complaints[i]["id"];
            for (const Words& step :
                 {Words{"acknowledged"}, Words{"assessed"},
                  Words{"answered", "decision=justified", "reply_text=Ersatz"}}) {
                quality.set(id, {"defect_code=dimension"});
                quality.request(id, step);
                quality.synced();
            }
        }
    }
};

}  // namespace

TEST_CASE("the documented queries answer what the feed's lines say") {
    const Week week;
    week.in_step();
    const auto queries = sql_blocks(RAPPORT_VIEWS_PAGE);
    REQUIRE(queries.size() == 3);

    // Wishes by theme.
    std::map<std::string, std::set<std::string>> customers;
    std::map<std::string, int> wishes;
    for (const Json& wish : week.of_kind("product_wish"))
        for (const Json& theme : wish["fields"].value("theme_ids", Json::array())) {
            customers[theme].insert(code(wish, "customer_id"));
            ++wishes[theme];
        }
    std::map<std::string, std::string> titles;
    for (const Json& theme : week.of_kind("theme")) titles[theme["id"]] = code(theme, "title");
    const auto by_theme = ask(week.views, queries[0]);
    CHECK(by_theme.size() == wishes.size());
    for (const auto& [theme, count] : wishes) {
        const std::string& title = titles[theme];
        const auto row = std::find_if(by_theme.begin(), by_theme.end(),
                                      [&](const Json& r) { return r["theme"] == title; });
        REQUIRE(row != by_theme.end());
        CHECK((*row)["wishes"] == count);
        CHECK((*row)["customers"] == customers[theme].size());
    }

    // Complaints by product and severity.
    std::map<std::string, std::string> products;
    for (const Json& product : week.of_kind("product"))
        products[product["id"]] = code(product, "name");
    std::map<std::pair<std::string, std::string>, std::pair<int, int>> complaints;
    for (const Json& complaint : week.of_kind("complaint")) {
        const std::string product = code(complaint, "product_id");
        auto& [count, answered] =
            complaints[{product.empty() ? code(complaint, "product_text") : products.at(product),
                        code(complaint, "severity")}];
        ++count;
        answered += complaint["fields"].contains("answered_at");
    }
    const auto by_product = ask(week.views, queries[1]);
    CHECK(by_product.size() == complaints.size());
    int answered_in_all = 0;
    for (const Json& row : by_product) {
        const auto& [count, answered] =
            complaints[{row["product"].get<std::string>(), row["severity"].get<std::string>()}];
        CHECK(row["complaints"] == count);
        CHECK(row["answered"] == answered);
        CHECK((answered > 0 && row["hours_to_answer"].is_number()) ==
              !row["hours_to_answer"].is_null());
        answered_in_all += answered;
    }
    CHECK(answered_in_all == 2);

    // Reasons of lost talks: nobody talks twice of a product with a customer in this week's data.
    std::map<std::string, int> reasons;
    for (const Json& talk : week.of_kind("product_talk")) {
        if (code(talk, "outcome") != "lost") continue;
        const Json given = talk["fields"].value("reasons", Json::array());
        for (const Json& reason : given) ++reasons[reason];
        if (given.empty()) ++reasons["not stated"];
    }
    REQUIRE_FALSE(reasons.empty());
    const auto lost = ask(week.views, queries[2]);
    CHECK(lost.size() == reasons.size());
    for (const Json& row : lost) CHECK(row["talks"] == reasons[row["reason"]]);
}

TEST_CASE("the tables follow the feed by themselves while the server runs") {
    Week week;
    const auto complaints = [&] {
        return ask(week.views, "SELECT count(*) AS n FROM complaint").at(0)["n"].get<std::size_t>();
    };
    const std::size_t there = week.of_kind("complaint").size();
    // The server has them in step within seconds; asking it is what waits here.
    bool in_step = false;
    for (int i = 0; i < 10'000 && !in_step; ++i) {
        const Json place = week.server.rows({"views"}).at(0);
        in_step = place["commit"] == place["feed head"];
    }
    REQUIRE(in_step);
    CHECK(complaints() == there);
    week.server.kill();
    week.server.start();
    const Device phone(week.folder, "later", "R17");
    phone.enrol(week.server, "rep", "territory/DE-50");
    phone.complaint(phone.customer("Feinkost Abendroth"), "Deckel undicht");
    phone.synced();
    week.in_step();
    CHECK(complaints() == there + 1);
    CHECK(ask(week.views, "PRAGMA integrity_check").at(0)["integrity_check"] == "ok");
}

TEST_CASE("every line of a week's feed fits the schema, and a line with a fault does not") {
    const Week week;
    const std::string schema = week.folder.file("schema.json");
    std::ofstream(schema) << output_of(rapport_words({"schema"}));
    const auto unfit = [&](const std::vector<std::string>& lines) {
        std::string input;
        for (const std::string& line : lines) input += line + "\n";
        const Outcome outcome = run({"python3", RAPPORT_UNFIT_LINES, schema}, input);
        INFO(outcome.err);
        REQUIRE(outcome.exit == 0);
        return outcome.out;
    };
    const std::string body = http(week.server.url() + "/v1/feed?limit=5000", week.key).body;
    const std::vector<std::string> lines = lines_of(body);
    REQUIRE(lines.size() > 300);
    CHECK(unfit(lines) == "");
    CHECK(
        unfit({R"({"event":"departed","kind":"visit","id":"01956e2a-7c00-7000-8000-000000000004",)"
               R"("from":"territory/DE-50","to":"","move":1})"}) == "");

    const auto complaint = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
        return line.find(R"("kind":"complaint")") != std::string::npos &&
               line.find(R"("lot":)") != std::string::npos;
    });
    REQUIRE(complaint != lines.end());
    const Json good = Json::parse(*complaint);
    std::vector<std::string> faults;
    const auto fault = [&](const std::string& at, const Json& value) {
        Json line = good;
        line[Json::json_pointer(at)] = value;
        faults.push_back(line.dump());
    };
    fault("/kind", "complain");
    fault("/id", "4711");
    fault("/received_at", "yesterday");
    fault("/since", 5);
    fault("/scope", "DE-50");
    fault("/fields/colour", "red");
    fault("/fields/severity", "very");
    fault("/fields/lot", 4711);
    fault("/fields/lot", std::string(41, 'x'));
    fault("/fields/received_at", "2026-03-02 09:40");
    fault("/fields/schema_version", "1");
    fault("/fields/customer_id", "erp:10023");
    fault("/fields/cost", {{"minor", 129900}, {"currency", "EUR"}});
    fault("/fields/cost", {{"minor", "129900"}});
    fault("/fields/description", {{"siblings", {"one"}}});
    fault("/fields/theme_ids", "01956e2a-7c00-7000-8000-000000000004");
    for (const char* member : {"kind", "id", "fields"}) {
        Json line = good;
        line.erase(member);
        faults.push_back(line.dump());
    }
    faults.push_back(R"({"event":"departed","kind":"visit"})");
    faults.push_back(R"({"cursor":7})");
    faults.push_back("[]");
    std::string all;
    for (std::size_t i = 1; i <= faults.size(); ++i) all += std::to_string(i) + "\n";
    CHECK(unfit(faults) == all);
    fault("/fields/cost", {{"minor", "129900"}, {"currency", "EUR"}});
    fault("/fields/decision", "by_lot");  // a state or verdict may be of a newer centre
    CHECK(unfit({faults.end()[-2], faults.end()[-1]}) == "");
}

// Runs a Python program that kills itself, as by kill -9, before its n-th statement on a database.
constexpr const char* kDying = R"py(
import os, runpy, signal, sqlite3, sys
left = int(sys.argv[1])
class Dying(sqlite3.Connection):
    def execute(self, *words):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*words)
connect = sqlite3.connect
sqlite3.connect = lambda *words, **named: connect(*words, factory=Dying, **named)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
)py";

struct Reading : Week {
    std::string table = folder.file("reader.db");
    std::string query = "kind=complaint,product_wish&limit=3";
    Words reader{RAPPORT_READER, server.url(), key, table, query, "--once"};

    void read_on() const {
        Words words = reader;
        words.insert(words.begin(), "python3");
        output_of(words);
    }
    int killed_before_statement(int n) const {
        Words words = reader;
        words.insert(words.begin(), {"python3", "-c", kDying, std::to_string(n)});
        return run(words).signal;
    }
    /// Is the table what the feed shows from the start?
    void check_table() const {
        std::map<std::string, Json> expected;
        for (auto& [id, record] : server.feed(key, "limit=5000&kind=complaint,product_wish"))
            if (record["event"] != "departed" && code(record, "state") != "withdrawn")
                expected.emplace(id, record);
        REQUIRE(expected.size() > 20);
        const auto rows = ask(table, "SELECT * FROM record");
        CHECK(rows.size() == expected.size());
        for (const Json& row : rows) {
            const Json& record = expected.at(row["id"]);
            CHECK(row["kind"] == record["kind"]);
            CHECK(row["scope"] == record["scope"]);
            CHECK(Json::parse(row["fields"].get<std::string>()) == record["fields"]);
        }
    }
};

TEST_CASE("a reader that is killed at any statement goes on and has every record once") {
    const Reading week;
    for (int n = 1; n <= 18; ++n) CHECK(week.killed_before_statement(n) == SIGKILL);
    week.read_on();
    week.check_table();
}

TEST_CASE("a reader forgets what was withdrawn, and follows a record into its new scope") {
    Reading week;
    week.read_on();
    const Device phone(week.folder, "more", "R17");
    phone.enrol(week.server, "rep", "territory/DE-50");
    const std::string customer = phone.customer("Feinkost Abendroth");
    const std::string kept = phone.complaint(customer, "Deckel undicht"),
                      mistaken = phone.complaint(customer, "Verwechselt");
    phone.synced();
    week.read_on();
    const auto scope_of = [&](const std::string& id) {
        const auto rows = ask(week.table, "SELECT scope FROM record WHERE id = '" + id + "'");
        return rows.empty() ? "gone" : rows[0]["scope"].get<std::string>();
    };
    CHECK(scope_of(kept) == "territory/DE-50");
    CHECK(scope_of(mistaken) == "territory/DE-50");

    phone.request(mistaken, {"withdrawn", "--reason", "Verwechselt"});
    phone.synced();
    week.server.stop();
    {
        using namespace rapport;
        const auto storage = server::open_sqlite_storage(week.folder.file("centre.db"));
        const auto transaction = storage->begin_write();
        server::StoredRecord record = *transaction->record("default", *RecordId::parse(kept));
        record.commit = transaction->next_commit("default");
        server::StoredDeparture departure{record.state.kind,  record.state.id,   1,
                                          record.state.scope, "territory/DE-40", 0,
                                          record.commit};
        record.state.scope = departure.to;
        record.state.move = 1;
        transaction->save("default", departure);
        transaction->save("default", record);
        transaction->commit();
    }
    week.server.start();
    week.read_on();
    CHECK(scope_of(kept) == "territory/DE-40");
    CHECK(scope_of(mistaken) == "gone");
    week.check_table();
}
