// SPDX-License-Identifier: Apache-2.0
// Erasure orders, from the centre to the last byte of every device: real stores and the real
// engine over the simulated network. Whether something is gone is asked of the files' bytes.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "protocol/messages.hpp"
#include "server/feed.hpp"
#include "server/subject_export.hpp"
#include "server/views.hpp"
#include "sim/world.hpp"
#include "sqlite/database.hpp"
#include "store/replica.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

constexpr std::int64_t kDayMs = 86'400'000;

// Words that stand nowhere by chance. Lower case, so that the folded search index holds them alike.
const std::string kFamily = "quastenflosserin", kBefore = "mondhornkaefer",
                  kNumber = "+4924619876543", kMail = "sumpfschrecke@example.org",
                  kSpoken = "wanderratte", kNoted = "zitronenfalter", kOther = "segelfalter";

std::string bytes_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// The file with all that SQLite keeps beside it.
bool holds(const std::string& path, const std::string& words) {
    for (const char* beside : {"", "-wal", "-shm", "-journal"})
        if (bytes_of(path + beside).find(words) != std::string::npos) return true;
    return false;
}

SearchRequest asking(const std::string& text) {
    SearchRequest request;
    request.text = text;
    return request;
}

Note note_on(const RecordId& subject, const std::string& text) {
    Note note;
    note.subject_id = subject;
    note.text = text;
    return note;
}

/// A contact with everything that can be said about one, on two devices of its rep and at the
/// centre.
struct Office {
    World world;
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& tablet = world.device("R17", Role::rep, {"territory/DE-50"});
    Id<Customer> customer = world.customer(phone);
    Id<Contact> contact;
    Id<Visit> visit;
    Id<Complaint> complaint;
    Id<Note> note;

    Office() {
        Contact person;
        person.customer_id = customer;
        person.name = PersonName{"Ute", kBefore};
        person.phones.elements.push_back({Phone(kNumber), ReachedAt::work});
        person.emails.elements.push_back({Email(kMail), {}});
        contact = phone.capture(person);
        REQUIRE(phone.last);
        world.settle();
        rename(phone, kFamily);
        Visit meeting;
        meeting.customer_id = customer;
        meeting.type = VisitType::visit;
        meeting.participants = {contact};
        meeting.summary = kSpoken;
        visit = phone.capture(meeting);
        Complaint leak;
        leak.customer_id = customer;
        leak.contact_id = contact;
        leak.visit_id = visit;
        leak.product_text = "Deckel 95 mm";
        leak.verbatim = kSpoken;
        leak.severity = Severity::major;
        complaint = phone.capture(leak);
        note = phone.capture(note_on(contact, kNoted));
        REQUIRE(phone.last);
        world.settle();
        for (Device* device : {&phone, &tablet})
            while (device->store->index_some()) {
            }
    }

    void rename(Device& by, const std::string& family) {
        REQUIRE(by.edit(contact).set(&Contact::name, PersonName{"Ute", family}).save());
    }
    server::Erased erase(bool hold_texts = false) {
        const auto erased = world.engine().erase("default", contact, hold_texts);
        REQUIRE(erased);
        REQUIRE(world.engine().scrub());
        return *erased;
    }
    std::vector<server::HeldText> held() {
        return world.storage().begin_read()->held_texts("default", {});
    }
    /// Who of them has these words in a byte of a file.
    std::string holders(const std::string& words) {
        std::string all;
        for (const auto& device : world.devices())
            if (holds(device->path(), words)) all += device->name + " ";
        if (holds(world.server_file(), words)) all += "server ";
        if (holds(server::erasures_path(world.server_file()), words)) all += "orders ";
        return all;
    }
    std::uint64_t done_by(Device& device) {
        return server::erasures_done_by(*world.storage().begin_read(), device.writer);
    }
};

const std::string kEverywhere = "R17-0 R17-1 server ";

}  // namespace

TEST_CASE("an erased contact is gone from every byte of the centre and of its devices") {
    Office office;
    office.rename(office.phone, kOther);  // so that kFamily is a superseded value
    office.world.settle();
    for (const std::string& words : {kOther, kNumber, kMail, kSpoken, kNoted})
        REQUIRE(office.holders(words) == kEverywhere);
    REQUIRE(office.holders(kFamily).find("server") != std::string::npos);
    REQUIRE(office.phone.store->search(asking(kOther)).hits.size() == 1);

    const server::Erased erased = office.erase();
    CHECK(erased.number == 1);
    CHECK(erased.records == 4);
    CHECK(erased.bundles >= 5);
    for (const std::string& words : {kOther, kFamily, kBefore, kNumber, kMail, kSpoken, kNoted})
        CHECK(office.holders(words).find("server") == std::string::npos);
    CHECK(office.done_by(office.phone) == 0);

    office.world.settle();
    for (const std::string& words : {kOther, kFamily, kBefore, kNumber, kMail, kSpoken, kNoted})
        CHECK(office.holders(words).empty());
    CHECK(office.done_by(office.phone) == 1);
    CHECK(office.done_by(office.tablet) == 1);
    CHECK(office.phone.store->search(asking(kOther)).hits.empty());
    CHECK(office.world.differences().empty());

    const Contact left = office.phone.read(office.contact);
    CHECK(left.erased == true);
    CHECK_FALSE(left.name.has_value());
    CHECK(left.customer_id == office.customer);
    const Complaint counted = office.tablet.read(office.complaint);
    CHECK(counted.severity == Severity::major);
    CHECK_FALSE(counted.verbatim.has_value());
    CHECK(office.phone.store->check().empty());
    CHECK(office.tablet.store->check().empty());
}

TEST_CASE("free pages keep nothing of it, whatever build of SQLite has freed them") {
    Office office;
    const std::string freed = "flussperlmuschel";
    const auto leave_in_free_pages = [&](const std::string& path) {
        auto db = sqlite::Database::open(path, {});
        db.execute("PRAGMA secure_delete=OFF; CREATE TABLE old(text TEXT)");
        auto insert = db.prepare("INSERT INTO old VALUES(?)");
        for (int i = 0; i < 20; ++i) insert.bind(1, freed + std::string(3000, 'x')).run();
        insert.reset();
        db.execute("DROP TABLE old");
        db.checkpoint();
    };
    office.world.restart_server([&] { leave_in_free_pages(office.world.server_file()); });
    office.phone.session.reset();
    office.phone.store.reset();
    leave_in_free_pages(office.phone.path());
    office.phone.restart();
    REQUIRE(office.holders(freed) == "R17-0 server ");
    office.erase();
    CHECK(office.holders(freed) == "R17-0 ");
    office.world.settle();
    CHECK(office.holders(freed).empty());
}

TEST_CASE("a device that was offline with edits of an erased contact brings nothing back") {
    Office office;
    const std::string edited = "tapirweibchen", said = "nachtigallenruf", about = "erdmaennchen",
                      begun = "kaulquappe", typed = "molchkoenigin";
    office.world.cut(office.tablet);
    office.rename(office.tablet, edited);
    REQUIRE(office.tablet.edit(office.visit).set(&Visit::summary, said).save());
    const Id<Note> fresh = office.tablet.capture(note_on(office.contact, about));
    REQUIRE(office.tablet.last);
    Bundling draft = office.tablet.store->bundle();
    const auto begun_note = draft.add(note_on(office.contact, begun));
    REQUIRE(draft.save_draft());
    office.tablet.store->autosave(begun_note, "at", typed);
    for (const std::string& words : {edited, said, about, begun, typed})
        REQUIRE(office.holders(words) == "R17-1 ");
    REQUIRE_FALSE(office.tablet.session->next_request().empty());  // frozen, and never answered
    office.tablet.restart();

    office.erase();
    office.world.settle();
    REQUIRE(office.holders(kFamily) == "R17-1 ");
    office.world.pass(20 * kDayMs);
    office.world.heal_and_settle();

    CHECK(office.holders(kFamily).empty());
    CHECK(office.holders(edited).empty());
    CHECK(office.holders(begun).empty());
    CHECK(office.holders(typed).empty());
    CHECK(office.phone.read(office.contact).name == std::nullopt);
    CHECK(office.tablet.store->status(office.contact).state == SyncState::confirmed);
    CHECK(office.world.differences().empty());

    SUBCASE("what it says about them is accepted and held, and can be shown") {
        CHECK(office.holders(about) == "server ");
        CHECK(office.held().size() == 2);
        CHECK(office.phone.read(fresh).subject_id == AnyId(office.contact));
        CHECK_FALSE(office.phone.read(fresh).text.has_value());
        REQUIRE(office.world.engine().decide_held("default", fresh, true));
        CHECK_FALSE(office.world.engine().decide_held("default", fresh, true));
        office.world.settle();
        CHECK(office.phone.read(fresh).text == about);
        CHECK(office.tablet.read(fresh).text == about);
        CHECK(office.world.differences().empty());
        const auto conflicts = office.phone.store->conflicts();
        CHECK(conflicts.empty());
    }
    SUBCASE("or be erased for good") {
        REQUIRE(office.world.engine().decide_held("default", fresh, false));
        REQUIRE(office.world.engine().decide_held("default", office.visit, false));
        REQUIRE(office.world.engine().scrub());
        CHECK(office.held().empty());
        CHECK(office.holders(about).empty());
        CHECK(office.holders(said).empty());
    }
}

TEST_CASE("an edit that an order takes whole leaves nothing unsent behind") {
    Office office;
    office.world.cut(office.tablet);
    REQUIRE_FALSE(office.tablet.session->next_request().empty());  // without the edit that follows
    office.rename(office.tablet, "tapirweibchen");
    office.erase();
    office.world.heal_and_settle();
    CHECK(office.tablet.store->check().empty());
    CHECK(office.tablet.store->status(office.contact).state == SyncState::confirmed);
    CHECK(office.tablet.store->overview().queued == 0);
    CHECK(office.holders("tapirweibchen").empty());
}

TEST_CASE("words that only name the contact can be held instead of erased") {
    Office office;
    CHECK(office.erase(true).held == 3);
    office.world.settle();
    CHECK(office.holders(kFamily).empty());
    CHECK(office.holders(kSpoken) == "server ");
    REQUIRE(office.world.engine().decide_held("default", office.complaint, true));
    office.world.settle();
    CHECK(office.tablet.read(office.complaint).verbatim == kSpoken);
    CHECK_FALSE(office.tablet.read(office.visit).summary.has_value());
    CHECK(office.world.differences().empty());
    // What is written into a record whose words are shown is shown as well.
    REQUIRE(office.phone.edit(office.complaint).set(&Complaint::description, kOther).save());
    office.world.settle();
    CHECK(office.tablet.read(office.complaint).description.text() == kOther);

    // An order that comes after the decision reaches them all the same, also at a centre that is
    // restored and carries out both.
    REQUIRE(office.world.engine().erase("default", office.customer, false));
    office.world.settle();
    CHECK_FALSE(office.tablet.read(office.complaint).verbatim.has_value());
    CHECK_FALSE(office.tablet.read(office.complaint).description.has_value());
    CHECK(office.world.differences().empty());
}

TEST_CASE("a centre restored from a backup carries out at once what it has forgotten") {
    Office office;
    const std::string file = office.world.server_file(), backup = file + ".backup";
    office.world.storage().backup(backup);
    REQUIRE(holds(backup, kFamily));
    office.erase();
    office.world.restart_server([&] {
        for (const char* beside : {"-wal", "-shm"}) std::filesystem::remove(file + beside);
        std::filesystem::copy_file(backup, file, std::filesystem::copy_options::overwrite_existing);
    });
    REQUIRE(office.world.engine().scrub());
    CHECK_FALSE(holds(file, kFamily));
    CHECK_FALSE(holds(file, kSpoken));
    CHECK(office.world.storage().begin_read()->erasures("default").size() == 1);
}

TEST_CASE("what devices offer a restored centre is held to the orders as well") {
    Office office;
    const std::string backup = office.world.back_up_server();
    office.rename(office.phone, kOther);
    const Id<Note> lost = office.phone.capture(note_on(office.contact, "molchkoenigin"));
    office.world.settle();
    office.erase();
    office.world.restore_server(backup);
    REQUIRE(office.world.engine().scrub());
    REQUIRE(office.holders(kOther) == "R17-0 R17-1 ");
    office.world.settle();
    REQUIRE(office.world.engine().scrub());
    for (const std::string& words : {kOther, kFamily, kNumber, kSpoken, kNoted})
        CHECK(office.holders(words).empty());
    CHECK(office.holders("molchkoenigin").empty());
    CHECK(office.phone.read(lost).erased == true);
    CHECK(office.world.differences().empty());
}

/// A centre restored to before a customer came who was erased later; the device that made them is
/// cut off, and another, told to erase and now out of reach, has said something about them.
struct Forgotten {
    World world;
    Device& roving = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& south = world.device("R23", Role::rep, {"territory/DE-51"});
    Id<Customer> customer;
    Id<Visit> visit;
    Id<Attachment> photo;

    Forgotten() {
        world.settle();
        const std::string backup = world.back_up_server();
        world.give_scopes(roving, {"territory/DE-50", "territory/DE-51"});
        customer = world.customer(south);
        visit = south.capture(a_visit(customer));
        Attachment lid;
        lid.subject_id = visit;
        lid.role = AttachmentRole::photo;
        lid.media_type = "image/jpeg";
        lid.size = 1;
        lid.sha256 = std::string(64, 'a');
        photo = south.capture(lid);
        REQUIRE(south.last);
        world.settle();
        REQUIRE(world.engine().erase("default", customer, false));
        world.settle();
        REQUIRE(roving.edit(customer).set(&Customer::remarks, kNumber).save());
        REQUIRE(roving.edit(visit).set(&Visit::summary, kSpoken).save());
        REQUIRE(roving.edit(photo).set(&Attachment::caption, kNoted).save());
        world.restore_server(backup);
        world.cut(south);
    }
    std::vector<server::RecoveryNote> kept_back() {
        return world.storage().begin_read()->recovery_notes("default");
    }
};

TEST_CASE("words in review lose what an order takes as soon as the record is here again") {
    Forgotten at;
    World& world = at.world;
    at.roving.session->begin();
    while (at.kept_back().empty())
        at.roving.take(
            world.engine().sync({at.roving.writer, at.roving.session->next_request()}).archive);
    {
        // Nothing at the centre tells any more what the visit is about.
        const auto transaction = world.storage().begin_write();
        for (const server::RecoveryNote& kept : transaction->recovery_notes("default"))
            transaction->remove(kept);
        transaction->commit();
    }
    world.settle();
    CHECK(at.roving.store->overview().waiting == 2);  // and come again
    CHECK_FALSE(holds(world.server_file(), kSpoken));
    world.pass(8 * kDayMs);
    world.settle();
    REQUIRE(at.roving.store->overview().review == 2);
    for (const std::string& words : {kSpoken, kNoted}) REQUIRE(holds(world.server_file(), words));
    world.heal_and_settle();
    REQUIRE(world.storage().begin_read()->record("default", at.customer));
    REQUIRE(world.engine().scrub());
    for (const std::string& words : {kNumber, kSpoken, kNoted})
        CHECK_FALSE(holds(world.server_file(), words));
}

TEST_CASE("words about what a recovery has kept back are held as if it were here") {
    Forgotten at;
    at.world.settle();
    REQUIRE_FALSE(at.world.storage().begin_read()->record("default", at.visit));
    REQUIRE(at.kept_back().size() == 3);
    const auto held = at.world.storage().begin_read()->held_texts("default", {});
    REQUIRE(held.size() == 2);
    CHECK(held[0].record == at.visit);
    CHECK(held[1].record == at.photo);  // on the visit, which is kept back as well
    CHECK(at.roving.store->overview().waiting == 0);
    CHECK_FALSE(holds(at.world.server_file(), kNumber));
    at.world.heal_and_settle();
    REQUIRE(at.world.storage().begin_read()->record("default", at.photo));
    CHECK(at.world.storage().begin_read()->held_texts("default", {}).size() == 2);
}

TEST_CASE("a centre that lost an order gets it back from a device before it serves anybody") {
    Office office;
    const std::string file = office.world.server_file(), backup = file + ".backup",
                      orders = server::erasures_path(file);
    office.world.storage().backup(backup);
    office.world.cut(office.tablet);
    office.erase();
    office.world.settle();
    REQUIRE(office.done_by(office.phone) == 1);
    office.world.restart_server([&] {
        std::filesystem::remove(orders);
        for (const char* beside : {"-wal", "-shm"}) std::filesystem::remove(file + beside);
        std::filesystem::copy_file(backup, file, std::filesystem::copy_options::overwrite_existing);
    });
    server::Engine& engine = office.world.engine();
    REQUIRE(holds(file, kFamily));
    CHECK_FALSE(engine.erasures()->lacking());

    const auto wanted = engine.sync({office.phone.writer, office.phone.session->next_request()});
    REQUIRE(wanted.error_code.empty());
    CHECK(engine.erasures()->lacking());
    const auto other = engine.sync({office.tablet.writer, office.tablet.session->next_request()});
    CHECK(other.error_code == "cancelled");
    REQUIRE(office.phone.session->take_reply(wanted.archive).counted);

    office.world.restart_server();  // it still knows that something is missing
    CHECK(office.world.engine().erasures()->lacking());
    const std::string hands = office.phone.session->next_request();
    SUBCASE("and serves the device") {}
    SUBCASE("and has to undo what the device asks for beside another's request") {
        auto broken = decode<protocol::Request>(hands);
        broken.kind = protocol::kRecover;
        broken.cursor = "none";
        const auto answers = office.world.engine().sync(
            {{office.phone.writer, encode(broken)},
             {office.tablet.writer, office.tablet.session->next_request()}});
        REQUIRE(answers[0].error_code == "protocol_violated");
        CHECK(holds(file, kFamily));
    }
    const auto handed = office.world.engine().sync({office.phone.writer, hands});
    REQUIRE(handed.error_code.empty());
    CHECK_FALSE(office.world.engine().erasures()->lacking());
    REQUIRE(office.world.engine().scrub());
    CHECK_FALSE(holds(file, kFamily));
    CHECK_FALSE(holds(file, kSpoken));
    CHECK(holds(orders, office.contact.text()));
    const auto served =
        office.world.engine().sync({office.tablet.writer, office.tablet.session->next_request()});
    CHECK(served.error_code.empty());
}

TEST_CASE("nobody can make the centre believe an order it never gave") {
    Office office;
    office.erase();
    office.world.settle();
    auto request = decode<protocol::Request>(office.phone.session->next_request());
    CHECK(request.erasures == 1);
    request.erasures = 2;
    CHECK(office.world.engine().sync({office.phone.writer, encode(request)}).error_code ==
          "protocol_violated");
    CHECK_FALSE(office.world.engine().erasures()->lacking());

    // A known number, and an order that says something else.
    const std::string file = office.world.server_file();
    request.erasures = 1;
    request.handed = Replica(*office.phone.store).orders_after(0, 10);
    REQUIRE(request.handed.size() == 1);
    request.handed[0].subject = office.customer;
    office.world.restart_server([&] {
        std::filesystem::remove(server::erasures_path(file));
        auto db = sqlite::Database::open(file, {});
        db.execute("DELETE FROM erasure");
    });
    CHECK(office.world.engine().sync({office.phone.writer, encode(request)}).error_code ==
          "protocol_violated");
    CHECK(office.phone.read(office.customer).name.has_value());
}

TEST_CASE("a torn last line of the orders is no order, a damaged earlier one stops the server") {
    Office office;
    const std::string orders = server::erasures_path(office.world.server_file());
    office.erase();
    const std::string whole = bytes_of(orders);
    office.world.restart_server([&] {
        std::ofstream(orders, std::ios::app | std::ios::binary)
            << whole.substr(0, whole.size() - 7);
    });
    CHECK(office.world.engine().erasures()->lines().size() == 1);
    CHECK(bytes_of(orders) == whole);
    std::string damaged = whole;
    damaged[damaged.find("\"order\"") + 9] = '7';
    std::ofstream(orders, std::ios::binary) << damaged << whole;
    CHECK_THROWS_AS(server::Erasures{orders}, Error);
}

TEST_CASE("the feed and the typed tables hear of an erasure and hold nothing of it") {
    Office office;
    TempDir folder;
    server::Views views(office.world.storage(), folder.file("views"));
    while (views.step()) {
    }
    const std::string tables = views.places().front().path;
    REQUIRE(holds(tables, kFamily));
    const std::uint64_t before = office.world.storage().begin_read()->feed_head("default");
    office.erase();
    server::FeedRequest request;
    request.tenant = "default";
    request.after = before;
    const std::string page = feed_page(*office.world.storage().begin_read(), request);
    CHECK(page.rfind(R"({"event":"erased")", 0) == 0);
    CHECK(page.find(office.contact.text() + R"(","order":1})") != std::string::npos);
    request.after = 0;
    const std::string all = feed_page(*office.world.storage().begin_read(), request);
    CHECK(all.find(kFamily) == std::string::npos);
    CHECK(all.find(kSpoken) == std::string::npos);
    while (views.step()) {
    }
    CHECK_FALSE(holds(tables, kFamily));
    CHECK_FALSE(holds(tables, kSpoken));
}

TEST_CASE("everything held on a contact is one export") {
    Office office;
    office.rename(office.phone, kOther);
    office.world.settle();
    const auto lines = [&] {
        std::vector<std::string> all;
        const auto snapshot = office.world.storage().begin_read();
        const Limits limits;
        server::Round round(*snapshot, office.phone.environment, limits);
        CHECK(export_subject(round, "default", office.contact,
                             [&](const std::string& line) { all.push_back(line); }));
        CHECK_FALSE(export_subject(round, "default", RecordId{}, [](const std::string&) {}));
        return all;
    };
    std::string all;
    for (const std::string& line : lines()) all += line + "\n";
    for (const std::string& words : {kOther, kFamily, kBefore, kNumber, kMail, kSpoken, kNoted})
        CHECK(all.find(words) != std::string::npos);
    CHECK(all.find(R"("event":"superseded")") != std::string::npos);
    CHECK(all.find("Molkerei") == std::string::npos);  // the customer is another subject

    office.erase();
    all.clear();
    for (const std::string& line : lines()) all += line + "\n";
    for (const std::string& words : {kOther, kFamily, kNumber, kSpoken, kNoted})
        CHECK(all.find(words) == std::string::npos);
    CHECK(all.find(R"("event":"erased")") != std::string::npos);
}

TEST_CASE("a customer who is a person is erased with everything about them") {
    Office office;
    REQUIRE(office.world.engine().erase("default", office.customer, false));
    REQUIRE(office.world.engine().scrub());
    office.world.settle();
    for (const std::string& words :
         {std::string("Molkerei Nord"), kFamily, kNumber, kSpoken, kNoted})
        CHECK(office.holders(words).empty());
    CHECK(office.world.differences().empty());
    CHECK(office.phone.read(office.customer).state == CustomerState::prospect);
}

TEST_CASE("a sync without news costs an erasure nothing but its number") {
    Office office;
    const auto size = [&] { return office.phone.session->next_request().size(); };
    const auto reply = [&] {
        const auto answer =
            office.world.engine().sync({office.phone.writer, office.phone.session->next_request()});
        REQUIRE(office.phone.session->take_reply(answer.archive).done);
        return answer.archive.size();
    };
    const std::size_t sent = size(), got = reply();
    office.erase();
    office.world.settle();
    CHECK(size() <= sent + 12);
    CHECK(reply() <= got);
}
