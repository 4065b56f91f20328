// SPDX-License-Identifier: Apache-2.0
// What an administrator should look at is counted where it happens.
#include <doctest/doctest.h>

#include "server/http/metrics.hpp"
#include "sim/world.hpp"
#include "store/core.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

struct Watched : World {
    server::http::Metrics metrics;
    Device& phone = device("R17", Role::rep, {"territory/DE-50"});
    Id<Customer> first = customer(phone, "Molkerei Nord"), second = customer(phone, "Alpenhof");

    Watched() { sync(phone); }

    void sync(Device& device, bool compares = false) {
        device.session->begin();
        if (compares) device.session->compare();
        for (int requests = 0; requests < 50; ++requests) {
            pass(20);
            const auto answer = engine().sync({device.writer, device.session->next_request()});
            REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_sentence);
            metrics.answer(answer);
            if (device.take(answer.archive).done) return;
        }
        FAIL("it never gets done");
    }
    std::string number(const std::string& name) const {
        const std::string text = metrics.text({});
        const std::size_t at = text.find("\n" + name + " ");
        REQUIRE(at != std::string::npos);
        const std::size_t from = at + name.size() + 2;
        return text.substr(from, text.find('\n', from) - from);
    }
};

}  // namespace

TEST_CASE_FIXTURE(Watched, "comparisons are counted, and what they brought down") {
    CHECK(number("rapport_comparisons_total") == "0");
    sync(phone, true);
    CHECK(number("rapport_comparisons_total") == "1");
    CHECK(number("rapport_stretches_differing_total") == "0");
    {
        Store::Core::Writing writing(phone.store->core());
        writing.db.execute("UPDATE customer SET name='Milbenhof' WHERE name='Alpenhof'");
        writing.commit();
    }
    sync(phone, true);
    CHECK(phone.read(second).name == "Alpenhof");
    CHECK(number("rapport_stretches_differing_total") == "1");
    CHECK(number("rapport_records_resent_total") == "2");
    CHECK(number("rapport_recoveries_total") == "0");
    CHECK(number("rapport_forks_total") == "0");
}

TEST_CASE_FIXTURE(Watched,
                  "every device that brings back what a restored server lost is counted once") {
    const std::string backup = back_up_server();
    const auto lost = phone.capture(a_complaint(first));
    sync(phone);
    restore_server(backup);
    sync(phone);
    CHECK(number("rapport_recoveries_total") == "1");
    CHECK(server_state(lost).id == lost);
    sync(phone);
    CHECK(number("rapport_recoveries_total") == "1");
    CHECK(number("rapport_forks_total") == "0");
}

TEST_CASE_FIXTURE(Watched, "a copied file that goes on as another device is counted once") {
    Device& copy = clone(phone);
    phone.capture(a_complaint(first));
    copy.capture(a_complaint(second));
    sync(phone);
    sync(copy);
    CHECK(copy.writer != phone.writer);
    CHECK(number("rapport_forks_total") == "1");
    sync(copy);
    sync(phone);
    CHECK(number("rapport_forks_total") == "1");
    CHECK(number("rapport_recoveries_total") == "0");
    CHECK(number("rapport_bundles_total{verdict=\"applied\"}") == "4");
}
