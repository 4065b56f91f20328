// SPDX-License-Identifier: Apache-2.0
#include "server/http/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace rapport::server::log {

namespace {

spdlog::logger& logger() {
    static const std::shared_ptr<spdlog::logger> instance = [] {
        auto made = std::make_shared<spdlog::logger>(
            "rapportd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        made->set_formatter(std::make_unique<spdlog::pattern_formatter>(
            R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})", spdlog::pattern_time_type::utc));
        made->flush_on(spdlog::level::info);
        return made;
    }();
    return *instance;
}

spdlog::level::level_enum level_of(Level level) {
    switch (level) {
        case Level::info:
            return spdlog::level::info;
        case Level::warning:
            return spdlog::level::warn;
        case Level::error:
            break;
    }
    return spdlog::level::err;
}

}  // namespace

Value::Value(std::string_view text)
    : json(nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {}

void write(Level level, std::string_view event,
           std::initializer_list<std::pair<std::string_view, Value>> members) {
    std::string line = "\"event\":" + Value(event).json;
    for (const auto& [name, value] : members) line += "," + Value(name).json + ":" + value.json;
    logger().log(level_of(level), line);
}

void only_from(Level level) { logger().set_level(level_of(level)); }

}  // namespace rapport::server::log
