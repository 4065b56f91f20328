// SPDX-License-Identifier: Apache-2.0
// The server or a device file restored from a copy, or a file copied to a second device.
#include <doctest/doctest.h>

#include <algorithm>

#include "protocol/messages.hpp"
#include "server/recovery.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

Complaint a_complaint(const Id<Customer>& customer, const std::string& words = "Deckel undicht") {
    Complaint c;
    c.customer_id = customer;
    c.product_text = "Becher 500 g";
    c.verbatim = words;
    c.severity = Severity::major;
    return c;
}

void expect(const Captured& captured) {
    for (const Refusal& refusal : captured.refusals)
        FAIL_CHECK(refusal.field << " " << refusal.code << ": " << refusal.sentence);
}

void check_converged(World& world) {
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
}

std::vector<std::string> notes(World& world) {
    std::vector<std::string> codes;
    for (const auto& note : world.storage().begin_read()->recovery_notes("default"))
        codes.push_back(note.code + (note.field.empty() ? "" : ":" + note.field));
    std::sort(codes.begin(), codes.end());
    return codes;
}

std::size_t count(World& world, const Kind& kind) {
    return world.storage().begin_read()->count("default", kind.number);
}

// One exchange; returns whether the device is done.
bool exchange(World& world, Device& device) {
    const auto answer = world.engine().sync({device.writer, device.session->next_request()});
    REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_code, ": ", answer.error_sentence);
    return device.take(answer.archive).done;
}

}  // namespace

TEST_CASE("what was acknowledged after the backup comes back from the devices that saw it") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    Device& office = world.device("Q1", Role::qm, {"territory/*"});
    const Id<Customer> dairy = world.customer(phone);
    const Id<Complaint> old = phone.capture(a_complaint(dairy, "vor der Sicherung"));
    world.settle();
    const std::string backup = world.back_up_server();

    const Id<Complaint> leak = phone.capture(a_complaint(dairy, "nach der Sicherung"));
    expect(phone.edit(old).set(&Complaint::description, "vom Telefon").save());
    world.settle();
    expect(tablet.edit(old).set(&Complaint::description, "vom Tablet ersetzt").save());
    expect(office.store->request_state(leak, "acknowledged", "", {}));
    world.settle();
    REQUIRE(phone.read(leak).state == ComplaintState::acknowledged);
    const auto number = phone.read(leak).number;
    REQUIRE(number);
    const RecordState before = world.server_state(leak), old_before = world.server_state(old);

    world.restore_server(backup);
    REQUIRE_FALSE(world.storage().begin_read()->record("default", leak));

    SUBCASE("from whoever comes first") {
        CHECK_FALSE(exchange(world, tablet));
        world.settle();
    }
    SUBCASE("with new work of everybody on top") {
        expect(phone.edit(leak).set(&Complaint::description, "neu").save());
        expect(office.edit(leak).set(&Complaint::defect_code, "leak").save());
        world.settle();
        CHECK(tablet.read(leak).description.text() == "neu");
        CHECK(tablet.read(leak).defect_code == "leak");
    }
    for (Device* device : {&phone, &tablet, &office}) {
        CHECK(device->read(leak).verbatim == "nach der Sicherung");
        CHECK(device->read(leak).state == ComplaintState::acknowledged);
        CHECK(device->read(leak).number == number);
        CHECK(device->read(old).description.text() == "vom Tablet ersetzt");
        CHECK(device->store->check().empty());
        CHECK(device->writer < 1010);  // nobody forked
    }
    CHECK(count(world, kind_of<Complaint>()) == 2);
    CHECK(count(world, kind_of<StateRequest>()) == 1);
    check_converged(world);
    // What only the server writes came back from a device, which an administrator may look at.
    const auto codes = notes(world);
    CHECK(std::count(codes.begin(), codes.end(), "server_field:state") > 0);
    // Numbers that people know are not given twice.
    const Id<Complaint> next = phone.capture(a_complaint(dairy, "danach"));
    world.settle();
    CHECK(phone.read(next).number != number);
    // The server goes on: stamps, streams and roots.
    const auto stored = world.storage().begin_read()->record("default", leak);
    CHECK(stored->root == dairy);
}

TEST_CASE("a value that was replaced before the server was restored does not come back") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    expect(phone.edit(dairy).set(&Customer::legal_name, "alt").save());
    world.settle();
    const std::string backup = world.back_up_server();
    expect(tablet.edit(dairy).set(&Customer::legal_name, "neu").save());
    world.settle();
    world.restore_server(backup);
    world.settle();
    CHECK(phone.read(dairy).legal_name == "neu");
    CHECK(phone.store->conflicts().empty());
    check_converged(world);
}

TEST_CASE("an answer that was lost with the server's memory is asked for again, and counts once") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string backup = world.back_up_server();
    expect(phone.edit(dairy).set(&Customer::remarks, "eins").save());
    world.engine().sync({phone.writer, phone.session->next_request()});  // the reply is lost
    world.cut(phone);
    world.settle();
    REQUIRE(tablet.read(dairy).remarks.text() == "eins");
    world.restore_server(backup);
    SUBCASE("its author comes first") { world.heal(); }
    SUBCASE("a witness comes first") {
        world.settle();
        world.heal();
    }
    world.settle();
    CHECK(phone.read(dairy).remarks.siblings == std::vector<std::string>{"eins"});
    CHECK(phone.store->overview().sent == 0);
    check_converged(world);
}

TEST_CASE("a server restored to before anybody synced gets everything back") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const std::string backup = world.back_up_server();
    const Id<Customer> dairy = world.customer(phone);
    std::vector<Id<Complaint>> complaints;
    for (int i = 0; i < 30; ++i)
        complaints.push_back(phone.capture(a_complaint(dairy, "Nr. " + std::to_string(i))));
    world.settle();
    world.restore_server(backup);
    world.settle();
    CHECK(count(world, kind_of<Complaint>()) == 30);
    CHECK(tablet.read(complaints[29]).verbatim == "Nr. 29");
    check_converged(world);
}

TEST_CASE("offers are cut into requests of bounded size") {
    WorldOptions options;
    options.limits.version = 2;
    options.limits.request_bytes_max = 4'000;
    World world(options);
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string backup = world.back_up_server();
    for (int i = 0; i < 40; ++i) phone.capture(a_complaint(dairy, "Nr. " + std::to_string(i)));
    world.settle();
    world.restore_server(backup);
    world.cut(phone);
    int requests = 0;
    for (bool done = false; !done; ++requests) {
        const std::string archive = tablet.session->next_request();
        CHECK(archive.size() < 4'000);
        tablet.restart();  // killed before the reply; the same request goes again
        CHECK(tablet.session->next_request() == archive);
        done = exchange(world, tablet);
        REQUIRE(requests < 200);
    }
    CHECK(requests > 5);
    world.heal_and_settle();
    CHECK(count(world, kind_of<Complaint>()) == 40);
    check_converged(world);
}

TEST_CASE("a hand-over that the server has forgotten is learnt from where the customer went") {
    World world;
    Device& north = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    const Id<Customer> dairy = world.customer(north);
    const Id<Complaint> leak = north.capture(a_complaint(dairy));
    world.settle();
    const std::string backup = world.back_up_server();
    world.hand_over(dairy, "territory/DE-40");
    world.settle();
    expect(south.edit(leak).set(&Complaint::description, "im Süden").save());
    world.settle();
    REQUIRE_FALSE(north.store->find(leak));
    world.restore_server(backup);
    SUBCASE("the old territory comes first") {
        world.cut(south);
        world.settle();
        CHECK(north.store->find(leak));  // nobody has told the server of the hand-over yet
    }
    SUBCASE("the new territory comes first") {
        world.cut(north);
        world.settle();
    }
    world.heal_and_settle();
    CHECK_FALSE(north.store->find(leak));
    CHECK_FALSE(north.store->find(dairy));
    CHECK(south.read(leak).description.text() == "im Süden");
    CHECK(world.storage().begin_read()->record("default", leak)->root == dairy);
    check_converged(world);
}

TEST_CASE("the last words about a record that was handed over survive the server") {
    World world;
    Device& north = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    const Id<Customer> dairy = world.customer(north);
    world.settle();
    const std::string backup = world.back_up_server();
    expect(north.edit(dairy).set(&Customer::remarks, "letzte Worte").save());
    world.settle();
    world.hand_over(dairy, "territory/DE-40");
    world.cut(south);
    world.settle();
    REQUIRE_FALSE(north.store->find(dairy));
    world.restore_server(backup);
    world.heal_and_settle();
    CHECK(north.read(dairy).remarks.text() == "letzte Worte");  // it lives there again
    check_converged(world);
}

TEST_CASE("a bundle in review is in review again") {
    World world;
    Device& north = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    const Id<Customer> dairy = world.customer(north);
    world.settle();
    world.hand_over(dairy, "territory/DE-40");
    while (world.engine().carry_on() > 0) {
    }
    world.pass(60'000);
    const std::string backup = world.back_up_server();
    expect(north.edit(dairy).set(&Customer::remarks, "zu spät").save());
    world.settle();
    REQUIRE(north.store->overview().review == 1);
    world.restore_server(backup);
    world.settle();
    CHECK(north.store->overview().review == 1);
    std::vector<Dot> open;
    world.storage().begin_read()->open_bundles("default", [&](const server::StoredBundle& b) {
        open.push_back({b.writer, b.counter});
    });
    REQUIRE(open.size() == 1);
    REQUIRE(world.engine().accept("default", open[0])->verdict == Verdict::applied);
    world.settle();
    CHECK(north.store->overview().review == 0);
    CHECK(south.read(dairy).remarks.text() == "zu spät");
    check_converged(world);
}

TEST_CASE("a device file restored from its backup goes on under a new name") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    expect(phone.edit(dairy).set(&Customer::remarks, "ungesendet").save());
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    const std::string copy = phone.copy("phone.backup");
    const std::uint64_t before = phone.writer;
    world.settle();
    expect(phone.edit(leak).set(&Complaint::description, "danach").save());
    world.settle();

    phone.restore(copy);
    CHECK(phone.store->overview().queued == 2);  // as it was then
    const Id<Complaint> next = phone.capture(a_complaint(dairy, "nach dem Zurückspielen"));
    world.settle();
    CHECK(phone.writer != before);
    CHECK(world.storage().begin_read()->device(phone.writer)->parent == before);
    CHECK(phone.store->overview().queued == 0);
    CHECK(phone.read(dairy).remarks.siblings == std::vector<std::string>{"ungesendet"});
    CHECK(phone.read(leak).description.text() == "danach");
    CHECK(tablet.read(next).verbatim == "nach dem Zurückspielen");
    CHECK(count(world, kind_of<Complaint>()) == 2);
    CHECK(notes(world).empty());
    CHECK(phone.store->check().empty());
    check_converged(world);

    expect(phone.edit(leak).set(&Complaint::description, "und weiter").save());
    world.settle();
    CHECK(tablet.read(leak).description.text() == "und weiter");
    check_converged(world);
}

TEST_CASE("a file and its copy both deliver the work they share, once, and go on") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    expect(phone.edit(dairy).set(&Customer::remarks, "geteilt").save());
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    bool in_flight = false;
    SUBCASE("never sent") {}
    SUBCASE("sent, the reply lost") {
        in_flight = true;
        world.engine().sync({phone.writer, phone.session->next_request()});
    }
    SUBCASE("composed, the request lost") {
        in_flight = true;
        phone.session->next_request();
    }
    Device& copy = world.clone(phone);
    CAPTURE(in_flight);
    const std::uint64_t before = phone.writer;
    Device* first = &phone;
    Device* second = &copy;
    SUBCASE("the file first") {}
    SUBCASE("the copy first") { std::swap(first, second); }
    expect(first->edit(leak).set(&Complaint::description, "vom ersten").save());
    expect(second->edit(leak).set(&Complaint::description, "vom zweiten").save());
    world.cut(*second);
    world.settle();
    world.heal_and_settle();
    CHECK((phone.writer == before) != (copy.writer == before));
    CHECK(count(world, kind_of<Complaint>()) == 1);
    for (Device* device : {&phone, &copy, &tablet}) {
        CHECK(device->read(dairy).remarks.siblings == std::vector<std::string>{"geteilt"});
        auto texts = device->read(leak).description.siblings;
        std::sort(texts.begin(), texts.end());
        CHECK(texts == std::vector<std::string>{"vom ersten", "vom zweiten"});
        CHECK(device->store->overview().queued == 0);
        CHECK(device->store->check().empty());
    }
    check_converged(world);
    CHECK(notes(world).empty());
    for (Device* device : {&phone, &copy}) {
        const Id<Complaint> next = device->capture(a_complaint(dairy, device->name));
        world.settle();
        CHECK(tablet.read(next).verbatim == device->name);
    }
    check_converged(world);
}

TEST_CASE("a third file of one credential is turned away, and listed") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    Device& second = world.clone(phone);
    Device& third = world.clone(phone);
    for (Device* device : {&phone, &second})
        expect(device->edit(dairy).set(&Customer::remarks, device->name).save());
    const Id<Complaint> leak = third.capture(a_complaint(dairy));
    world.cut(third);
    world.settle();
    world.heal();
    Session::Step step;
    for (int i = 0; i < 5 && !step.declined; ++i)
        step =
            third.take(world.engine().sync({third.writer, third.session->next_request()}).archive);
    CHECK(step.declined);
    CHECK(third.store->status(leak).state == SyncState::queued);
    CHECK(notes(world) == std::vector<std::string>{"third_file"});
}
