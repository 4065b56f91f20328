// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/kinds.hpp"

namespace rapport::test {

/// With all that a complaint must have.
inline Complaint a_complaint(const Id<Customer>& customer) {
    Complaint c;
    c.customer_id = customer;
    c.product_text = "Becher 500 g";
    c.verbatim = "Deckel undicht";
    c.severity = Severity::major;
    return c;
}

}  // namespace rapport::test
