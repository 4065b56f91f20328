// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rapport/record.hpp"
#include "rapport/role.hpp"

namespace rapport {

/// The scope of a record as far as it says so itself; empty if that hangs on another record or on
/// its device (a customer's territory, what names a customer or subject). `author` is who captures
/// it.
std::string own_scope(const Record& record, std::string_view author);

/// Does who has these scopes, role and name receive what lives in this scope? Its own scopes (one
/// ending in `*` covers all that begin so), `global`, its person's and its role's; pricing has the
/// policies of all roles.
bool reaches(const std::vector<std::string>& granted, Role role, std::string_view rep,
             std::string_view scope);
/// Does a granted scope, perhaps one that ends in `*`, cover this one?
bool covers(std::string_view granted, std::string_view scope);

}  // namespace rapport
