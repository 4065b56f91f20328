// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/chance.hpp"

namespace rapport::test {

/// A bad network between programs of this machine and a server on it: TCP in, TCP out, and what
/// happens to a connection is drawn from a seed when it is made.
///
/// Half of the connections get through; of the others some are slow to answer, some narrow, some
/// are cut at a byte of either direction, and some lose the answer after the server has taken the
/// request.  Thread-safety: thread-safe.
class FaultProxy {
public:
    FaultProxy(int to_port, std::uint64_t seed)
        : to_port_(to_port),
          chance_(seed),
          listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address = loopback(0);
        socklen_t size = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 64) != 0 ||
            ::getsockname(listener_, generic, &size) != 0)
            throw std::runtime_error("no free port");
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    FaultProxy(const FaultProxy&) = delete;
    FaultProxy& operator=(const FaultProxy&) = delete;
    ~FaultProxy() {
        ending_ = true;
        acceptor_.join();
        for (std::thread& thread : connections_) thread.join();
        ::close(listener_);
    }

    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
    /// While calm everything gets through at once.
    void calm(bool on) { calm_ = on; }
    /// So many requests are let through from now on; those after them meet a closed connection.
    void allow(int requests) { allowed_ = requests; }
    /// What has come back to the clients, in the order of its connections' pieces.
    std::string answers() const {
        const std::lock_guard lock(mutex_);
        return answers_;
    }
    void forget_answers() {
        const std::lock_guard lock(mutex_);
        answers_.clear();
    }
    /// How many connections met with what.
    std::map<std::string, int> struck() const {
        const std::lock_guard lock(mutex_);
        return struck_;
    }

private:
    struct Fate {
        int delay_ms = 0;                  // before each piece
        std::size_t piece_max = 65536;     // bytes
        std::size_t cut_after = SIZE_MAX;  // bytes of both directions
        bool loses_answer = false;
    };

    static sockaddr_in loopback(int port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    Fate draw() {
        const std::lock_guard lock(mutex_);
        Fate fate;
        if (calm_) return fate;
        const auto below = [this](std::uint32_t n) { return chance_() % n; };
        switch (below(10)) {
            case 0:
            case 1:
                fate.delay_ms = 1 + static_cast<int>(below(20));
                ++struck_["delayed"];
                break;
            case 2:
                fate.piece_max = 64 + below(1024);
                fate.delay_ms = 1;
                ++struck_["narrow"];
                break;
            case 3:
                fate.cut_after = below(3000);
                ++struck_["cut"];
                break;
            case 4:
                fate.loses_answer = true;
                ++struck_["answer lost"];
                break;
            default:
                ++struck_["let through"];
        }
        return fate;
    }

    void accept_all() {
        pollfd waiting{listener_, POLLIN, 0};
        while (!ending_) {
            if (::poll(&waiting, 1, 50) <= 0) continue;
            const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) continue;
            connections_.emplace_back([this, client, fate = draw()] { carry(client, fate); });
        }
    }

    void carry(int client, Fate fate) {
        const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const sockaddr_in address = loopback(to_port_);
        if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
            std::array<pollfd, 2> ends{{{client, POLLIN, 0}, {server, POLLIN, 0}}};
            bool open = true;
            while (open && !ending_) {
                if (::poll(ends.data(), ends.size(), 50) <= 0) continue;
                for (std::size_t i = 0; open && i < ends.size(); ++i)
                    if (ends[i].revents != 0) open = pass(ends[i].fd, ends[1 - i].fd, i == 1, fate);
            }
        }
        ::close(server);
        ::close(client);
    }

    bool pass(int from, int to, bool is_answer, Fate& fate) {
        std::array<char, 65536> bytes;
        const ssize_t got = ::recv(from, bytes.data(), std::min(fate.piece_max, bytes.size()), 0);
        if (got <= 0 || (is_answer && fate.loses_answer)) return false;
        const std::string_view piece(bytes.data(), static_cast<std::size_t>(got));
        if (is_answer) {
            const std::lock_guard lock(mutex_);
            answers_ += piece;
        } else if (piece.substr(0, 5) == "POST " && allowed_-- <= 0) {
            return false;
        }
        if (fate.delay_ms > 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(fate.delay_ms));
        const auto count = std::min(static_cast<std::size_t>(got), fate.cut_after);
        for (std::size_t done = 0; done < count;) {
            const ssize_t sent = ::send(to, bytes.data() + done, count - done, MSG_NOSIGNAL);
            if (sent <= 0) return false;
            done += static_cast<std::size_t>(sent);
        }
        if (fate.cut_after != SIZE_MAX) fate.cut_after -= count;
        return fate.cut_after > 0;
    }

    const int to_port_;
    mutable std::mutex mutex_;
    Chance chance_;
    std::map<std::string, int> struck_;
    std::string answers_;
    std::atomic<int> allowed_{INT_MAX};
    std::atomic<bool> calm_{false}, ending_{false};
    int listener_;
    int port_ = 0;
    std::thread acceptor_;
    std::vector<std::thread> connections_;  // the acceptor's
};

}  // namespace rapport::test
