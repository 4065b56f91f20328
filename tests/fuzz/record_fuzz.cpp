// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "model/json.hpp"
#include "model/state.hpp"

// What was read as a record means the same when it is written again, and can be shown.
void rapport::fuzz::run(std::string_view input) {
    const RecordState state = decode_record(input);
    require(encode_record(decode_record(encode_record(state))) == encode_record(state));
    conflicted(state);
    const Record record = show(state);
    if (record.kind) to_json(record);
}
