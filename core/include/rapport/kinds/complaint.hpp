// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/product.hpp"
#include "rapport/kinds/theme.hpp"
#include "rapport/kinds/visit.hpp"

namespace rapport {

enum class ComplaintState : std::uint8_t {
    submitted,
    acknowledged,
    assessed,
    investigating,
    action,
    answered,
    closed,
    withdrawn,
    merged
};
template <>
struct CodesOf<ComplaintState> {
    static constexpr std::string_view list[] = {"submitted",     "acknowledged", "assessed",
                                                "investigating", "action",       "answered",
                                                "closed",        "withdrawn",    "merged"};
};

/// By which way something came from or went to a customer.
enum class Channel : std::uint8_t { visit, phone, email, letter, message, web, other };
template <>
struct CodesOf<Channel> {
    static constexpr std::string_view list[] = {"visit",   "phone", "email", "letter",
                                                "message", "web",   "other"};
};

/// In rising order: of two opinions the graver holds until quality decides.
enum class Severity : std::uint8_t { minor, major, critical, safety };
template <>
struct CodesOf<Severity> {
    static constexpr std::string_view list[] = {"minor", "major", "critical", "safety"};
};

enum class Remedy : std::uint8_t { none, info, repair, replace, credit, refund, other };
template <>
struct CodesOf<Remedy> {
    static constexpr std::string_view list[] = {"none",   "info",   "repair", "replace",
                                                "credit", "refund", "other"};
};

enum class Decision : std::uint8_t { justified, goodwill, unjustified };
template <>
struct CodesOf<Decision> {
    static constexpr std::string_view list[] = {"justified", "goodwill", "unjustified"};
};

/// What a customer complains of, and what quality made of it (ISO 10002).
struct Complaint : Common {
    static constexpr std::uint16_t kNumber = 8;
    static constexpr std::string_view kName = "complaint";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::customer;
        k.root = "customer_id";
        k.creators = rep;
        k.time = "received_at";
        return k;
    }

    Owned<ComplaintState> state;
    Owned<Count> state_version;
    WriteOnce<Id<Customer>> customer_id;
    WriteOnce<Id<Contact>> contact_id;
    WriteOnce<Id<Visit>> visit_id;
    WriteOnce<Id<Product>> product_id;
    WriteOnce<Text<200, Format::line>> product_text;  ///< where the product has no record
    WriteOnce<Gtin> gtin;
    WriteOnce<Text<40, Format::line>> lot;
    WriteOnce<Text<40, Format::line>> serial;
    LastWriter<Id<Product>> corrected_product_id;
    LastWriter<Text<40, Format::line>> corrected_lot;
    LastWriter<Instant> occurred_at;
    WriteOnce<Instant> received_at;
    WriteOnce<Text<8000>, Personal> verbatim;  ///< the customer's own words
    WriteOnce<Channel> channel;
    KeepBoth<8000, Personal> description;
    LastWriter<Quantity> qty_affected;
    Highest<Severity> severity;
    LastWriter<Remedy> remedy_wanted;
    LastWriter<FreeCode> defect_code_reported;
    LastWriter<FreeCode> defect_code;
    LastWriter<FreeCode> cause_code;
    KeepBoth<8000, Personal> root_cause_text;
    LastWriter<Effectiveness> effectiveness;
    LastWriter<Money> cost;
    Owned<Decision> decision;
    Owned<Text<4000>, Personal> reply_text;
    Owned<Id<Complaint>> duplicate_of;  ///< the same incident; the loop runs on that one
    AddWins<Id<Theme>> theme_ids;
    Owned<Text<20, Format::line>> number;  ///< `C-2026-00042`
    Owned<Text<80, Format::line>> owner;
    Owned<Instant> ack_at;
    Owned<Instant> answered_at;
    Owned<Instant> due_at;
    Owned<Instant> closed_at;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(common_field::state, "state", state, indexed));
        a(field(common_field::state_version, "state_version", state_version));
        a(field(16, "customer_id", customer_id, required | indexed | by(rep)));
        a(field(17, "contact_id", contact_id, by(rep)));
        a(field(18, "visit_id", visit_id, indexed | by(rep)));
        a(field(19, "product_id", product_id, indexed | by(rep)));
        a(field(20, "product_text", product_text, searched | by(rep)));
        a(field(21, "gtin", gtin, by(rep)));
        a(field(22, "lot", lot, by(rep)));
        a(field(23, "serial", serial, by(rep)));
        a(field(24, "corrected_product_id", corrected_product_id, by(qm)));
        a(field(25, "corrected_lot", corrected_lot, by(qm)));
        a(field(26, "occurred_at", occurred_at, by(rep)));
        a(field(27, "received_at", received_at, required | indexed | by(rep)));
        a(field(28, "verbatim", verbatim, required | searched | by(rep)));
        a(field(29, "channel", channel, required | by(rep)));
        a(field(30, "description", description, searched | by(rep, qm)));
        a(field(31, "qty_affected", qty_affected, by(rep, qm)));
        a(field(32, "severity", severity, required | indexed | by(rep, qm) | lowered_by(qm)));
        a(field(33, "remedy_wanted", remedy_wanted, by(rep)));
        a(field(34, "defect_code_reported", defect_code_reported, by(rep)));
        a(field(35, "defect_code", defect_code, indexed | by(qm)));
        a(field(36, "cause_code", cause_code, indexed | by(qm)));
        a(field(37, "root_cause_text", root_cause_text, searched | by(qm)));
        a(field(38, "effectiveness", effectiveness, by(qm)));
        a(field(39, "cost", cost, by(qm)));
        a(field(40, "decision", decision));
        a(field(41, "reply_text", reply_text));
        a(field(42, "duplicate_of", duplicate_of, indexed));
        a(field(43, "theme_ids", theme_ids, by(qm)));
        a(field(44, "number", number, indexed));
        a(field(45, "owner", owner));
        a(field(46, "ack_at", ack_at));
        a(field(47, "answered_at", answered_at));
        a(field(48, "due_at", due_at));
        a(field(49, "closed_at", closed_at));
    }
};

}  // namespace rapport
