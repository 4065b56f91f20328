// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "support/chance.hpp"

/// What the figures are measured with: the same customers, visits, complaints and wishes for the
/// same seed.
namespace rapport::bench {

/// German sentences from a word list, drawn by how often people use the words, so that they
/// compress as notes do.
std::string german_text(test::Chance& chance, std::size_t characters);

struct Corpus {
    std::vector<RecordEdit> customers;  ///< one per 150 records and ten more
    std::vector<RecordEdit>
        records;  ///< 60 % visits with a note of 300 characters, 20 % complaints, 20 % wishes
    std::size_t json_bytes = 0;  ///< of the records as canonical JSON lines
    std::size_t text_bytes = 0;  ///< of their searched fields
};
Corpus make_corpus(std::uint64_t seed, std::size_t records);

/// The edit as the record it creates.
Record record_of(const RecordEdit& edit);

}  // namespace rapport::bench
