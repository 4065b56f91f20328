// SPDX-License-Identifier: Apache-2.0
// Erasure and several users through the real programs. What is gone is asked of every byte of every
// file they leave.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "programs.hpp"
#include "protocol/messages.hpp"
#include "support/fault_proxy.hpp"

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
    /// The log is emptied as soon as nobody reads the database: the tables, the feed.
    bool soon_without(const std::string& words, const std::string& file) const {
        constexpr int kTriesMax = 100;
        for (int tries = 0; has(holders(words), file); ++tries) {
            if (tries == kTriesMax) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
        return true;
    }
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

/// What the answers of a wire hold, unpacked, one after the other.
std::string archives_in(const std::string& wire) {
    std::string archives;
    for (std::size_t at = 0; at < wire.size();) {
        const std::size_t body = wire.find("\r\n\r\n", at) + 4;
        std::string head = wire.substr(at, body - at);
        for (char& c : head) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        const std::size_t length = head.find("content-length: ");
        REQUIRE(length != std::string::npos);
        const std::size_t size = std::stoul(head.substr(length + 16));
        const std::string content = wire.substr(body, size);
        archives += has(head, rapport::protocol::kContentType)
                        ? rapport::protocol::unpack(content, std::size_t{16} << 20)
                        : content;
        at = body + size;
    }
    return archives;
}

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
    CHECK(centre.soon_without(kName, "centre.db"));
    CHECK(centre.soon_without(kName, "default.db"));
    CHECK(has(centre.holders(kName), "tablet.rapport"));
    const auto missing = [&] { return centre.server.rows({"erasures"}).at(0)["missing"]; };
    CHECK(has(missing(), "R17"));
    phone.synced();
    CHECK(centre.server.rows({"erasures"}).at(0)["carried_out"] == 1);

    tablet.synced();
    CHECK(missing() == "");
    CHECK(centre.soon_without(kName, "centre.db"));
    CHECK(centre.soon_without(kNoted, "centre.db"));
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

TEST_CASE(
    "what is erased crosses the wire no more, and a centre that lacks an order says it is not "
    "ready") {
    const TempDir folder;
    const std::string store = folder.file("centre.db"), backup = folder.file("backup.db");
    Server server{store};
    FaultProxy proxy(server.port(), 1);
    proxy.calm(true);
    const Device phone{folder, "phone", "R17"}, tablet{folder, "tablet", "R17"},
        away{folder, "away", "R17"};
    for (const Device* device : {&phone, &tablet, &away})
        REQUIRE(device
                    ->run("enrol", {"--server", proxy.url(), "--code",
                                    server.invite("R17", "rep", "territory/DE-50")})
                    .exit == 0);
    const std::string customer = phone.customer("Molkerei Mork");
    const std::string contact =
        phone.add({"contact", "customer_id=" + customer, "name.family_name=" + kName}).at(0);
    phone.synced();
    proxy.forget_answers();
    tablet.synced();
    REQUIRE(has(archives_in(proxy.answers()), kName));
    server.administered({"backup", "--to", backup});

    server.administered({"erase", "--contact", contact});
    proxy.forget_answers();
    tablet.set(customer, {"phone=+492461123456"});
    for (int i = 0; i < 2; ++i)
        for (const Device* device : {&phone, &tablet}) device->synced();
    REQUIRE(has(archives_in(proxy.answers()), "+492461123456"));
    CHECK_FALSE(has(archives_in(proxy.answers()), kName));
    const std::string key = server.feed_key();
    const HttpReply feed = http(server.url() + "/v1/feed?limit=5000", key);
    CHECK(has(feed.body, "Molkerei"));
    CHECK_FALSE(has(feed.body, kName));

    // The database comes from before the order, and the file of orders is lost.
    REQUIRE(server.stop().exit == 0);
    for (const char* beside : {"", "-wal", "-shm", ".erasures"})
        std::filesystem::remove(store + beside);
    std::filesystem::copy_file(backup, store);
    server.start();
    const auto ready = [&] { return http(server.url() + "/readyz", "").status; };
    CHECK(ready() == 200);
    proxy.forget_answers();
    for (int requests = 1; ready() == 200 && requests < 10; ++requests) {
        proxy.allow(1);  // so that the phone cannot tell the order in its next one
        CHECK(phone.sync().exit == 3);
    }
    const HttpReply not_ready = http(server.url() + "/readyz", "");
    CHECK(not_ready.status == 503);
    CHECK(has(not_ready.body, "erasures"));
    CHECK(http(server.url() + "/healthz", "").status == 200);
    proxy.allow(INT_MAX);
    CHECK(away.sync().exit == 3);  // who has never heard of the order is not served yet
    CHECK(ready() == 503);
    phone.synced();
    CHECK(ready() == 200);
    away.synced();
    tablet.synced();
    CHECK_FALSE(has(archives_in(proxy.answers()), kName));
    CHECK_FALSE(has(bytes_of(store), kName));
    for (const Device* device : {&phone, &tablet, &away})
        CHECK(device->shown(contact)["fields"]["erased"] == true);
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
