// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/bundle.hpp"
#include "model/clock.hpp"
#include "model/json.hpp"
#include "protocol/messages.hpp"
#include "rapport/error.hpp"
#include "rapport/record.hpp"
#include "server/auth/access.hpp"
#include "server/engine.hpp"
#include "server/storage.hpp"
#include "support/temp_dir.hpp"

/// A store with devices in it, and what a device sends, without a device's own code.
namespace rapport::server::test {

inline std::string secret_of(const std::string& rep) {
    return rep + std::string(40 - rep.size(), '-');
}

struct Centre {
    TempDir folder;
    std::string path = folder.file("centre.db");
    std::unique_ptr<Storage> storage = open_sqlite_storage(path);

    std::uint64_t enrol(const std::string& rep, const std::string& tenant = "default") {
        const auto transaction = storage->begin_write();
        const std::string code = invite(*transaction, system_environment(),
                                        {tenant, rep, Role::rep, {"territory/DE-50"}, 14});
        const auto enrolment = redeem(*transaction, system_environment(),
                                      {code, "0123456789abcdef", secret_of(rep), ""});
        transaction->commit();
        return enrolment->writer;
    }
    std::string key(Role role = Role::feed, const std::string& tenant = "default") {
        const auto transaction = storage->begin_write();
        std::string secret = add_api_key(*transaction, system_environment(), tenant, role);
        transaction->commit();
        return secret;
    }
};

/// A record from its canonical JSON or an import line.
inline Record record_of(const std::string& json) {
    const ImportLine line = parse_import_line(json, [](std::string_view) { return std::nullopt; });
    if (!line.refusals.empty())
        throw Error(ErrorCode::invalid_argument, line.refusals.front().sentence);
    return line.record;
}

/// A bundle that writes every field of a record, having seen nothing of it.
inline std::string bundle_of(std::uint64_t counter, const Record& record, bool create,
                             std::uint64_t file = 1) {
    Bundle bundle;
    bundle.counter = counter;
    bundle.schema_version = static_cast<std::uint32_t>(kSchemaVersion);
    const Instant now = system_environment().now();
    bundle.captured_at = now.packed();
    Change change{
        record.kind->number, record.id, create, create ? record.scope : std::string(), {}};
    std::uint64_t number = counter * 1000;
    for (const auto& [field, content] : record.fields) {
        Write write;
        write.field = field;
        for (const Item& item : content)
            write.adds.push_back({item.key,
                                  item.value,
                                  HybridClock::at(now.at.time_since_epoch().count()),
                                  {file, ++number}});
        change.writes.push_back(std::move(write));
    }
    bundle.changes.push_back(std::move(change));
    return encode_bundle(bundle);
}

/// The archive of a device's first sync, or of one after `last`.
inline std::string request_of(std::uint64_t writer, std::uint64_t next,
                              std::vector<std::string> bundles, const protocol::Entry& last = {}) {
    protocol::Request request;
    request.writer = writer;
    request.last = last;
    request.next = next;
    request.limits_version = Limits{}.version;
    request.bundles = std::move(bundles);
    return encode(request);
}

inline std::string customer_json(const std::string& id, const std::string& name,
                                 const std::string& by) {
    return R"({"kind":"customer","id":")" + id +
           R"(","scope":"territory/DE-50","fields":{"created_at":"2026-03-02T08:00:00Z","created_by":")" +
           by + R"(","name":")" + name + R"("}})";
}
inline const std::string kCustomerId = "01940000-0000-7000-8000-000000000001";

}  // namespace rapport::server::test
