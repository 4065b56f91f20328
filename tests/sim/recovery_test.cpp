// SPDX-License-Identifier: Apache-2.0
// The server or a device file restored from a copy, or a file copied to a second device.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "model/json.hpp"
#include "protocol/messages.hpp"
#include "server/recovery.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

std::vector<std::string> notes(World& world) {
    std::vector<std::string> codes;
    for (const auto& note : world.storage().begin_read()->recovery_notes("default"))
        codes.push_back(note.code + (note.field.empty() ? "" : ":" + note.field));
    std::sort(codes.begin(), codes.end());
    return codes;
}

// For a person to decide on.
std::vector<server::RecoveryNote> kept_back(World& world) {
    auto kept = world.storage().begin_read()->recovery_notes("default");
    std::erase_if(kept, [](const server::RecoveryNote& note) { return note.offered.empty(); });
    return kept;
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

// What an invitation for this file leaves at the server.
void invite(World& world, const Device& device, std::uint64_t writer) {
    const auto transaction = world.storage().begin_write();
    server::Device row = *transaction->device(device.writer);
    row.file_id = device.store->overview().file_id;
    transaction->save(row);
    row.writer = writer;
    row.receipt = 0;
    row.entries.clear();
    row.credential_hash = "new";
    transaction->save(row);
    transaction->commit();
}

void enrol_anew(Device& device, std::uint64_t writer) {
    Replica replica(*device.store);
    Identity identity = *replica.identity();
    identity.writer = device.writer = writer;
    identity.credential = replica.new_enrolment_secret();
    replica.enrol(identity);
}

// Server and phone were copied, and the phone has written since.
struct BothCopied {
    World world;
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& tablet = world.device("R17", Role::rep, {"territory/DE-50"});
    Id<Customer> dairy = world.customer(phone);
    std::string backup, copy;

    BothCopied() {
        world.settle();
        backup = world.back_up_server();
        copy = phone.copy("phone.backup");
        expect(phone.edit(dairy).set(&Customer::remarks, "verloren").save());
    }
};

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
        CHECK(device->store->overview().recovered_at);
        CHECK_FALSE(device->store->overview().recovering);
        CHECK_FALSE(device->store->overview().forked_at);
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

TEST_CASE("a state request offered before what it asks for is decided when that comes") {
    World world;
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& office = world.device("Q1", Role::qm, {"territory/*"});
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string backup = world.back_up_server();
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    world.settle();
    expect(office.store->request_state(leak, "acknowledged", "", {}));
    world.cut(phone);
    world.settle();
    world.restore_server(backup);

    office.session->begin();
    CHECK_FALSE(exchange(world, office));  // mismatch
    auto offers = decode<protocol::Request>(office.session->next_request());
    REQUIRE(offers.more);
    std::vector<std::string> asked;
    for (const std::string& bytes : offers.witnessed)
        if (RecordState state = decode_record(bytes);
            state.kind == kind_of<StateRequest>().number) {
            // As its author has it between the verdict and the page.
            state.fields.erase_if([](const auto& entry) {
                return entry.second.live.empty() ||
                       entry.second.live.front().dot.writer == kServerWriter;
            });
            asked.push_back(encode_record(state));
        }
    REQUIRE(asked.size() == 1);
    offers.witnessed = asked;
    REQUIRE_FALSE(office.take(world.engine().sync({office.writer, encode(offers)}).archive).done);
    world.settle();
    REQUIRE(count(world, kind_of<StateRequest>()) == 1);
    REQUIRE_FALSE(world.storage().begin_read()->record("default", leak));

    world.heal_and_settle();
    for (Device* device : {&phone, &office})
        CHECK(device->read(leak).state == ComplaintState::acknowledged);
    CHECK(count(world, kind_of<StateRequest>()) == 1);
    check_converged(world);
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

TEST_CASE("what a witness brought back leaves when its author, who had no answer, wrote over it") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string backup = world.back_up_server();
    expect(phone.edit(dairy).set(&Customer::remarks, "eins").save());
    world.engine().sync({phone.writer, phone.session->next_request()});  // the reply is lost
    expect(phone.edit(dairy).set(&Customer::remarks, "zwei").save());
    world.cut(phone);
    world.settle();
    REQUIRE(tablet.read(dairy).remarks.text() == "eins");
    world.restore_server(backup);
    world.settle();
    world.heal_and_settle();
    CHECK(phone.read(dairy).remarks.siblings == std::vector<std::string>{"zwei"});
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"zwei"});
    check_converged(world);
}

TEST_CASE("what a witness brought back and wrote over does not come again from its author") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    Id<Customer> dairy = world.customer(phone);
    world.settle();
    std::string backup = world.back_up_server();
    SUBCASE("who was enrolled anew") {
        expect(phone.edit(dairy).set(&Customer::remarks, "eins").save());
        world.engine().sync({phone.writer, phone.session->next_request()});  // the reply is lost
        world.cut(phone);
        world.settle();
        world.restore_server(backup);
        expect(tablet.edit(dairy).set(&Customer::remarks, "zwei").save());
        world.settle();
        invite(world, phone, 2000);
        enrol_anew(phone, 2000);
        world.heal_and_settle();
        for (Device* device : {&phone, &tablet})
            CHECK(device->read(dairy).remarks.siblings == std::vector<std::string>{"zwei"});
        expect(phone.edit(dairy).set(&Customer::remarks, "eins").save());  // having seen it
        world.settle();
        CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"eins"});
    }
    SUBCASE("who was told to come later meanwhile") {
        dairy = world.customer(tablet, "Molkerei Ost");
        world.cut(phone);
        world.settle();
        Complaint found = a_complaint(dairy);
        found.description = "eins";
        const Id<Complaint> leak = phone.capture(found);
        world.engine().sync({phone.writer, phone.session->next_request()});  // the reply is lost
        world.settle();
        world.restore_server(backup);
        expect(tablet.edit(leak).set(&Complaint::description, "zwei").save());
        world.heal();
        world.cut(tablet);
        world.settle();
        REQUIRE(phone.store->overview().waiting == 1);
        world.heal_and_settle();
        for (Device* device : {&phone, &tablet})
            CHECK(device->read(leak).description.siblings == std::vector<std::string>{"zwei"});
    }
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

namespace {

/// Until the device is done; returns how many records it has offered meanwhile.
std::size_t sync_and_count_offers(World& world, Device& device) {
    std::size_t offered = 0;
    device.session->begin();
    for (bool done = false; !done;) {
        world.pass(20);
        const std::string request = device.session->next_request();
        offered += decode<protocol::Request>(request).touched.size();
        const auto answer = world.engine().sync({device.writer, request});
        REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
        done = device.take(answer.archive).done;
    }
    return offered;
}

}  // namespace

TEST_CASE("a server restored to many syncs ago gets back what came since, and nobody forks") {
    int syncs = 0;
    SUBCASE("twenty") { syncs = 20; }
    SUBCASE("fifty") { syncs = 50; }
    SUBCASE("two hundred") { syncs = 200; }
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    const Id<Customer> dairy = world.customer(phone);
    const Id<Customer> moving = world.customer(phone, "Zieht um");
    for (int i = 0; i < 30; ++i) phone.capture(a_complaint(dairy, "vorher"));
    world.settle();
    for (int i = 0; i < 12; ++i) {  // so that nothing of the first download is in the list's way
        phone.capture(a_complaint(dairy, "vorher"));
        sync_and_count_offers(world, phone);
        sync_and_count_offers(world, tablet);
    }
    const std::string backup = world.back_up_server();
    std::vector<Id<Complaint>> since;
    for (int i = 0; i < syncs; ++i) {
        since.push_back(phone.capture(a_complaint(dairy, "danach " + std::to_string(i))));
        if (i == syncs / 2) {
            world.hand_over(moving, "territory/DE-40");
            while (world.engine().carry_on() > 0) {
            }
            sync_and_count_offers(world, south);
        }
        sync_and_count_offers(world, phone);
        if (i % 7 == 0) sync_and_count_offers(world, tablet);
    }
    expect(phone.edit(dairy).set(&Customer::legal_name, "zuletzt").save());
    sync_and_count_offers(world, phone);
    sync_and_count_offers(world, tablet);
    const auto before = count(world, kind_of<Complaint>());
    expect(tablet.edit(since[0]).set(&Complaint::description, "unterwegs").save());

    world.restore_server(backup);
    REQUIRE(count(world, kind_of<Complaint>()) == 42);
    const std::size_t offered = sync_and_count_offers(world, phone);
    CHECK(offered >= static_cast<std::size_t>(syncs) + 2);
    CHECK(offered <= static_cast<std::size_t>(syncs) + 4);  // and not what was there before
    world.settle();
    CHECK(count(world, kind_of<Complaint>()) == before);
    CHECK(phone.writer < 1010);  // nobody forked
    CHECK(tablet.writer < 1010);
    CHECK(phone.read(dairy).legal_name == "zuletzt");
    CHECK(phone.read(since[0]).description.text() == "unterwegs");
    CHECK(world.server_state(moving).scope == "territory/DE-40");
    check_converged(world);
    for (Device* device : {&phone, &tablet, &south}) CHECK(device->store->check().empty());
}

TEST_CASE("what came down with a download after the backup is offered as well") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string backup = world.back_up_server();
    world.cut(phone);
    const Id<Complaint> leak = tablet.capture(a_complaint(dairy, "nach der Sicherung"));
    world.settle();
    world.heal();
    world.pass(std::int64_t{181} * 86'400'000);
    sync_and_count_offers(world, phone);  // everything anew
    REQUIRE(phone.read(leak).verbatim == "nach der Sicherung");
    world.restore_server(backup);
    world.cut(tablet);
    CHECK(sync_and_count_offers(world, phone) == 2);
    CHECK(count(world, kind_of<Complaint>()) == 1);
    world.heal_and_settle();
    check_converged(world);
}

TEST_CASE("a device file restored to many syncs ago forks, and offers little of what it holds") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const auto work = [&](int syncs) {
        for (int i = 0; i < syncs; ++i) {
            phone.capture(a_complaint(dairy, std::to_string(i)));
            sync_and_count_offers(world, phone);
        }
    };
    work(100);
    const std::string copy = phone.copy("vor-wochen.rapport");
    work(60);
    const std::uint64_t writer = phone.writer;
    phone.restore(copy);
    expect(phone.edit(dairy).set(&Customer::legal_name, "nur hier").save());
    const std::size_t offered = sync_and_count_offers(world, phone);
    CHECK(phone.writer != writer);
    CHECK(offered > 0);
    CHECK(offered < 70);
    world.settle();
    CHECK(count(world, kind_of<Complaint>()) == 160);
    CHECK(tablet.read(dairy).legal_name == "nur hier");
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
    CHECK(phone.store->overview().forked_at);
    CHECK_FALSE(tablet.store->overview().forked_at);
    CHECK_FALSE(phone.store->overview().recovered_at);
    CHECK_FALSE(phone.store->overview().recovering);
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
    CHECK(third.store->overview().declined);
    CHECK_FALSE(second.store->overview().declined);
    CHECK(third.store->status(leak).state == SyncState::queued);
    CHECK(notes(world) == std::vector<std::string>{"third_file"});
}

TEST_CASE("a file that was to fork does so although the server was restored meanwhile") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    Device& copy = world.clone(phone);
    const std::uint64_t before = phone.writer;
    const std::string backup = world.back_up_server();
    expect(copy.edit(dairy).set(&Customer::remarks, "von der Kopie").save());
    world.cut(phone);
    world.settle();
    world.heal();
    expect(phone.edit(dairy).set(&Customer::remarks, "vom Telefon").save());
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    exchange(world, phone);         // it finds the other one
    phone.session->next_request();  // composed as a fork, and never arrived
    world.restore_server(backup);
    world.cut(copy);
    world.settle();
    world.heal_and_settle();
    CHECK(phone.writer != before);
    CHECK(copy.writer == before);
    for (Device* device : {&phone, &copy, &tablet}) {
        auto texts = device->read(dairy).remarks.siblings;
        std::sort(texts.begin(), texts.end());
        CHECK(texts == std::vector<std::string>{"vom Telefon", "von der Kopie"});
        CHECK(device->store->find(leak));
        CHECK(device->store->overview().queued == 0);
    }
    CHECK(notes(world).empty());
    check_converged(world);
}

TEST_CASE("what a copy had brought is written over before it has come down under its dot") {
    WorldOptions small;
    small.limits.reply_records_max = 1;
    World world(small);
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone, "Molkerei alt");
    world.pass(1000);
    world.customer(phone, "Molkerei Ost");  // the newest is downloaded first
    world.engine().sync({phone.writer, phone.session->next_request()});  // the reply is lost
    Device& copy = world.clone(phone);
    const std::uint64_t before = copy.writer;
    phone.capture(a_complaint(dairy));
    world.cut(copy);
    world.settle();
    world.heal();
    while (copy.store->overview().queued + copy.store->overview().sent > 0)
        REQUIRE_FALSE(exchange(world, copy));
    REQUIRE(copy.writer != before);
    expect(copy.edit(dairy).set(&Customer::name, "Molkerei neu").save());
    world.settle();
    for (Device* device : {&phone, &copy, &tablet}) {
        CHECK(device->read(dairy).name == "Molkerei neu");
        CHECK(device->store->conflicts().empty());
    }
    check_converged(world);
}

// ---- random histories

namespace {

// Which faults a history has beside those of the network.
struct Mix {
    int server_restores = 0;
    bool file_restored = false, file_copied = false;
    int faults() const { return server_restores + file_restored + file_copied; }
};

// Follows every captured value, what its author's screen had shown, and which went with a file.
class Words {
public:
    std::string capture(const std::string& field, const Content& screen) {
        const std::string word = field + "#" + std::to_string(seen_.size() + 1);
        std::set<std::string> seen;
        for (const Item& item : screen)
            if (const auto* text = item.value.text(); text && seen_.contains(*text)) {
                seen.insert(*text);
                seen.insert(seen_[*text].begin(), seen_[*text].end());
            }
        seen_.emplace(word, std::move(seen));
        return word;
    }
    // What no side holds any more, and nobody who had seen it wrote over, went with a file that is
    // now an older one. It may still come: a request on its way is a copy, too.
    void rolled_back(std::set<std::string> held) {
        for (const std::string& word : std::set<std::string>(held))
            held.insert(seen_[word].begin(), seen_[word].end());
        for (const auto& [word, seen] : seen_)
            if (!held.contains(word)) gone_.insert(word);
    }
    std::set<std::string> lost(const std::set<std::string>& live,
                               const std::set<std::string>& pending) const {
        std::set<std::string> lost;
        for (const auto& [word, seen] : seen_)
            if (!gone_.contains(word) && !live.contains(word) && !pending.contains(word))
                lost.insert(word);
        for (const auto& [word, seen] : seen_)
            for (const std::string& each : seen) lost.erase(each);
        return lost;
    }
    std::set<std::string> resurrected(const std::set<std::string>& live,
                                      const std::set<std::string>& pending) const {
        std::set<std::string> back;
        for (const auto& [word, seen] : seen_)
            if (!gone_.contains(word) && !pending.contains(word))
                for (const std::string& each : seen)
                    if (live.contains(each)) back.insert(each + " under " + word);
        return back;
    }

private:
    std::map<std::string, std::set<std::string>> seen_;
    std::set<std::string> gone_;
};

const std::vector<std::string>& written_fields() {
    static const std::vector<std::string> names{"legal_name", "remarks"};
    return names;
}

// What an ordinary edit has seen: its own pending value, else what the field shows.
Content screen_of(Device& device, const RecordId& id, const Field& field) {
    const Store::Core::Reading reading(device.store->core());
    const auto loaded = load(reading.db, id);
    for (auto change = loaded->pending.rbegin(); change != loaded->pending.rend(); ++change)
        if (const Write* write = change->write_of(field.number))
            return {{"", write->adds[0].value}};
    return device.store->find(id)->shown(field.name);
}

void add_texts(const FieldState& field, std::set<std::string>& words) {
    for (const LiveValue& l : field.live)
        if (const auto* text = l.value.text()) words.insert(*text);
}

std::set<std::string> held_by(Device& device, const std::vector<Id<Customer>>& customers,
                              bool only_pending) {
    std::set<std::string> words;
    const Store::Core::Reading reading(device.store->core());
    for (const RecordId& id : customers)
        if (auto loaded = load(reading.db, id))
            for (const std::string& name : written_fields()) {
                const Field& field = *kind_of<Customer>().field(name);
                if (!only_pending) add_texts(loaded->row.confirmed.fields[field.number], words);
                for (const PendingChange& change : loaded->pending)
                    if (const Write* write = change.write_of(field.number))
                        for (const Added& add : write->adds) words.insert(*add.value.text());
            }
    return words;
}

std::set<std::string> held_by_server(World& world, const std::vector<Id<Customer>>& customers,
                                     bool only_live) {
    std::set<std::string> words;
    const auto snapshot = world.storage().begin_read();
    for (const RecordId& id : customers) {
        const auto stored = snapshot->record("default", id);
        if (!stored) continue;
        for (const std::string& name : written_fields()) {
            const auto number = kind_of<Customer>().field(name)->number;
            if (const auto at = stored->state.fields.find(number); at != stored->state.fields.end())
                add_texts(at->second, words);
        }
        if (only_live) continue;
        for (const server::HistoryLine& line : snapshot->history("default", id))
            if (const auto* text = line.value.value.text()) words.insert(*text);
    }
    return words;
}

void restoring_history(std::uint64_t seed, std::map<std::string, int>& struck) {
    CAPTURE(seed);
    std::mt19937_64 draw(seed);
    const auto rate = [&] { return draw() % 2 ? 0.0 : static_cast<double>(draw() % 40) / 100.0; };
    WorldOptions options;
    options.seed = seed;
    options.faults = {rate(), rate(), rate(), rate(), 0};
    options.limits.version = 2;
    if (draw() % 2) options.limits.reply_records_max = 1 + static_cast<std::uint32_t>(draw() % 4);
    if (draw() % 2) options.limits.request_bundles_max = 1 + static_cast<std::uint32_t>(draw() % 3);
    if (draw() % 3 == 0) options.limits.request_bytes_max = 2'000;
    Mix mix;
    switch (draw() % 8) {
        case 0:
        case 1:
        case 2:
            mix.server_restores = 1;
            break;
        case 3:
            mix.file_restored = true;
            break;
        case 4:
            mix.file_copied = true;
            break;
        case 5:
            mix.server_restores = 2;
            break;
        case 6:
            mix = {1, true, false};
            break;
        default:
            mix = {1, false, true};
            break;
    }
    World world(options);
    auto [phone, tablet] = world.pair("territory/DE-50");
    std::vector<Device*> devices{&phone, &tablet};
    for (Device* device : devices)
        device->environment.skew_ms = static_cast<std::int64_t>(draw() % 600'000) - 300'000;
    std::vector<Id<Customer>> customers{world.customer(phone, "A"), world.customer(tablet, "B")};
    world.settle();

    Words words;
    std::vector<Id<Complaint>> complaints;
    std::string server_backup = world.back_up_server();
    std::string file_backup = phone.copy("phone.copy");
    Mix left = mix;
    CAPTURE(mix.server_restores);
    CAPTURE(mix.file_restored);
    CAPTURE(mix.file_copied);
    const auto all_held = [&] {
        std::set<std::string> held = held_by_server(world, customers, false);
        for (Device* device : devices) held.merge(held_by(*device, customers, false));
        return held;
    };
    const auto strike = [&] {
        if (left.server_restores > 0 && world.chance(12) == 0) {
            --left.server_restores;
            world.restore_server(server_backup);
            ++struck["server restored"];
        } else if (left.file_restored && world.chance(12) == 0) {
            left.file_restored = false;
            phone.restore(file_backup);
            ++struck["file restored"];
        } else if (left.file_copied && world.chance(12) == 0) {
            left.file_copied = false;
            devices.push_back(world.chance(2) ? &world.clone(phone)
                                              : &world.clone(phone, file_backup));
            ++struck["file copied"];
        } else {
            return;
        }
        if (mix.faults() > 1) ++struck["double fault"];
        words.rolled_back(all_held());
    };
    for (int i = 0; i < 70; ++i) {
        strike();
        if (world.chance(25) == 0) server_backup = world.back_up_server();
        if (world.chance(25) == 0 && left.file_restored == mix.file_restored &&
            left.file_copied == mix.file_copied && left.server_restores == mix.server_restores)
            file_backup = phone.copy("phone.copy-" + std::to_string(i));
        if (world.chance(3) != 0) {
            world.step();
            continue;
        }
        Device& device = *devices[world.chance(devices.size())];
        if (world.chance(20) == 0) device.restart();
        const std::size_t which = world.chance(customers.size());
        if (!device.store->find(customers[which])) continue;
        if (world.chance(4) == 0) {
            Complaint c = a_complaint(customers[which], "Nr. " + std::to_string(i));
            if (const auto id = device.capture(c); device.last) complaints.push_back(id);
            continue;
        }
        RecordEdit edit{&kind_of<Customer>(), customers[which], false, {}, {}};
        for (const std::string& name : written_fields()) {
            if (world.chance(3) == 0) continue;
            const Field* field = edit.kind->field(name);
            const Content screen = screen_of(device, customers[which], *field);
            edit.fields.push_back(
                {field,
                 FieldEdit::Op::set,
                 {{"", Value(words.capture(std::to_string(which) + name, screen))}}});
        }
        if (!edit.fields.empty()) expect(device.store->commit(std::vector<RecordEdit>{edit}));
    }
    for (int i = 0; i < 400 && left.faults() > 0; ++i) {
        strike();
        world.step();
    }
    world.heal_and_settle();
    for (int round = 0; round < 3; ++round) world.settle();
    check_converged(world);

    std::set<std::string> pending, kept_back;
    for (Device* device : devices) {
        pending.merge(held_by(*device, customers, true));
        CHECK(device->store->check().empty());
        CHECK(device->store->overview().queued == 0);
        CHECK(device->store->overview().sent == 0);
    }
    bool listed = false;
    for (const auto& note : world.storage().begin_read()->recovery_notes("default")) {
        if (note.offered.empty()) continue;
        listed = true;
        for (const auto& [number, field] : decode_record(note.offered).fields)
            add_texts(field, kept_back);
    }
    if (listed) ++struck["kept back"];
    const std::set<std::string> live = held_by_server(world, customers, true);
    pending.merge(kept_back);
    for (const std::string& word : words.lost(live, pending)) FAIL_CHECK("lost: " << word);
    const auto back = words.resurrected(live, pending);
    if (mix.faults() > 1) {
        struck["came back after two faults"] += static_cast<int>(!back.empty());
    } else {
        for (const std::string& word : back) FAIL_CHECK("came back: " << word);
        CHECK_FALSE(listed);
    }
    std::size_t held = 0;
    for (const Id<Complaint>& id : complaints)
        held += world.storage().begin_read()->record("default", id).has_value();
    CHECK(held == count(world, kind_of<Complaint>()));  // each once
    if (mix.faults() == 1 && mix.server_restores == 1) CHECK(held == complaints.size());
    for (const auto& [fault, times] : world.struck) struck[fault] += times;
}

}  // namespace

TEST_CASE("no word is lost and none comes back while servers and files are restored and copied") {
    const char* wanted = std::getenv("RAPPORT_SEEDS");
    const std::uint64_t seeds = wanted ? std::strtoull(wanted, nullptr, 10) : 40;
    const char* first = std::getenv("RAPPORT_FIRST_SEED");
    const std::uint64_t from = first ? std::strtoull(first, nullptr, 10) : 1;
    std::map<std::string, int> struck;
    for (std::uint64_t seed = from; seed < from + seeds; ++seed) restoring_history(seed, struck);
    for (const auto& [fault, times] : struck) MESSAGE(fault, ": ", times);
    if (seeds >= 40)
        for (const char* fault : {"server restored", "file restored", "file copied", "double fault",
                                  "reply lost", "request repeated"})
            CHECK_MESSAGE(struck[fault] > 0, fault);
}

TEST_CASE("a device that was turned away or revoked goes on under a new invitation") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::uint64_t before = phone.writer;
    expect(phone.edit(dairy).set(&Customer::remarks, "ungesendet").save());
    phone.session->next_request();  // composed, and never arrived
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    {
        const auto transaction = world.storage().begin_write();
        server::Device row = *transaction->device(before);
        row.revoked = true;
        transaction->save(row);
        row.writer = 2000;  // as an invitation redeemed by this file makes it
        row.revoked = false;
        row.receipt = 0;
        row.entries.clear();
        row.credential_hash = "new";
        transaction->save(row);
        transaction->commit();
    }
    // What it hands in is judged.
    CHECK(world.engine().sync({before, phone.session->next_request()}).error_code.empty());
    SUBCASE("the reply is lost") {}
    SUBCASE("the reply arrives") {
        phone.take(world.engine().sync({before, phone.session->next_request()}).archive);
        CHECK(phone.store->overview().revoked);
    }
    Replica replica(*phone.store);
    const std::string secret = replica.new_enrolment_secret();
    CHECK(secret == replica.new_enrolment_secret());
    Identity identity = *replica.identity();
    CHECK(secret != identity.credential);
    identity.writer = phone.writer = 2000;
    identity.credential = secret;
    Identity stranger = identity;
    stranger.rep = "R99";
    CHECK_THROWS_AS(replica.enrol(stranger), Error);
    replica.enrol(identity);
    CHECK(secret != replica.new_enrolment_secret());
    CHECK_FALSE(phone.store->overview().revoked);
    world.settle();
    CHECK_FALSE(phone.store->overview().recovered_at);  // it was given back what nobody had lost
    CHECK(tablet.read(leak).verbatim == "Deckel undicht");
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"ungesendet"});
    CHECK(count(world, kind_of<Complaint>()) == 1);
    CHECK(phone.store->check().empty());
    check_converged(world);
}

TEST_CASE("a file enrolled anew offers again what a server has lost once more") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string before = world.back_up_server();
    world.cut(tablet);
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    world.settle();
    world.restore_server(before);
    invite(world, phone, 2000);
    enrol_anew(phone, 2000);
    const std::string enrolled = world.back_up_server();
    CHECK_FALSE(exchange(world, phone));  // the offer
    world.restore_server(enrolled);
    world.settle();
    CHECK(phone.writer == 2000);
    world.heal_and_settle();
    CHECK(tablet.read(leak).verbatim == "Deckel undicht");
    check_converged(world);
}

TEST_CASE("a fork that a restored server has forgotten is granted again") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string copy = phone.copy("phone.backup"), backup = world.back_up_server();
    expect(phone.edit(dairy).set(&Customer::remarks, "vorher").save());
    world.settle();
    phone.restore(copy);
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    world.settle();
    const std::uint64_t forked = phone.writer;
    REQUIRE(world.storage().begin_read()->device(forked));
    world.restore_server(backup);
    const Id<Complaint> next = phone.capture(a_complaint(dairy, "danach"));
    world.settle();
    CHECK(phone.writer == forked);
    for (const Id<Complaint>& id : {leak, next}) CHECK(tablet.store->find(id));
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"vorher"});
    check_converged(world);
}

TEST_CASE("a fork that is asked for again offers again what a server has lost once more") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string copy = phone.copy("phone.backup"), backup = world.back_up_server();
    world.cut(tablet);
    expect(phone.edit(dairy).set(&Customer::remarks, "vorher").save());
    world.settle();
    const std::uint64_t parent = phone.writer;
    phone.restore(copy);
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    world.settle();
    REQUIRE(phone.writer != parent);
    world.restore_server(backup);
    REQUIRE(phone.session->take_not_known());
    phone.writer = parent;
    CHECK_FALSE(exchange(world, phone));  // the offer
    world.restore_server(backup);
    world.settle();
    world.heal_and_settle();
    CHECK(tablet.read(leak).verbatim == "Deckel undicht");
    check_converged(world);
}

TEST_CASE("a file put back to the middle of its fork forks from what it became") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    std::string copy = phone.copy("before"), backup = world.back_up_server();
    expect(phone.edit(dairy).set(&Customer::remarks, "vorher").save());
    world.settle();
    const std::uint64_t parent = phone.writer;
    phone.restore(copy);
    const Id<Complaint> leak = phone.capture(a_complaint(dairy));
    SUBCASE("that is asked for") {
        CHECK_FALSE(exchange(world, phone));  // a mismatch
        copy = phone.copy("middle");
        world.settle();
    }
    SUBCASE("that is asked for again") {
        world.settle();
        world.restore_server(backup);
        REQUIRE(phone.session->take_not_known());
        phone.writer = parent;
        copy = phone.copy("middle");
        world.settle();
    }
    const std::uint64_t forked = phone.writer;
    REQUIRE(forked != parent);
    const Id<Complaint> next = phone.capture(a_complaint(dairy, "danach"));
    world.settle();
    phone.restore(copy);
    REQUIRE(phone.writer == parent);
    const Id<Complaint> last = phone.capture(a_complaint(dairy, "zuletzt"));
    world.settle();
    CHECK(phone.writer != forked);
    CHECK(world.storage().begin_read()->device(phone.writer)->parent == forked);
    for (Device* device : {&phone, &tablet})
        for (const Id<Complaint>& id : {leak, next, last}) CHECK(device->store->find(id));
    CHECK(count(world, kind_of<Complaint>()) == 3);
    check_converged(world);
}

TEST_CASE("what two files sent under one name to a server that has lost it is kept for a person") {
    BothCopied both;
    auto& [world, phone, tablet, dairy, backup, copy] = both;
    world.cut(tablet);
    world.settle();
    world.restore_server(backup);
    Device& second = world.clone(phone, copy);
    expect(second.edit(dairy).set(&Customer::remarks, "vom zweiten").save());
    world.cut(phone);
    world.settle();  // the second file sends under the counters the first had used
    world.heal_and_settle();
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"vom zweiten"});
    std::optional<server::RecoveryNote> kept;
    for (const auto& note : world.storage().begin_read()->recovery_notes("default"))
        if (note.code == server::recovery_code::kTwoFiles && note.record == dairy) kept = note;
    REQUIRE(kept);
    CHECK_FALSE(world.engine().accept_offered("other", kept->id));
    REQUIRE(world.engine().accept_offered("default", kept->id));
    CHECK_FALSE(world.engine().accept_offered("default", kept->id));
    world.settle();
    for (Device* device : {&phone, &tablet, &second}) {
        auto texts = device->read(dairy).remarks.siblings;
        std::sort(texts.begin(), texts.end());
        CHECK(texts == std::vector<std::string>{"verloren", "vom zweiten"});
    }
    check_converged(world);
}

TEST_CASE("what was kept back for a person is offered to a server that has lost that, too") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(tablet);
    world.cut(phone);
    world.settle();
    world.cut(tablet);
    const std::string backup = world.back_up_server(), copy = phone.copy("phone.backup");
    phone.online = true;
    world.settle();
    const Id<Complaint> leak = phone.capture(a_complaint(dairy, "undicht"));
    world.settle();
    world.restore_server(backup);
    world.cut(phone);
    Device& second = world.clone(phone, copy);
    second.capture(a_complaint(dairy, "vom zweiten"));
    world.settle();
    world.cut(second);
    phone.online = true;
    world.settle();
    REQUIRE_FALSE(phone.store->find(leak));
    world.restore_server(backup);
    world.settle();
    CHECK(phone.read(leak).verbatim == "undicht");
    tablet.online = true;
    world.settle();
    CHECK(tablet.read(leak).verbatim == "undicht");
}

TEST_CASE("a file put back writes beside what a restored server was offered of it") {
    BothCopied both;
    auto& [world, phone, tablet, dairy, backup, copy] = both;
    world.settle();
    world.restore_server(backup);
    // The phone is lost; the file it is put back from would write under the same counter.
    Device& second = world.clone(phone, copy);
    world.cut(phone);
    expect(second.edit(dairy).set(&Customer::remarks, "danach").save());
    SUBCASE("offered by another device") {}
    SUBCASE("offered by itself, before it was lost") {
        world.cut(tablet);
        phone.online = true;
        CHECK_FALSE(exchange(world, phone));  // mismatch
        CHECK_FALSE(exchange(world, phone));  // the offer
        phone.online = false;
        tablet.online = true;
    }
    for (int round = 0; round < 2; ++round) world.settle();
    for (Device* device : {&tablet, &second}) {
        auto texts = device->read(dairy).remarks.siblings;
        std::sort(texts.begin(), texts.end());
        CHECK(texts == std::vector<std::string>{"danach", "verloren"});
        CHECK(device->store->overview().queued == 0);
    }
    CHECK(second.writer != phone.writer);
}

TEST_CASE("what a file put back writes where another had written over what was lost is kept back") {
    BothCopied both;
    auto& [world, phone, tablet, dairy, backup, copy] = both;
    world.settle();
    expect(tablet.edit(dairy).set(&Customer::remarks, "darüber").save());
    world.settle();
    world.restore_server(backup);
    Device& second = world.clone(phone, copy);
    world.cut(phone);
    world.pass(10 * 60'000);
    expect(second.edit(dairy).set(&Customer::remarks, "danach").save());
    Device& last = [&]() -> Device& {
        bool offered_first = false;
        SUBCASE("the offer comes first") { offered_first = true; }
        SUBCASE("the offer comes last") {}
        return offered_first ? second : tablet;
    }();
    world.cut(last);
    world.settle();
    last.online = true;
    for (int round = 0; round < 2; ++round) world.settle();
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"darüber"});
    const std::vector<server::RecoveryNote> kept = kept_back(world);
    REQUIRE(kept.size() == 1);
    CHECK(kept[0].code == server::recovery_code::kReplaced);
    CHECK(kept[0].writer == phone.writer);
    CHECK(kept[0].field == "remarks");
    CHECK(to_json(show(decode_record(kept[0].offered)), {}).find("danach") != std::string::npos);
    REQUIRE(world.engine().accept_offered("default", kept[0].id));
    world.settle();
    for (Device* device : {&tablet, &second}) {
        auto texts = device->read(dairy).remarks.siblings;
        std::sort(texts.begin(), texts.end());
        CHECK(texts == std::vector<std::string>{"danach", "darüber"});
        CHECK(device->store->overview().queued == 0);
    }
}

TEST_CASE(
    "what stood under a counter that a file put back has used meanwhile is kept for a person") {
    BothCopied both;
    auto& [world, phone, tablet, dairy, backup, copy] = both;
    world.settle();
    world.restore_server(backup);
    Device& second = world.clone(phone, copy);
    world.cut(phone);
    world.cut(tablet);
    expect(second.edit(dairy).set(&Customer::remarks, "danach").save());
    world.settle();
    CHECK(second.writer == phone.writer);
    tablet.online = true;
    for (int round = 0; round < 2; ++round) world.settle();
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"danach"});
    const std::vector<server::RecoveryNote> kept = kept_back(world);
    REQUIRE(kept.size() == 1);
    CHECK(kept[0].code == server::recovery_code::kReplaced);
    CHECK(to_json(show(decode_record(kept[0].offered)), {}).find("verloren") != std::string::npos);
    REQUIRE(world.engine().accept_offered("default", kept[0].id));
    world.settle();
    for (Device* device : {&tablet, &second})
        CHECK(device->read(dairy).remarks.siblings.size() == 2);
}

TEST_CASE("what a file writes past a value it no longer holds does not take that away") {
    World world;
    Device& roving = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& tablet = world.device("R18", Role::rep, {"territory/DE-50"});
    const Id<Customer> dairy = world.customer(tablet);
    world.settle();
    const std::string backup = world.back_up_server();
    expect(roving.edit(dairy).set(&Customer::remarks, "verloren").save());
    world.settle();
    world.give_scopes(roving, {"territory/DE-51"});
    world.settle();
    REQUIRE_FALSE(roving.store->find(dairy));
    world.cut(tablet);
    world.restore_server(backup);
    world.settle();
    REQUIRE(roving.store->find(dairy));
    expect(roving.edit(dairy).set(&Customer::remarks, "danach").save());
    world.settle();
    world.heal_and_settle();
    CHECK(tablet.read(dairy).remarks.siblings == std::vector<std::string>{"danach"});
    const std::vector<server::RecoveryNote> kept = kept_back(world);
    REQUIRE(kept.size() == 1);
    CHECK(kept[0].code == server::recovery_code::kReplaced);
    CHECK(to_json(show(decode_record(kept[0].offered)), {}).find("verloren") != std::string::npos);
    REQUIRE(world.engine().accept_offered("default", kept[0].id));
    world.settle();
    for (Device* device : {&roving, &tablet})
        CHECK(device->read(dairy).remarks.siblings.size() == 2);
    check_converged(world);
}

TEST_CASE("what waits is offered by another device and written over, and comes again") {
    for (const bool written_over_first : {false, true})
        for (const bool twice : {false, true}) {
            CAPTURE(written_over_first);
            CAPTURE(twice);
            WorldOptions options;
            options.limits.reply_records_max = 1;  // what a page brings is not shown yet
            World world(options);
            auto [phone, tablet] = world.pair("territory/DE-50");
            world.customer(phone);
            world.settle();
            const std::string backup = world.back_up_server();
            world.cut(phone);  // it has heard of the customer, and has nothing of it to offer
            const Id<Customer> dairy = world.customer(tablet);
            world.settle();
            const auto send = [&, &phone = phone] {  // and the answer is lost
                const auto answer =
                    world.engine().sync({phone.writer, phone.session->next_request()});
                REQUIRE(answer.error_code.empty());
                return answer;
            };
            const Id<Visit> visit = phone.capture(a_visit(dairy));
            const auto first = send();
            if (twice) {  // in two bundles, for the first has been sent
                CHECK_FALSE(phone.take(first.archive).done);
                expect(phone.edit(visit).set(&Visit::summary, "noch einmal").save());
                send();
            }
            world.settle();
            REQUIRE(tablet.store->find(visit));

            world.restore_server(backup);
            world.cut(tablet);
            phone.online = true;
            world.settle();
            REQUIRE(phone.store->overview().waiting > 0);
            world.cut(phone);
            tablet.online = true;
            if (!written_over_first) {
                CHECK_FALSE(exchange(world, tablet));  // mismatch
                CHECK_FALSE(exchange(world, tablet));  // the offer
                world.cut(tablet);
                phone.online = true;
                world.settle();
                tablet.online = true;
            }
            expect(tablet.edit(visit).set(&Visit::summary, "darüber").save());
            world.settle();
            world.heal_and_settle();
            for (Device* device : {&phone, &tablet}) {
                CHECK(device->read(visit).summary.siblings == std::vector<std::string>{"darüber"});
                CHECK(device->store->overview().queued == 0);
            }
            check_converged(world);
        }
}

TEST_CASE("a server restored twice gets back what came between") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const std::string backup = world.back_up_server();
    const Id<Complaint> first = phone.capture(a_complaint(dairy, "eins"));
    world.settle();
    world.restore_server(backup);
    world.cut(tablet);
    world.settle();
    const Id<Complaint> second = phone.capture(a_complaint(dairy, "zwei"));
    world.settle();
    world.restore_server(backup);
    world.cut(phone);
    world.heal_and_settle();
    for (Device* device : {&phone, &tablet}) {
        CHECK(device->read(first).verbatim == "eins");
        CHECK(device->read(second).verbatim == "zwei");
    }
    CHECK(count(world, kind_of<Complaint>()) == 2);
    check_converged(world);
}

// ---- revoked devices, and scopes that change

TEST_CASE("a revoked device hands in its unsent work and receives nothing") {
    World world;
    auto [phone, tablet] = world.pair("territory/DE-50");
    const Id<Customer> dairy = world.customer(phone);
    world.settle();
    const Id<Complaint> before = phone.capture(a_complaint(dairy, "vorher"));
    world.pass(60'000);
    {
        const auto transaction = world.storage().begin_write();
        server::Device row = *transaction->device(phone.writer);
        row.revoked = true;
        transaction->save(row);
        transaction->save_revocation(phone.writer, world.now_ms());
        transaction->commit();
    }
    world.pass(60'000);
    const Id<Complaint> after = phone.capture(a_complaint(dairy, "nachher"));
    world.cut(phone);
    expect(tablet.edit(dairy).set(&Customer::remarks, "geheim").save());
    world.settle();

    Session::Step step;
    for (int i = 0; i < 5 && !step.done; ++i) {
        const auto answer = world.engine().sync({phone.writer, phone.session->next_request()});
        REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
        const auto reply = decode<protocol::Reply>(answer.archive);
        CHECK(reply.revoked);
        CHECK(reply.records.empty());
        CHECK(reply.departures.empty());
        CHECK(reply.authors.empty());
        for (const auto& verdict : reply.verdicts) CHECK(verdict.reasons.empty());
        step = phone.take(answer.archive);
    }
    CHECK(step.revoked);
    CHECK(phone.store->status(before).state == SyncState::confirmed);
    CHECK(phone.store->status(after).state == SyncState::review);
    CHECK(phone.read(dairy).remarks.text().empty());
    world.settle();
    CHECK(tablet.read(before).verbatim == "vorher");
    CHECK_FALSE(tablet.store->find(after));
}

TEST_CASE("a territory that is taken from a device leaves it, and unsent work there is judged") {
    World world;
    Device& north = world.device("R17", Role::rep, {"territory/DE-50", "territory/DE-51"});
    Device& office = world.device("Q1", Role::qm, {"territory/*"});
    Customer dairy;
    dairy.name = "Molkerei Nord";
    const Id<Customer> kept = north.capture(dairy);
    RecordEdit other{&kind_of<Customer>(), {}, true, "territory/DE-51", {}};
    other.fields.push_back({other.kind->field("name"), FieldEdit::Op::set, {{"", Value("West")}}});
    const Captured captured = north.store->commit(std::vector<RecordEdit>{other});
    expect(captured);
    const RecordId lost = captured.ids.at(0);
    world.settle();
    REQUIRE(office.store->find(lost));

    const Id<Complaint> unsent = north.capture(a_complaint(Id<Customer>(lost), "rechtzeitig"));
    world.pass(60'000);
    world.give_scopes(north, {"territory/DE-50"});
    world.pass(60'000);
    const Id<Complaint> late = north.capture(a_complaint(Id<Customer>(lost), "zu spät"));
    world.settle();
    CHECK(office.read(unsent).verbatim == "rechtzeitig");
    CHECK_FALSE(office.store->find(late));
    CHECK(north.store->overview().review == 1);
    CHECK(north.store->find(kept));
    CHECK_FALSE(north.store->find(lost));
    CHECK_FALSE(north.store->find(unsent));
    CHECK(north.store->departed(10).size() == 2);
    CHECK(north.store->check().empty());
    check_converged(world);

    world.give_scopes(north, {"territory/DE-50", "territory/DE-51"});
    world.settle();
    CHECK(north.store->find(lost));
    CHECK(north.read(unsent).verbatim == "rechtzeitig");
    check_converged(world);
}

TEST_CASE("a territory that is given back in the middle of a recovery comes whole") {
    for (const bool taken_before : {true, false})
        for (const bool ended : {false, true}) {
            CAPTURE(taken_before);
            CAPTURE(ended);
            World world;
            Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
            const Id<Customer> dairy = world.customer(phone);
            world.settle();
            const std::string backup = world.back_up_server();
            if (taken_before)
                world.give_scopes(phone, {"territory/DE-51"});
            else
                phone.capture(a_complaint(dairy));
            world.settle();
            world.restore_server(backup);
            world.give_scopes(phone, {"territory/DE-51"});
            CHECK_FALSE(exchange(world, phone));  // a mismatch
            CHECK_FALSE(exchange(world, phone));  // the offer
            if (ended) world.engine().sync({phone.writer, phone.session->next_request()});
            world.give_scopes(phone, {"territory/DE-50"});
            const std::uint64_t before = phone.writer;
            world.settle();
            CHECK(phone.writer == before);
            CHECK(phone.store->find(dairy));
            check_converged(world);
        }
}
