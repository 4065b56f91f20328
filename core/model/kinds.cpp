// SPDX-License-Identifier: Apache-2.0
#include "rapport/kinds.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace rapport {
namespace {

[[noreturn]] void stop(const std::string& sentence) {
    std::fprintf(stderr, "rapport: %s\n", sentence.c_str());
    std::abort();
}

bool is_snake_case(std::string_view name) {
    return !name.empty() && name.front() >= 'a' && name.front() <= 'z' &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") ==
               std::string_view::npos;
}

bool is_common(std::uint16_t number) {
    return number >= common_field::created_at && number <= common_field::ext;
}

bool is_shared(std::uint16_t number) {
    return number == common_field::external_ids || number == common_field::state ||
           number == common_field::state_version;
}

/// Every byte of the struct belongs to exactly one listed field. All field types have one
/// alignment, so there is no padding.
void check_layout(const Kind& kind) {
    std::vector<const Field*> by_place;
    for (const Field& f : kind.fields) by_place.push_back(&f);
    std::sort(by_place.begin(), by_place.end(),
              [](const Field* a, const Field* b) { return a->offset < b->offset; });
    std::size_t end = 0;
    std::string before = "the start";
    for (const Field* f : by_place) {
        if (f->offset < end)
            stop(kind.name + ": " + before + " and " + f->name + " are lists of one member");
        if (f->offset > end)
            stop(kind.name + ": a member between " + before + " and " + f->name +
                 " is not in the list");
        end = f->offset + f->size;
        before = f->name;
    }
    if (end != kind.size) stop(kind.name + ": a member after " + before + " is not in the list");
}

void check_type(const std::string& where, const TypeInfo& type, bool may_nest) {
    for (std::size_t i = 0; i < type.codes.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (type.codes[i] == type.codes[j])
                stop(where + ": the code " + std::string(type.codes[i]) + " is listed twice");
    if (type.shape == Shape::code && type.codes.empty()) stop(where + ": an enum without codes");
    if (type.shape != Shape::group) return;
    if (!may_nest) stop(where + ": a group within a group");
    if (type.parts.empty()) stop(where + ": a group without parts");
    for (std::size_t i = 0; i < type.parts.size(); ++i) {
        const std::string name(type.parts[i].name);
        if (!is_snake_case(name)) stop(where + ": a part named '" + name + "'");
        for (std::size_t j = 0; j < i; ++j)
            if (type.parts[j].name == name) stop(where + ": two parts named " + name);
        check_type(where + "." + name, type.parts[i].type, false);
    }
}

void check_field(const Kind& kind, const Field& f) {
    const std::string where = kind.name + "." + f.name;
    if (!is_snake_case(f.name)) stop(kind.name + ": a field named '" + f.name + "'");
    if (f.number < common_field::first_own && !is_common(f.number) && !is_shared(f.number))
        stop(where + ": its number " + std::to_string(f.number) + " is kept for common fields");
    check_type(where, f.type, true);
    if (f.policy == Policy::owned && !f.marks.writers.empty())
        stop(where + ": only the server writes an owned field");
    if (f.marks.required && f.marks.writers.empty())
        stop(where + ": required, but no role may write it");
    if (!f.marks.lowered_by.empty() && f.policy != Policy::highest)
        stop(where + ": only a highest field can be lowered");
    if (f.number >= common_field::first_own && kind.append_only && !f.marks.writers.empty() &&
        f.policy != Policy::write_once && f.policy != Policy::per_key && !f.marks.fixed)
        stop(where + ": a field that changes, in a kind that does not");
    if (f.marks.fixed && !f.is_keyed()) stop(where + ": only a set or map is marked fixed");
    if (f.disclosed_from != Disclosure::none && !kind.field("disclosure"))
        stop(where + ": its record has no level of disclosure");
}

/// Names under which values stand side by side: fields, and `field_part` of groups.
void check_names(const Kind& kind) {
    std::vector<std::string> names;
    for (const Field& f : kind.fields) {
        names.push_back(f.name);
        if (!f.is_keyed())
            for (const PartInfo& p : f.type.parts)
                names.push_back(f.name + "_" + std::string(p.name));
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) stop(kind.name + ": two fields or parts named " + *twice);
}

const std::vector<const Kind*>& checked_kinds() {
    static const std::vector<const Kind*> kinds = [] {
        std::vector<const Kind*> all = {
            &kind_of<Customer>(), &kind_of<Contact>(), &kind_of<Product>(), &kind_of<Territory>(),
            &kind_of<CodeList>(), &kind_of<Visit>(), &kind_of<ProductTalk>(), &kind_of<Complaint>(),
            &kind_of<ProductWish>(), &kind_of<Theme>(), &kind_of<Note>(), &kind_of<Attachment>(),
            &kind_of<StateRequest>(), &kind_of<StatusEvent>(), &kind_of<Task>(),
            &kind_of<LoopTask>(), &kind_of<MarketingQuestion>(), &kind_of<Answer>(),
            &kind_of<Consent>(),
            // 20 is kept for erasure orders
            &kind_of<DiscountPolicy>(), &kind_of<PriceRequest>(), &kind_of<CustomisationRequest>(),
            &kind_of<CustomOption>(), &kind_of<StateTable>(), &kind_of<CorrectiveAction>()};
        for (std::size_t i = 1; i < all.size(); ++i)
            if (all[i]->number <= all[i - 1]->number)
                stop(all[i]->name + ": kinds are listed by their numbers");
        return all;
    }();
    return kinds;
}

}  // namespace

const std::vector<const Kind*>& all_kinds() { return checked_kinds(); }

const Kind* kind_named(std::string_view name) {
    for (const Kind* k : all_kinds())
        if (k->name == name) return k;
    return nullptr;
}

const Kind* kind_numbered(std::uint16_t number) {
    for (const Kind* k : all_kinds())
        if (k->number == number) return k;
    return nullptr;
}

const Field* Kind::field(std::string_view wanted) const {
    for (const Field& f : fields)
        if (f.name == wanted) return &f;
    return nullptr;
}

const Field* Kind::field(std::uint16_t wanted) const {
    for (const Field& f : fields)
        if (f.number == wanted) return &f;
    return nullptr;
}

const Field& Kind::field_at(std::size_t offset) const {
    for (const Field& f : fields)
        if (f.offset == offset) return f;
    stop(name + ": no field at byte " + std::to_string(offset));
}

void detail::FieldCollector::add(const FieldFacts& facts, std::uint16_t number,
                                 std::string_view name, const Marks& marks, const void* member) {
    Field f;
    f.number = number;
    f.name = name;
    f.policy = facts.policy;
    f.type = facts.type();
    f.marks = marks;
    f.seen_by = facts.seen_by;
    f.central = facts.central;
    f.disclosed_from = facts.disclosed_from;
    f.personal = facts.personal;
    f.offset = static_cast<std::size_t>(static_cast<const char*>(member) - base_);
    f.size = facts.size;
    f.read = facts.read;
    f.write = facts.write;
    kind_.fields.push_back(std::move(f));
}

void detail::check_table(const Kind& kind) {
    if (!is_snake_case(kind.name)) stop("a kind named '" + kind.name + "'");
    for (std::size_t i = 0; i < kind.fields.size(); ++i) {
        check_field(kind, kind.fields[i]);
        for (std::size_t j = 0; j < i; ++j)
            if (kind.fields[i].number == kind.fields[j].number)
                stop(kind.name + ": " + kind.fields[j].name + " and " + kind.fields[i].name +
                     " have the same number");
    }
    check_names(kind);
    check_layout(kind);
    if (!kind.open_state.empty() && !kind.field(common_field::state))
        stop(kind.name + ": it is edited in one state only, but has none");
    for (const std::string_view name : {kind.root, kind.time})
        if (!name.empty() && !kind.field(name))
            stop(kind.name + ": its traits name " + std::string(name) + ", which is no field");
}

}  // namespace rapport
