// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <zstd.h>

#include <memory>

#include "model/hash.hpp"
#include "protocol/messages.hpp"
#include "support/golden.hpp"

namespace rapport::protocol {
namespace {

ErrorCode refusal_of(std::string_view body, std::size_t bytes_max = 1 << 20) {
    try {
        unpack(body, bytes_max);
    } catch (const Error& e) {
        return e.code();
    }
    return ErrorCode{};
}

std::string archive_of(std::size_t size) {
    std::string archive;
    while (archive.size() < size)
        archive += "Besuch " + std::to_string(archive.size()) + ", Deckel undicht; ";
    archive.resize(size);
    return archive;
}

std::string incompressible(std::size_t size) {
    std::string archive;
    for (std::uint64_t i = 0; archive.size() < size; ++i)
        archive += static_cast<char>(hash64(std::to_string(i)));
    return archive;
}

std::string little_endian(std::uint32_t v) {
    std::string bytes;
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(v >> (8 * i));
    return bytes;
}

std::string framed(std::string_view frame, std::string_view archive) {
    return '\1' + little_endian(static_cast<std::uint32_t>(archive.size())) +
           little_endian(static_cast<std::uint32_t>(hash64(archive))) + std::string(frame);
}

std::string zstd_frame(std::string_view archive, int window_log, bool content_size) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                       &ZSTD_freeCCtx);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, content_size ? 1 : 0);
    std::string frame(ZSTD_compressBound(archive.size()), '\0');
    frame.resize(
        ZSTD_compress2(context.get(), frame.data(), frame.size(), archive.data(), archive.size()));
    return frame;
}

}  // namespace

TEST_CASE("what was packed comes out as it went in, whatever its size") {
    for (const std::size_t size : {0U, 1U, 255U, 256U, 5000U, 1U << 20, 3U << 20}) {
        const std::string archive = archive_of(size);
        CHECK(unpack(pack(archive), 4 << 20) == archive);
    }
}

TEST_CASE("a text is sent compressed; what is short or does not shrink is sent as it is") {
    CHECK(pack(archive_of(20'000)).size() < 5'000);
    CHECK(pack(archive_of(20'000))[0] == 1);
    CHECK(pack(archive_of(100)).size() == 109);
    CHECK(pack(archive_of(100))[0] == 0);
    CHECK(pack(incompressible(5'000)).size() == 5'009);
    // A long one is given a third of its length first.
    CHECK(pack(incompressible(200'000)).size() == 200'009);
    CHECK(unpack(pack(incompressible(200'000)), 200'000) == incompressible(200'000));
}

TEST_CASE("the header is form, length and checksum, little endian") {
    const std::string archive = "rapport";
    CHECK(pack(archive) == '\0' + little_endian(7) +
                               little_endian(static_cast<std::uint32_t>(hash64(archive))) +
                               archive);
}

TEST_CASE("a larger message than allowed is refused before anything is set aside for it") {
    CHECK(refusal_of(pack(archive_of(5'000)), 4'999) == ErrorCode::limit_exceeded);
    CHECK(refusal_of(pack(archive_of(5'000)), 5'000) == ErrorCode{});
    CHECK(refusal_of('\1' + std::string("\xFF\xFF\xFF\xFF\0\0\0\0", 8)) ==
          ErrorCode::limit_exceeded);
}

TEST_CASE("a body cut short at any byte, or with any one bit turned, is no message") {
    for (const std::string& archive : {archive_of(60), archive_of(700)}) {
        const std::string body = pack(archive);
        for (std::size_t n = 0; n < body.size(); ++n)
            CHECK(refusal_of(std::string_view(body).substr(0, n)) != ErrorCode{});
        for (std::size_t bit = 0; bit < body.size() * 8; ++bit) {
            std::string turned = body;
            turned[bit / 8] = static_cast<char>(turned[bit / 8] ^ (1 << (bit % 8)));
            const ErrorCode code = refusal_of(turned);
            // A bit of the zstd header that says nothing about the content may be free; then the
            // content is unharmed.
            if (code == ErrorCode{}) CHECK(unpack(turned, 1 << 20) == archive);
        }
    }
    CHECK(refusal_of(pack("text") + "x") == ErrorCode::protocol_violated);
    CHECK(refusal_of(pack(archive_of(700)) + "x") == ErrorCode::protocol_violated);
    CHECK(refusal_of("<html><body>Welcome to our network</body></html>") != ErrorCode{});
}

TEST_CASE("a frame that hides its size, lies about it or wants a large window is refused") {
    const std::string archive = archive_of(3 << 20);
    CHECK(refusal_of(framed(zstd_frame(archive, 20, true), archive), 4 << 20) == ErrorCode{});
    CHECK(refusal_of(framed(zstd_frame(archive, 20, false), archive), 4 << 20) ==
          ErrorCode::protocol_violated);
    CHECK(refusal_of(framed(zstd_frame(archive, 22, true), archive), 4 << 20) ==
          ErrorCode::protocol_violated);
    const std::string bomb(3 << 20, '\0');
    CHECK(refusal_of(framed(zstd_frame(bomb, 20, true), "short"), 4 << 20) ==
          ErrorCode::protocol_violated);
}

TEST_CASE("request, reply and body have the bytes that were published") {
    Request request;
    request.writer = 77;
    request.last = {5, 6};
    request.next = 9;
    request.limits_version = 1;
    request.bundles = {"<bundle>"};
    CHECK(test::to_hex(encode(request)) == test::golden("request.hex"));
    CHECK(test::to_hex(pack(encode(request))) == test::golden("packed.hex"));

    Reply reply;
    reply.next = 9;
    reply.server_time_ms = 1'772'440'200'000;
    reply.tag = 10;
    reply.cursor = "<cursor>";
    reply.receipt = 42;
    reply.verdicts = {
        {42, Verdict::refused, {{RecordId{}, "need", "too_long", "Too long.", {"4000"}}}}};
    reply.records = {"<record>"};
    reply.departures = {{9, RecordId{}, 2, ""}};
    reply.authors = {{78, "R23"}};
    CHECK(test::to_hex(encode(reply)) == test::golden("reply.hex"));

    const ComparePoint visit{6, "territory/DE-50", RecordId{{1, 2, 3}}};
    Request compares;
    compares.writer = 77;
    compares.last = {5, 6};
    compares.next = 9;
    compares.limits_version = 1;
    compares.comparison =
        Comparison{{}, {{visit, 500, 0x0123456789ABCDEF}, {end_of_comparison(), 1, 2}}};
    CHECK(test::to_hex(encode(compares)) == test::golden("comparison.hex"));
    Reply differs;
    differs.next = 9;
    differs.server_time_ms = 1'772'440'200'000;
    differs.receipt = 42;
    differs.records = {"<record>"};
    differs.compared = Compared{end_of_comparison(), {{visit, end_of_comparison(), 1}}};
    CHECK(test::to_hex(encode(differs)) == test::golden("compared.hex"));
    CHECK(decode<Request>(encode(compares)) == compares);
    CHECK(decode<Reply>(encode(differs)) == differs);

    Reply confirms;
    confirms.next = 9;
    confirms.server_time_ms = 1'772'440'200'000;
    confirms.tag = 10;
    confirms.cursor = "<cursor>";
    confirms.receipt = 42;
    confirms.verdicts = {{42, Verdict::applied, {}}};
    confirms.records = {"<record>"};
    confirms.confirmed = Confirmed{{1, 1, 1}, 0x0123456789ABCDEF};
    CHECK(test::to_hex(encode(confirms)) == test::golden("confirmed.hex"));
    CHECK(decode<Reply>(encode(confirms)) == confirms);
}

TEST_CASE("PROTOCOL.md shows the golden bytes") {
    const std::string page = test::golden("../../sync/PROTOCOL.md");
    for (const char* name :
         {"request", "packed", "reply", "bundle", "record", "comparison", "compared", "confirmed"})
        CHECK(page.find("```\n" + test::golden(name + std::string(".hex")) + "```") !=
              std::string::npos);
}

TEST_CASE("a request and a reply keep every field") {
    Request request;
    request.writer = 77;
    request.last = {5, 6};
    request.next = UINT64_MAX;
    request.limits_version = 3;
    request.bundles = {"a", std::string("\0b", 2)};
    CHECK(decode<Request>(encode(request)) == request);
    request.kind = 1;
    request.basis = {7, 8};
    request.cursor = "c";
    request.receipt = 9;
    request.parent = 10;
    request.credential = "secret";
    request.file = 11;
    request.more = true;
    request.sent = {{12, 13}};
    request.authors = {{14, "R17"}};
    request.witnessed = {"w"};
    request.touched = {RecordId{{1, 2, 3}}};
    CHECK(decode<Request>(encode(request)) == request);

    Reply reply;
    reply.next = 1;
    reply.server_time_ms = -5;
    reply.tag = 2;
    reply.cursor = "cursor";
    reply.receipt = 3;
    reply.checkpoint = false;
    reply.revoked = true;
    reply.verdicts = {
        {4, Verdict::refused, {{RecordId{{9}}, "field", "too_long", "Too long.", {"5", "7"}}}}};
    reply.records = {"record"};
    reply.departures = {{6, RecordId{{8}}, 2, "territory/AT-1"}};
    reply.not_yours = {RecordId{{7}}};
    reply.authors = {{77, "R17"}};
    reply.scopes = {"territory/DE-50"};
    reply.limits = Limits{};
    CHECK(decode<Reply>(encode(reply)) == reply);

    Reply mismatch;
    mismatch.outcome = Outcome::mismatch;
    mismatch.next = 1;
    mismatch.entries = {{1, 2}, {3, 4}};
    CHECK(decode<Reply>(encode(mismatch)) == mismatch);
}

}  // namespace rapport::protocol
