// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "model/archive.hpp"
#include "model/bundle.hpp"
#include "support/chance.hpp"
#include "support/golden.hpp"

namespace rapport {
namespace {

using test::Chance;

/// A visit with a complaint, and a wish edited after it was seen: one of everything a bundle can
/// say.
Bundle example() {
    Bundle b;
    b.counter = 42;
    b.schema_version = 1;
    b.captured_at = 1'772'440'199'000 * 2048 + 1024;
    b.needs = {40, 41};
    const Stamp stamp = Stamp{1'772'440'200'000} << 16;
    const CaptureId capture{0xA1B2C3D4E5F60718, stamp};

    Change create{8, RecordId{{1, 0x9C, 0xA5, 0, 0, 0, 0x70}}, true, "territory/DE-50", {}};
    create.writes.push_back({16, {{"", "Deckel undicht", stamp, capture}}, {}, {}, {}, {}});
    create.writes.push_back({17, {{"", Value(std::int64_t{-5}), stamp, capture}}, {}, {}, {}, {}});
    create.writes.push_back({18, {{"", Value(b.captured_at), stamp, capture}}, {}, {}, {}, {}});
    Write tags{20, {}, {}, {}, {}, {}};
    for (const char* tag : {"leak", "lid"})
        tags.adds.push_back({canonical_bytes(tag), tag, stamp, capture});
    create.writes.push_back(tags);

    Change edit{9, RecordId{{2, 0x9C, 0xA5, 0, 0, 0, 0x70}}, false, "", {}};
    edit.writes.push_back({23,
                           {{"", Value(), stamp + 1, {capture.file, 8}}},
                           {{{77, 3}, ""}, {{78, 300}, ""}},
                           {{{capture.file, 6}, ""}},
                           {{{capture.file, 5}, 0x0123456789ABCDEF}},
                           {{77, 39}}});
    edit.writes.push_back(
        {300, {{"colour", "red", stamp + 2, {9, 9}}}, {{{77, 3}, "colour"}}, {}, {}, {}});
    edit.writes.push_back({301, {}, {{{77, 3}, "size"}}, {}, {}, {}});
    b.changes = {create, edit};
    return b;
}

bool refuses(std::string_view bytes) {
    try {
        decode_bundle(bytes);
    } catch (const Error& e) {
        return e.code() == ErrorCode::protocol_violated;
    }
    return false;
}

Value random_value(Chance& g, int depth = 0) {
    switch (g() % (depth < 2 ? 4 : 3)) {
        case 0:
            return {};
        case 1:
            return Value(static_cast<std::int64_t>(g()) - 0x7FFFFFFF);
        case 2:
            return Value(std::string(g() % 5, 'x'));
        default: {
            Parts parts;
            for (unsigned n = g() % 3; n > 0; --n) parts.push_back(random_value(g, depth + 1));
            return Value(std::move(parts));
        }
    }
}

Bundle random_bundle(Chance& g) {
    const auto dot = [&] { return Dot{g() % 4, g() % 1000}; };
    const auto capture = [&] { return CaptureId{g() % 3, g() % 3}; };
    const auto key = [&] { return std::string(g() % 3, 'k'); };
    Bundle b;
    b.counter = g();
    b.schema_version = g() % 3;
    b.captured_at = static_cast<std::int64_t>(g()) << 20;
    for (unsigned n = g() % 3; n > 0; --n) b.needs.push_back(g());
    for (unsigned n = g() % 4; n > 0; --n) {
        Change c;
        c.kind = static_cast<std::uint16_t>(g());
        for (auto& byte : c.id.bytes) byte = static_cast<std::uint8_t>(g());
        c.create = g() % 2 != 0;
        c.scope = key();
        std::uint16_t field = 0;
        for (unsigned m = g() % 4; m > 0; --m) {
            Write w;
            w.field = field = static_cast<std::uint16_t>(field + 1 + g() % 200);
            for (unsigned k = g() % 3; k > 0; --k) {
                Added a{key(), random_value(g), g() % 3, capture()};
                if (g() % 2 != 0) a.key = canonical_bytes(a.value);
                w.adds.push_back(a);
            }
            for (unsigned k = g() % 3; k > 0; --k) w.over.push_back({dot(), key()});
            for (unsigned k = g() % 3; k > 0; --k) w.over_own.push_back({capture(), key()});
            for (unsigned k = g() % 3; k > 0; --k) w.folded.push_back({capture(), g()});
            for (unsigned k = g() % 3; k > 0; --k) w.former.push_back(dot());
            c.writes.push_back(w);
        }
        b.changes.push_back(c);
    }
    return b;
}

}  // namespace

TEST_CASE("a bundle has the bytes that were published") {
    CHECK(test::to_hex(encode_bundle(example())) == test::golden("bundle.hex"));
    CHECK(decode_bundle(encode_bundle(example())) == example());
}

TEST_CASE("any bundle comes back as it went, and is encoded in one way") {
    Chance g(1);
    for (int i = 0; i < 3000; ++i) {
        const Bundle b = random_bundle(g);
        const std::string bytes = encode_bundle(b);
        REQUIRE(decode_bundle(bytes) == b);
        REQUIRE(encode_bundle(decode_bundle(bytes)) == bytes);
    }
}

TEST_CASE("the writes of a change travel alone as well") {
    Chance g(2);
    for (int i = 0; i < 500; ++i)
        for (const Change& c : random_bundle(g).changes)
            REQUIRE(decode_writes(encode_writes(c.writes)) == c.writes);
}

TEST_CASE("a bundle cut anywhere, or with bytes behind it, is none") {
    const std::string bytes = encode_bundle(example());
    for (std::size_t n = 0; n < bytes.size(); ++n)
        CHECK(refuses(std::string_view(bytes).substr(0, n)));
    CHECK(refuses(bytes + '\0'));
}

TEST_CASE(
    "a bundle with any byte changed is refused or is another bundle, and never more than that") {
    const std::string bytes = encode_bundle(example());
    for (std::size_t i = 0; i < bytes.size(); ++i)
        for (int v = 0; v < 256; ++v) {
            std::string changed = bytes;
            changed[i] = static_cast<char>(v);
            if (!refuses(changed)) CHECK_NOTHROW(encode_bundle(decode_bundle(changed)));
        }
}

TEST_CASE("field numbers rise and stay within 16 bits") {
    const auto with_step = [](std::uint64_t first, std::uint64_t second) {
        WireWriter w;
        w(std::uint64_t{1}, std::uint32_t{1}, std::int64_t{0}, std::uint64_t{0});
        w(std::vector<std::uint64_t>{});
        w.varint(1);
        w(std::uint16_t{8}, RecordId{}, true, std::string());
        w(std::int64_t{0}, false);
        w.varint(2);
        for (const std::uint64_t step : {first, second}) {
            w.varint(step << 6 | 1);
            w(Value());
        }
        return w.take();
    };
    CHECK_FALSE(refuses(with_step(16, 1)));
    CHECK(refuses(with_step(0, 1)));
    CHECK(refuses(with_step(16, 0)));
    CHECK_FALSE(refuses(with_step(65534, 1)));
    CHECK(refuses(with_step(65534, 2)));
    CHECK(refuses(with_step(1, std::uint64_t{1} << 57)));
}

TEST_CASE("a new record's own bundle says when it was captured once") {
    Bundle b;
    b.counter = 7;
    b.schema_version = 1;
    b.captured_at = 1'772'440'199'000 * 2048 + 1084;
    const Stamp stamp = Stamp{1'772'440'199'000} << 16;
    const Added at{"", Value(b.captured_at), stamp, {0xA1B2C3D4E5F60718, stamp}};
    b.changes = {{6, RecordId{{1}}, true, "", {{1, {at}, {}, {}, {}, {}}}}};
    const std::size_t bytes = encode_bundle(b).size();
    CHECK(decode_bundle(encode_bundle(b)) == b);
    b.changes[0].writes[0].adds[0].value = Value(b.captured_at + 1);
    CHECK(encode_bundle(b).size() == bytes + 9);
    CHECK(bytes < 50);
}

TEST_CASE("the flag of a capture's time stands only where one value does") {
    WireWriter w;
    w(std::uint64_t{1}, std::uint32_t{1}, std::int64_t{0}, std::uint64_t{0});
    w(std::vector<std::uint64_t>{});
    w.varint(1);
    w(std::uint16_t{8}, RecordId{}, true, std::string(), std::int64_t{0}, false);
    w.varint(1);
    w.varint(16 << 6 | 32);  // without the bit of a single value
    w.varint(0);
    CHECK(refuses(w.str()));
}

TEST_CASE("a bundle of a few bytes cannot ask for much memory") {
    WireWriter w;
    w(std::uint64_t{1}, std::uint32_t{1}, std::int64_t{0}, std::uint64_t{0});
    w.varint(std::uint64_t{1} << 40);
    CHECK(refuses(w.str()));
}

}  // namespace rapport
