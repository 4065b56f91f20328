// SPDX-License-Identifier: Apache-2.0
// Several users of one device file, one after the other: real stores and the real engine.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "model/clock.hpp"
#include "rapport/doctor.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

bool holds(const std::string& path, const std::string& words) {
    for (const char* beside : {"", "-wal"}) {
        std::ifstream in(path + beside, std::ios::binary);
        const std::string all{std::istreambuf_iterator<char>(in), {}};
        if (all.find(words) != std::string::npos) return true;
    }
    return false;
}

/// The tablet of a branch that R17 and R23 share, and R17's own phone.
struct Branch {
    World world;
    Device& tablet = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    const std::uint64_t first = tablet.writer;
    Id<Customer> customer = world.customer(phone, "Molkerei Mondsee");
    Id<Customer> quiet = world.customer(phone, "Kelterei Kranich");

    Branch() {
        world.settle();
        REQUIRE(tablet.store->find(customer));
    }
    void log_out() { tablet.store->log_out(); }
    void log_in_first() {
        tablet.store->log_in("R17");
        tablet.writer = first;
        tablet.session = std::make_unique<Session>(*tablet.store);
        tablet.session->begin();
    }
    void enrol_second() { enrol("R23", 77, "territory/DE-40"); }
    void enrol(const std::string& rep, std::uint64_t writer, const std::string& scope) {
        server::Device row;
        row.tenant = "default";
        row.writer = writer;
        row.rep = rep;
        row.scopes = {scope};
        row.credential_hash = "hash-" + std::to_string(writer);
        auto transaction = world.storage().begin_write();
        transaction->save(row);
        transaction->commit();
        Replica(*tablet.store)
            .enrol({"memory:", "default", rep, Role::rep, row.scopes, row.writer, "secret"});
        tablet.writer = row.writer;
        tablet.session = std::make_unique<Session>(*tablet.store);
        tablet.session->begin();
    }
    Id<Visit> visit(const Id<Customer>& at, const std::string& summary) {
        Visit visit;
        visit.customer_id = at;
        visit.type = VisitType::visit;
        visit.summary = summary;
        const auto id = tablet.capture(visit);
        REQUIRE(tablet.last);
        return id;
    }
    std::string author_of(const RecordId& id) {
        const auto record = world.storage().begin_read()->record("default", id);
        return record ? record->author : "";
    }
};

}  // namespace

TEST_CASE("what a device was before its fork stays with its user") {
    Branch branch;
    const std::string copy = branch.tablet.copy("before");
    branch.visit(branch.customer, "Muster gezeigt");
    branch.world.settle();
    branch.tablet.restore(copy);
    branch.world.settle();
    const std::uint64_t fork = Replica(*branch.tablet.store).identity()->writer;
    REQUIRE(fork != branch.first);

    branch.log_out();
    branch.enrol_second();
    CHECK_FALSE(Replica(*branch.tablet.store).not_known());
    CHECK(Replica(*branch.tablet.store).identity()->writer == 77);

    branch.log_out();
    branch.tablet.store->log_in("R17");
    CHECK(Replica(*branch.tablet.store).identity()->writer == fork);
    CHECK(Replica(*branch.tablet.store).not_known());
    CHECK(Replica(*branch.tablet.store).identity()->writer == branch.first);
}

TEST_CASE("who logs in on another's file sees nothing of theirs, and sends nothing of it") {
    Branch branch;
    Store& store = *branch.tablet.store;
    const auto unsent = branch.visit(branch.customer, "Deckel undicht");
    REQUIRE(store.edit(branch.customer).set(&Customer::phone, "+492461123456").save());
    Bundling begun = store.bundle();
    Note note;
    note.subject_id = branch.customer;
    note.text = "angefangen";
    const auto draft = begun.add(note);
    REQUIRE(begun.save_draft());
    store.autosave(draft, "at", "morgen");
    while (store.index_some()) {
    }

    branch.log_out();
    CHECK_FALSE(store.overview().enrolled);
    CHECK_FALSE(store.find(branch.customer));
    CHECK_FALSE(store.find(unsent));
    CHECK(store.drafts().empty());
    CHECK(store.overview().queued == 0);
    SearchRequest request;
    request.text = "undicht";
    CHECK(store.search(request).hits.empty());
    CHECK_FALSE(holds(branch.tablet.path(), "Kelterei Kranich"));  // confirmed: the server has it
    CHECK(holds(branch.tablet.path(), "Deckel undicht"));
    const auto waiting = store.overview().logged_out;
    REQUIRE(waiting.size() == 1);
    CHECK(waiting[0].rep == "R17");
    CHECK(waiting[0].unsent == 2);
    CHECK(waiting[0].drafts == 1);
    CHECK(waiting[0].unreceived_since.has_value());
    CHECK(store.check().empty());
    CHECK_THROWS_AS(store.log_out(), Error);
    CHECK_THROWS_AS(store.log_in("R99"), Error);

    branch.enrol_second();
    const auto own = branch.world.customer(branch.tablet, "Brauerei Birkhuhn");
    branch.world.settle();
    CHECK(store.find(own));
    CHECK_FALSE(store.find(branch.customer));
    CHECK(branch.author_of(own) == "R23");
    CHECK(branch.author_of(unsent).empty());
    CHECK(branch.world.differences().empty());
    CHECK_THROWS_AS(store.log_in("R17"), Error);

    branch.log_out();
    branch.log_in_first();
    CHECK(store.overview().logged_out.size() == 1);
    CHECK_FALSE(store.find(own));
    CHECK(branch.tablet.read(unsent).summary.text() == "Deckel undicht");
    CHECK(branch.tablet.read(branch.customer).phone == Phone("+492461123456"));
    REQUIRE(store.drafts().size() == 1);
    CHECK(store.drafts()[0].unfinished.size() == 1);
    CHECK(store.status(unsent).state == SyncState::queued);
    CHECK(store.overview().incomplete == std::vector<std::string>{"territory/DE-50"});
    branch.world.settle();
    CHECK(store.overview().incomplete.empty());
    CHECK(branch.author_of(unsent) == "R17");
    CHECK(branch.author_of(branch.customer) == "R17");
    CHECK(store.status(unsent).state == SyncState::confirmed);
    CHECK(branch.tablet.read(branch.quiet).name == "Kelterei Kranich");
    CHECK(store.drafts().size() == 1);
    CHECK(branch.world.differences().empty());
    CHECK(store.check().empty());
}

TEST_CASE("a request in flight at log-out is answered once its user is back") {
    Branch branch;
    const auto visit = branch.visit(branch.customer, "Deckel undicht");
    const std::string request = branch.tablet.session->next_request();
    SUBCASE("it had arrived") {
        REQUIRE(branch.world.engine().sync({branch.first, request}).error_code.empty());
    }
    SUBCASE("it had not") {}
    branch.log_out();
    branch.enrol_second();
    branch.world.settle();
    branch.log_out();
    branch.log_in_first();
    branch.tablet.restart();
    branch.world.settle();
    CHECK(branch.tablet.store->status(visit).state == SyncState::confirmed);
    CHECK(branch.phone.read(visit).summary.siblings.size() == 1);
    CHECK(branch.world.differences().empty());
}

TEST_CASE("what left the user's territory while another was logged in is not shown again") {
    Branch branch;
    REQUIRE(
        branch.tablet.store->edit(branch.customer).set(&Customer::phone, "+492461123456").save());
    branch.log_out();
    branch.world.hand_over(branch.customer, "territory/DE-40");
    branch.enrol_second();
    branch.world.settle();
    REQUIRE(branch.tablet.store->find(branch.customer));
    branch.log_out();
    branch.log_in_first();
    branch.world.settle();
    CHECK(branch.tablet.store->find(branch.quiet));
    CHECK(branch.world.differences().empty());
}

TEST_CASE("what is parked gets the server's time that is learnt under another user") {
    Branch branch;
    branch.tablet.environment.start_machine();
    branch.tablet.environment.skew_ms = 3'600'000 * 24 * 365LL;
    REQUIRE(
        branch.tablet.store->edit(branch.customer).set(&Customer::phone, "+492461123456").save());
    branch.log_out();
    branch.enrol_second();
    branch.world.customer(branch.tablet, "Brauerei Birkhuhn");
    branch.world.settle();
    branch.log_out();
    branch.log_in_first();
    {
        Store::Core::Reading reading(branch.tablet.store->core());
        const auto loaded = load(reading.db, branch.customer);
        REQUIRE(loaded->pending.size() == 1);
        for (const Write& write : loaded->pending[0].writes)
            for (const Added& add : write.adds)
                CHECK(HybridClock::wall_ms(add.stamp) <= branch.world.now_ms());
    }
    branch.world.settle();
    REQUIRE(
        branch.phone.store->edit(branch.customer).set(&Customer::phone, "+492461999999").save());
    branch.world.settle();
    CHECK(branch.tablet.read(branch.customer).phone == Phone("+492461999999"));
    CHECK(branch.world.differences().empty());
}

TEST_CASE("what is parked stays behind what its user had sent before") {
    Branch branch;
    branch.tablet.environment.start_machine();
    branch.tablet.environment.skew_ms = 240'000;  // as far as the server lets it through
    const auto set_phone = [&](const char* number) {
        REQUIRE(branch.tablet.store->edit(branch.customer).set(&Customer::phone, number).save());
    };
    set_phone("+492461123456");
    branch.world.engine().sync(
        {branch.first, branch.tablet.session->next_request()});  // the reply is lost
    set_phone("+492461999999");
    branch.log_out();
    branch.enrol_second();
    branch.world.settle();
    branch.log_out();
    branch.log_in_first();
    Store::Core::Reading reading(branch.tablet.store->core());
    const auto loaded = load(reading.db, branch.customer);
    std::vector<Stamp> stamps;
    for (const PendingChange& change : loaded->pending)
        for (const Write& write : change.writes)
            for (const Added& add : write.adds) stamps.push_back(add.stamp);
    REQUIRE(stamps.size() == 2);
    CHECK(stamps[1] > stamps[0]);
}

TEST_CASE("who comes back with a new invitation goes on with what waits for them") {
    Branch branch;
    Store& store = *branch.tablet.store;
    const auto visit = branch.visit(branch.customer, "Deckel undicht");
    REQUIRE(store.edit(branch.customer).set(&Customer::phone, "+492461123456").save());
    SUBCASE("sent or not") {}
    SUBCASE("it had arrived, and the reply was lost") {
        REQUIRE(branch.world.engine()
                    .sync({branch.first, branch.tablet.session->next_request()})
                    .error_code.empty());
    }
    branch.log_out();
    branch.enrol("R17", 88, "territory/DE-50");
    CHECK(store.overview().logged_out.empty());
    CHECK(store.read(visit)->summary.text() == "Deckel undicht");
    branch.world.settle();
    CHECK(branch.author_of(visit) == "R17");
    CHECK(branch.phone.read(visit).summary.siblings.size() == 1);
    CHECK(branch.phone.read(branch.customer).phone == Phone("+492461123456"));
    CHECK(branch.tablet.read(branch.quiet).name == "Kelterei Kranich");
    CHECK(store.overview().queued == 0);
    CHECK(store.check().empty());
    CHECK(branch.world.differences().empty());
}

TEST_CASE("an erasure that comes with another user reaches what is parked") {
    Branch branch;
    Store& store = *branch.tablet.store;
    Contact person;
    person.customer_id = branch.customer;
    person.name = PersonName{"Ute", "Kaulquappe"};
    const auto contact = branch.phone.capture(person);
    branch.world.settle();
    REQUIRE(store.edit(contact).set(&Contact::name, PersonName{"Ute", "Molchkoenigin"}).save());
    Note about;
    about.subject_id = contact;
    about.text = "Segelfalter";
    const auto note = branch.tablet.capture(about);
    REQUIRE_FALSE(branch.tablet.session->next_request().empty());  // frozen
    about.text = "Zitronenfalter";
    Bundling draft = store.bundle();
    draft.add(about);
    REQUIRE(draft.save_draft());
    const auto visit = branch.visit(branch.customer, "Deckel undicht");
    branch.log_out();
    branch.enrol_second();
    for (const char* words : {"Molchkoenigin", "Segelfalter", "Zitronenfalter"})
        REQUIRE(holds(branch.tablet.path(), words));
    REQUIRE(branch.world.engine().erase("default", contact, false));
    branch.world.settle();
    for (const char* words : {"Kaulquappe", "Molchkoenigin", "Segelfalter", "Zitronenfalter"})
        CHECK_FALSE(holds(branch.tablet.path(), words));
    branch.log_out();
    branch.log_in_first();
    CHECK(store.check().empty());
    branch.world.settle();
    CHECK(store.status(note).state == SyncState::confirmed);
    CHECK(branch.tablet.read(visit).summary.text() == "Deckel undicht");
    CHECK(branch.tablet.read(contact).erased == true);
    CHECK(branch.world.differences().empty());
}

TEST_CASE("an erasure that its user does not know reaches what is parked when another comes back") {
    Branch branch;
    REQUIRE(branch.world.engine().erase("default", branch.customer, false));
    branch.world.settle();  // R17 knows
    branch.log_out();
    branch.enrol_second();
    branch.visit(branch.customer, "Segelfalter");  // R23 has heard of neither
    branch.log_out();
    REQUIRE(holds(branch.tablet.path(), "Segelfalter"));
    branch.log_in_first();
    branch.world.settle();
    CHECK_FALSE(holds(branch.tablet.path(), "Segelfalter"));
    CHECK(branch.tablet.store->check().empty());
    CHECK(branch.world.differences().empty());
}

TEST_CASE("a salvaged file still holds the work of who is logged out") {
    Branch branch;
    const auto visit = branch.visit(branch.customer, "Deckel undicht");
    branch.log_out();
    branch.tablet.session.reset();
    branch.tablet.store.reset();
    const std::string fresh = branch.tablet.path() + ".fresh";
    salvage(branch.tablet.path(), fresh);
    Store::Options options;
    options.environment = &branch.tablet.environment;
    Store store = Store::open(fresh, options);
    REQUIRE(store.overview().logged_out.size() == 1);
    CHECK(store.overview().logged_out[0].unsent == 1);
    store.log_in("R17");
    CHECK(store.read(visit)->summary.text() == "Deckel undicht");
}
