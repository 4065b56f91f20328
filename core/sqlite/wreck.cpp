// SPDX-License-Identifier: Apache-2.0
#include "sqlite/wreck.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

#include "rapport/error.hpp"

namespace rapport::sqlite {
namespace {

constexpr std::string_view kMagic{"SQLite format 3\0", 16};
constexpr std::size_t kFileHeader = 100;
constexpr std::size_t kLogHeader = 32, kFrameHeader = 24;
constexpr std::uint64_t kRowBytesMax = 64U << 20;
constexpr int kDepthMax = 20;
constexpr std::uint8_t kTableLeaf = 0x0d, kTableInterior = 0x05, kIndexLeaf = 0x0a,
                       kIndexInterior = 0x02;

std::uint8_t byte_at(std::string_view bytes, std::size_t at) {
    return static_cast<std::uint8_t>(bytes[at]);
}
std::uint64_t big_endian(std::string_view bytes, std::size_t at, std::size_t count) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8 | byte_at(bytes, at + i);
    return value;
}
std::uint32_t word_at(std::string_view bytes, std::size_t at) {
    return static_cast<std::uint32_t>(big_endian(bytes, at, 4));
}

bool is_page_size(std::uint64_t size) {
    return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

// SQLite's own varint: big-endian, nine bytes at most.
std::optional<std::uint64_t> varint_at(std::string_view bytes, std::size_t& at) {
    std::uint64_t value = 0;
    for (int i = 0; i < 9; ++i) {
        if (at >= bytes.size()) return std::nullopt;
        const std::uint8_t b = byte_at(bytes, at++);
        if (i == 8) return value << 8 | b;
        value = value << 7 | (b & 0x7FU);
        if (!(b & 0x80U)) return value;
    }
    return std::nullopt;
}

std::optional<std::vector<RawValue>> values_in(std::string_view record) {
    std::size_t at = 0;
    const auto header = varint_at(record, at);
    if (!header || *header < at || *header > record.size()) return std::nullopt;
    const auto end = static_cast<std::size_t>(*header);
    std::size_t body = end;
    std::vector<RawValue> values;
    while (at < end) {
        const auto serial = varint_at(record.substr(0, end), at);
        if (!serial) return std::nullopt;
        RawValue value;
        std::size_t size = 0;
        if (*serial >= 12) {
            value.type = *serial % 2 ? RawValue::Type::text : RawValue::Type::blob;
            if ((*serial - 12) / 2 > record.size()) return std::nullopt;
            size = static_cast<std::size_t>((*serial - 12) / 2);
        } else if (*serial != 0) {
            static constexpr std::array<std::size_t, 12> kSizes{0, 1, 2, 3, 4, 6, 8, 0, 0, 0, 0, 0};
            if (*serial == 7 || *serial > 9) return std::nullopt;  // we store no floating point
            value.type = RawValue::Type::integer;
            size = kSizes[*serial];
        }
        if (size > record.size() - body) return std::nullopt;
        if (value.type == RawValue::Type::integer) {
            std::uint64_t n = big_endian(record, body, size);
            if (size > 0 && size < 8 && byte_at(record, body) & 0x80U) n |= ~0ULL << (8 * size);
            value.integer = *serial == 9 ? 1 : static_cast<std::int64_t>(n);
        } else {
            value.bytes = record.substr(body, size);
        }
        body += size;
        values.push_back(std::move(value));
    }
    if (body != record.size() || values.empty()) return std::nullopt;
    return values;
}

// The log's checksum over whole pairs of words.
struct Checksum {
    std::uint32_t a = 0, b = 0;
    void add(std::string_view bytes, bool big) {
        const auto word = [&](std::size_t at) {
            const std::uint32_t w = word_at(bytes, at);
            return big ? w : (w >> 24 | (w >> 8 & 0xFF00U) | (w << 8 & 0xFF0000U) | w << 24);
        };
        for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
            a += word(i) + b;
            b += word(i + 4) + a;
        }
    }
    friend bool operator==(const Checksum&, const Checksum&) = default;
};

}  // namespace

Wreck::Wreck(const std::string& path) : file_(path, std::ios::binary) {
    if (!file_) throw Error(ErrorCode::not_found, "there is no file " + path);
    std::string header(kFileHeader, '\0');
    file_.read(header.data(), static_cast<std::streamsize>(header.size()));
    file_.clear();
    if (std::string_view(header).substr(0, kMagic.size()) == kMagic) {
        const std::uint64_t size = big_endian(header, 16, 2);
        if (is_page_size(size == 1 ? 65536 : size))
            size_ = static_cast<std::size_t>(size == 1 ? 65536 : size);
    }
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    pages_ = error ? 0 : static_cast<std::uint32_t>((bytes + size_ - 1) / size_);
    read_log(path + "-wal");
    mark_free_pages();
}

// A frame is valid by the checksum of the one before it, so one that is damaged hides no other.
void Wreck::read_log(const std::string& path) {
    log_.open(path, std::ios::binary);
    std::string header(kLogHeader, '\0');
    if (!log_ || !log_.read(header.data(), static_cast<std::streamsize>(header.size()))) return;
    const std::uint32_t magic = word_at(header, 0);
    const bool big = magic & 1U;
    if ((magic & ~1U) != 0x377f0682U || word_at(header, 8) != size_) return;
    Checksum before{word_at(header, 24), word_at(header, 28)};
    std::map<std::uint32_t, std::uint64_t> open;
    std::string frame(kFrameHeader + size_, '\0');
    for (std::uint64_t at = kLogHeader;
         log_.read(frame.data(), static_cast<std::streamsize>(frame.size())); at += frame.size()) {
        Checksum sum = before;
        sum.add(std::string_view(frame).substr(0, 8), big);
        sum.add(std::string_view(frame).substr(kFrameHeader), big);
        before = {word_at(frame, 16), word_at(frame, 20)};
        if (frame.compare(8, 8, header, 16, 8) != 0 || sum != before) continue;
        const std::uint32_t number = word_at(frame, 0), pages = word_at(frame, 4);
        open[number] = at + kFrameHeader;
        if (pages == 0) continue;  // not the last frame of its commit
        for (const auto& [page, where] : open) in_log_[page] = where;
        open.clear();
        pages_ = std::max(pages_, pages);
    }
    log_.clear();
}

std::optional<std::string> Wreck::page(std::uint32_t number) {
    if (number == 0 || number > pages_) return std::nullopt;
    const auto logged = in_log_.find(number);
    std::ifstream& from = logged == in_log_.end() ? file_ : log_;
    const std::uint64_t at =
        logged == in_log_.end() ? std::uint64_t{number - 1} * size_ : logged->second;
    std::string bytes(size_, '\0');
    from.clear();
    from.seekg(static_cast<std::streamoff>(at));
    if (!from.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return std::nullopt;
    return bytes;
}

void Wreck::mark_free_pages() {
    const auto first = page(1);
    if (!first || std::string_view(*first).substr(0, kMagic.size()) != kMagic) return;
    std::uint32_t trunk = word_at(*first, 32);
    while (trunk != 0 && seen_.insert(trunk).second) {
        const auto bytes = page(trunk);
        if (!bytes) return;
        const std::size_t count = std::min<std::size_t>(word_at(*bytes, 4), size_ / 4 - 2);
        for (std::size_t i = 0; i < count; ++i) seen_.insert(word_at(*bytes, 8 + 4 * i));
        trunk = word_at(*bytes, 0);
    }
    seen_.erase(1);
}

bool Wreck::walk(std::uint32_t root, const std::function<void(RawRow)>& row) {
    return visit(root, 0, row);
}

bool Wreck::visit(std::uint32_t number, int depth, const std::function<void(RawRow)>& row) {
    if (depth > kDepthMax || !seen_.insert(number).second) return false;
    const auto bytes = page(number);
    std::vector<std::uint32_t> children;
    if (!bytes || !read_cells(*bytes, number, true, row, &children)) {
        seen_.erase(number);  // what can be read of it is a stray
        return false;
    }
    bool whole = true;
    for (const std::uint32_t child : children) whole = visit(child, depth + 1, row) && whole;
    return whole;
}

void Wreck::strays(const std::function<void(RawRow)>& row) {
    for (std::uint32_t number = 1; number <= pages_; ++number) {
        if (seen_.count(number)) continue;
        if (const auto bytes = page(number)) read_cells(*bytes, number, false, row, nullptr);
    }
}

// With `all_rows` nothing is handed over unless all of the page can be read.
bool Wreck::read_cells(const std::string& bytes, std::uint32_t number, bool all_rows,
                       const std::function<void(RawRow)>& row,
                       std::vector<std::uint32_t>* children) {
    const std::size_t start = number == 1 ? kFileHeader : 0;
    const std::uint8_t type = byte_at(bytes, start);
    const bool interior = type == kTableInterior || type == kIndexInterior;
    const bool table = type == kTableLeaf || type == kTableInterior;
    if (!interior && type != kTableLeaf && type != kIndexLeaf) return false;
    const std::size_t count = big_endian(bytes, start + 3, 2), list = start + (interior ? 12U : 8U);
    if (list + 2 * count > bytes.size()) return false;
    std::vector<RawRow> rows;
    bool whole = true;
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t at = big_endian(bytes, list + 2 * i, 2);
        if (at < list + 2 * count || at + 4 > bytes.size()) {
            whole = false;
            continue;
        }
        if (interior) {
            if (children) children->push_back(word_at(bytes, at));
            at += 4;
        }
        if (interior && table) continue;
        if (auto found = row_at(bytes, at, table))
            rows.push_back(*std::move(found));
        else
            whole = false;
    }
    if (interior && children) children->push_back(word_at(bytes, start + 8));
    if (all_rows && !whole) return false;
    for (RawRow& found : rows) row(std::move(found));
    return whole;
}

std::optional<RawRow> Wreck::row_at(std::string_view bytes, std::size_t at, bool has_rowid) {
    RawRow row;
    row.has_rowid = has_rowid;
    const auto size = varint_at(bytes, at);
    if (!size || *size > kRowBytesMax) return std::nullopt;
    if (has_rowid) {
        const auto rowid = varint_at(bytes, at);
        if (!rowid) return std::nullopt;
        row.rowid = static_cast<std::int64_t>(*rowid);
    }
    const auto total = static_cast<std::size_t>(*size);
    const std::size_t most = has_rowid ? size_ - 35 : (size_ - 12) * 64 / 255 - 23;
    std::size_t here = total;
    if (total > most) {
        const std::size_t least = (size_ - 12) * 32 / 255 - 23;
        here = least + (total - least) % (size_ - 4);
        if (here > most) here = least;
    }
    if (at > bytes.size() || here > bytes.size() - at) return std::nullopt;
    std::string record(bytes.substr(at, here));
    if (total > here) {
        if (at + here + 4 > bytes.size()) return std::nullopt;
        std::uint32_t next = word_at(bytes, at + here);
        while (record.size() < total) {
            const auto more = page(next);
            if (!more) return std::nullopt;
            record.append(*more, 4, std::min(size_ - 4, total - record.size()));
            next = word_at(*more, 0);
        }
    }
    auto values = values_in(record);
    if (!values) return std::nullopt;
    row.values = *std::move(values);
    return row;
}

}  // namespace rapport::sqlite
