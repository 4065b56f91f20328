// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "model/merge.hpp"

namespace rapport {
namespace {

Field field_with(Policy policy, Shape shape = Shape::text) {
    Field f;
    f.policy = policy;
    f.type.shape = shape;
    return f;
}

LiveValue live(Dot dot, Stamp stamp, Value value, std::string key = {}) {
    return {dot, stamp, std::move(key), std::move(value), {}, false};
}

FieldState state_of(std::vector<LiveValue> values) {
    FieldState s;
    for (const LiveValue& l : values) s.counters.push_back(l.dot);
    s.live = std::move(values);
    return s;
}

Content shows(std::initializer_list<Value> values) {
    Content c;
    for (const Value& v : values) c.push_back({"", v});
    return c;
}

std::vector<Dot> dots_of(const std::vector<Overwritten>& over) {
    std::vector<Dot> dots;
    for (const Overwritten& o : over) dots.push_back(o.dot);
    return dots;
}

Write a_write(Value value, CaptureId capture = {}, std::vector<Overwritten> over = {}) {
    Write w;
    w.adds.push_back({"", std::move(value), 100, capture});
    w.over = std::move(over);
    return w;
}

constexpr Dot kAnna{7, 1}, kBert{8, 1};

}  // namespace

TEST_CASE(
    "a last-writer field shows the largest stamp and is a conflict while an unseen value stands "
    "beside it") {
    const Field f = field_with(Policy::last_writer);
    const FieldState s = state_of({live(kAnna, 20, "replace"), live(kBert, 10, "credit")});
    CHECK(show(f, s) == shows({"replace"}));
    CHECK(conflicted(f, s));
    CHECK(dots_of(shown_dots(f, s)) == std::vector{kAnna});
}

TEST_CASE("equal stamps are ordered by dot, the same on every device") {
    const Field f = field_with(Policy::last_writer);
    CHECK(show(f, state_of({live(kAnna, 5, "a"), live(kBert, 5, "b")})) == shows({"b"}));
}

TEST_CASE("two writers who wrote the same value agree: no conflict, and an edit replaces both") {
    for (const Policy p : {Policy::last_writer, Policy::keep_both, Policy::write_once}) {
        const Field f = field_with(p);
        const FieldState s = state_of({live(kAnna, 20, "same"), live(kBert, 10, "same")});
        CHECK(show(f, s) == shows({"same"}));
        CHECK_FALSE(conflicted(f, s));
        CHECK(shown_dots(f, s).size() == 2);
    }
}

TEST_CASE("a cleared last-writer field shows nothing, and clearing against writing is a conflict") {
    const Field f = field_with(Policy::last_writer);
    const FieldState s = state_of({live(kAnna, 20, Value()), live(kBert, 10, "credit")});
    CHECK(show(f, s).empty());
    CHECK(conflicted(f, s));
    CHECK(dots_of(shown_dots(f, s)) == std::vector{kAnna});
}

TEST_CASE(
    "what this device has not yet sent shows over what is confirmed, whatever the clocks say") {
    const Field f = field_with(Policy::last_writer);
    CHECK(show(f, state_of({live(kAnna, 900, "theirs"), live({kUnsentWriter, 1}, 10, "mine")})) ==
          shows({"mine"}));
}

TEST_CASE("a group is one value, taken whole") {
    const Field f = field_with(Policy::last_writer, Shape::group);
    const Value ulm(Parts{Value("Hauptstrasse 1"), Value("89073"), Value("Ulm")});
    const Value wien(Parts{Value("Ring 2"), Value(), Value("Wien")});
    CHECK(show(f, state_of({live(kAnna, 20, ulm), live(kBert, 30, wien)})) == shows({wien}));
}

TEST_CASE(
    "keep-both text shows every text, oldest first, and an edit replaces all that were shown") {
    const Field f = field_with(Policy::keep_both);
    const FieldState s = state_of({live(kAnna, 20, "later"), live(kBert, 10, "earlier")});
    CHECK(show(f, s) == shows({"earlier", "later"}));
    CHECK(conflicted(f, s));
    CHECK(dots_of(shown_dots(f, s)) == std::vector{kAnna, kBert});
}

TEST_CASE("of first values that did not see each other the earliest stays in a write-once field") {
    const Field f = field_with(Policy::write_once);
    const FieldState s = state_of({live(kAnna, 20, "second"), live(kBert, 10, "first")});
    CHECK(show(f, s) == shows({"first"}));
    CHECK(conflicted(f, s));
    CHECK(dots_of(shown_dots(f, s)) == std::vector{kBert});
}

TEST_CASE(
    "the highest of a code field follows the list, and a code nobody knows yet ranks above all") {
    static constexpr std::string_view kCodes[] = {"low", "high", "safety"};
    Field f = field_with(Policy::highest, Shape::code);
    f.type.codes = kCodes;
    CHECK(show(f, state_of({live(kAnna, 20, "high"), live(kBert, 30, "low")})) == shows({"high"}));
    CHECK(show(f, state_of({live(kAnna, 20, "high"), live(kBert, 10, "new_code")})) ==
          shows({"new_code"}));
    CHECK(compare_in_order(f, "safety", "high") == 1);
    CHECK(compare_in_order(f, Value(), "low") == -1);
    CHECK_FALSE(conflicted(f, state_of({live(kAnna, 20, "high"), live(kBert, 30, "low")})));
}

TEST_CASE("lowering a highest field replaces what the person saw, and only that") {
    const Field f = field_with(Policy::highest, Shape::integer);
    FieldState s = state_of({live(kAnna, 20, 9), live(kBert, 30, 5)});
    CHECK(dots_of(shown_dots(f, s)) == std::vector{kAnna});
    CHECK(merge(s, a_write(3, {}, shown_dots(f, s)), {9, 1}, false));
    CHECK(show(f, s) == shows({5}));
}

TEST_CASE("the lowest shows and a cleared value does not count as low") {
    const Field f = field_with(Policy::lowest, Shape::integer);
    CHECK(show(f, state_of({live(kAnna, 20, 9), live(kBert, 30, 5)})) == shows({5}));
    CHECK(show(f, state_of({live(kAnna, 20, Value()), live(kBert, 30, 5)})) == shows({5}));
}

TEST_CASE("once true, an absorbing field stays true") {
    const Field f = field_with(Policy::absorbing, Shape::boolean);
    CHECK(show(f, state_of({live(kAnna, 20, 1), live(kBert, 30, std::int64_t{0})})) == shows({1}));
    CHECK_FALSE(conflicted(f, state_of({live(kAnna, 20, 1), live(kBert, 30, std::int64_t{0})})));
}

TEST_CASE("a server-owned field shows the server's last word") {
    const Field f = field_with(Policy::owned);
    CHECK(show(f, state_of({live({kServerWriter, 5}, 90, "open"),
                            live({kServerWriter, 6}, 10, "closed")})) == shows({"closed"}));
}

TEST_CASE("a set shows each element once and is never a conflict") {
    const Field f = field_with(Policy::add_wins);
    const FieldState s = state_of(
        {live(kAnna, 20, "x", "kx"), live(kAnna, 20, "y", "ky"), live(kBert, 10, "x", "kx")});
    CHECK(show(f, s) == Content{{"kx", "x"}, {"ky", "y"}});
    CHECK_FALSE(conflicted(f, s));
    CHECK(shown_dots(f, s).size() == 3);
}

TEST_CASE("the keys of a map are shown and in conflict one by one") {
    const Field f = field_with(Policy::per_key);
    const FieldState s =
        state_of({live(kAnna, 20, "blue", "colour"), live(kAnna, 20, Value(), "size"),
                  live(kBert, 10, "red", "colour")});
    CHECK(show(f, s) == Content{{"colour", "blue"}});
    CHECK(conflicted(f, s));
    CHECK(shown_dots(f, s) == std::vector<Overwritten>{{kAnna, "colour"}, {kAnna, "size"}});
    CHECK_FALSE(
        conflicted(f, state_of({live(kAnna, 20, "blue", "colour"), live(kBert, 10, "L", "size")})));
}

TEST_CASE("what leaves the live set is handed out, for the history") {
    FieldState s;
    std::vector<LiveValue> left;
    merge(s, a_write("old", {1, 1}), kAnna, false, &left);
    CHECK(left.empty());
    merge(s, a_write("new", {2, 1}, {{kAnna, ""}}), kBert, false, &left);
    REQUIRE(left.size() == 1);
    CHECK(left[0].value == Value("old"));
    CHECK(left[0].dot == kAnna);
}

TEST_CASE("a capture known under another writer's dot changes nothing but that dot's counter") {
    FieldState s;
    merge(s, a_write("text", {1, 1}), kAnna, false);
    const FieldState before = s;
    CHECK_FALSE(merge(s, a_write("text", {1, 1}, {{{5, 5}, ""}}), kBert, false));
    CHECK(s.live == before.live);
    CHECK(s.known == before.known);
    CHECK(s.merged_up_to(kBert.writer) == kBert.counter);
    SUBCASE("so that its author, who knows it by that dot only, offers nothing new") {
        FieldState of_author;
        merge(of_author, a_write("text"), kBert, false);
        join_witnessed(s, of_author);
        CHECK(s.live == before.live);
    }
}

TEST_CASE("what was offered without a capture id is known by it once its author sends it again") {
    FieldState s, witnessed;
    merge(witnessed, a_write("text"), kAnna, false);
    join_witnessed(s, witnessed);
    merge(s, a_write("text", {1, 1}), kAnna, false);
    REQUIRE(s.live.size() == 1);
    CHECK(s.live[0].capture == CaptureId{1, 1});
    Write later = a_write("anew", {1, 2});
    later.over_own.push_back({{1, 1}, ""});
    merge(s, later, {kAnna.writer, kAnna.counter + 1}, false);
    REQUIRE(s.live.size() == 1);
    CHECK(s.live[0].value == Value("anew"));
}

TEST_CASE("a repeat without a capture id, such as the server's own, is known by its dot") {
    FieldState s;
    merge(s, a_write("text"), {kServerWriter, 9}, false);
    const FieldState before = s;
    CHECK_FALSE(merge(s, a_write("text"), {kServerWriter, 9}, false));
    CHECK(s == before);
}

TEST_CASE("a former dot that arrives late, also one of another writer id, brings nothing back") {
    FieldState s;
    Write anew = a_write("text", {1, 2});
    anew.former.push_back(kAnna);
    merge(s, anew, kBert, false);
    CHECK_FALSE(merge(s, a_write("text", {1, 1}), kAnna, false));
    CHECK(s.live.size() == 1);
}

TEST_CASE("one capture id with two contents is two values: no word is taken for a repeat") {
    FieldState s;
    merge(s, a_write("one", {1, 1}), kAnna, false);
    CHECK(merge(s, a_write("two", {1, 1}), kBert, false));
    CHECK(s.live.size() == 2);
}

TEST_CASE("a folded capture that lives under another dot leaves with the write that folded it") {
    FieldState s;
    merge(s, a_write("first", {1, 1}), kBert, false);
    Write coalesced = a_write("second", {1, 2});
    coalesced.folded.push_back({{1, 1}, content_hash("", "first")});
    merge(s, coalesced, kAnna, false);
    REQUIRE(s.live.size() == 1);
    CHECK(s.live[0].value == Value("second"));
    SUBCASE("and does not come back when it arrives late") {
        CHECK_FALSE(merge(s, a_write("first", {1, 1}), {9, 1}, false));
        CHECK(s.live.size() == 1);
    }
}

TEST_CASE("a set element sent anew keeps its dot, and one taken away meanwhile stays away") {
    Write add;
    add.adds.push_back({"kx", "x", 10, {1, 1}});
    FieldState s;
    merge(s, add, kAnna, true);
    Write again = add;
    again.adds.push_back({"ky", "y", 11, {1, 2}});
    again.former.push_back(kAnna);
    SUBCASE("still there") {
        merge(s, again, {7, 2}, true);
        REQUIRE(s.live.size() == 2);
        CHECK(s.live[0].dot == kAnna);
        CHECK(s.live[0].key == "kx");
        CHECK(s.live[1].dot == Dot{7, 2});
        // Who has seen it under that dot takes it away by that.
        Write remove;
        remove.over.push_back({kAnna, "kx"});
        merge(s, remove, kBert, true);
        REQUIRE(s.live.size() == 1);
        CHECK(s.live[0].key == "ky");
    }
    SUBCASE("taken away") {
        Write remove;
        remove.over.push_back({kAnna, "kx"});
        merge(s, remove, kBert, true);
        merge(s, again, {7, 2}, true);
        REQUIRE(s.live.size() == 1);
        CHECK(s.live[0].key == "ky");
    }
}

TEST_CASE(
    "a witnessed field brings back what a restored server lost, and takes away what it knows was "
    "replaced") {
    FieldState server = state_of({live(kAnna, 10, "old")});
    FieldState witnessed = state_of({live(kBert, 20, "new")});
    witnessed.counters = {kAnna, kBert};
    join_witnessed(server, witnessed);
    CHECK(server.live == witnessed.live);
    CHECK(server.counters == witnessed.counters);
    SUBCASE("twice is once") {
        const FieldState before = server;
        join_witnessed(server, witnessed);
        CHECK(server == before);
    }
    SUBCASE("an offer that knows less takes nothing") {
        join_witnessed(server, state_of({live(kAnna, 10, "old")}));
        CHECK(server.live == witnessed.live);
    }
}

}  // namespace rapport
