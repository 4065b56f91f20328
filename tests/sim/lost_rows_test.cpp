// SPDX-License-Identifier: Apache-2.0
// Rows that have gone from a damaged file while unsent work on their records waits: everything else
// goes on, and a person hears of what is lost.
#include <doctest/doctest.h>

#include <algorithm>

#include "sim/world.hpp"
#include "store/core.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr const char* kNorth = "territory/DE-50";

/// One sync as a syncer makes it: to the end, and a comparison behind it if one is due.
void sync(World& world, Device& device) {
    bool compares = false;
    device.session->begin();
    for (int requests = 0;; ++requests) {
        REQUIRE(requests < 100);
        world.pass(20);
        const auto answer = world.engine().sync({device.writer, device.session->next_request()});
        REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
        const Session::Step step = device.take(answer.archive);
        REQUIRE(step.counted);
        if (!step.done) continue;
        if (compares || !device.session->comparison_due()) return;
        compares = true;
        device.session->compare();
    }
}

std::vector<std::string> codes(const std::vector<Refusal>& reasons) {
    std::vector<std::string> codes;
    for (const Refusal& reason : reasons)
        codes.push_back(reason.code + (reason.field.empty() ? "" : " " + reason.field));
    std::sort(codes.begin(), codes.end());
    return codes;
}

void sound(World& world) {
    check_converged(world);
    for (const auto& device : world.devices())
        for (const std::string& finding : device->store->check())
            FAIL_CHECK(device->name << ": " << finding);
}

bool has(const Visit& visit, Purpose purpose) {
    const auto& all = visit.purpose.elements;
    return std::find(all.begin(), all.end(), purpose) != all.end();
}

struct North {
    World world;
    Device& phone = world.device("R17", Role::rep, {kNorth});
    Device& tablet = world.device("R17", Role::rep, {kNorth});
    Id<Customer> customer = world.customer(tablet);
    Id<Visit> visit;

    North() {
        visit = tablet.capture(a_visit(customer));
        world.settle();
        // The first sync of a day compares; the day is young.
        for (const auto& device : world.devices()) sync(world, *device);
    }
    void lose(const RecordId& id) { damage(phone, "DELETE FROM visit WHERE id=" + blob(id)); }
    RecordStatus status(const RecordId& id) { return phone.store->status(id); }
};

}  // namespace

TEST_CASE(
    "an edit whose record has gone from the file goes on when the centre has brought it back") {
    North t;
    expect(t.phone.edit(t.visit).add(&Visit::purpose, Purpose::renew).save());
    t.lose(t.visit);
    const auto complaint = t.phone.capture(a_complaint(t.customer));
    SUBCASE("by the comparison that is due at once") { sync(t.world, t.phone); }
    SUBCASE("by what somebody else wrote") {
        expect(t.tablet.edit(t.visit).set(&Visit::mood, 2).save());
        sync(t.world, t.tablet);
        sync(t.world, t.phone);
    }
    CHECK(t.status(complaint).state == SyncState::confirmed);
    CHECK(t.status(t.visit).state == SyncState::confirmed);
    t.world.settle();
    CHECK(has(t.tablet.read(t.visit), Purpose::renew));
    CHECK(has(t.tablet.read(t.visit), Purpose::complain));
    CHECK(t.phone.store->held().empty());
    sound(t.world);
}

TEST_CASE("what only the lost row held is not made up: the person enters it again") {
    North t;
    expect(t.phone.edit(t.visit)
               .set(&Visit::result, VisitResult::renewal)
               .add(&Visit::purpose, Purpose::renew)
               .save());
    // Of a field that two bundles change, the first keeps a copy.
    Bundling behind = t.phone.store->bundle();
    behind.change(t.phone.edit(t.visit).set(&Visit::result, VisitResult::follow_up));
    behind.add(a_complaint(t.customer));
    expect(behind.save());
    t.lose(t.visit);
    sync(t.world, t.phone);
    CHECK(t.phone.read(t.visit).summary.text() == "Besuch");
    const RecordStatus status = t.status(t.visit);
    CHECK(status.state == SyncState::refused);
    REQUIRE(codes(status.reasons) == std::vector<std::string>{"value_lost result"});
    CHECK(sentence(status.reasons[0], Language::german).find("`result`") != std::string::npos);

    SUBCASE("and it arrives") {
        expect(t.phone.edit(t.visit).set(&Visit::result, VisitResult::no_interest).save());
        t.world.settle();
        CHECK(t.tablet.read(t.visit).result == VisitResult::no_interest);
        CHECK(has(t.tablet.read(t.visit), Purpose::renew));
    }
    SUBCASE("or gives it up") {
        t.phone.store->discard(t.visit);
        t.world.settle();
        CHECK(t.tablet.read(t.visit).result == VisitResult::renewal);
    }
    CHECK(t.phone.store->held().empty());
    sound(t.world);
}

TEST_CASE("a new record that has gone from the file holds up only what builds on it") {
    North t;
    const Id<Visit> lost = t.phone.capture(a_visit(t.customer));
    t.lose(lost);
    Complaint about = a_complaint(t.customer, "Etikett schief");
    about.visit_id = lost;
    const auto waits = t.phone.capture(about);
    const auto complaint = t.phone.capture(a_complaint(t.customer));
    for (int day = 0; day < 2; ++day) {
        sync(t.world, t.phone);
        CHECK(t.status(complaint).state == SyncState::confirmed);
        CHECK(t.status(waits).state == SyncState::waits);
        CHECK(t.status(lost).state == SyncState::refused);
        CHECK(codes(t.status(lost).reasons) == std::vector<std::string>{"row_lost"});
        t.world.pass(25LL * 3'600'000);
    }
    const auto held = t.phone.store->held();
    REQUIRE(held.size() == 2);
    REQUIRE(held[0].records.size() == 1);
    CHECK(held[0].records[0].id == lost);
    CHECK(held[0].records[0].kind == &kind_of<Visit>());
    CHECK_THROWS_AS(t.phone.store->discard(lost), Error);  // the complaint still needs it
    CHECK(t.phone.store->overview().refused == 1);
    CHECK(t.phone.store->overview().waiting == 1);
}

TEST_CASE("a new record that has gone from the file is given up by discarding it") {
    North t;
    Bundling both = t.phone.store->bundle();
    const Id<Visit> lost = both.add(a_visit(t.customer));
    const Id<Complaint> beside = both.add(a_complaint(t.customer));
    expect(both.save());
    t.lose(lost);
    sync(t.world, t.phone);
    CHECK(t.status(beside).state == SyncState::refused);
    t.phone.store->discard(lost);
    CHECK(t.phone.store->held().empty());
    CHECK_THROWS_AS(t.status(lost), Error);
    t.world.settle();
    sound(t.world);
}

TEST_CASE("what was sent before its row went comes back from what was sent") {
    North t;
    const Id<Visit> fresh = t.phone.capture(a_visit(t.customer));
    expect(t.phone.edit(t.visit).set(&Visit::result, VisitResult::renewal).save());
    const std::string request = t.phone.session->next_request();
    t.lose(t.visit);
    t.lose(fresh);
    const auto answer = t.world.engine().sync({t.phone.writer, request});
    REQUIRE(answer.error_code.empty());
    SUBCASE("the reply arrives") {}
    SUBCASE("the reply is lost") { CHECK(t.phone.session->next_request() == request); }
    SUBCASE("after the program was started again") { t.phone.restart(); }
    sync(t.world, t.phone);
    CHECK(t.phone.read(t.visit).result == VisitResult::renewal);
    CHECK(t.phone.read(fresh).summary.text() == "Besuch");
    t.world.settle();
    CHECK(t.tablet.read(t.visit).result == VisitResult::renewal);
    CHECK(t.phone.store->held().empty());
    sound(t.world);
}

TEST_CASE("work that the damaged mark of its row forgets is sent all the same") {
    North t;
    expect(t.phone.edit(t.visit).set(&Visit::result, VisitResult::renewal).save());
    damage(t.phone, "UPDATE visit SET status=0 WHERE id=" + blob(t.visit));
    sync(t.world, t.phone);
    t.world.settle();
    CHECK(t.tablet.read(t.visit).result == VisitResult::renewal);
    sound(t.world);
}
