// SPDX-License-Identifier: Apache-2.0
#include "sim/reduce.hpp"

#include <algorithm>

#include "sim/simulation.hpp"

namespace rapport::sim {
namespace {

bool breaks(const Plan& plan, const std::string& violated) {
    return simulate(plan).violated == violated;
}

Plan without(const Plan& plan, std::size_t from, std::size_t to) {
    Plan rest{plan.seed, {}};
    for (std::size_t i = 0; i < plan.events.size(); ++i)
        if (i < from || i >= to) rest.events.push_back(plan.events[i]);
    return rest;
}

}  // namespace

Plan reduced(const Plan& plan, const std::string& violated) {
    Plan best = plan;
    // Nothing after the event that broke it matters.
    const Report report = simulate(best);
    for (std::size_t i = 0; i < best.events.size(); ++i)
        if (best.events[i].number == report.event) {
            // A sync has run events behind it.
            for (std::size_t end = i + 1; end <= std::min(i + 6, best.events.size()); ++end) {
                Plan head{
                    best.seed,
                    {best.events.begin(), best.events.begin() + static_cast<std::ptrdiff_t>(end)}};
                if (!breaks(head, violated)) continue;
                best = head;
                break;
            }
            break;
        }
    for (std::size_t span = std::max<std::size_t>(best.events.size() / 2, 1);;) {
        bool smaller = false;
        for (std::size_t end = best.events.size(); end > 0;) {
            const std::size_t from = end > span ? end - span : 0;
            Plan candidate = without(best, from, end);
            if (breaks(candidate, violated)) {
                best = std::move(candidate);
                smaller = true;
            }
            end = from;
        }
        if (span == 1 && !smaller) return best;
        if (span > 1) span = std::max<std::size_t>(span / 2, 1);
    }
}

}  // namespace rapport::sim
