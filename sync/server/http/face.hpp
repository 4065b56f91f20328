// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "model/limits.hpp"
#include "rapport/environment.hpp"
#include "server/http/commit_queue.hpp"
#include "server/http/listener.hpp"
#include "server/storage.hpp"

namespace rapport::server::http {

/// What the server answers on each path: POST /v1/sync and /v1/enrol for devices, GET /v1/feed for
/// programs, GET /healthz and /readyz for whoever watches it. Knows no socket.
///
/// Ownership: borrows all.  Thread-safety: thread-safe.
class Face : public Handler {
public:
    /// `erasures` may be null.
    Face(Storage& storage, Environment& environment, CommitQueue& queue, const Limits& limits,
         const Erasures* erasures = nullptr);

    Admission admit(const Head& head) override;
    void handle(Request request, std::function<void(Response)> done) override;

    /// From now on /readyz says no, so that nobody new is sent here.
    void drain() { draining_ = true; }

private:
    void sync(Request request, std::function<void(Response)> done);
    void enrol(const Request& request, std::function<void(Response)> done);
    Response feed(const Request& request);
    Response ready();

    Storage& storage_;
    Environment& environment_;
    CommitQueue& queue_;
    const Erasures* const erasures_;
    const std::size_t archive_bytes_max_;
    std::atomic<bool> draining_{false};
};

}  // namespace rapport::server::http
