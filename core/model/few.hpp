// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace rapport {

/// A list that nearly always has one element or none: the first lies in the list itself, and only
/// more take memory of their own.
///
/// As a std::vector, but that a move invalidates references.  Ownership: a value type.
template <class T>
class Few {
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>);

public:
    using value_type = T;
    using iterator = T*;
    using const_iterator = const T*;

    Few() noexcept {}
    Few(std::initializer_list<T> list) : Few() { append(list.begin(), list.end()); }
    Few(const std::vector<T>& list) : Few() { append(list.data(), list.data() + list.size()); }
    Few(const Few& other) : Few() { append(other.begin(), other.end()); }
    Few(Few&& other) noexcept { take(other); }
    Few& operator=(const Few& other) {
        if (this != &other) *this = Few(other);
        return *this;
    }
    Few& operator=(Few&& other) noexcept {
        if (this == &other) return *this;
        drop();
        take(other);
        return *this;
    }
    ~Few() { drop(); }

    T* begin() { return many_ ? many_ : &one_; }
    T* end() { return begin() + size_; }
    const T* begin() const { return many_ ? many_ : &one_; }
    const T* end() const { return begin() + size_; }
    T* data() { return begin(); }
    const T* data() const { return begin(); }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T& operator[](std::size_t i) { return begin()[i]; }
    const T& operator[](std::size_t i) const { return begin()[i]; }
    T& front() { return *begin(); }
    const T& front() const { return *begin(); }
    T& back() { return *(end() - 1); }
    const T& back() const { return *(end() - 1); }

    template <class... Arguments>
    T& emplace_back(Arguments&&... arguments) {
        if (size_ == room_) return grow(std::forward<Arguments>(arguments)...);
        T* const at = std::construct_at(end(), std::forward<Arguments>(arguments)...);
        ++size_;
        return *at;
    }
    void push_back(const T& element) { emplace_back(element); }
    void push_back(T&& element) { emplace_back(std::move(element)); }
    template <class Element>
    iterator insert(const_iterator before, Element&& element) {
        const std::ptrdiff_t place = before - begin();
        emplace_back(std::forward<Element>(element));
        std::rotate(begin() + place, end() - 1, end());
        return begin() + place;
    }
    iterator erase(const_iterator at) { return erase(at, at + 1); }
    iterator erase(const_iterator first, const_iterator last) {
        T* const to = begin() + (first - begin());
        T* const left = std::move(begin() + (last - begin()), end(), to);
        std::destroy(left, end());
        size_ = static_cast<std::uint32_t>(left - begin());
        return to;
    }
    template <class Goes>
    std::size_t erase_if(Goes goes) {
        const std::size_t before = size_;
        erase(std::remove_if(begin(), end(), goes), end());
        return before - size_;
    }
    void clear() { erase(begin(), end()); }

    friend bool operator==(const Few& a, const Few& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }

private:
    void append(const T* first, const T* last) {
        const auto count = static_cast<std::uint32_t>(last - first);
        if (count > room_) {
            many_ = std::allocator<T>().allocate(count);
            room_ = count;
        }
        for (; first != last; ++first) emplace_back(*first);
    }
    // The new element is made first: it may be made of one that is here.
    template <class... Arguments>
    T& grow(Arguments&&... arguments) {
        const std::uint32_t room = room_ * 2 + 1;
        T* const more = std::allocator<T>().allocate(room);
        T* made = nullptr;
        try {
            made = std::construct_at(more + size_, std::forward<Arguments>(arguments)...);
        } catch (...) {
            std::allocator<T>().deallocate(more, room);
            throw;
        }
        std::uninitialized_move(begin(), end(), more);
        const std::uint32_t size = size_ + 1;
        drop();
        many_ = more;
        room_ = room;
        size_ = size;
        return *made;
    }
    void take(Few& other) noexcept {
        if (other.many_) {
            many_ = std::exchange(other.many_, nullptr);
            room_ = std::exchange(other.room_, 1);
        } else if (other.size_ == 1) {
            std::construct_at(&one_, std::move(other.one_));
            std::destroy_at(&other.one_);
        }
        size_ = std::exchange(other.size_, 0);
    }
    void drop() noexcept {
        std::destroy(begin(), end());
        if (many_) std::allocator<T>().deallocate(many_, room_);
        many_ = nullptr;
        room_ = 1;
        size_ = 0;
    }

    union {
        T one_;
    };
    T* many_ = nullptr;
    std::uint32_t size_ = 0, room_ = 1;  // far more than a message can hold
};

}  // namespace rapport
