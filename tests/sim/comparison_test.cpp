// SPDX-License-Identifier: Apache-2.0
// Confirmed rows that went bad are found and mended, with real stores, sessions and engine.
#include <doctest/doctest.h>

#include <algorithm>

#include "server/comparison.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr const char* kNorth = "territory/DE-50";
constexpr const char* kSouth = "territory/DE-40";

/// What a comparison came to, from one end to the other.
struct Outcome {
    bool compared = false;
    std::size_t mended = 0, differing = 0, records = 0;  ///< records: that came down for it
    int requests = 0;
    std::string replies;
};

Outcome compare(World& world, Device& device) {
    Outcome outcome;
    device.session->compare();
    for (bool done = false; !done;) {
        REQUIRE(++outcome.requests < 100);
        world.pass(20);
        const auto answer = world.engine().sync({device.writer, device.session->next_request()});
        REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
        outcome.replies += answer.archive;
        if (const auto reply = decode<protocol::Reply>(answer.archive); reply.compared)
            for (const protocol::Differing& part : reply.compared->differing)
                outcome.records += part.records;
        const Session::Step step = device.take(answer.archive);
        REQUIRE(step.counted);
        outcome.mended += step.settled.mended;
        outcome.differing += step.settled.differing;
        outcome.compared |= step.compared;
        done = step.done;
    }
    return outcome;
}

void execute(Device& device, const std::string& sql) {
    Store::Core::Writing writing(device.store->core());
    writing.db.execute(sql);
    writing.commit();
}
void converged(World& world) {
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
    for (const auto& device : world.devices())
        for (const std::string& finding : device->store->check())
            FAIL_CHECK(device->name << ": " << finding);
}

std::vector<std::string> notes(World& world) {
    std::vector<std::string> codes;
    for (const auto& note : world.storage().begin_read()->recovery_notes("default"))
        codes.push_back(note.code);
    return codes;
}

/// A rep with a customer, visits of it and a complaint, on a phone and a tablet.
struct North {
    World world;
    Device& phone = world.device("R17", Role::rep, {kNorth});
    Device& tablet = world.device("R17", Role::rep, {kNorth});
    Id<Customer> customer = world.customer(tablet);
    std::vector<Id<Visit>> visits;
    Id<Complaint> complaint;

    explicit North(const WorldOptions& options = {}, int count = 4) : world(options) {
        for (int i = 0; i < count; ++i) {
            Visit v;
            v.customer_id = customer;
            v.type = VisitType::visit;
            v.summary = "Besuch " + std::to_string(i);
            v.purpose = {Purpose::complain};
            v.result = VisitResult::order;
            visits.push_back(tablet.capture(v));
        }
        Complaint c;
        c.customer_id = customer;
        c.product_text = "Becher 500 g";
        c.verbatim = "Deckel undicht";
        c.severity = Severity::major;
        complaint = tablet.capture(c);
        world.settle();
        converged(world);
    }
};

}  // namespace

TEST_CASE("what a device holds otherwise than its centre is mended, and its unsent work arrives") {
    North t;
    const std::string one = " WHERE id=" + blob(t.visits[1]);
    execute(t.phone, "CREATE TABLE kept AS SELECT * FROM visit" + one);
    REQUIRE(t.tablet.edit(t.visits[1]).set(&Visit::result, VisitResult::renewal).save());
    t.world.settle();
    // On the record that will be damaged and beside it.
    REQUIRE(t.phone.edit(t.visits[1]).set(&Visit::summary, "unterwegs notiert").save());
    REQUIRE(t.phone.edit(t.complaint).set(&Complaint::remedy_wanted, Remedy::replace).save());
    Bundling draft = t.phone.store->bundle();
    const Id<Visit> unfinished = draft.add([&] {
        Visit v;
        v.customer_id = t.customer;
        v.type = VisitType::call;
        return v;
    }());
    REQUIRE(draft.save_draft());

    std::size_t mended = 1;
    SUBCASE("a value is another one") {
        damage(t.phone, "UPDATE visit SET result='no_interest'" + one);
    }
    SUBCASE("a value has gone") { damage(t.phone, "UPDATE visit SET result=NULL" + one); }
    SUBCASE("a change was skipped") {
        damage(t.phone,
               "UPDATE visit SET version=(SELECT version FROM kept), result='order'" + one);
    }
    SUBCASE("what was confirmed cannot be read any more") {
        damage(t.phone, "UPDATE visit SET version=X'0102'" + one);
    }
    SUBCASE("a set cannot be read any more") {
        damage(t.phone, "UPDATE visit SET purpose='[\"compl'" + one);
    }
    SUBCASE("a record shows what was never confirmed") {
        damage(t.phone, "UPDATE visit SET purpose='[\"present\"]' WHERE id=" + blob(t.visits[0]));
    }
    SUBCASE("a record is in another scope") {
        damage(t.phone, "UPDATE visit SET scope='territory/DE-99'" + one);
    }
    SUBCASE("a record is hidden that never left") {
        damage(t.phone, "UPDATE visit SET status=status|8" + one);
    }
    SUBCASE("a record is missing") {
        damage(t.phone, "DELETE FROM visit WHERE id=" + blob(t.visits[0]));
    }
    SUBCASE("there is a record too many, and one is missing") {
        damage(t.phone, "UPDATE visit SET id=X'0195f0c2000070008000000000000001' WHERE id=" +
                            blob(t.visits[0]));
        mended = 2;
    }
    SUBCASE("nearly everything is missing") {
        damage(t.phone, "DELETE FROM visit WHERE version IS NOT NULL AND id<>" + blob(t.visits[1]));
        mended = 3;
    }
    const Outcome outcome = compare(t.world, t.phone);
    CHECK(outcome.compared);
    CHECK(outcome.mended == mended);
    CHECK(outcome.differing == 0);
    CHECK(t.phone.read(t.visits[1]).summary.text() == "unterwegs notiert");
    CHECK(t.phone.store->status(unfinished).state == SyncState::draft);
    t.world.settle();
    converged(t.world);
    CHECK(t.tablet.read(t.visits[1]).summary.text() == "unterwegs notiert");
    CHECK(t.tablet.read(t.visits[1]).result == VisitResult::renewal);
    CHECK(t.tablet.read(t.complaint).remedy_wanted == Remedy::replace);
    CHECK(t.phone.store->conflicts().empty());

    CHECK(notes(t.world) == std::vector<std::string>{server::kDiffered});
    const Overview overview = t.phone.store->overview();
    CHECK(overview.mended == mended);
    CHECK(overview.mended_at);
    CHECK(overview.compared_at);
    CHECK(compare(t.world, t.phone).mended == 0);
}

TEST_CASE("work that may not go yet stays over what is mended under it") {
    North t;
    Bundling draft = t.phone.store->bundle();
    draft.change(t.phone.edit(t.visits[0])
                     .set(&Visit::summary, "nur ein Entwurf")
                     .set(&Visit::result, VisitResult::renewal));
    REQUIRE(draft.save_draft());
    damage(t.phone, "UPDATE visit SET version=X'' WHERE id=" + blob(t.visits[0]));
    CHECK(compare(t.world, t.phone).mended == 1);
    CHECK(t.phone.read(t.visits[0]).summary.text() == "nur ein Entwurf");
    CHECK(t.phone.read(t.visits[0]).result == VisitResult::renewal);
    converged(t.world);
    REQUIRE(t.phone.store->submit(t.visits[0]));
    t.world.settle();
    CHECK(t.tablet.read(t.visits[0]).summary.text() == "nur ein Entwurf");
    converged(t.world);
}

TEST_CASE("where nothing differs nothing comes down, and what does not count is not counted") {
    North t;
    Device& south = t.world.device("R23", Role::rep, {kSouth});
    const Id<Customer> moving = t.world.customer(t.tablet, "Zieht um");
    Contact person;
    person.customer_id = t.customer;
    person.name = PersonName{"Ute", "Kleinschmidt"};
    const Id<Contact> contact = t.tablet.capture(person);
    t.world.settle();
    t.world.hand_over(moving, kSouth);
    while (t.world.engine().carry_on() > 0) {
    }
    REQUIRE(t.world.engine().erase("default", contact, false));
    t.world.settle();
    REQUIRE(t.phone.store->overview().departed == 1);
    Bundling draft = t.phone.store->bundle();
    draft.change(t.phone.edit(t.visits[2]).set(&Visit::summary, "nur ein Entwurf"));
    REQUIRE(draft.save_draft());
    for (Device* device : {&t.phone, &t.tablet, &south}) {
        CAPTURE(device->name);
        const Outcome outcome = compare(t.world, *device);
        CHECK(outcome.compared);
        CHECK(outcome.requests == 1);
        CHECK(outcome.records == 0);
        CHECK(outcome.mended == 0);
        CHECK(outcome.replies.size() < 60);
    }
    CHECK(notes(t.world).empty());
}

TEST_CASE("nothing that a device may not see is counted for it, or comes down with a comparison") {
    North t;
    Device& designer = t.world.device("P1", Role::pm, {kNorth});
    Device& south = t.world.device("R23", Role::rep, {kSouth});
    const Id<Customer> elsewhere = t.world.customer(south, "Kanarienvogel Süd");
    Contact person;  // not for designers
    person.customer_id = t.customer;
    person.name = PersonName{"Kanarienvogel", "Nord"};
    const Id<Contact> contact = t.tablet.capture(person);
    t.world.settle();
    const Outcome before = compare(t.world, designer);
    CHECK(before.records == 0);
    REQUIRE(t.tablet.edit(contact).set(&Contact::name, PersonName{"Kanarienvogel", "Neu"}).save());
    REQUIRE(south.edit(elsewhere).set(&Customer::legal_name, "Kanarienvogel GmbH").save());
    t.world.settle();
    CHECK(compare(t.world, designer).records == 0);

    // One that claims to hold nothing is sent what it may see, and no word about the rest.
    protocol::Request request = decode<protocol::Request>(designer.session->next_request());
    request.next += 1;
    request.comparison = Comparison{{}, {{end_of_comparison(), 0, 0}}};
    const auto answer = t.world.engine().sync({designer.writer, encode(request)});
    REQUIRE(answer.error_code.empty());
    const auto reply = decode<protocol::Reply>(answer.archive);
    REQUIRE(reply.compared);
    CHECK(reply.compared->up_to == end_of_comparison());
    CHECK(reply.records.size() == 1 + t.visits.size() + 1);
    CHECK(answer.archive.find("Deckel undicht") != std::string::npos);
    CHECK(answer.archive.find("Kanarienvogel") == std::string::npos);

    // What it holds as others' is not theirs by that.
    t.world.settle();
    damage(designer,
           "UPDATE visit SET scope='" + std::string(kSouth) + "' WHERE id=" + blob(t.visits[0]));
    const Outcome outcome = compare(t.world, designer);
    CHECK(outcome.mended == 1);
    CHECK(outcome.replies.find("Kanarienvogel") == std::string::npos);
    converged(t.world);
}

TEST_CASE("what differs comes in pieces, and a page that is too small for it is gone on from") {
    WorldOptions options;
    options.limits.reply_records_max = 5;
    North t(options, 23);
    damage(t.phone, "DELETE FROM visit");
    damage(t.phone, "UPDATE customer SET name='Verdorben'");
    const Outcome outcome = compare(t.world, t.phone);
    CHECK(outcome.compared);
    CHECK(outcome.mended == 24);
    CHECK(outcome.requests > 4);
    CHECK(outcome.requests < 10);
    converged(t.world);
}

TEST_CASE("a file with many records is compared in several requests, and only what differs comes") {
    North t({}, 1);
    const Id<Customer> other = t.world.customer(t.tablet, "Zweite");
    for (int i = 0; i < 13; ++i) {
        Bundling bundle = t.tablet.store->bundle();
        for (int j = 0; j < 400; ++j) {
            Note n;
            n.subject_id = j % 2 ? other : t.customer;
            n.text = std::to_string(j);
            bundle.add(n);
        }
        REQUIRE(bundle.save());
    }
    t.world.settle();
    CHECK(compare(t.world, t.phone).requests == 2);
    damage(t.phone, "UPDATE note SET text='verdorben' WHERE row=100");
    damage(t.phone, "UPDATE note SET text='verdorben' WHERE row=5100");
    const Outcome outcome = compare(t.world, t.phone);
    CHECK(outcome.mended == 2);
    CHECK(outcome.records <= 2 * kStretchRecordsMax);
    converged(t.world);
}

TEST_CASE("a repeat is the same request, and a reply that was lost mends when it comes again") {
    North t;
    damage(t.phone, "UPDATE visit SET result=NULL WHERE id=" + blob(t.visits[0]));
    t.phone.session->compare();
    const std::string first = t.phone.session->next_request();
    REQUIRE(decode<protocol::Request>(first).comparison);
    const auto lost = t.world.engine().sync({t.phone.writer, first});
    t.phone.restart();
    CHECK(t.phone.session->next_request() == first);
    SUBCASE("the repeat is answered") {
        // Somebody wrote meanwhile, so that the device is not compared with what it cannot have.
        REQUIRE(t.tablet.edit(t.visits[1]).set(&Visit::summary, "neu").save());
        while (!t.tablet
                    .take(t.world.engine()
                              .sync({t.tablet.writer, t.tablet.session->next_request()})
                              .archive)
                    .done) {
        }
        const auto answer = t.world.engine().sync({t.phone.writer, first});
        const auto reply = decode<protocol::Reply>(answer.archive);
        REQUIRE(reply.compared);
        CHECK(reply.compared->differing.empty());
        CHECK(t.phone.take(answer.archive).settled.mended == 0);
        CHECK(compare(t.world, t.phone).mended == 1);
    }
    SUBCASE("the lost one comes late") {
        CHECK(t.phone.take(lost.archive).settled.mended == 1);
        CHECK_FALSE(t.phone.take(lost.archive).counted);
    }
    t.world.settle();
    converged(t.world);
}

TEST_CASE("a device that others write to all the time gives up until the next day") {
    North t;
    t.phone.session->compare();
    int requests = 0;
    for (bool done = false; !done; ++requests) {
        REQUIRE(requests < 20);
        const std::string request = t.phone.session->next_request();
        REQUIRE(t.tablet.edit(t.visits[0]).set(&Visit::summary, std::to_string(requests)).save());
        while (!t.tablet
                    .take(t.world.engine()
                              .sync({t.tablet.writer, t.tablet.session->next_request()})
                              .archive)
                    .done) {
        }
        const Session::Step step =
            t.phone.take(t.world.engine().sync({t.phone.writer, request}).archive);
        CHECK_FALSE(step.compared);
        CHECK(step.settled.mended == 0);
        done = step.done;
    }
    CHECK(requests == 5);
    CHECK_FALSE(t.phone.store->overview().compared_at);
    CHECK_FALSE(t.phone.session->comparison_due());
    t.world.pass(25 * 3'600'000);
    CHECK(t.phone.session->comparison_due());
    CHECK(compare(t.world, t.phone).compared);
    CHECK_FALSE(t.phone.session->comparison_due());
    CHECK(t.phone.store->overview().compared_at);
}

TEST_CASE("a record the centre does not have stays while there is unsent work on it, and is told") {
    North t;
    Bundling draft = t.phone.store->bundle();
    draft.change(t.phone.edit(t.visits[0]).set(&Visit::summary, "unterwegs notiert"));
    REQUIRE(draft.save_draft());
    const std::string id = "X'0195f0c2000070008000000000000001'";
    damage(t.phone, "UPDATE visit SET id=" + id + " WHERE id=" + blob(t.visits[0]));
    damage(t.phone, "UPDATE change SET record=" + id);
    for (int day = 0; day < 2; ++day) {
        const Outcome outcome = compare(t.world, t.phone);
        CHECK(outcome.compared);
        CHECK(outcome.requests <= 2);
        CHECK(outcome.mended == (day == 0 ? 1 : 0));
        CHECK(outcome.differing == 1);
        CHECK(t.phone.store->overview().differing == 1);
    }
    std::string unsent;
    t.phone.store->export_records(nullptr, true, [&](const std::string& json) { unsent += json; });
    CHECK(unsent.find("unterwegs notiert") != std::string::npos);
}

TEST_CASE("a comparison that is none is turned away, and changes nothing") {
    North t;
    const auto code = [&](const Comparison& comparison) {
        protocol::Request request = decode<protocol::Request>(t.phone.session->next_request());
        request.comparison = comparison;
        return t.world.engine().sync({t.phone.writer, encode(request)}).error_code;
    };
    const ComparePoint middle{kind_of<Visit>().number, kNorth, t.visits[0]};
    CHECK(code({{}, {{middle, 1, 1}, {middle, 1, 1}}}) == "protocol_violated");
    CHECK(code({middle, {{middle, 0, 0}}}) == "protocol_violated");
    CHECK(code({{}, {{end_of_comparison(), 501, 1}}}) == "protocol_violated");
    Comparison many;
    for (std::uint16_t kind = 1; kind <= 11; ++kind)
        many.stretches.push_back({{kind, "", {}}, 0, 0});
    CHECK(code(many) == "protocol_violated");
    CHECK(code({{}, {}}).empty());
    CHECK(notes(t.world).empty());
}
