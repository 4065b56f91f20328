// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <rapport/kinds.hpp>
#include <rapport/sync/syncer.hpp>
using namespace rapport;

int main(int argc, char** argv) {
    Store store = Store::open("r17.rapport");
    Bundling bundle = store.bundle();  // saved together, sent together, judged together
    const auto customer = bundle.add(Customer{.name = "Molkerei Morkenhoven"});
    const auto visit = bundle.add(Visit{.customer_id = customer, .type = VisitType::visit});
    bundle.add(Complaint{.visit_id = visit,
                         .product_text = "Deckel 95 mm",
                         .verbatim = "Der Deckel ist undicht.",
                         .severity = Severity::major});
    bundle.add(ProductWish{
        .visit_id = visit, .need = "Deckel mit Clip", .importance = Importance::important});
    const Captured captured = bundle.save();  // on disk when it returns, or refused as a whole
    for (const RecordId& id : captured.ids) std::cout << id.text() << '\n';
    for (const Refusal& r : captured.refusals)  // field, code, and a sentence for the rep
        std::cout << sentence(r, Language::german) << '\n';

    const Subscription watch = store.observe({}, [&](const Changes&) {  // after every commit
        for (const Conflict& c : store.conflicts()) std::cout << c.id << " has two values\n";
    });
    const auto http = make_curl_transport();
    Syncer syncer(store, *http);
    if (argc == 3) syncer.enrol(argv[1], argv[2]);  // the server's address and an invitation code
    const SyncResult result = syncer.sync_for({.time = Milliseconds(20000)});
    std::cout << name_of(result.end) << ": " << result.applied << " applied\n";
}
