// SPDX-License-Identifier: Apache-2.0
// Erasure and several users through the real programs. What is gone is asked of every byte of every
// file they leave.
#include <doctest/doctest.h>

#include <filesystem>

#include "programs.hpp"

using namespace rapport::test;

namespace {

const std::string kName = "Quastenflosserin", kNoted = "Zitronenfalter";

struct Centre {
    TempDir folder;
    std::string store = folder.file("centre.db");
    Server server{store, {"--views"}};
    Device phone{folder, "phone", "R17"}, tablet{folder, "tablet", "R17"};
    std::string customer, contact, note;

    Centre() {
        phone.enrol(server, "rep", "territory/DE-50");
        tablet.enrol(server, "rep", "territory/DE-50");
        customer = phone.customer("Molkerei Mork");
        contact = phone
                      .add({"contact", "customer_id=" + customer, "name.family_name=" + kName,
                            "external_ids=erp:4711"})
                      .at(0);
        note = phone.add({"note", "subject_id=" + contact, "text=" + kNoted}).at(0);
        phone.synced();
        tablet.synced();
    }
    void update_views() const { server.administered({"views", "--update"}); }
    /// Files that hold these words, without the folder.
    std::string holders(const std::string& words) const {
        std::string names;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(
                 std::filesystem::path(store).parent_path())) {
            if (!entry.is_regular_file()) continue;
            std::ifstream in(entry.path(), std::ios::binary);
            const std::string bytes{std::istreambuf_iterator<char>(in), {}};
            if (has(bytes, words)) names += entry.path().filename().string() + " ";
        }
        return names;
    }
};

}  // namespace

TEST_CASE("rapportd erase takes a contact from the centre, the tables and the devices") {
    Centre centre;
    const Device &phone = centre.phone, &tablet = centre.tablet;
    tablet.output("search", {kName});
    centre.update_views();
    for (const char* file : {"centre.db", "phone.rapport", "tablet.rapport", "default.db"})
        REQUIRE(has(centre.holders(kName), file));
    tablet.set(centre.contact, {"name.family_name=" + kName + "-Neu"});  // and is away

    const std::string all =
        centre.server.administered({"subject-export", "--contact", "@erp:4711"});
    CHECK(has(all, kName));
    CHECK(has(all, kNoted));
    CHECK_FALSE(has(all, "Molkerei"));

    const std::string said = centre.server.administered({"erase", "--contact", "@erp:4711"});
    CHECK(has(said, "Order 1: contact " + centre.contact));
    centre.update_views();
    CHECK(centre.server.administer({"erase", "--contact", "@erp:4711"}).exit == 1);  // no such name
    CHECK_FALSE(has(centre.holders(kName), "centre.db"));
    CHECK_FALSE(has(centre.holders(kName), "default.db"));
    CHECK(has(centre.holders(kName), "tablet.rapport"));
    const auto missing = [&] { return centre.server.rows({"erasures"}).at(0)["missing"]; };
    CHECK(has(missing(), "R17"));
    phone.synced();
    CHECK(centre.server.rows({"erasures"}).at(0)["carried_out"] == 1);

    tablet.synced();
    CHECK(missing() == "");
    CHECK(centre.holders(kName).empty());
    CHECK(centre.holders(kNoted).empty());
    CHECK(phone.shown(centre.contact)["fields"]["erased"] == true);
    CHECK(phone.run("doctor").exit == 0);
    CHECK(tablet.run("doctor").exit == 0);

    const std::string key = centre.server.feed_key();
    bool told = false;
    for (const Json& line : centre.server.feed_page(key, "limit=5000").records)
        told |= line["event"] == "erased" && line["id"] == centre.contact;
    CHECK(told);
    CHECK(http(centre.server.url() + "/readyz", "").status == 200);
}

TEST_CASE("words about an erased contact wait for the office") {
    Centre centre;
    const std::string held =
        centre.tablet.add({"note", "subject_id=" + centre.contact, "text=Segelfalter"}).at(0);
    REQUIRE(centre.server.stop().exit == 0);
    centre.server.administered({"erase", "--contact", centre.contact});  // on the file itself
    centre.server.start();
    centre.tablet.synced();
    CHECK_FALSE(centre.tablet.shown(held)["fields"].contains("text"));
    const auto rows = centre.server.rows({"held", "list"});
    REQUIRE(rows.size() == 1);
    CHECK(rows[0]["id"] == held);
    CHECK(has(rows[0]["text"], "Segelfalter"));
    centre.server.administered({"held", "release", held});
    CHECK(centre.server.administer({"held", "erase", held}).exit == 1);
    centre.tablet.synced();
    CHECK(centre.tablet.shown(held)["fields"]["text"] == "Segelfalter");
}

TEST_CASE("two reps share a file, one after the other") {
    Centre centre;
    const Device& tablet = centre.tablet;
    const std::string visit = tablet
                                  .add({"visit", "customer_id=" + centre.customer, "type=visit",
                                        "summary=Deckel undicht"})
                                  .at(0);
    CHECK(has(tablet.output("logout"), "R17 is logged out"));
    CHECK_FALSE(tablet.knows(visit));
    CHECK_FALSE(tablet.knows(centre.customer));
    CHECK(has(tablet.output("status"), "unsent work of R17: 1 bundle"));
    CHECK(tablet.status()["logged_out"][0]["unsent"] == 1);
    REQUIRE(tablet.enrol_with(centre.server, centre.server.invite("R23", "rep", "territory/DE-40"))
                .exit == 0);
    const std::string other = tablet.customer("Brauerei Birk");
    tablet.synced();
    CHECK_FALSE(tablet.knows(visit));
    CHECK(tablet.run("login", {"--rep", "R17"}).exit != 0);
    tablet.output("logout");
    tablet.output("login", {"--rep", "R17"});
    CHECK(tablet.state_of(visit) == "queued");
    tablet.synced();
    CHECK(tablet.state_of(visit) == "confirmed");
    CHECK(tablet.knows(centre.customer));
    CHECK_FALSE(tablet.knows(other));
    centre.phone.synced();
    CHECK(centre.phone.knows(visit));
}
