// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "server/http/framing.hpp"
#include "server/http/log.hpp"
#include "server/http/service.hpp"
#include "server_fixture.hpp"

using namespace rapport;
using namespace rapport::server;
using namespace rapport::server::test;
using Json = nlohmann::ordered_json;
using http::Service;

namespace {

struct Reply {
    int status = 0;
    std::string head, body;
    bool has(const std::string& text) const { return head.find(text) != std::string::npos; }
    Json json() const { return Json::parse(body, nullptr, false); }
};

/// A socket that sends bytes as they are and reads answers; no read waits longer than 20 s.
class Wire {
public:
    explicit Wire(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const timeval patience{20, 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
                0);
    }
    ~Wire() { ::close(socket_); }
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) return;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }
    void finish_sending() { ::shutdown(socket_, SHUT_WR); }
    /// One answer; status 0 = the connection ended or stayed silent instead.
    Reply receive(bool head_only = false) {
        Reply reply;
        std::size_t end = 0;
        while ((end = waiting_.find("\r\n\r\n")) == std::string::npos)
            if (!more()) return reply;
        reply.head = waiting_.substr(0, end + 4);
        waiting_.erase(0, end + 4);
        reply.status = std::stoi(reply.head.substr(9, 3));
        const std::size_t length_at = reply.head.find("Content-Length: ");
        const std::size_t length = head_only || length_at == std::string::npos
                                       ? 0
                                       : std::stoul(reply.head.substr(length_at + 16));
        while (waiting_.size() < length)
            if (!more()) return {};
        reply.body = waiting_.substr(0, length);
        waiting_.erase(0, length);
        return reply;
    }
    /// Has the server ended the connection, with nothing unread before it?
    bool ended() { return waiting_.empty() && !more() && ended_; }

private:
    bool more() {
        std::array<char, 16384> piece{};
        const ssize_t count = ::recv(socket_, piece.data(), piece.size(), 0);
        ended_ = count == 0 || (count < 0 && errno == ECONNRESET);
        if (count <= 0) return false;
        waiting_.append(piece.data(), static_cast<std::size_t>(count));
        return true;
    }
    int socket_;
    std::string waiting_;
    bool ended_ = false;
};

/// A storage that an administrator's disk failure or a slow disk can stand behind.
class Faulty : public Storage {
public:
    explicit Faulty(Storage& storage) : storage_(storage) {}
    std::unique_ptr<Transaction> begin_write() override {
        std::unique_lock lock(mutex);
        ++writers_waiting;
        changed.notify_all();
        changed.wait(lock, [this] { return !held; });
        if (broken) throw Error(ErrorCode::storage_failed, "the disk is gone", 10);
        return storage_.begin_write();
    }
    std::unique_ptr<Transaction> begin_read() override {
        if (unreadable) throw Error(ErrorCode::storage_failed, "the disk is gone", 10);
        return storage_.begin_read();
    }
    void backup(const std::string& to) override { storage_.backup(to); }
    bool scrub(bool log_only) override { return storage_.scrub(log_only); }
    void hold(bool on) {
        const std::lock_guard lock(mutex);
        held = on;
        changed.notify_all();
    }
    void wait_for_writer() {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return writers_waiting > 0; });
    }

    std::atomic<bool> broken{false}, unreadable{false};

private:
    Storage& storage_;
    std::mutex mutex;
    std::condition_variable changed;
    bool held = false;
    int writers_waiting = 0;
};

struct Server : Centre {
    explicit Server(http::ListenerOptions options = {}, CommitQueue::Bounds bounds = {},
                    const std::string& metrics_token = {}) {
        log::only_from(log::Level::error);
        service.emplace(
            faulty, system_environment(), options,
            [](const std::string& sentence) { FAIL(sentence); }, bounds, nullptr, metrics_token);
        service->run();
    }
    Reply ask(const std::string& bytes) {
        Wire wire(service->port());
        wire.send(bytes);
        return wire.receive();
    }
    Faulty faulty{*storage};
    std::optional<Service> service;
};

std::string get(const std::string& target, const std::string& fields = {}) {
    return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
}
std::string post(const std::string& target, const std::string& type, const std::string& body,
                 const std::string& fields = {}) {
    return "POST " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields + "\r\n" + body;
}
std::string bearer(const std::string& secret) { return "Authorization: Bearer " + secret + "\r\n"; }
std::string sync_post(const std::string& secret, const std::string& archive) {
    return post("/v1/sync", protocol::kContentType, protocol::pack(archive), bearer(secret));
}

}  // namespace

TEST_CASE("a watcher sees that the server lives and is ready") {
    Server server;
    CHECK(server.ask(get("/healthz")).body == "{\"alive\":true}\n");
    CHECK(server.ask(get("/readyz")).json()["ready"] == true);
    server.faulty.unreadable = true;
    const Reply reply = server.ask(get("/readyz"));
    CHECK(reply.status == 503);
    CHECK(reply.json()["reason"] == "storage");
    CHECK(server.ask(get("/healthz")).status == 200);
}

TEST_CASE("who has the token reads in numbers what the server has done") {
    CHECK(Server().ask(get("/metrics", bearer("anything at all, sir"))).status == 404);

    const std::string token = "a-token-of-enough-characters";
    Server server({}, {}, token);
    CHECK(server.ask(get("/metrics")).status == 401);
    CHECK(server.ask(get("/metrics", bearer(token + "x"))).status == 401);
    CHECK(server.ask(get("/metrics", bearer(server.key(Role::admin)))).status == 401);

    const std::uint64_t writer = server.enrol("R17");
    const std::string good =
        bundle_of(1, record_of(customer_json(kCustomerId, "Molkerei Mork", "R17")), true);
    Record nameless =
        record_of(customer_json("01940000-0000-7000-8000-000000000002", "Molkerei Nord", "R17"));
    nameless.fields.erase(nameless.kind->field("name")->number);
    const std::string bad = bundle_of(2, nameless, true);
    const std::string sync = sync_post(secret_of("R17"), request_of(writer, 4711, {good, bad}));
    CHECK(server.ask(sync).status == 200);
    CHECK(server.ask(sync_post("nobody's" + std::string(32, '-'), "x")).status == 401);
    CHECK(server.ask("GET  /healthz HTTP/1.1\r\n\r\n").status == 400);
    CHECK(server.ask(get("/Molkerei")).status == 404);
    server.faulty.broken = true;
    CHECK(server.ask(sync_post(secret_of("R17"), request_of(writer, 4712, {}))).status == 503);
    server.faulty.broken = false;

    const Reply reply = server.ask(get("/metrics", bearer(token)));
    REQUIRE(reply.status == 200);
    CHECK(reply.has("Content-Type: text/plain; version=0.0.4"));
    std::map<std::string, std::string> samples;
    std::set<std::string> described;
    std::istringstream lines(reply.body);
    for (std::string line; std::getline(lines, line);) {
        INFO(line);
        const std::size_t blank = line.rfind(' ');
        if (line.rfind("# TYPE ", 0) == 0) described.insert(line.substr(7, line.find(' ', 7) - 7));
        if (line[0] == '#') continue;
        std::string name = line.substr(0, line.find_first_of("{ "));
        for (const char* suffix : {"_bucket", "_sum", "_count"})
            if (name.ends_with(suffix)) name.resize(name.size() - std::strlen(suffix));
        CHECK(described.contains(name));
        CHECK(samples.emplace(line.substr(0, blank), line.substr(blank + 1)).second);
        CHECK(line.find_first_not_of("0123456789.", blank + 1) == std::string::npos);
    }
    const auto number = [&](const std::string& name) { return samples[name]; };
    CHECK(number("rapport_requests_total{path=\"/v1/sync\",status=\"200\"}") == "1");
    CHECK(number("rapport_requests_total{path=\"/v1/sync\",status=\"401\"}") == "1");
    CHECK(number("rapport_requests_total{path=\"/v1/sync\",status=\"503\"}") == "1");
    CHECK(number("rapport_requests_total{path=\"/metrics\",status=\"401\"}") == "3");
    CHECK(number("rapport_requests_total{path=\"malformed\",status=\"400\"}") == "1");
    CHECK(number("rapport_requests_total{path=\"other\",status=\"404\"}") == "1");
    CHECK(number("rapport_bundles_total{verdict=\"applied\"}") == "1");
    CHECK(number("rapport_bundles_total{verdict=\"refused\"}") == "1");
    CHECK(number("rapport_bundles_total{verdict=\"later\"}") == "0");
    CHECK(number("rapport_commit_seconds_bucket{le=\"+Inf\"}") == "1");
    CHECK(number("rapport_commit_seconds_count") == "1");
    CHECK(number("rapport_commits_failed_total") == "1");
    CHECK(number("rapport_comparisons_total") == "0");
    CHECK(number("rapport_forks_total") == "0");
    CHECK(number("rapport_calls_waiting") == "0");
    CHECK(number("rapport_connections") != "0");
    CHECK(std::stoul(number("rapport_request_body_bytes_total")) > good.size() / 2);
    CHECK(std::stoul(number("rapport_response_body_bytes_total")) > 100);
    CHECK(reply.body.find("Molkerei") == std::string::npos);
    CHECK(reply.body.find("R17") == std::string::npos);
}

TEST_CASE("what is due by the time alone is seen to while nobody calls") {
    Centre centre;
    const std::int64_t now_ms = system_environment().now().at.time_since_epoch().count();
    {
        const auto tx = centre.storage->begin_write();
        tx->save(Deadline{"default", RecordId{{7}}, now_ms + 30});
        tx->commit();
    }
    Faulty faulty{*centre.storage};
    CommitQueue::Bounds bounds;
    bounds.look_every = std::chrono::milliseconds(1);
    Service service(
        faulty, system_environment(), {}, [](const std::string& sentence) { FAIL(sentence); },
        bounds);
    faulty.wait_for_writer();
    service.stop(std::chrono::milliseconds(0));
    CHECK(centre.storage->begin_read()->deadlines(INT64_MAX, 1).empty());
}

TEST_CASE("requests that two readers could read differently get 400 and a closed connection") {
    Server server;
    const std::string longest(9000, 'a');
    std::string many_fields;
    for (int i = 0; i < 70; ++i) many_fields += "X-" + std::to_string(i) + ": y\r\n";
    const std::string host = "Host: localhost\r\n", json = "Content-Type: application/json\r\n";
    const std::string enrol = "POST /v1/enrol HTTP/1.1\r\n" + host + json;
    const std::vector<std::pair<int, std::string>> corpus{
        // the request line
        {400, "\r\n\r\n"},
        {400, "GET /healthz\r\n" + host + "\r\n"},
        {400, "GET  /healthz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET /healthz HTTP/1.1 \r\n" + host + "\r\n"},
        {400, "GET\t/healthz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "G(T /healthz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET healthz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET http://localhost/healthz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET //evil/healthz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET /health%zz HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET /healthz#x HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET /h\xC3\xA4 HTTP/1.1\r\n" + host + "\r\n"},
        {400, "GET /healthz http/1.1\r\n" + host + "\r\n"},
        {400, "GET /healthz HTTP/1.10\r\n" + host + "\r\n"},
        {505, "GET /healthz HTTP/2.0\r\n" + host + "\r\n"},
        {505, "GET /healthz HTTP/1.2\r\n" + host + "\r\n"},
        {414, "GET /" + longest + " HTTP/1.1\r\n" + host + "\r\n"},
        {414, "GET /" + longest.substr(0, 3000) + " HTTP/1.1\r\n" + host + "\r\n"},
        // lines
        {400, "GET /healthz HTTP/1.1\n" + host + "\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: localhost\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: local\rhost\r\n\r\n"},
        {400, std::string("GET /healthz HTTP/1.1\r\nHost: localhost\0\r\n\r\n", 43)},
        {400, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded: yes\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\n" + host + "X-A: b\r\n\tc\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\n" + host + "no colon here\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\n" + host + ": nameless\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\n" + host + "X-A: a\x01" + "b\r\n\r\n"},
        {431, "GET /healthz HTTP/1.1\r\n" + host + "X-A: " + longest + "\r\n\r\n"},
        {431, "GET /healthz HTTP/1.1\r\n" + host + many_fields + "\r\n"},
        // Host
        {400, "GET /healthz HTTP/1.1\r\n\r\n"},
        {400, "GET /healthz HTTP/1.0\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\n" + host + host + "\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: a,b\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: user@a\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: a:port\r\n\r\n"},
        {400, "GET /healthz HTTP/1.1\r\nHost: [::1\r\n\r\n"},
        // lengths
        {411, enrol + "\r\n"},
        {400, enrol + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"},
        {400, enrol + "Content-Length: 2, 2\r\n\r\n{}"},
        {400, enrol + "Content-Length: +2\r\n\r\n{}"},
        {400, enrol + "Content-Length: -2\r\n\r\n{}"},
        {400, enrol + "Content-Length: 0x2\r\n\r\n{}"},
        {400, enrol + "Content-Length: 02\r\n\r\n{}"},
        {400, enrol + "Content-Length:\r\n\r\n{}"},
        {413, enrol + "Content-Length: 99999999999999999999\r\n\r\n{}"},
        {413, enrol + "Content-Length: 100000\r\n\r\n{}"},
        {400, get("/healthz", "Content-Length: 2\r\n") + "{}"},
        // transfer codings
        {400,
         enrol + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: identity\r\n\r\n{}"},
        {400, enrol + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: chunked\r\nTransfer-Encoding: "
                      "chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: \"chunked\"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding:\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, "POST /v1/enrol HTTP/1.0\r\n" + host + json +
                  "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n"},
        {400, enrol + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n"},
        {400, enrol + "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"},
        // the rest
        {417, enrol + "Content-Length: 2\r\nExpect: 200-ok\r\n\r\n{}"},
        {400, get("/healthz", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")},
        {400, "POST /v1/enrol HTTP/1.1\r\n" + host + json + json + "Content-Length: 2\r\n\r\n{}"},
    };
    for (const auto& [status, bytes] : corpus) {
        const std::string beginning = bytes.substr(0, 120);
        CAPTURE(beginning);
        Wire wire(server.service->port());
        // A second request behind a bad one must never be answered.
        wire.send(bytes + get("/healthz"));
        const Reply reply = wire.receive();
        CHECK(reply.status == status);
        CHECK(reply.has("application/problem+json"));
        CHECK(reply.has("Connection: close"));
        const Json problem = reply.json();
        REQUIRE(problem.is_object());
        CHECK(problem["status"] == status);
        CHECK(problem.contains("code"));
        CHECK(problem.contains("action"));
        wire.finish_sending();
        CHECK(wire.ended());
    }
    CHECK(server.ask(get("/healthz")).status == 200);
}

TEST_CASE("the framing rules do not lean on the HTTP library behind them") {
    const auto status_of = [](const std::string& fields,
                              const std::string& line = "POST /v1/enrol HTTP/1.1") {
        const auto parsed = http::parse_head(line + "\r\nHost: a\r\n" + fields + "\r\n");
        const auto* fault = std::get_if<http::Fault>(&parsed);
        return fault ? fault->status : 200;
    };
    CHECK(status_of("Content-Length: 2\r\n") == 200);
    CHECK(status_of("Transfer-Encoding: chunked\r\n") == 200);
    CHECK(status_of("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n") == 400);
    CHECK(status_of("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") == 400);
    CHECK(status_of("Content-Length: 2\r\nContent-Length: 2\r\n") == 400);
    CHECK(status_of("Transfer-Encoding: Chunked\r\n") == 400);
    CHECK(status_of("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0") == 400);
    CHECK(status_of("Host: a\r\nContent-Length: 2\r\n") == 400);
    CHECK(status_of("X-A: b\r\n c\r\nContent-Length: 2\r\n") == 400);
    CHECK(http::scan_head("GET / HTTP/1.1\r\nHost: a\r\n").size == 0);
    CHECK(http::scan_head("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest").size == 27);
    CHECK(http::scan_head("GET / HTTP/1.1\nHost").fault);
}

TEST_CASE("good requests in unusual but clear forms are answered") {
    Server server;
    for (const char* bytes :
         {"GET /healthz HTTP/1.1\r\nhOsT:localhost:8470\r\n\r\n",
          "GET /healthz HTTP/1.1\r\nHost:\t[::1]:80 \r\n\r\n",
          "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n",
          "GET /healthz?x=%20 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"})
        CHECK(server.ask(bytes).status == 200);
    const std::string enrol =
        "POST /v1/enrol HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; charset=utf-8\r\n";
    const Reply chunked =
        server.ask(enrol + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;ext=1\r\n}\r\n0\r\n\r\n");
    CHECK(chunked.status == 400);
    CHECK(chunked.json()["code"] == "invalid_argument");  // it was read: the code is missing in it
    CHECK_FALSE(chunked.has("close"));
}

TEST_CASE("paths, methods and types that are not there are said to be so") {
    Server server;
    CHECK(server.ask(get("/")).status == 404);
    CHECK(server.ask(get("/v1/../healthz")).status == 404);
    const Reply method = server.ask(get("/v1/sync"));
    CHECK(method.status == 405);
    CHECK(method.has("Allow: POST"));
    CHECK(server.ask(post("/v1/feed", "application/json", "{}")).has("Allow: GET, HEAD"));
    CHECK(server.ask("DELETE /v1/feed HTTP/1.1\r\nHost: a\r\n\r\n").status == 405);
    CHECK(server.ask(post("/v1/enrol", "text/plain", "{}")).status == 415);
    CHECK(server.ask(post("/v1/enrol", "application/json", "{}", "Content-Encoding: gzip\r\n"))
              .status == 415);
    Wire wire(server.service->port());
    wire.send("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + get("/readyz"));
    const Reply head = wire.receive(true);
    CHECK(head.status == 200);
    CHECK(head.has("Content-Length: 15"));
    CHECK(wire.receive().json()["ready"] == true);
}

TEST_CASE("a connection serves request after request, also when they come at once") {
    Server server;
    Wire wire(server.service->port());
    wire.send(get("/healthz") + post("/v1/enrol", "application/json", "{}") + get("/readyz") +
              get("/healthz", "Connection: close\r\n"));
    CHECK(wire.receive().status == 200);
    CHECK(wire.receive().status == 400);
    CHECK(wire.receive().json()["ready"] == true);
    const Reply last = wire.receive();
    CHECK(last.status == 200);
    CHECK(last.has("Connection: close"));
    CHECK(wire.ended());
}

TEST_CASE("a body waits for 100 Continue only where it will be read") {
    Server server;
    const std::string head =
        "Host: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: "
        "100-continue\r\n\r\n";
    Wire wire(server.service->port());
    wire.send("POST /v1/enrol HTTP/1.1\r\n" + head);
    CHECK(wire.receive(true).status == 100);
    wire.send("{}");
    CHECK(wire.receive().status == 400);
    CHECK(server.ask("POST /v1/nowhere HTTP/1.1\r\n" + head).status == 404);
}

TEST_CASE("whoever is slow is told so and let go") {
    http::ListenerOptions options;
    options.head_time_max = options.idle_time_max = std::chrono::milliseconds(150);
    Server server(options);
    Wire half_a_head(server.service->port());
    half_a_head.send("GET /healthz HTTP/1.1\r\nHo");
    const Reply late = half_a_head.receive();
    CHECK(late.status == 408);
    CHECK(late.has("Connection: close"));
    CHECK(late.json()["action"] == "retry");

    Wire half_a_body(server.service->port());
    half_a_body.send(
        "POST /v1/enrol HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
        "9\r\n\r\n{");
    CHECK(half_a_body.receive().status == 408);

    Wire silent(server.service->port());
    CHECK(silent.ended());
}

TEST_CASE("bodies that cost more than they say get 4xx and a closed connection") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    const auto with = [](std::string body, std::size_t at, std::string_view bytes) {
        return body.replace(at, bytes.size(), bytes);
    };
    const auto opaque = protocol::Contents::opaque;
    const std::string request = request_of(writer, 1, {}), packed = protocol::pack(request, opaque),
                      large = protocol::pack(std::string(8000, 'x'), opaque),
                      bomb = protocol::pack(std::string(32U << 20, '\0'), opaque);
    REQUIRE(bomb.size() < 8000);
    std::string wide = large;
    wide[13] = 0;  // a frame with a window of its own: 2 GiB
    wide[14] = '\xA8';
    const std::vector<std::pair<int, std::string>> corpus{
        {413, bomb},
        {400, with(bomb, 1, std::string("\xe8\x03\0\0", 4))},   // says it is 1,000 bytes
        {400, with(large, 1, std::string("\x41\x1f\0\0", 4))},  // one byte too many
        {400, with(large, 5, "\xff\xff\xff\xff")},              // another checksum
        {400, with(packed, 5, "\xff\xff\xff\xff")},
        {400, wide},
        {400, large.substr(0, large.size() - 1)},
        {400, large + large.substr(9)},  // a second frame
        {400, large + "x"},
        {400, packed + "x"},
        {400, with(packed, 0, "\xff")},               // an unknown form
        {400, with(large, 0, std::string(1, '\0'))},  // not compressed, it says
        {400, with(packed, 0, "\x01")},               // compressed, it says
        {400, with(large, 0, "\x02")},                // columns, it says
        {400, packed.substr(0, 8)},
        {400, std::string()},
    };
    for (std::size_t i = 0; i < corpus.size(); ++i) {
        CAPTURE(i);
        Wire wire(server.service->port());
        wire.send(
            post("/v1/sync", protocol::kContentType, corpus[i].second, bearer(secret_of("R17"))) +
            get("/healthz"));
        const Reply reply = wire.receive();
        CHECK(reply.status == corpus[i].first);
        CHECK(reply.has("Connection: close"));
        wire.finish_sending();
        CHECK(wire.ended());
    }
    CHECK(server.ask(sync_post(secret_of("R17"), request)).status == 200);
}

TEST_CASE("slow senders, slow readers and those who go away hold nobody up") {
    http::ListenerOptions options;
    options.head_time_max = options.idle_time_max = std::chrono::hours(1);  // none is let go
    Server server(options);
    const std::uint64_t writer = server.enrol("R17");
    const std::string key = server.key();
    {
        std::vector<Record> records;
        for (int i = 0; i < 300; ++i)
            records.push_back(record_of(R"({"kind":"territory","fields":{"code":"T-)" +
                                        std::to_string(i) + R"(","name":")" +
                                        std::string(2000, 'x') + "\"}}"));
        Engine(*server.storage, system_environment()).write_as_server("default", records);
    }
    std::vector<std::unique_ptr<Wire>> slow;
    const auto another = [&](const std::string& bytes) {
        slow.push_back(std::make_unique<Wire>(server.service->port()));
        slow.back()->send(bytes);
    };
    const std::string whole = sync_post(secret_of("R17"), request_of(writer, 1, {}));
    const std::size_t head = whole.find("\r\n\r\n") + 4;
    for (int i = 0; i < 40; ++i) {
        another("GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: ");  // a head that never ends
        another(whole.substr(0, whole.size() - 1));            // a body that never ends
        another(whole.substr(0, head) + "x");
        another(
            "POST /v1/enrol HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n1\r\n{");  // nor this
        // Answers that are not read: more than the sockets take.
        std::string many;
        for (int page = 0; page < 20; ++page) many += get("/v1/feed?limit=5000", bearer(key));
        another(many);
        another(whole.substr(0, whole.size() / 2));
        slow.pop_back();  // gone in the middle of it
    }
    for (int i = 0; i < 20; ++i) {
        CHECK(server.ask(get("/healthz")).status == 200);
        CHECK(server.ask(whole).status == 200);
    }
    for (const auto& wire : slow) wire->send("A");  // they still have their connection
    CHECK(server.ask(get("/readyz")).status == 200);
}

TEST_CASE("above the connection cap the answer is 503 with a pause, and places become free again") {
    http::ListenerOptions options;
    options.connections_max = 2;
    Server server(options);
    {
        Wire first(server.service->port()), second(server.service->port());
        for (Wire* wire : {&first, &second}) {
            wire->send(get("/healthz"));
            REQUIRE(wire->receive().status == 200);
        }
        Wire third(server.service->port());
        const Reply reply = third.receive();
        CHECK(reply.status == 503);
        CHECK(reply.has("Retry-After: 5"));
        CHECK(reply.json()["action"] == "retry");
    }
    int status = 503;
    for (int i = 0; i < 1000 && status == 503;
         ++i) {  // the server learns of the end of a connection by and by
        Wire wire(server.service->port());
        wire.send(get("/healthz"));
        status = wire.receive().status;
    }
    CHECK(status == 200);
}

TEST_CASE("a code is redeemed over the wire, and a repeat gets the same answer") {
    Server server;
    std::string code;
    {
        const auto transaction = server.storage->begin_write();
        code = invite(*transaction, system_environment(),
                      {"default", "R17", Role::rep, {"territory/DE-50"}, 14});
        transaction->commit();
    }
    const auto body = [&](const std::string& credential) {
        return Json{{"code", code},
                    {"file", "0123456789abcdef"},
                    {"credential", credential},
                    {"name", "phone"}}
            .dump();
    };
    const Reply first = server.ask(post("/v1/enrol", "application/json", body(secret_of("a"))));
    REQUIRE(first.status == 200);
    CHECK(first.json()["tenant"] == "default");
    CHECK(first.json()["rep"] == "R17");
    CHECK(first.json()["role"] == "rep");
    CHECK(first.json()["scopes"] == Json{"territory/DE-50"});
    CHECK(first.json()["writer"].is_string());
    CHECK(first.json()["server_time_ms"].is_number());
    const Reply again = server.ask(post("/v1/enrol", "application/json", body(secret_of("a"))));
    CHECK(again.json()["writer"] == first.json()["writer"]);
    const Reply other = server.ask(post("/v1/enrol", "application/json", body(secret_of("b"))));
    CHECK(other.status == 403);
    CHECK(other.json()["code"] == "not_authorised");
    CHECK(other.body.find(code) == std::string::npos);
}

TEST_CASE("a sync goes in packed and comes back packed, with its own sync id") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    const std::string bundle =
        bundle_of(1, record_of(customer_json(kCustomerId, "Müller Feinkost", "R17")), true);
    const Reply reply = server.ask(sync_post(secret_of("R17"), request_of(writer, 4711, {bundle})));
    REQUIRE(reply.status == 200);
    CHECK(reply.has(std::string("Content-Type: ") + protocol::kContentType + "\r\n"));
    const auto answer = decode<protocol::Reply>(protocol::unpack(reply.body, 1 << 20));
    CHECK(answer.next == 4711);
    REQUIRE(answer.verdicts.size() == 1);
    CHECK(answer.verdicts[0].verdict == Verdict::applied);
    CHECK(server.storage->begin_read()->record("default", *RecordId::parse(kCustomerId)));
}

TEST_CASE("an unknown credential is told to enrol again before its body is read") {
    Server server;
    server.enrol("R17");
    const auto head_of = [](const std::string& secret) {
        return "POST /v1/sync HTTP/1.1\r\nHost: a\r\nContent-Type: " +
               std::string(protocol::kContentType) + "\r\nContent-Length: 1000000\r\n" +
               (secret.empty() ? "" : bearer(secret)) + "\r\n";
    };
    for (const std::string& secret : {std::string(), secret_of("R99"), std::string("x")}) {
        const Reply reply = server.ask(head_of(secret));
        CHECK(reply.status == 401);
        CHECK(reply.has("WWW-Authenticate: Bearer"));
        CHECK(reply.json()["code"] == "not_authorised");
        CHECK(reply.json()["action"] == "re_enrol");
    }
}

TEST_CASE("bodies that are no protocol are refused without harm to others") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    const auto send = [&](const std::string& body) {
        return server.ask(post("/v1/sync", protocol::kContentType, body, bearer(secret_of("R17"))));
    };
    CHECK(send("").status == 400);
    CHECK(send("not packed").status == 400);
    CHECK(send(protocol::pack("not an archive")).json()["code"] == "protocol_violated");
    CHECK(send(protocol::pack(request_of(writer + 1, 1, {}))).status == 401);
    CHECK(send(std::string(3U << 20, 'x')).status == 413);
    CHECK(send(std::string((1U << 20) + 1000, 'x')).status ==
          400);  // large, but not too large to be read
    std::string chunks;
    for (int i = 0; i < 3; ++i) chunks += "1000\r\n" + std::string(4096, ' ') + "\r\n";
    const Reply chunked = server.ask(
        "POST /v1/enrol HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n" +
        chunks + "0\r\n\r\n");
    CHECK(chunked.status == 413);
    CHECK(chunked.has("Connection: close"));
    CHECK(send(protocol::pack(std::string(32U << 20, 'x'))).status ==
          413);  // small on the wire, large when unpacked
    CHECK(send(protocol::pack(request_of(writer, 1, {}))).status == 200);
}

TEST_CASE("many devices at once share commits and each gets its own answer") {
    Server server;
    constexpr int kDevices = 24;
    std::vector<std::uint64_t> writers;
    for (int i = 0; i < kDevices; ++i) writers.push_back(server.enrol("R" + std::to_string(i)));
    server.faulty.hold(true);
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int i = 0; i < kDevices; ++i)
        threads.emplace_back([&, i] {
            const std::string rep = "R" + std::to_string(i);
            std::string id = kCustomerId;
            id.replace(id.size() - 2, 2, std::to_string(10 + i));
            const std::string bundle =
                bundle_of(1, record_of(customer_json(id, "Kunde " + rep, rep)), true,
                          static_cast<std::uint64_t>(i) + 1);
            const auto number = static_cast<std::size_t>(i);
            const Reply reply = server.ask(
                sync_post(secret_of(rep), request_of(writers[number], 100 + number, {bundle})));
            if (reply.status != 200) return;
            const auto answer = decode<protocol::Reply>(protocol::unpack(reply.body, 1 << 20));
            if (answer.next == 100 + number && answer.verdicts.size() == 1 &&
                answer.verdicts[0].verdict == Verdict::applied)
                ++right;
        });
    server.faulty.wait_for_writer();
    server.faulty.hold(false);
    for (std::thread& thread : threads) thread.join();
    CHECK(right == kDevices);
    CHECK(server.storage->begin_read()->count("default", kind_named("customer")->number) ==
          kDevices);
}

TEST_CASE("a server with too much to do says when to come back, and takes the request then") {
    CommitQueue::Bounds bounds;
    bounds.calls_max = 1;
    Server server({}, bounds);
    const std::uint64_t writer = server.enrol("R17");
    const std::string request = sync_post(secret_of("R17"), request_of(writer, 1, {}));
    std::promise<void> begun, release;
    std::shared_future<void> released = release.get_future().share();
    REQUIRE(server.service->queue().post([&](Engine&) {
        begun.set_value();
        released.wait();
    }));
    begun.get_future().wait();
    REQUIRE(server.service->queue().post([&](Engine&) {}));
    const Reply busy = server.ask(request);
    CHECK(busy.status == 503);
    CHECK(busy.has("Retry-After: 5"));
    CHECK(busy.json()["action"] == "retry");
    CHECK(server
              .ask(post("/v1/enrol", "application/json",
                        R"({"code":"x","file":"0123456789abcdef","credential":")" + secret_of("x") +
                            "\"}"))
              .status == 503);
    release.set_value();
    server.service->queue().run([](Engine&) {});
    CHECK(server.ask(request).status == 200);
}

TEST_CASE("a storage that fails is answered with retry, and a later try succeeds") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    server.faulty.broken = true;  // this is logged
    const std::string request = sync_post(secret_of("R17"), request_of(writer, 1, {}));
    const Reply reply = server.ask(request);
    CHECK(reply.status == 503);
    CHECK(reply.has("Retry-After: "));
    CHECK(reply.json()["action"] == "retry");
    server.faulty.broken = false;
    CHECK(server.ask(request).status == 200);
}

TEST_CASE("the feed is read with a key, page by page, over the wire") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    const std::string key = server.key();
    server.ask(sync_post(
        secret_of("R17"),
        request_of(writer, 1,
                   {bundle_of(1, record_of(customer_json(kCustomerId, "Müller", "R17")), true)})));
    const Reply page = server.ask(get("/v1/feed?limit=10", bearer(key)));
    REQUIRE(page.status == 200);
    CHECK(page.has("Content-Type: application/x-ndjson\r\n"));
    const Json line = Json::parse(page.body.substr(0, page.body.find('\n')));
    CHECK(line["author"] == "R17");
    CHECK(line["bundle"] == std::to_string(writer) + ".1");
    const std::string end = page.body.substr(page.body.rfind('\n', page.body.size() - 2) + 1);
    const std::string cursor = Json::parse(end)["cursor"];
    CHECK(server.ask(get("/v1/feed?after=" + cursor, bearer(key))).body == end);

    for (const std::string query :
         {"after=nonsense", "limit=0", "limit=100000", "limit=x", "kind=nothing", "kind=visit,",
          "since=5", "limit=1&limit=2", "from=", "from=yesterday", "from=start&after="})
        CHECK(server.ask(get("/v1/feed?" + query, bearer(key))).status == 400);
    CHECK(server.ask(get("/v1/feed?from=start&kind=visit,customer", bearer(key))).body ==
          page.body);
    CHECK(server.ask(get("/v1/feed?from=end", bearer(key))).body == end);
    const std::string received = line["received_at"];
    CHECK(server.ask(get("/v1/feed?from=" + received, bearer(key))).body == page.body);
    CHECK(server.ask(get("/v1/feed?from=2036-03-02T10:00:00%2B01:00", bearer(key))).body == end);
    const Reply restored = server.ask(get("/v1/feed?after=AgAAAAAAAAAB", bearer(key)));
    CHECK(restored.status == 400);
    CHECK(server.ask(get("/v1/feed")).status == 401);
    CHECK(server.ask(get("/v1/feed", bearer(secret_of("R17")))).status == 401);
    CHECK(
        server.ask(get("/v1/feed", bearer(server.key(Role::feed, "other")))).body.find("Müller") ==
        std::string::npos);
}

TEST_CASE("a reader whose cursor is ahead of a restored server is told to begin again") {
    Server before, after;
    Engine(*before.storage, system_environment())
        .write_as_server(
            "default",
            {record_of(R"({"kind":"territory","fields":{"code":"DE-50","name":"Köln"}})")});
    const Reply page = before.ask(get("/v1/feed", bearer(before.key())));
    const std::string cursor =
        Json::parse(page.body.substr(page.body.rfind('\n', page.body.size() - 2) + 1))["cursor"];
    const Reply reply = after.ask(get("/v1/feed?after=" + cursor, bearer(after.key())));
    CHECK(reply.status == 409);
    CHECK(reply.json()["action"] == "resynchronise");
}

TEST_CASE("a stopping server finishes what it has begun and takes nobody new") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    Wire idle(server.service->port()), busy(server.service->port());
    idle.send(get("/healthz"));
    REQUIRE(idle.receive().status == 200);
    server.faulty.hold(true);
    busy.send(sync_post(secret_of("R17"), request_of(writer, 1, {})));
    server.faulty.wait_for_writer();
    std::thread stopping([&] { server.service->stop(std::chrono::seconds(20)); });
    CHECK(idle.ended());
    server.faulty.hold(false);
    const Reply reply = busy.receive();
    CHECK(reply.status == 200);
    CHECK(reply.has("Connection: close"));
    CHECK(busy.ended());
    stopping.join();
    CHECK(server.service->connections() == 0);
}

TEST_CASE("a server that is stopped with no patience leaves nobody hanging") {
    Server server;
    const std::uint64_t writer = server.enrol("R17");
    server.faulty.hold(true);
    Wire wire(server.service->port());
    wire.send(sync_post(secret_of("R17"), request_of(writer, 1, {})));
    server.faulty.wait_for_writer();
    std::thread release([&] {
        CHECK(wire.ended());
        server.faulty.hold(false);
    });
    server.service->stop(std::chrono::milliseconds(0));
    release.join();
}

TEST_CASE("plain HTTP stays on loopback unless said otherwise") {
    Centre centre;
    http::ListenerOptions options;
    options.host = "0.0.0.0";
    const auto listen = [&] {
        Service service(*centre.storage, system_environment(), options, [](const std::string&) {});
    };
    CHECK_THROWS_AS(listen(), Error);
    options.any_address = true;
    CHECK_NOTHROW(listen());
    options.host = "not an address";
    CHECK_THROWS_AS(listen(), Error);
}

TEST_CASE("a broken rule of our own stops the server instead of being answered") {
    Centre centre;
    centre.enrol("R17");
    Engine engine(*centre.storage, system_environment());
    std::string said;
    {
        CommitQueue queue(engine, {}, [&](const std::string& sentence) { said = sentence; });
        CHECK_THROWS_AS(queue.run([](Engine&) { throw Error(ErrorCode::internal, "two heads"); }),
                        Error);
        CHECK_THROWS_AS(
            queue.run([](Engine&) { throw Error(ErrorCode::conflict, "an everyday failure"); }),
            Error);
    }
    CHECK(said == "two heads");
}
