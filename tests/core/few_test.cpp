// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "model/few.hpp"
#include "rapport/field_map.hpp"

namespace rapport {
namespace {

// Long enough to have memory of its own, so that a sanitizer sees what is freed twice or never.
std::string word(int i) {
    return "a word too long to lie in the string itself: " + std::to_string(i);
}

Few<std::string> words(int count) {
    Few<std::string> few;
    for (int i = 0; i < count; ++i) few.push_back(word(i));
    return few;
}

std::vector<std::string> listed(const Few<std::string>& few) { return {few.begin(), few.end()}; }

std::vector<std::uint16_t> numbers(const FieldMap<std::string>& map) {
    std::vector<std::uint16_t> all;
    for (const auto& [number, text] : map) all.push_back(number);
    return all;
}

}  // namespace

TEST_CASE("a few elements copy, move and compare as a vector's do") {
    for (int count = 0; count < 6; ++count) {
        CAPTURE(count);
        const Few<std::string> few = words(count);
        CHECK(few.size() == static_cast<std::size_t>(count));
        CHECK(few.empty() == (count == 0));
        Few<std::string> copy = few;
        CHECK(copy == few);
        Few<std::string> moved = std::move(copy);
        CHECK(moved == few);
        for (int other = 0; other < 4; ++other) {
            Few<std::string> target = words(other);
            CHECK((target == few) == (other == count));
            target = few;
            CHECK(target == few);
            target.push_back(word(9));
            CHECK(target.back() == word(9));
            CHECK(target != few);
            moved = std::move(target);
            CHECK(moved.size() == few.size() + 1);
            moved = words(count);
        }
        Few<std::string>& self = moved;
        moved = self;
        CHECK(moved == few);
        moved.clear();
        CHECK(moved.empty());
        moved.push_back(word(0));
        CHECK(listed(moved) == std::vector{word(0)});
    }
}

TEST_CASE("a few elements take in one of their own while they grow") {
    Few<std::string> few;
    few.push_back(word(0));
    for (int i = 0; i < 10; ++i) few.push_back(few.front());
    CHECK(listed(few) == std::vector<std::string>(11, word(0)));
}

TEST_CASE("the place of an element may be looked for in the call that moves it in") {
    Few<std::string> few = words(2);
    std::string third = word(2);
    few.insert(std::upper_bound(few.begin(), few.end(), third), std::move(third));
    CHECK(listed(few) == std::vector{word(0), word(1), word(2)});
}

TEST_CASE("a few elements are put in and taken out anywhere") {
    Few<std::string> few;
    for (const int i : {2, 0, 3, 1}) {
        auto at = few.begin();
        while (at != few.end() && *at < word(i)) ++at;
        CHECK(*few.insert(at, word(i)) == word(i));
    }
    CHECK(listed(few) == std::vector{word(0), word(1), word(2), word(3)});
    CHECK(*few.erase(few.begin() + 1) == word(2));
    CHECK(few.erase_if([](const std::string& text) { return text != word(2); }) == 2);
    CHECK(listed(few) == std::vector{word(2)});
    const auto behind = few.erase(few.begin());
    CHECK(behind == few.end());
    CHECK(few.empty());
}

TEST_CASE("a field map keeps its numbers in order however they come") {
    FieldMap<std::string> map{{7, word(7)}, {3, word(3)}};
    map[5] = word(5);
    CHECK(map.emplace(1, word(1)).second);
    CHECK_FALSE(map.emplace(5, word(0)).second);
    map.emplace(9);
    CHECK(numbers(map) == std::vector<std::uint16_t>{1, 3, 5, 7, 9});
    CHECK(map.at(5) == word(5));
    CHECK(map.at(9).empty());
    CHECK_THROWS_AS(map.at(4), std::out_of_range);
    CHECK(map.find(4) == map.end());
    CHECK(map.contains(7));
    CHECK(map.erase(std::uint16_t{3}) == 1);
    CHECK(map.erase(std::uint16_t{3}) == 0);
    CHECK(map.erase_if([](const auto& entry) { return entry.first > 5; }) == 2);
    CHECK(numbers(map) == std::vector<std::uint16_t>{1, 5});
    CHECK(map == FieldMap<std::string>{{5, word(5)}, {1, word(1)}});
}

}  // namespace rapport
