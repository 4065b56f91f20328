// SPDX-License-Identifier: Apache-2.0
// Clocks that are set wrong, with real stores, sessions and engine.
#include <doctest/doctest.h>

#include "model/clock.hpp"
#include "protocol/messages.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr const char* kNorth = "territory/DE-50";
constexpr std::int64_t kMinuteMs = 60'000, kYearMs = 365 * 24 * 60 * kMinuteMs;

/// Phone and tablet of one rep, both synced.
struct Pair : World {
    explicit Pair(const WorldOptions& options = {}) : World(options) {
        phone.environment.start_machine();
        settle();
    }
    Device& phone = device("R17", Role::rep, {kNorth});
    Device& tablet = device("R17", Role::rep, {kNorth});
    Id<Customer> customer = World::customer(phone);

    void rename(Device& by, const char* name) {
        REQUIRE(by.edit(customer).set(&Customer::name, name).save());
    }
    std::vector<Stamp> unsent_stamps(Device& device, const RecordId& id) {
        Store::Core::Reading reading(device.store->core());
        std::vector<Stamp> stamps;
        const auto loaded = load(reading.db, id);
        for (const PendingChange& change : loaded->pending)
            for (const Write& write : change.writes)
                for (const Added& add : write.adds) stamps.push_back(add.stamp);
        return stamps;
    }
    std::int64_t ahead_ms(Stamp stamp) { return HybridClock::wall_ms(stamp) - now_ms(); }
    /// One request and its reply, without anything in between.
    void exchange(Device& device) {
        const auto answer = engine().sync({device.writer, device.session->next_request()});
        REQUIRE(answer.error_code.empty());
        REQUIRE(device.session->take_reply(answer.archive).counted);
    }
    void converged() {
        for (const std::string& difference : differences()) FAIL_CHECK(difference);
        for (const auto& device : devices())
            for (const std::string& finding : device->store->check())
                FAIL_CHECK(device->name << ": " << finding);
    }
};

}  // namespace

TEST_CASE("setting the wall clock does not touch the stamps while the machine runs") {
    Pair world;
    for (const std::int64_t skew : {10 * kYearMs, -10 * kYearMs}) {
        world.phone.environment.skew_ms = skew;
        world.pass(kMinuteMs);
        world.rename(world.phone, skew > 0 ? "Vor" : "Zurück");
        for (const Stamp stamp : world.unsent_stamps(world.phone, world.customer))
            CHECK(std::abs(world.ahead_ms(stamp)) < kMinuteMs);
        world.phone.restart();
        world.settle();
    }
    world.converged();
}

TEST_CASE("stamps from a clock that ran ahead move back before they are sent") {
    Pair world;
    world.phone.environment.start_machine();  // what the machine knew of the server's time is gone
    world.phone.environment.skew_ms = 10 * kYearMs;
    world.rename(world.phone, "Unterwegs");
    CHECK(world.ahead_ms(world.unsent_stamps(world.phone, world.customer).at(0)) > 9 * kYearMs);

    const std::string request = world.phone.session->next_request();  // carries the first name
    const Id<Note> note = world.phone.capture([&] {
        Note n;
        n.subject_id = AnyId(world.customer);
        n.text = "Während die Antwort unterwegs ist";
        return n;
    }());
    REQUIRE(world.phone.last);
    world.rename(world.phone, "Danach");
    const auto answer = world.engine().sync({world.phone.writer, request});
    REQUIRE(world.phone.session->take_reply(answer.archive).counted);

    Stamp newest = 0;
    for (const RecordId& id : {RecordId(note), RecordId(world.customer)})
        for (const Stamp stamp : world.unsent_stamps(world.phone, id)) {
            CHECK(world.ahead_ms(stamp) <= kStampAheadMsMax + 1);
            newest = std::max(newest, stamp);
        }
    world.settle();
    // What was captured later still comes later, and nobody waits ten years to be heard.
    CHECK(world.tablet.read(world.customer).name == "Danach");
    world.pass(6 * kMinuteMs);
    world.cut(world.phone);
    world.rename(world.tablet, "Tablet");
    world.settle();
    world.pass(kMinuteMs);
    world.rename(world.phone, "Telefon");
    const auto stamps = world.unsent_stamps(world.phone, world.customer);
    REQUIRE(stamps.size() == 1);
    CHECK(stamps[0] > newest);
    CHECK(std::abs(world.ahead_ms(stamps[0])) < kMinuteMs);
    world.heal_and_settle();
    CHECK(world.tablet.read(world.customer).name == "Telefon");
    world.converged();
}

TEST_CASE("a clock that ran ahead and was set right leaves no stamp in the future") {
    Pair world;
    world.phone.environment.start_machine();
    world.cut(world.phone);
    world.phone.environment.skew_ms = kYearMs;
    world.rename(world.phone, "Ein Jahr voraus");
    world.phone.environment.skew_ms = 0;
    world.pass(kMinuteMs);
    world.heal_and_settle();
    world.pass(6 * kMinuteMs);
    world.rename(world.phone, "Heute");
    CHECK(world.ahead_ms(world.unsent_stamps(world.phone, world.customer).at(0)) < kMinuteMs);
    world.settle();
    CHECK(world.tablet.read(world.customer).name == "Heute");
    world.converged();
}

TEST_CASE("what was captured before enrolment gets the server's time, in its order") {
    World world;
    Device& tablet = world.device("R17", Role::rep, {kNorth});
    TempDir folder;
    SimulatedEnvironment environment(world.now_ms(), 7);
    environment.skew_ms = -3 * kYearMs;
    Store::Options options;
    options.environment = &environment;
    Store store = Store::open(folder.file("new.rapport"), options);
    std::vector<RecordId> ids;
    for (const char* name : {"Erste", "Zweite", "Dritte"}) {
        Customer customer;
        customer.name = name;
        ids.push_back(store.put(customer).first);
        world.pass(1000);
    }
    const auto newest_of = [&](const RecordId& id) {
        Store::Core::Reading reading(store.core());
        Stamp newest = 0;
        const auto loaded = load(reading.db, id);
        for (const PendingChange& change : loaded->pending)
            for (const Write& write : change.writes)
                for (const Added& add : write.adds) newest = std::max(newest, add.stamp);
        return newest;
    };
    Replica replica(store);
    replica.enrolment_secret();
    Identity identity = *Replica(*tablet.store).identity();
    identity.writer = 4711;
    replica.enrol(identity, world.now_ms());
    Stamp before = 0;
    for (const RecordId& id : ids) {
        const Stamp stamp = newest_of(id);
        CHECK(stamp > before);
        CHECK(world.now_ms() - HybridClock::wall_ms(stamp) < 4000);
        before = stamp;
    }
    // The time is shown as the device showed it.
    const Record first = *store.find(ids[0]);
    const auto shown = Instant::unpack(*first.value("created_at").integer());
    CHECK(world.now_ms() - shown.at.time_since_epoch().count() > 2 * kYearMs);
}

TEST_CASE("what was refused under a wrong clock is repaired under the right one") {
    Pair world;
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    Customer known;
    known.name = "Käserei Süd";
    known.external_ids = {ExternalId{"erp", "4711"}};
    south.capture(known);
    world.settle();
    for (const std::int64_t skew : {10 * kYearMs, -10 * kYearMs}) {
        world.phone.environment.start_machine();
        world.phone.environment.skew_ms = skew;
        Customer twin;
        twin.name = skew > 0 ? "Voraus" : "Zurück";
        twin.external_ids = {ExternalId{"erp", "4711"}};
        const Id<Customer> refused = world.phone.capture(twin);
        world.settle();
        REQUIRE(world.phone.store->status(refused).state == SyncState::refused);
        for (const Stamp stamp : world.unsent_stamps(world.phone, refused))
            CHECK(std::abs(world.ahead_ms(stamp)) < kMinuteMs);
        const std::string other = skew > 0 ? "1" : "2";
        REQUIRE(world.phone.edit(refused)
                    .set(&Customer::external_ids, AddWins<ExternalId>{ExternalId{"erp", other}})
                    .save());
        world.settle();
        REQUIRE(world.tablet.read(refused).name == *twin.name);
        // Who writes after it is heard after it.
        REQUIRE(world.tablet.edit(refused).set(&Customer::name, "Danach").save());
        world.settle();
        CHECK(world.phone.read(refused).name == "Danach");
    }
    world.converged();
}

TEST_CASE("no capture number is given twice after the clock was set back") {
    Pair world;
    world.phone.environment.start_machine();
    world.phone.environment.skew_ms = kYearMs;
    world.rename(world.phone, "Voraus");
    const Stamp given = world.unsent_stamps(world.phone, world.customer).at(0);
    world.settle();  // a year back
    world.rename(world.phone, "Heute");
    CHECK(world.unsent_stamps(world.phone, world.customer).at(0) < given);
    world.phone.restart();
    // The day comes on which the clock shows what it showed then.
    Store::Core& core = world.phone.store->core();
    const Store::Core::Writing writing(core);
    const std::uint64_t number = core.capture_number(given);
    CHECK(number > given);
    CHECK(core.capture_number(given) > number);
    CHECK(core.capture_number(number + 100) == number + 100);
}

TEST_CASE("a reply that was long on its way says nothing about the time") {
    Pair world;
    world.phone.environment.start_machine();
    world.rename(world.phone, "Langsam");
    const auto answer =
        world.engine().sync({world.phone.writer, world.phone.session->next_request()});
    world.pass(3 * 60 * kMinuteMs);
    REQUIRE(world.phone.session->take_reply(answer.archive).counted);
    world.pass(kMinuteMs);
    world.rename(world.phone, "Danach");
    CHECK(std::abs(world.ahead_ms(world.unsent_stamps(world.phone, world.customer).at(0))) <
          kMinuteMs);
}

TEST_CASE("what was captured later has a later stamp, however far two servers' clocks differ") {
    Pair world;
    const std::uint16_t name = kind_of<Customer>().field("name")->number;
    const auto stamp = [&] {
        return world.server_state(world.customer).fields.at(name).live[0].stamp;
    };
    const auto take = [&](const std::string& request, std::int64_t server_clock_ms) {
        const auto answer = world.engine().sync({world.phone.writer, request});
        auto reply = decode<protocol::Reply>(answer.archive);
        reply.server_time_ms += server_clock_ms;
        REQUIRE(world.phone.session->take_reply(encode(reply)).counted);
    };
    world.pass(10 * kMinuteMs);
    take(world.phone.session->next_request(), -5 * kMinuteMs);
    std::string request = world.phone.session->next_request();
    world.rename(world.phone, "Vor");
    take(request, 0);  // moves it five minutes on
    request = world.phone.session->next_request();
    world.rename(world.phone, "Zurück");
    take(request, -5 * kMinuteMs);  // takes the first and moves the second five minutes back
    const Stamp before = stamp();
    take(world.phone.session->next_request(), 0);
    CHECK(stamp() > before);
}

TEST_CASE("a server whose clock is set back goes on from its last commit") {
    Pair world;
    world.rename(world.phone, "Vorher");
    world.settle();
    const Stamp before = world.server_state(world.customer).fields.begin()->second.live[0].stamp;
    world.set_server_clock(-2 * 60 * kMinuteMs);
    world.restart_server();
    world.rename(world.tablet, "Nachher");
    world.settle();
    CHECK(world.phone.read(world.customer).name == "Nachher");
    const auto state = world.server_state(world.customer);
    CHECK(state.fields.at(kind_of<Customer>().field("name")->number).live[0].stamp > before);
    world.converged();
}
