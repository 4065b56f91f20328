// SPDX-License-Identifier: Apache-2.0
// Whether the schema means what it should, tests/e2e/backend_test.cpp asks a validator.
#include "model/json_schema.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "support/golden.hpp"

using namespace rapport;

TEST_CASE("the checked-in schema is what this build prints") {
    // After a change of fields: rapport schema > tests/golden/records.schema.json
    CHECK(json_schema(all_kinds()) == test::golden("records.schema.json"));
}

TEST_CASE("every field of every kind is in the schema, in the order of its list") {
    const auto schema = nlohmann::ordered_json::parse(json_schema(all_kinds()));
    CHECK(schema["$defs"]["record"]["properties"]["kind"]["enum"].size() == all_kinds().size());
    for (const Kind* kind : all_kinds()) {
        CAPTURE(kind->name);
        std::vector<std::string> listed, described;
        for (const Field& field : kind->fields) listed.push_back(field.name);
        for (const auto& [name, field] : schema["$defs"][kind->name]["properties"].items())
            described.push_back(name);
        CHECK(described == listed);
    }
}

TEST_CASE("a schema of one kind knows no other") {
    const auto schema = nlohmann::json::parse(json_schema({kind_named("visit")}));
    CHECK(schema["$defs"].contains("visit"));
    CHECK_FALSE(schema["$defs"].contains("complaint"));
    CHECK(schema["$defs"]["record"]["properties"]["kind"]["enum"] == nlohmann::json{"visit"});
}
