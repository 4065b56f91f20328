// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "model/bundle.hpp"

// What was read as a bundle means the same when it is written again, and meets itself without harm.
void rapport::fuzz::run(std::string_view input) {
    const Bundle bundle = decode_bundle(input);
    require(decode_bundle(encode_bundle(bundle)) == bundle);
    for (const bool keyed : {false, true}) {
        FieldState state;
        for (const Change& change : bundle.changes)
            for (const Write& write : change.writes) {
                merge(state, write, {77, bundle.counter}, keyed);
                const FieldState once = state;
                merge(state, write, {77, bundle.counter}, keyed);
                require(bundle.counter == 0 || state.live == once.live);
            }
    }
}
