// SPDX-License-Identifier: Apache-2.0
// What a person at the centre decides: real stores and the real engine over the simulated network.
#include <doctest/doctest.h>

#include "protocol/messages.hpp"
#include "sim/world.hpp"
#include "sqlite/database.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr std::int64_t kDayMs = 86'400'000;

/// A territory with one device, whose customer the centre loses sight of and may find again.
struct Office {
    World world;
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    Id<Customer> customer = world.customer(phone);

    explicit Office(const WorldOptions& options = {}) : world(options) { world.settle(); }

    /// The record is another company's, as far as the centre can see, or its own again.
    void show(const RecordId& id, bool here) {
        auto db = sqlite::Database::open(world.server_file(), {});
        auto q = db.prepare("UPDATE record SET tenant = ? WHERE id = ?");
        q.bind(1, std::string(here ? "default" : "elsewhere")).bind(2, id).run();
    }
    std::vector<server::StoredBundle> open_bundles() {
        std::vector<server::StoredBundle> open;
        world.storage().begin_read()->open_bundles(
            "default", [&](const server::StoredBundle& bundle) { open.push_back(bundle); });
        return open;
    }
    Dot only_open() {
        const auto open = open_bundles();
        REQUIRE(open.size() == 1);
        return {open[0].writer, open[0].counter};
    }
    void edit(const std::string& phone_number) {
        REQUIRE(phone.edit(customer).set(&Customer::phone, phone_number).save());
    }
    /// An edit of the lost customer that has waited for a week.
    Dot into_review() {
        show(customer, false);
        edit("+492461123456");
        world.settle();
        world.pass(8 * kDayMs);
        world.settle();
        REQUIRE(phone.store->status(customer).state == SyncState::review);
        return only_open();
    }
    std::optional<Verdict> accept(Dot bundle) {
        const auto verdict = world.engine().accept("default", bundle);
        return verdict ? std::optional(verdict->verdict) : std::nullopt;
    }
    protocol::Reply answer(const std::string& request) {
        const auto answer = world.engine().sync({phone.writer, request});
        REQUIRE(answer.error_code.empty());
        last_answer = answer.archive;
        return decode<protocol::Reply>(answer.archive);
    }
    void take() { REQUIRE(phone.session->take_reply(last_answer).counted); }

    std::string last_answer;
};

}  // namespace

TEST_CASE("an edit of a record that never comes is looked at by a person after a week") {
    Office office;
    World& world = office.world;
    Store& store = *office.phone.store;
    office.show(office.customer, false);
    office.edit("+492461123456");
    world.settle();
    CHECK(store.status(office.customer).state == SyncState::waits);
    CHECK(store.status(office.customer).reasons.at(0).code == "unknown_record");
    world.pass(6 * kDayMs);
    world.settle();
    CHECK(store.status(office.customer).state == SyncState::waits);
    CHECK(office.open_bundles().empty());

    world.pass(kDayMs);
    world.settle();
    CHECK(store.status(office.customer).state == SyncState::review);
    CHECK(store.overview().review == 1);
    CHECK(store.overview().waiting == 0);
    CHECK(store.overview().unreceived_since);
    const auto held = store.held();
    REQUIRE(held.size() == 1);
    CHECK(held[0].state == SyncState::review);
    CHECK(held[0].records.at(0).title == "Molkerei Nord");
    CHECK(held[0].reasons.at(0).code == "unknown_record");
    CHECK(office.open_bundles().at(0).verdict.verdict == Verdict::review);
}

TEST_CASE("a bundle in review is not sent again, and what builds on it waits for it by name") {
    Office office;
    const Dot bundle = office.into_review();
    office.edit("+492461654321");
    office.phone.restart();
    office.world.settle();
    office.world.pass(30 * kDayMs);
    office.world.settle();
    CHECK(office.world.storage().begin_read()->device(office.phone.writer)->receipt ==
          bundle.counter);
    CHECK(office.phone.store->overview().waiting == 1);
    const auto held = office.phone.store->held();
    REQUIRE(held.size() == 2);
    CHECK(held[1].state == SyncState::waits);
    REQUIRE(held[1].waits_for.size() == 1);
    CHECK(held[1].waits_for[0].state == SyncState::review);
    CHECK(held[1].waits_for[0].code == "unknown_record");
    CHECK(held[1].waits_for[0].records.at(0).id == office.customer);
    // Something else goes past it.
    const Id<Customer> other = office.world.customer(office.phone, "Hofkäserei Süd");
    office.world.settle();
    CHECK(office.phone.store->status(other).state == SyncState::confirmed);
}

TEST_CASE("what the office accepts is applied, and all that waited for it follows") {
    Office office;
    const Dot bundle = office.into_review();
    office.edit("+492461654321");
    CHECK(office.accept(bundle) == Verdict::later);  // the record is still not there
    CHECK(office.phone.store->status(office.customer).state == SyncState::review);

    office.show(office.customer, true);
    CHECK(office.accept(bundle) == Verdict::applied);
    CHECK(office.accept(bundle) == std::nullopt);
    CHECK(office.open_bundles().empty());
    office.world.settle();
    CHECK(office.phone.store->status(office.customer).state == SyncState::confirmed);
    CHECK(office.phone.store->held().empty());
    CHECK_FALSE(office.phone.store->overview().unreceived_since);
    CHECK(office.phone.read(office.customer).phone == "+492461654321");
    CHECK(office.world.differences().empty());
    CHECK(office.phone.store->check().empty());
}

TEST_CASE("what the office rejects comes back with its words, and goes again once it is repaired") {
    Office office;
    const Dot bundle = office.into_review();
    CHECK_FALSE(office.world.engine().reject("elsewhere", bundle, "Nicht unser Kunde."));
    REQUIRE(office.world.engine().reject("default", bundle, "Bitte die Nummer prüfen."));
    CHECK(office.open_bundles().size() == 1);  // until it is repaired
    office.world.settle();
    const RecordStatus status = office.phone.store->status(office.customer);
    CHECK(status.state == SyncState::refused);
    REQUIRE(status.reasons.size() == 1);
    CHECK(status.reasons[0].code == "rejected");
    CHECK(sentence(status.reasons[0], Language::german) ==
          "Die Zentrale hat es nicht angenommen: Bitte die Nummer prüfen.");

    office.show(office.customer, true);
    office.edit("+492461777777");
    office.world.settle();
    CHECK(office.phone.store->status(office.customer).state == SyncState::confirmed);
    CHECK(office.open_bundles().empty());
    CHECK(office.world.differences().empty());
}

TEST_CASE("a late verdict is told until the device names the sync that told it") {
    Office office;
    const Dot bundle = office.into_review();
    Device& phone = office.phone;
    // A sync that finds nothing; a copy of it stays in the network.
    const std::string old_request = phone.session->next_request();
    CHECK(office.answer(old_request).verdicts.empty());
    office.take();
    office.show(office.customer, true);
    REQUIRE(office.accept(bundle) == Verdict::applied);

    // The copy arrives: its answer reaches nobody.
    CHECK(office.answer(old_request).verdicts.size() == 1);
    // Neither does this one.
    const std::string request = phone.session->next_request();
    protocol::Reply reply = office.answer(request);
    REQUIRE(reply.verdicts.size() == 1);
    CHECK(reply.verdicts[0].counter == bundle.counter);
    CHECK(reply.verdicts[0].verdict == Verdict::applied);
    CHECK(reply.tag != 0);
    // The same request again; a crash before, and after its answer was taken.
    phone.restart();
    REQUIRE(phone.session->next_request() == request);
    CHECK(office.answer(request).verdicts == reply.verdicts);
    office.take();
    phone.restart();
    CHECK(phone.store->status(office.customer).state == SyncState::confirmed);
    CHECK(phone.store->overview().review == 0);

    // Now the device names that sync, and the centre has nothing left to tell.
    const std::string next = phone.session->next_request();
    CHECK(office.answer(next).verdicts.empty());
    office.take();
    CHECK(office.world.storage().begin_read()->late_verdicts(phone.writer).empty());
    // Copies from long ago change nothing.
    CHECK(office.answer(request).verdicts.empty());
    CHECK(office.answer(old_request).verdicts.empty());
    office.world.settle();
    CHECK(office.world.differences().empty());
}

TEST_CASE(
    "a bundle decided while its own reply was lost gets the decision, and once more in vain") {
    Office office;
    office.show(office.customer, false);
    office.edit("+492461123456");
    office.world.settle();
    office.world.pass(8 * kDayMs);
    Device& phone = office.phone;
    phone.session->begin();
    const std::string request = phone.session->next_request();
    REQUIRE(office.answer(request).verdicts.at(0).verdict == Verdict::review);
    office.show(office.customer, true);
    REQUIRE(office.accept(office.only_open()) == Verdict::applied);
    CHECK(office.answer(request).verdicts.size() == 1);
    office.take();
    CHECK(phone.store->status(office.customer).state == SyncState::confirmed);
    office.world.settle();
    CHECK(office.world.storage().begin_read()->late_verdicts(phone.writer).empty());
    CHECK(office.world.differences().empty());
}

TEST_CASE("an edit the office accepts meets what others wrote meanwhile, and no word is lost") {
    Office office;
    Device& tablet = office.world.device("R17", Role::rep, {"territory/DE-50"});
    office.world.settle();
    office.world.cut(tablet);
    const Dot bundle = office.into_review();
    office.show(office.customer, true);
    REQUIRE(tablet.edit(office.customer).set(&Customer::phone, "+492461999999").save());
    office.world.heal_and_settle();
    REQUIRE(office.accept(bundle) == Verdict::applied);
    office.world.settle();
    const auto conflicts = tablet.store->conflicts();
    REQUIRE(conflicts.size() == 1);
    CHECK(conflicts[0].candidates.size() == 2);
    CHECK(office.world.differences().empty());
}

TEST_CASE("decisions arrive once under lost, cut, repeated and late messages") {
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
        INFO("seed ", seed);
        WorldOptions options;
        options.seed = seed;
        Office office(options);
        World& world = office.world;
        Device& phone = office.phone;
        std::size_t applied = 0, rejected = 0;
        for (int n = 0; n < 4; ++n) {
            const Id<Customer> customer = world.customer(phone, "Molkerei " + std::to_string(n));
            world.settle();
            office.show(customer, false);
            REQUIRE(phone.edit(customer).set(&Customer::phone, "+4924611234").save());
            world.settle();
            world.pass(8 * kDayMs);
            world.faults = {
                .lose_request = 0.2, .lose_reply = 0.3, .repeat = 0.4, .delay = 0.4, .cut = 0.1};
            for (int step = 0; step < 60; ++step) {
                world.step();
                if (step % 10 == 9) phone.restart();
                for (const server::StoredBundle& open : office.open_bundles()) {
                    if (open.verdict.verdict != Verdict::review || world.chance(8) != 0) continue;
                    office.show(customer, true);
                    if (world.chance(2) == 0) {
                        CHECK(office.accept({open.writer, open.counter}) == Verdict::applied);
                        ++applied;
                    } else {
                        CHECK(
                            world.engine().reject("default", {open.writer, open.counter}, "Nein"));
                        ++rejected;
                    }
                }
            }
            world.settle();
            office.show(customer, true);
            world.settle();
        }
        CHECK(applied + rejected > 0);
        CHECK(phone.store->overview().refused == rejected);
        CHECK(world.storage().begin_read()->late_verdicts(phone.writer).empty());
        CHECK(phone.store->check().empty());
    }
}

TEST_CASE("an edit made after its customer had left is decided by the office, and arrives there") {
    World world;
    Device& north = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    const Id<Customer> customer = world.customer(north);
    world.settle();
    world.cut(north);
    world.hand_over(customer, "territory/DE-40");
    world.pass(kDayMs);
    REQUIRE(north.edit(customer).set(&Customer::phone, "+492461123456").save());
    Complaint found;
    found.customer_id = customer;
    found.product_text = "Becher 500 g";
    found.verbatim = "Deckel undicht";
    found.severity = Severity::major;
    const Id<Complaint> leak = north.capture(found);
    world.heal_and_settle();
    CHECK(north.store->overview().review == 2);
    for (const HeldBundle& held : north.store->held()) {
        CHECK(held.state == SyncState::review);
        REQUIRE_FALSE(held.reasons.empty());
        CHECK(held.reasons[0].code == "not_in_scope");
    }
    CHECK_FALSE(south.store->find(leak));

    std::vector<Dot> open;
    world.storage().begin_read()->open_bundles("default", [&](const server::StoredBundle& bundle) {
        open.push_back({bundle.writer, bundle.counter});
    });
    REQUIRE(open.size() == 2);
    for (const Dot& bundle : open) {
        const auto verdict = world.engine().accept("default", bundle);
        REQUIRE(verdict);
        CHECK(verdict->verdict == Verdict::applied);
    }
    world.settle();
    CHECK(north.store->held().empty());
    CHECK(north.store->overview().review == 0);
    CHECK_FALSE(north.store->overview().unreceived_since);
    CHECK(south.read(customer).phone == "+492461123456");
    CHECK(south.read(leak).verbatim == "Deckel undicht");
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
    for (const Device* device : {&north, &south}) CHECK(device->store->check().empty());
}
