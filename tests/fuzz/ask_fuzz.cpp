// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "rapport/json.hpp"
#include "support/temp_dir.hpp"

// What an app or the C face asks a store in JSON: queries, new records, changes.
void rapport::fuzz::run(std::string_view input) {
    static const TempDir folder;
    static const Store store = [] {
        counting = false;  // the store is there before it is asked
        Store made = Store::open(folder.file("fuzz.rapport"));
        counting = true;
        return made;
    }();
    const auto clear = [](const auto& ask) {
        try {
            ask();
        } catch (const Error& e) {
            require(e.code() == ErrorCode::invalid_argument);
        }
    };
    clear([&] {
        const Query query = asked_query(input);
        to_json(store, store.query(query));
        store.count(query);
    });
    const auto told = [](const AskedEdits& asked) {
        for (const Refusal& refusal : asked.refusals) to_json(refusal, Language::english);
    };
    clear([&] { told(new_records(store, input)); });
    clear([&] { told(changes(store, input)); });
}
