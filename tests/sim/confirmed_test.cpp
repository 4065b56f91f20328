// SPDX-License-Identifier: Apache-2.0
// What a device makes by itself of what it held and sent does not come back to it.
#include <doctest/doctest.h>

#include "sim/world.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr const char* kNorth = "territory/DE-50";

struct Office {
    World world;
    Device& phone = world.device("R17", Role::rep, {kNorth});
    Device& tablet = world.device("R18", Role::rep, {kNorth});
    Id<Customer> customer = world.customer(tablet);
    Id<Visit> visit;

    explicit Office(const WorldOptions& options = {}) : world(options) {
        visit = tablet.capture(a_visit(customer));
        world.settle();
        for (const auto& device : world.devices()) device->session->begin();
    }
    std::string request() {
        world.pass(20);
        return phone.session->next_request();
    }
    std::string reply_to(const std::string& request) {
        const auto answer = world.engine().sync({phone.writer, request});
        REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
        return answer.archive;
    }
    /// The phone's next exchange.
    protocol::Reply exchange() {
        const std::string archive = reply_to(request());
        last = phone.take(archive);
        REQUIRE(last.counted);
        return decode<protocol::Reply>(archive);
    }
    void sound() {
        world.settle();
        check_converged(world);
        for (const auto& device : world.devices())
            for (const std::string& finding : device->store->check())
                FAIL_CHECK(device->name << ": " << finding);
    }

    Session::Step last;
};

}  // namespace

TEST_CASE("an edit that nobody else had a part in brings no record back") {
    Office t;
    expect(t.phone.edit(t.visit).set(&Visit::mood, 2).save());
    expect(t.phone.edit(t.visit).add(&Visit::purpose, Purpose::renew).save());
    const protocol::Reply reply = t.exchange();
    CHECK(reply.records.empty());
    REQUIRE(reply.confirmed);
    CHECK(reply.confirmed->runs == std::vector<std::uint32_t>{1});
    CHECK_FALSE(t.last.settled.again);
    CHECK(t.last.settled.applied == 1);  // they went as one
    CHECK(t.last.done);
    CHECK(t.phone.store->status(t.visit).state == SyncState::confirmed);
    CHECK(t.phone.read(t.visit).mood == 2);
    t.sound();
    CHECK(t.tablet.read(t.visit).mood == 2);
}

TEST_CASE("what somebody else had a part in since comes back as it stands") {
    Office t;
    const auto name = [&](Device& device, const char* words) {
        expect(device.edit(t.customer).set(&Customer::remarks, std::string(words)).save());
    };
    const auto complaint = t.tablet.capture(a_complaint(t.customer));
    t.world.settle();
    expect(t.phone.edit(t.visit).set(&Visit::mood, 2).save());
    SUBCASE("a record that another device edited") {
        name(t.tablet, "rechts klingeln");
        t.world.cut(t.phone);
        t.world.settle();
        t.world.heal();
        name(t.phone, "links klingeln");
        const protocol::Reply reply = t.exchange();
        CHECK(reply.records.size() == 1);
        REQUIRE(reply.confirmed);
        CHECK(reply.confirmed->runs.size() == 2);  // one of the two is left out
        CHECK(t.phone.read(t.customer).remarks.has_value());
    }
    SUBCASE("a record that the centre changes with the edit") {
        expect(t.phone.store->request_state(complaint, "withdrawn", "Irrtum", {}));
        expect(t.phone.edit(complaint).set(&Complaint::remedy_wanted, Remedy::replace).save());
        const protocol::Reply reply = t.exchange();
        REQUIRE(reply.confirmed);
        std::uint32_t left_out = 0;
        for (std::size_t i = 0; i < reply.confirmed->runs.size(); i += 2)
            left_out += reply.confirmed->runs[i];
        CHECK(left_out == 1);
    }
    SUBCASE("a stamp that the centre held back") {
        t.phone.environment.skew_ms = 3'600'000;
        expect(t.phone.edit(t.visit).set(&Visit::mood, 1).save());
        t.phone.environment.skew_ms = 0;
        CHECK_FALSE(t.exchange().confirmed);
    }
    CHECK_FALSE(t.last.settled.again);
    t.sound();
}

TEST_CASE("a repeated request gets everything back") {
    Office t;
    expect(t.phone.edit(t.visit).set(&Visit::mood, 2).save());
    t.reply_to(t.request());  // and nobody hears it
    const protocol::Reply reply = t.exchange();
    CHECK(reply.records.size() == 1);
    CHECK_FALSE(reply.confirmed);
    t.sound();
}

TEST_CASE("a page that is not the only one of its pull leaves nothing out") {
    WorldOptions options;
    options.limits.reply_records_max = 2;
    Office t(options);
    t.world.cut(t.phone);
    for (int i = 0; i < 5; ++i) t.tablet.capture(a_complaint(t.customer));
    t.world.settle();
    t.world.heal();
    expect(t.phone.edit(t.visit).set(&Visit::mood, 2).save());
    const protocol::Reply reply = t.exchange();
    CHECK_FALSE(reply.checkpoint);
    CHECK_FALSE(reply.confirmed);
    t.sound();
}

TEST_CASE("a device whose row is not what the centre believes asks again and has it whole") {
    Office t;
    SUBCASE("another value") {
        damage(t.phone, "UPDATE visit SET result='no_interest' WHERE id=" + blob(t.visit));
    }
    SUBCASE("another scope") {
        damage(t.phone, "UPDATE visit SET scope='territory/DE-99' WHERE id=" + blob(t.visit));
    }
    expect(t.phone.edit(t.visit).set(&Visit::mood, 2).save());
    CHECK(t.exchange().confirmed);
    CHECK(t.last.settled.again);
    CHECK(t.last.settled.applied == 0);
    CHECK_FALSE(t.last.done);
    const protocol::Reply reply = t.exchange();
    CHECK(reply.records.size() == 1);
    CHECK(t.last.settled.applied == 1);
    CHECK(t.last.done);
    CHECK(t.phone.store->overview().mended == 1);
    t.sound();
}

TEST_CASE("a centre that is never right about what it leaves out ends the sync") {
    Office t;
    expect(t.phone.edit(t.visit).set(&Visit::mood, 2).save());
    auto reply = decode<protocol::Reply>(t.reply_to(t.request()));
    SUBCASE("by the sum") { ++reply.confirmed->sum; }
    SUBCASE("by more than there was") { reply.confirmed->runs = {UINT32_MAX}; }
    SUBCASE("by less") { reply.confirmed->runs.clear(); }
    SUBCASE("by another") { reply.confirmed->runs = {0, 1}; }
    Session::Step step;
    int requests = 0;
    while (!step.out_of_step) {
        REQUIRE(++requests < 100);
        step = t.phone.take(encode(reply));
        REQUIRE(step.settled.again);
    }
    CHECK(requests == 2);
    CHECK(t.phone.store->status(t.visit).state != SyncState::confirmed);
    t.phone.session->begin();
    t.sound();
}
