// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/merge.hpp"

// Every history of four writes by three writers, delivered to a server in every order with a
// duplicate after every step.
//
// A history says who captured each write, what it does, and which earlier writes its author's
// screen had shown (directly or through what they had shown): every causally closed choice. The
// oracle knows nothing of dots: a value is live if and only if it was delivered and no delivered
// write had seen and overwritten it.
namespace rapport {
namespace {

constexpr int kWrites = 4;
constexpr int kWriters = 3;
using Set = unsigned;  // of writes, one bit each

bool has(Set set, int i) { return (set >> i & 1U) != 0; }

enum class Op {
    put,
    put_y,
    put_both,
    drop
};  // put x; put y; put x and y; take x (or both keys) away

struct Event {
    int writer = 0;
    Set seen = 0;  // causally closed; own earlier writes included
    Op op = Op::put;
};
using History = std::array<Event, kWrites>;

struct Flavour {
    const char* name;
    bool keyed;
    bool map;  // putting a key replaces what was seen of it
};
constexpr Flavour kRegister{"register", false, false}, kSet{"set", true, false},
    kMap{"map", true, true};

/// Elements, one bit each. A register is a field with one element, whose key is empty.
using Elements = unsigned;
constexpr Elements kX = 1, kY = 2;
std::string key_of(bool keyed, Elements e) { return !keyed ? "" : e == kX ? "x" : "y"; }

/// What a write puts in.
Elements puts(Op op, const Flavour& flavour) {
    if (!flavour.keyed) return kX;
    switch (op) {
        case Op::put:
            return kX;
        case Op::put_y:
            return kY;
        case Op::put_both:
            return kX | kY;
        case Op::drop:
            break;
    }
    return 0;
}
/// Of what its author has seen, what a write replaces or takes away.
Elements replaces(Op op, const Flavour& flavour) {
    if (!flavour.keyed || op == Op::drop) return kX;
    return flavour.map ? puts(op, flavour) : 0;
}

/// Values by (write, element), one bit each.
using Values = unsigned;
Values value_bits(int write, Elements e) { return e << (2 * write); }
template <class Visit>
void for_each_value(Values values, const Visit& visit) {
    for (int i = 0; i < kWrites; ++i)
        for (const Elements e : {kX, kY})
            if ((values & value_bits(i, e)) != 0) visit(i, e);
}

/// What must be live once exactly `delivered` has arrived.
Values oracle(const History& h, const Flavour& flavour, Set delivered) {
    Values live = 0;
    for (int i = 0; i < kWrites; ++i) {
        if (!has(delivered, i)) continue;
        live |= value_bits(i, puts(h[std::size_t(i)].op, flavour));
        for (int j = 0; j < kWrites; ++j)
            if (const Event& e = h[std::size_t(j)]; has(delivered, j) && has(e.seen, i))
                live &= ~value_bits(i, replaces(e.op, flavour));
    }
    return live;
}

CaptureId capture_of(const History& h, int i) {
    return {100 + std::uint64_t(h[std::size_t(i)].writer), std::uint64_t(i) + 1};
}
/// Stamps need not follow what was seen: a device's clock may be wrong.
Stamp stamp_of(int i, bool backwards) { return Stamp(backwards ? 50 - i : 50 + i); }

std::uint64_t writer_id(int writer) { return 10 + std::uint64_t(writer); }
constexpr std::uint64_t kCloneWriter = 19;

/// What travels as one write: one event, or two of one author coalesced.
struct Packet {
    std::vector<int> events;
    Dot dot;
    std::vector<Dot> former;
};
using Queue = std::vector<Packet>;  // of one file, in sending order

/// How a history travels.
struct Travel {
    bool causal =
        true;  ///< only after what the author had seen: a server shows nothing it does not have
    bool backwards = false;  ///< stamps
    int cloned =
        0;  ///< that many first writes of writer 0 were still unsent when its file was cloned
    bool clone_writes =
        false;  ///< writer 2 is the clone: its own writes follow the cloned ones in its queue
    int coalesced = -1;            ///< writer 0 folds its n-th write into the next before sending
    bool clone_coalesces = false;  ///< the clone did so, not the original
    int refrozen =
        -1;  ///< the n-th write of writer 0 was applied by a server that was then restored; another
             ///< device may still offer it, under its first dot, before it arrives anew
};

using MergeFunction = std::function<bool(FieldState&, const Write&, Dot, bool)>;
bool real_merge(FieldState& state, const Write& write, Dot dot, bool keyed) {
    return merge(state, write, dot, keyed);
}

struct Tally {
    long histories = 0, deliveries = 0, ends = 0, wrong = 0;
    std::string first;
};

/// Delivers one history in every order that keeps each file's own, asks the oracle after every
/// step, and repeats what has arrived after every step: every packet, or where copies travel anyway
/// the last one.
class Delivery {
public:
    using AtEach = std::function<void(const FieldState&, Values live)>;

    Delivery(const History& h, const Flavour& flavour, const Travel& travel,
             const MergeFunction& merge_with, Tally& tally)
        : h_(h), flavour_(flavour), travel_(travel), merge_with_(merge_with), tally_(tally) {
        for (Set s = 0; s < (1U << kWrites); ++s) oracle_[s] = oracle(h, flavour, s);
        compose();
    }
    void run(AtEach at_each = {}) {
        at_each_ = std::move(at_each);
        ++tally_.histories;
        step(At{});
    }

private:
    struct At {
        FieldState state;
        std::array<Dot, 2 * kWrites> shown{};  ///< per value the dot under which screens show it
        std::array<std::uint8_t, kWriters + 1> sent{};  ///< per queue
        Set delivered = 0;
        bool witnessed = false;
    };

    void compose() {
        std::vector<int> first;  // events of writer 0
        for (int w = 0; w < kWriters; ++w) {
            Queue q;
            if (travel_.clone_writes && w == 2) break;
            for (int i = 0; i < kWrites; ++i)
                if (event(i).writer == w) {
                    q.push_back({{i}, {}, {}});
                    if (w == 0) first.push_back(i);
                }
            if (w == 0 && !travel_.clone_coalesces) fold(q);
            queues_.push_back(std::move(q));
        }
        if (travel_.cloned > 0) {
            Queue q;
            for (std::size_t n = 0; n < std::size_t(travel_.cloned); ++n) {
                q.push_back({{first[n]}, {}, {}});
                cloned_ |= 1U << first[n];
            }
            if (travel_.clone_coalesces) fold(q);
            for (int i = 0; travel_.clone_writes && i < kWrites; ++i)
                if (event(i).writer == 2) q.push_back({{i}, {}, {}});
            queues_.push_back(std::move(q));
        }
        for (std::size_t n = 0; n < queues_.size(); ++n) {
            const bool clone = travel_.cloned > 0 && n + 1 == queues_.size();
            std::uint64_t counter = 0;
            for (Packet& p : queues_[n]) {
                if (n == 0 && travel_.refrozen == p.events[0])
                    p.former.push_back({writer_id(0), ++counter});
                p.dot = {clone ? kCloneWriter : writer_id(int(n)), ++counter};
                if (!p.former.empty()) refrozen_as_ = p.former[0];
            }
        }
    }
    void fold(Queue& q) const {
        const auto n = std::size_t(travel_.coalesced);
        if (travel_.coalesced < 0 || n + 1 >= q.size()) return;
        q[n].events.push_back(q[n + 1].events[0]);
        q.erase(q.begin() + std::ptrdiff_t(n) + 1);
    }
    const Event& event(int i) const { return h_[std::size_t(i)]; }

    /// The write as its author sends it: what was on screen by dot, what was its own by capture.
    /// Nothing if the author cannot have seen what the history says, because it never was on the
    /// server by itself.
    std::optional<Write> as_sent(const Packet& p, const At& at, bool clones_own) const {
        Write write;
        write.former = p.former;
        bool possible = true;
        for (const int i : p.events) {
            const Event& e = event(i);
            const Elements over = replaces(e.op, flavour_);
            for (auto it = write.adds.begin();
                 it != write.adds.end();) {  // of the write this one coalesces with
                if ((over & (it->key == "y" ? kY : kX)) != 0) {
                    write.folded.push_back({it->capture, content_hash(it->key, it->value)});
                    it = write.adds.erase(it);
                } else {
                    ++it;
                }
            }
            for_each_value(oracle_[e.seen], [&](int seen, Elements element) {
                const bool folded =
                    std::find(p.events.begin(), p.events.end(), seen) != p.events.end();
                if (folded || (element & over) == 0) return;
                const std::string key = key_of(flavour_.keyed, element);
                const bool own =
                    event(seen).writer == e.writer || (clones_own && has(cloned_, seen));
                if (own) {
                    write.over_own.push_back({capture_of(h_, seen), key});
                    return;
                }
                const Dot dot =
                    travel_.causal ? at.shown[value_index(seen, element)] : plain_dot(seen);
                write.over.push_back({dot, key});
                possible &= dot.counter > 0;
                for (int other = 0; other < kWrites;
                     ++other)  // what came coalesced is seen together
                    possible &= has(e.seen, other) || at.shown[value_index(other, element)] != dot;
            });
            for (const Elements element : {kX, kY})
                if ((puts(e.op, flavour_) & element) != 0)
                    write.adds.push_back({key_of(flavour_.keyed, element), Value(std::int64_t(i)),
                                          stamp_of(i, travel_.backwards), capture_of(h_, i)});
        }
        if (!possible) return std::nullopt;
        return write;
    }
    static std::size_t value_index(int i, Elements e) {
        return 2 * std::size_t(i) + (e == kY ? 1 : 0);
    }
    Dot plain_dot(int i) const {
        for (const Queue& q : queues_)
            for (const Packet& p : q)
                if (p.events[0] == i) return p.dot;
        return {};
    }

    bool arrives_after_what_it_saw(const Packet& p, const At& at) const {
        Set seen = 0, own = 0;
        for (const int i : p.events) {
            seen |= event(i).seen;
            own |= 1U << i;
        }
        return (seen & ~own & ~at.delivered) == 0;
    }

    void step(const At& at) {
        bool end = true;
        for (std::size_t n = 0; n < queues_.size(); ++n) {
            if (at.sent[n] == queues_[n].size()) continue;
            const Packet& p = queues_[n][at.sent[n]];
            if (travel_.causal && !arrives_after_what_it_saw(p, at)) continue;
            const bool clone = travel_.cloned > 0 && n + 1 == queues_.size();
            const auto write = as_sent(p, at, clone && event(p.events[0]).writer == 2);
            if (!write) continue;
            if (at.witnessed && overwrites_refrozen(*write)) continue;
            end = false;
            At next = at;
            ++next.sent[n];
            for (const int i : p.events) next.delivered |= 1U << i;
            if (!p.former.empty()) next.witnessed = false;
            const std::size_t before = arrived_.size();
            arrived_.push_back({p.dot, *write});
            for (const Dot& d : p.former) {
                Write late = *write;
                late.former.clear();
                arrived_.push_back({d, late});
            }
            merge_with_(next.state, *write, p.dot, flavour_.keyed);
            ++tally_.deliveries;
            arrived(std::move(next), p.events[0]);
            arrived_.resize(before);
        }
        if (travel_.refrozen >= 0 && !has(at.delivered, travel_.refrozen)) witness(at);
        if (end) ++tally_.ends;
    }

    /// Another device offers what a server confirmed before it was restored: values with dots,
    /// without captures.
    void witness(const At& at) {
        const Packet* refrozen = nullptr;
        for (std::size_t n = at.sent[0]; n < queues_[0].size(); ++n)
            if (!queues_[0][n].former.empty()) refrozen = &queues_[0][n];
        if (!refrozen || &queues_[0][at.sent[0]] != refrozen ||
            !arrives_after_what_it_saw(*refrozen, at))
            return;
        const auto write = as_sent(*refrozen, at, false);
        if (!write) return;
        Write first = *write;
        first.former.clear();
        FieldState offered = at.state;
        merge(offered, first, refrozen_as_, flavour_.keyed);
        for (LiveValue& l : offered.live) l.capture = {};
        offered.known.clear();
        At next = at;
        next.witnessed = true;
        for (const int i : refrozen->events) next.delivered |= 1U << i;
        join_witnessed(next.state, offered);
        arrived(std::move(next), travel_.refrozen);
    }
    // Known residue (two faults at once): who overwrites a witnessed value before its author sends
    // it anew meets it again.
    bool overwrites_refrozen(const Write& write) const {
        return write.former.empty() &&
               std::any_of(write.over.begin(), write.over.end(),
                           [&](const Overwritten& o) { return o.dot == refrozen_as_; });
    }

    void arrived(At next, int i) {
        Values live = 0;
        for (const LiveValue& l : next.state.live) {
            const Elements e = l.key == "y" ? kY : kX;
            const int n = int(*l.value.integer());
            if ((live & value_bits(n, e)) != 0) fault("twice", i);
            live |= value_bits(n, e);
            next.shown[value_index(n, e)] = l.dot;
        }
        const bool all = next.delivered == (1U << kWrites) - 1;
        if ((travel_.causal || all) && live != oracle_[next.delivered]) fault("wrong", i);
        FieldState again = next.state;
        bool changed = false;
        const bool plain = travel_.cloned == 0 && travel_.refrozen < 0;
        const bool every = plain || (all && !flavour_.keyed);
        for (std::size_t n = every ? 0
                                   : arrived_.size() - std::min<std::size_t>(arrived_.size(), 1);
             n < arrived_.size(); ++n, ++tally_.deliveries)
            changed |= merge_with_(again, arrived_[n].second, arrived_[n].first, flavour_.keyed);
        if (changed || !(again == next.state)) fault("changed by a repeat", i);
        if (at_each_) at_each_(next.state, oracle_[next.delivered]);
        step(next);
    }

    void fault(const char* what, int i) {
        if (tally_.wrong++ > 0) return;
        std::string& text = tally_.first;
        text = std::string(flavour_.name) + " " + what + " after write " + std::to_string(i) + ":";
        for (int n = 0; n < kWrites; ++n)
            text += " w" + std::to_string(n) + "{by " + std::to_string(event(n).writer) + " op " +
                    std::to_string(int(event(n).op)) + " saw " + std::to_string(event(n).seen) +
                    "}";
        text += " arrived";
        for (const auto& [dot, write] : arrived_)
            text += " " + std::to_string(dot.writer) + "." + std::to_string(dot.counter);
        text += " cloned " + std::to_string(travel_.cloned) + " coalesced " +
                std::to_string(travel_.coalesced);
    }

    History h_;
    Flavour flavour_;
    Travel travel_;
    const MergeFunction& merge_with_;
    Tally& tally_;
    std::array<Values, 1U << kWrites> oracle_{};
    std::vector<Queue> queues_;
    Set cloned_ = 0;
    Dot refrozen_as_;
    std::vector<std::pair<Dot, Write>> arrived_;  // on the way to the present step
    AtEach at_each_;
};

/// Calls `visit` with every history whose operations come from `ops`; with `up_to_names` writers
/// are named in the order in which they first write.
void for_each_history(const std::vector<Op>& ops, bool up_to_names,
                      const std::function<void(const History&)>& visit) {
    History h;
    const std::function<void(int, int)> grow = [&](int i, int writers) {
        if (i == kWrites) {
            visit(h);
            return;
        }
        Event& e = h[std::size_t(i)];
        for (int w = 0; w < (up_to_names ? std::min(writers + 1, kWriters) : kWriters); ++w)
            for (Set seen = 0; seen < (1U << i); ++seen) {
                bool possible = true;
                for (int j = 0; j < i; ++j) {
                    const Event& earlier = h[std::size_t(j)];
                    if (earlier.writer == w && !has(seen, j)) possible = false;
                    if (has(seen, j) && (earlier.seen & ~seen) != 0) possible = false;
                }
                if (!possible) continue;
                for (const Op op : ops) {
                    e = {w, seen, op};
                    grow(i + 1, std::max(writers, w + 1));
                }
            }
    };
    grow(0, 0);
}

int writes_of(const History& h, int writer) {
    return int(
        std::count_if(h.begin(), h.end(), [&](const Event& e) { return e.writer == writer; }));
}

/// Every way in which a clone of writer 0's file, made while up to `most` of its writes were
/// unsent, can matter.
void for_each_clone(const History& h, int most, const std::function<void(const Travel&)>& visit) {
    for (int cloned = 1; cloned <= std::min(most, writes_of(h, 0)); ++cloned) {
        Set copied = 0;
        for (int i = 0, n = 0; i < kWrites && n < cloned; ++i)
            if (h[std::size_t(i)].writer == 0) copied |= 1U << i, ++n;
        bool clone_may_write = false;  // writer 2 has seen all that was cloned
        for (int i = kWrites; i-- > 0;)
            if (h[std::size_t(i)].writer == 2)
                clone_may_write = (copied & ~h[std::size_t(i)].seen) == 0;
        for (const bool writes : {false, true}) {
            if (writes && !clone_may_write) continue;
            for (int fold = -1; fold + 1 < writes_of(h, 0); ++fold)
                for (const bool by_clone : {false, true}) {
                    if (by_clone && (fold < 0 || fold + 1 >= cloned)) continue;
                    Travel t;
                    t.cloned = cloned;
                    t.clone_writes = writes;
                    t.coalesced = fold;
                    t.clone_coalesces = by_clone;
                    visit(t);
                }
        }
    }
}

Field field_with(Policy policy) {
    Field f;
    f.policy = policy;
    f.type.shape = Shape::integer;
    return f;
}

/// What each register policy must show of a live set, said once more without looking at the code
/// under test.
Content register_oracle(Policy policy, const FieldState& state, Values live) {
    std::vector<const LiveValue*> order;
    for (const LiveValue& l : state.live)
        if ((live & value_bits(int(*l.value.integer()), kX)) != 0) order.push_back(&l);
    std::sort(order.begin(), order.end(), [](const LiveValue* a, const LiveValue* b) {
        return std::pair(a->stamp, a->dot) < std::pair(b->stamp, b->dot);
    });
    Content content;
    if (order.empty()) return content;
    const auto number = [](const LiveValue* a, const LiveValue* b) {
        return *a->value.integer() < *b->value.integer();
    };
    switch (policy) {
        case Policy::keep_both:
            for (const LiveValue* l : order) content.push_back({"", l->value});
            return content;
        case Policy::write_once:
            return {{"", order.front()->value}};
        case Policy::highest:
            return {{"", (*std::max_element(order.begin(), order.end(), number))->value}};
        case Policy::lowest:
            return {{"", (*std::min_element(order.begin(), order.end(), number))->value}};
        default:
            return {{"", order.back()->value}};
    }
}

}  // namespace

TEST_CASE(
    "no history of four register writes loses an unseen value or brings back an overwritten one") {
    Tally tally;
    long shown_wrong = 0;
    std::vector<Field> fields;
    for (const Policy p : {Policy::last_writer, Policy::write_once, Policy::keep_both,
                           Policy::highest, Policy::lowest, Policy::absorbing})
        fields.push_back(field_with(p));
    for (const bool backwards : {false, true}) {
        Travel travel;
        travel.backwards = backwards;
        for_each_history({Op::put}, false, [&](const History& h) {
            Delivery(h, kRegister, travel, real_merge, tally)
                .run([&](const FieldState& state, Values live) {
                    for (const Field& f : fields) {
                        const bool keeps_count = f.policy == Policy::last_writer ||
                                                 f.policy == Policy::write_once ||
                                                 f.policy == Policy::keep_both;
                        const Policy as =
                            f.policy == Policy::absorbing ? Policy::highest : f.policy;
                        if (show(f, state) != register_oracle(as, state, live)) ++shown_wrong;
                        if (conflicted(f, state) != (keeps_count && (live & (live - 1)) != 0))
                            ++shown_wrong;
                    }
                });
        });
    }
    CHECK_MESSAGE(tally.wrong == 0, tally.first);
    CHECK(shown_wrong == 0);
    CHECK(tally.histories == 2 * 933);
    MESSAGE(tally.histories, " histories, ", tally.deliveries, " deliveries");
}

TEST_CASE("registers end alike also when a write overtakes what its author had seen") {
    Tally tally;
    Travel travel;
    travel.causal = false;
    for_each_history({Op::put}, false, [&](const History& h) {
        Delivery(h, kRegister, travel, real_merge, tally).run();
    });
    CHECK_MESSAGE(tally.wrong == 0, tally.first);
    MESSAGE(tally.histories, " histories, ", tally.deliveries, " deliveries");
}

TEST_CASE("an add survives every remove that had not seen it, and only those") {
    Tally tally;
    for_each_history({Op::put, Op::put_both, Op::drop}, true,
                     [&](const History& h) { Delivery(h, kSet, {}, real_merge, tally).run(); });
    CHECK_MESSAGE(tally.wrong == 0, tally.first);
    MESSAGE(tally.histories, " histories, ", tally.deliveries, " deliveries");
}

TEST_CASE("the keys of a map are merged one by one, each like a register") {
    Tally tally;
    for_each_history({Op::put, Op::put_both, Op::put_y}, true,
                     [&](const History& h) { Delivery(h, kMap, {}, real_merge, tally).run(); });
    CHECK_MESSAGE(tally.wrong == 0, tally.first);
    MESSAGE(tally.histories, " histories, ", tally.deliveries, " deliveries");
}

TEST_CASE("a capture that a cloned file sends as well, whole or coalesced, arrives once") {
    Tally tally;
    for_each_history({Op::put}, false, [&](const History& h) {
        for_each_clone(h, kWrites, [&](const Travel& travel) {
            Delivery(h, kRegister, travel, real_merge, tally).run();
        });
    });
    CHECK_MESSAGE(tally.wrong == 0, tally.first);
    MESSAGE("registers: ", tally.histories, " histories, ", tally.deliveries, " deliveries");
    Tally keyed;
    for_each_history({Op::put, Op::drop}, true, [&](const History& h) {
        if (writes_of(h, 0) > 2) return;  // nothing is left for the others to see
        for_each_clone(h, 2, [&](const Travel& travel) {
            Delivery(h, kSet, travel, real_merge, keyed).run();
        });
    });
    CHECK_MESSAGE(keyed.wrong == 0, keyed.first);
    MESSAGE("sets: ", keyed.histories, " histories, ", keyed.deliveries, " deliveries");
}

TEST_CASE("a write sent anew under another dot replaces what others had witnessed of it") {
    for (const Flavour& flavour : {kRegister, kSet, kMap}) {
        Tally tally;
        for_each_history(
            flavour.keyed && !flavour.map ? std::vector{Op::put, Op::drop} : std::vector{Op::put},
            true, [&](const History& h) {
                for (int i = 0; i < kWrites; ++i)
                    if (h[std::size_t(i)].writer == 0) {
                        Travel travel;
                        travel.refrozen = i;
                        Delivery(h, flavour, travel, real_merge, tally).run();
                    }
            });
        CHECK_MESSAGE(tally.wrong == 0, tally.first);
        MESSAGE(std::string(flavour.name), ": ", tally.histories, " histories, ", tally.deliveries,
                " deliveries");
    }
}

TEST_CASE("the oracle catches rules that are wrong") {
    const auto wrong = [](const MergeFunction& rule) {
        Tally tally;
        for_each_history({Op::put}, true,
                         [&](const History& h) { Delivery(h, kRegister, {}, rule, tally).run(); });
        return tally.wrong;
    };
    REQUIRE(wrong(real_merge) == 0);

    SUBCASE("fast forward: what the same device wrote later goes with what was seen of it") {
        CHECK(wrong([](FieldState& state, const Write& write, Dot dot, bool keyed) {
                  Write widened = write;
                  for (const Overwritten& seen : write.over)
                      for (const LiveValue& l : state.live)
                          if (l.dot.writer == seen.dot.writer)
                              widened.over.push_back({l.dot, l.key});
                  return merge(state, widened, dot, keyed);
              }) > 0);
    }
    SUBCASE("base stamps: what is older than the newest value seen goes") {
        CHECK(wrong([](FieldState& state, const Write& write, Dot dot, bool keyed) {
                  Stamp base = 0;
                  for (const Overwritten& seen : write.over)
                      for (const LiveValue& l : state.live)
                          if (l.dot == seen.dot) base = std::max(base, l.stamp);
                  Write widened = write;
                  for (const LiveValue& l : state.live)
                      if (l.stamp < base) widened.over.push_back({l.dot, l.key});
                  return merge(state, widened, dot, keyed);
              }) > 0);
    }
    SUBCASE("no memory: a write enters as often as it arrives") {
        CHECK(wrong([](FieldState& state, const Write& write, Dot dot, bool keyed) {
                  state.counters.clear();
                  state.known.clear();
                  Write nameless = write;
                  for (Added& add : nameless.adds) add.capture = {};
                  return merge(state, nameless, dot, keyed);
              }) > 0);
    }
}

}  // namespace rapport
