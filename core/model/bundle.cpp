// SPDX-License-Identifier: Apache-2.0
#include "model/bundle.hpp"

#include <algorithm>

#include "model/archive.hpp"

namespace rapport {
namespace {

// A write's header says which lists follow; a plain first write of a register is header + value. In
// a bundle one bit more says that the value is the time of its capture.
enum : std::uint64_t {
    kPlain = 1,
    kOver = 2,
    kOverOwn = 4,
    kFolded = 8,
    kFormer = 16,
    kCapturedAt = 32,
};
constexpr int kBits = 5, kBitsInBundle = 6;
// An added value's header.
enum : std::uint64_t { kDefaultStamp = 1, kDefaultCapture = 2, kKeyFromValue = 4, kKeyGiven = 8 };

struct Defaults {
    Stamp stamp = 0;
    CaptureId capture;
    const Bundle* bundle = nullptr;  // that the writes are part of; null in the queue

    int bits() const { return bundle ? kBitsInBundle : kBits; }
    bool is_captured_at(const Value& value) const {
        return bundle && value.integer() && *value.integer() == bundle->captured_at;
    }
};

// Where the stamps of a bundle begin, but for what the device's clock was wrong by.
Stamp base_stamp(const Bundle& bundle) {
    return static_cast<Stamp>(bundle.captured_at >> 11) << 16;
}

void write_add(WireWriter& w, const Added& a, const Defaults& d) {
    std::uint64_t head = 0;
    if (a.stamp == d.stamp) head |= kDefaultStamp;
    if (a.capture == d.capture) head |= kDefaultCapture;
    if (!a.key.empty()) head |= a.key == canonical_bytes(a.value) ? kKeyFromValue : kKeyGiven;
    w.varint(head);
    if (!(head & kDefaultStamp)) w.varint(a.stamp);
    if (!(head & kDefaultCapture)) w(a.capture.file, a.capture.number);
    if (head & kKeyGiven) w.text(a.key);
    w(a.value);
}

Added read_add(WireReader& r, const Defaults& d) {
    const std::uint64_t head = r.varint();
    if (head > 15) r.fail("an unknown flag of a written value");
    Added a;
    a.stamp = head & kDefaultStamp ? d.stamp : r.varint();
    a.capture = d.capture;
    if (!(head & kDefaultCapture)) r(a.capture.file, a.capture.number);
    if (head & kKeyGiven) a.key = r.text();
    r(a.value);
    if (head & kKeyFromValue) a.key = canonical_bytes(a.value);
    return a;
}

void write_write(WireWriter& w, const Write& write, const Defaults& d, std::uint16_t& last) {
    const bool plain = write.adds.size() == 1 && write.adds[0].key.empty() &&
                       write.adds[0].stamp == d.stamp && write.adds[0].capture == d.capture;
    std::uint64_t head = plain ? std::uint64_t{kPlain} : 0;
    if (plain && d.is_captured_at(write.adds[0].value)) head |= kCapturedAt;
    if (!write.over.empty()) head |= kOver;
    if (!write.over_own.empty()) head |= kOverOwn;
    if (!write.folded.empty()) head |= kFolded;
    if (!write.former.empty()) head |= kFormer;
    w.varint(static_cast<std::uint64_t>(write.field - last) << d.bits() | head);
    last = write.field;
    if (plain) {
        if (!(head & kCapturedAt)) w(write.adds[0].value);
    } else {
        w.varint(write.adds.size());
        for (const Added& a : write.adds) write_add(w, a, d);
    }
    if (head & kOver) {
        w.varint(write.over.size());
        for (const Overwritten& o : write.over) w(o.dot.writer, o.dot.counter, o.key);
    }
    if (head & kOverOwn) {
        w.varint(write.over_own.size());
        for (const OverwrittenCapture& o : write.over_own)
            w(o.capture.file, o.capture.number, o.key);
    }
    if (head & kFolded) {
        w.varint(write.folded.size());
        for (const KnownCapture& k : write.folded) w(k.id.file, k.id.number, k.hash);
    }
    if (head & kFormer) {
        w.varint(write.former.size());
        for (const Dot& dot : write.former) w(dot.writer, dot.counter);
    }
}

Write read_write(WireReader& r, const Defaults& d, std::uint64_t& last) {
    const std::uint64_t head = r.varint();
    const std::uint64_t step = head >> d.bits();
    const bool captured_at = d.bundle && (head & kCapturedAt);
    if (step == 0 || step > 0xFFFF - last) r.fail("a field number out of order");
    last += step;
    Write write;
    write.field = static_cast<std::uint16_t>(last);
    if (captured_at && !(head & kPlain)) r.fail("a value's flag where there is a list of them");
    if (head & kPlain) {
        Added& add = write.adds.emplace_back(Added{{}, {}, d.stamp, d.capture});
        if (captured_at)
            add.value = Value(d.bundle->captured_at);
        else
            r(add.value);
    } else {
        for (std::size_t n = r.count(); n > 0; --n) write.adds.push_back(read_add(r, d));
    }
    if (head & kOver)
        for (std::size_t n = r.count(); n > 0; --n) {
            auto& o = write.over.emplace_back();
            r(o.dot.writer, o.dot.counter, o.key);
        }
    if (head & kOverOwn)
        for (std::size_t n = r.count(); n > 0; --n) {
            auto& o = write.over_own.emplace_back();
            r(o.capture.file, o.capture.number, o.key);
        }
    if (head & kFolded)
        for (std::size_t n = r.count(); n > 0; --n) {
            auto& k = write.folded.emplace_back();
            r(k.id.file, k.id.number, k.hash);
        }
    if (head & kFormer)
        for (std::size_t n = r.count(); n > 0; --n) {
            auto& dot = write.former.emplace_back();
            r(dot.writer, dot.counter);
        }
    return write;
}

Defaults defaults_of(const std::vector<Write>& writes) {
    for (const Write& write : writes)
        if (!write.adds.empty()) return {write.adds[0].stamp, write.adds[0].capture, nullptr};
    return {};
}

void write_list(WireWriter& w, const std::vector<Write>& writes, const Defaults& d) {
    w.varint(writes.size());
    std::uint16_t last = 0;
    for (const Write& write : writes) write_write(w, write, d, last);
}

std::vector<Write> read_list(WireReader& r, const Defaults& d) {
    constexpr std::size_t kUsual = 64;  // a count says little of bytes nobody vouches for
    std::vector<Write> writes;
    std::uint64_t last = 0;
    std::size_t n = r.count();
    for (writes.reserve(std::min(n, kUsual)); n > 0; --n) writes.push_back(read_write(r, d, last));
    return writes;
}

// A capture is named by its file and the stamp it was given, unless an older queue says otherwise.
void write_in_bundle(WireWriter& w, const std::vector<Write>& writes, const Bundle& bundle,
                     std::uint64_t file) {
    Defaults d = defaults_of(writes);
    d.bundle = &bundle;
    w(static_cast<std::int64_t>(d.stamp - base_stamp(bundle)));
    const bool usual = d.capture == CaptureId{file, d.stamp};
    w(!usual);
    if (!usual) w(d.capture.file, d.capture.number);
    write_list(w, writes, d);
}

std::vector<Write> read_in_bundle(WireReader& r, const Bundle& bundle, std::uint64_t file) {
    Defaults d;
    d.bundle = &bundle;
    std::int64_t behind = 0;
    bool unusual = false;
    r(behind, unusual);
    d.stamp = base_stamp(bundle) + static_cast<Stamp>(behind);
    d.capture = {file, d.stamp};
    if (unusual) r(d.capture.file, d.capture.number);
    return read_list(r, d);
}

std::uint64_t file_of(const Bundle& bundle) {
    for (const Change& change : bundle.changes)
        if (const Defaults d = defaults_of(change.writes); !d.capture.is_none())
            return d.capture.file;
    return 0;
}

}  // namespace

std::string encode_writes(const std::vector<Write>& writes) {
    const Defaults d = defaults_of(writes);
    WireWriter w;
    w(d.stamp, d.capture.file, d.capture.number);
    write_list(w, writes, d);
    return w.take();
}

std::vector<Write> decode_writes(std::string_view bytes) {
    WireReader r(bytes);
    Defaults d;
    r(d.stamp, d.capture.file, d.capture.number);
    std::vector<Write> writes = read_list(r, d);
    r.finish();
    return writes;
}

std::string encode_bundle(const Bundle& bundle) {
    const std::uint64_t file = file_of(bundle);
    WireWriter w;
    w(bundle.counter, bundle.schema_version, bundle.captured_at, file, bundle.needs);
    w.varint(bundle.changes.size());
    for (const Change& change : bundle.changes) {
        w(change.kind, change.id, change.create, change.scope);
        write_in_bundle(w, change.writes, bundle, file);
    }
    return w.take();
}

Bundle decode_bundle(std::string_view bytes) {
    WireReader r(bytes);
    Bundle bundle;
    std::uint64_t file = 0;
    r(bundle.counter, bundle.schema_version, bundle.captured_at, file, bundle.needs);
    for (std::size_t n = r.count(); n > 0; --n) {
        Change& change = bundle.changes.emplace_back();
        r(change.kind, change.id, change.create, change.scope);
        change.writes = read_in_bundle(r, bundle, file);
    }
    r.finish();
    return bundle;
}

}  // namespace rapport
