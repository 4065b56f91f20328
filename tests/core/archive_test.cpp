// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "model/archive.hpp"

namespace rapport {
namespace {

using std::string_literals::operator""s;

template <class T>
T round_trip(const T& value) {
    return decode<T>(encode(value));
}

template <class T>
bool refuses(std::string_view bytes) {
    try {
        decode<T>(bytes);
    } catch (const Error& e) {
        return e.code() == ErrorCode::protocol_violated;
    }
    return false;
}

enum class Colour : std::uint8_t { red, green };

}  // namespace

TEST_CASE("every integer comes back as it went, and out of range ones do not") {
    for (const std::uint64_t v : {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128},
                                  std::uint64_t{1} << 63, UINT64_MAX})
        CHECK(round_trip(v) == v);
    for (const std::int64_t v :
         {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1}, INT64_MIN, INT64_MAX})
        CHECK(round_trip(v) == v);
    CHECK(encode(std::int64_t{-1}) == "\x01");
    CHECK(encode(std::uint32_t{300}) == "\xAC\x02");
    CHECK(refuses<std::uint8_t>("\x80\x02"));
    CHECK(refuses<std::uint16_t>("\x80\x80\x04"));
    CHECK(refuses<std::int32_t>(encode(std::int64_t{INT32_MAX} + 1)));
    CHECK(refuses<bool>("\x02"));
    CHECK(round_trip(Colour::green) == Colour::green);
    CHECK(refuses<Colour>("\x80\x02"));
}

TEST_CASE("a number has one form") {
    CHECK(refuses<std::uint64_t>("\x80\x00"s));
    CHECK(refuses<std::uint64_t>("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"));
    CHECK(refuses<std::uint64_t>("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"));
    CHECK(refuses<std::uint64_t>("\x80"));
    CHECK(refuses<std::uint64_t>(""));
}

TEST_CASE("texts, lists, optionals, ids and values come back as they went") {
    CHECK(round_trip("Tür\0auf"s) == "Tür\0auf"s);
    CHECK(round_trip(std::vector<std::string>{"a", "", "b"}) ==
          std::vector<std::string>{"a", "", "b"});
    CHECK(round_trip(std::optional<std::int64_t>{}) == std::nullopt);
    CHECK(round_trip(std::optional<std::int64_t>{-7}) == -7);
    CHECK(round_trip(RecordId{{1, 2, 3}}) == RecordId{{1, 2, 3}});
    const Value group(
        Parts{Value(std::int64_t{-5}), Value("EUR"), Value(), Value(Parts{Value("x")})});
    for (const Value& v :
         {Value(), Value(std::int64_t{0}), Value(INT64_MIN), Value(""), Value("text"), group})
        CHECK(round_trip(v) == v);
}

TEST_CASE("equal values have equal canonical bytes, and different ones do not") {
    CHECK(canonical_bytes("1") ==
          "\x02\x01"
          "1");
    CHECK(canonical_bytes(Value(std::int64_t{1})) == "\x01\x02");
    CHECK(canonical_bytes("") != canonical_bytes(Value()));
    CHECK(canonical_bytes(Value(Parts{Value("a"), Value("b")})) !=
          canonical_bytes(Value(Parts{Value("ab")})));
}

TEST_CASE("a length beyond the end is refused before anything is set aside for it") {
    CHECK(refuses<std::string>("\xFF\xFF\xFF\xFF\x07"));
    CHECK(refuses<std::vector<std::string>>("\xFF\xFF\xFF\xFF\x07"));
    CHECK(refuses<std::vector<std::uint64_t>>("\x03\x01\x01"));
    CHECK(refuses<RecordId>("123456789012345"));
    CHECK(refuses<Value>("\x04"));
    CHECK(refuses<Value>("\x03\xFF\x7F"));
}

TEST_CASE("nothing may follow the end") { CHECK(refuses<std::uint64_t>("\x01\x01")); }

TEST_CASE("nesting and elements are bounded") {
    std::string deep;
    for (int i = 0; i < 7; ++i) deep += "\x03\x01";
    CHECK_NOTHROW(decode<Value>(deep + "\x00"s));
    CHECK(refuses<Value>("\x03\x01" + deep + "\x00"s));
    CHECK(refuses<Value>([] {
        std::string bottomless;
        for (int i = 0; i < 100'000; ++i) bottomless += "\x03\x01";
        return bottomless + "\x00"s;
    }()));

    const std::string four = encode(std::vector<std::uint64_t>{1, 2, 3, 4});
    std::vector<std::uint64_t> list;
    WireReader enough(four, 4);
    CHECK_NOTHROW(enough(list));
    WireReader short_of_one(four, 3);
    CHECK_THROWS_AS(short_of_one(list), Error);
}

TEST_CASE("a violation names the byte") {
    try {
        decode<std::uint8_t>("\x80\x02");
        FAIL("was accepted");
    } catch (const Error& e) {
        CHECK(std::string(e.what()).find("byte 2") != std::string::npos);
    }
}

}  // namespace rapport
