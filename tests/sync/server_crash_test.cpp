// SPDX-License-Identifier: Apache-2.0
// Every operation of a server's store, broken off as tests/core/crash_test.cpp breaks off a
// device's.
#include "rapport/kinds.hpp"
#include "server/feed.hpp"
#include "server/views.hpp"
#include "server_fixture.hpp"
#include "support/crash_points.hpp"

using namespace rapport;
using namespace rapport::test;
using namespace rapport::server;
using rapport::server::test::bundle_of;
using rapport::server::test::customer_json;
using rapport::server::test::kCustomerId;
using rapport::server::test::record_of;
using rapport::server::test::request_of;

namespace {

constexpr std::uint64_t kWriter = 77, kOther = 78;
constexpr std::int64_t kWeekMs = 8 * 86'400'000LL;

struct Notes {
    std::vector<std::string> archives;
    std::string code;
};

struct Centre {
    explicit Centre(const std::string& in)
        : folder(in), file(in + "/centre.db"), views_file(in + "/views/default.db") {}

    void open() {
        if (engine) return;
        storage = open_sqlite_storage(file);
        engine = std::make_unique<Engine>(*storage, environment);
        views = std::make_unique<Views>(*storage, folder + "/views");
    }
    void close() {
        views.reset();
        engine.reset();
        storage.reset();
    }
    std::string state() const {
        std::string rows = rows_of(file) + rows_of(views_file);
        // The clock goes on also where a call was undone.
        if (const auto at = rows.find("last_stamp: "); at != std::string::npos)
            rows.erase(at, rows.find('\n', at) - at);
        return rows;
    }
    // Without stamps, which go on where a call was undone.
    std::string shown() {
        const bool was_open = engine != nullptr;
        open();
        std::string text = rows_of(views_file);
        {
            const auto snapshot = storage->begin_read();
            text += feed_page(*snapshot, {"default", 0, kFeedLimitMax, {}});
            for (const Device& device : snapshot->devices())
                text += device.rep + " " + std::to_string(device.receipt) + "\n";
            snapshot->open_bundles("default", [&](const StoredBundle& bundle) {
                text += "open " + std::to_string(bundle.counter) + "\n";
            });
        }
        if (!was_open) close();
        return text;
    }
    std::vector<std::string> findings() const {
        auto found = unsound(file);
        for (std::string& finding : unsound(views_file)) found.push_back(std::move(finding));
        return found;
    }

    void device(std::uint64_t writer, const std::string& rep) {
        Device row;
        row.tenant = "default";
        row.writer = writer;
        row.rep = rep;
        row.scopes = {"territory/DE-50"};
        row.credential_hash = "hash-" + rep;
        const auto transaction = storage->begin_write();
        transaction->save(row);
        transaction->commit();
    }
    Engine::Answer sync(std::uint64_t writer, const std::string& archive) {
        Engine::Answer answer = engine->sync({writer, archive});
        taken(answer);
        return answer;
    }
    // What a call has no memory for is undone and answered as a fault of the server's own.
    static void taken(const Engine::Answer& answer) {
        if (answer.error_code == name_of(ErrorCode::internal)) throw std::bad_alloc();
        must(answer.error_code.empty());
    }

    std::string folder, file, views_file;
    SteadyEnvironment environment;
    std::unique_ptr<Storage> storage;
    std::unique_ptr<Engine> engine;
    std::unique_ptr<Views> views;
    Notes notes;
};

std::vector<Operation<Centre>> operations() {
    const auto two_devices = [](Centre& c) {
        c.open();
        c.device(kWriter, "R17");
        c.device(kOther, "R18");
    };
    const auto customer = [](std::uint64_t counter = 1) {
        return bundle_of(counter, record_of(customer_json(kCustomerId, "Molkerei Nord", "R17")),
                         true);
    };
    // One customer, which its device has told.
    const auto known = [=](Centre& c) {
        two_devices(c);
        c.sync(kWriter, request_of(kWriter, 1, {customer()}));
    };
    // An edit of a record that never comes, which waits for a person.
    const auto in_review = [=](Centre& c) {
        two_devices(c);
        Bundle renamed = decode_bundle(
            bundle_of(1, record_of(customer_json(kCustomerId, "Molkerei Nord", "R17")), false));
        std::erase_if(renamed.changes.at(0).writes, [](const Write& write) {
            return write.field < common_field::first_own;  // when and by whom it was captured
        });
        const std::string edit = encode_bundle(renamed);
        const auto first =
            decode<protocol::Reply>(c.sync(kWriter, request_of(kWriter, 1, {edit})).archive);
        c.environment.now_ms += kWeekMs;
        Bundle later = decode_bundle(edit);
        later.counter = 2;
        for (Change& change : later.changes)
            for (Write& write : change.writes) write.former = {{kWriter, 1}};
        const std::string again = encode_bundle(later);
        const auto second = decode<protocol::Reply>(
            c.sync(kWriter, request_of(kWriter, 2, {again}, {1, first.tag})).archive);
        must(second.verdicts.size() == 1 && second.verdicts[0].verdict == Verdict::review);
    };
    const auto push = [](Centre& c) { c.sync(kWriter, c.notes.archives.at(0)); };

    std::vector<Operation<Centre>> all;
    all.push_back({"create a store", [](Centre&) {}, {[](Centre& c) { c.open(); }}});
    all.back().opens = false;
    all.back().once = true;
    all.push_back({"open a store after a kill", known, {[](Centre& c) { c.open(); }}});
    all.back().opens = false;
    all.back().killed = all.back().once = true;
    all.push_back({"push",
                   [=](Centre& c) {
                       two_devices(c);
                       c.notes.archives = {request_of(kWriter, 1, {customer()})};
                   },
                   {push}});
    all.push_back(
        {"push of two devices in one commit",
         [=](Centre& c) {
             two_devices(c);
             c.notes.archives = {
                 request_of(kWriter, 1, {customer()}),
                 request_of(kOther, 1,
                            {bundle_of(1,
                                       record_of(customer_json(
                                           "01940000-0000-7000-8000-000000000002", "Süd", "R18")),
                                       true, 2)})};
         },
         {[](Centre& c) {
             const auto answers =
                 c.engine->sync({{kWriter, c.notes.archives[0]}, {kOther, c.notes.archives[1]}});
             for (const Engine::Answer& answer : answers) Centre::taken(answer);
         }}});
    all.back().in_parts = true;  // one device's call may be undone alone
    all.push_back({"pull",
                   [=](Centre& c) {
                       known(c);
                       c.notes.archives = {request_of(kOther, 1, {})};
                   },
                   {[](Centre& c) { c.sync(kOther, c.notes.archives[0]); }}});
    all.push_back({"invite and enrol",
                   [](Centre& c) { c.open(); },
                   {[](Centre& c) {
                        const auto transaction = c.storage->begin_write();
                        c.notes.code =
                            invite(*transaction, c.environment,
                                   {"default", "R17", Role::rep, {"territory/DE-50"}, 14});
                        transaction->commit();
                    },
                    [](Centre& c) {
                        const auto transaction = c.storage->begin_write();
                        must(redeem(*transaction, c.environment,
                                    {c.notes.code, "0123456789abcdef", std::string(40, 'a'), ""})
                                 .has_value());
                        transaction->commit();
                    }}});
    all.push_back({"reference data", [](Centre& c) { c.open(); }, {[](Centre& c) {
                       Territory north;
                       north.code = "DE-50";
                       north.name = "Köln";
                       must(c.engine->write_as_server("default", {to_record(north, {})})
                                .at(0)
                                .refusals.empty());
                   }}});
    all.push_back({"hand over",
                   known,
                   {[](Centre& c) {
                        must(!c.engine->begin(
                            "default", {*RecordId::parse(kCustomerId), {}, "territory/DE-40"}));
                    },
                    [](Centre& c) {
                        while (c.engine->carry_on() > 0) {
                        }
                    }}});
    all.back().in_parts = true;
    all.push_back(
        {"accept what is in review",
         [=](Centre& c) {
             in_review(c);  // and now another device brings the record
             c.sync(
                 kOther,
                 request_of(kOther, 1,
                            {bundle_of(1, record_of(customer_json(kCustomerId, "Molkerei", "R18")),
                                       true)}));
         },
         {[](Centre& c) {
             const auto verdict = c.engine->accept("default", {kWriter, 2});
             must(verdict && verdict->verdict == Verdict::applied);
         }}});
    all.push_back({"reject what is in review", in_review, {[](Centre& c) {
                       must(c.engine->reject("default", {kWriter, 2}, "Nein"));
                   }}});
    all.push_back(
        {"read the feed", known, {[](Centre& c) {
             must(feed_page(*c.storage->begin_read(), {"default", 0, 10, {}}).size() > 100);
         }}});
    all.back().reads = true;
    all.push_back({"bring the views up to date", known, {[](Centre& c) {
                       while (c.views->step()) {
                       }
                   }}});
    all.back().in_parts = true;
    all.push_back({"close a store", known, {[](Centre& c) { c.close(); }}});
    all.back().once = true;
    return all;
}

}  // namespace

TEST_CASE("every operation of a server's store is whole or absent wherever it is broken off") {
    drill(operations());
}
