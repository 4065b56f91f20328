// SPDX-License-Identifier: Apache-2.0
#include "model/clock.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "rapport/environment.hpp"
#include "rapport/instant.hpp"

using namespace rapport;

TEST_CASE("a moment is written as RFC 3339 with the offset the device showed") {
    const auto moment = Instant::parse("2026-03-02T09:30:00+01:00");
    REQUIRE(moment);
    CHECK(moment->at.time_since_epoch().count() == 1'772'440'200'000);
    CHECK(moment->offset.count() == 60);
    CHECK(moment->rfc3339() == "2026-03-02T09:30:00.000+01:00");
    CHECK(Instant(moment->at).rfc3339() == "2026-03-02T08:30:00.000Z");
}

TEST_CASE("every accepted form of a time keeps moment and offset") {
    struct Form {
        const char *text, *written;
    };
    const Form forms[] = {
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
        {"1970-01-01T00:00:00+05:30", "1970-01-01T00:00:00.000+05:30"},
        {"2024-02-29t23:59:59.9z", "2024-02-29T23:59:59.900Z"},
        {"2026-03-02T09:30:00.1234567-03:30", "2026-03-02T09:30:00.123-03:30"},
        {"2026-03-02T09:30:00.999999999-00:00", "2026-03-02T09:30:00.999Z"},
        {"9999-12-31T23:59:59.999-17:03", "9999-12-31T23:59:59.999-17:03"},
        {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"},
        {"2017-01-01T00:59:60+01:00", "2017-01-01T01:00:00.000+01:00"},
    };
    for (const Form& form : forms) {
        const auto moment = Instant::parse(form.text);
        REQUIRE_MESSAGE(moment, form.text);
        CHECK(moment->rfc3339() == form.written);
        CHECK(Instant::parse(form.written) == moment);
        CHECK(Instant::unpack(moment->packed()) == *moment);
    }
}

TEST_CASE("what is not a time with an offset is refused") {
    for (const char* text : {"",
                             "2026-03-02",
                             "2026-03-02T09:30:00",
                             "2026-03-02 09:30:00Z",
                             "2026-03-02T09:30Z",
                             "2026-3-02T09:30:00Z",
                             "2026-02-29T09:30:00Z",
                             "2026-13-02T09:30:00Z",
                             "2026-00-02T09:30:00Z",
                             "2026-03-00T09:30:00Z",
                             "2026-03-32T09:30:00Z",
                             "2026-03-02T24:00:00Z",
                             "2026-03-02T09:60:00Z",
                             "2026-03-02T09:30:61Z",
                             "2026-03-02T09:30:60Z",
                             "2026-03-02T09:30:00.Z",
                             "2026-03-02T09:30:00.1234567890Z",
                             "2026-03-02T09:30:00+0100",
                             "2026-03-02T09:30:00+1:00",
                             "2026-03-02T09:30:00+24:00",
                             "2026-03-02T09:30:00+01:60",
                             "2026-03-02T09:30:00+17:04",
                             "2026-03-02T09:30:00Zx",
                             "1969-12-31T23:59:59Z",
                             "02026-03-02T09:30:00Z",
                             "-026-03-02T09:30:00Z",
                             " 2026-03-02T09:30:00Z",
                             "2026-03-02T09:30:00,5Z"})
        CHECK_MESSAGE(!Instant::parse(text), text);
}

TEST_CASE("packed moments order by time first, also before 1970") {
    const Instant early{TimePoint(Milliseconds(-1)), std::chrono::minutes(1023)};
    const Instant late{TimePoint(Milliseconds(0)), std::chrono::minutes(-1023)};
    CHECK(early.packed() < late.packed());
    CHECK(early < late);
    CHECK(Instant::unpack(early.packed()) == early);
    CHECK(Instant::unpack(late.packed()) == late);
}

TEST_CASE("any packed number can be shown") {
    for (const std::int64_t packed : {INT64_MIN, std::int64_t{-1}, INT64_MAX})
        CHECK(Instant::unpack(packed).rfc3339().size() >= 24);
}

TEST_CASE("stamps rise strictly when the wall clock stands still or jumps back") {
    HybridClock clock;
    const Stamp first = clock.tick(1000);
    CHECK(HybridClock::wall_ms(first) == 1000);
    const Stamp second = clock.tick(1000);
    CHECK(second == first + 1);
    CHECK(clock.tick(10) == second + 1);
    CHECK(HybridClock::wall_ms(clock.tick(2000)) == 2000);
}

TEST_CASE("what follows something seen is later than it") {
    HybridClock clock;
    clock.tick(1000);
    clock.observe(HybridClock::at(5000) + 7);
    CHECK(clock.tick(1001) == HybridClock::at(5000) + 8);
    clock.observe(HybridClock::at(1));
    CHECK(clock.last() == HybridClock::at(5000) + 8);
}

TEST_CASE("a full counter carries over into the milliseconds") {
    HybridClock clock(HybridClock::at(1000) + 0xFFFF);
    const Stamp next = clock.tick(1000);
    CHECK(next == HybridClock::at(1001));
    CHECK(clock.tick(1000) > next);
}

TEST_CASE("the system gives plausible times and unlike random bytes") {
    Environment& system = system_environment();
    const Instant now = system.now();
    CHECK(now.at.time_since_epoch() > std::chrono::hours(24 * 365 * 50));
    CHECK(Instant::parse(now.rfc3339()) == now);
    CHECK(system.random64() != system.random64());
    std::array<std::uint8_t, 1000> many{};
    system.random(many);
    CHECK(std::count(many.begin(), many.end(), std::uint8_t{0}) < 50);
}
