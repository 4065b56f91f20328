// SPDX-License-Identifier: Apache-2.0
#include "model/archive.hpp"

namespace rapport {

void WireWriter::bytes(std::string_view raw) { out_.append(raw); }

void WireReader::fail(const char* what) const {
    throw Error(ErrorCode::protocol_violated,
                std::string(what) + " at byte " + std::to_string(at_));
}

std::uint64_t WireReader::long_varint() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (at_ >= input_.size()) fail("the input ends inside a number");
        const auto byte = static_cast<unsigned char>(input_[at_++]);
        if (shift == 63 && byte > 1) fail("a number larger than 64 bits");
        v |= std::uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift > 0) fail("a number that is not in its shortest form");
            return v;
        }
    }
    fail("a number larger than 64 bits");
}

std::string_view WireReader::bytes(std::size_t count) {
    if (count > remaining()) fail("the input ends inside a text");
    const std::string_view view = input_.substr(at_, count);
    at_ += count;
    return view;
}

std::size_t WireReader::size() {
    const std::uint64_t n = varint();
    if (n > remaining()) fail("a length beyond the end of the input");
    return static_cast<std::size_t>(n);
}

std::size_t WireReader::count() {
    const std::size_t n = size();
    if (n > elements_left_) fail("more elements than allowed");
    elements_left_ -= n;
    return n;
}

void WireReader::finish() const {
    if (remaining() != 0) fail("bytes after the end");
}

void CEREAL_SAVE_FUNCTION_NAME(WireWriter& a, const Value& v) {
    a.varint(v.is.index());
    if (const auto* i = v.integer())
        a(*i);
    else if (const auto* t = v.text())
        a(*t);
    else if (const auto* p = v.parts())
        a(*p);
}

void CEREAL_LOAD_FUNCTION_NAME(WireReader& a, Value& v) {
    const WireReader::Nested level(a);
    switch (a.varint()) {
        case 0:
            v = Value();
            return;
        case 1: {
            std::int64_t i = 0;
            a(i);
            v = Value(i);
            return;
        }
        case 2: {
            std::string t;
            a(t);
            v = Value(std::move(t));
            return;
        }
        case 3: {
            Parts p;
            a(p);
            v = Value(std::move(p));
            return;
        }
        default:
            a.fail("a value of unknown shape");
    }
}

std::string canonical_bytes(const Value& value) { return encode(value); }

}  // namespace rapport
