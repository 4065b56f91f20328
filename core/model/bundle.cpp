// SPDX-License-Identifier: Apache-2.0
#include "model/bundle.hpp"

#include "model/archive.hpp"

namespace rapport {
namespace {

// A write's header says which lists follow; a plain first write of a register is header + value.
enum : std::uint64_t { kPlain = 1, kOver = 2, kOverOwn = 4, kFolded = 8, kFormer = 16, kBits = 5 };
// An added value's header.
enum : std::uint64_t { kDefaultStamp = 1, kDefaultCapture = 2, kKeyFromValue = 4, kKeyGiven = 8 };

struct Defaults {
    Stamp stamp = 0;
    CaptureId capture;
};

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
    if (!write.over.empty()) head |= kOver;
    if (!write.over_own.empty()) head |= kOverOwn;
    if (!write.folded.empty()) head |= kFolded;
    if (!write.former.empty()) head |= kFormer;
    w.varint(static_cast<std::uint64_t>(write.field - last) << kBits | head);
    last = write.field;
    if (plain) {
        w(write.adds[0].value);
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
    const std::uint64_t step = head >> kBits;
    if (step == 0 || step > 0xFFFF - last) r.fail("a field number out of order");
    last += step;
    Write write;
    write.field = static_cast<std::uint16_t>(last);
    if (head & kPlain) {
        r(write.adds.emplace_back(Added{{}, {}, d.stamp, d.capture}).value);
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

void write_writes(WireWriter& w, const std::vector<Write>& writes) {
    Defaults d;
    for (const Write& write : writes)
        if (!write.adds.empty()) {
            d = {write.adds[0].stamp, write.adds[0].capture};
            break;
        }
    w(d.stamp, d.capture.file, d.capture.number);
    w.varint(writes.size());
    std::uint16_t last = 0;
    for (const Write& write : writes) write_write(w, write, d, last);
}

std::vector<Write> read_writes(WireReader& r) {
    Defaults d;
    r(d.stamp, d.capture.file, d.capture.number);
    std::vector<Write> writes;
    std::uint64_t last = 0;
    for (std::size_t n = r.count(); n > 0; --n) writes.push_back(read_write(r, d, last));
    return writes;
}

}  // namespace

std::string encode_writes(const std::vector<Write>& writes) {
    WireWriter w;
    write_writes(w, writes);
    return w.take();
}

std::vector<Write> decode_writes(std::string_view bytes) {
    WireReader r(bytes);
    std::vector<Write> writes = read_writes(r);
    r.finish();
    return writes;
}

std::string encode_bundle(const Bundle& bundle) {
    WireWriter w;
    w(bundle.counter, bundle.schema_version, bundle.captured_at, bundle.needs);
    w.varint(bundle.changes.size());
    for (const Change& change : bundle.changes) {
        w(change.kind, change.id, change.create, change.scope);
        write_writes(w, change.writes);
    }
    return w.take();
}

Bundle decode_bundle(std::string_view bytes) {
    WireReader r(bytes);
    Bundle bundle;
    r(bundle.counter, bundle.schema_version, bundle.captured_at, bundle.needs);
    for (std::size_t n = r.count(); n > 0; --n) {
        Change& change = bundle.changes.emplace_back();
        r(change.kind, change.id, change.create, change.scope);
        change.writes = read_writes(r);
    }
    r.finish();
    return bundle;
}

}  // namespace rapport
