// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "rapport/environment.hpp"
#include "server/engine.hpp"
#include "server/http/commit_queue.hpp"
#include "server/http/face.hpp"
#include "server/http/listener.hpp"
#include "server/http/metrics.hpp"
#include "server/storage.hpp"

namespace rapport::server::http {

/// A running server: one engine on its own thread, the face over it, and the sockets before it.
///
/// Ownership: borrows storage, environment and erasure orders.  Thread-safety: thread-safe.
class Service {
public:
    /// Listens at once, answers from run() on. `broken` as for CommitQueue. Errors: those of
    /// Listener. Who presents `metrics_token` reads GET /metrics; empty: nobody.
    Service(Storage& storage, Environment& environment, const ListenerOptions& options,
            std::function<void(const std::string& sentence)> broken,
            const CommitQueue::Bounds& bounds = {}, Erasures* erasures = nullptr,
            std::string metrics_token = {});
    ~Service();

    std::uint16_t port() const { return listener_.port(); }
    std::size_t connections() const { return listener_.connections(); }
    /// The engine's thread, for what an administrator does.
    CommitQueue& queue() { return queue_; }

    void run() { listener_.run(); }
    /// Takes nobody new, finishes what is under way for at most `grace`, then what is queued.
    /// Harmless to repeat.
    void stop(std::chrono::milliseconds grace);

private:
    Engine engine_;
    Metrics metrics_;
    CommitQueue queue_;
    Face face_;
    Listener listener_;
};

}  // namespace rapport::server::http
