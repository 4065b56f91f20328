// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "model/state.hpp"
#include "support/chance.hpp"
#include "support/golden.hpp"

namespace rapport {
namespace {

using test::Chance;

constexpr Dot kAnna{77, 3}, kBert{78, 300};
const Stamp kStamp = Stamp{1'772'440'200'000} << 16;

LiveValue live(Dot dot, Stamp stamp, Value value, std::string key = {}, CaptureId capture = {}) {
    return {dot, stamp, std::move(key), std::move(value), capture, false};
}

/// A record created by one writer, edited by another: a plain field, a conflict, a set, a map, and
/// one cleared long ago.
RecordState example() {
    RecordState s;
    s.kind = 9;
    s.id = RecordId{{2, 0x9C, 0xA5, 0, 0, 0, 0x70}};
    s.scope = "territory/DE-50";
    s.move = 2;
    s.fields[16] = {{live(kAnna, kStamp, "Deckel undicht")}, {kAnna}, {}};
    s.fields[17] = {{live(kAnna, kStamp, Value(std::int64_t{-5}))}, {kAnna}, {}};
    s.fields[23] = {
        {live(kAnna, kStamp, "replace"), live(kBert, kStamp + 9, "credit")}, {kAnna, kBert}, {}};
    s.fields[28] = {{live(kAnna, kStamp, "leak", canonical_bytes("leak"))}, {kAnna, {79, 5}}, {}};
    s.fields[300] = {{live(kBert, kStamp + 9, "red", "colour")}, {kBert}, {}};
    s.fields[301] = {{}, {kAnna, kBert}, {}};
    return s;
}

RecordState without_captures(RecordState s) {
    for (auto& [number, field] : s.fields) {
        field.known.clear();
        for (LiveValue& l : field.live) l.capture = {};
    }
    return s;
}

RecordState fields_of(std::string_view bytes, bool captures) {
    RecordState s;
    decode_fields(bytes, captures, s);
    return s;
}

bool refuses(std::string_view bytes) {
    try {
        decode_record(bytes);
    } catch (const Error& e) {
        return e.code() == ErrorCode::protocol_violated;
    }
    return false;
}

RecordState random_state(Chance& g) {
    RecordState s;
    s.kind = static_cast<std::uint16_t>(g());
    for (auto& byte : s.id.bytes) byte = static_cast<std::uint8_t>(g());
    s.scope = std::string(g() % 20, 's');
    s.move = g() % 3;
    std::uint16_t number = 0;
    for (unsigned n = g() % 8; n > 0; --n) {
        number = static_cast<std::uint16_t>(number + 1 + g() % 100);
        FieldState& f = s.fields[number];
        for (std::uint64_t writer = 1; writer < 4; ++writer) {
            const std::uint64_t counter = 1 + g() % 3;
            const bool is_live = g() % 3 != 0;
            if (is_live) {
                Value value = g() % 3 == 0   ? Value()
                              : g() % 2 == 0 ? Value(static_cast<std::int64_t>(g()))
                                             : Value(std::string(g() % 4, 'v'));
                std::string key = g() % 3 == 0 ? canonical_bytes(value) : std::string(g() % 3, 'k');
                f.live.push_back(live({writer, counter}, g() % 2, value, key, {g() % 2, g() % 2}));
            }
            if (is_live || g() % 2 == 0) f.counters.push_back({writer, counter + g() % 2});
        }
        for (unsigned k = g() % 3; k > 0; --k) f.known.push_back({{g() % 3 + 1, g() % 3}, g()});
    }
    return s;
}

}  // namespace

TEST_CASE("a record has the bytes that were published") {
    CHECK(test::to_hex(encode_record(example())) == test::golden("record.hex"));
    CHECK(decode_record(encode_record(example())) == example());
}

TEST_CASE(
    "any record comes back as it went, with captures for the server and without for the wire") {
    Chance g(1);
    for (int i = 0; i < 3000; ++i) {
        const RecordState s = random_state(g);
        REQUIRE(fields_of(encode_fields(s, true), true).fields == s.fields);
        REQUIRE(fields_of(encode_fields(s, false), false).fields == without_captures(s).fields);
        const std::string bytes = encode_record(s);
        REQUIRE(decode_record(bytes) == without_captures(s));
        REQUIRE(encode_record(decode_record(bytes)) == bytes);
    }
}

TEST_CASE(
    "the default of a record is what most of its values have, the first of those that share") {
    const auto default_of = [](const RecordState& s) {
        const std::string bytes = encode_fields(s, false);
        WireReader r(bytes);
        const std::uint64_t writer = r.varint();
        return Dot{writer, r.varint()};
    };
    RecordState s;
    for (std::uint16_t n = 0; n < 30; ++n) {
        const Dot dot{100U + (n < 20 ? 20U - n : n % 5U), 7};  // of twenty writers, five twice more
        s.fields[static_cast<std::uint16_t>(16 + n)] = {{live(dot, kStamp, "a")}, {dot}, {}};
    }
    CHECK(default_of(s) == Dot{101, 7});
    const Dot last{100, 7};
    for (const auto n : {std::uint16_t{60}, std::uint16_t{61}})
        s.fields[n] = {{live(last, kStamp, "a")}, {last}, {}};
    CHECK(default_of(s) == last);
    CHECK(fields_of(encode_fields(s, false), false).fields == s.fields);
}

TEST_CASE("the wire never carries a capture id") {
    RecordState s = example();
    const std::string bytes = encode_record(s);
    for (auto& [number, field] : s.fields) {
        field.known.push_back({{5, 6}, 7});
        for (LiveValue& l : field.live) l.capture = {5, 6};
    }
    CHECK(encode_record(s) == bytes);
}

TEST_CASE("an elided value leaves its dot, stamp and key, and only its bytes out") {
    RecordState s = example();
    s.fields[23].live[0].value = Value(std::string(1000, 'x'));
    const std::string bytes =
        encode_record(s, [](std::uint16_t, const LiveValue& l) { return l.dot == kAnna; });
    CHECK(bytes.size() < 250);
    const RecordState back = decode_record(bytes);
    for (auto& [number, field] : s.fields) {
        for (LiveValue& l : field.live)
            if (l.dot == kAnna) {
                l.elided = true;
                l.value = Value();
            }
        CHECK(back.fields.at(number) == field);
    }
}

TEST_CASE("what the centre wrote at once names its dot once") {
    const Dot centre{kServerWriter, kStamp + 7};
    RecordState s;
    s.fields[16] = {{live(kAnna, kStamp, "a")}, {kAnna}, {}};
    s.fields[17] = {{live(kAnna, kStamp, "b")}, {kAnna}, {}};
    s.fields[18] = {{live(kAnna, kStamp, "c")}, {kAnna}, {}};
    const std::size_t alone = encode_fields(s, false).size();
    s.fields[9] = {{live(centre, centre.counter, "new")}, {centre}, {}};
    CHECK(encode_fields(s, false).size() == alone + 1 + 1 + 2 + 10 + 5 + 1);
    s.fields[10] = {{live(centre, centre.counter, Value(1))}, {centre}, {}};
    CHECK(encode_fields(s, false).size() == alone + 20 + 1 + 1 + 1 + 2 + 1);
    CHECK(fields_of(encode_fields(s, false), false).fields == s.fields);
}

TEST_CASE("a live value like the one before it needs one, and says it in one way") {
    const auto with = [](std::uint64_t flags, bool dot, bool stamp) {
        WireWriter w;
        w(std::uint16_t{9}, RecordId{}, std::string(), std::uint64_t{0});
        w(std::uint64_t{7}, std::uint64_t{1}, std::uint64_t{5});
        w.varint(1);
        w.varint(16 << 2);
        w.varint(1);
        w.varint(flags);
        if (dot) w(std::uint64_t{8}, std::uint64_t{3});
        if (stamp) w(std::uint64_t{3});
        w(Value());
        w.varint(0);
        return w.take();
    };
    CHECK_FALSE(refuses(with(8, true, true)));
    CHECK_FALSE(refuses(with(8 | 128, true, false)));
    CHECK(refuses(with(8 | 64, false, false)));
    CHECK(refuses(with(8 | 64 | 128, false, false)));
    CHECK(refuses(with(8 | 2 | 128, false, false)));
    CHECK(refuses(with(8 | 4 | 64, false, false)));
    CHECK(refuses(with(8 | 256, true, true)));
}

TEST_CASE(
    "a field that one writer wrote costs its value and one byte, whatever its dot and stamp") {
    RecordState s;
    s.fields[16] = {
        {live({UINT64_MAX - 1, 1'000'000}, kStamp, "")}, {{UINT64_MAX - 1, 1'000'000}}, {}};
    const std::size_t one = encode_fields(s, false).size();
    s.fields[17] = FieldState(s.fields[16]);
    CHECK(encode_fields(s, false).size() == one + 3);
}

TEST_CASE("a record cut anywhere, or with bytes behind it, is none") {
    const std::string bytes = encode_record(example());
    for (std::size_t n = 0; n < bytes.size(); ++n)
        CHECK(refuses(std::string_view(bytes).substr(0, n)));
    CHECK(refuses(bytes + '\0'));
}

TEST_CASE(
    "a record with any byte changed is refused or is another record, and never more than that") {
    const std::string bytes = encode_record(example());
    for (std::size_t i = 0; i < bytes.size(); ++i)
        for (int v = 0; v < 256; ++v) {
            std::string changed = bytes;
            changed[i] = static_cast<char>(v);
            if (refuses(changed)) continue;
            const RecordState s = decode_record(changed);
            CHECK_NOTHROW(encode_record(s));
            CHECK_NOTHROW(show(s));
        }
}

}  // namespace rapport
