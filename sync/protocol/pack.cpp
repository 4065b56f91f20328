// SPDX-License-Identifier: Apache-2.0
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "model/hash.hpp"
#include "model/planted.hpp"
#include "protocol/columns.hpp"
#include "protocol/messages.hpp"

namespace rapport::protocol {
namespace {

constexpr std::size_t kHeaderBytes = 9;
constexpr std::size_t kWorthCompressing = 256;  // below, the frame costs about what it saves
constexpr int kWindowLog = 20;                  // 1 MiB: what a decoder on a phone must set aside
constexpr std::uint64_t kWindowMax = std::uint64_t{1} << kWindowLog;
constexpr int kLevel = 3;                       // 6 takes twice the time and memory for 4 % less
constexpr int kHashLog = 16;                    // the level's own 17 takes 400 KiB for 0.8 % less
constexpr std::size_t kSmallBytes = 64 * 1024;  // where the hardest work is a few milliseconds
constexpr int kLevelOfSmall = 19;

enum : unsigned char { kIdentity = 0, kZstd = 1, kRequestColumns = 2, kReplyColumns = 3 };

std::uint32_t checksum(std::string_view archive) {
    return static_cast<std::uint32_t>(hash64(archive));
}

void put32(std::string& out, std::uint32_t v) {
    for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(v >> shift));
}
std::uint32_t get32(std::string_view bytes, std::size_t at) {
    std::uint32_t v = 0;
    for (std::size_t i = 0; i < 4; ++i)
        v |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
    return v;
}

[[noreturn]] void violated(const char* sentence) {
    throw Error(ErrorCode::protocol_violated, sentence);
}

std::string compressed(std::string_view archive) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                       &ZSTD_freeCCtx);
    if (!context) throw Error(ErrorCode::internal, "no memory for a zstd context");
    const bool small = archive.size() <= kSmallBytes;
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, small ? kLevelOfSmall : kLevel);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, kWindowLog);
    if (!small) {
        ZSTD_CCtx_setParameter(context.get(), ZSTD_c_hashLog, kHashLog);
        ZSTD_CCtx_setParameter(context.get(), ZSTD_c_chainLog, kHashLog - 1);
    }
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 1);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 0);
    // Nearly always a third is enough, and a phone need not set aside the rest.
    std::string frame(small ? ZSTD_compressBound(archive.size()) : archive.size() / 3, '\0');
    std::size_t n =
        ZSTD_compress2(context.get(), frame.data(), frame.size(), archive.data(), archive.size());
    if (ZSTD_isError(n)) {
        frame.resize(ZSTD_compressBound(archive.size()));
        n = ZSTD_compress2(context.get(), frame.data(), frame.size(), archive.data(),
                           archive.size());
    }
    if (ZSTD_isError(n)) throw Error(ErrorCode::internal, "zstd refused to compress");
    frame.resize(n);
    return frame;
}

/// The memory a frame asks its decoder to set aside (RFC 8878, 3.1.1.1). libzstd would not ask when
/// it can decode in one go, but other decoders do.
std::uint64_t window_of(std::string_view frame) {
    constexpr std::uint32_t kMagic = 0xFD2FB528;
    if (frame.size() < 6 || get32(frame, 0) != kMagic) violated("a body that is no zstd frame");
    const auto descriptor = static_cast<unsigned char>(frame[4]);
    if ((descriptor & 0x20U) != 0)
        return ZSTD_getFrameContentSize(frame.data(), frame.size());  // single segment
    const auto window = static_cast<unsigned char>(frame[5]);
    const std::uint64_t base = std::uint64_t{1} << (10 + (window >> 3));
    return base + base / 8 * (window & 7U);
}

/// The content of a frame that states how long it is: `size`, or that at most.
std::string decompressed(std::string_view frame, std::size_t size, bool exactly) {
    if (window_of(frame) > kWindowMax) violated("a zstd frame with a window of more than 1 MiB");
    const unsigned long long stated = ZSTD_getFrameContentSize(frame.data(), frame.size());
    if (stated > size || (exactly && stated != size))
        violated("a zstd frame whose content size does not fit the stated length");
    size = static_cast<std::size_t>(stated);
    if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size())
        violated("bytes that are not one whole zstd frame");
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                       &ZSTD_freeDCtx);
    if (!context) throw Error(ErrorCode::internal, "no memory for a zstd context");
    ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLog);
    std::string archive(size, '\0');
    ZSTD_outBuffer out{archive.data(), archive.size(), 0};
    ZSTD_inBuffer in{frame.data(), frame.size(), 0};
    std::size_t left = 1;
    while (left != 0) {
        const std::size_t in_before = in.pos, out_before = out.pos;
        left = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(left))
            violated("a body that is not a zstd frame with a window of at most 1 MiB");
        if (left != 0 && in.pos == in_before && out.pos == out_before)
            violated("a zstd frame that is cut short");
    }
    if (out.pos != size || in.pos != frame.size())
        violated("a zstd frame of another length than stated");
    return archive;
}

}  // namespace

std::string pack(std::string archive, Contents contents) {
    if (archive.size() > UINT32_MAX)
        throw Error(ErrorCode::limit_exceeded, "a message of more than 4 GiB");
    std::string head;
    put32(head, static_cast<std::uint32_t>(archive.size()));
    put32(head, checksum(archive));
    unsigned char form = kIdentity;
    std::string columns;
    if (archive.size() >= kWorthCompressing) {
        const bool small = archive.size() <= kSmallBytes;  // then both ways are tried
        if (contents != Contents::opaque)
            columns = (small ? put_apart(archive, contents) : take_apart(archive, contents))
                          .value_or(std::string());
        std::string frame;
        if (!columns.empty()) {
            frame = compressed(columns);
            std::string().swap(columns);
            form = contents == Contents::request ? kRequestColumns : kReplyColumns;
        }
        if (!archive.empty()) {
            std::string whole = compressed(archive);
            if (frame.empty() || whole.size() < frame.size()) {
                frame = std::move(whole);
                form = kZstd;
            }
            if (frame.size() >= archive.size()) {
                frame = std::move(archive);
                form = kIdentity;
            }
        }
        archive = std::move(frame);
    }
    std::string body;
    body.reserve(kHeaderBytes + archive.size());
    body.push_back(static_cast<char>(form));
    return body.append(head).append(archive);
}

std::string unpack(std::string_view body, std::size_t bytes_max) {
    if (body.size() < kHeaderBytes) violated("a body shorter than its header");
    const auto form = static_cast<unsigned char>(body[0]);
    const std::size_t size = get32(body, 1);
    const std::uint32_t sum = get32(body, 5);
    const std::string_view content = body.substr(kHeaderBytes);
    if (form > kReplyColumns) violated("a body of unknown form");
    if (size > bytes_max)
        throw Error(ErrorCode::limit_exceeded, "a message of " + std::to_string(size) +
                                                   " bytes where " + std::to_string(bytes_max) +
                                                   " are allowed");
    if (form == kIdentity && content.size() != size)
        violated("a body of another length than stated");
    const bool columns = form == kRequestColumns || form == kReplyColumns;
    std::string archive =
        form == kIdentity ? std::string(content) : decompressed(content, size, !columns);
    if (columns)
        archive = put_together(archive, size,
                               form == kRequestColumns ? Contents::request : Contents::reply);
    if (checksum(archive) != sum && !RAPPORT_PLANTED("ignore_the_checksum"))
        violated("a body whose checksum does not match");
    return archive;
}

}  // namespace rapport::protocol
