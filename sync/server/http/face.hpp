// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "model/limits.hpp"
#include "rapport/environment.hpp"
#include "server/http/commit_queue.hpp"
#include "server/http/listener.hpp"
#include "server/http/metrics.hpp"
#include "server/storage.hpp"

namespace rapport::server::http {

/// What the server answers on each path: POST /v1/sync and /v1/enrol for devices, GET /v1/feed for
/// programs, GET /healthz, /readyz and /metrics for whoever watches it. Knows no socket.
///
/// Ownership: borrows all.  Thread-safety: thread-safe.
class Face : public Handler {
public:
    /// What /metrics tells, and to whom; with an empty token to nobody.
    struct Watch {
        Metrics& metrics;
        std::string token;
        std::function<std::size_t()> connections;
    };
    /// `erasures` may be null.
    Face(Storage& storage, Environment& environment, CommitQueue& queue, const Limits& limits,
         Watch watch, const Erasures* erasures = nullptr);

    Admission admit(const Head& head) override;
    void handle(Request request, std::function<void(Response)> done) override;
    void answered(std::string_view path, int status, std::size_t bytes_in,
                  std::size_t bytes_out) override;

    /// From now on /readyz says no, so that nobody new is sent here.
    void drain() { draining_ = true; }

private:
    void sync(Request request, std::function<void(Response)> done);
    void enrol(const Request& request, std::function<void(Response)> done);
    Response feed(const Request& request);
    Response ready();
    Response metrics(const Request& request);

    Storage& storage_;
    Environment& environment_;
    CommitQueue& queue_;
    const Watch watch_;
    const std::string token_hash_;  ///< of the token of /metrics; empty: there is no such path
    const Erasures* const erasures_;
    const std::size_t archive_bytes_max_;
    std::atomic<bool> draining_{false};
};

}  // namespace rapport::server::http
