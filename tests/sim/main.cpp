// SPDX-License-Identifier: Apache-2.0
// The simulator as a program; tests/sim/run.sh and planted.sh speak to it.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>

#include "model/planted.hpp"
#include "sim/reduce.hpp"
#include "sim/simulation.hpp"

using namespace rapport::sim;

namespace {

struct Arguments {
    std::uint64_t seeds = 0, seed = 1, step = 1;
    double minutes = 0;
    std::string plan, out = ".", with;
    bool reduce = false, log = false, twice = false, print = false, keep_going = false,
         plain = false;
};

int usage() {
    std::fputs(
        "simulate --seeds N [--seed FIRST] [--step K] [--minutes M] [--out FOLDER] [--keep-going]\n"
        "    runs seeds FIRST, FIRST + K, ...; a seed that fails is reduced and written to FOLDER\n"
        "simulate --plan FILE|FOLDER [--log] [--reduce]   replays what was kept\n"
        "simulate --print --seed S                        prints the plan of a seed\n"
        "simulate --seeds N --twice                       each seed twice: the same trace\n"
        "    --plain leaves out what somebody has to recover from: restores, copies\n"
        "    --with VERB passes over seeds whose plan has no such event\n"
        "    --planted NAME with any of them: the library has this bug (planted.sh)\n",
        stderr);
    return 2;
}

void plant(const std::string& name) {
#ifdef RAPPORT_PLANTED_BUGS
    rapport::planted_bug = name;
#else
    throw std::runtime_error("this build leaves the planted bugs out: " + name);
#endif
}

std::string read(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    if (!in) throw std::runtime_error("cannot read " + path.string());
    return text.str();
}

void write_plan(const std::filesystem::path& path, const Plan& plan, const Report& report) {
    std::ofstream(path) << "# " << report.violated << "\n# " << report.sentence << "\n"
                        << plan.text();
}

void tell(const Report& report, const std::string& name) {
    std::printf("%s: `%s` does not hold at event %u: %s\n", name.c_str(), report.violated.c_str(),
                report.event, report.sentence.c_str());
    std::fflush(stdout);
}

int replay(const Arguments& arguments) {
    std::vector<std::filesystem::path> files;
    if (std::filesystem::is_directory(arguments.plan)) {
        for (const auto& entry : std::filesystem::directory_iterator(arguments.plan))
            if (entry.path().extension() == ".plan") files.push_back(entry.path());
        std::sort(files.begin(), files.end());
    } else {
        files.emplace_back(arguments.plan);
    }
    int failed = 0;
    for (const auto& file : files) {
        const Plan plan = Plan::parse(read(file));
        const Report report = simulate(plan, arguments.log ? &std::cout : nullptr);
        if (report.violated.empty()) continue;
        ++failed;
        tell(report, file.filename().string());
        if (arguments.reduce)
            write_plan(file.string() + ".reduced", reduced(plan, report.violated), report);
    }
    std::printf("%zu plans, %d failed\n", files.size(), failed);
    return failed == 0 ? 0 : 1;
}

int run(const Arguments& arguments) {
    const auto started = std::chrono::steady_clock::now();
    std::map<std::string, std::pair<long, long>> struck;  // times, in how many seeds
    std::uint64_t ran = 0, failed = 0, events = 0;
    for (std::uint64_t i = 0; i < arguments.seeds; ++i) {
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started;
        if (arguments.minutes > 0 && spent.count() > arguments.minutes * 60) break;
        const std::uint64_t seed = arguments.seed + i * arguments.step;
        const Plan plan = Plan::drawn_from(seed, arguments.plain);
        if (!arguments.with.empty() &&
            std::none_of(plan.events.begin(), plan.events.end(),
                         [&](const Event& event) { return event.verb == arguments.with; }))
            continue;
        const Report report = simulate(plan, arguments.log ? &std::cout : nullptr);
        ++ran;
        events += plan.events.size();
        for (const auto& [fault, times] : report.struck) {
            struck[fault].first += times;
            ++struck[fault].second;
        }
        if (arguments.twice && simulate(plan).trace != report.trace) {
            std::printf("seed %llu: the second run was another one\n",
                        static_cast<unsigned long long>(seed));
            return 1;
        }
        if (report.violated.empty()) continue;
        ++failed;
        tell(report, "seed " + std::to_string(seed));
        if (arguments.reduce) {
            const Plan small = reduced(plan, report.violated);
            const auto path =
                std::filesystem::path(arguments.out) / ("seed-" + std::to_string(seed) + ".plan");
            write_plan(path, small, simulate(small));
            std::printf("  reduced from %zu to %zu events: %s\n", plan.events.size(),
                        small.events.size(), path.c_str());
        }
        if (!arguments.keep_going) break;
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started;
    std::printf("%-45s %9s %7s\n", "fault", "struck", "seeds");
    for (const std::string& fault : fault_classes())
        std::printf("%-45s %9ld %7ld\n", fault.c_str(), struck[fault].first, struck[fault].second);
    std::printf("%llu seeds, %llu events, %.0f s, %llu failed\n",
                static_cast<unsigned long long>(ran), static_cast<unsigned long long>(events),
                spent.count(), static_cast<unsigned long long>(failed));
    return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
    Arguments a;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        const auto value = [&]() -> std::string {
            if (++i == argc) throw std::runtime_error(name + " needs a value");
            return argv[i];
        };
        if (name == "--seeds")
            a.seeds = std::stoull(value());
        else if (name == "--seed")
            a.seed = std::stoull(value());
        else if (name == "--step")
            a.step = std::stoull(value());
        else if (name == "--minutes")
            a.minutes = std::stod(value());
        else if (name == "--plan")
            a.plan = value();
        else if (name == "--out")
            a.out = value();
        else if (name == "--reduce")
            a.reduce = true;
        else if (name == "--planted")
            plant(value());
        else if (name == "--plain")
            a.plain = true;
        else if (name == "--with")
            a.with = value();
        else if (name == "--log")
            a.log = true;
        else if (name == "--twice")
            a.twice = true;
        else if (name == "--print")
            a.print = true;
        else if (name == "--keep-going")
            a.keep_going = true;
        else
            return usage();
    }
    if (a.print) {
        std::fputs(Plan::drawn_from(a.seed, a.plain).text().c_str(), stdout);
        return 0;
    }
    if (!a.plan.empty()) return replay(a);
    return a.seeds > 0 ? run(a) : usage();
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
}
