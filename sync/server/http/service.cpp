// SPDX-License-Identifier: Apache-2.0
#include "server/http/service.hpp"

#include <utility>

namespace rapport::server::http {

Service::Service(Storage& storage, Environment& environment, const ListenerOptions& options,
                 std::function<void(const std::string&)> broken, const CommitQueue::Bounds& bounds,
                 Erasures* erasures, std::string metrics_token)
    : engine_(storage, environment, {}, kHorizonDays, erasures),
      queue_(engine_, bounds, std::move(broken), &metrics_),
      face_(storage, environment, queue_, engine_.limits(),
            {metrics_, std::move(metrics_token), [this] { return listener_.connections(); }},
            erasures),
      listener_(options, face_) {}

Service::~Service() { stop(std::chrono::milliseconds(0)); }

void Service::stop(std::chrono::milliseconds grace) {
    face_.drain();
    listener_.stop(grace);
    queue_.close();  // before the listener goes, because the last answers are handed to it
}

}  // namespace rapport::server::http
