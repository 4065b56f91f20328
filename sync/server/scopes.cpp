// SPDX-License-Identifier: Apache-2.0
#include "server/scopes.hpp"

#include <algorithm>
#include <tuple>

namespace rapport::server {
namespace {

bool begins_with(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

bool covers(std::string_view granted, std::string_view scope) {
    if (!granted.empty() && granted.back() == '*')
        return begins_with(scope, granted.substr(0, granted.size() - 1));
    return granted == scope;
}

int rank(std::string_view scope) {
    if (scope == kGlobalScope) return 0;
    if (begins_with(scope, kTerritoryScopes)) return 1;
    if (begins_with(scope, kPersonScopes)) return 2;
    return 3;
}

}  // namespace

bool reaches(const Device& device, std::string_view scope) {
    if (scope.empty()) return false;
    if (scope == kGlobalScope) return true;
    if (begins_with(scope, kPersonScopes) && scope.substr(kPersonScopes.size()) == device.rep)
        return true;
    if (begins_with(scope, kPolicyScopes) &&
        (device.role == Role::price || scope.substr(kPolicyScopes.size()) == name_of(device.role)))
        return true;
    return std::any_of(device.scopes.begin(), device.scopes.end(),
                       [&](const std::string& granted) { return covers(granted, scope); });
}

bool may_write_into(const Device& device, std::string_view scope) {
    return reaches(device, scope) ||
           (device.role != Role::rep && begins_with(scope, kPersonScopes));
}

std::string only_territory(const Device& device) {
    std::string only;
    for (const std::string& scope : device.scopes) {
        if (!begins_with(scope, kTerritoryScopes)) continue;
        if (!only.empty() || scope.back() == '*') return {};
        only = scope;
    }
    return only;
}

std::vector<Stream> streams_of(const Device& device, std::vector<Stream> all) {
    all.erase(std::remove_if(all.begin(), all.end(),
                             [&](const Stream& s) { return !reaches(device, s.scope); }),
              all.end());
    std::sort(all.begin(), all.end(), [](const Stream& a, const Stream& b) {
        return std::make_tuple(rank(a.scope), std::string_view(a.scope)) <
               std::make_tuple(rank(b.scope), std::string_view(b.scope));
    });
    return all;
}

}  // namespace rapport::server
