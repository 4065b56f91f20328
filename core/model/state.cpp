// SPDX-License-Identifier: Apache-2.0
#include "model/state.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

namespace rapport {
namespace {

// One live value's header: what follows and what is the record's default.
enum : std::uint64_t {
    kElided = 1,
    kDefaultDot = 2,
    kDefaultStamp = 4,
    kDefaultCapture = 8,
    kKeyFromValue = 16,
    kKeyGiven = 32,
    kAsBefore = 64,         // dot and stamp of the live value before it that had its own
    kStampIsCounter = 128,  // as the centre counts
};

struct Defaults {
    Dot dot;
    Stamp stamp = 0;
    CaptureId capture;
    const LiveValue* before = nullptr;  // with a dot and stamp of its own
};

// Of those that as many live values have, the first by dot and stamp.
Defaults most_common(const RecordState& state) {
    struct Vote {
        Dot dot;
        Stamp stamp;
        CaptureId capture;  // of the last value
        std::size_t count;
    };
    constexpr std::size_t kFewVotes = 8;  // more than nearly any record has
    std::vector<Vote> few;
    std::map<std::pair<Dot, Stamp>, Vote> others;
    few.reserve(kFewVotes);
    for (const auto& [number, field] : state.fields)
        for (const LiveValue& l : field.live) {
            auto known = std::find_if(few.begin(), few.end(), [&](const Vote& vote) {
                return vote.dot == l.dot && vote.stamp == l.stamp;
            });
            if (known == few.end() && few.size() < kFewVotes)
                known = few.insert(known, {l.dot, l.stamp, {}, 0});
            Vote& vote = known != few.end()
                             ? *known
                             : others.try_emplace({l.dot, l.stamp}, Vote{l.dot, l.stamp, {}, 0})
                                   .first->second;
            ++vote.count;
            vote.capture = l.capture;
        }
    Vote best{};
    const auto count = [&](const Vote& vote) {
        if (vote.count > best.count ||
            (vote.count == best.count &&
             std::tie(vote.dot, vote.stamp) < std::tie(best.dot, best.stamp)))
            best = vote;
    };
    for (const Vote& vote : few) count(vote);
    for (const auto& [key, vote] : others) count(vote);
    return {best.dot, best.stamp, best.capture, nullptr};
}

Few<Dot> implied_counters(const FieldState& field) {
    if (field.live.size() == 1) return {field.live[0].dot};
    std::map<std::uint64_t, std::uint64_t> highest;
    for (const LiveValue& l : field.live)
        highest[l.dot.writer] = std::max(highest[l.dot.writer], l.dot.counter);
    Few<Dot> dots;
    for (const auto& [writer, counter] : highest) dots.push_back({writer, counter});
    return dots;
}

void write_dot(WireWriter& w, Dot dot) {
    w.varint(dot.writer);
    w.varint(dot.counter);
}
Dot read_dot(WireReader& r) {
    const std::uint64_t writer = r.varint();
    return {writer, r.varint()};
}
void write_capture(WireWriter& w, const CaptureId& c) {
    w.varint(c.file);
    w.varint(c.number);
}
CaptureId read_capture(WireReader& r) {
    const std::uint64_t file = r.varint();
    return {file, r.varint()};
}

void write_live(WireWriter& w, const LiveValue& l, Defaults& d, bool captures, bool elided) {
    std::uint64_t head = elided ? std::uint64_t{kElided} : 0;
    if (l.dot == d.dot) head |= kDefaultDot;
    if (l.stamp == d.stamp) head |= kDefaultStamp;
    if (!(head & (kDefaultDot | kDefaultStamp))) {
        if (d.before && l.dot == d.before->dot && l.stamp == d.before->stamp)
            head |= kAsBefore;
        else if (l.stamp == l.dot.counter)
            head |= kStampIsCounter;
        d.before = &l;
    }
    if (!captures || l.capture == d.capture) head |= kDefaultCapture;
    const bool derived = !elided && !l.key.empty() && l.key == canonical_bytes(l.value);
    if (derived)
        head |= kKeyFromValue;
    else if (!l.key.empty())
        head |= kKeyGiven;
    w.varint(head);
    if (!(head & (kDefaultDot | kAsBefore))) write_dot(w, l.dot);
    if (!(head & (kDefaultStamp | kAsBefore | kStampIsCounter))) w.varint(l.stamp);
    if (!(head & kDefaultCapture)) write_capture(w, l.capture);
    if (head & kKeyGiven) w.text(l.key);
    if (!elided) w(l.value);
}

LiveValue read_live(WireReader& r, Defaults& d, bool captures, LiveValue& before) {
    const std::uint64_t head = r.varint();
    const std::uint64_t own = head & (kAsBefore | kStampIsCounter);
    if (head > 255 || own == (kAsBefore | kStampIsCounter) ||
        (own != 0 && (head & (kDefaultDot | kDefaultStamp))))
        r.fail("an unknown flag of a live value");
    if (own == kAsBefore && !d.before) r.fail("a live value like one that is not there");
    LiveValue l;
    l.elided = (head & kElided) != 0;
    l.dot = own == kAsBefore ? before.dot : head & kDefaultDot ? d.dot : read_dot(r);
    l.stamp = own == kAsBefore         ? before.stamp
              : own == kStampIsCounter ? l.dot.counter
              : head & kDefaultStamp   ? d.stamp
                                       : r.varint();
    if (!(head & (kDefaultDot | kDefaultStamp))) {
        before.dot = l.dot;
        before.stamp = l.stamp;
        d.before = &before;
    }
    if (captures) l.capture = head & kDefaultCapture ? d.capture : read_capture(r);
    if (head & kKeyGiven) l.key = r.text();
    if (!l.elided) r(l.value);
    if (head & kKeyFromValue) l.key = canonical_bytes(l.value);
    return l;
}

}  // namespace

Record show(const RecordState& state) {
    Record record;
    record.kind = kind_numbered(state.kind);
    record.id = state.id;
    record.scope = state.scope;
    record.fields.reserve(state.fields.size());
    for (const auto& [number, field_state] : state.fields) {
        const Field* field = record.kind ? record.kind->field(number) : nullptr;
        Content content;
        if (field)
            content = show(*field, field_state);
        else
            for (const LiveValue& l : field_state.live)
                if (!l.elided) content.push_back({l.key, l.value});
        if (!content.empty()) record.fields.emplace(number, std::move(content));
    }
    return record;
}

bool conflicted(const RecordState& state) {
    const Kind* kind = kind_numbered(state.kind);
    for (const auto& [number, field_state] : state.fields)
        if (const Field* field = kind ? kind->field(number) : nullptr;
            field && conflicted(*field, field_state))
            return true;
    return false;
}

std::string encode_fields(const RecordState& state, bool captures, const Elide& elide) {
    Defaults d = most_common(state);
    WireWriter w;
    write_dot(w, d.dot);
    w.varint(d.stamp);
    if (captures) write_capture(w, d.capture);
    w.varint(state.fields.size());
    std::uint16_t last = 0;
    for (const auto& [number, field] : state.fields) {
        const auto elided = [&, n = number](const LiveValue& l) {
            return l.elided || (elide && elide(n, l));
        };
        const bool simple = field.live.size() == 1 && field.live[0].key.empty() &&
                            field.live[0].dot == d.dot && field.live[0].stamp == d.stamp &&
                            (!captures || field.live[0].capture == d.capture) &&
                            field.counters.size() == 1 && field.counters[0] == d.dot &&
                            (!captures || field.known.empty());
        const std::uint64_t step = static_cast<std::uint64_t>(number - last);
        last = number;
        if (simple) {
            const bool gone = elided(field.live[0]);
            w.varint(step << 2 | (gone ? 3U : 1U));
            if (!gone) w(field.live[0].value);
            continue;
        }
        w.varint(step << 2);
        w.varint(field.live.size());
        for (const LiveValue& l : field.live) write_live(w, l, d, captures, elided(l));
        const Few<Dot> implied = implied_counters(field);
        std::vector<Dot> extra;
        for (const Dot& dot : field.counters)
            if (std::find(implied.begin(), implied.end(), dot) == implied.end())
                extra.push_back(dot);
        w.varint(extra.size());
        for (const Dot& dot : extra) write_dot(w, dot);
        if (captures) {
            w.varint(field.known.size());
            for (const KnownCapture& k : field.known) {
                write_capture(w, k.id);
                w.varint(k.hash);
            }
        }
    }
    return w.take();
}

void decode_fields(std::string_view bytes, bool captures, RecordState& state) {
    WireReader r(bytes);
    Defaults d;
    d.dot = read_dot(r);
    d.stamp = r.varint();
    if (captures) d.capture = read_capture(r);
    std::size_t n = r.count();
    std::uint64_t number = 0;
    LiveValue before;
    state.fields.clear();
    state.fields.reserve(std::min<std::size_t>(n, 64));
    while (n-- > 0) {
        const std::uint64_t head = r.varint();
        if (head >> 2 == 0 || head >> 2 > 0xFFFF - number || (head & 3) == 2)
            r.fail("a field number out of order");
        number += head >> 2;
        FieldState field;
        if (head & 1) {
            LiveValue l{d.dot,          d.stamp, {}, {}, captures ? d.capture : CaptureId{},
                        (head & 2) != 0};
            if (!l.elided) r(l.value);
            field.live.push_back(std::move(l));
            field.counters = implied_counters(field);
        } else {
            for (std::size_t live = r.count(); live > 0; --live)
                field.live.push_back(read_live(r, d, captures, before));
            field.counters = implied_counters(field);
            for (std::size_t more = r.count(); more > 0; --more) {
                const Dot dot = read_dot(r);
                auto at = std::lower_bound(
                    field.counters.begin(), field.counters.end(), dot.writer,
                    [](const Dot& a, std::uint64_t writer) { return a.writer < writer; });
                if (at != field.counters.end() && at->writer == dot.writer)
                    at->counter = dot.counter;
                else
                    field.counters.insert(at, dot);
            }
            if (captures)
                for (std::size_t more = r.count(); more > 0; --more) {
                    const CaptureId id = read_capture(r);
                    field.known.push_back({id, r.varint()});
                }
        }
        state.fields.emplace(static_cast<std::uint16_t>(number), std::move(field));
    }
    r.finish();
}

std::string encode_record(const RecordState& state, const Elide& elide) {
    WireWriter w;
    w(state.kind, state.id, state.scope, state.move);
    w.bytes(encode_fields(state, false, elide));
    return w.take();
}

RecordState decode_record(std::string_view bytes) {
    WireReader r(bytes);
    RecordState state;
    r(state.kind, state.id, state.scope, state.move);
    decode_fields(r.bytes(r.remaining()), false, state);
    return state;
}

}  // namespace rapport
