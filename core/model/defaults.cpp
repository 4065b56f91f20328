// SPDX-License-Identifier: Apache-2.0
#include "model/defaults.hpp"

#include <array>

namespace rapport {
namespace {

void set_if_unset(Record& record, std::string_view field, Value value) {
    if (record.kind->field(field) && record.shown(field).empty())
        record.set(field, std::move(value));
}

std::string hex16(std::uint64_t v) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text(16, '0');
    for (std::size_t i = 16; i-- > 0; v >>= 4) text[i] = kDigits[v & 15];
    return text;
}

}  // namespace

void set_defaults(Record& record, const CaptureFacts& facts) {
    set_if_unset(record, "created_at", facts.now.packed());
    if (!facts.rep.empty()) set_if_unset(record, "created_by", facts.rep);
    set_if_unset(record, "device_id", hex16(facts.file));
    set_if_unset(record, "schema_version", kSchemaVersion);

    const std::string& kind = record.kind->name;
    if (kind == "visit") {
        set_if_unset(record, "state", record.shown("result").empty() ? "open" : "closed");
    } else if (kind == "complaint") {
        set_if_unset(record, "channel", "visit");
        set_if_unset(record, "received_at", facts.now.packed());
    } else if (kind == "product_wish") {
        set_if_unset(record, "category", "other");
        set_if_unset(record, "captured_at", facts.now.packed());
    } else if (kind == "note") {
        set_if_unset(record, "at", facts.now.packed());
        if (!facts.rep.empty()) set_if_unset(record, "author", facts.rep);
    } else if (kind == "task" || kind == "loop_task") {
        set_if_unset(record, "state", "open");
    } else if (kind == "answer") {
        set_if_unset(record, "at", facts.now.packed());
        set_if_unset(record, "status", "answered");
    } else if (kind == "consent") {
        set_if_unset(record, "given_at", facts.now.packed());
    }
    if (!facts.visit_customer.is_nil())
        set_if_unset(record, "customer_id", facts.visit_customer.raw());
}

}  // namespace rapport
