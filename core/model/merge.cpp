// SPDX-License-Identifier: Apache-2.0
#include "model/merge.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <tuple>

#include "model/hash.hpp"
#include "model/planted.hpp"

namespace rapport {
void count_as_merged(FieldState& state, Dot dot) {
    auto at = std::lower_bound(state.counters.begin(), state.counters.end(), dot.writer,
                               [](const Dot& d, std::uint64_t w) { return d.writer < w; });
    if (at != state.counters.end() && at->writer == dot.writer)
        at->counter = std::max(at->counter, dot.counter);
    else
        state.counters.insert(at, dot);
}

namespace {

bool before(const LiveValue& a, const LiveValue& b) {
    return std::tie(a.dot, a.key) < std::tie(b.dot, b.key);
}

void remember(FieldState& state, const KnownCapture& capture) {
    if (capture.id.is_none()) return;
    if (std::find(state.known.begin(), state.known.end(), capture) == state.known.end())
        state.known.push_back(capture);
}

template <class Match>
bool leave(FieldState& state, std::vector<LiveValue>* left, Match match) {
    bool any = false;
    for (auto it = state.live.begin(); it != state.live.end();) {
        if (!match(*it)) {
            ++it;
            continue;
        }
        remember(state, {it->capture, content_hash(it->key, it->value)});
        if (left) left->push_back(std::move(*it));
        it = state.live.erase(it);
        any = true;
    }
    return any;
}

bool is_live(const FieldState& state, const KnownCapture& c) {
    return std::any_of(state.live.begin(), state.live.end(), [&](const LiveValue& l) {
        return l.capture == c.id && content_hash(l.key, l.value) == c.hash;
    });
}

KnownCapture known_as(const Added& add) { return {add.capture, content_hash(add.key, add.value)}; }

bool is_known(const FieldState& state, const Added& add) {
    if (add.capture.is_none() || (state.known.empty() && state.live.empty())) return false;
    const KnownCapture c = known_as(add);
    return std::find(state.known.begin(), state.known.end(), c) != state.known.end() ||
           is_live(state, c);
}

LiveValue entering(const Added& add, Dot dot) {
    return {dot, add.stamp, add.key, add.value, add.capture, false};
}

// What a restored server was offered has lost the id by which its author's later writes call it.
void name_offered(FieldState& state, const Write& write, Dot dot) {
    for (LiveValue& l : state.live)
        for (const Added& add : write.adds)
            if (l.dot == dot && l.capture.is_none() && l.key == add.key && l.value == add.value)
                l.capture = add.capture;
}

bool is_overwritten(const Write& write, const LiveValue& l, bool keyed) {
    for (const Overwritten& o : write.over)
        if (o.dot == l.dot &&
            (!keyed || o.key == l.key || RAPPORT_PLANTED("remove_all_a_bundle_added")))
            return true;
    for (const OverwrittenCapture& o : write.over_own)
        if (o.capture == l.capture && (!keyed || o.key == l.key) &&
            !RAPPORT_PLANTED("ignore_overwritten_captures"))
            return true;
    return false;
}

bool newer(const LiveValue& a, const LiveValue& b) {
    const bool a_unsent = a.dot.writer == kUnsentWriter, b_unsent = b.dot.writer == kUnsentWriter;
    if (a_unsent != b_unsent) return a_unsent;
    return std::tie(a.stamp, a.dot) > std::tie(b.stamp, b.dot);
}

const LiveValue* shown_value(const Field& field, std::span<const LiveValue> live) {
    const LiveValue* best = nullptr;
    for (const LiveValue& l : live) {
        if (!best) {
            best = &l;
            continue;
        }
        bool better = false;
        switch (field.policy) {
            case Policy::write_once:
                better = std::tie(l.stamp, l.dot) < std::tie(best->stamp, best->dot);
                break;
            case Policy::highest:
                better = compare_in_order(field, l.value, best->value) > 0;
                break;
            case Policy::lowest:
                better = best->value.is_null() ||
                         (!l.value.is_null() && compare_in_order(field, l.value, best->value) < 0);
                break;
            case Policy::absorbing:
                better = compare_in_order(field, l.value, best->value) > 0;
                break;
            case Policy::owned:
                better = l.dot.counter > best->dot.counter;
                break;
            default:
                better = newer(l, *best);
                break;
        }
        if (better) best = &l;
    }
    return best;
}

}  // namespace

std::uint64_t FieldState::merged_up_to(std::uint64_t writer) const {
    for (const Dot& d : counters)
        if (d.writer == writer) return d.counter;
    return 0;
}

std::uint64_t content_hash(std::string_view key, const Value& value) {
    return hash64(canonical_bytes(value), hash64(key));
}

bool merge(FieldState& state, const Write& write, Dot dot, bool keyed,
           std::vector<LiveValue>* left) {
    // Covered but unknown: a write that had seen it arrived first. It does not enter, yet what it
    // had seen leaves.
    const bool covered = state.merged_up_to(dot.writer) >= dot.counter;
    if (covered) name_offered(state, write, dot);
    if (covered && left)
        for (const Added& add : write.adds)
            if (!is_known(state, add)) left->push_back(entering(add, dot));
    if (covered && keyed) return false;
    const bool all_known =
        !write.adds.empty() && std::all_of(write.adds.begin(), write.adds.end(),
                                           [&](const Added& a) { return is_known(state, a); });
    if (all_known && (!keyed || (write.over.empty() && write.over_own.empty()))) {
        count_as_merged(state, dot);  // its author may offer it under this dot one day
        return false;
    }

    bool changed = leave(state, left, [&](const LiveValue& l) {
        if (l.capture.is_none() || write.folded.empty()) return false;
        const KnownCapture c{l.capture, content_hash(l.key, l.value)};
        return std::find(write.folded.begin(), write.folded.end(), c) != write.folded.end();
    });
    count_as_merged(state, dot);
    for (const KnownCapture& c : write.folded) remember(state, c);

    // What stands under a former dot was offered to a restored server. If it comes again as it is,
    // it stays: others have seen it under that dot.
    const auto comes_again = [&](const LiveValue& l) {
        const KnownCapture held{l.capture, content_hash(l.key, l.value)};
        return !l.capture.is_none() &&
               std::any_of(write.adds.begin(), write.adds.end(),
                           [&](const Added& add) { return known_as(add) == held; });
    };
    changed |= leave(state, left, [&](const LiveValue& l) {
        return is_overwritten(write, l, keyed) ||
               (std::find(write.former.begin(), write.former.end(), l.dot) != write.former.end() &&
                !comes_again(l));
    });
    if (!keyed)
        for (const Overwritten& o : write.over) count_as_merged(state, o.dot);
    for (const Dot& d : write.former) count_as_merged(state, d);

    for (const Added& add : write.adds) {
        if (is_known(state, add)) continue;
        if (covered) {
            remember(state, known_as(add));
            continue;
        }
        LiveValue value = entering(add, dot);
        state.live.insert(std::upper_bound(state.live.begin(), state.live.end(), value, before),
                          std::move(value));
        changed = true;
    }
    return changed;
}

void leave_overwritten(FieldState& state, const Write& write, bool keyed,
                       std::vector<LiveValue>& left) {
    leave(state, &left, [&](const LiveValue& l) { return is_overwritten(write, l, keyed); });
}

void join_witnessed(FieldState& state, const FieldState& witnessed) {
    leave(state, nullptr, [&](const LiveValue& l) {
        const bool covered = witnessed.merged_up_to(l.dot.writer) >= l.dot.counter;
        const bool offered =
            std::any_of(witnessed.live.begin(), witnessed.live.end(),
                        [&](const LiveValue& w) { return w.dot == l.dot && w.key == l.key; });
        return covered && !offered;
    });
    for (const LiveValue& w : witnessed.live) {
        if (state.merged_up_to(w.dot.writer) >= w.dot.counter) continue;
        state.live.insert(std::upper_bound(state.live.begin(), state.live.end(), w, before), w);
    }
    for (const Dot& d : witnessed.counters) count_as_merged(state, d);
}

Content show(const Field& field, const FieldState& state) {
    Content content;
    if (!field.is_keyed() && state.live.size() == 1) {  // nearly always
        if (!state.live[0].value.is_null()) content.push_back({"", state.live[0].value});
    } else if (field.policy == Policy::add_wins) {
        std::map<std::string, Value> elements;
        for (const LiveValue& l : state.live) elements.emplace(l.key, l.value);
        for (auto& [key, value] : elements) content.push_back({key, value});
    } else if (field.policy == Policy::per_key) {
        std::map<std::string, std::vector<LiveValue>> by_key;
        for (const LiveValue& l : state.live) by_key[l.key].push_back(l);
        for (auto& [key, live] : by_key)
            if (const LiveValue* v = shown_value(field, live); !v->value.is_null())
                content.push_back({key, v->value});
    } else if (field.policy == Policy::keep_both) {
        Few<LiveValue> texts = state.live;
        std::sort(texts.begin(), texts.end(),
                  [](const auto& a, const auto& b) { return newer(b, a); });
        for (const LiveValue& l : texts) {
            const Item item{"", l.value};
            if (!l.value.is_null() &&
                std::find(content.begin(), content.end(), item) == content.end())
                content.push_back(item);
        }
    } else if (const LiveValue* v = shown_value(field, state.live); v && !v->value.is_null()) {
        content.push_back({"", v->value});
    }
    return content;
}

std::vector<Overwritten> shown_dots(const Field& field, const FieldState& state) {
    std::vector<Overwritten> dots;
    const auto shows = [&](const LiveValue& l, std::span<const LiveValue> among) {
        if (field.policy == Policy::keep_both || field.policy == Policy::add_wins) return true;
        const LiveValue* v = shown_value(field, among);
        return v && v->value == l.value;
    };
    for (const LiveValue& l : state.live) {
        std::vector<LiveValue> same_key;
        for (const LiveValue& other : state.live)
            if (other.key == l.key) same_key.push_back(other);
        if (shows(l, same_key)) dots.push_back({l.dot, l.key});
    }
    return dots;
}

bool conflicted(const Field& field, const FieldState& state) {
    switch (field.policy) {
        case Policy::write_once:
        case Policy::last_writer:
        case Policy::keep_both:
        case Policy::per_key:
            break;
        default:
            return false;
    }
    for (std::size_t i = 1; i < state.live.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (state.live[i].key == state.live[j].key &&
                state.live[i].value != state.live[j].value)
                return true;
    return false;
}

int compare_in_order(const Field& field, const Value& a, const Value& b) {
    const auto rank = [&](const Value& v) -> std::int64_t {
        if (v.is_null()) return -1;
        for (std::size_t i = 0; i < field.type.codes.size(); ++i)
            if (v.text() && field.type.codes[i] == *v.text()) return static_cast<std::int64_t>(i);
        return static_cast<std::int64_t>(field.type.codes.size());
    };
    if (field.type.shape == Shape::code && rank(a) != rank(b)) return rank(a) < rank(b) ? -1 : 1;
    return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace rapport
