// SPDX-License-Identifier: Apache-2.0
#include "protocol/columns.hpp"

#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/archive.hpp"

namespace rapport::protocol {
namespace {

constexpr std::size_t kIdBytes = 16;
constexpr std::uint64_t kTimeMin = std::uint64_t{1} << 40;  // numbers from here on are times
constexpr std::uint64_t kServer = 1;                        // the centre as a writer

/// What a column holds; of values a column per kind and field.
enum Part : std::uint64_t {
    kFront,
    kCounter,
    kSchema,
    kCapturedAt,
    kFile,
    kNeeds,
    kChanges,
    kKind,
    kIdTime,
    kIdVersion,
    kIdVariant,
    kIdChance,
    kCreates,
    kScope,
    kStamp,
    kCapture,
    kHead,
    kAdded,
    kOver,
    kShape,
    kNumber,
    kLength,
    kText,
    kReference,
    kMove,
    kWriter,
    kDot,
    kLive,
    kCount,
    kVerdict,
    kRest,
};

struct Column {
    std::string bytes;      // taken apart
    std::string_view left;  // to be put together
    std::uint64_t last = 0;
    std::vector<std::string> ids;  // references met in it
    std::unordered_map<std::string, std::size_t> places;
};

struct Key {
    Part part;
    std::uint64_t kind, field;
    friend bool operator==(const Key&, const Key&) = default;
};
struct KeyHash {
    std::size_t operator()(const Key& k) const {
        return static_cast<std::size_t>((k.part | k.kind << 8 | k.field << 24) *
                                        0x9E3779B97F4A7C15U);
    }
};

std::string_view take(std::string_view& from, std::size_t n) {
    if (n > from.size()) throw Error(ErrorCode::protocol_violated, "a column that is too short");
    const std::string_view taken = from.substr(0, n);
    from.remove_prefix(n);
    return taken;
}

/// In its shortest form, as the archive has it: it comes back so.
std::uint64_t take_varint(std::string_view& from) {
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < 10 && i < from.size(); ++i) {
        const auto byte = static_cast<unsigned char>(from[i]);
        if ((i == 9 && byte > 1) || (i > 0 && byte == 0)) break;
        v |= std::uint64_t{byte & 0x7FU} << (7 * i);
        if (byte >= 0x80) continue;
        from.remove_prefix(i + 1);
        return v;
    }
    throw Error(ErrorCode::protocol_violated, "a number out of form");
}

/// From the archive to the columns.
class Apart {
public:
    static constexpr bool kApart = true;
    explicit Apart(std::string_view archive, std::string* given_up = nullptr)
        : archive_(archive), size_(archive.size()), given_up_(given_up) {}
    void begin(Column& column) { columns_.push_back(&column); }
    std::size_t remaining() const { return archive_.size(); }

    std::uint64_t varint(Column& c) {
        const std::string_view before = archive_;
        const std::uint64_t v = take_varint(archive_);
        c.bytes.append(before.substr(0, before.size() - archive_.size()));
        return v;
    }
    /// A number that is written as its step from `base`.
    std::uint64_t step(Column& c, std::uint64_t base) {
        const std::uint64_t v = take_varint(archive_);
        put(c, zigzag(static_cast<std::int64_t>(v - base)));
        return v;
    }
    std::string_view raw(Column& c, std::size_t n) {
        const std::string_view bytes = take(archive_, n);
        c.bytes.append(bytes);
        return bytes;
    }
    /// What the archive does not have, because it follows from the rest.
    std::uint64_t beside(Column& c, std::uint64_t v) {
        put(c, v);
        return v;
    }
    std::string_view peek(std::size_t n) { return archive_.substr(0, n); }
    std::string_view skip(std::size_t n) { return take(archive_, n); }
    void put(Column& c, std::uint64_t v) { append_varint(c.bytes, v); }

    /// A length and what `walk` takes of that length.
    template <class Walk>
    void sized(Walk walk) {
        const std::uint64_t size = take_varint(archive_);
        const std::size_t before = archive_.size();
        walk();
        if (before - archive_.size() != size)
            throw Error(ErrorCode::protocol_violated, "an element of another length");
    }

    /// Nothing if that is longer than the archive.
    std::string finish() {
        std::string out;
        append_varint(out, columns_.size());
        for (const Column* c : columns_) append_varint(out, c->bytes.size());
        std::size_t size = out.size();
        for (const Column* c : columns_) size += c->bytes.size();
        if (size > size_) return {};
        if (given_up_) std::string().swap(*given_up_);
        out.reserve(size);
        for (Column* c : columns_) out += std::exchange(c->bytes, {});
        return out;
    }

    static void append_varint(std::string& out, std::uint64_t v) {
        for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
        out.push_back(static_cast<char>(v));
    }

private:
    std::string_view archive_;
    const std::size_t size_;
    std::string* const given_up_;
    std::vector<Column*> columns_;
};

/// And back.
class Together {
public:
    static constexpr bool kApart = false;
    Together(std::string_view columns, std::size_t size) : size_(size) {
        out_.reserve(size);
        WireReader r(columns);
        std::vector<std::uint64_t> sizes(r.count());
        for (std::uint64_t& s : sizes) s = r.varint();
        for (const std::uint64_t s : sizes)
            columns_.push_back(
                r.bytes(static_cast<std::size_t>(std::min<std::uint64_t>(s, columns.size() + 1))));
        r.finish();
    }
    void begin(Column& column) {
        if (begun_ == columns_.size())
            throw Error(ErrorCode::protocol_violated, "a column that is not there");
        column.left = columns_[begun_++];
        used_.push_back(&column);
    }

    std::uint64_t varint(Column& c) {
        const std::uint64_t v = take_varint(c.left);
        append(v);
        return v;
    }
    std::uint64_t step(Column& c, std::uint64_t base) {
        const std::uint64_t v = base + static_cast<std::uint64_t>(unzigzag(take_varint(c.left)));
        append(v);
        return v;
    }
    std::string_view raw(Column& c, std::size_t n) {
        const std::string_view bytes = take(c.left, n);
        append(bytes);
        return bytes;
    }
    std::uint64_t beside(Column& c, std::uint64_t) { return take_varint(c.left); }
    void append(std::string_view bytes) {
        if (bytes.size() > size_ - out_.size())
            throw Error(ErrorCode::protocol_violated, "columns of a longer message than stated");
        out_.append(bytes);
    }
    void append(std::uint64_t v) {
        std::string bytes;
        Apart::append_varint(bytes, v);
        append(bytes);
    }

    template <class Walk>
    void sized(Walk walk) {
        const std::size_t at = out_.size();
        walk();
        std::string size;
        Apart::append_varint(size, out_.size() - at);
        if (size.size() > size_ - out_.size())
            throw Error(ErrorCode::protocol_violated, "columns of a longer message than stated");
        out_.insert(at, size);
    }

    std::string finish() {
        for (const Column* c : used_)
            if (!c->left.empty())
                throw Error(ErrorCode::protocol_violated, "a column that is too long");
        if (begun_ != columns_.size() || out_.size() != size_)
            throw Error(ErrorCode::protocol_violated, "columns of another message than stated");
        return std::move(out_);
    }

private:
    const std::size_t size_;
    std::string out_;
    std::vector<std::string_view> columns_;
    std::vector<const Column*> used_;
    std::size_t begun_ = 0;
};

/// The one walk over an archive, whichever way its pieces go. It must read a column the same way
/// whether that is being filled or emptied, so it looks only at what has passed.
template <class Way>
class Walk {
public:
    template <class... A>
    explicit Walk(const A&... a) : way_(a...) {}

    std::string request() {
        Column& front = at(kFront);
        for (int i = 0; i < 2; ++i) way_.varint(front);  // version, kind
        for (int i = 0; i < 5; ++i) way_.varint(front);  // writer, last, next, limits
        for (std::uint64_t n = way_.varint(front); n > 0; --n) way_.sized([&] { bundle(); });
        return rest();
    }

    std::string reply() {
        Column& front = at(kFront);
        const std::uint64_t outcome = way_.varint(front);
        for (int i = 0; i < 2; ++i) way_.varint(front);  // next, server_time_ms
        if (outcome != 0) return rest();
        way_.varint(front);  // tag
        text(front, front);  // cursor
        way_.varint(front);  // receipt
        if (way_.varint(front) & 2)
            for (std::uint64_t n = way_.varint(front); n > 0; --n) text(front, front);
        verdicts(front);
        for (std::uint64_t n = way_.varint(front); n > 0; --n) way_.sized([&] { record(); });
        return rest();
    }

private:
    Column& at(Part part, std::uint64_t kind = 0, std::uint64_t field = 0) {
        const auto [it, fresh] = columns_.try_emplace(Key{part, kind, field}, nullptr);
        if (fresh) {
            it->second = &held_.emplace_back();
            way_.begin(*it->second);
        }
        return *it->second;
    }
    std::string rest() {
        Column& column = at(kRest);
        std::uint64_t n = 0;
        if constexpr (Way::kApart) n = way_.remaining();
        n = way_.beside(column, n);
        way_.raw(column, static_cast<std::size_t>(n));
        return way_.finish();
    }

    // ---- pieces

    void text(Column& lengths, Column& bytes) {
        const std::uint64_t n = way_.varint(lengths);
        way_.raw(bytes, static_cast<std::size_t>(std::min<std::uint64_t>(n, SIZE_MAX)));
    }
    std::uint64_t rising(Column& c) { return c.last = way_.step(c, c.last); }

    /// A version 7 id: its time as what its distance from the capture differs by from that of the
    /// id before; the bits that are alike in all; the bits of chance.
    void id(std::uint64_t captured_ms) {
        Column &time = at(kIdTime), &chance = at(kIdChance);
        const auto read = [](std::string_view six) {
            std::uint64_t ms = 0;
            for (const char c : six) ms = ms << 8 | static_cast<unsigned char>(c);
            return ms;
        };
        std::uint64_t ms = 0;
        const std::uint64_t base = captured_ms + time.last;
        if constexpr (Way::kApart) {
            ms = read(way_.skip(6));
            way_.put(time, zigzag(static_cast<std::int64_t>(ms - base)));
        } else {
            ms = base + static_cast<std::uint64_t>(unzigzag(take_varint(time.left)));
            std::string six;
            for (int shift = 40; shift >= 0; shift -= 8)
                six.push_back(static_cast<char>(ms >> shift));
            way_.append(six);
        }
        time.last = ms - captured_ms;
        way_.raw(at(kIdVersion), 1);
        way_.raw(chance, 1);
        way_.raw(at(kIdVariant), 1);
        way_.raw(chance, 7);
        time_ = ms << 11 | (time_ & 2047);
    }

    void value(std::uint64_t kind, std::uint64_t field, int depth = 0) {
        if (depth > WireReader::kDepthMax)
            throw Error(ErrorCode::protocol_violated, "nested too deeply");
        switch (way_.varint(at(kShape, kind, field))) {
            case 0:
                return;
            case 1:
                return number(at(kNumber, kind, field));
            case 2: {
                const std::uint64_t n = way_.varint(at(kLength, kind, field));
                if (n == kIdBytes) return reference(at(kReference, kind, field));
                way_.raw(at(kText, kind, field),
                         static_cast<std::size_t>(std::min<std::uint64_t>(n, SIZE_MAX)));
                return;
            }
            case 3: {
                const std::uint64_t n = way_.varint(at(kCount, kind, field));
                for (std::uint64_t i = 0; i < n; ++i)
                    value(kind, field * 31 + std::min<std::uint64_t>(i, 30) + 1, depth + 1);
                return;
            }
            default:
                throw Error(ErrorCode::protocol_violated, "a value of unknown shape");
        }
    }

    /// Zigzag stays as it is: steps between times are even, whatever they are of.
    void number(Column& c) {
        const bool is_time = c.last >= kTimeMin;
        c.last = is_time ? way_.step(c, time_ << 1) : way_.varint(c);
        if (c.last >= kTimeMin) time_ = c.last >> 1;
    }

    /// 16 bytes: 0 and the bytes, 1 + 2 n the n-th met in this column.
    void reference(Column& c) {
        std::uint64_t place = 0;
        if constexpr (Way::kApart) {
            const auto met = c.places.find(std::string(way_.peek(kIdBytes)));
            if (met != c.places.end()) place = met->second + 1;
        }
        place = way_.beside(c, place);
        if (place == 0) {
            c.ids.emplace_back(way_.raw(at(kText, kReference), kIdBytes));
            if constexpr (Way::kApart) c.places.emplace(c.ids.back(), c.ids.size() - 1);
            return;
        }
        if (place > c.ids.size())
            throw Error(ErrorCode::protocol_violated, "a reference to nothing that came before");
        if constexpr (Way::kApart)
            way_.skip(kIdBytes);
        else
            way_.append(c.ids[static_cast<std::size_t>(place - 1)]);
    }

    // ---- a bundle (sync/PROTOCOL.md)

    void bundle() {
        const std::uint64_t counter = rising(at(kCounter));
        way_.varint(at(kSchema));
        const std::uint64_t captured_at = rising(at(kCapturedAt));
        way_.varint(at(kFile));
        Column& needs = at(kNeeds);
        for (std::uint64_t n = way_.varint(needs); n > 0; --n) way_.step(needs, counter);
        for (std::uint64_t n = way_.varint(at(kChanges)); n > 0; --n) change(captured_at >> 12);
    }

    void change(std::uint64_t captured_ms) {
        const std::uint64_t kind = way_.varint(at(kKind));
        id(captured_ms);
        way_.varint(at(kCreates));
        text(at(kScope), at(kScope));
        way_.varint(at(kStamp));
        if (way_.varint(at(kCapture)) != 0)
            for (int i = 0; i < 2; ++i) way_.varint(at(kCapture));
        Column& heads = at(kHead, kind);
        std::uint64_t field = 0;
        for (std::uint64_t n = way_.varint(heads); n > 0; --n) {
            const std::uint64_t head = way_.varint(heads);
            field += head >> 6;
            write(kind, field, head & 63);
        }
    }

    void write(std::uint64_t kind, std::uint64_t field, std::uint64_t flags) {
        if (flags & 1) {
            if (!(flags & 32)) value(kind, field);
        } else {
            Column& added = at(kAdded, kind, field);
            for (std::uint64_t n = way_.varint(added); n > 0; --n) {
                const std::uint64_t head = way_.varint(added);
                if (!(head & 1)) way_.varint(added);
                if (!(head & 2))
                    for (int i = 0; i < 2; ++i) way_.varint(added);
                if (head & 8) text(added, added);
                value(kind, field);
            }
        }
        if (flags & 2) named(at(kOver, 2), 2, true);
        if (flags & 4) named(at(kOver, 4), 2, true);
        if (flags & 8) named(at(kOver, 8), 3, false);
        if (flags & 16) named(at(kOver, 16), 2, false);
    }

    void named(Column& c, int numbers, bool keyed) {
        for (std::uint64_t n = way_.varint(c); n > 0; --n) {
            for (int i = 0; i < numbers; ++i) way_.varint(c);
            if (keyed) text(c, c);
        }
    }

    // ---- a reply's lists

    void verdicts(Column& front) {
        Column &counters = at(kCounter), &verdicts = at(kVerdict);
        for (std::uint64_t n = way_.varint(front); n > 0; --n) {
            rising(counters);
            way_.varint(verdicts);
            for (std::uint64_t reasons = way_.varint(verdicts); reasons > 0; --reasons) {
                way_.raw(verdicts, kIdBytes);
                for (int i = 0; i < 3; ++i) text(verdicts, verdicts);  // field, code, sentence
                for (std::uint64_t p = way_.varint(verdicts); p > 0; --p) text(verdicts, verdicts);
            }
        }
    }

    void record() {
        const std::uint64_t kind = way_.varint(at(kKind));
        id(0);
        text(at(kScope), at(kScope));
        way_.varint(at(kMove));
        way_.varint(at(kWriter));
        rising(at(kDot));
        rising(at(kStamp));
        Column& heads = at(kHead, kind);
        std::uint64_t field = 0;
        for (std::uint64_t n = way_.varint(heads); n > 0; --n) {
            const std::uint64_t head = way_.varint(heads);
            field += head >> 2;
            if ((head & 3) == 1)
                value(kind, field);
            else if ((head & 3) == 0)
                live_values(kind, field);
        }
    }

    void live_values(std::uint64_t kind, std::uint64_t field) {
        Column& live = at(kLive, kind, field);
        for (std::uint64_t n = way_.varint(live); n > 0; --n) {
            const std::uint64_t head = way_.varint(live);
            std::uint64_t writer = 0;
            if (!(head & (2 | 64))) {
                writer = way_.varint(live);
                rising(at(kDot, writer == kServer));
            }
            if (!(head & (4 | 64 | 128))) {
                // The centre counts its writes by their stamps.
                if (writer == kServer)
                    way_.step(at(kStamp, 1), at(kDot, 1).last);
                else
                    rising(at(kStamp));
            }
            if (head & 32) text(live, live);
            if (!(head & 1)) value(kind, field);
        }
        for (std::uint64_t n = way_.varint(live); n > 0; --n) {
            const std::uint64_t writer = way_.varint(live);
            rising(at(kDot, writer == kServer));
        }
    }

    std::deque<Column> held_;
    std::unordered_map<Key, Column*, KeyHash> columns_;
    std::uint64_t time_ = 0;  // the last one that passed, as a value of a field
    Way way_;
};

template <class W>
std::string walked(W& walk, Contents contents) {
    return contents == Contents::request ? walk.request() : walk.reply();
}

}  // namespace

namespace {

template <class... A>
std::optional<std::string> apart(Contents contents, const A&... archive) {
    try {
        Walk<Apart> walk(archive...);
        std::string columns = walked(walk, contents);
        if (!columns.empty()) return columns;
    } catch (const Error& e) {
        if (e.code() != ErrorCode::protocol_violated) throw;
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> put_apart(std::string_view archive, Contents contents) {
    return apart(contents, archive);
}

std::optional<std::string> take_apart(std::string& archive, Contents contents) {
    return apart(contents, std::string_view(archive), &archive);
}

std::string put_together(std::string_view columns, std::size_t size, Contents contents) {
    Walk<Together> walk(columns, size);
    return walked(walk, contents);
}

}  // namespace rapport::protocol
