// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <thread>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "store/core.hpp"
#include "store/replica.hpp"
#include "support/records.hpp"

using namespace rapport;
using test::a_complaint;

namespace {

struct Pocket {
    TempDir folder;
    Store store = Store::open(folder.file("phone.rapport"));
    Replica replica{store};

    explicit Pocket(Role role = Role::rep) {
        replica.enrol(
            {"http://127.0.0.1", "default", "R17", role, {"territory/DE-50"}, 77, "secret"});
    }
    Id<Customer> customer(const std::string& name = "Molkerei Nord") {
        Customer c;
        c.name = name;
        auto [id, captured] = store.put(c);
        REQUIRE(captured);
        return id;
    }
    // Sends everything and lets the server say yes, without the server knowing anything else.
    void confirm_all() {
        const Outgoing out = replica.compose({});
        Incoming in;
        in.next = out.next;
        in.checkpoint = in.leaves_entry = true;
        in.tag = 1;
        for (const std::string& bytes : out.bundles)
            in.verdicts.push_back({decode_bundle(bytes).counter, Verdict::applied, {}});
        REQUIRE(replica.settle(in));
    }
    std::vector<Bundle> frozen() {
        std::vector<Bundle> bundles;
        for (const std::string& bytes : replica.compose({}).bundles)
            bundles.push_back(decode_bundle(bytes));
        return bundles;
    }
};

const Write* write_of(const Bundle& bundle, const RecordId& id, std::string_view field) {
    for (const Change& change : bundle.changes)
        if (change.id == id)
            for (const Write& write : change.writes)
                if (write.field == kind_numbered(change.kind)->field(field)->number) return &write;
    return nullptr;
}

}  // namespace

TEST_CASE("a bundle with one bad record stores nothing of it") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    Bundling bundle = phone.store.bundle();
    const Id<Complaint> good = bundle.add(a_complaint(customer));
    Complaint without_words = a_complaint(customer);
    without_words.verbatim = std::nullopt;
    const Id<Complaint> bad = bundle.add(without_words);
    const Captured captured = bundle.save();
    REQUIRE(captured.refusals.size() == 1);
    CHECK(captured.refusals[0].record == bad);
    CHECK(captured.refusals[0].field == "verbatim");
    CHECK(captured.refusals[0].code == "required");
    CHECK_FALSE(phone.store.find(good));
    CHECK_FALSE(phone.store.find(bad));
    CHECK(phone.store.overview().queued == 1);
}

TEST_CASE("of many bundles in one transaction a refused one leaves nothing and stops no other") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    Complaint bad = a_complaint(customer);
    bad.verbatim = std::nullopt;
    const auto id = [](std::uint8_t n) { return RecordId{{1, 0xA2, 0, 0, 0, n}}; };
    const std::vector<RecordEdit> first{creation(a_complaint(customer), id(1))},
        refused{creation(a_complaint(customer), id(2)), creation(bad, id(3))},
        last{creation(a_complaint(customer), id(4)), creation(a_complaint(customer), id(5))},
        repeated{creation(a_complaint(customer), id(4))};
    std::size_t told = 0;
    const Subscription watch = phone.store.observe({}, [&](const Changes& changes) {
        for (const Changes::Of& of : changes.kinds) told += of.ids.size();
    });
    const std::vector<std::span<const RecordEdit>> bundles{first, refused, last, repeated};
    const std::vector<Captured> captured = phone.store.commit_all(bundles);
    REQUIRE(captured.size() == 4);
    CHECK(captured[0]);
    CHECK(captured[1].refusals.front().field == "verbatim");
    CHECK(captured[2].ids == std::vector<RecordId>{id(4), id(5)});
    CHECK(captured[3].refusals.front().code == "exists");
    CHECK(told == 3);
    CHECK(phone.store.find(id(1)));
    CHECK_FALSE(phone.store.find(id(2)));
    CHECK_FALSE(phone.store.find(id(3)));
    CHECK(phone.store.overview().queued == 3);
    CHECK(phone.store.check().empty());
    CHECK(phone.frozen().size() == 3);
}

TEST_CASE(
    "a complaint gets the customer of the visit it names, and a visit without one refuses both") {
    Pocket phone;
    Visit visit;
    visit.customer_id = phone.customer();
    visit.type = VisitType::visit;
    auto [visit_id, captured] = phone.store.put(visit);
    REQUIRE(captured);
    Complaint later = a_complaint({});
    later.customer_id = std::nullopt;
    later.visit_id = visit_id;
    auto [later_id, later_captured] = phone.store.put(later);
    REQUIRE(later_captured);
    CHECK(phone.store.read(later_id)->customer_id == visit.customer_id);

    const Kind& kind = kind_of<Visit>();
    RecordId nowhere = visit_id;
    nowhere.bytes[15] ^= 1;
    later.visit_id = Id<Visit>(nowhere);
    const std::vector<RecordEdit> edits{
        {&kind,
         nowhere,
         true,
         {},
         {{kind.field("customer_id"), FieldEdit::Op::set, {{"", Value()}}}}},
        creation(later, {})};
    CHECK_FALSE(phone.store.commit(edits));
    CHECK_FALSE(phone.store.find(nowhere));
}

TEST_CASE("edits of one record join its unsent bundle") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    CHECK(phone.store.edit(customer).set(&Customer::legal_name, "Nord GmbH").save());
    CHECK(phone.store.edit(customer).set(&Customer::legal_name, "Nord AG").save());
    CHECK(phone.store.overview().queued == 1);
    const auto bundles = phone.frozen();
    REQUIRE(bundles.size() == 1);
    const Write* write = write_of(bundles[0], customer, "legal_name");
    REQUIRE(write);
    CHECK(write->adds[0].value == Value("Nord AG"));
    CHECK(write->folded.size() == 1);
}

TEST_CASE("a frozen bundle is sent again byte for byte and later edits form a new one") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    const Outgoing first = phone.replica.compose({});
    CHECK(phone.store.edit(customer).set(&Customer::name, "Molkerei Süd").save());
    const Outgoing again = phone.replica.compose({});
    CHECK(again.next == first.next);
    CHECK(again.bundles == first.bundles);
    CHECK(phone.store.status(customer).state == SyncState::queued);
    phone.confirm_all();
    const auto later = phone.frozen();
    REQUIRE(later.size() == 1);
    CHECK(later[0].counter == 2);
    const Write* write = write_of(later[0], customer, "name");
    REQUIRE(write);
    CHECK(write->over == std::vector<Overwritten>{{{77, 1}, ""}});
    CHECK(write->over_own.size() == 1);
}

TEST_CASE(
    "a bundle of several records never takes a later edit, and keeps its own copy of what that "
    "overwrites") {
    Pocket phone;
    Bundling bundle = phone.store.bundle();
    Customer c;
    c.name = "alt";
    const Id<Customer> customer = bundle.add(c);
    const Id<Complaint> complaint = bundle.add(a_complaint(customer));
    REQUIRE(bundle.save());
    CHECK(phone.store.edit(customer).set(&Customer::name, "neu").save());
    CHECK(phone.store.edit(complaint).set(&Complaint::remedy_wanted, Remedy::credit).save());
    CHECK(phone.store.read(customer)->name == "neu");
    const auto bundles = phone.frozen();
    REQUIRE(bundles.size() == 3);
    CHECK(write_of(bundles[0], customer, "name")->adds[0].value == Value("alt"));
    CHECK(write_of(bundles[1], customer, "name")->adds[0].value == Value("neu"));
    CHECK(bundles[1].needs == std::vector<std::uint64_t>{1});
    CHECK(bundles[2].needs == std::vector<std::uint64_t>{1});
}

TEST_CASE("an edit does not join an older bundle when a later one carries the field") {
    Pocket phone;
    const Id<Customer> a = phone.customer("A"), b = phone.customer("B");
    phone.confirm_all();
    CHECK(phone.store.edit(a).set(&Customer::website, "https://eins.example").save());
    const std::vector<RecordEdit> both{
        phone.store.edit(a).set(&Customer::name, "A2").record_edit(),
        phone.store.edit(b).set(&Customer::name, "B2").record_edit()};
    CHECK(phone.store.commit(both));
    CHECK(phone.store.overview().queued == 2);
    CHECK(phone.store.edit(a).set(&Customer::name, "A3").save());
    CHECK(phone.store.overview().queued == 3);
    CHECK(phone.store.edit(a).set(&Customer::website, "https://zwei.example").save());
    CHECK(phone.store.overview().queued == 3);
}

TEST_CASE("what a customer said cannot be changed once captured") {
    Pocket phone;
    auto [id, captured] = phone.store.put(a_complaint(phone.customer()));
    REQUIRE(captured);
    const Captured changed = phone.store.edit(id).set(&Complaint::verbatim, "anders").save();
    REQUIRE(changed.refusals.size() == 1);
    CHECK(changed.refusals[0].code == "write_once");
    CHECK(phone.store.read(id)->verbatim == "Deckel undicht");
    CHECK(phone.store.edit(id).set(&Complaint::verbatim, "Deckel undicht").save());
    CHECK(phone.store.overview().queued == 2);
}

TEST_CASE("a rep raises a severity and cannot lower what is confirmed; quality can") {
    for (const Role role : {Role::rep, Role::qm}) {
        CAPTURE(name_of(role));
        Pocket phone;
        auto [id, captured] = phone.store.put(a_complaint(phone.customer()));
        REQUIRE(captured);
        phone.confirm_all();
        if (role == Role::qm) {
            Identity identity = *phone.replica.identity();
            identity.role = Role::qm;
            phone.replica.enrol(identity);
        }
        CHECK(phone.store.edit(id).set(&Complaint::severity, Severity::critical).save());
        const Captured lowered =
            phone.store.edit(id).set(&Complaint::severity, Severity::minor).save();
        CHECK(static_cast<bool>(lowered) == (role == Role::qm));
        if (role == Role::rep) CHECK(lowered.refusals.at(0).code == "not_lowerable");
        CHECK(phone.store.read(id)->severity ==
              (role == Role::qm ? Severity::minor : Severity::critical));
    }
}

TEST_CASE("sets add and remove elements, maps write keys") {
    Pocket phone;
    const Id<Customer> id = phone.customer();
    CHECK(phone.store.edit(id).add(&Customer::tags, "bio").save());
    CHECK(phone.store.edit(id).add(&Customer::tags, "käse").save());
    CHECK(phone.store.edit(id).remove(&Customer::tags, "bio").save());
    CHECK(phone.store.read(id)->tags.elements.size() == 1);
    phone.confirm_all();
    CHECK(phone.store.edit(id).remove(&Customer::tags, "käse").save());
    CHECK(phone.store.read(id)->tags.elements.empty());
    const auto bundles = phone.frozen();
    REQUIRE(bundles.size() == 1);
    CHECK(write_of(bundles[0], id, "tags")->over.size() == 1);

    PerKey<Text<2000>> ext;
    ext.entries = {{"route", "A"}, {"day", "Mo"}};
    CHECK(phone.store.edit(id).set(&Customer::ext, ext).save());
    CHECK(
        phone.store.edit(id).put(&Customer::ext, "route", "B").take(&Customer::ext, "day").save());
    CHECK(phone.store.read(id)->ext.entries == std::map<std::string, Text<2000>>{{"route", "B"}});
}

TEST_CASE("a bundle over the published limits is refused at capture") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    Bundling bundle = phone.store.bundle();
    for (int i = 0; i < 60; ++i) {
        Complaint c = a_complaint(customer);
        c.description = std::string(7900, 'x');
        bundle.add(c);
    }
    const Captured captured = bundle.save();
    REQUIRE(captured.refusals.size() == 1);
    CHECK(captured.refusals[0].code == "too_large");
    CHECK(phone.store.overview().queued == 1);
}

TEST_CASE(
    "a refused bundle waits for an edit, its dependants wait for it, and all go again in order") {
    Pocket phone;
    Bundling bundle = phone.store.bundle();
    Customer c;
    c.name = "Twin";
    const Id<Customer> customer = bundle.add(c);
    bundle.add(a_complaint(customer));
    REQUIRE(bundle.save());
    CHECK(phone.store.edit(customer).set(&Customer::name, "Twin 2").save());
    auto [dependant, captured] = phone.store.put(a_complaint(customer));
    REQUIRE(captured);
    const Outgoing out = phone.replica.compose({});
    REQUIRE(out.bundles.size() == 3);
    Incoming in;
    in.next = out.next;
    in.checkpoint = in.leaves_entry = true;
    in.tag = 1;
    in.verdicts = {{1, Verdict::refused, {{customer, "name", "taken", "The name is taken."}}},
                   {2, Verdict::later, {}},
                   {3, Verdict::later, {}}};
    REQUIRE(phone.replica.settle(in)->refused == 1);

    CHECK(phone.store.status(customer).state == SyncState::refused);
    CHECK(phone.store.status(customer).reasons.at(0).code == "taken");
    CHECK(phone.store.status(dependant).state == SyncState::waits);
    CHECK(phone.store.status_with_children(customer).state == SyncState::refused);
    phone.replica.begin_run();
    CHECK(phone.replica.sendable() == 0);

    CHECK(phone.store.edit(customer).set(&Customer::name, "Single").save());
    CHECK(phone.replica.sendable() >= 2);
    const auto bundles = phone.frozen();
    CHECK(bundles[0].counter == 4);
    const Write* repaired = write_of(bundles[0], customer, "name");
    REQUIRE(repaired);
    CHECK(repaired->adds[0].value == Value("Single"));
    CHECK(repaired->former == std::vector<Dot>{{77, 1}});
    CHECK(phone.store.read(customer)->name == "Single");
}

TEST_CASE("a safety complaint goes first, behind nothing but what it needs") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    for (int i = 0; i < 5; ++i) REQUIRE(phone.store.put(a_complaint(customer)).second);
    const Id<Customer> other = phone.customer("Käserei Süd");
    Complaint glass = a_complaint(other);
    glass.severity = Severity::safety;
    const auto [id, captured] = phone.store.put(glass);
    REQUIRE(captured);
    Limits limits;
    limits.request_bundles_max = 3;
    const auto subjects = [&] {
        std::vector<RecordId> ids;
        std::uint64_t last = 0;
        for (const std::string& bytes : phone.replica.compose(limits).bundles) {
            const Bundle bundle = decode_bundle(bytes);
            CHECK(bundle.counter > last);
            for (const std::uint64_t needed : bundle.needs) CHECK(needed < bundle.counter);
            last = bundle.counter;
            ids.push_back(bundle.changes.at(0).id);
        }
        return ids;
    };
    CHECK(subjects() == std::vector<RecordId>{other, id, customer});
    CHECK(subjects() == std::vector<RecordId>{other, id, customer});  // the same request once more
    // Everything else follows in its order.
    phone.confirm_all();
    for (int rest = 0; rest < 2; ++rest) {
        CHECK(subjects().size() == (rest == 0 ? 3 : 2));
        phone.confirm_all();
    }
    CHECK(phone.store.overview().queued == 0);
    CHECK(phone.store.check().empty());
}

TEST_CASE("what the server is too old for waits until it has been upgraded") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    auto [dependant, captured] = phone.store.put(a_complaint(customer));
    REQUIRE(captured);
    auto [other, also] = phone.store.put(a_complaint(phone.customer("Käserei Süd")));
    REQUIRE(also);
    const auto settle = [&](std::vector<IncomingVerdict> verdicts, std::optional<Limits> limits) {
        Incoming in;
        in.next = phone.replica.compose({}).next;
        in.checkpoint = in.leaves_entry = true;
        in.tag = 1;
        in.verdicts = std::move(verdicts);
        in.limits = limits;
        REQUIRE(phone.replica.settle(in));
    };
    const std::vector<Refusal> too_old{{customer, "", "unknown_field", "Not known here yet."}};
    settle({{1, Verdict::later, too_old},
            {2, Verdict::later, {}},
            {3, Verdict::applied, {}},
            {4, Verdict::applied, {}}},
           {});
    CHECK(phone.store.status(customer).state == SyncState::waits);
    CHECK(phone.store.status(customer).reasons.at(0).code == "unknown_field");
    CHECK(phone.store.status(other).state == SyncState::confirmed);
    for (int run = 0; run < 3; ++run) {
        phone.replica.begin_run();
        CHECK(phone.replica.sendable() == 0);
    }
    Limits upgraded;
    ++upgraded.version;
    settle({}, upgraded);
    phone.replica.begin_run();
    const auto bundles = phone.frozen();
    REQUIRE(bundles.size() == 2);
    CHECK(bundles[0].changes.at(0).id == customer);
    CHECK(bundles[0].changes.at(0).writes.at(0).former == std::vector<Dot>{{77, 1}});
}

TEST_CASE("an edit of several records of a refused bundle repairs it, additions included") {
    Pocket phone;
    Bundling bundle = phone.store.bundle();
    Customer c;
    c.name = "Twin";
    const Id<Customer> customer = bundle.add(c);
    const Id<Complaint> complaint = bundle.add(a_complaint(customer));
    REQUIRE(bundle.save());
    const Outgoing out = phone.replica.compose({});
    Incoming in;
    in.next = out.next;
    in.checkpoint = in.leaves_entry = true;
    in.tag = 1;
    in.verdicts = {{1, Verdict::refused, {{customer, "name", "taken", "The name is taken."}}}};
    REQUIRE(phone.replica.settle(in));

    Bundling repair = phone.store.bundle();
    repair.change(phone.store.edit(customer).set(&Customer::name, "Single"));
    repair.change(phone.store.edit(complaint).set(&Complaint::remedy_wanted, Remedy::credit));
    repair.add(a_complaint(customer));
    REQUIRE(repair.save());
    CHECK(phone.store.overview().refused == 0);
    CHECK(phone.store.overview().queued == 1);
    const auto bundles = phone.frozen();
    REQUIRE(bundles.size() == 1);
    CHECK(bundles[0].changes.size() == 3);
}

TEST_CASE("a discarded draft leaves nothing, a needed one stays") {
    Pocket phone;
    Bundling draft = phone.store.bundle();
    Customer c;
    c.name = "Entwurf";
    const Id<Customer> id = draft.add(c);
    REQUIRE(draft.save_draft());
    auto [complaint, captured] = phone.store.put(a_complaint(id));
    REQUIRE(captured);
    CHECK(phone.store.status(complaint).state == SyncState::waits);
    CHECK_THROWS_AS(phone.store.discard(id), Error);
    CHECK(phone.store.find(id));

    Bundling other = phone.store.bundle();
    const Id<Customer> gone = other.add(c);
    REQUIRE(other.save_draft());
    phone.store.discard(gone);
    CHECK_FALSE(phone.store.find(gone));
    CHECK(phone.store.overview().drafts == 1);
    CHECK(phone.store.check().empty());
}

TEST_CASE("a departed record is hidden and keeps its unsent edit") {
    Pocket phone;
    const Id<Customer> id = phone.customer();
    phone.confirm_all();
    CHECK(phone.store.edit(id).set(&Customer::name, "letzte Worte").save());
    const Outgoing out = phone.replica.compose({});
    Incoming in;
    in.next = out.next;
    in.checkpoint = true;
    in.departures = {{kind_of<Customer>().number, id, 1, "territory/DE-40"}};
    REQUIRE(phone.replica.settle(in));
    CHECK_FALSE(phone.store.find(id));
    CHECK(phone.store.overview().sent == 1);
    CHECK(phone.store.check().empty());
}

TEST_CASE("threads capture, read and observe one store at a time of their own") {
    Pocket phone;
    const Id<Customer> customer = phone.customer();
    std::atomic<int> told{0};
    const Subscription subscription =
        phone.store.observe({&kind_of<Complaint>()}, [&](const Changes&) { ++told; });
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 20; ++i) (void)phone.store.put(a_complaint(customer));
        });
    for (int t = 0; t < 2; ++t)
        threads.emplace_back([&] {
            Query query;
            query.kind = &kind_of<Complaint>();
            for (int i = 0; i < 40; ++i) {
                (void)phone.store.query(query);
                (void)phone.store.overview();
            }
        });
    threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) {
            (void)phone.replica.compose({});
            (void)phone.replica.sendable();
        }
    });
    for (std::thread& thread : threads) thread.join();
    Query all;
    all.kind = &kind_of<Complaint>();
    CHECK(phone.store.count(all) == 60);
    CHECK(told == 60);
}

TEST_CASE("the clock goes on where the newest capture left it, whatever became of that one") {
    TempDir folder;
    const std::string path = folder.file("phone.rapport");
    Stamp last = 0;
    const auto open = [&] {
        Store store = Store::open(path, {.rep = "R17"});
        CHECK(store.core().clock().last() >= last);
        return store;
    };
    const auto leave = [&](Store& store) { last = store.core().clock().last(); };
    Customer customer;
    customer.name = "Molkerei Nord";
    Id<Customer> first, draft;
    {
        Store store = open();
        first = store.put(customer).first;
        store.put(customer);
        leave(store);
    }
    {
        Store store = open();
        CHECK(store.edit(first).set(&Customer::website, "https://nord.example").save());
        leave(store);
    }
    {
        Store store = open();
        Bundling bundle = store.bundle();
        draft = bundle.add(customer);
        CHECK(bundle.save_draft());
        leave(store);
    }
    {
        Store store = open();
        store.discard(draft);
        leave(store);
    }
    {
        Store store = open();
        Replica replica(store);
        replica.enrol(
            {"http://127.0.0.1", "default", "R17", Role::rep, {"territory/DE-50"}, 77, "secret"});
        store.put(customer);
        replica.compose({});
        leave(store);
    }
    open();
}

TEST_CASE("a text that a disk has broken in unsent work goes on as what can be read of it") {
    Pocket phone;
    Customer dairy;
    dairy.name = "Molkerei Nord";
    dairy.tags = {"Export"};
    const auto [id, captured] = phone.store.put(dairy);
    {
        Store::Core::Writing writing(phone.store.core());
        writing.db.execute(
            "UPDATE change SET writes=CAST(replace(CAST(writes AS TEXT), 'Export', 'Exp' || "
            "CAST(x'a2' AS TEXT) || 'rt') AS BLOB)");
        REQUIRE(writing.db.changes() == 1);
        writing.commit();
    }
    SUBCASE("when it is edited") {
        CHECK(phone.store.edit(id).set(&Customer::legal_name, "Nord AG").save());
        CHECK(phone.store.find(id)->shown("tags").at(0).value == Value("Exp\uFFFDrt"));
    }
    SUBCASE("when it is sent as it is") {}
    const auto bundles = phone.frozen();
    REQUIRE(bundles.size() == 1);
    const Write* tags = write_of(bundles[0], id, "tags");
    REQUIRE(tags);
    CHECK(tags->adds[0].value == Value("Exp\uFFFDrt"));
    CHECK(tags->adds[0].key == canonical_bytes(tags->adds[0].value));
}
