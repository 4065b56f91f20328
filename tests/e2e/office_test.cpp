// SPDX-License-Identifier: Apache-2.0
// The review queue through the real programs: the office decides, and the rep's device hears of it.
#include <doctest/doctest.h>

#include <fstream>

#include "programs.hpp"
#include "sqlite/database.hpp"

using namespace rapport::test;

namespace {

struct Centre {
    TempDir folder;
    std::string store = folder.file("centre.db");
    Server server{store};
    Device phone{folder, "phone", "R17"};

    Centre() { phone.enrol(server, "rep", "territory/DE-50"); }

    /// Changes the store of the stopped server, and starts it again.
    void behind_its_back(const std::string& sql) {
        REQUIRE(server.stop().exit == 0);
        rapport::sqlite::Database::open(store, {}).execute(sql);
        server.start();
    }
    /// The centre loses sight of all records, or finds them again.
    void lose_records() { behind_its_back("UPDATE record SET tenant = 'elsewhere'"); }
    void find_records() { behind_its_back("UPDATE record SET tenant = 'default'"); }
    void a_week_passes() {
        behind_its_back("UPDATE bundle SET received_at_ms = received_at_ms - 8 * 86400000");
    }
    Json only_review() const {
        const auto rows = server.rows({"review", "list", "--lang", "de"});
        REQUIRE(rows.size() == 1);
        return rows[0];
    }
};

}  // namespace

TEST_CASE("the office sees why an edit was not taken, and accepts or rejects it") {
    Centre centre;
    const Device& phone = centre.phone;
    const std::string customer = phone.customer("Molkerei Mork");
    phone.synced();
    centre.lose_records();
    phone.set(customer, {"phone=+492461123456"});
    CHECK(phone.sync().exit == 0);
    CHECK(phone.state_of(customer) == "waits");
    CHECK(centre.server.rows({"review", "list", "--refused"}).empty());

    centre.a_week_passes();
    const Outcome sync = phone.sync();
    CHECK(sync.exit == 0);
    CHECK(has(sync.out, "in review 1"));
    CHECK(phone.state_of(customer) == "review");
    CHECK(phone.status()["review"] == 1);
    const std::string shown = phone.output("status", {"--lang", "de"});
    CHECK(has(shown, "wird in der Zentrale geprüft"));
    CHECK(has(shown, "Molkerei Mork"));
    CHECK(has(shown, "Der Datensatz, den es ändert, ist noch nicht angekommen."));

    const Json row = centre.only_review();
    CHECK(row["rep"] == "R17");
    CHECK(row["state"] == "review");
    CHECK(row["records"] == "customer");
    CHECK(row["code"] == "unknown_record");
    CHECK(row["sentence"] == "Der Datensatz, den es ändert, ist noch nicht angekommen.");
    const std::string bundle = row["bundle"];
    const auto lines = json_lines(centre.server.administered({"review", "show", bundle}));
    REQUIRE(lines.size() == 2);
    CHECK(lines[0]["id"] == customer);
    CHECK(lines[0]["change"] == "update");
    CHECK(lines[0]["fields"]["phone"] == "+492461123456");
    CHECK(lines[1]["reason"]["code"] == "unknown_record");

    // Still unknown: it stays. Another company's office does not even see it.
    CHECK(centre.server.administer({"review", "accept", bundle}).exit == 1);
    CHECK(centre.server.administer({"review", "accept", bundle, "--tenant", "elsewhere"}).exit ==
          1);
    CHECK(centre.server.administer({"review", "show", bundle, "--tenant", "elsewhere"}).exit == 1);
    CHECK(centre.server.administer({"review", "reject", bundle}).exit == 2);
    CHECK(centre.server.administer({"review", "accept", "seven"}).exit == 2);
    CHECK(centre.only_review()["bundle"] == bundle);

    SUBCASE("accepted once the record is there again") {
        centre.find_records();
        centre.server.administered({"review", "accept", bundle});
        CHECK(centre.server.rows({"review", "list", "--refused"}).empty());
        const Outcome told = phone.sync();
        CHECK(told.exit == 0);
        CHECK(has(told.out, "decided 1"));
        CHECK(phone.state_of(customer) == "confirmed");
        CHECK(phone.unsent() == 0);
        const auto feed = centre.server.feed(centre.server.feed_key());
        CHECK(feed.at(customer)["fields"]["phone"] == "+492461123456");
        CHECK(feed.at(customer)["bundle"] == bundle);
    }
    SUBCASE("rejected with a reason, and repaired") {
        centre.server.administered(
            {"review", "reject", bundle, "--reason", "Bitte die Nummer prüfen."});
        CHECK(centre.server.rows({"review", "list"}).empty());
        CHECK(centre.server.rows({"review", "list", "--refused"}).size() == 1);
        CHECK(phone.sync().exit == 1);
        CHECK(phone.state_of(customer) == "refused");
        CHECK(has(phone.output("status", {"--lang", "de"}),
                  "Die Zentrale hat es nicht angenommen: Bitte die Nummer prüfen. (rejected)"));
        centre.find_records();
        phone.set(customer, {"phone=+492461777777"});
        phone.synced();
        CHECK(phone.unsent() == 0);
        CHECK(centre.server.rows({"review", "list", "--refused"}).empty());
    }
}

TEST_CASE("the rep lists what is to be told, and the office sees who has it and who has seen it") {
    Centre centre;
    const Device quality{centre.folder, "quality", "Q1"};
    quality.enrol(centre.server, "qm", "territory/*");
    const Device& phone = centre.phone;
    const std::string complaint =
        phone.complaint(phone.customer("Molkerei Mork"), "Deckel undicht");
    phone.synced();
    quality.synced();
    quality.request(complaint, {"acknowledged"});
    quality.set(complaint, {"defect_code=leak"});
    quality.request(complaint, {"assessed"});
    quality.request(complaint,
                    {"answered", "decision=goodwill", "reply_text=Wir liefern neue Deckel."});
    quality.synced();
    const auto told = [&] {
        const auto rows = centre.server.rows({"loop"});
        REQUIRE(rows.size() == 1);
        return std::vector<int>{rows[0]["decided"], rows[0]["delivered"], rows[0]["seen"],
                                rows[0]["told"]};
    };
    CHECK(told() == std::vector<int>{1, 0, 0, 0});
    phone.synced();
    CHECK(told() == std::vector<int>{1, 0, 0, 0});  // its next request says that it has it
    phone.synced();
    CHECK(told() == std::vector<int>{1, 1, 0, 0});
    for (int i = 0; i < 2; ++i) {
        const auto tasks = json_lines(phone.output("loop", {"--format", "ndjson"}));
        REQUIRE(tasks.size() == 1);
        CHECK(tasks[0]["customer"] == "Molkerei Mork");
        CHECK(tasks[0]["words"] == "Wir liefern neue Deckel.");
        CHECK(phone.unsent() == 1);  // noted once
    }
    phone.synced();
    CHECK(told() == std::vector<int>{1, 1, 1, 0});
    const std::string task = json_lines(phone.output("loop", {"--format", "ndjson"}))[0]["id"];
    phone.set(task, {"told_at=2026-03-04T10:00:00+01:00", "reaction=pleased"});
    CHECK(json_lines(phone.output("loop", {"--format", "ndjson"})).empty());
    phone.synced();
    CHECK(told() == std::vector<int>{1, 1, 1, 1});
    CHECK(json_lines(quality.output("loop", {"--format", "ndjson"})).empty());
}

TEST_CASE("a server that was given a token tells its metrics to who presents it") {
    const TempDir folder;
    const std::string file = folder.file("token"), token = "0123456789abcdef-for-prometheus";
    const auto write = [&](const std::string& text) { std::ofstream(file) << text << '\n'; };
    write("too short");
    CHECK_THROWS(Server(folder.file("centre.db"), {"--metrics-token", file}));
    write(token);
    const Server server(folder.file("centre.db"), {"--metrics-token", file});
    CHECK(http(server.url() + "/metrics", "0123456789abcdef").status == 401);
    const HttpReply reply = http(server.url() + "/metrics", token);
    CHECK(reply.status == 200);
    CHECK(has(reply.body, "\nrapport_requests_total{path=\"/metrics\",status=\"401\"} 1\n"));
    CHECK(http(Server(folder.file("other.db")).url() + "/metrics", token).status == 404);
}
