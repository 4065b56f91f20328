// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/corpus.hpp"
#include "bench/floor.h"

namespace rapport::bench {

/// How much work goes into each figure.
struct Sizes {
    std::size_t pairs, captures, import, sync, open, conflicts, memory;
    std::vector<std::size_t> stores;  ///< records in the store while ten of them are edited
};

struct Figure {
    std::string name;
    std::optional<double> value;  ///< none: this build has nothing to measure
    std::string unit;
    std::optional<double> floor;  ///< what the same work cost by hand, in the same unit
    std::optional<double> ratio;
    std::string target;
    std::optional<bool> met;
    std::size_t pairs = 0;  ///< interleaved runs of floor and ours of which these are the medians
    std::string note;
};
/// One JSON line on stdout, now.
void print(const Figure& figure);
/// `value` at most `most`.
void print_at_most(std::string name, double value, std::string unit, double most,
                   std::string note = {});

double median(std::vector<double> values);

template <class Work>
double seconds(Work work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Floor, ours, floor, ours, ...: what disturbs the machine disturbs both.
struct Pairs {
    double floor = 0, ours = 0, ratio = 0;
    std::size_t count = 0;
};
template <class Floor, class Ours>
Pairs interleaved(std::size_t pairs, Floor floor, Ours ours) {
    std::vector<double> floors, all_ours, ratios;
    for (std::size_t i = 0; i < pairs; ++i) {
        floors.push_back(floor());
        all_ours.push_back(ours());
        ratios.push_back(all_ours.back() / floors.back());
    }
    return {median(floors), median(all_ours), median(ratios), pairs};
}
void print_ratio(std::string name, const Pairs& pairs, double scale, std::string unit, double most,
                 std::string note = {});

// ---- the rows of the table

void capture_figures(const Sizes& sizes);
void import_figures(const Sizes& sizes);
void reading_figures(const Sizes& sizes);
void upload_figures(const Sizes& sizes);
void small_figures(const Sizes& sizes);
void growth_figures(const Sizes& sizes);
void conflict_figures(const Sizes& sizes);
void memory_figures(const Sizes& sizes);
/// The process that `memory_figures` starts for its memory: syncs `file` and prints KiB idle and at
/// most.
int measure_memory(const std::string& file);
/// Bytes of the two stripped libraries; a path that is empty has not been built.
void library_figures(const std::string& own, const std::string& linked);

/// The kinds of which the corpus is made, as the floor reads them.
floor_rows* rows_of(const std::string& device_file);
/// Captures in bundles of that many records. Ends the process if one is refused.
void capture_all(Store& store, const std::vector<RecordEdit>& edits, std::size_t per_bundle);

}  // namespace rapport::bench
