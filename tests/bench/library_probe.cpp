// SPDX-License-Identifier: Apache-2.0
#include <rapport/kinds.hpp>
#include <rapport/sync/syncer.hpp>

/// What an app pulls in that uses everything; linked into a shared library whose size is measured.
extern "C" __attribute__((visibility("default"))) std::size_t rapport_probe(const char* path,
                                                                            const char* server,
                                                                            const char* code) {
    using namespace rapport;
    Store store = Store::open(path, {.rep = "R1"});
    std::size_t seen = 0;
    const Subscription watch =
        store.observe({}, [&](const Changes& changes) { seen += changes.kinds.size(); });
    Bundling bundle = store.bundle();
    Visit visit;
    visit.customer_id = bundle.add(Customer{});
    Complaint complaint;
    complaint.visit_id = bundle.add(visit);
    const auto id = bundle.add(complaint);
    bundle.add(ProductWish{});
    seen += bundle.save_draft().refusals.size() + store.submit(id).ids.size();
    store.discard(id);
    store.edit(id).set(&Complaint::description, "undicht").save();
    store.request_state(id, "closed", "", {});
    seen += store.status_with_children(id).reasons.size() + store.overview().queued +
            store.query({}).records.size();
    seen += store.count({}) + store.find_external("erp", "1").has_value() + store.check().size();
    for (const Conflict& c : store.conflicts()) store.resolve(c.id, Keep::both);
    store.export_records(nullptr, false, [&](const std::string& line) { seen += line.size(); });
    const auto transport = make_curl_transport();
    Syncer syncer(store, *transport);
    syncer.enrol(server, code);
    return seen + syncer.sync_for().applied;
}
