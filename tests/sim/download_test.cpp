// SPDX-License-Identifier: Apache-2.0
// First downloads and re-bootstraps, with real stores, sessions and engine.
#include <doctest/doctest.h>

#include <algorithm>

#include "protocol/messages.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr const char* kNorth = "territory/DE-50";
constexpr const char* kSouth = "territory/DE-40";
constexpr std::int64_t kDayMs = 86'400'000;

std::size_t count(Device& device, const Kind& kind) {
    Query query;
    query.kind = &kind;
    return device.store->count(query);
}

/// One request and its reply; true when the device is done.
bool exchange(World& world, Device& device) {
    world.pass(20);
    const auto answer = world.engine().sync({device.writer, device.session->next_request()});
    REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
    const Session::Step step = device.session->take_reply(answer.archive);
    REQUIRE(step.counted);
    return step.done;
}

void converged(World& world) {
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
    for (const auto& device : world.devices())
        for (const std::string& finding : device->store->check())
            FAIL_CHECK(device->name << ": " << finding);
}

WorldOptions small_pages() {
    WorldOptions options;
    options.limits.reply_records_max = 5;
    return options;
}

}  // namespace

TEST_CASE("a first download shows customers, then the newest visits, from its first page on") {
    World world(small_pages());
    Device& rep = world.device("R17", Role::rep, {kNorth});
    std::vector<Id<Visit>> visits;
    const Id<Customer> customer = world.customer(rep, "Erste");
    for (int i = 0; i < 12; ++i) {
        visits.push_back(rep.capture(a_visit(customer)));
        world.pass(60'000);
    }
    const Id<Customer> late = world.customer(rep, "Letzte");
    world.settle();

    Device& fresh = world.device("R17", Role::rep, {kNorth});
    REQUIRE_FALSE(exchange(world, fresh));
    CHECK(fresh.store->find(customer));
    CHECK(fresh.store->find(late));
    CHECK(fresh.store->find(visits.back()));
    CHECK_FALSE(fresh.store->find(visits.front()));
    CHECK(count(fresh, kind_of<Visit>()) == 3);
    CHECK(fresh.store->overview().incomplete == std::vector<std::string>{kNorth});

    int pages = 1;
    bool done = false;
    for (; !done; ++pages) {
        CHECK(fresh.store->overview().incomplete.size() == 1);
        if (pages == 2) fresh.restart();
        if (pages == 3) world.restart_server();
        done = exchange(world, fresh);
    }
    CHECK(pages >= 3);
    CHECK(count(fresh, kind_of<Visit>()) == 12);
    CHECK(fresh.store->overview().incomplete.empty());
    converged(world);
}

TEST_CASE("what changes, comes and goes during a first download is right at its checkpoint") {
    World world(small_pages());
    Device& rep = world.device("R17", Role::rep, {kNorth});
    world.device("R23", Role::rep, {kSouth});
    const Id<Customer> customer = world.customer(rep, "Bleibt");
    const Id<Customer> leaves = world.customer(rep, "Geht");
    std::vector<Id<Visit>> visits;
    for (int i = 0; i < 10; ++i) {
        visits.push_back(rep.capture(a_visit(customer)));
        world.pass(60'000);
    }
    const Id<Visit> leaving = rep.capture(a_visit(leaves));
    world.settle();

    Device& fresh = world.device("R17", Role::rep, {kNorth});
    REQUIRE_FALSE(exchange(world, fresh));
    REQUIRE(fresh.store->find(leaving));
    REQUIRE(rep.edit(visits.front()).set(&Visit::summary, "noch nicht geladen").save());
    REQUIRE(rep.edit(visits.back()).set(&Visit::summary, "schon geladen").save());
    const Id<Visit> added = rep.capture(a_visit(customer));
    const Id<Customer> own = fresh.capture([] {
        Customer c;
        c.name = "Während des Ladens";
        return c;
    }());
    while (!exchange(world, rep)) {
    }
    world.hand_over(leaves, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    CHECK_FALSE(fresh.store->overview().incomplete.empty());
    while (!exchange(world, fresh)) {
    }
    CHECK(fresh.store->overview().incomplete.empty());
    CHECK(fresh.read(visits.front()).summary.text() == "noch nicht geladen");
    CHECK(fresh.read(visits.back()).summary.text() == "schon geladen");
    CHECK(fresh.store->find(added));
    CHECK(fresh.store->status(own).state == SyncState::confirmed);
    CHECK_FALSE(fresh.store->find(leaving));
    world.settle();
    converged(world);
}

TEST_CASE(
    "what a device made is not shown where it had the territory only while an answer was lost") {
    World world(small_pages());
    Device& roving = world.device("R17", Role::rep, {kNorth});
    world.device("R23", Role::rep, {kSouth});
    const Id<Customer> customer = world.customer(roving);
    world.settle();
    world.cut(roving);
    world.hand_over(customer, kSouth);
    world.settle();
    const Id<Visit> visit = roving.capture(a_visit(customer));
    world.give_scopes(roving, {kNorth, kSouth});
    REQUIRE(
        world.engine().sync({roving.writer, roving.session->next_request()}).error_code.empty());
    world.give_scopes(roving, {kNorth});
    world.heal_and_settle();
    CHECK(world.storage().begin_read()->record("default", visit));
    CHECK_FALSE(roving.store->find(visit));
    CHECK(roving.store->overview().queued == 0);
    converged(world);
    // And it comes with the territory.
    world.give_scopes(roving, {kNorth, kSouth});
    world.settle();
    CHECK(roving.store->find(visit));
    converged(world);
}

TEST_CASE("what a device made and somebody handed over before its download begins is not shown") {
    World world(small_pages());
    Device& fresh = world.device("R17", Role::rep, {kNorth});
    world.device("R23", Role::rep, {kSouth});
    const Id<Customer> stays = world.customer(fresh, "Bleibt"), leaves = world.customer(fresh);
    const Id<Visit> visit = fresh.capture(a_visit(leaves));
    REQUIRE(world.engine().sync({fresh.writer, fresh.session->next_request()}).error_code.empty());
    world.hand_over(leaves, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    while (!exchange(world, fresh)) {
    }
    CHECK(fresh.store->find(stays));
    CHECK_FALSE(fresh.store->find(leaves));
    CHECK_FALSE(fresh.store->find(visit));
    CHECK(fresh.store->departed(10).size() == 2);
    world.settle();
    converged(world);
}

TEST_CASE("a territory that a device gains later is downloaded beside what it has") {
    World world(small_pages());
    Device& north = world.device("R17", Role::rep, {kNorth});
    Device& south = world.device("R23", Role::rep, {kSouth});
    const Id<Customer> here = world.customer(north, "Nord");
    const Id<Customer> there = world.customer(south, "Süd");
    for (int i = 0; i < 9; ++i) south.capture(a_visit(there));
    world.settle();
    {
        const auto transaction = world.storage().begin_write();
        auto row = *transaction->device(north.writer);
        row.scopes.push_back(kSouth);
        transaction->save(row);
        transaction->commit();
    }
    REQUIRE_FALSE(exchange(world, north));
    CHECK(north.store->overview().incomplete == std::vector<std::string>{kSouth});
    CHECK(north.store->find(there));
    CHECK(north.store->find(here));
    while (!exchange(world, north)) {
    }
    CHECK(north.store->overview().incomplete.empty());
    CHECK(count(north, kind_of<Visit>()) == 9);
    converged(world);
}

TEST_CASE("what lay staged of a territory that is given back is not shown if it has left it") {
    World world(small_pages());
    Device& rep = world.device("R17", Role::rep, {kNorth});
    Device& south = world.device("R23", Role::rep, {kSouth});
    Device& tablet = world.device("R17", Role::rep, {kNorth});
    const Id<Customer> stays = world.customer(rep, "Bleibt");
    world.customer(south, "Süd");
    world.settle();
    const Id<Customer> leaves = world.customer(rep, "Geht");
    for (int i = 0; i < 12; ++i) rep.capture(a_visit(leaves));
    while (!exchange(world, rep)) {
    }
    REQUIRE_FALSE(exchange(world, tablet));
    world.give_scopes(tablet, {kSouth});
    REQUIRE_FALSE(exchange(world, tablet));
    world.hand_over(leaves, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    world.give_scopes(tablet, {kNorth});
    while (!exchange(world, tablet)) {
    }
    CHECK(tablet.store->find(stays));
    CHECK_FALSE(tablet.store->find(leaves));
    CHECK(count(tablet, kind_of<Visit>()) == 0);
    world.settle();
    converged(world);
}

TEST_CASE("ordinary pages stay unseen until the checkpoint") {
    World world(small_pages());
    Device& rep = world.device("R17", Role::rep, {kNorth});
    Device& tablet = world.device("R17", Role::rep, {kNorth});
    const Id<Customer> customer = world.customer(rep);
    world.settle();
    for (int i = 0; i < 12; ++i) rep.capture(a_visit(customer));
    while (!exchange(world, rep)) {
    }
    REQUIRE_FALSE(exchange(world, tablet));
    CHECK(count(tablet, kind_of<Visit>()) == 0);
    CHECK(tablet.store->overview().incomplete.empty());
    while (!exchange(world, tablet)) {
    }
    CHECK(count(tablet, kind_of<Visit>()) == 12);
}

TEST_CASE("after half a year a device gets everything anew and what is gone goes") {
    World world(small_pages());
    Device& away = world.device("R17", Role::rep, {kNorth});
    Device& rep = world.device("R18", Role::rep, {kNorth});
    const Id<Customer> stays = world.customer(away, "Bleibt");
    const Id<Customer> left = world.customer(away, "Gegangen");
    const Id<Visit> old = away.capture(a_visit(left));
    const Id<Visit> edited = away.capture(a_visit(left));
    for (int i = 0; i < 8; ++i) away.capture(a_visit(stays));
    world.settle();
    world.cut(away);
    REQUIRE(away.edit(edited).set(&Visit::summary, "unterwegs notiert").save());
    const Id<Visit> unsent = away.capture(a_visit(stays));
    Bundling draft = away.store->bundle();
    const Id<Visit> unfinished = draft.add(a_visit(stays));
    REQUIRE(draft.save_draft());

    bool renewed = false;
    SUBCASE("within the horizon what left departs") { world.pass(179 * kDayMs); }
    SUBCASE("beyond it what does not come any more is dropped") {
        world.pass(181 * kDayMs);
        renewed = true;
    }
    world.hand_over(left, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    const Id<Visit> news = rep.capture(a_visit(stays));
    while (!exchange(world, rep)) {
    }
    world.heal();
    away.restart();
    while (!exchange(world, away)) {
    }
    world.settle();
    const auto held = [&](const RecordId& id) {
        const Store::Core::Reading reading(away.store->core());
        return load_row(reading.db, id).has_value();
    };
    CHECK(held(old) == !renewed);
    CHECK_FALSE(away.store->find(left));
    CHECK_FALSE(away.store->find(old));
    CHECK(away.store->find(stays));
    CHECK(away.store->find(news));
    CHECK(away.store->status(unsent).state == SyncState::confirmed);
    CHECK(away.store->status(unfinished).state == SyncState::draft);
    CHECK(count(away, kind_of<Visit>()) == 8 + 3);
    CHECK(away.store->overview().incomplete.empty());
    CHECK(world.server_state(edited).fields.count(kind_of<Visit>().field("summary")->number) == 1);
    converged(world);
}

TEST_CASE("unsent work survives a re-bootstrap, whatever became of its record") {
    World world;
    Device& away = world.device("R17", Role::rep, {kNorth});
    const Id<Customer> left = world.customer(away, "Gegangen");
    const Id<Visit> edited = away.capture(a_visit(left));
    world.settle();
    world.cut(away);
    world.hand_over(left, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    world.pass(200 * kDayMs);
    REQUIRE(away.edit(edited).set(&Visit::summary, "zu spät, aber da").save());
    world.heal_and_settle();
    CHECK(away.store->status(edited).state != SyncState::confirmed);
    std::string unsent;
    away.store->export_records(nullptr, true, [&](const std::string& json) { unsent += json; });
    CHECK(unsent.find("zu spät, aber da") != std::string::npos);
    CHECK(away.store->check().empty());
}

TEST_CASE("a device that polls and has no news is never re-bootstrapped") {
    World world;
    Device& rep = world.device("R17", Role::rep, {kNorth});
    const Id<Customer> customer = world.customer(rep);
    world.settle();
    for (int month = 0; month < 12; ++month) {
        world.pass(25 * kDayMs);
        const auto answer = world.engine().sync({rep.writer, rep.session->next_request()});
        const auto reply = decode<protocol::Reply>(answer.archive);
        CHECK(reply.records.empty());
        CHECK_FALSE(reply.renewal);
        REQUIRE(rep.session->take_reply(answer.archive).done);
    }
    CHECK(rep.store->find(customer));
}
