// SPDX-License-Identifier: Apache-2.0
// Customers that go to another territory, with real stores, sessions and engine.
#include <doctest/doctest.h>

#include <algorithm>

#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr const char* kNorth = "territory/DE-50";
constexpr const char* kSouth = "territory/DE-40";

Note a_note(const RecordId& subject, const std::string& text) {
    Note n;
    n.subject_id = AnyId(subject);
    n.text = text;
    return n;
}

/// Two reps of neighbouring territories.
struct Territories : World {
    explicit Territories(const WorldOptions& options = {}) : World(options) {}
    Device& north = device("R17", Role::rep, {kNorth});
    Device& south = device("R23", Role::rep, {kSouth});
    Id<Customer> customer = World::customer(north);

    void converged() {
        for (const std::string& difference : differences()) FAIL_CHECK(difference);
        for (const auto& device : devices())
            for (const std::string& finding : device->store->check())
                FAIL_CHECK(device->name << ": " << finding);
    }
    std::size_t count(Device& device, const Kind& kind) {
        Query query;
        query.kind = &kind;
        return device.store->count(query);
    }
};

/// The counter of the one bundle that waits for a person.
std::uint64_t north_bundle(Territories& world) {
    std::uint64_t counter = 0;
    world.storage().begin_read()->open_bundles("default", [&](const server::StoredBundle& bundle) {
        if (bundle.verdict.verdict == Verdict::review) counter = bundle.counter;
    });
    return counter;
}

}  // namespace

TEST_CASE("a customer goes to another territory with what hangs on it, and with nothing else") {
    Territories world;
    Device &north = world.north, &south = world.south;
    const Id<Customer> stays = world.World::customer(north, "Molkerei Bleibt");
    const Id<Complaint> other = north.capture(a_complaint(stays));
    const Id<Visit> visit = north.capture(a_visit(world.customer));
    Complaint found = a_complaint(world.customer);
    found.visit_id = visit;
    const Id<Complaint> leak = north.capture(found);
    const Id<Note> note = north.capture(a_note(leak, "Charge 4711"));
    Task own;
    own.subject_id = AnyId(world.customer);
    own.text = "Anrufen";
    const Id<Task> task = north.capture(own);
    expect(north.last);
    world.settle();
    REQUIRE(south.store->find(leak) == std::nullopt);

    world.hand_over(world.customer, kSouth);
    world.settle();
    for (const RecordId& id :
         {RecordId(world.customer), RecordId(visit), RecordId(leak), RecordId(note)}) {
        CHECK_FALSE(north.store->find(id));
        REQUIRE(south.store->find(id));
        CHECK(south.store->find(id)->scope == kSouth);
        CHECK(world.server_state(id).move == 1);
    }
    CHECK(south.read(leak).verbatim == "Deckel undicht");
    CHECK(north.store->find(other));
    CHECK(north.store->find(stays));
    CHECK(north.store->find(task));
    CHECK_FALSE(south.store->find(task));
    CHECK(world.count(north, kind_of<Complaint>()) == 1);
    CHECK(world.server_state(task).move == 0);
    world.converged();
}

TEST_CASE("what a copy of the file makes once more after it was handed over leaves the copy too") {
    Territories world;
    Device &north = world.north, &south = world.south;
    Device& both = world.device("R3", Role::rep, {kNorth, kSouth});
    const Id<Customer> customer = world.World::customer(north, "Molkerei Geht");
    const Id<Visit> visit = north.capture(a_visit(customer));
    Device& copy = world.clone(north);
    const Id<Customer> further = world.World::customer(both, "Molkerei Wandert");
    Device& second = world.clone(both);
    for (Device* device : {&copy, &second}) world.cut(*device);
    world.settle();
    for (const Id<Customer>& id : {customer, further}) world.hand_over(id, kSouth);
    // Before their origin has synced: what it sends then could be captured no earlier.
    world.heal();
    for (Device* device : {&north, &both}) world.cut(*device);
    world.settle();
    world.heal_and_settle();
    for (Device* device : {&north, &copy}) {
        CAPTURE(device->name);
        CHECK_FALSE(device->store->find(customer));
        CHECK_FALSE(device->store->find(visit));
    }
    for (Device* device : {&south, &both, &second}) {
        REQUIRE(device->store->find(further));
        CHECK(device->store->find(further)->scope == kSouth);
    }
    for (Device* device : {&north, &copy, &both, &second}) {
        CHECK(device->store->overview().refused == 0);
        CHECK(device->store->overview().queued == 0);
    }
    CHECK(world.server_state(customer).scope == kSouth);
    world.converged();
}

TEST_CASE("refused work on a record that departed can be repaired, or dropped, by its author") {
    Territories world;
    Device &north = world.north, &south = world.south;
    Customer known;
    known.name = "Käserei Süd";
    known.external_ids = {ExternalId{"erp", "4711"}};
    south.capture(known);
    world.settle();
    expect(north.edit(world.customer)
               .set(&Customer::external_ids, AddWins<ExternalId>{ExternalId{"erp", "4711"}})
               .set(&Customer::remarks, "nur hier")
               .save());
    const Id<Customer> other = world.World::customer(north, "Molkerei Bleibt");
    world.settle();
    REQUIRE(north.store->overview().refused == 1);
    world.hand_over(world.customer, kSouth);
    world.settle();
    REQUIRE_FALSE(north.store->find(world.customer));
    REQUIRE(north.store->held().size() == 1);  // and it is still told
    CHECK(north.store->held()[0].records[0].id == world.customer);
    std::string exported;
    north.store->export_records(nullptr, true, [&](const std::string& json) { exported += json; });
    CHECK(exported.find("nur hier") != std::string::npos);
    CHECK(north.edit(other).set(&Customer::remarks, "bleibt").save());

    SUBCASE("repaired: it was captured after the hand-over now, so a person decides") {
        expect(north.edit(world.customer)
                   .set(&Customer::external_ids, AddWins<ExternalId>{ExternalId{"erp", "4712"}})
                   .save());
        world.settle();
        CHECK(north.store->overview().review == 1);
        CHECK(north.store->held()[0].reasons[0].code == "not_in_scope");
        REQUIRE(world.engine().accept("default", {north.writer, north_bundle(world)}));
        world.settle();
        CHECK(north.store->overview().review == 0);
        CHECK(south.read(world.customer).remarks.text() == "nur hier");
    }
    SUBCASE("dropped") {
        north.store->discard(world.customer);
        CHECK(north.store->held().empty());
        CHECK_THROWS_AS(north.store->discard(world.customer), Error);
        CHECK_FALSE(north.edit(world.customer).set(&Customer::remarks, "zu spät").save());
        world.settle();
        CHECK(south.read(world.customer).remarks.text().empty());
    }
    CHECK_FALSE(north.store->find(world.customer));
    world.converged();
}

TEST_CASE("refused work that something else needs is not dropped") {
    Territories world;
    Device& north = world.north;
    Customer known;
    known.name = "Käserei Süd";
    known.external_ids = {ExternalId{"erp", "4711"}};
    world.south.capture(known);
    world.settle();
    known.name = "Käserei Nord";
    const Id<Customer> twin = north.capture(known);
    world.settle();
    REQUIRE(north.store->status(twin).state == SyncState::refused);
    const Id<Complaint> leak = north.capture(a_complaint(twin));
    CHECK_THROWS_AS(north.store->discard(twin), Error);  // the complaint names it
    CHECK(north.store->find(twin));
    expect(north.edit(twin)
               .set(&Customer::external_ids, AddWins<ExternalId>{ExternalId{"erp", "4712"}})
               .save());
    world.settle();
    CHECK(world.south.store->find(leak) == std::nullopt);
    CHECK(north.store->status(leak).state == SyncState::confirmed);
    CHECK_THROWS_AS(north.store->discard(leak), Error);
    world.converged();
}

TEST_CASE("what is captured while a customer moves lives where it lives now") {
    Territories world;
    Device &north = world.north, &south = world.south;
    Device& office = world.device("Q1", Role::qm, {"territory/*"});
    const Id<Complaint> leak = north.capture(a_complaint(world.customer));
    world.settle();
    world.hand_over(world.customer, kSouth);  // the complaint has not followed yet
    const Id<Note> note = office.capture(a_note(leak, "Muster angefordert"));
    expect(office.last);
    for (int requests = 0; requests < 3; ++requests) {
        const auto answer = world.engine().sync({office.writer, office.session->next_request()});
        REQUIRE(answer.error_code.empty());
        office.session->take_reply(answer.archive);
    }
    CHECK(world.server_state(leak).scope == kNorth);
    CHECK(world.server_state(note).scope == kSouth);
    world.settle();
    CHECK(world.server_state(leak).scope == kSouth);
    CHECK(south.store->find(note));
    CHECK_FALSE(north.store->find(note));
    world.converged();
}

TEST_CASE("three thousand visits move in bounded commits, also when the server is killed between") {
    Territories world;
    constexpr int kVisits = 3000, kInBundle = 250;
    for (int i = 0; i < kVisits / kInBundle; ++i) {
        Bundling bundle = world.north.store->bundle();
        for (int n = 0; n < kInBundle; ++n) bundle.add(a_visit(world.customer));
        expect(bundle.save());
    }
    world.settle();
    const std::uint64_t before = world.storage().begin_read()->feed_head("default");
    world.hand_over(world.customer, kSouth);
    CHECK(world.engine().carry_on() > 0);
    world.restart_server();
    while (world.engine().carry_on() > 0) {
    }
    const auto snapshot = world.storage().begin_read();
    const std::uint64_t after = snapshot->feed_head("default");
    CHECK(after - before >= 6);
    std::map<std::uint64_t, std::size_t> sizes;
    for (const auto& departure : snapshot->departed("default", kNorth, 0, 10'000))
        ++sizes[departure.commit];
    std::size_t departed = 0;
    for (const auto& [commit, size] : sizes) {
        CHECK(size <= 500);
        departed += size;
    }
    CHECK(departed == kVisits + 1);
    CHECK(snapshot->open_moves("default").empty());
    world.settle();
    CHECK(world.count(world.north, kind_of<Visit>()) == 0);
    CHECK(world.count(world.south, kind_of<Visit>()) == kVisits);
}

TEST_CASE("a customer goes there and back, and everybody has what is theirs") {
    Territories world;
    Device &north = world.north, &south = world.south;
    const Id<Complaint> leak = north.capture(a_complaint(world.customer));
    Device& both = world.device("M1", Role::mgr, {kNorth, kSouth});
    world.settle();
    SUBCASE("seen by all on the way") {
        world.hand_over(world.customer, kSouth);
        world.settle();
        world.hand_over(world.customer, kNorth);
    }
    SUBCASE("seen by nobody on the way") {
        world.hand_over(world.customer, kSouth);
        while (world.engine().carry_on() > 0) {
        }
        world.hand_over(world.customer, kNorth);
    }
    SUBCASE("before its records had followed") {
        world.hand_over(world.customer, kSouth);
        world.hand_over(world.customer, kNorth);
    }
    world.settle();
    CHECK(world.server_state(world.customer).move == 2);
    CHECK(north.read(leak).verbatim == "Deckel undicht");
    CHECK(both.read(leak).verbatim == "Deckel undicht");
    CHECK_FALSE(south.store->find(leak));
    CHECK_FALSE(south.store->find(world.customer));
    expect(north.edit(leak).set(&Complaint::description, "wieder da").save());
    world.settle();
    CHECK(both.read(leak).description.text() == "wieder da");
    world.converged();
}

TEST_CASE("all customers of a territory go, those that come meanwhile too") {
    Territories world;
    Device &north = world.north, &south = world.south;
    std::vector<Id<Customer>> customers{world.customer};
    for (int i = 0; i < 120; ++i)
        customers.push_back(world.World::customer(north, "Kunde " + std::to_string(i)));
    for (const Id<Customer>& each : customers) north.capture(a_complaint(each));
    world.settle();
    REQUIRE_FALSE(world.engine().begin("default", {{}, kNorth, kSouth}));
    const auto crossing = world.engine().begin("default", {{}, kSouth, kNorth});
    REQUIRE(crossing);
    CHECK(crossing->code == "under_way");
    REQUIRE(world.engine().carry_on() > 0);
    const Id<Customer> late = world.World::customer(north, "Kunde spät");
    for (int requests = 0; requests < 2; ++requests)
        north.session->take_reply(
            world.engine().sync({north.writer, north.session->next_request()}).archive);
    world.settle();
    customers.push_back(late);
    for (const Id<Customer>& each : customers) {
        CHECK_FALSE(north.store->find(each));
        CHECK(south.store->find(each));
    }
    CHECK(world.count(south, kind_of<Complaint>()) == 121);
    CHECK(world.count(north, kind_of<Complaint>()) == 0);
    world.converged();
}

TEST_CASE("a hand-over of what is no customer or to what is no territory says why not") {
    Territories world;
    const Id<Complaint> leak = world.north.capture(a_complaint(world.customer));
    world.settle();
    const auto code = [&](const server::Engine::HandOver& wanted) {
        const auto refused = world.engine().begin("default", wanted);
        return refused ? refused->code : "begun";
    };
    CHECK(code({RecordId(leak), {}, kSouth}) == "unknown_record");
    CHECK(code({RecordId(world.customer), {}, "global"}) == "malformed");
    CHECK(code({RecordId(world.customer), {}, "territory/*"}) == "malformed");
    CHECK(code({RecordId{}, kSouth, kSouth}) == "malformed");
    CHECK(code({RecordId(world.customer), {}, kNorth}) == "begun");
    CHECK(world.server_state(world.customer).move == 0);
}

TEST_CASE("who worked on what departed sees kind, id, date and where it is, and nobody else does") {
    Territories world;
    Device &north = world.north, &south = world.south;
    Device& colleague = world.device("R18", Role::rep, {kNorth});
    Complaint reported = a_complaint(world.customer);
    const Instant received(TimePoint(Milliseconds(1'772'000'000'000)));
    reported.received_at = received;
    const Id<Complaint> leak = north.capture(reported);
    world.settle();
    world.hand_over(world.customer, kSouth);
    world.settle();
    const auto find = [&](Device& device) {
        const auto departed = device.store->departed();
        const auto at = std::find_if(departed.begin(), departed.end(),
                                     [&](const Departed& d) { return d.id == leak; });
        REQUIRE(at != departed.end());
        return *at;
    };
    CHECK(find(north).kind == &kind_of<Complaint>());
    CHECK(find(north).scope == kSouth);
    REQUIRE(find(north).at);
    CHECK(find(north).at->packed() == received.packed());
    CHECK(find(colleague).scope.empty());
    CHECK(north.store->overview().departed == 2);
    CHECK(south.store->overview().departed == 0);
    CHECK(north.store->departed(1).size() == 1);

    world.hand_over(world.customer, kNorth);
    world.settle();
    CHECK(north.store->departed().empty());
    CHECK(south.store->overview().departed == 2);
}

TEST_CASE("a departed row goes after a month, unless it has unsent work") {
    Territories world;
    Device &north = world.north, &south = world.south;
    const Id<Complaint> leak = north.capture(a_complaint(world.customer));
    const Id<Customer> stays = world.World::customer(north, "Molkerei Bleibt");
    world.settle();
    world.cut(north);
    world.hand_over(world.customer, kSouth);
    world.settle();
    Bundling draft = north.store->bundle();
    draft.change(north.edit(leak).set(&Complaint::description, "noch nicht fertig"));
    REQUIRE(draft.save_draft());
    world.heal_and_settle();
    const auto held = [&](const RecordId& id) {
        const Store::Core::Reading reading(north.store->core());
        return load_row(reading.db, id).has_value();
    };
    for (int i = 0; i < 10; ++i) {
        CHECK(held(world.customer));
        world.pass(3 * 86'400'000);
        expect(north.edit(stays).set(&Customer::phone, "+4924219" + std::to_string(10 + i)).save());
        world.settle();
    }
    world.pass(86'400'000);
    world.settle();
    CHECK_FALSE(held(world.customer));
    CHECK(held(leak));
    CHECK(north.store->departed().size() == 2);
    CHECK_FALSE(north.store->find(leak));
    CHECK(south.store->find(leak));
    world.converged();
}

TEST_CASE("unsent work on what has left arrives in its new home, and its author sees where") {
    Territories world;
    Device &north = world.north, &south = world.south;
    const Id<Complaint> leak = north.capture(a_complaint(world.customer));
    world.settle();
    world.cut(north);
    expect(north.edit(leak).set(&Complaint::description, "zwei Paletten").save());
    Bundling bundle = north.store->bundle();
    const Id<Visit> visit = bundle.add(a_visit(world.customer));
    Complaint second = a_complaint(world.customer, "Naht offen");
    second.visit_id = visit;
    const Id<Complaint> found = bundle.add(second);
    expect(bundle.save());
    const Id<Note> note = north.capture(a_note(leak, "Charge 4711"));
    world.pass(60'000);
    world.hand_over(world.customer, kSouth);
    world.pass(60'000);
    world.heal_and_settle();

    CHECK(south.read(leak).description.text() == "zwei Paletten");
    CHECK(south.read(found).verbatim == "Naht offen");
    CHECK(south.store->find(visit));
    CHECK(south.read(note).text == "Charge 4711");
    for (const RecordId& id : {RecordId(leak), RecordId(visit), RecordId(found), RecordId(note)}) {
        CHECK(world.server_state(id).scope == kSouth);
        CHECK(world.server_state(id).move == 1);
        CHECK_FALSE(north.store->find(id));
        CHECK(north.store->status(id).state == SyncState::confirmed);
    }
    CHECK_FALSE(north.store->overview().unreceived_since);
    const auto departed = north.store->departed();
    CHECK(departed.size() == 5);
    for (const Departed& d : departed) CHECK(d.scope == kSouth);
    {
        const Store::Core::Reading reading(north.store->core());
        CHECK(from_record<Complaint>(load_row(reading.db, leak)->record()).description.text() ==
              "zwei Paletten");
    }
    world.converged();
}

TEST_CASE("work captured after the customer had left waits for a person, and nothing is lost") {
    Territories world;
    Device &north = world.north, &south = world.south;
    const Id<Complaint> leak = north.capture(a_complaint(world.customer));
    const Id<Customer> stays = world.World::customer(north, "Molkerei Bleibt");
    world.settle();
    world.cut(north);
    world.hand_over(world.customer, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    world.pass(3'600'000);
    expect(north.edit(leak).set(&Complaint::description, "zu spät").save());
    const Id<Complaint> late = north.capture(a_complaint(world.customer, "auch zu spät"));
    const Id<Complaint> fine = north.capture(a_complaint(stays));
    world.heal_and_settle();
    CHECK(north.store->status(fine).state == SyncState::confirmed);
    for (const RecordId& id : {RecordId(leak), RecordId(late)}) {
        const RecordStatus status = north.store->status(id);
        CHECK(status.state != SyncState::confirmed);
        REQUIRE(status.reasons.size() == 1);
        CHECK(status.reasons[0].code == "not_in_scope");
    }
    std::string unsent;
    north.store->export_records(nullptr, true, [&](const std::string& json) { unsent += json; });
    CHECK(unsent.find("auch zu spät") != std::string::npos);
    CHECK(unsent.find("\"zu spät\"") != std::string::npos);
    CHECK(south.read(leak).description.text().empty());
    CHECK_FALSE(south.store->find(late));
    CHECK(north.store->overview().unreceived_since);
}

TEST_CASE("what a copy made too late and was accepted where it is now leaves its origin too") {
    Territories world;
    Device& north = world.north;
    world.settle();
    world.cut(north);
    world.hand_over(world.customer, kSouth);
    while (world.engine().carry_on() > 0) {
    }
    world.pass(3'600'000);
    const Id<Complaint> late = north.capture(a_complaint(world.customer));
    Device& copy = world.clone(north);
    world.cut(copy);
    world.north.online = true;
    world.settle();
    world.heal_and_settle();
    REQUIRE(copy.writer != north.writer);
    REQUIRE(north.store->overview().review == 1);
    REQUIRE(copy.store->overview().review == 1);
    world.give_scopes(copy, {kSouth});
    for (Device* device : {&copy, &north}) {
        std::optional<Dot> bundle;
        world.storage().begin_read()->open_bundles("default", [&](const server::StoredBundle& b) {
            if (b.writer == device->writer) bundle = Dot{b.writer, b.counter};
        });
        REQUIRE(bundle);
        REQUIRE(world.engine().accept("default", *bundle)->verdict == Verdict::applied);
    }
    world.settle();
    CHECK(copy.store->find(late));
    CHECK_FALSE(north.store->find(late));
    world.converged();
}

namespace {

void merge_customers(Device& office, const RecordId& lost, const RecordId& into) {
    expect(office.store->request_state(lost, "merged", "", {{"merged_into", into.text()}}));
}

std::set<std::string> live(World& world, const RecordId& id, const char* field) {
    std::set<std::string> values;
    const RecordState state = world.server_state(id);
    if (const auto at = state.fields.find(kind_of<Customer>().field(field)->number);
        at != state.fields.end())
        for (const LiveValue& l : at->second.live) values.insert(*l.value.text());
    return values;
}

RecordId root_of(World& world, const RecordId& id) {
    return world.storage().begin_read()->record("default", id)->root;
}

}  // namespace

TEST_CASE("every later edit of a merged customer goes to the one it was merged into") {
    Territories world;
    Device& north = world.north;
    Device& office = world.device("M1", Role::mgr, {kNorth});
    const Id<Customer> lost = world.customer;
    Customer other;
    other.name = "Molkerei Nord GmbH";
    other.phone = "+492421100";
    const Id<Customer> kept = north.capture(other);
    const Id<Complaint> before = north.capture(a_complaint(lost));
    world.settle();
    world.cut(north);
    expect(north.edit(lost)
               .set(&Customer::phone, "+492421555")
               .set(&Customer::remarks, "nur vormittags")
               .save());
    const Id<Complaint> after = north.capture(a_complaint(lost, "Naht offen"));
    merge_customers(office, lost, kept);
    world.settle();
    REQUIRE(office.read(lost).state == CustomerState::merged);
    world.heal_and_settle();

    CHECK(live(world, kept, "phone") == std::set<std::string>{"+492421100", "+492421555"});
    CHECK(live(world, lost, "phone").empty());
    CHECK(office.read(kept).remarks.text() == "nur vormittags");
    REQUIRE(north.store->conflicts().size() == 1);
    CHECK(north.store->conflicts()[0].record == RecordId(kept));
    CHECK_FALSE(north.read(lost).phone == "+492421555");
    for (const Id<Complaint>& each : {before, after}) {
        CHECK(root_of(world, each) == RecordId(kept));
        CHECK(office.read(each).customer_id == lost);
    }
    expect(north.store->resolve(north.store->conflicts()[0].id, Keep::mine));
    world.settle();
    CHECK(live(world, kept, "phone") == std::set<std::string>{"+492421555"});

    // One edit before the merge and one after it, in one request.
    const Id<Customer> third = world.World::customer(office, "Molkerei West");
    world.settle();
    expect(office.edit(third).set(&Customer::phone, "+49201001").save());
    merge_customers(office, third, kept);
    Bundling later = office.store->bundle();  // of two records, so that it joins no earlier one
    later.change(office.edit(third).set(&Customer::phone, "+49201002"));
    later.change(office.edit(kept).set(&Customer::email, "post@nord.example"));
    expect(later.save());
    world.settle();
    CHECK(live(world, third, "phone") == std::set<std::string>{"+49201001"});
    CHECK(live(world, kept, "phone") == std::set<std::string>{"+492421555", "+49201002"});
    CHECK(office.read(third).phone == "+49201001");

    // Again and again, and with both in one bundle.
    expect(north.edit(lost).set(&Customer::website, "https://a.example").save());
    expect(north.edit(lost).set(&Customer::website, "https://b.example").save());
    Bundling both = north.store->bundle();
    both.change(north.edit(lost).set(&Customer::industry, "10.51"));
    both.change(north.edit(kept).set(&Customer::industry, "10.52"));
    expect(both.save());
    world.settle();
    CHECK(live(world, kept, "website") == std::set<std::string>{"https://b.example"});
    CHECK(live(world, kept, "industry") == std::set<std::string>{"10.51", "10.52"});
    world.converged();
}

TEST_CASE("a merge that the office accepts brings along what hangs on the customer") {
    Territories world;
    Device& office = world.device("M1", Role::mgr, {kNorth});
    const Id<Customer> lost = world.customer;
    const Id<Customer> kept = world.World::customer(world.north, "Molkerei Nord GmbH");
    const Id<Complaint> leak = world.north.capture(a_complaint(lost));
    world.settle();
    world.cut(office);
    world.hand_over(lost, kSouth);
    world.pass(86'400'000);
    merge_customers(office, lost, kept);
    world.heal_and_settle();
    REQUIRE(office.store->overview().review == 1);
    Dot merge;
    world.storage().begin_read()->open_bundles("default", [&](const server::StoredBundle& bundle) {
        merge = {bundle.writer, bundle.counter};
    });
    const auto verdict = world.engine().accept("default", merge);
    REQUIRE(verdict);
    REQUIRE(verdict->verdict == Verdict::applied);
    world.settle();
    CHECK(root_of(world, leak) == RecordId(kept));
    CHECK(world.north.read(leak).customer_id == lost);
    CHECK_FALSE(world.south.store->find(leak));
}

TEST_CASE("a customer merged into one of another territory goes there with its records") {
    Territories world;
    Device &north = world.north, &south = world.south;
    Device& office = world.device("M1", Role::mgr, {"territory/*"});
    const Id<Customer> lost = world.customer;
    const Id<Customer> kept = world.World::customer(south, "Molkerei Süd");
    const Id<Customer> third = world.World::customer(south, "Molkerei Ganz Süd");
    const Id<Complaint> before = north.capture(a_complaint(lost));
    world.settle();
    world.cut(north);
    expect(north.edit(lost).set(&Customer::phone, "+492421555").save());
    const Id<Complaint> after = north.capture(a_complaint(lost, "Naht offen"));
    world.pass(60'000);
    merge_customers(office, lost, kept);
    world.settle();
    merge_customers(office, kept, third);
    world.settle();
    world.heal_and_settle();

    CHECK(live(world, third, "phone") == std::set<std::string>{"+492421555"});
    for (const Id<Complaint>& each : {before, after}) {
        CHECK(root_of(world, each) == RecordId(third));
        CHECK(south.read(each).customer_id == lost);
        CHECK_FALSE(north.store->find(each));
    }
    CHECK(south.read(lost).merged_into == kept);
    CHECK_FALSE(north.store->find(lost));
    CHECK(north.store->departed().size() >= 3);

    Query complaints;
    complaints.kind = &kind_of<Complaint>();
    complaints.where = {{"customer_id", Compare::equal, Value(third.raw())}};
    CHECK(south.store->count(complaints) == 2);
    complaints.where = {{"customer_id", Compare::equal, Value(lost.raw())}};
    CHECK(south.store->count(complaints) == 2);

    // Whoever moves takes along what was merged into it.
    world.hand_over(third, kNorth);
    world.settle();
    for (const RecordId& id : {RecordId(lost), RecordId(kept), RecordId(before), RecordId(after)})
        CHECK(world.server_state(id).scope == kNorth);
    CHECK(north.read(after).verbatim == "Naht offen");
    const auto refused = world.engine().begin("default", {lost, {}, kSouth});
    REQUIRE(refused);
    CHECK(refused->code == "merged");
    world.converged();
}

TEST_CASE("what left between two pages of a pull takes its staged state along") {
    WorldOptions options;
    options.limits.reply_records_max = 1;
    Territories world(options);
    Device& north = world.north;
    Device& tablet = world.device("R17", Role::rep, {kNorth});
    const auto exchange = [&](Device& device) {
        world.pass(20);
        const auto answer = world.engine().sync({device.writer, device.session->next_request()});
        REQUIRE(answer.error_code.empty());
        return device.session->take_reply(answer.archive).done;
    };
    Task first;
    first.text = "Anrufen";
    tablet.capture(first);  // so that the stream of the person is there
    world.settle();
    for (int i = 0; i < 3; ++i) tablet.capture(first);
    while (!exchange(tablet)) {
    }
    expect(north.edit(world.customer).set(&Customer::phone, "+49201001").save());
    REQUIRE_FALSE(exchange(north));  // the customer is staged, without the bytes of the phone
    expect(north.edit(world.customer).set(&Customer::phone, "+49201002").save());
    world.pass(1000);
    world.hand_over(world.customer, kSouth);
    while (!exchange(north)) {
    }
    CHECK_FALSE(north.store->find(world.customer));
    world.settle();
    CHECK(world.south.read(world.customer).phone == "+49201002");
    world.converged();
}
