// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/engine.hpp"

namespace rapport::server {

namespace http {
class Metrics;
}

/// The one thread that runs the engine. Syncs that wait at the same time share one durable commit,
/// so that a server with many devices is not bound by how often its disk can flush; what an
/// administrator does goes through the same thread in between, and so do records that still follow
/// a customer to another territory, and what changes by the time alone, one bounded commit at a
/// time.
///
/// Ownership: borrows engine and metrics; the destructor finishes what was taken.  Thread-safety:
/// thread-safe.
class CommitQueue {
public:
    struct Bounds {
        std::size_t calls_max = 256;              ///< waiting
        std::size_t bytes_max = 64U << 20;        ///< of archives waiting
        std::size_t commit_calls_max = 64;        ///< in one commit
        std::size_t commit_bytes_max = 8U << 20;  ///< in one commit, but never fewer than one call
        std::chrono::milliseconds look_every{
            60'000};  ///< for what changes by the time alone, while nobody calls
    };
    /// What became of a call.
    struct Outcome {
        Engine::Answer answer;
        bool storage_failed = false;  ///< nothing of the call happened; it may be repeated
    };

    /// `broken` is called on the queue's thread, with a sentence, when a rule of our own was broken
    /// (Error internal or any exception that is not an Error): the process must stop before it
    /// writes bad data. Calls are not answered then.
    /// `metrics` counts what is done and may be null.
    CommitQueue(Engine& engine, Bounds bounds,
                std::function<void(const std::string& sentence)> broken,
                http::Metrics* metrics = nullptr);
    ~CommitQueue();
    CommitQueue(const CommitQueue&) = delete;
    CommitQueue& operator=(const CommitQueue&) = delete;

    /// Takes a call, and later calls `done` once on the queue's thread. False: full or closed,
    /// `done` is not called.
    bool submit(Engine::Call call, std::function<void(Outcome)> done);
    /// Runs `job` with the engine between two commits and returns when it is done; an Error it
    /// throws, this throws. Throws Error(cancelled) when the queue is closed.
    void run(const std::function<void(Engine&)>& job);
    /// The same without waiting: `job` must not throw. False: full or closed.
    bool post(std::function<void(Engine&)> job);

    /// Calls and jobs that have not begun.
    std::size_t waiting() const;

    /// Takes nothing new, finishes what is queued, and ends the thread. Harmless to repeat.
    void close();

private:
    struct Item {
        Engine::Call call;
        std::function<void(Outcome)> done;
        std::function<void(Engine&)> job;  ///< instead of a call
    };
    void work();
    void commit(std::vector<Item> items);
    bool carry_on();

    Engine& engine_;
    const Bounds bounds_;
    const std::function<void(const std::string&)> broken_;
    http::Metrics* const metrics_;
    mutable std::mutex mutex_;
    std::condition_variable filled_;
    std::deque<Item> items_;
    std::size_t bytes_ = 0;
    bool closed_ = false;
    std::thread thread_;
};

}  // namespace rapport::server
