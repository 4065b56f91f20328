// SPDX-License-Identifier: Apache-2.0
#include "server/http/metrics.hpp"

namespace rapport::server::http {
namespace {

/// One metric: its name with the lines that describe it, then its samples.
class Page {
public:
    void begin(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        out_.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
        out_.append(name).append(" ").append(type).append("\n");
    }
    void sample(std::uint64_t value, std::string_view labels = {}, std::string_view suffix = {}) {
        sample(std::to_string(value), labels, suffix);
    }
    void sample(const std::string& value, std::string_view labels, std::string_view suffix) {
        out_.append(name_).append(suffix);
        if (!labels.empty()) out_.append("{").append(labels).append("}");
        out_.append(" ").append(value).append("\n");
    }
    void only(std::string_view name, std::string_view type, std::string_view help,
              std::uint64_t value) {
        begin(name, type, help);
        sample(value);
    }
    std::string take() { return std::move(out_); }

private:
    std::string out_, name_;
};

std::string label(std::string_view name, std::string_view value) {
    return std::string(name).append("=\"").append(value).append("\"");
}

std::string seconds(std::uint64_t microseconds) {
    const std::string below = std::to_string(microseconds % 1'000'000);
    return std::to_string(microseconds / 1'000'000) + '.' + std::string(6 - below.size(), '0') +
           below;
}

}  // namespace

void Metrics::request(std::string_view path, int status, std::size_t bytes_in,
                      std::size_t bytes_out) {
    const std::lock_guard lock(mutex_);
    ++requests_[{std::string(path), status}];
    bytes_in_ += bytes_in;
    bytes_out_ += bytes_out;
}

void Metrics::answer(const Engine::Answer& answer) {
    const std::lock_guard lock(mutex_);
    for (const Verdict verdict : answer.verdicts) ++bundles_.at(static_cast<std::size_t>(verdict));
    compared_ += answer.compared ? 1 : 0;
    stretches_ += answer.differing;
    records_ += answer.differing_records;
    recovered_ += answer.recovered ? 1 : 0;
    forked_ += answer.forked ? 1 : 0;
}

void Metrics::commit(std::chrono::microseconds took, bool failed) {
    const std::lock_guard lock(mutex_);
    if (failed) {
        ++commits_failed_;
        return;
    }
    ++commits_;
    commit_us_ += static_cast<std::uint64_t>(took.count());
    for (std::size_t i = 0; i < kCommitMicroseconds.size(); ++i)
        if (took.count() <= kCommitMicroseconds[i]) ++commits_up_to_[i];
}

std::string Metrics::text(const Now& now) const {
    const std::lock_guard lock(mutex_);
    Page page;
    page.begin("rapport_requests_total", "counter", "Requests answered, by path and HTTP status.");
    for (const auto& [of, count] : requests_)
        page.sample(count,
                    label("path", of.first) + "," + label("status", std::to_string(of.second)));
    page.only("rapport_request_body_bytes_total", "counter", "Bytes of request bodies.", bytes_in_);
    page.only("rapport_response_body_bytes_total", "counter", "Bytes of response bodies.",
              bytes_out_);
    page.begin("rapport_bundles_total", "counter", "Verdicts told to devices, repeats included.");
    for (const auto& [name, verdict] :
         {std::pair{"applied", Verdict::applied}, std::pair{"refused", Verdict::refused},
          std::pair{"later", Verdict::later}, std::pair{"review", Verdict::review}})
        page.sample(bundles_.at(static_cast<std::size_t>(verdict)), label("verdict", name));
    page.only("rapport_comparisons_total", "counter",
              "Requests in which a device had what it holds compared.", compared_);
    page.only("rapport_stretches_differing_total", "counter",
              "Compared stretches of at most 500 records that a device held otherwise.",
              stretches_);
    page.only("rapport_records_resent_total", "counter",
              "Records sent because the stretch they are in differed.", records_);
    page.only("rapport_recoveries_total", "counter",
              "Devices that brought back what this server had lost by a restored backup.",
              recovered_);
    page.only("rapport_forks_total", "counter",
              "Device files that go on as another device, being restored or copied.", forked_);
    page.only("rapport_connections", "gauge", "Open connections.", now.connections);
    page.only("rapport_calls_waiting", "gauge", "Requests and commands that wait for a commit.",
              now.calls_waiting);
    page.only("rapport_commits_failed_total", "counter", "Commits that the storage did not take.",
              commits_failed_);
    page.begin("rapport_commit_seconds", "histogram", "Time of a commit of syncs.");
    for (std::size_t i = 0; i < kCommitMicroseconds.size(); ++i)
        page.sample(commits_up_to_[i],
                    label("le", seconds(static_cast<std::uint64_t>(kCommitMicroseconds[i]))),
                    "_bucket");
    page.sample(commits_, label("le", "+Inf"), "_bucket");
    page.sample(seconds(commit_us_), {}, "_sum");
    page.sample(commits_, {}, "_count");
    return page.take();
}

}  // namespace rapport::server::http
