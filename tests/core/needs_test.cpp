// SPDX-License-Identifier: Apache-2.0
// What bundles wait for, and for how long.
#include <doctest/doctest.h>

#include "../support/temp_dir.hpp"
#include "model/archive.hpp"
#include "rapport/doctor.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "sqlite/database.hpp"
#include "store/replica.hpp"
#include "support/records.hpp"

using namespace rapport;
using test::a_complaint;

namespace {

const Identity kIdentity{"http://127.0.0.1",  "default", "R17",   Role::rep,
                         {"territory/DE-50"}, 77,        "secret"};

struct Device {
    explicit Device(const std::string& file) : store(Store::open(file)) {
        if (!replica.identity() && store.overview().logged_out.empty()) replica.enrol(kIdentity);
    }
    Id<Customer> customer(const std::string& name, bool as_draft = false) {
        Bundling bundle = store.bundle();
        Customer c;
        c.name = name;
        const Id<Customer> id = bundle.add(c);
        REQUIRE((as_draft ? bundle.save_draft() : bundle.save()));
        return id;
    }
    Id<Task> draft() {
        Bundling bundle = store.bundle();
        Task task;
        task.text = "Anrufen";
        const Id<Task> id = bundle.add(task);
        REQUIRE(bundle.save_draft());
        return id;
    }
    void about(const Id<Task>& task, const RecordId& subject) {
        REQUIRE(store.edit(task).set(&Task::subject_id, AnyId(subject)).save());
    }
    std::vector<Bundle> frozen() {
        std::vector<Bundle> bundles;
        for (const std::string& bytes : replica.compose({}).bundles)
            bundles.push_back(decode_bundle(bytes));
        return bundles;
    }
    void settle(const std::vector<Verdict>& verdicts) {
        Incoming in;
        in.next = replica.compose({}).next;
        in.checkpoint = in.leaves_entry = true;
        in.tag = 1;
        std::uint64_t counter = 0;
        for (const Verdict verdict : verdicts) in.verdicts.push_back({++counter, verdict, {}});
        REQUIRE(replica.settle(in));
    }

    Store store;
    Replica replica{store};
};

using Counters = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("what waits for a refused bundle stays, through others as well, and nothing else does") {
    const TempDir folder;
    Device phone(folder.file("a.rapport"));
    const Id<Customer> twin = phone.customer("Twin");
    phone.frozen();
    const auto [direct, captured] = phone.store.put(a_complaint(twin));
    REQUIRE(captured);
    Note note;
    note.subject_id = AnyId(direct);
    note.text = "Muster liegt bei";
    const auto [through, also_captured] = phone.store.put(note);
    REQUIRE(also_captured);
    const Id<Customer> apart = phone.customer("Molkerei Nord");
    phone.settle({Verdict::refused});
    CHECK(phone.store.status(direct).waits_for == std::vector<RecordId>{twin});
    CHECK(phone.store.status(through).waits_for == std::vector<RecordId>{twin});
    CHECK(phone.store.status(apart).state == SyncState::queued);
    CHECK(phone.store.overview().waiting == 2);
    CHECK(phone.store.held().size() == 3);
    const auto sent = phone.frozen();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].changes.at(0).id == apart);
    CHECK(sent[0].needs.empty());
}

TEST_CASE("a draft that names what was captured later waits for that, and for what that needs") {
    const TempDir folder;
    Device phone(folder.file("a.rapport"));
    const Id<Task> task = phone.draft();
    const Id<Customer> customer = phone.customer("Molkerei Nord", true);
    std::vector<RecordId> waiting{task};
    SUBCASE("a draft") { phone.about(task, customer); }
    SUBCASE("what needs a draft") {
        const auto [complaint, captured] = phone.store.put(a_complaint(customer));
        REQUIRE(captured);
        phone.about(task, complaint);
        waiting.push_back(complaint);
    }
    REQUIRE(phone.store.submit(task));
    for (const RecordId& id : waiting) {
        CHECK(phone.store.status(id).state == SyncState::waits);
        CHECK(phone.store.status(id).waits_for == std::vector<RecordId>{customer});
    }
    CHECK(phone.store.overview().waiting == waiting.size());
    CHECK(phone.replica.sendable() == 0);
    CHECK_THROWS_AS(phone.store.discard(customer), Error);
    REQUIRE(phone.store.submit(customer));
    CHECK(phone.store.overview().waiting == 0);
    CHECK(phone.replica.sendable() == waiting.size() + 1);
    CHECK(phone.store.check().empty());
}

TEST_CASE("a draft that names what was captured later is sent behind it") {
    const TempDir folder;
    Device phone(folder.file("a.rapport"));
    const Id<Task> task = phone.draft();
    const Id<Customer> between = phone.customer("Käserei Süd");
    const Id<Customer> customer = phone.customer("Molkerei Nord");
    const auto [complaint, captured] = phone.store.put(a_complaint(customer));
    REQUIRE(captured);
    phone.about(task, complaint);
    REQUIRE(phone.store.submit(task));
    CHECK(phone.replica.sendable() == 4);
    const auto sent = phone.frozen();
    REQUIRE(sent.size() == 4);
    const std::vector<RecordId> order{customer, complaint, task, between};
    for (std::size_t i = 0; i < order.size(); ++i) CHECK(sent[i].changes.at(0).id == order[i]);
    CHECK(sent[1].needs == Counters{1});
    CHECK(sent[2].needs == Counters{2});
}

TEST_CASE("bundles that need each other are sent as one, with what was captured between them") {
    const TempDir folder;
    Device phone(folder.file("a.rapport"));
    const Id<Customer> before = phone.customer("Käserei Süd", true);
    const Id<Task> task = phone.draft();
    Note note;
    note.subject_id = AnyId(task);
    note.text = "Muster liegt bei";
    const auto [about_task, captured] = phone.store.put(note);
    REQUIRE(captured);
    Note on_note;
    on_note.subject_id = AnyId(about_task);
    on_note.text = "Und noch eins";
    const auto [last, also_captured] = phone.store.put(on_note);
    REQUIRE(also_captured);
    const auto [behind, captured_behind] = phone.store.put(a_complaint(before));
    REQUIRE(captured_behind);
    Note after;
    after.subject_id = AnyId(last);
    after.text = "Danach";
    const auto [waiting, captured_last] = phone.store.put(after);
    REQUIRE(captured_last);
    phone.about(task, last);
    CHECK(phone.replica.sendable() == 0);
    REQUIRE(phone.store.submit(task));
    const auto sent = phone.frozen();
    REQUIRE(sent.size() == 2);
    CHECK(sent[0].changes.size() == 3);
    REQUIRE(sent[1].changes.size() == 1);
    CHECK(sent[1].changes[0].id == waiting);
    CHECK(sent[1].needs == Counters{1});
    CHECK(phone.store.check().empty());
    CHECK(phone.store.status(behind).waits_for == std::vector<RecordId>{before});
    phone.settle({Verdict::refused, Verdict::later});
    CHECK(phone.store.overview().waiting == 2);
    for (const RecordId& id : {RecordId(task), RecordId(about_task), RecordId(last)})
        CHECK(phone.store.status(id).state == SyncState::refused);
    CHECK(phone.store.find(about_task)->value("text") == Value("Muster liegt bei"));
    phone.about(task, before);
    CHECK(phone.store.submit(before));
    phone.replica.begin_run();
    CHECK(phone.frozen().size() == 4);
}

TEST_CASE("what bundles that become one do to the same record becomes one change") {
    const TempDir folder;
    Device phone(folder.file("a.rapport"));
    Bundling first = phone.store.bundle();
    Customer customer;
    customer.name = "Molkerei Nord";
    const Id<Customer> dairy = first.add(customer);
    Visit plain;
    plain.customer_id = dairy;
    plain.type = VisitType::visit;
    plain.started_at =
        Instant(TimePoint(Milliseconds(1'770'000'000'000)), std::chrono::minutes(60));
    const Id<Visit> visit = first.add(plain);
    REQUIRE(first.save());
    phone.frozen();
    Bundling second = phone.store.bundle();
    Contact contact;
    contact.customer_id = dairy;
    contact.name = PersonName{"Udo", "Kamp"};
    const Id<Contact> person = second.add(contact);
    second.change(phone.store.edit(visit)
                      .set(&Visit::summary, "Neue Linie")
                      .add(&Visit::purpose, Purpose::complain));
    REQUIRE(second.save());
    REQUIRE(phone.store.edit(visit).set(&Visit::summary, "Neue Linie 4").save());
    phone.settle({Verdict::refused});
    REQUIRE(phone.store.edit(visit).add(&Visit::participants, person).save());
    const auto before = phone.store.find(visit);
    const auto sent = phone.frozen();
    REQUIRE(sent.size() == 2);
    CHECK(sent[0].changes.size() == 3);
    CHECK(sent[0].changes[0].create);
    CHECK(sent[1].needs == Counters{sent[0].counter});
    CHECK(phone.store.find(visit)->fields == before->fields);
    CHECK(phone.store.find(visit)->value("summary") == Value("Neue Linie 4"));
    CHECK(phone.store.check().empty());
    phone.settle({Verdict::refused, Verdict::applied, Verdict::applied});
    CHECK(phone.store.find(visit)->fields == before->fields);
    CHECK(phone.store.status(person).state == SyncState::confirmed);
    CHECK(phone.store.check().empty());
}

TEST_CASE("nobody waits for the bundle that gets the id of one that is gone") {
    const TempDir folder;
    Device phone(folder.file("a.rapport"));
    const Id<Task> task = phone.draft();
    phone.about(task, phone.customer("Molkerei Nord"));
    CHECK(phone.frozen().size() == 1);
    phone.settle({Verdict::applied});
    const Id<Customer> stays = phone.customer("Käserei Süd", true);
    REQUIRE(phone.store.submit(task));
    CHECK(phone.store.status(task).state == SyncState::queued);
    CHECK(phone.replica.sendable() == 1);
    CHECK(phone.store.check().empty());
    phone.store.discard(stays);
    CHECK(phone.store.overview().drafts == 0);
}

TEST_CASE("a bundle whose needs cannot be read is said to be damaged, and salvaged with them") {
    const TempDir folder;
    const std::string path = folder.file("a.rapport"), fresh = folder.file("new.rapport");
    {
        Device phone(path);
        REQUIRE(phone.store.put(a_complaint(phone.customer("Molkerei Nord"))).second);
    }
    sqlite::Database::open(path, {}).execute(
        "UPDATE bundle SET needs = x'02FF' WHERE needs IS NOT NULL");
    CHECK(Store::open(path).check().size() == 1);
    CHECK_FALSE(salvage(path, fresh).whole());
    Device phone(fresh);
    CHECK(phone.store.check().empty());
    const auto sent = phone.frozen();
    REQUIRE(sent.size() == 2);
    CHECK(sent[1].needs == Counters{1});
    CHECK(Device(path).frozen().size() == 2);  // and nobody is held up until then
}

TEST_CASE("what an earlier build parked of a user's needs is there when they are back") {
    const TempDir folder;
    const std::string path = folder.file("a.rapport");
    {
        Device phone(path);
        phone.customer("Molkerei Nord");
        phone.customer("Käserei Süd");
        phone.store.log_out();
    }
    {
        sqlite::Database db = sqlite::Database::open(path, {});
        WireWriter row;  // bundle 2 needs 1, as a row of the table `needs`
        row.varint(2);
        for (const auto& [column, id] : {std::pair("bundle", 2), std::pair("needed", 1)}) {
            row.text(column);
            row.varint(static_cast<std::uint64_t>(sqlite::RawValue::Type::integer));
            row(std::int64_t{id});
        }
        db.prepare("INSERT INTO parked(user, name, body) SELECT id, 'needs', ? FROM user")
            .bind_blob(1, row.str())
            .run();
    }
    Device phone(path);
    phone.store.log_in("R17");
    const auto sent = phone.frozen();
    REQUIRE(sent.size() == 2);
    CHECK(sent[1].needs == Counters{1});
    CHECK(phone.store.check().empty());
}
