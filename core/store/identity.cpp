// SPDX-License-Identifier: Apache-2.0
#include "store/identity.hpp"

#include "model/archive.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

struct StoredIdentity {
    Identity identity;
    template <class A>
    void serialize(A& a) {
        a(identity.server, identity.tenant, identity.rep, identity.role, identity.scopes,
          identity.writer, identity.credential);
    }
};

}  // namespace

std::optional<Identity> stored_identity(sqlite::Database& db) {
    const auto bytes = meta(db, "identity");
    if (!bytes) return std::nullopt;
    return decode<StoredIdentity>(*bytes).identity;
}

void store_identity(sqlite::Database& db, const Identity& identity) {
    set_meta(db, "identity", encode(StoredIdentity{identity}));
    // Whose it was is known of each name this file had, also at a server that has forgotten it.
    note_author(db, identity.writer, identity.rep);
}

void note_author(sqlite::Database& db, std::uint64_t writer, const std::string& name) {
    db.prepare("INSERT OR REPLACE INTO author(writer, name) VALUES(?,?)")
        .bind(1, writer)
        .bind(2, name)
        .run();
}

std::string author(sqlite::Database& db) {
    const auto identity = stored_identity(db);
    return identity ? identity->rep : meta(db, "rep").value_or("");
}

std::string own_territory(const Identity& identity) {
    for (const std::string& scope : identity.scopes)
        if (scope.rfind("territory/", 0) == 0 && scope.back() != '*') return scope;
    return "";
}

Limits stored_limits(sqlite::Database& db) {
    const auto bytes = meta(db, "limits");
    return bytes ? decode<Limits>(*bytes) : Limits{};
}

void store_limits(sqlite::Database& db, const Limits& limits) {
    set_meta(db, "limits", encode(limits));
}

}  // namespace rapport
