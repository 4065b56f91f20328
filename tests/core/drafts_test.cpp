// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "store/core.hpp"
#include "store/replica.hpp"

using namespace rapport;

namespace {

// A clock that moves when told.
class Clock : public Environment {
public:
    Instant now() override {
        return Instant(TimePoint(Milliseconds(1'772'438'400'000 + minutes * 60'000)));
    }
    void random(std::span<std::uint8_t> out) override {
        for (auto& byte : out) byte = static_cast<std::uint8_t>(++drawn_ * 37);
    }
    std::int64_t minutes = 0;

private:
    unsigned drawn_ = 0;
};

struct World {
    TempDir folder;
    Clock clock;
    std::unique_ptr<Store> store;
    World() { open(); }
    void open() {
        store.reset();
        Store::Options options;
        options.environment = &clock;
        store = std::make_unique<Store>(Store::open(folder.file("a.rapport"), options));
    }
    RecordId begin(const std::string& verbatim) {
        ++clock.minutes;
        Bundling bundle = store->bundle();
        Complaint complaint;
        complaint.verbatim = verbatim;
        const RecordId id = bundle.add(complaint);
        REQUIRE(bundle.save_draft());
        return id;
    }
    std::vector<Refusal> type(const RecordId& id, const std::string& field,
                              const std::string& text) {
        ++clock.minutes;
        return store->autosave(id, field, text);
    }
};

}  // namespace

TEST_CASE("drafts are listed with what they are, the last touched first") {
    World world;
    const RecordId first = world.begin("Deckel undicht"), second = world.begin("Rand zu weit");
    auto drafts = world.store->drafts();
    REQUIRE(drafts.size() == 2);
    CHECK(drafts[0].records == std::vector<RecordId>{second});
    CHECK(drafts[0].kind == &kind_of<Complaint>());
    CHECK(drafts[0].title == "Rand zu weit");
    CHECK(world.type(first, "description", "Charge 4711").empty());
    drafts = world.store->drafts();
    CHECK(drafts[0].records == std::vector<RecordId>{first});
    CHECK(drafts[0].touched.at == world.clock.now().at);
    world.store->discard(first);
    CHECK(world.store->drafts().size() == 1);
}

TEST_CASE("what is typed into a draft is there after a restart, valid or not") {
    World world;
    const RecordId id = world.begin("Deckel");
    CHECK(world.type(id, "verbatim", "Deckel undicht").empty());
    CHECK(world.type(id, "qty_affected.value_milli", "1250").size() == 1);  // no unit yet
    const auto refusals = world.type(id, "severity", "maj");
    REQUIRE(refusals.size() == 1);
    CHECK(refusals[0].field == "severity");
    world.open();
    auto drafts = world.store->drafts();
    REQUIRE(drafts.size() == 1);
    CHECK(drafts[0].title == "Deckel undicht");
    REQUIRE(drafts[0].unfinished.size() == 2);
    CHECK(drafts[0].unfinished[0].field == "qty_affected.value_milli");
    CHECK(drafts[0].unfinished[1].record == id);
    CHECK(drafts[0].unfinished[1].field == "severity");
    CHECK(drafts[0].unfinished[1].text == "maj");
    CHECK_FALSE(world.store->submit(id));
    CHECK(world.type(id, "severity", "major").empty());
    CHECK(world.type(id, "qty_affected.unit", "KGM").empty());  // now both are a quantity
    CHECK(world.store->read(Id<Complaint>(id))->qty_affected->value_milli == 1250);
    CHECK_FALSE(world.type(id, "qty_affected.unit", "").empty());  // what it showed is to go
    CHECK(world.store->drafts()[0].unfinished.size() == 1);
    CHECK(world.type(id, "qty_affected.unit", "H87").empty());
    CHECK(world.type(id, "cost.minor", "").empty());  // nothing was there
    CHECK(world.store->drafts()[0].unfinished.empty());
    CHECK(world.store->read(Id<Complaint>(id))->severity == Severity::major);
    CHECK(world.type(id, "verbatim", "").empty());
    CHECK_FALSE(world.store->read(Id<Complaint>(id))->verbatim.has_value());
}

TEST_CASE("a draft is sent only once it is submitted, as one bundle captured then") {
    World world;
    const RecordId id = world.begin("Deckel undicht");
    Customer customer;
    customer.name = "Molkerei";
    const auto [customer_id, captured] = world.store->put(customer);
    REQUIRE(captured);
    Replica replica(*world.store);
    CHECK(replica.sendable() == 1);
    world.type(id, "customer_id", customer_id.text());
    world.type(id, "product_text", "Becher");
    world.type(id, "severity", "majr");
    const Captured refused = world.store->submit(id);
    REQUIRE_FALSE(refused);
    CHECK(std::any_of(refused.refusals.begin(), refused.refusals.end(), [&](const Refusal& r) {
        return r.record == id && r.field == "severity" && r.code == "malformed";
    }));
    CHECK(replica.sendable() == 1);
    REQUIRE(world.store->edit(Id<Complaint>(id)).set(&Complaint::severity, Severity::major).save());
    CHECK(world.store->drafts()[0].unfinished.empty());  // a value replaces what was typed
    ++world.clock.minutes;
    REQUIRE(world.store->submit(id));
    CHECK(replica.sendable() == 2);
    CHECK(world.store->drafts().empty());
    CHECK(world.store->overview().drafts == 0);
    CHECK(world.store->check() == std::vector<std::string>{});
    CHECK_THROWS_AS(world.type(id, "severity", "minor"), Error);
}

TEST_CASE("a discarded draft leaves nothing of what was typed into it") {
    World world;
    const RecordId id = world.begin("Deckel");
    CHECK_FALSE(world.type(id, "severity", "maj").empty());
    world.store->discard(id);
    Store::Core::Reading reading(world.store->core());
    CHECK_FALSE(reading.db.prepare("SELECT 1 FROM draft_text").step());
}

TEST_CASE("only fields of the kind can be typed into, and observers hear of it") {
    World world;
    const RecordId id = world.begin("Deckel");
    int heard = 0;
    const auto watch = world.store->observe_records({id}, [&](const Changes&) { ++heard; });
    for (const char* name : {"nothing", "verbatim.part", "cost.colour", "", ".", "cost."})
        CHECK_THROWS_AS(world.type(id, name, "x"), Error);
    CHECK(heard == 0);
    world.type(id, "severity", "ma");
    world.type(id, "ext.shift", "2");
    CHECK(heard == 2);
    CHECK(world.store->read(Id<Complaint>(id))->ext.entries.at("shift") == "2");
}
