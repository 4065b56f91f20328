// SPDX-License-Identifier: Apache-2.0
#include "fuzz.hpp"
#include "model/json.hpp"

// One line of an import, as a person or a program may write it.
void rapport::fuzz::run(std::string_view input) {
    const ImportLine line =
        parse_import_line(input, [](std::string_view reference) -> std::optional<RecordId> {
            if (reference == "@c1") return RecordId{{1}};
            return std::nullopt;
        });
    if (line.refusals.empty() && line.record.kind) to_json(line.record);
}
