// SPDX-License-Identifier: Apache-2.0
#include "server/http/face.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <new>
#include <utility>

#include "protocol/messages.hpp"
#include "rapport/error.hpp"
#include "server/auth/access.hpp"
#include "server/auth/secret.hpp"
#include "server/feed.hpp"
#include "server/http/log.hpp"

namespace rapport::server::http {

namespace {

constexpr std::size_t kRequestSlack = 64 * 1024;  // of a request beside its bundles
constexpr std::size_t kPackedSlack = 1024;        // of a body that zstd could not make smaller
constexpr std::chrono::seconds kRetryAfter{5};
constexpr std::string_view kNdjson = "application/x-ndjson";

struct Route {
    std::string_view path, method;
};
constexpr std::string_view kMetrics = "/metrics";
constexpr std::array<Route, 6> kRoutes{{{"/v1/sync", "POST"},
                                        {"/v1/enrol", "POST"},
                                        {"/v1/feed", "GET"},
                                        {"/healthz", "GET"},
                                        {"/readyz", "GET"},
                                        {kMetrics, "GET"}}};

Response busy(std::string_view sentence) {
    return problem(503, "unavailable", "retry", sentence, kRetryAfter);
}

Response not_authorised(std::string_view sentence) {
    return problem(401, name_of(ErrorCode::not_authorised), "re_enrol", sentence);
}

Response bad_argument(std::string_view sentence) {
    return problem(400, name_of(ErrorCode::invalid_argument), "stop", sentence);
}

Response of_error(const Error& error) {
    switch (error.code()) {
        case ErrorCode::protocol_violated:
            return problem(400, name_of(error.code()), "stop", error.what());
        case ErrorCode::limit_exceeded:
            return problem(413, name_of(error.code()), "refresh", error.what());
        case ErrorCode::invalid_argument:
            return bad_argument(error.what());
        case ErrorCode::not_authorised:
            return not_authorised(error.what());
        default:
            break;
    }
    log::write(log::Level::error, "request_failed",
               {{"code", name_of(error.code())}, {"detail", error.detail()}});
    return busy("the server cannot do this now");
}

Response of_answer(const Engine::Answer& answer) {
    for (const ErrorCode code :
         {ErrorCode::protocol_violated, ErrorCode::limit_exceeded, ErrorCode::not_authorised})
        if (answer.error_code == name_of(code)) return of_error(Error(code, answer.error_sentence));
    if (answer.error_code == name_of(ErrorCode::cancelled)) return busy(answer.error_sentence);
    return problem(500, answer.error_code, "retry", "the server met a fault of its own");
}

/// Type and subtype in lower case, without parameters.
std::string media_type(std::string_view value) {
    std::string type(value.substr(0, value.find(';')));
    while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.pop_back();
    for (char& c : type)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return type;
}

std::string percent_decoded(std::string_view text) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%') {  // two hex digits follow, as framing has seen to
            out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::vector<const Kind*> kinds_of(std::string_view names) {
    std::vector<const Kind*> kinds;
    for (;;) {
        const std::size_t comma = names.find(',');
        kinds.push_back(kind_named(names.substr(0, comma)));
        if (kinds.back() == nullptr)
            throw Error(ErrorCode::invalid_argument, "kind is not one of the record kinds");
        if (comma == std::string_view::npos) return kinds;
        names.remove_prefix(comma + 1);
    }
}

/// Where a reader without a cursor begins: `start`, `end`, or a time.
std::uint64_t commit_from(Transaction& snapshot, const std::string& tenant,
                          const std::string& from) {
    if (from == "start") return 0;
    if (from == "end") return snapshot.feed_head(tenant);
    if (const auto at = Instant::parse(from))
        return snapshot.commit_before(tenant, at->at.time_since_epoch().count());
    throw Error(ErrorCode::invalid_argument,
                "from is start, end or a time such as 2026-03-02T09:30:00Z");
}

/// Throws Error(invalid_argument): a parameter that is misspelt must not read as "everything".
FeedRequest feed_request(Transaction& snapshot, const std::string& tenant, std::string_view query) {
    FeedRequest request;
    request.tenant = tenant;
    std::vector<std::string> seen;
    while (!query.empty()) {
        const std::string_view pair = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), pair.size() + 1));
        const std::size_t equals = pair.find('=');
        const std::string name = percent_decoded(pair.substr(0, equals));
        const std::string value = equals == std::string_view::npos
                                      ? std::string()
                                      : percent_decoded(pair.substr(equals + 1));
        if (std::find(seen.begin(), seen.end(), name) != seen.end())
            throw Error(ErrorCode::invalid_argument, "a parameter appears twice");
        seen.push_back(name);
        if (name == "after") {
            const auto commit = value.empty() ? std::optional<std::uint64_t>(0) : commit_of(value);
            if (!commit)
                throw Error(ErrorCode::invalid_argument, "after is not a cursor of this feed");
            request.after = *commit;
        } else if (name == "from") {
            request.after = commit_from(snapshot, tenant, value);
        } else if (name == "limit") {
            const auto [end, fault] =
                std::from_chars(value.data(), value.data() + value.size(), request.limit);
            if (fault != std::errc() || end != value.data() + value.size() || request.limit < 1 ||
                request.limit > kFeedLimitMax)
                throw Error(ErrorCode::invalid_argument, "limit is not a number from 1 to 5000");
        } else if (name == "kind") {
            request.kinds = kinds_of(value);
        } else {
            throw Error(ErrorCode::invalid_argument,
                        "the parameters are after, from, limit and kind");
        }
    }
    const auto given = [&](const char* name) {
        return std::find(seen.begin(), seen.end(), name) != seen.end();
    };
    if (given("after") && given("from"))
        throw Error(ErrorCode::invalid_argument, "after and from both say where to begin");
    return request;
}

}  // namespace

Face::Face(Storage& storage, Environment& environment, CommitQueue& queue, const Limits& limits,
           Watch watch, const Erasures* erasures)
    : storage_(storage),
      environment_(environment),
      queue_(queue),
      watch_(std::move(watch)),
      token_hash_(watch_.token.empty() ? std::string() : sha256_hex(watch_.token)),
      erasures_(erasures),
      archive_bytes_max_(limits.request_bytes_max + limits.bundle_bytes_max + kRequestSlack) {}

Admission Face::admit(const Head& head) {
    const auto refuse = [](Response response) { return Admission{std::move(response), 0, 0}; };
    const auto route = std::find_if(kRoutes.begin(), kRoutes.end(),
                                    [&](const Route& r) { return r.path == head.path; });
    if (route == kRoutes.end() || (route->path == kMetrics && token_hash_.empty()))
        return refuse(problem(404, "not_found", "stop", "there is nothing at this path"));
    if (head.method != route->method && !(head.method == "HEAD" && route->method == "GET")) {
        Response response =
            problem(405, "invalid_argument", "stop", "this path takes another method");
        response.fields.emplace_back("Allow", route->method == "GET" ? "GET, HEAD" : "POST");
        return refuse(std::move(response));
    }
    if (route->method == "GET") return {};

    const std::string_view encoding = head.field("content-encoding");
    const std::string_view type =
        route->path == "/v1/sync" ? protocol::kContentType : "application/json";
    if (media_type(head.field("content-type")) != type ||
        (!encoding.empty() && encoding != "identity"))
        return refuse(problem(415, "protocol_violated", "stop",
                              "the body is not of the type this path takes"));
    if (route->path == "/v1/enrol") return {std::nullopt, kEnrolBytesMax, 0};
    try {
        const auto device =
            device_of(*storage_.begin_read(), bearer_of(head.field("authorization")));
        if (!device) return refuse(not_authorised("the credential is unknown or revoked"));
        return {std::nullopt, archive_bytes_max_ + kPackedSlack, device->writer};
    } catch (const Error& error) {
        return refuse(of_error(error));
    }
}

void Face::handle(Request request, std::function<void(Response)> done) {
    try {
        const std::string& path = request.head.path;
        if (path == "/v1/sync") return sync(std::move(request), std::move(done));
        if (path == "/v1/enrol") return enrol(request, std::move(done));
        if (path == "/v1/feed") return done(feed(request));
        if (path == "/readyz") return done(ready());
        if (path == kMetrics) return done(metrics(request));
        return done(json(200, "{\"alive\":true}\n"));
    } catch (const Error& error) {
        done(of_error(error));
    } catch (const std::bad_alloc&) {
        done(busy("the server has no memory for this now"));
    }
}

void Face::sync(Request request, std::function<void(Response)> done) {
    Engine::Call call{request.writer, {}};
    try {
        call.archive = protocol::unpack(request.body, archive_bytes_max_);
    } catch (const Error& error) {
        Response response = of_error(error);
        response.close = true;  // who sends what is no message need not be understood any further
        return done(std::move(response));
    }
    request.body = {};
    const bool taken = queue_.submit(std::move(call), [done](CommitQueue::Outcome outcome) {
        if (outcome.storage_failed) return done(busy("the storage does not take anything now"));
        if (!outcome.answer.error_code.empty()) return done(of_answer(outcome.answer));
        Response response;
        response.content_type = protocol::kContentType;
        response.body = std::move(outcome.answer.archive);
        response.finish = [](Response& ready) {
            ready.body = protocol::pack(std::move(ready.body), protocol::Contents::reply);
        };
        done(std::move(response));
    });
    if (!taken) done(busy("the server has more to do than it can take"));
}

void Face::enrol(const Request& request, std::function<void(Response)> done) {
    EnrolmentRequest wanted;
    try {
        wanted = enrolment_request_from_json(request.body);
    } catch (const Error& error) {
        return done(of_error(error));
    }
    const bool taken = queue_.post([this, wanted = std::move(wanted), done](Engine&) {
        Response response;
        try {
            const auto transaction = storage_.begin_write();
            const auto enrolment = redeem(*transaction, environment_, wanted);
            if (enrolment) {
                transaction->commit();
                log::write(log::Level::info, "device_enrolled",
                           {{"writer", std::to_string(enrolment->writer)}});
                response = json(200, to_json(*enrolment) + '\n');
            } else {
                log::write(log::Level::warning, "enrolment_refused");
                response = problem(403, name_of(ErrorCode::not_authorised), "stop",
                                   "the code is unknown, used or expired; ask for a new one");
            }
        } catch (const Error& error) {
            response = of_error(error);
        }
        done(std::move(response));
    });
    if (!taken) done(busy("the server has more to do than it can take"));
}

Response Face::feed(const Request& request) {
    const auto snapshot = storage_.begin_read();
    const auto key = api_key_of(*snapshot, bearer_of(request.head.field("authorization")));
    if (!key)
        return problem(401, name_of(ErrorCode::not_authorised), "stop",
                       "the key is unknown or revoked");
    if (key->role != Role::feed && key->role != Role::admin)
        return problem(403, name_of(ErrorCode::not_authorised), "stop",
                       "this key may not read the feed");
    const FeedRequest wanted = feed_request(*snapshot, key->tenant, request.head.query);
    if (wanted.after > snapshot->feed_head(key->tenant))
        return problem(409, name_of(ErrorCode::conflict), "resynchronise",
                       "the cursor is ahead of the feed, so the server was restored from a backup: "
                       "read again without after");
    Response response;
    response.content_type = kNdjson;
    response.body = feed_page(*snapshot, wanted);
    return response;
}

Response Face::ready() {
    if (draining_) return json(503, "{\"ready\":false,\"reason\":\"stopping\"}\n");
    if (erasures_ && erasures_->lacking())
        return json(503, "{\"ready\":false,\"reason\":\"erasures\"}\n");
    try {
        storage_.begin_read()->last_stamp();
        return json(200, "{\"ready\":true}\n");
    } catch (const Error&) {
        return json(503, "{\"ready\":false,\"reason\":\"storage\"}\n");
    }
}

Response Face::metrics(const Request& request) {
    // By its hash, so that how long the comparison takes says nothing of the token.
    if (sha256_hex(bearer_of(request.head.field("authorization"))) != token_hash_)
        return problem(401, name_of(ErrorCode::not_authorised), "stop",
                       "the metrics need the token this server was started with");
    Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = watch_.metrics.text({watch_.connections(), queue_.waiting()});
    return response;
}

void Face::answered(std::string_view path, int status, std::size_t bytes_in,
                    std::size_t bytes_out) {
    watch_.metrics.request(path, status, bytes_in, bytes_out);
}

}  // namespace rapport::server::http
