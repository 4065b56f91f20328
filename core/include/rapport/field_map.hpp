// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

namespace rapport {

/// One T per field number, in order of the numbers, in one block of memory.
///
/// As a std::map, but that iterators and references last only until something is put in or taken
/// out, and that the numbers seen through an iterator are not to be changed.  Ownership: a value
/// type.
template <class T>
class FieldMap {
public:
    using key_type = std::uint16_t;
    using mapped_type = T;
    using value_type = std::pair<std::uint16_t, T>;
    using iterator = typename std::vector<value_type>::iterator;
    using const_iterator = typename std::vector<value_type>::const_iterator;

    FieldMap() = default;
    FieldMap(std::initializer_list<value_type> entries) {
        for (const value_type& entry : entries) emplace(entry.first, entry.second);
    }

    iterator begin() { return entries_.begin(); }
    iterator end() { return entries_.end(); }
    const_iterator begin() const { return entries_.begin(); }
    const_iterator end() const { return entries_.end(); }
    std::size_t size() const { return entries_.size(); }
    bool empty() const { return entries_.empty(); }
    void clear() { entries_.clear(); }
    void reserve(std::size_t count) { entries_.reserve(count); }

    iterator find(std::uint16_t number) {
        const iterator at = place_of(number);
        return at != end() && at->first == number ? at : end();
    }
    const_iterator find(std::uint16_t number) const {
        return const_cast<FieldMap*>(this)->find(number);
    }
    bool contains(std::uint16_t number) const { return find(number) != end(); }
    std::size_t count(std::uint16_t number) const { return contains(number) ? 1 : 0; }
    T& at(std::uint16_t number) {
        const iterator found = find(number);
        if (found == end()) throw std::out_of_range("FieldMap::at");
        return found->second;
    }
    const T& at(std::uint16_t number) const { return const_cast<FieldMap*>(this)->at(number); }

    T& operator[](std::uint16_t number) { return emplace(number).first->second; }
    /// Leaves what is there.
    template <class... Arguments>
    std::pair<iterator, bool> emplace(std::uint16_t number, Arguments&&... arguments) {
        const iterator at = place_of(number);
        if (at != end() && at->first == number) return {at, false};
        return {entries_.emplace(at, std::piecewise_construct, std::forward_as_tuple(number),
                                 std::forward_as_tuple(std::forward<Arguments>(arguments)...)),
                true};
    }
    iterator erase(const_iterator at) { return entries_.erase(at); }
    std::size_t erase(std::uint16_t number) {
        const iterator at = find(number);
        if (at == end()) return 0;
        entries_.erase(at);
        return 1;
    }
    template <class Goes>
    std::size_t erase_if(Goes goes) {
        return std::erase_if(entries_, goes);
    }

    friend bool operator==(const FieldMap&, const FieldMap&) = default;

private:
    iterator place_of(std::uint16_t number) {
        if (entries_.empty() || entries_.back().first < number) return end();  // nearly always
        return std::lower_bound(
            begin(), end(), number,
            [](const value_type& entry, std::uint16_t n) { return entry.first < n; });
    }

    std::vector<value_type> entries_;
};

}  // namespace rapport
