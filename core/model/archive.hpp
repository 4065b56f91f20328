// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <cereal/cereal.hpp>

#include "rapport/error.hpp"
#include "rapport/id.hpp"
#include "rapport/value.hpp"

/// cereal archives for bytes nobody vouches for: varints in exact ranges, every size checked
/// against the bytes that remain and an element budget, no pointers, no polymorphism, no floating
/// point, no trailing bytes.
namespace rapport {

/// Writes the wire form into a string. Integers are LEB128 varints (signed ones zigzag), text is
/// length + bytes, a list is count + elements, an optional is 0 or 1 + value.  Confined.
class WireWriter : public cereal::OutputArchive<WireWriter, cereal::AllowEmptyClassElision> {
public:
    WireWriter() : OutputArchive(this) {}
    void varint(std::uint64_t v) {
        for (; v >= 0x80; v >>= 7) out_.push_back(static_cast<char>(v | 0x80));
        out_.push_back(static_cast<char>(v));
    }
    void bytes(std::string_view raw);
    void text(std::string_view t) {
        varint(t.size());
        bytes(t);
    }
    /// Room for so many bytes, so that a message whose size is known is not moved while it grows.
    void reserve(std::size_t bytes) { out_.reserve(bytes); }
    std::string take() { return std::move(out_); }
    const std::string& str() const { return out_; }

private:
    std::string out_;
};

/// Reads the wire form. Anything out of form throws Error(protocol_violated) that names the byte.
/// `elements_max` bounds the sum of all list lengths; nesting is bounded by kDepthMax. Borrows
/// `input`.  Confined.
class WireReader : public cereal::InputArchive<WireReader, cereal::AllowEmptyClassElision> {
public:
    static constexpr int kDepthMax = 8;

    explicit WireReader(std::string_view input, std::size_t elements_max = 1'000'000)
        : InputArchive(this), input_(input), elements_left_(elements_max) {}
    std::uint64_t varint() {
        // Nearly all are of one byte.
        if (at_ < input_.size() && static_cast<unsigned char>(input_[at_]) < 0x80)
            return static_cast<unsigned char>(input_[at_++]);
        return long_varint();
    }
    std::string_view bytes(std::size_t count);
    std::string_view text() { return bytes(size()); }
    /// A length that fits the bytes that remain.
    std::size_t size();
    /// A list length: fits the bytes that remain (one byte each at least) and the element budget.
    std::size_t count();
    std::size_t remaining() const { return input_.size() - at_; }
    /// Every byte must have been read.
    void finish() const;
    [[noreturn]] void fail(const char* what) const;

    struct Nested {  ///< counts one level of nesting while it lives
        explicit Nested(WireReader& r) : reader(r) {
            if (++reader.depth_ > kDepthMax) reader.fail("nested too deeply");
        }
        ~Nested() { --reader.depth_; }
        Nested(const Nested&) = delete;
        Nested& operator=(const Nested&) = delete;
        WireReader& reader;
    };

private:
    std::uint64_t long_varint();

    std::string_view input_;
    std::size_t at_ = 0;
    std::size_t elements_left_;
    int depth_ = 0;
};

inline std::uint64_t zigzag(std::int64_t v) {
    return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}
inline std::int64_t unzigzag(std::uint64_t v) {
    return static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
}

template <class T>
requires std::is_integral_v<T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const T& v) {
    if constexpr (std::is_signed_v<T> && !std::is_same_v<T, bool>)
        a.varint(zigzag(v));
    else
        a.varint(static_cast<std::uint64_t>(v));
}
template <class T>
requires std::is_integral_v<T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, T& v) {
    const std::uint64_t raw = a.varint();
    if constexpr (std::is_same_v<T, bool>) {
        if (raw > 1) a.fail("a boolean that is neither 0 nor 1");
        v = raw == 1;
    } else if constexpr (std::is_signed_v<T>) {
        const std::int64_t n = unzigzag(raw);
        if (n < std::numeric_limits<T>::min() || n > std::numeric_limits<T>::max())
            a.fail("a number out of range");
        v = static_cast<T>(n);
    } else {
        if (raw > std::numeric_limits<T>::max()) a.fail("a number out of range");
        v = static_cast<T>(raw);
    }
}
inline void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const std::string& t) { a.text(t); }
inline void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, std::string& t) { t = a.text(); }
inline void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const RecordId& id) { a.bytes(id.view()); }
inline void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, RecordId& id) {
    id = *RecordId::from_bytes(a.bytes(16));
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const std::vector<T>& list) {
    a.varint(list.size());
    for (const T& t : list) a(t);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, std::vector<T>& list) {
    const std::size_t n = a.count();
    list.clear();
    for (std::size_t i = 0; i < n; ++i) a(list.emplace_back());
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const std::optional<T>& o) {
    a(o.has_value());
    if (o) a(*o);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, std::optional<T>& o) {
    bool has = false;
    a(has);
    o.reset();
    if (has) a(o.emplace());
}
/// A Value says its own shape: 0 null, 1 integer, 2 text, 3 parts.
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const Value& v);
void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, Value& v);

/// Any message with a cereal `serialize`, whole.
template <class M>
std::string encode(const M& message) {
    WireWriter w;
    w(message);
    return w.take();
}
template <class M>
M decode(std::string_view bytes) {
    WireReader r(bytes);
    M message;
    r(message);
    r.finish();
    return message;
}

}  // namespace rapport

CEREAL_REGISTER_ARCHIVE(rapport::WireWriter)
CEREAL_REGISTER_ARCHIVE(rapport::WireReader)
CEREAL_SETUP_ARCHIVE_TRAITS(rapport::WireReader, rapport::WireWriter)
