// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>

#include "client/address.hpp"
#include "protocol/messages.hpp"
#include "rapport/kinds.hpp"
#include "rapport/sync/syncer.hpp"
#include "store/replica.hpp"
#include "support/temp_dir.hpp"

namespace rapport {
namespace {

/// A clock that stands still unless told, and chance that counts.
class StillEnvironment final : public Environment {
public:
    Instant now() override { return Instant(TimePoint(Milliseconds(now_ms))); }
    void random(std::span<std::uint8_t> out) override {
        for (auto& byte : out)
            byte = static_cast<std::uint8_t>(
                draw_ = draw_ * 6364136223846793005ULL + 1442695040888963407ULL, draw_ >> 56);
    }
    std::int64_t now_ms = 1'772'440'200'000;

private:
    std::uint64_t draw_ = 1;
};

/// Answers as told; when nothing is left to be told, as a server would that applies everything.
class FakeTransport final : public Transport {
public:
    using Answer = std::function<HttpResponse(const HttpRequest&, const std::atomic<bool>& cancel)>;

    HttpResponse exchange(
        const HttpRequest& request, const std::atomic<bool>& cancel,
        const std::function<void(std::uint64_t, std::uint64_t)>& progress) override {
        requests.push_back(request);
        Answer answer = served;
        if (!script.empty()) {
            answer = script.front();
            script.pop_front();
        }
        if (progress) progress(request.body.size(), 0);
        return answer(request, cancel);
    }

    std::vector<HttpRequest> requests;
    std::deque<Answer> script;
    Answer served;
};

protocol::Request request_in(const HttpRequest& request) {
    return decode<protocol::Request>(protocol::unpack(request.body, 16 << 20));
}

HttpResponse http(int status, std::string type, std::string body) {
    HttpResponse r;
    r.status = status;
    r.content_type = std::move(type);
    r.body = std::move(body);
    return r;
}
HttpResponse answer(const protocol::Reply& reply) {
    return http(200, protocol::kContentType, protocol::pack(encode(reply)));
}
HttpResponse problem(int status, const std::string& detail) {
    return http(status, "application/problem+json",
                nlohmann::json{{"title", "refused"}, {"detail", detail}}.dump());
}

protocol::Reply reply_to(const HttpRequest& http_request, Verdict verdict = Verdict::applied) {
    const protocol::Request request = request_in(http_request);
    protocol::Reply reply;
    reply.next = request.next;
    reply.server_time_ms = 1'772'440'200'000;
    reply.tag = request.next ^ 1;
    reply.cursor = "c";
    for (const std::string& bytes : request.bundles) {
        const Bundle bundle = decode_bundle(bytes);
        reply.receipt = bundle.counter;
        reply.verdicts.push_back({bundle.counter, verdict, {}});
        if (verdict == Verdict::refused)
            reply.verdicts.back().reasons.push_back({{}, "name", "too_long", "Too long."});
    }
    return reply;
}
FakeTransport::Answer judging(Verdict verdict) {
    return [verdict](const HttpRequest& r, const std::atomic<bool>&) {
        return answer(reply_to(r, verdict));
    };
}

struct TestPhone {
    TempDir folder;
    StillEnvironment environment;
    FakeTransport transport;
    Store store;
    Syncer syncer;

    explicit TestPhone(bool enrolled = true)
        : store(Store::open(folder.file("phone.rapport"), options(environment))),
          syncer(store, transport, environment) {
        transport.served = judging(Verdict::applied);
        if (enrolled)
            Replica(store).enrol(
                {"http://127.0.0.1:1", "t", "R17", Role::rep, {"territory/DE-50"}, 77, "secret"});
    }
    static Store::Options options(Environment& environment) {
        Store::Options o;
        o.environment = &environment;
        return o;
    }
    void capture(int count = 1) {
        for (int i = 0; i < count; ++i) {
            Customer c;
            c.name = "Molkerei Nord";
            c.address = Address{};
            c.address->country = "DE";
            const auto [id, captured] = store.put(c);
            for (const Refusal& r : captured.refusals) MESSAGE(r.field, ": ", r.sentence);
            REQUIRE(captured);
        }
    }
    void says(HttpResponse response) {
        transport.script.push_back(
            [response](const HttpRequest&, const std::atomic<bool>&) { return response; });
    }
};

void check_adds_up(const TestPhone& phone, const SyncResult& r, std::size_t captured) {
    CHECK(r.sent == r.applied + r.refused + r.later + r.unanswered);
    CHECK(captured == r.applied + r.unanswered + r.left);
    const Overview o = phone.store.overview();
    CHECK(r.left + r.unanswered == o.queued + o.waiting + o.refused + o.sent);
}

}  // namespace

TEST_CASE("a sync sends what was captured, under the credential, and counts what became of it") {
    TestPhone phone;
    phone.capture(3);
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    CHECK(r.sentence.empty());
    CHECK(r.sent == 3);
    CHECK(r.applied == 3);
    CHECK(r.requests == 1);
    CHECK(r.bytes_sent == phone.transport.requests[0].body.size());
    CHECK(r.bytes_received > 0);
    CHECK_FALSE(r.retry_after);
    check_adds_up(phone, r, 3);
    const HttpRequest& request = phone.transport.requests[0];
    CHECK(request.url == "http://127.0.0.1:1/v1/sync");
    CHECK(request.headers.at("Authorization") == "Bearer secret");
    CHECK(request.headers.at("Content-Type") == protocol::kContentType);
}

TEST_CASE("refused and later bundles stay on the device and the counts still add up") {
    TestPhone phone;
    phone.capture(2);
    phone.transport.script.push_back(judging(Verdict::refused));
    SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    CHECK(r.refused == 2);
    CHECK(r.left == 2);
    check_adds_up(phone, r, 2);

    phone.capture();
    phone.transport.script.push_back(judging(Verdict::later));
    r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    CHECK(r.later == 1);
    CHECK(r.requests == 1);
    check_adds_up(phone, r, 3);

    r = phone.syncer.sync_for();
    CHECK(r.applied == 1);
    CHECK(r.left == 2);
    check_adds_up(phone, r, 3);
}

TEST_CASE("a page that has not reached the heads is followed by the next request") {
    TestPhone phone;
    phone.capture();
    phone.transport.script.push_back([](const HttpRequest& request, const std::atomic<bool>&) {
        protocol::Reply reply = reply_to(request);
        reply.checkpoint = false;
        return answer(reply);
    });
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    CHECK(r.requests == 2);
    CHECK(r.applied == 1);
    check_adds_up(phone, r, 1);
}

TEST_CASE(
    "a queue of more than one request takes several, within the limits the server published") {
    TestPhone phone;
    phone.transport.script.push_back([](const HttpRequest& request, const std::atomic<bool>&) {
        protocol::Reply reply = reply_to(request);
        reply.limits = Limits{};
        reply.limits->version = 2;
        reply.limits->request_bundles_max = 2;
        return answer(reply);
    });
    phone.syncer.sync_for();
    phone.capture(5);
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    CHECK(r.requests == 3);
    CHECK(r.applied == 5);
    CHECK(request_in(phone.transport.requests.back()).limits_version == 2);
    check_adds_up(phone, r, 5);
}

TEST_CASE("the sign-in page of a public network is not taken for the server") {
    TestPhone phone;
    phone.capture();
    SUBCASE("200 and HTML") {
        phone.says(http(200, "text/html; charset=utf-8", "<html>Welcome</html>"));
    }
    SUBCASE("a redirect") { phone.says(http(302, "text/html", "")); }
    SUBCASE("403 and HTML") { phone.says(http(403, "text/html", "<html>Sign in</html>")); }
    SUBCASE("200 and HTML under our type") {
        phone.says(http(200, protocol::kContentType, "<html>Welcome</html>"));
    }
    SUBCASE("511") { phone.says(http(511, "text/html", "<html>Sign in</html>")); }
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::not_reached);
    CHECK_FALSE(r.sentence.empty());
    CHECK(r.retry_after);
    CHECK(r.unanswered == 1);
    check_adds_up(phone, r, 1);

    const SyncResult again = phone.syncer.sync_for();
    CHECK(again.end == SyncEnd::complete);
    CHECK(again.applied == 1);
    check_adds_up(phone, again, 1);
    CHECK(phone.transport.requests[0].body == phone.transport.requests[1].body);
}

TEST_CASE("a captive portal is named in the sentence") {
    TestPhone phone;
    phone.says(http(200, "text/html", "<html>Welcome</html>"));
    CHECK(phone.syncer.sync_for().sentence.find("sign-in page") != std::string::npos);
}

TEST_CASE("a busy server says when to come back") {
    TestPhone phone;
    phone.capture();
    for (const int status : {429, 503}) {
        HttpResponse busy = problem(status, "too much to do");
        busy.headers["retry-after"] = "120";
        phone.says(busy);
        const SyncResult r = phone.syncer.sync_for();
        CHECK(r.end == SyncEnd::not_reached);
        REQUIRE(r.retry_after);
        CHECK(*r.retry_after == Milliseconds(120'000));
    }
    HttpResponse vague = problem(503, "too much to do");
    vague.headers["retry-after"] = "Wed, 21 Oct 2026 07:28:00 GMT";
    phone.says(vague);
    CHECK(*phone.syncer.sync_for().retry_after <= Milliseconds(300'000));
}

TEST_CASE("a reply that was cut, damaged or meant for another request changes nothing") {
    TestPhone phone;
    phone.capture();
    const auto changed_by =
        [&](const std::function<void(HttpResponse&, const HttpRequest&)>& harm) {
            phone.transport.script.push_back(
                [harm](const HttpRequest& request, const std::atomic<bool>&) {
                    HttpResponse response = answer(reply_to(request));
                    harm(response, request);
                    return response;
                });
            const SyncResult r = phone.syncer.sync_for();
            CHECK(r.end == SyncEnd::not_reached);
            CHECK(r.applied == 0);
            CHECK(r.unanswered == 1);
            return r.sentence;
        };
    changed_by([](HttpResponse& r, const HttpRequest&) { r.body.resize(r.body.size() / 2); });
    changed_by([](HttpResponse& r, const HttpRequest&) {
        r.body.back() = static_cast<char>(r.body.back() ^ 1);
    });
    changed_by([](HttpResponse& r, const HttpRequest&) { r.body.clear(); });
    changed_by([](HttpResponse& r, const HttpRequest& request) {
        protocol::Reply reply = reply_to(request);
        ++reply.next;
        r = answer(reply);
    });
    changed_by([](HttpResponse& r, const HttpRequest&) {
        r = {};
        r.failure = "connection reset";
    });
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    CHECK(r.applied == 1);
    check_adds_up(phone, r, 1);
}

TEST_CASE(
    "bytes that are no reply, and records that are none, end the sync before anything changes") {
    TestPhone phone;
    phone.capture();
    SUBCASE("no reply") {
        phone.says(http(200, protocol::kContentType, protocol::pack("nonsense")));
    }
    SUBCASE("a bad record") {
        phone.transport.script.push_back([](const HttpRequest& request, const std::atomic<bool>&) {
            protocol::Reply reply = reply_to(request);
            reply.records = {"nonsense"};
            return answer(reply);
        });
    }
    SUBCASE("an unknown verdict") {
        phone.transport.script.push_back(judging(static_cast<Verdict>(99)));
    }
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::rejected);
    CHECK(r.applied == 0);
    CHECK(phone.store.overview().sent == 1);
    CHECK(phone.syncer.sync_for().end == SyncEnd::complete);
}

TEST_CASE("a revoked device is told so and keeps its captures") {
    for (const int status : {401, 403}) {
        TestPhone phone;
        phone.capture(2);
        phone.says(problem(status, "the credential is revoked"));
        const SyncResult r = phone.syncer.sync_for();
        CHECK(r.end == SyncEnd::not_authorised);
        CHECK(r.sentence == "the credential is revoked");
        CHECK_FALSE(r.retry_after);
        CHECK(r.unanswered == 2);
        check_adds_up(phone, r, 2);
    }
}

TEST_CASE("a request the server does not take is rejected with its sentence") {
    TestPhone phone;
    phone.says(problem(400, "this protocol version is too old"));
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::rejected);
    CHECK(r.sentence == "this protocol version is too old");
}

TEST_CASE("once a day, when all else is done, what is confirmed is compared with the server") {
    TestPhone phone;
    bool knows_comparisons = true;
    phone.transport.served = [&](const HttpRequest& r, const std::atomic<bool>&) {
        protocol::Reply reply = reply_to(r);
        reply.server_time_ms = phone.environment.now_ms;
        if (!request_in(r).comparison) return answer(reply);
        if (!knows_comparisons) return problem(400, "an unknown kind of request");
        reply.compared = protocol::Compared{end_of_comparison(), {}};
        return answer(reply);
    };
    const auto sync = [&](bool compare = false) {
        phone.transport.requests.clear();
        SyncBudget budget;
        budget.compare = compare;
        return phone.syncer.sync_for(budget);
    };
    const auto asked = [&] {
        return std::count_if(phone.transport.requests.begin(), phone.transport.requests.end(),
                             [](const HttpRequest& r) { return request_in(r).comparison; });
    };
    phone.capture();
    CHECK_FALSE(sync().compared);
    CHECK(phone.transport.requests.size() == 1);
    phone.environment.now_ms += 23 * 3'600'000;
    CHECK_FALSE(sync().compared);
    CHECK(asked() == 0);
    phone.environment.now_ms += 2 * 3'600'000;
    phone.capture();

    SUBCASE("and then not again") {
        const SyncResult due = sync();
        CHECK(due.compared);
        CHECK(due.end == SyncEnd::complete);
        CHECK(due.applied == 1);
        CHECK(phone.transport.requests.size() == 2);
        CHECK(request_in(phone.transport.requests[0]).bundles.size() == 1);
        CHECK(request_in(phone.transport.requests[1]).comparison);
        CHECK_FALSE(sync().compared);
        CHECK(phone.transport.requests.size() == 1);
        SUBCASE("unless the app asks") { CHECK(sync(true).compared); }
    }
    SUBCASE("a server that knows of no comparison is asked the same again without") {
        knows_comparisons = false;
        const SyncResult due = sync();
        CHECK_FALSE(due.compared);
        CHECK(due.end == SyncEnd::complete);
        REQUIRE(phone.transport.requests.size() == 3);
        CHECK(asked() == 1);
        CHECK(request_in(phone.transport.requests[1]).next ==
              request_in(phone.transport.requests[2]).next);
        CHECK(sync().end == SyncEnd::complete);
        CHECK(asked() == 0);
    }
}

TEST_CASE("a cancel ends the transfer, and one that comes early is not lost") {
    TestPhone phone;
    phone.capture();
    phone.transport.script.push_back([&](const HttpRequest&, const std::atomic<bool>& cancel) {
        phone.syncer.cancel();
        HttpResponse r;
        r.cancelled = cancel;
        return r;
    });
    SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::cancelled);
    check_adds_up(phone, r, 1);
    phone.syncer.cancel();
    CHECK(phone.syncer.sync_for().end == SyncEnd::cancelled);
    r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::complete);
    check_adds_up(phone, r, 1);
}

TEST_CASE("a sync ends when its time or its bytes are used up, and the next one goes on") {
    TestPhone phone;
    phone.capture();
    SUBCASE("bytes") {
        SyncBudget budget;
        budget.bytes = 20;
        const SyncResult r = phone.syncer.sync_for(budget);
        CHECK(r.end == SyncEnd::out_of_budget);
        CHECK(r.requests == 0);
        check_adds_up(phone, r, 1);
    }
    SUBCASE("time between two pages") {
        phone.transport.script.push_back([&](const HttpRequest& request, const std::atomic<bool>&) {
            phone.environment.now_ms += 61'000;
            protocol::Reply reply = reply_to(request);
            reply.checkpoint = false;
            return answer(reply);
        });
        const SyncResult r = phone.syncer.sync_for();
        CHECK(r.end == SyncEnd::out_of_budget);
        CHECK(r.requests == 1);
        check_adds_up(phone, r, 1);
    }
    SUBCASE("time within an exchange") {
        phone.transport.script.push_back([&](const HttpRequest& request, const std::atomic<bool>&) {
            CHECK(request.timeout <= Milliseconds(60'000));
            phone.environment.now_ms += 60'000;
            HttpResponse r;
            r.failure = "timed out";
            return r;
        });
        CHECK(phone.syncer.sync_for().end == SyncEnd::out_of_budget);
    }
    CHECK(phone.syncer.sync_for().applied == 1);
}

TEST_CASE("entries that do not meet are settled in the same run, or it ends") {
    TestPhone phone;
    phone.capture();
    phone.transport.script.push_back([](const HttpRequest& request, const std::atomic<bool>&) {
        protocol::Reply reply;
        reply.outcome = protocol::Outcome::mismatch;
        reply.next = request_in(request).next;
        reply.entries = {{1, 2}};
        return answer(reply);
    });
    SUBCASE("as a fork") {
        phone.transport.script.push_back([](const HttpRequest& request, const std::atomic<bool>&) {
            const protocol::Request fork = request_in(request);
            CHECK(fork.kind == protocol::kFork);
            CHECK(fork.parent != fork.writer);
            CHECK(fork.bundles.size() == 1);
            protocol::Reply reply;
            reply.next = fork.next;
            reply.tag = 5;
            reply.receipt = 1;
            reply.verdicts = {{1, Verdict::applied, {}}};
            return answer(reply);
        });
        const SyncResult r = phone.syncer.sync_for();
        CHECK(r.end == SyncEnd::complete);
        CHECK(r.applied == 1);
        check_adds_up(phone, r, 1);
    }
    SUBCASE("no further copy is let in") {
        phone.transport.script.push_back([](const HttpRequest& request, const std::atomic<bool>&) {
            protocol::Reply reply;
            reply.outcome = protocol::Outcome::declined;
            reply.next = request_in(request).next;
            return answer(reply);
        });
        CHECK(phone.syncer.sync_for().end == SyncEnd::needs_recovery);
        const SyncResult r = phone.syncer.sync_for();
        CHECK(r.end == SyncEnd::needs_recovery);
        CHECK(r.requests == 0);
        check_adds_up(phone, r, 1);
    }
    SUBCASE("a server that never meets it") {
        for (int i = 0; i < 20; ++i)
            phone.transport.script.push_back(
                [](const HttpRequest& request, const std::atomic<bool>&) {
                    protocol::Reply reply;
                    reply.outcome = protocol::Outcome::mismatch;
                    reply.next = request_in(request).next;
                    return answer(reply);
                });
        const SyncResult r = phone.syncer.sync_for();
        CHECK(r.end == SyncEnd::rejected);
        CHECK(r.requests == 9);
    }
}

TEST_CASE("progress counts bundles up to what there is, and bytes") {
    TestPhone phone;
    phone.capture(2);
    SyncProgress last;
    phone.syncer.sync_for({}, [&](const SyncProgress& p) {
        CHECK(p.bundles_done <= p.bundles_total);
        CHECK(p.bundles_total == 2);
        CHECK(p.bytes_sent >= last.bytes_sent);
        last = p;
    });
    CHECK(last.bundles_done == 2);
    CHECK(last.bytes_received > 0);
}

TEST_CASE("a file that is not enrolled sends nothing") {
    TestPhone phone(false);
    const SyncResult r = phone.syncer.sync_for();
    CHECK(r.end == SyncEnd::not_enrolled);
    CHECK(phone.transport.requests.empty());
}

TEST_CASE("an enrolment whose answer was lost is repeated under the same credential") {
    TestPhone phone(false);
    phone.capture();
    HttpResponse lost;
    lost.failure = "connection reset";
    phone.says(lost);
    CHECK_THROWS_AS(phone.syncer.enrol("http://localhost:8470/", "CODE"), Error);
    phone.says(http(
        200, "application/json",
        R"({"tenant":"t","rep":"R17","role":"rep","scopes":["territory/DE-50"],"writer":"18446744073709551000","server_time_ms":1772440200000})"));
    phone.syncer.enrol("http://localhost:8470/", "CODE");
    REQUIRE(phone.transport.requests.size() == 2);
    CHECK(phone.transport.requests[0].url == "http://localhost:8470/v1/enrol");
    CHECK(phone.transport.requests[0].body == phone.transport.requests[1].body);
    const auto sent = nlohmann::json::parse(phone.transport.requests[0].body);
    CHECK(sent.at("code") == "CODE");
    CHECK(sent.at("credential").get<std::string>().size() == 43);
    const auto identity = Replica(phone.store).identity();
    REQUIRE(identity);
    CHECK(identity->writer == 18446744073709551000ULL);
    CHECK(identity->server == "http://localhost:8470");
    CHECK(identity->credential == sent.at("credential"));
    CHECK(phone.syncer.sync_for().applied == 1);
    CHECK_THROWS_AS(phone.syncer.enrol("https://elsewhere.example", "CODE"), Error);
}

TEST_CASE("an enrolment that is refused or answered by somebody else leaves the file as it was") {
    TestPhone phone(false);
    const auto code_of = [&](HttpResponse response) {
        phone.says(std::move(response));
        try {
            phone.syncer.enrol("http://localhost:8470", "CODE");
        } catch (const Error& e) {
            return e.code();
        }
        return ErrorCode{};
    };
    CHECK(code_of(problem(403, "the code is used")) == ErrorCode::not_authorised);
    CHECK(code_of(http(200, "text/html", "<html>")) == ErrorCode::network_failed);
    CHECK(code_of(problem(503, "busy")) == ErrorCode::network_failed);
    CHECK(code_of(http(200, "application/json", "{}")) == ErrorCode::protocol_violated);
    CHECK(code_of(http(200, "application/json", "[")) == ErrorCode::protocol_violated);
    CHECK(code_of(http(200, "application/json",
                       R"({"tenant":"t","rep":"R","role":"king","scopes":[],"writer":"9"})")) ==
          ErrorCode::protocol_violated);
    CHECK_FALSE(Replica(phone.store).identity());
}

TEST_CASE("plain http is taken for this machine only, and a server address is kept in one form") {
    CHECK(server_address("HTTPS://Sync.Example.COM:443/Rapport//") ==
          "https://sync.example.com:443/Rapport");
    CHECK(server_address("http://127.0.0.1:8470") == "http://127.0.0.1:8470");
    CHECK(server_address("http://[::1]:8470/") == "http://[::1]:8470");
    CHECK(server_address("http://LOCALHOST") == "http://localhost");
    for (const char* url : {"http://sync.example.com",
                            "http://127.0.0.1.example.com",
                            "http://localhost.example.com",
                            "http://user@localhost",
                            "http://localhost@example.com",
                            "ftp://localhost",
                            "localhost:8470",
                            "",
                            "https://",
                            "https://host:",
                            "https://host:99999999",
                            "https://host:x",
                            "https://host?x=1",
                            "https://host#x",
                            "https://ho st",
                            "http://[::1]evil.example",
                            "http://[::1",
                            "https://host\\@other",
                            "http://127.0.0.1.",
                            "http://10.0.0.1"})
        CHECK_THROWS_AS(server_address(url), Error);
}

TEST_CASE(
    "backoff grows with every failure, is drawn anew each time, and never ends before the server "
    "asked") {
    StillEnvironment environment;
    Backoff backoff;
    std::vector<std::int64_t> most(12, 0);
    for (int round = 0; round < 400; ++round) {
        backoff.succeeded();
        for (std::int64_t& m : most)
            m = std::max(m, backoff.next(environment, std::nullopt).count());
    }
    for (std::size_t i = 0; i < most.size(); ++i) {
        const std::int64_t bound = std::min<std::int64_t>(1000LL << i, 300'000);
        CHECK(most[i] <= bound);
        CHECK(most[i] > bound * 9 / 10);
    }
    CHECK(backoff.next(environment, Milliseconds(400'000)) == Milliseconds(400'000));
}

}  // namespace rapport
