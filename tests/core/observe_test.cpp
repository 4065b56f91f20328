// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"

using namespace rapport;

namespace {

struct World {
    TempDir folder;
    Store store = Store::open(folder.file("a.rapport"));

    Id<Customer> customer(const std::string& name) {
        Customer c;
        c.name = name;
        const auto [id, captured] = store.put(c);
        REQUIRE(captured);
        return id;
    }
    void rename(const Id<Customer>& id, const std::string& name) {
        REQUIRE(store.edit(id).set(&Customer::name, name).save());
    }
};

Query customers_named(const std::string& part) {
    Query query;
    query.kind = &kind_of<Customer>();
    query.where = {{"name", Compare::contains, Value(part)}};
    query.sort = "name";
    query.descending = false;
    return query;
}

std::string names(const Page& page) {
    std::string all;
    for (const Record& record : page.records) all += *record.value("name").text() + ";";
    return all;
}

}  // namespace

TEST_CASE("who observes records hears of these and no others") {
    World world;
    const auto a = world.customer("A"), b = world.customer("B"), c = world.customer("C");
    std::vector<RecordId> heard;
    auto subscription = world.store.observe_records({c, a}, [&](const Changes& changes) {
        for (const Changes::Of& of : changes.kinds) {
            CHECK(of.kind == &kind_of<Customer>());
            heard.insert(heard.end(), of.ids.begin(), of.ids.end());
        }
    });
    world.rename(b, "B2");
    CHECK(heard.empty());
    world.rename(a, "A2");
    CHECK(heard == std::vector<RecordId>{a});
    Bundling bundle = world.store.bundle();
    bundle.change(world.store.edit(b).set(&Customer::name, "B3"));
    bundle.change(world.store.edit(c).set(&Customer::name, "C2"));
    REQUIRE(bundle.save());
    CHECK(heard == std::vector<RecordId>{a, c});
    subscription = Subscription();
    world.rename(a, "A3");
    CHECK(heard.size() == 2);
}

TEST_CASE("who observes a query gets its page at once and whenever it is another") {
    World world;
    const auto north = world.customer("Molkerei Nord");
    std::vector<std::string> pages;
    auto subscription = world.store.observe_query(
        customers_named("Molkerei"), [&](const Page& page) { pages.push_back(names(page)); });
    CHECK(pages == std::vector<std::string>{"Molkerei Nord;"});
    const auto other = world.customer("Brauerei Ost");  // not of the query: no call
    CHECK(pages.size() == 1);
    world.rename(other, "Molkerei Ost");
    CHECK(pages.back() == "Molkerei Nord;Molkerei Ost;");
    world.rename(north, "Nordmilch");
    CHECK(pages.back() == "Molkerei Ost;");
    CHECK(pages.size() == 3);
    subscription = Subscription();
    world.rename(north, "Molkerei Nord");
    CHECK(pages.size() == 3);
    CHECK_THROWS_AS(static_cast<void>(world.store.observe_query(Query{}, [](const Page&) {})),
                    Error);
}

TEST_CASE("an observer of a query may write, and may end its own subscription") {
    World world;
    Subscription subscription;
    std::vector<std::string> pages;
    subscription = world.store.observe_query(customers_named("Molkerei"), [&](const Page& page) {
        pages.push_back(names(page));
        if (page.records.size() == 1) world.customer("Molkerei 2");  // leads to one more call
        if (page.records.size() == 2) {
            subscription = Subscription();
            world.customer("Molkerei 3");
        }
    });
    world.customer("Molkerei 1");
    CHECK(pages == std::vector<std::string>{"", "Molkerei 1;", "Molkerei 1;Molkerei 2;"});
}

TEST_CASE("what other threads change while an observer of a query is called comes as one page") {
    World world;
    std::promise<void> entered, go_on;
    auto released = go_on.get_future();
    std::atomic<int> calls{0}, at_once{0};
    std::string last;
    const auto subscription =
        world.store.observe_query(customers_named("Molkerei"), [&](const Page& page) {
            CHECK(++at_once == 1);
            last = names(page);
            if (++calls == 2) {
                entered.set_value();
                released.wait();
            }
            --at_once;
        });
    std::thread writer([&] { world.customer("Molkerei 1"); });
    entered.get_future().wait();
    for (const char* name : {"Molkerei 2", "Molkerei 3", "Molkerei 4"}) world.customer(name);
    CHECK(calls == 2);
    go_on.set_value();
    writer.join();
    CHECK(calls == 3);
    CHECK(last == "Molkerei 1;Molkerei 2;Molkerei 3;Molkerei 4;");
}

TEST_CASE("after a query's subscription has ended no call comes, not even one under way") {
    World world;
    std::promise<void> entered, go_on;
    auto released = go_on.get_future();
    std::atomic<int> calls{0};
    std::atomic<bool> returned{false};
    auto subscription = std::make_unique<Subscription>(
        world.store.observe_query(customers_named("Molkerei"), [&](const Page&) {
            if (++calls != 2) return;
            entered.set_value();
            released.wait();
            returned = true;
        }));
    std::thread writer([&] { world.customer("Molkerei 1"); });
    entered.get_future().wait();
    world.customer("Molkerei 2");
    std::promise<void> ending;
    std::thread ender([&] {
        ending.set_value();
        subscription.reset();
        CHECK(returned);
    });
    ending.get_future().wait();
    go_on.set_value();
    ender.join();
    const int heard = calls;
    writer.join();
    world.customer("Molkerei 3");
    CHECK(calls == heard);
}
