// SPDX-License-Identifier: Apache-2.0
// What every database under the server must do. A test program names its own as `StorageUnderTest`
// (a class whose open() gives a Storage over the same data each time) and includes this file once.
#include <doctest/doctest.h>

#include <functional>
#include <stdexcept>
#include <thread>

#include "model/hash.hpp"
#include "rapport/error.hpp"
#include "server/storage.hpp"

namespace rapport::server::contract {

inline RecordId id_of(unsigned n) {
    RecordId id;
    id.bytes[0] = 1;
    id.bytes[14] = static_cast<std::uint8_t>(n >> 8);
    id.bytes[15] = static_cast<std::uint8_t>(n);
    return id;
}

inline StoredRecord a_record(unsigned n, const std::string& scope, std::uint64_t commit = 1) {
    StoredRecord r;
    r.state.id = id_of(n);
    r.state.kind = 8;
    r.state.scope = scope;
    r.state.move = 3;
    FieldState& field = r.state.fields[30];
    field.live = {{{7, 2}, 99, "", Value("leaks"), {5, 11}, false}};
    field.counters = {{7, 2}, {9, 4}};
    field.known = {{{5, 10}, 0xABCDEF0123456789ULL}};
    r.commit = commit;
    r.event = "created";
    r.bundle = "7.2";
    r.author = "R17";
    r.received_at_ms = 1234;
    return r;
}

inline Device a_device(std::uint64_t writer, const std::string& credential) {
    Device d;
    d.tenant = "acme";
    d.writer = writer;
    d.parent = 3;
    d.rep = "R17";
    d.role = Role::qm;
    d.scopes = {"territory/DE-50", "territory/*"};
    d.credential_hash = credential;
    d.receipt = UINT64_MAX / 2;
    d.entries = {{11, 4, {{21, std::string("a\0b", 3)}, {22, ""}}}, {12, 5, {{23, "c"}}}};
    d.enrolled_at_ms = 5;
    d.last_seen_ms = 6;
    d.file_id = "00ff";
    d.last_sync_ms = 8;
    return d;
}

/// Runs `work` in a writing transaction and commits it.
inline void writing(Storage& storage, const std::function<void(Transaction&)>& work) {
    const auto tx = storage.begin_write();
    work(*tx);
    tx->commit();
}

inline std::vector<RecordId> linking(Transaction& tx, const std::string& tenant, unsigned target) {
    return tx.linking_to(tenant, id_of(target), {}, {}, 1000);
}

struct Fixture {
    StorageUnderTest place;
    std::unique_ptr<Storage> storage = place.open();
    void reopen() {
        storage.reset();
        storage = place.open();
    }
};

TEST_CASE_FIXTURE(Fixture,
                  "a device comes back as it was saved, also after the storage was opened again") {
    const Device saved = a_device(UINT64_MAX - 5, "h1");
    writing(*storage, [&](Transaction& tx) { tx.save(saved); });
    reopen();
    const auto tx = storage->begin_read();
    const auto d = tx->device(UINT64_MAX - 5);
    REQUIRE(d);
    CHECK(d->tenant == "acme");
    CHECK(d->parent == 3);
    CHECK(d->rep == "R17");
    CHECK(d->role == Role::qm);
    CHECK(d->scopes == saved.scopes);
    CHECK_FALSE(d->revoked);
    CHECK(d->receipt == saved.receipt);
    REQUIRE(d->entries.size() == 2);
    CHECK(d->entries[0].id == 11);
    CHECK(d->entries[0].receipt == 4);
    REQUIRE(d->entries[0].answers.size() == 2);
    CHECK(d->entries[0].answers[0].tag == 21);
    CHECK(d->entries[0].answers[0].cursor == std::string("a\0b", 3));
    CHECK(d->entries[1].answers[0].cursor == "c");
    CHECK(d->enrolled_at_ms == 5);
    CHECK(d->last_seen_ms == 6);
    CHECK(d->file_id == "00ff");
    CHECK(tx->device_by_credential("h1")->writer == saved.writer);
    CHECK_FALSE(tx->device_by_credential("h2"));
    CHECK_FALSE(tx->device_by_credential(""));
    CHECK(tx->devices().size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "no two devices have one credential") {
    writing(*storage, [](Transaction& tx) { tx.save(a_device(1, "h1")); });
    CHECK_THROWS_AS(storage->begin_write()->save(a_device(2, "h1")), Error);
    CHECK(storage->begin_read()->device_by_credential("h1")->writer == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "invitations and keys are found by their hash and can be marked as used") {
    writing(*storage, [&](Transaction& tx) {
        tx.save(Invitation{"code", "acme", "R17", Role::rep, {"territory/A"}, 77, 0});
        tx.save(ApiKey{"key", "acme", Role::feed, 8, false});
    });
    writing(*storage, [&](Transaction& tx) {
        auto invitation = tx.invitation("code");
        REQUIRE(invitation);
        CHECK(invitation->scopes == std::vector<std::string>{"territory/A"});
        CHECK(invitation->expires_at_ms == 77);
        invitation->redeemed_by = 42;
        tx.save(*invitation);
        auto key = tx.api_key("key");
        REQUIRE(key);
        CHECK(key->role == Role::feed);
        key->revoked = true;
        tx.save(*key);
    });
    const auto tx = storage->begin_read();
    CHECK(tx->invitation("code")->redeemed_by == 42);
    CHECK(tx->api_key("key")->revoked);
    CHECK_FALSE(tx->invitation("other"));
    CHECK_FALSE(tx->api_key("other"));
}

TEST_CASE_FIXTURE(Fixture, "a verdict is kept with its reasons") {
    const StoredVerdict refused{Verdict::refused, {{id_of(1), "severity", "not_lowered", "No."}}};
    writing(*storage, [&](Transaction& tx) { tx.save_verdict(7, 1, refused, "bytes", 9); });
    const auto tx = storage->begin_read();
    const auto verdict = tx->verdict(7, 1);
    REQUIRE(verdict);
    CHECK(verdict->verdict == Verdict::refused);
    CHECK(verdict->reasons == refused.reasons);
    CHECK_FALSE(tx->verdict(7, 2));
    CHECK_FALSE(tx->verdict(8, 1));
}

TEST_CASE_FIXTURE(Fixture, "a bundle stays open while it is refused or in review, for its tenant") {
    const StoredVerdict refused{Verdict::refused, {{id_of(1), "need", "required", "x", {"y"}}}},
        review{Verdict::review, {}};
    writing(*storage, [&](Transaction& tx) {
        tx.save(a_device(7, "a"));
        tx.save_verdict(7, 1, {Verdict::applied, {}}, "first", 8);
        tx.save_verdict(7, 2, refused, "second", 9);
        tx.save_verdict(7, 3, review, std::string("t\0d", 3), 10);
        tx.save_verdict(7, 4, {Verdict::later, {}}, "fourth", 11);
    });
    const auto open = [&](const std::string& tenant) {
        std::vector<std::uint64_t> counters;
        storage->begin_read()->open_bundles(
            tenant, [&](const StoredBundle& b) { counters.push_back(b.counter); });
        return counters;
    };
    CHECK(open("acme") == std::vector<std::uint64_t>{2, 3});
    CHECK(open("other").empty());
    const auto stored = storage->begin_read()->bundle(7, 3);
    REQUIRE(stored);
    CHECK(stored->writer == 7);
    CHECK(stored->counter == 3);
    CHECK(stored->verdict.verdict == Verdict::review);
    CHECK(stored->bytes == std::string("t\0d", 3));
    CHECK(stored->received_at_ms == 10);
    CHECK_FALSE(storage->begin_read()->bundle(7, 9));

    writing(*storage, [&](Transaction& tx) { tx.sent_again(7, 2); });
    CHECK(open("acme") == std::vector<std::uint64_t>{3});
    SUBCASE("applied, it leaves the list") {
        writing(*storage, [&](Transaction& tx) { tx.decide(7, 3, {Verdict::applied, {}}); });
        CHECK(open("acme").empty());
    }
    SUBCASE("refused, it stays until it is sent again") {
        writing(*storage, [&](Transaction& tx) { tx.decide(7, 3, refused); });
        CHECK(open("acme") == std::vector<std::uint64_t>{3});
        CHECK(storage->begin_read()->verdict(7, 3)->reasons == refused.reasons);
    }
}

TEST_CASE_FIXTURE(Fixture, "a late verdict waits until the sync that told it has arrived") {
    writing(*storage, [&](Transaction& tx) {
        for (const std::uint64_t counter : {1U, 2U})
            tx.save_verdict(7, counter, {Verdict::review, {}}, "bytes", 9);
        tx.decide(7, 1, {Verdict::applied, {}});
    });
    CHECK(storage->begin_read()->late_verdicts(8).empty());
    auto late = storage->begin_read()->late_verdicts(7);
    REQUIRE(late.size() == 1);
    CHECK(late[0].counter == 1);
    CHECK(late[0].verdict.verdict == Verdict::applied);
    CHECK(late[0].told_in == 0);
    writing(*storage, [&](Transaction& tx) {
        tx.tell_late_verdicts(7, UINT64_MAX);
        tx.decide(7, 2, {Verdict::refused, {}});
    });
    late = storage->begin_read()->late_verdicts(7);
    REQUIRE(late.size() == 2);
    CHECK(late[0].told_in == UINT64_MAX);
    CHECK(late[1].told_in == 0);
    writing(*storage, [&](Transaction& tx) {
        tx.late_verdicts_arrived(7, 5);
        tx.late_verdicts_arrived(8, UINT64_MAX);
    });
    CHECK(storage->begin_read()->late_verdicts(7).size() == 2);
    writing(*storage, [&](Transaction& tx) { tx.late_verdicts_arrived(7, UINT64_MAX); });
    late = storage->begin_read()->late_verdicts(7);
    REQUIRE(late.size() == 1);
    CHECK(late[0].counter == 2);
}

TEST_CASE_FIXTURE(Fixture, "a record comes back whole, with captures and counters") {
    StoredRecord saved = a_record(1, "territory/A", 4);
    saved.root = id_of(50);
    saved.subject = id_of(51);
    writing(*storage, [&](Transaction& tx) { tx.save("acme", saved); });
    CHECK(saved.position == 1);
    const auto tx = storage->begin_read();
    const auto r = tx->record("acme", id_of(1));
    REQUIRE(r);
    CHECK(r->state == saved.state);
    CHECK(r->root == id_of(50));
    CHECK(r->subject == id_of(51));
    CHECK(r->position == 1);
    CHECK(r->commit == 4);
    CHECK(r->event == "created");
    CHECK(r->bundle == "7.2");
    CHECK(r->author == "R17");
    CHECK(r->received_at_ms == 1234);
    CHECK_FALSE(tx->record("acme", id_of(2)));
}

TEST_CASE_FIXTURE(
    Fixture, "a saved record moves to the head of its stream, and the stream never grows by it") {
    writing(*storage, [&](Transaction& tx) {
        for (unsigned n = 1; n <= 3; ++n) {
            StoredRecord r = a_record(n, "territory/A", n);
            tx.save("acme", r);
        }
        StoredRecord other = a_record(4, "territory/B", 4);
        tx.save("acme", other);
        StoredRecord again = *tx.record("acme", id_of(1));
        tx.save("acme", again);
        CHECK(again.position == 4);
    });
    const auto tx = storage->begin_read();
    const auto all = tx->changed("acme", "territory/A", 0, 100);
    REQUIRE(all.size() == 3);
    CHECK(all[0].state.id == id_of(2));
    CHECK(all[1].state.id == id_of(3));
    CHECK(all[2].state.id == id_of(1));
    CHECK(tx->changed("acme", "territory/A", 3, 100).size() == 1);
    CHECK(tx->changed("acme", "territory/A", 0, 2).size() == 2);
    CHECK(tx->changed("acme", "territory/A", 4, 100).empty());
    const auto streams = tx->streams("acme");
    REQUIRE(streams.size() == 2);
    CHECK(streams[0].scope == "territory/A");
    CHECK(streams[0].head == 4);
    CHECK(streams[1].head == 1);
    CHECK(streams[0].id != streams[1].id);
    CHECK(streams[0].id != 0);
}

TEST_CASE_FIXTURE(Fixture,
                  "what is remembered is what would be read, until it is written over or undone") {
    const std::string scope = "territory/DE-50";
    const auto tx = storage->begin_write();
    const auto author_in = [&](const std::string& tenant) {
        const auto records = tx->changed(tenant, scope, 0, 10);
        REQUIRE(records.size() == 1);
        return records[0].author;
    };
    StoredRecord ours = a_record(1, scope), theirs = a_record(1, scope);
    theirs.author = "R18";
    tx->save("acme", ours);
    tx->save("other", theirs);
    tx->remember("acme", ours);
    CHECK(author_in("other") == "R18");
    for (int time = 0; time < 2; ++time) {
        const auto found = tx->changed("acme", scope, 0, 10);
        REQUIRE(found.size() == 1);
        CHECK(found[0].state == ours.state);
        CHECK(found[0].position == ours.position);
        CHECK(found[0].author == "R17");
    }
    tx->remember("acme", ours);
    CHECK(tx->record("acme", ours.state.id)->state == ours.state);
    CHECK(tx->record("other", ours.state.id)->author == "R18");
    tx->remember("acme", ours);
    ours.author = "R19";
    tx->save("acme", ours);
    CHECK(author_in("acme") == "R19");
    tx->savepoint([&] {
        StoredRecord later = ours;
        later.author = "R20";
        tx->save("acme", later);
        tx->remember("acme", later);
        return false;
    });
    CHECK(author_in("acme") == "R19");
}

TEST_CASE_FIXTURE(Fixture, "departures share the positions of the stream they left") {
    writing(*storage, [&](Transaction& tx) {
        StoredRecord r = a_record(1, "territory/A");
        tx.save("acme", r);
        StoredDeparture d{8, id_of(2), 5, "territory/A", "territory/B", 0, 2, 77};
        tx.save("acme", d);
        CHECK(d.position == 2);
    });
    const auto tx = storage->begin_read();
    const auto departed = tx->departed("acme", "territory/A", 1, 10);
    REQUIRE(departed.size() == 1);
    CHECK(departed[0].id == id_of(2));
    CHECK(departed[0].move == 5);
    CHECK(departed[0].to == "territory/B");
    CHECK(departed[0].commit == 2);
    CHECK(departed[0].at_ms == 77);
    CHECK(tx->departed("acme", "territory/A", 2, 10).empty());
    CHECK(tx->departed("acme", "territory/B", 0, 10).empty());
}

TEST_CASE_FIXTURE(Fixture, "the departures of one record come with the latest first") {
    writing(*storage, [&](Transaction& tx) {
        StoredDeparture first{8, id_of(2), 1, "territory/A", "territory/B", 0, 2, 70};
        StoredDeparture second{8, id_of(2), 2, "territory/B", "territory/C", 0, 3, 80};
        StoredDeparture other{8, id_of(3), 9, "territory/B", "territory/C", 0, 3, 90};
        tx.save("acme", first);
        tx.save("acme", second);
        tx.save("acme", other);
    });
    const auto tx = storage->begin_read();
    const auto departures = tx->departures_of("acme", id_of(2));
    REQUIRE(departures.size() == 2);
    CHECK(departures[0].from == "territory/B");
    CHECK(departures[0].to == "territory/C");
    CHECK(departures[0].at_ms == 80);
    CHECK(departures[1].move == 1);
    CHECK(tx->departures_of("other", id_of(2)).empty());
}

TEST_CASE_FIXTURE(Fixture, "what hangs on a record is found by id, piece by piece") {
    writing(*storage, [&](Transaction& tx) {
        for (unsigned n = 1; n <= 5; ++n) {
            StoredRecord r = a_record(n, "territory/A");
            if (n != 3) r.root = id_of(9);
            tx.save("acme", r);
        }
    });
    {
        const auto tx = storage->begin_read();
        CHECK(tx->hanging_on("acme", id_of(9), {}, 2) == std::vector{id_of(1), id_of(2)});
        CHECK(tx->hanging_on("acme", id_of(9), id_of(2), 9) == std::vector{id_of(4), id_of(5)});
        CHECK(tx->hanging_on("other", id_of(9), {}, 9).empty());
        CHECK(tx->living_in("acme", 8, "territory/A", 3).size() == 3);
        CHECK(tx->living_in("acme", 8, "territory/B", 3).empty());
        CHECK(tx->living_in("acme", 7, "territory/A", 3).empty());
    }
    writing(*storage, [&](Transaction& tx) { tx.save_root("acme", id_of(4), id_of(7)); });
    const auto tx = storage->begin_read();
    CHECK(tx->hanging_on("acme", id_of(9), id_of(2), 9) == std::vector{id_of(5)});
    CHECK(tx->record("acme", id_of(4))->root == id_of(7));
    CHECK(tx->record("acme", id_of(4))->position == 4);
}

TEST_CASE_FIXTURE(Fixture, "records of a kind come newest id first, below one and up to a place") {
    writing(*storage, [&](Transaction& tx) {
        for (unsigned n = 1; n <= 5; ++n) {
            StoredRecord r = a_record(n, n == 3 ? "territory/B" : "territory/A");
            tx.save("acme", r);
        }
    });
    const auto tx = storage->begin_read();
    const auto ids = [&](const RecordId& below, std::uint64_t up_to, std::size_t limit) {
        std::vector<RecordId> found;
        for (const StoredRecord& r : tx->newest("acme", "territory/A", 8, below, up_to, limit))
            found.push_back(r.state.id);
        return found;
    };
    CHECK(ids(id_of(99), 99, 9) == std::vector{id_of(5), id_of(4), id_of(2), id_of(1)});
    CHECK(ids(id_of(99), 99, 2) == std::vector{id_of(5), id_of(4)});
    CHECK(ids(id_of(4), 99, 9) == std::vector{id_of(2), id_of(1)});
    CHECK(ids(id_of(99), 2, 9) == std::vector{id_of(2), id_of(1)});
    CHECK(tx->newest("acme", "territory/A", 7, id_of(99), 99, 9).empty());
}

TEST_CASE_FIXTURE(Fixture, "an open move stays until it is removed, and is kept once") {
    writing(*storage, [&](Transaction& tx) {
        tx.save("acme", OpenMove{{}, "territory/A", "territory/B", {}});
        tx.save("acme", OpenMove{id_of(1), {}, {}, {}});
        tx.save("acme", OpenMove{id_of(1), {}, {}, id_of(4)});
    });
    reopen();
    {
        const auto moves = storage->begin_read()->open_moves("acme");
        REQUIRE(moves.size() == 2);
        CHECK(moves[0].customer == id_of(1));
        CHECK(moves[0].after == id_of(4));
        CHECK(moves[1].from == "territory/A");
        CHECK(moves[1].to == "territory/B");
        CHECK(storage->begin_read()->open_moves("other").empty());
    }
    writing(*storage, [&](Transaction& tx) { tx.remove("acme", OpenMove{id_of(1), {}, {}, {}}); });
    CHECK(storage->begin_read()->open_moves("acme").size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "two tenants with the same ids, scopes and names share nothing") {
    writing(*storage, [&](Transaction& tx) {
        StoredRecord mine = a_record(1, "territory/A");
        mine.subject = id_of(9);
        tx.save("acme", mine);
        tx.save_external_ids("acme", 8, id_of(1), {{"erp", "4711"}});
        tx.save_links("acme", id_of(1), {id_of(9)});
        tx.append("acme", {id_of(1), 30, {}, "R17", 1, "7.2"});
        CHECK(tx.next_commit("acme") == 1);
        CHECK(tx.next_number("acme", "C-2026") == 1);
        StoredRecord theirs = a_record(1, "territory/A");
        theirs.state.fields[30].live[0].value = Value("other");
        tx.save("umbrella", theirs);
        CHECK(theirs.position == 1);
        CHECK(tx.next_commit("umbrella") == 1);
        CHECK(tx.next_number("umbrella", "C-2026") == 1);
    });
    const auto tx = storage->begin_read();
    CHECK(tx->record("acme", id_of(1))->state.fields.at(30).live[0].value == Value("leaks"));
    CHECK(tx->record("umbrella", id_of(1))->state.fields.at(30).live[0].value == Value("other"));
    CHECK(tx->changed("umbrella", "territory/A", 0, 10).size() == 1);
    CHECK_FALSE(tx->by_external_id("umbrella", 8, "erp", "4711"));
    CHECK(linking(*tx, "umbrella", 9).empty());
    CHECK(tx->with_subject("umbrella", id_of(9), 8).empty());
    CHECK(tx->history("umbrella", id_of(1)).empty());
    CHECK(tx->streams("umbrella").size() == 1);
    CHECK(tx->feed("other", 0, 10).empty());
    CHECK(tx->tenants() == std::vector<std::string>{"acme", "umbrella"});
}

TEST_CASE_FIXTURE(
    Fixture,
    "records are found by subject, link and external id, and saving anew replaces what was there") {
    writing(*storage, [&](Transaction& tx) {
        StoredRecord note = a_record(1, "global");
        note.subject = id_of(9);
        tx.save("acme", note);
        tx.save_links("acme", id_of(1), {id_of(20), id_of(21), id_of(20)});
        tx.save_links("acme", id_of(2), {id_of(20)});
        tx.save_external_ids("acme", 8, id_of(1), {{"erp", "1"}, {"crm", "1"}});
    });
    writing(*storage, [&](Transaction& tx) {
        CHECK(tx.with_subject("acme", id_of(9), 8) == std::vector<RecordId>{id_of(1)});
        CHECK(tx.with_subject("acme", id_of(9), 7).empty());
        CHECK(linking(tx, "acme", 20) == std::vector<RecordId>{id_of(1), id_of(2)});
        CHECK(tx.by_external_id("acme", 8, "erp", "1") == id_of(1));
        CHECK_FALSE(tx.by_external_id("acme", 7, "erp", "1"));
        tx.save_links("acme", id_of(1), {id_of(21)});
        tx.save_external_ids("acme", 8, id_of(1), {{"erp", "2"}});
    });
    const auto tx = storage->begin_read();
    CHECK(linking(*tx, "acme", 20) == std::vector<RecordId>{id_of(2)});
    CHECK(linking(*tx, "acme", 21) == std::vector<RecordId>{id_of(1)});
    CHECK_FALSE(tx->by_external_id("acme", 8, "erp", "1"));
    CHECK_FALSE(tx->by_external_id("acme", 8, "crm", "1"));
    CHECK(tx->by_external_id("acme", 8, "erp", "2") == id_of(1));
}

TEST_CASE_FIXTURE(Fixture, "links come by id, piece by piece, and of one root alone") {
    writing(*storage, [&](Transaction& tx) {
        for (unsigned n = 1; n <= 4; ++n) {
            StoredRecord r = a_record(n, "territory/A");
            r.root = id_of(n % 2 == 0 ? 30 : 31);
            tx.save("acme", r);
            tx.save_links("acme", id_of(n), {id_of(20)});
        }
    });
    const auto tx = storage->begin_read();
    const auto link = [&](unsigned root, unsigned after, std::size_t limit) {
        return tx->linking_to("acme", id_of(20), root == 0 ? RecordId{} : id_of(root),
                              after == 0 ? RecordId{} : id_of(after), limit);
    };
    CHECK(link(0, 0, 3) == std::vector<RecordId>{id_of(1), id_of(2), id_of(3)});
    CHECK(link(0, 3, 3) == std::vector<RecordId>{id_of(4)});
    CHECK(link(30, 0, 9) == std::vector<RecordId>{id_of(2), id_of(4)});
    CHECK(link(31, 1, 9) == std::vector<RecordId>{id_of(3)});
    CHECK(link(32, 0, 9).empty());
}

TEST_CASE_FIXTURE(Fixture, "records of a kind are listed, of one tenant") {
    writing(*storage, [&](Transaction& tx) {
        StoredRecord mine = a_record(1, "global"), other = a_record(2, "global"), theirs = mine;
        other.state.kind = 9;
        tx.save("acme", mine);
        tx.save("acme", other);
        tx.save("umbrella", theirs);
    });
    const auto tx = storage->begin_read();
    CHECK(tx->of_kind("acme", 8) == std::vector<RecordId>{id_of(1)});
    CHECK(tx->of_kind("acme", 7).empty());
}

TEST_CASE_FIXTURE(Fixture, "an open decision stays until removed, and moves on by being saved") {
    writing(*storage, [&](Transaction& tx) {
        tx.save("acme", OpenDecision{id_of(1), {}});
        tx.save("acme", OpenDecision{id_of(1), id_of(7)});
        tx.save("umbrella", OpenDecision{id_of(1), id_of(8)});
    });
    reopen();
    writing(*storage, [&](Transaction& tx) {
        const auto open = tx.open_decisions("acme");
        REQUIRE(open.size() == 1);
        CHECK(open[0].theme == id_of(1));
        CHECK(open[0].after == id_of(7));
        tx.remove("acme", open[0]);
    });
    CHECK(storage->begin_read()->open_decisions("acme").empty());
    CHECK(storage->begin_read()->open_decisions("umbrella").size() == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "deadlines come the earliest first, and one of a record replaces another") {
    writing(*storage, [&](Transaction& tx) {
        tx.save(Deadline{"acme", id_of(1), 300});
        tx.save(Deadline{"acme", id_of(2), 200});
        tx.save(Deadline{"umbrella", id_of(1), 100});
        tx.save(Deadline{"acme", id_of(1), 150});
    });
    reopen();
    const auto due = [&](std::int64_t up_to_ms, std::size_t limit) {
        std::vector<std::int64_t> times;
        for (const Deadline& d : storage->begin_read()->deadlines(up_to_ms, limit))
            times.push_back(d.at_ms);
        return times;
    };
    CHECK(due(99, 10).empty());
    CHECK(due(150, 10) == std::vector<std::int64_t>{100, 150});
    CHECK(due(INT64_MAX, 2) == std::vector<std::int64_t>{100, 150});
    writing(*storage, [&](Transaction& tx) { tx.remove(Deadline{"acme", id_of(1), 0}); });
    CHECK(due(INT64_MAX, 10) == std::vector<std::int64_t>{100, 200});
    CHECK(storage->begin_read()->deadlines(100, 10)[0].tenant == "umbrella");
}

TEST_CASE_FIXTURE(Fixture, "a task waits for one rep to have it") {
    writing(*storage, [&](Transaction& tx) {
        tx.save_undelivered("acme", "R17", id_of(1));
        tx.save_undelivered("acme", "R17", id_of(2));
        tx.save_undelivered("umbrella", "R17", id_of(3));
        tx.save_undelivered("acme", "R23", id_of(2));
    });
    reopen();
    CHECK(storage->begin_read()->undelivered("acme", "R17") == std::vector<RecordId>{id_of(1)});
    CHECK(storage->begin_read()->undelivered("acme", "R23") == std::vector<RecordId>{id_of(2)});
    writing(*storage, [&](Transaction& tx) { tx.remove_undelivered("acme", id_of(1)); });
    CHECK(storage->begin_read()->undelivered("acme", "R17").empty());
    CHECK(storage->begin_read()->undelivered("umbrella", "R17").size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "history keeps every value that left, in the order in which they left") {
    LiveValue value{{7, 2},
                    99,
                    std::string("k\0", 2),
                    Value(Parts{Value("x"), Value(), Value(std::int64_t{-4})}),
                    {5, 11},
                    false};
    writing(*storage, [&](Transaction& tx) {
        tx.append("acme", {id_of(1), 30, value, "R17", 55, "8.1"});
        tx.append("acme", {id_of(2), 30, value, "R18", 56, "8.2"});
        value.dot.counter = 3;
        tx.append("acme", {id_of(1), 31, value, "R19", 57, "8.3"});
    });
    const auto lines = storage->begin_read()->history("acme", id_of(1));
    REQUIRE(lines.size() == 2);
    CHECK(lines[1].value == value);
    CHECK(lines[0].value.dot.counter == 2);
    CHECK(lines[0].field == 30);
    CHECK(lines[0].author == "R17");
    CHECK(lines[0].left_at_ms == 55);
    CHECK(lines[1].left_by == "8.3");
}

TEST_CASE_FIXTURE(
    Fixture, "the feed gives whole commits in their order, and each record once at its latest") {
    writing(*storage, [&](Transaction& tx) {
        for (std::uint64_t commit = 1; commit <= 3; ++commit) {
            CHECK(tx.next_commit("acme") == commit);
            for (unsigned i = 0; i < 3; ++i) {
                StoredRecord r =
                    a_record(static_cast<unsigned>(commit) * 10 + i, "territory/A", commit);
                tx.save("acme", r);
            }
        }
        CHECK(tx.next_commit("acme") == 4);
        StoredRecord again = *tx.record("acme", id_of(10));
        again.commit = 4;
        tx.save("acme", again);
    });
    const auto tx = storage->begin_read();
    CHECK(tx->feed_head("acme") == 4);
    CHECK(tx->feed_head("nobody") == 0);
    const auto first = tx->feed("acme", 0, 1);
    REQUIRE(first.size() == 2);
    CHECK(first[0].commit == 1);
    CHECK(first[1].commit == 1);
    CHECK(tx->feed("acme", 1, 4).size() == 6);
    const auto rest = tx->feed("acme", 3, 100);
    REQUIRE(rest.size() == 1);
    CHECK(rest[0].state.id == id_of(10));
    CHECK(tx->feed("acme", 4, 100).empty());
    CHECK(tx->count("acme", 8) == 9);
    CHECK(tx->count("acme", 9) == 0);
}

TEST_CASE_FIXTURE(Fixture, "the feed gives departures of whole commits in their order") {
    writing(*storage, [&](Transaction& tx) {
        for (unsigned n = 1; n <= 6; ++n) {
            StoredDeparture d{
                8, id_of(n),   1, n % 2 == 0 ? "territory/A" : "territory/B", "territory/C",
                0, (n + 1) / 2};
            tx.save("acme", d);
        }
        StoredDeparture theirs{8, id_of(1), 1, "territory/A", "territory/C", 0, 1};
        tx.save("umbrella", theirs);
    });
    reopen();
    const auto tx = storage->begin_read();
    const auto first = tx->feed_departures("acme", 0, 1);
    REQUIRE(first.size() == 2);
    CHECK(first[0].commit == 1);
    CHECK(first[0].from == "territory/A");
    CHECK(first[0].to == "territory/C");
    CHECK(first[0].id == id_of(2));
    CHECK(first[1].from == "territory/B");
    CHECK(tx->feed_departures("acme", 1, 3).size() == 4);
    CHECK(tx->feed_departures("acme", 3, 100).empty());
    CHECK(tx->feed_departures("umbrella", 0, 100).size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a time finds the commit behind which all of then and later stands") {
    writing(*storage, [&](Transaction& tx) {
        for (unsigned commit = 1; commit <= 9; ++commit) {
            CHECK(tx.next_commit("acme") == commit);
            if (commit == 4) continue;  // its records have changed since
            StoredRecord r = a_record(commit, "territory/A", commit);
            r.received_at_ms = 1000 * ((commit + 1) / 2);
            tx.save("acme", r);
        }
    });
    const auto tx = storage->begin_read();
    CHECK(tx->commit_before("acme", 0) == 0);
    CHECK(tx->commit_before("acme", 1000) == 0);
    CHECK(tx->commit_before("acme", 1001) == 2);
    CHECK(tx->commit_before("acme", 2000) == 2);
    CHECK(tx->commit_before("acme", 2001) == 3);
    CHECK(tx->commit_before("acme", 5000) == 8);
    CHECK(tx->commit_before("acme", 5001) == 9);
    CHECK(tx->commit_before("nobody", 5001) == 0);
}

TEST_CASE_FIXTURE(
    Fixture, "numbers rise per sequence, and one drawn in an undone savepoint is drawn again") {
    writing(*storage, [&](Transaction& tx) {
        CHECK(tx.next_number("acme", "C-2026") == 1);
        CHECK_FALSE(tx.savepoint([&] {
            CHECK(tx.next_number("acme", "C-2026") == 2);
            return false;
        }));
        CHECK(tx.next_number("acme", "C-2026") == 2);
        CHECK(tx.next_number("acme", "W-2026") == 1);
    });
}

TEST_CASE_FIXTURE(Fixture,
                  "a savepoint that fails or throws undoes its own writes and those inside it, and "
                  "nothing else") {
    writing(*storage, [&](Transaction& tx) {
        StoredRecord kept = a_record(1, "territory/A");
        tx.save("acme", kept);
        CHECK_THROWS_AS(tx.savepoint([&]() -> bool {
            StoredRecord gone = a_record(2, "territory/A");
            tx.save("acme", gone);
            CHECK(tx.savepoint([&] {
                StoredRecord inner = a_record(3, "territory/A");
                tx.save("acme", inner);
                return true;
            }));
            throw std::runtime_error("stop");
        }),
                        std::runtime_error);
        CHECK(tx.savepoint([&] {
            StoredRecord outer = a_record(4, "territory/A");
            tx.save("acme", outer);
            tx.savepoint([&] {
                StoredRecord inner = a_record(5, "territory/A");
                tx.save("acme", inner);
                return false;
            });
            return true;
        }));
    });
    const auto tx = storage->begin_read();
    CHECK(tx->record("acme", id_of(1)));
    CHECK_FALSE(tx->record("acme", id_of(2)));
    CHECK_FALSE(tx->record("acme", id_of(3)));
    CHECK(tx->record("acme", id_of(4)));
    CHECK_FALSE(tx->record("acme", id_of(5)));
    CHECK(tx->streams("acme")[0].head == 2);
}

TEST_CASE_FIXTURE(Fixture, "what was not committed never was") {
    {
        const auto tx = storage->begin_write();
        StoredRecord r = a_record(1, "territory/A");
        tx->save("acme", r);
        tx->save_last_stamp(9);
    }
    const auto tx = storage->begin_read();
    CHECK_FALSE(tx->record("acme", id_of(1)));
    CHECK(tx->streams("acme").empty());
    CHECK(tx->last_stamp() == 0);
}

TEST_CASE_FIXTURE(Fixture,
                  "a reader keeps the snapshot it began with and does not wait for a writer") {
    const auto before = storage->begin_read();
    const auto writer = storage->begin_write();
    StoredRecord r = a_record(1, "territory/A");
    writer->save("acme", r);
    const auto during = storage->begin_read();
    CHECK_FALSE(during->record("acme", id_of(1)));
    writer->commit();
    CHECK_FALSE(before->record("acme", id_of(1)));
    CHECK_FALSE(during->record("acme", id_of(1)));
    CHECK(storage->begin_read()->record("acme", id_of(1)));
}

TEST_CASE_FIXTURE(Fixture, "a second writer waits for the first") {
    auto first = storage->begin_write();
    CHECK(first->next_commit("acme") == 1);
    std::uint64_t seen = 0;
    std::thread second([&] {
        const auto tx = storage->begin_write();
        seen = tx->next_commit("acme");
        tx->commit();
    });
    first->commit();
    first.reset();
    second.join();
    CHECK(seen == 2);
}

TEST_CASE_FIXTURE(Fixture, "the last stamp survives") {
    writing(*storage, [](Transaction& tx) { tx.save_last_stamp(Stamp{1} << 57); });
    reopen();
    CHECK(storage->begin_read()->last_stamp() == Stamp{1} << 57);
}

TEST_CASE_FIXTURE(Fixture, "a backup is a database of its own that holds what was committed") {
    writing(*storage, [](Transaction& tx) {
        StoredRecord r = a_record(1, "territory/A");
        tx.save("acme", r);
    });
    const auto writer = storage->begin_write();
    StoredRecord uncommitted = a_record(2, "territory/A");
    writer->save("acme", uncommitted);
    const auto copy = place.open_backup(*storage);
    const auto tx = copy->begin_read();
    CHECK(tx->record("acme", id_of(1)));
    CHECK_FALSE(tx->record("acme", id_of(2)));
}

}  // namespace rapport::server::contract
