// SPDX-License-Identifier: Apache-2.0
#include "protocol/columns.hpp"

#include <doctest/doctest.h>

#include "model/bundle.hpp"
#include "model/state.hpp"
#include "support/chance.hpp"
#include "support/golden.hpp"

namespace rapport::protocol {
namespace {

using test::Chance;

constexpr std::int64_t kMs = 1'772'440'199'000;
constexpr std::uint64_t kFile = 0xA1B2C3D4E5F60718;

Stamp stamp_of(std::int64_t ms) { return static_cast<Stamp>(ms) << 16; }
std::int64_t time_of(std::int64_t ms) { return ms * 2048 + 1084; }

RecordId id_of(Chance& g, std::int64_t ms) {
    std::array<std::uint8_t, 10> random{};
    for (auto& byte : random) byte = static_cast<std::uint8_t>(g());
    return time_ordered_id(ms, random);
}

std::string note(Chance& g) {
    static constexpr const char* kWords[] = {"Deckel", "undicht", "Palette", "der", "und", "Größe"};
    std::string text;
    for (unsigned n = 20 + g() % 9; n > 0; --n) text += std::string(kWords[g() % 6]) + ' ';
    return text;
}

Write write_of(std::uint16_t field, Value value, Stamp stamp) {
    return {field, {{"", std::move(value), stamp, {kFile, stamp}}}, {}, {}, {}, {}};
}

/// What a rep brings home: visits of a few customers, each saved alone, and an edit now and then.
Request working_day(Chance& g, int visits) {
    Request request;
    request.writer = 77;
    request.last = {5, 6};
    request.next = 9;
    std::vector<RecordId> customers;
    for (int i = 0; i < 5; ++i) customers.push_back(id_of(g, kMs - 1'000'000));
    for (int i = 0; i < visits; ++i) {
        const std::int64_t ms = kMs + i * 300'000;
        const Stamp stamp = stamp_of(ms);
        Bundle bundle;
        bundle.counter = static_cast<std::uint64_t>(40 + i);
        bundle.schema_version = 1;
        bundle.captured_at = time_of(ms);
        Change change{6, id_of(g, ms), true, "", {}};
        change.writes.push_back(write_of(1, Value(bundle.captured_at), stamp));
        change.writes.push_back(write_of(2, "R17", stamp));
        change.writes.push_back(write_of(16, customers[g() % 5].raw(), stamp));
        change.writes.push_back(write_of(20, Value(time_of(ms - 2'400'000)), stamp));
        change.writes.push_back(write_of(21, note(g), stamp));
        change.writes.push_back(write_of(22, Value(Parts{Value(-5), Value("EUR")}), stamp));
        if (i % 4 == 3) {
            bundle.needs = {bundle.counter - 2};
            change.writes.push_back(
                {30,
                 {{"a", Value("x"), stamp + 1, {9, 9}}, {"", Value(), stamp, {kFile, stamp}}},
                 {{{77, 3}, "a"}},
                 {{{kFile, 8}, ""}},
                 {{{kFile, 5}, 0x0123456789ABCDEF}},
                 {{77, 39}}});
        }
        bundle.changes = {std::move(change)};
        request.bundles.push_back(encode_bundle(bundle));
    }
    return request;
}

Reply page(Chance& g, int records) {
    Reply reply;
    reply.next = 9;
    reply.server_time_ms = kMs;
    reply.tag = 10;
    reply.cursor = "<cursor>";
    reply.download = true;
    reply.incomplete = {"territory/DE-50"};
    for (int i = 0; i < records; ++i) {
        const std::int64_t ms = kMs - i * 300'000;
        const Dot dot{77, static_cast<std::uint64_t>(5000 - i)}, server{1, stamp_of(kMs + i)};
        const auto live = [](Dot d, Stamp stamp, Value value, std::string key = {}) {
            return LiveValue{d, stamp, std::move(key), std::move(value), {}, false};
        };
        RecordState s;
        s.kind = 8;
        s.id = id_of(g, ms);
        s.scope = "territory/DE-50";
        s.fields[1] = {{live(dot, stamp_of(ms), Value(time_of(ms)))}, {dot}, {}};
        s.fields[9] = {{live(server, server.counter, "new")}, {server}, {}};
        s.fields[21] = {{live(dot, stamp_of(ms), note(g))}, {dot}, {}};
        if (i % 3 == 0)
            s.fields[23] = {{live(dot, stamp_of(ms), "a"), live({78, 4}, stamp_of(ms) + 3, "b")},
                            {dot, {78, 4}, {79, 5}},
                            {}};
        if (i % 3 == 1)
            s.fields[28] = {{live({78, 4}, stamp_of(ms) + 3, "leak", "leak")}, {{78, 4}}, {}};
        reply.records.push_back(encode_record(s));
        reply.verdicts.push_back({dot.counter, Verdict::applied, {}});
    }
    reply.verdicts.push_back(
        {1, Verdict::refused, {{RecordId{{9}}, "need", "too_long", "Too long.", {"4000", "7"}}}});
    reply.departures = {{9, RecordId{{8}}, 2, "territory/DE-40"}};
    reply.authors = {{77, "R17"}};
    return reply;
}

bool refuses(std::string_view columns, std::size_t size, Contents contents) {
    try {
        put_together(columns, size, contents);
    } catch (const Error& e) {
        return e.code() == ErrorCode::protocol_violated;
    }
    return false;
}

}  // namespace

TEST_CASE("a message put apart and together again is the same bytes") {
    Chance g(1);
    for (int i = 0; i < 60; ++i) {
        const std::string request = encode(working_day(g, 10 + i));
        const auto up = put_apart(request, Contents::request);
        REQUIRE(up);
        REQUIRE(put_together(*up, request.size(), Contents::request) == request);
        const std::string reply = encode(page(g, 10 + i));
        const auto down = put_apart(reply, Contents::reply);
        REQUIRE(down);
        REQUIRE(put_together(*down, reply.size(), Contents::reply) == reply);
    }
}

TEST_CASE("an archive that is not needed any more is emptied when it is put apart, and only then") {
    Chance g(5);
    const std::string day = encode(working_day(g, 50));
    std::string archive = day;
    CHECK(take_apart(archive, Contents::request) == put_apart(day, Contents::request));
    CHECK(archive.empty());
    std::string cut = day.substr(0, day.size() / 2);
    CHECK_FALSE(take_apart(cut, Contents::request));
    CHECK(cut == day.substr(0, day.size() / 2));
}

TEST_CASE("what is alike laid side by side takes a fifth less room on the wire") {
    Chance g(2);
    const std::string request = encode(working_day(g, 400)), reply = encode(page(g, 400));
    CHECK(pack(request, Contents::request)[0] == 2);
    CHECK(pack(request, Contents::request).size() * 10 < pack(request).size() * 8);
    CHECK(unpack(pack(request, Contents::request), 1 << 20) == request);
    CHECK(pack(reply, Contents::reply)[0] == 3);
    CHECK(pack(reply, Contents::reply).size() * 10 < pack(reply).size() * 8);
    CHECK(unpack(pack(reply, Contents::reply), 1 << 20) == reply);
}

TEST_CASE("a message that is not of the form it is said to be travels whole") {
    Chance g(3);
    std::string day = encode(working_day(g, 50));
    CHECK_FALSE(put_apart("", Contents::request));
    CHECK_FALSE(put_apart("no message", Contents::reply));
    CHECK_FALSE(put_apart(day.substr(0, day.size() / 2), Contents::request));
    Request request = working_day(g, 50);
    request.bundles[20] = "<bundle>";
    const std::string odd = encode(request);
    CHECK_FALSE(put_apart(odd, Contents::request));
    CHECK(unpack(pack(odd, Contents::request), 1 << 20) == odd);
}

TEST_CASE("columns cut anywhere, or with any byte changed, are refused or are another message") {
    Chance g(4);
    const std::string archive = encode(working_day(g, 12));
    const std::string columns = *put_apart(archive, Contents::request);
    for (std::size_t n = 0; n < columns.size(); ++n)
        CHECK(refuses(std::string_view(columns).substr(0, n), archive.size(), Contents::request));
    CHECK(refuses(columns + '\0', archive.size(), Contents::request));
    for (std::size_t i = 0; i < columns.size(); ++i)
        for (const int v : {0, 1, 127, 128, 255}) {
            std::string changed = columns;
            changed[i] = static_cast<char>(v);
            if (refuses(changed, archive.size(), Contents::request)) continue;
            CHECK(put_together(changed, archive.size(), Contents::request).size() ==
                  archive.size());
        }
}

TEST_CASE("columns never make a longer message than was stated") {
    Chance g(5);
    const std::string archive = encode(page(g, 40));
    const std::string columns = *put_apart(archive, Contents::reply);
    for (const std::size_t size : {std::size_t{0}, archive.size() / 2, archive.size() - 1})
        CHECK(refuses(columns, size, Contents::reply));
    CHECK(refuses(columns, archive.size() + 1, Contents::reply));
}

TEST_CASE("columns have the bytes that were published") {
    Chance g(6);
    const std::string archive = encode(working_day(g, 4));
    const std::string columns = test::to_hex(put_apart(archive, Contents::request).value_or(""));
    CHECK(test::to_hex(archive) == test::golden("columns_archive.hex"));
    CHECK(columns == test::golden("columns.hex"));
}

}  // namespace rapport::protocol
