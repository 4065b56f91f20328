// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "rapport/record.hpp"

namespace rapport {

/// What capture knows when a record is made.
struct CaptureFacts {
    Instant now;
    std::string rep;  ///< empty before enrolment when nobody said who
    std::uint64_t file = 0;
    RecordId visit_customer;  ///< the customer of the visit the record names; nil if none
};

/// Fills what a new record may leave out: the common fields, and per kind what a person would
/// expect (a complaint is received now through a visit, a visit with a result is closed). Sets only
/// unset fields.
void set_defaults(Record& record, const CaptureFacts& facts);

}  // namespace rapport
