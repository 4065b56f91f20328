// SPDX-License-Identifier: Apache-2.0
// How a kind's `serialize` becomes its runtime table. Nothing here is for callers.
#pragma once

#include "rapport/kind.hpp"

namespace rapport {

template <int Max, Format F>
struct TypeOf<Text<Max, F>> {
    static TypeInfo info() {
        return {.shape = Shape::text,
                .format = F,
                .max = Max,
                .codes = {},
                .refers_to = {},
                .parts = {}};
    }
    static Value to_value(const Text<Max, F>& t) { return Value(std::string(t)); }
    static std::optional<Text<Max, F>> from_value(const Value& v) {
        if (const auto* t = v.text()) return Text<Max, F>(*t);
        return std::nullopt;
    }
};
template <std::int64_t Min, std::int64_t Max>
struct TypeOf<Whole<Min, Max>> {
    static TypeInfo info() {
        return {.shape = Shape::integer,
                .min = Min,
                .max = Max,
                .codes = {},
                .refers_to = {},
                .parts = {}};
    }
    static Value to_value(const Whole<Min, Max>& w) { return Value(w.value); }
    static std::optional<Whole<Min, Max>> from_value(const Value& v) {
        if (const auto* i = v.integer()) return Whole<Min, Max>(*i);
        return std::nullopt;
    }
};
template <>
struct TypeOf<bool> {
    static TypeInfo info() {
        return {.shape = Shape::boolean, .max = 1, .codes = {}, .refers_to = {}, .parts = {}};
    }
    static Value to_value(bool b) { return Value(std::int64_t{b}); }
    static std::optional<bool> from_value(const Value& v) {
        if (const auto* i = v.integer()) return *i != 0;
        return std::nullopt;
    }
};
template <>
struct TypeOf<Instant> {
    static TypeInfo info() {
        return {.shape = Shape::instant, .codes = {}, .refers_to = {}, .parts = {}};
    }
    static Value to_value(const Instant& i) { return Value(i.packed()); }
    static std::optional<Instant> from_value(const Value& v) {
        if (const auto* i = v.integer()) return Instant::unpack(*i);
        return std::nullopt;
    }
};
template <class E>
requires std::is_enum_v<E>
struct TypeOf<E> {
    static TypeInfo info() {
        return {.shape = Shape::code,
                .max = 40,
                .codes = CodesOf<E>::list,
                .refers_to = {},
                .parts = {}};
    }
    static Value to_value(E e) {
        return Value(std::string(CodesOf<E>::list[static_cast<std::size_t>(e)]));
    }
    /// A code this build does not know is nullopt here and survives in the record.
    static std::optional<E> from_value(const Value& v) {
        const auto* t = v.text();
        for (std::size_t i = 0; t && i < std::size(CodesOf<E>::list); ++i)
            if (CodesOf<E>::list[i] == *t) return static_cast<E>(i);
        return std::nullopt;
    }
};
template <class K>
struct TypeOf<Id<K>> {
    static TypeInfo info() {
        return {
            .shape = Shape::reference, .max = 16, .codes = {}, .refers_to = K::kName, .parts = {}};
    }
    static Value to_value(const Id<K>& id) { return Value(id.raw()); }
    static std::optional<Id<K>> from_value(const Value& v) {
        if (const auto* t = v.text())
            if (auto id = RecordId::from_bytes(*t)) return Id<K>(*id);
        return std::nullopt;
    }
};
template <>
struct TypeOf<AnyId> {
    static TypeInfo info() {
        return {.shape = Shape::reference, .max = 16, .codes = {}, .refers_to = {}, .parts = {}};
    }
    static Value to_value(const AnyId& id) { return Value(id.raw()); }
    static std::optional<AnyId> from_value(const Value& v) {
        if (const auto* t = v.text())
            if (auto id = RecordId::from_bytes(*t)) return AnyId(*id);
        return std::nullopt;
    }
};

namespace detail {
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {
    using Inner = T;
};

struct PartCollector {
    std::vector<PartInfo> parts;
    template <class... P>
    void operator()(P... p) {
        (add(p), ...);
    }
    template <class T>
    void add(Part<T> p) {
        if constexpr (IsOptional<T>::value)
            parts.push_back({p.name, TypeOf<typename IsOptional<T>::Inner>::info(), p.required});
        else
            parts.push_back({p.name, TypeOf<T>::info(), p.required});
    }
};
struct PartReader {
    Parts values;
    template <class... P>
    void operator()(P... p) {
        (add(p), ...);
    }
    template <class T>
    void add(Part<T> p) {
        if constexpr (IsOptional<T>::value)
            values.push_back(p.member ? TypeOf<typename IsOptional<T>::Inner>::to_value(*p.member)
                                      : Value());
        else if constexpr (std::is_base_of_v<std::string, T>)
            values.push_back(p.member.empty() ? Value() : TypeOf<T>::to_value(p.member));
        else
            values.push_back(TypeOf<T>::to_value(p.member));
    }
};
struct PartWriter {
    const Parts& values;
    std::size_t next = 0;
    template <class... P>
    void operator()(P... p) {
        (set(p), ...);
    }
    template <class T>
    void set(Part<T> p) {
        const Value value = next < values.size() ? values[next] : Value();
        ++next;
        if constexpr (IsOptional<T>::value)
            p.member = TypeOf<typename IsOptional<T>::Inner>::from_value(value);
        else if (auto v = TypeOf<T>::from_value(value))
            p.member = *v;
    }
};
}  // namespace detail

/// Groups: any struct with a `serialize` that lists its parts.
template <class G>
requires requires(G g, detail::PartCollector c) { g.serialize(c); }
struct TypeOf<G> {
    static TypeInfo info() {
        static const std::vector<PartInfo> parts = [] {
            detail::PartCollector c;
            G group{};
            group.serialize(c);
            return c.parts;
        }();
        return {.shape = Shape::group, .codes = {}, .refers_to = {}, .parts = parts};
    }
    static Value to_value(const G& group) {
        detail::PartReader r;
        const_cast<G&>(group).serialize(r);
        return Value(std::move(r.values));
    }
    static std::optional<G> from_value(const Value& v) {
        const auto* parts = v.parts();
        if (!parts) return std::nullopt;
        G group{};
        detail::PartWriter w{*parts};
        group.serialize(w);
        return group;
    }
};

namespace detail {

template <class F>
struct FieldOps;
template <class T, Policy P, class... Traits>
struct FieldOps<Register<T, P, Traits...>> {
    using F = Register<T, P, Traits...>;
    using Says = TraitsOf<Traits...>;
    static Content read(const void* m) {
        const auto& f = *static_cast<const F*>(m);
        if (!f.has_value()) return {};
        return {{"", TypeOf<T>::to_value(*f)}};
    }
    static void write(void* m, const Content& c) {
        auto& f = *static_cast<F*>(m);
        f.reset();
        if (!c.empty())
            if (auto v = TypeOf<T>::from_value(c.front().value)) f.emplace(*v);
    }
};
template <int Max, class... Traits>
struct FieldOps<KeepBoth<Max, Traits...>> {
    using F = KeepBoth<Max, Traits...>;
    using Says = TraitsOf<Traits...>;
    static Content read(const void* m) {
        Content c;
        for (const auto& s : static_cast<const F*>(m)->siblings) c.push_back({"", Value(s)});
        return c;
    }
    static void write(void* m, const Content& c) {
        auto& f = *static_cast<F*>(m);
        f.siblings.clear();
        for (const auto& item : c)
            if (const auto* t = item.value.text()) f.siblings.push_back(*t);
    }
};
template <class T, class... Traits>
struct FieldOps<AddWins<T, Traits...>> {
    using F = AddWins<T, Traits...>;
    using Says = TraitsOf<Traits...>;
    static Content read(const void* m) {
        Content c;
        for (const auto& e : static_cast<const F*>(m)->elements) {
            Value v = TypeOf<T>::to_value(e);
            c.push_back({canonical_bytes(v), v});
        }
        return c;
    }
    static void write(void* m, const Content& c) {
        auto& f = *static_cast<F*>(m);
        f.elements.clear();
        for (const auto& item : c)
            if (auto v = TypeOf<T>::from_value(item.value)) f.elements.push_back(*v);
    }
};
template <class T, class... Traits>
struct FieldOps<PerKey<T, Traits...>> {
    using F = PerKey<T, Traits...>;
    using Says = TraitsOf<Traits...>;
    static Content read(const void* m) {
        Content c;
        for (const auto& [key, e] : static_cast<const F*>(m)->entries)
            c.push_back({key, TypeOf<T>::to_value(e)});
        return c;
    }
    static void write(void* m, const Content& c) {
        auto& f = *static_cast<F*>(m);
        f.entries.clear();
        for (const auto& item : c)
            if (auto v = TypeOf<T>::from_value(item.value)) f.entries.emplace(item.key, *v);
    }
};

/// What a field's type says of it, in whatever kind it is.
struct FieldFacts {
    Policy policy;
    TypeInfo (*type)();
    Roles seen_by;
    bool central;
    Disclosure disclosed_from;
    bool personal;
    std::size_t size;
    Content (*read)(const void* member);
    void (*write)(void* member, const Content& content);
};
template <class F>
inline constexpr FieldFacts kFactsOf{F::kPolicy,
                                     &TypeOf<typename F::Element>::info,
                                     FieldOps<F>::Says::seen_by,
                                     FieldOps<F>::Says::central,
                                     FieldOps<F>::Says::disclosed_from,
                                     FieldOps<F>::Says::personal,
                                     sizeof(F),
                                     &FieldOps<F>::read,
                                     &FieldOps<F>::write};

/// The archive that walks a kind's list once.
class FieldCollector {
public:
    FieldCollector(Kind& kind, const void* base)
        : kind_(kind), base_(static_cast<const char*>(base)) {}
    template <class... F>
    void operator()(FieldLine<F>... lines) {
        (add(lines), ...);
    }

private:
    template <class F>
    void add(const FieldLine<F>& line) {
        add(kFactsOf<F>, line.number, line.name, line.marks, &line.member);
    }
    void add(const FieldFacts& facts, std::uint16_t number, std::string_view name,
             const Marks& marks, const void* member);

    Kind& kind_;
    const char* base_;
};

/// Checks that list and struct agree (every member listed once, numbers and names unique) and
/// aborts with a sentence if they do not: a kind that disagrees with itself must not reach a user.
void check_table(const Kind& kind);

}  // namespace detail

template <class K>
const Kind& kind_of() {
    static const Kind kind = [] {
        Kind k = K::traits();
        k.number = K::kNumber;
        k.name = K::kName;
        k.size = sizeof(K);
        K sample{};
        detail::FieldCollector collector(k, &sample);
        sample.serialize(collector);
        detail::check_table(k);
        return k;
    }();
    return kind;
}

}  // namespace rapport
