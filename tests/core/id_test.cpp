// SPDX-License-Identifier: Apache-2.0
#include "rapport/id.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>

#include "rapport/environment.hpp"

using namespace rapport;

namespace {

constexpr std::array<std::uint8_t, 10> kOnes{0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                             0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
constexpr std::array<std::uint8_t, 10> kZeros{};

}  // namespace

TEST_CASE("an id is written in lower case and read in either") {
    const auto id = RecordId::parse("0195A0F0-89ab-7CDE-8f01-23456789abCD");
    REQUIRE(id);
    CHECK(id->text() == "0195a0f0-89ab-7cde-8f01-23456789abcd");
    CHECK(RecordId::parse(id->text()) == id);
    CHECK(RecordId{}.text() == "00000000-0000-0000-0000-000000000000");
    CHECK(RecordId{}.is_nil());
}

TEST_CASE("only the 36-character form is an id") {
    for (const char* text :
         {"", "0195a0f0", "0195a0f089ab7cde8f0123456789abcd",
          "{195a0f0-89ab-7cde-8f01-23456789abc}", "0195a0f0-89ab-7cde-8f01-23456789abcg",
          "0195a0f0-89ab-7cde-8f01-23456789abc", "0195a0f0-89ab-7cde-8f01-23456789abcd ",
          "0195a0f0089ab-7cde-8f01-23456789abcd", "0195a0f-089ab-7cde-8f01-23456789abcd",
          "+195a0f0-89ab-7cde-8f01-23456789abcd"})
        CHECK_MESSAGE(!RecordId::parse(text), text);
}

TEST_CASE("the sixteen bytes of an id survive a column") {
    const auto id = RecordId::parse("0195a0f0-89ab-7cde-8f01-23456789abcd");
    REQUIRE(id);
    CHECK(id->raw().size() == 16);
    CHECK(RecordId::from_bytes(id->raw()) == id);
    CHECK_FALSE(RecordId::from_bytes(id->raw().substr(1)));
    CHECK_FALSE(RecordId::from_bytes(id->raw() + "x"));
}

TEST_CASE("time-ordered ids are version 7 and order by their millisecond, whatever chance gives") {
    // RFC 9562, appendix A.6.
    CHECK(time_ordered_id(0x017F22E279B0, kZeros).text() == "017f22e2-79b0-7000-8000-000000000000");
    CHECK(time_ordered_id(0x017F22E279B0, kOnes).text() == "017f22e2-79b0-7fff-bfff-ffffffffffff");
    CHECK(time_ordered_id(1'772'440'200'000, kOnes) < time_ordered_id(1'772'440'200'001, kZeros));
    std::set<RecordId> drawn;
    for (int i = 0; i < 1000; ++i) {
        std::array<std::uint8_t, 10> random{};
        system_environment().random(random);
        drawn.insert(time_ordered_id(1'772'440'200'000, random));
    }
    CHECK(drawn.size() == 1000);
}

TEST_CASE("the same natural key always gives the same version 8 id") {
    const RecordId id = name_based_id("acme", "loop_task", "a:1:b");
    CHECK(id.text() == "8cb3bd6f-8fa6-8c07-ac87-7e367bd073a0");
    CHECK((id.bytes[6] >> 4) == 8);
    CHECK((id.bytes[8] >> 6) == 2);
    const std::set<RecordId> others{
        id, name_based_id("acme", "loop_task", "a:1:c"), name_based_id("acme", "task", "a:1:b"),
        name_based_id("acm", "eloop_task", "a:1:b"), name_based_id("", "acmeloop_task", "a:1:b")};
    CHECK(others.size() == 5);
}
