// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds/contact.hpp"

namespace rapport {

enum class VisitType : std::uint8_t { visit, call, video, service, presentation, fair };
template <>
struct CodesOf<VisitType> {
    static constexpr std::string_view list[] = {"visit",   "call",         "video",
                                                "service", "presentation", "fair"};
};

enum class Purpose : std::uint8_t { acquire, present, negotiate, renew, complain, service, survey };
template <>
struct CodesOf<Purpose> {
    static constexpr std::string_view list[] = {"acquire",  "present", "negotiate", "renew",
                                                "complain", "service", "survey"};
};

enum class VisitResult : std::uint8_t {
    order,
    renewal,
    follow_up,
    no_interest,
    no_contact,
    cancelled
};
template <>
struct CodesOf<VisitResult> {
    static constexpr std::string_view list[] = {"order",       "renewal",    "follow_up",
                                                "no_interest", "no_contact", "cancelled"};
};

/// In rising order: of two opinions the later one in this list holds.
enum class VisitState : std::uint8_t { planned, open, cancelled, closed };
template <>
struct CodesOf<VisitState> {
    static constexpr std::string_view list[] = {"planned", "open", "cancelled", "closed"};
};

/// A meeting with a customer, planned or held.
struct Visit : Common {
    static constexpr std::uint16_t kNumber = 6;
    static constexpr std::string_view kName = "visit";
    static Kind traits() {
        using enum Role;
        Kind k;
        k.home = Home::customer;
        k.root = "customer_id";
        k.creators = Roles(rep) | mgr;
        k.time = "started_at";
        return k;
    }

    WriteOnce<Id<Customer>> customer_id;
    WriteOnce<VisitType> type;
    LastWriter<TimeRange> planned;
    LastWriter<Instant> started_at;
    LastWriter<Instant> ended_at;
    WriteOnce<CheckIn, Personal> check_in;
    AddWins<Purpose> purpose;
    AddWins<Id<Contact>> participants;
    KeepBoth<8000, Personal> summary;
    LastWriter<Whole<-2, 2>> mood;
    LastWriter<VisitResult> result;
    Highest<VisitState> state;

    template <class Archive>
    void serialize(Archive& a) {
        using enum Role;
        serialize_common(a);
        a(field(16, "customer_id", customer_id, required | indexed | by(rep, mgr)));
        a(field(17, "type", type, required | by(rep, mgr)));
        a(field(18, "planned", planned, by(rep, mgr)));
        a(field(19, "started_at", started_at, indexed | by(rep)));
        a(field(20, "ended_at", ended_at, by(rep)));
        a(field(21, "check_in", check_in, by(rep)));
        a(field(22, "purpose", purpose, by(rep)));
        a(field(23, "participants", participants, by(rep)));
        a(field(24, "summary", summary, searched | by(rep)));
        a(field(25, "mood", mood, by(rep)));
        a(field(26, "result", result, by(rep)));
        a(field(27, "state", state, indexed | by(rep)));
    }
};

}  // namespace rapport
