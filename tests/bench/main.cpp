// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/figures.hpp"
#include "server/http/log.hpp"

namespace rapport::bench {

using Json = nlohmann::ordered_json;

void print(const Figure& f) {
    const auto rounded = [](double v) {
        return std::stod((std::ostringstream() << std::setprecision(5) << v).str());
    };
    const auto number = [&](const std::optional<double>& v) {
        return v ? Json(rounded(*v)) : Json();
    };
    Json line{{"figure", f.name},
              {"value", number(f.value)},
              {"unit", f.unit},
              {"floor", number(f.floor)},
              {"ratio", number(f.ratio)},
              {"target", f.target},
              {"met", f.met ? Json(*f.met) : Json()}};
    if (f.pairs > 0) line["pairs"] = f.pairs;
    if (!f.note.empty()) line["note"] = f.note;
    std::cout << line.dump() << std::endl;
}

namespace {

std::string shown(double v) { return (std::ostringstream() << std::setprecision(6) << v).str(); }

}  // namespace

void print_at_most(std::string name, double value, std::string unit, double most,
                   std::string note) {
    const std::string target = "<= " + shown(most) + ' ' + unit;
    print({std::move(name),
           value,
           std::move(unit),
           {},
           {},
           target,
           value <= most,
           0,
           std::move(note)});
}

void print_ratio(std::string name, const Pairs& pairs, double scale, std::string unit, double most,
                 std::string note) {
    print({std::move(name), pairs.ours * scale, std::move(unit), pairs.floor * scale, pairs.ratio,
           "<= " + shown(most) + "x", pairs.ratio <= most, pairs.count, std::move(note)});
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void library_figures(const std::string& own, const std::string& linked) {
    const auto size = [](const char* name, const std::string& path, double most) {
        const std::string target = "<= " + shown(most) + " KiB";
        if (path.empty())
            return print({name, {}, "KiB", {}, {}, target, {}, 0, "not built with this build"});
        print_at_most(name, static_cast<double>(std::filesystem::file_size(path)) / 1024, "KiB",
                      most, "built with MinSizeRel");
    };
    size("library_own_code", own, 1024);
    size("library_with_sqlite_and_zstd", linked, 3072);
}

namespace {

std::map<std::string, Json> figures_in(const std::string& path) {
    std::map<std::string, Json> figures;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);)
        if (!line.empty() && line.front() == '{') {
            const Json figure = Json::parse(line);
            figures.emplace(figure.at("figure").get<std::string>(), figure);
        }
    return figures;
}

/// Times hang on the machine, so they are compared by their ratio to the floor; counts and bytes as
/// they are.
int compare(const std::string& baseline, const std::string& now) {
    std::size_t worse = 0, compared = 0;
    const auto before = figures_in(baseline);
    for (const auto& [name, figure] : figures_in(now)) {
        const auto old = before.find(name);
        if (old == before.end()) continue;
        const char* const by = figure.at("ratio").is_null() ? "value" : "ratio";
        const std::string unit = figure.at("unit").get<std::string>();
        if (figure.at(by).is_null() || old->second.at(by).is_null()) continue;
        if (by[0] == 'v' && (unit == "ms" || unit == "s")) continue;
        ++compared;
        const double was = old->second.at(by).get<double>(), is = figure.at(by).get<double>();
        const bool higher_is_better = unit == "records";
        if (higher_is_better ? is >= was * 0.8 : is <= was * 1.2) continue;
        ++worse;
        std::cout << name << " got worse: " << by << ' ' << shown(was) << " -> " << shown(is)
                  << '\n';
    }
    std::cout << compared << " figures compared with the baseline, " << worse
              << " of them 20 % worse or more\n";
    return 0;
}

/// What `--only` names.
const std::map<std::string, void (*)(const Sizes&)> kGroups{
    {"capture", capture_figures},  {"import", import_figures}, {"reading", reading_figures},
    {"upload", upload_figures},    {"small", small_figures},   {"growth", growth_figures},
    {"offline", conflict_figures}, {"memory", memory_figures}};

int run(const std::vector<std::string>& arguments) {
    const auto is = [&](std::size_t at, std::string_view text) {
        return arguments.size() > at && arguments[at] == text;
    };
    if (is(0, "memory") && arguments.size() == 2) return measure_memory(arguments[1]);
    if (is(0, "compare") && arguments.size() == 3) return compare(arguments[1], arguments[2]);
    server::log::only_from(server::log::Level::error);
    Sizes sizes{11, 200, 100'000, 10'000, 100'000, 1'000, 100'000, {1'000, 100'000, 1'000'000}};
    std::string own, linked, only;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (is(i, "--quick"))
            sizes = {5, 100, 10'000, 4'000, 10'000, 1'000, 10'000, {1'000, 10'000}};
        else if (is(i, "--tiny"))
            sizes = {1, 5, 60, 60, 60, 20, 60, {40, 80}};
        else if (is(i, "--only") && i + 1 < arguments.size() && kGroups.count(arguments[i + 1]) > 0)
            only = arguments[++i];
        else if (is(i, "--libraries") && i + 2 < arguments.size())
            own = arguments[i + 1], linked = arguments[i + 2], i += 2;
        else
            return std::cerr << "usage: rapport_bench [--quick | --tiny] [--only GROUP] "
                                "[--libraries OWN LINKED]\n",
                   2;
    }
    for (const auto& [name, figures] : kGroups)
        if (only.empty() || only == name) figures(sizes);
    if (only.empty()) library_figures(own, linked);
    return 0;
}

}  // namespace
}  // namespace rapport::bench

int main(int argc, char** argv) {
    try {
        return rapport::bench::run({argv + 1, argv + argc});
    } catch (const std::exception& e) {
        std::cerr << "rapport_bench: " << e.what() << '\n';
        return 2;
    }
}
