// SPDX-License-Identifier: Apache-2.0
#include "server/scopes.hpp"

#include <algorithm>
#include <tuple>

#include "model/home.hpp"
#include "model/planted.hpp"

namespace rapport::server {
namespace {

bool begins_with(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

int rank(std::string_view scope) {
    if (scope == kGlobalScope) return 0;
    if (begins_with(scope, kTerritoryScopes)) return 1;
    if (begins_with(scope, kPersonScopes)) return 2;
    return 3;
}

}  // namespace

bool reaches(const Device& device, std::string_view scope) {
    if (RAPPORT_PLANTED("reach_every_territory") && begins_with(scope, kTerritoryScopes))
        return true;
    return rapport::reaches(device.scopes, device.role, device.rep, scope);
}

bool may_write_into(const Device& device, std::string_view scope) {
    return reaches(device, scope) ||
           (device.role != Role::rep && begins_with(scope, kPersonScopes));
}

void give_scopes(Transaction& tx, Device device, std::vector<std::string> scopes,
                 std::int64_t now_ms) {
    for (const std::string& scope : device.scopes)
        if (std::find(scopes.begin(), scopes.end(), scope) == scopes.end())
            tx.save(device.writer, LostScope{scope, now_ms});
    device.scopes = std::move(scopes);
    if (!device.revoked) {
        for (ServerEntry& entry : device.entries) std::erase_if(entry.answers, is_of_offers);
        // That of a device without any sync, which was made for them.
        std::erase_if(device.entries, [](const ServerEntry& e) { return e.id == 0; });
    }
    tx.save(device);
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
