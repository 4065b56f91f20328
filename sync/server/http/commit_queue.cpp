// SPDX-License-Identifier: Apache-2.0
#include "server/http/commit_queue.hpp"

#include <exception>
#include <future>
#include <optional>
#include <utility>

#include "rapport/error.hpp"
#include "server/http/log.hpp"
#include "server/http/metrics.hpp"

namespace rapport::server {

namespace {

bool is_storage(ErrorCode code) {
    return code == ErrorCode::storage_failed || code == ErrorCode::storage_damaged ||
           code == ErrorCode::storage_busy || code == ErrorCode::storage_newer;
}

}  // namespace

CommitQueue::CommitQueue(Engine& engine, Bounds bounds,
                         std::function<void(const std::string&)> broken, http::Metrics* metrics)
    : engine_(engine),
      bounds_(bounds),
      broken_(std::move(broken)),
      metrics_(metrics),
      thread_([this] { work(); }) {}

CommitQueue::~CommitQueue() { close(); }

bool CommitQueue::submit(Engine::Call call, std::function<void(Outcome)> done) {
    {
        const std::lock_guard lock(mutex_);
        if (closed_ || items_.size() >= bounds_.calls_max ||
            bytes_ + call.archive.size() > bounds_.bytes_max)
            return false;
        bytes_ += call.archive.size();
        items_.push_back({std::move(call), std::move(done), {}});
    }
    filled_.notify_one();
    return true;
}

bool CommitQueue::post(std::function<void(Engine&)> job) {
    {
        const std::lock_guard lock(mutex_);
        if (closed_ || items_.size() >= bounds_.calls_max) return false;
        items_.push_back({{}, {}, std::move(job)});
    }
    filled_.notify_one();
    return true;
}

void CommitQueue::run(const std::function<void(Engine&)>& job) {
    // The failure crosses as plain values: an exception object belongs to the thread that threw it.
    struct Failure {
        ErrorCode code;
        std::string sentence;
        int detail;
    };
    std::promise<std::optional<Failure>> finished;
    {
        const std::lock_guard lock(mutex_);
        if (closed_) throw Error(ErrorCode::cancelled, "the server is stopping");
        items_.push_back({{}, {}, [&](Engine& engine) {
                              std::optional<Failure> failure;
                              try {
                                  job(engine);
                              } catch (const Error& error) {
                                  failure = {error.code(), error.what(), error.detail()};
                              } catch (const std::exception& error) {
                                  failure = {ErrorCode::internal, error.what(), 0};
                              }
                              const bool broken = failure && failure->code == ErrorCode::internal;
                              const std::string sentence =
                                  broken ? failure->sentence : std::string();
                              finished.set_value(std::move(failure));
                              if (broken) throw Error(ErrorCode::internal, sentence);
                          }});
    }
    filled_.notify_one();
    if (const auto failure = finished.get_future().get())
        throw Error(failure->code, failure->sentence, failure->detail);
}

std::size_t CommitQueue::waiting() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
}

void CommitQueue::close() {
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
    }
    filled_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void CommitQueue::work() {
    while (true) {
        const bool more = carry_on();
        std::vector<Item> taken;
        {
            std::unique_lock lock(mutex_);
            filled_.wait_for(lock, bounds_.look_every,
                             [&] { return closed_ || more || !items_.empty(); });
            if (items_.empty() && closed_) return;
            if (items_.empty()) continue;
            std::size_t bytes = 0;
            while (!items_.empty() && taken.size() < bounds_.commit_calls_max) {
                Item& next = items_.front();
                if (!taken.empty() && (next.job || taken.front().job ||
                                       bytes + next.call.archive.size() > bounds_.commit_bytes_max))
                    break;
                bytes += next.call.archive.size();
                taken.push_back(std::move(next));
                items_.pop_front();
            }
            bytes_ -= bytes;
        }
        try {
            if (taken.front().job)
                taken.front().job(engine_);
            else
                commit(std::move(taken));
        } catch (const std::exception& error) {
            broken_(error.what());
        }
    }
}

/// Returns whether there is more to move. What fails for the disk's sake is tried again after the
/// next call.
bool CommitQueue::carry_on() {
    try {
        return engine_.carry_on() > 0;
    } catch (const Error& error) {
        if (is_storage(error.code()))
            log::write(log::Level::error, "storage_failed",
                       {{"code", name_of(error.code())},
                        {"detail", error.detail()},
                        {"sentence", error.what()}});
        else
            broken_(error.what());
    } catch (const std::exception& error) {
        broken_(error.what());
    }
    return false;
}

void CommitQueue::commit(std::vector<Item> items) {
    std::vector<Engine::Call> calls;
    calls.reserve(items.size());
    for (Item& item : items) calls.push_back(std::move(item.call));
    std::vector<Engine::Answer> answers;
    const auto began = std::chrono::steady_clock::now();
    const auto took = [&] {
        return std::chrono::duration_cast<std::chrono::microseconds>(
            std::chrono::steady_clock::now() - began);
    };
    try {
        answers = engine_.sync(calls);
    } catch (const Error& error) {
        if (!is_storage(error.code())) throw;
        if (metrics_) metrics_->commit(took(), true);
        log::write(log::Level::error, "storage_failed",
                   {{"code", name_of(error.code())},
                    {"detail", error.detail()},
                    {"sentence", error.what()}});
        for (Item& item : items) item.done({{}, true});
        return;
    }
    if (answers.size() != items.size())
        throw Error(ErrorCode::internal, "the engine answered another number of calls");
    if (metrics_) {
        metrics_->commit(took(), false);
        for (const Engine::Answer& answer : answers) metrics_->answer(answer);
    }
    for (const Engine::Answer& answer : answers)
        if (answer.error_code == name_of(ErrorCode::internal))
            // Its savepoint is undone and the other calls stand: one request that meets a fault of
            // ours must not keep the server down for everybody.
            log::write(log::Level::error, "request_failed", {{"sentence", answer.error_sentence}});
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (answers[i].differing > 0)
            log::write(
                log::Level::warning, "device_differed",
                {{"writer", std::to_string(calls[i].writer)}, {"stretches", answers[i].differing}});
        items[i].done({std::move(answers[i]), false});
    }
}

}  // namespace rapport::server
