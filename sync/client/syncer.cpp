// SPDX-License-Identifier: Apache-2.0
#include "rapport/sync/syncer.hpp"

#include <algorithm>
#include <charconv>

#include "client/address.hpp"
#include "client/session.hpp"
#include "model/json_text.hpp"
#include "model/json_tree.hpp"
#include "model/planted.hpp"
#include "protocol/messages.hpp"

namespace rapport {
namespace {

constexpr Milliseconds kExchangeTimeMax{120'000};  // a megabyte at 10 KB/s
constexpr Milliseconds kEnrolTimeMax{30'000};
constexpr std::size_t kReplyBytesMax = 16U << 20;  // a page, and one record larger than a page
constexpr std::size_t kEnrolReplyBytesMax = 64 * 1024;
constexpr Milliseconds kBackoffBase{1'000}, kBackoffCap{300'000};
constexpr Milliseconds kRetryAfterMax{24 * 3600'000};
constexpr const char* kProblemType = "application/problem+json";

bool has_type(const HttpResponse& response, std::string_view type) {
    std::string_view given = response.content_type;
    given = given.substr(0, given.find(';'));
    while (!given.empty() && given.back() == ' ') given.remove_suffix(1);
    return std::equal(given.begin(), given.end(), type.begin(), type.end(), [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b;
    });
}

/// Seconds only: a date would trust two clocks.
std::optional<Milliseconds> retry_after(const HttpResponse& response) {
    const auto header = response.headers.find("retry-after");
    if (header == response.headers.end()) return std::nullopt;
    std::uint32_t seconds = 0;
    const std::string& text = header->second;
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return std::min(Milliseconds(std::int64_t{seconds} * 1000), kRetryAfterMax);
}

/// What a problem document says (RFC 9457); nothing if the answer is none.
std::optional<std::string> problem_in(const HttpResponse& response) {
    if (!has_type(response, kProblemType)) return std::nullopt;
    const JsonTree read = read_json(response.body);
    const nlohmann::json& body = read.tree;
    if (!body.is_object()) return std::nullopt;
    for (const char* member : {"detail", "title"})
        if (const auto at = body.find(member);
            at != body.end() && at->is_string() && !at->get_ref<const std::string&>().empty())
            return at->get<std::string>();
    return "the server refused the request with status " + std::to_string(response.status);
}

bool try_again_later(int status) { return status == 408 || status == 429 || status >= 500; }

/// Why an answer that is no reply is none, and what that makes of the sync.
struct Failure {
    SyncEnd end = SyncEnd::not_reached;
    std::string sentence;
};

constexpr const char* kSomebodyElse =
    "something between this device and the server answered in its place, such as the sign-in page "
    "of a public network";

Failure failure_of(const HttpResponse& response) {
    if (response.status == 0)
        return {SyncEnd::not_reached,
                "the server was not reached" +
                    (response.failure.empty() ? "" : ": " + response.failure)};
    const auto problem = problem_in(response);
    if (try_again_later(response.status))
        return {SyncEnd::not_reached, problem ? "the server is busy or away: " + *problem
                                              : "the server is busy or away (status " +
                                                    std::to_string(response.status) + ")"};
    if ((response.status == 401 || response.status == 403) &&
        (problem || !has_type(response, "text/html")))
        return {SyncEnd::not_authorised,
                problem ? *problem : "the server does not know this device's credential any more"};
    if (problem) return {SyncEnd::rejected, *problem};
    return {SyncEnd::not_reached, kSomebodyElse};
}

}  // namespace

std::string_view name_of(SyncEnd end) {
    switch (end) {
        case SyncEnd::complete:
            return "complete";
        case SyncEnd::out_of_budget:
            return "out_of_budget";
        case SyncEnd::not_reached:
            return "not_reached";
        case SyncEnd::not_authorised:
            return "not_authorised";
        case SyncEnd::needs_recovery:
            return "needs_recovery";
        case SyncEnd::rejected:
            return "rejected";
        case SyncEnd::cancelled:
            return "cancelled";
        case SyncEnd::not_enrolled:
            return "not_enrolled";
    }
    return "unknown";
}

std::string to_json(const SyncResult& r) {
    JsonObject object;
    object.add("end", name_of(r.end))
        .add("sentence", r.sentence)
        .add("sent", r.sent)
        .add("applied", r.applied)
        .add("conflicted", r.conflicted)
        .add("refused", r.refused)
        .add("later", r.later)
        .add("review", r.review)
        .add("decided", r.decided)
        .add("unanswered", r.unanswered)
        .add("left", r.left)
        .add("received", r.received)
        .add("compared", r.compared)
        .add("mended", r.mended)
        .add("differing", r.differing)
        .add("requests", r.requests)
        .add("bytes_sent", r.bytes_sent)
        .add("bytes_received", r.bytes_received);
    if (r.retry_after) object.add("retry_after_ms", r.retry_after->count());
    return object.text();
}

Milliseconds Backoff::next(Environment& environment, std::optional<Milliseconds> retry_after) {
    Milliseconds most = kBackoffBase;
    for (int i = 0; i < failures_ && most < kBackoffCap; ++i) most *= 2;
    most = std::min(most, kBackoffCap);
    failures_ = std::min(failures_ + 1, 30);
    const Milliseconds drawn(static_cast<std::int64_t>(
        environment.random64() % (static_cast<std::uint64_t>(most.count()) + 1)));
    return std::max(drawn, retry_after.value_or(Milliseconds{0}));
}

struct Syncer::Impl {
    Impl(Store& s, Transport& t, Environment& e) : store(s), transport(t), environment(e) {}
    Store& store;
    Transport& transport;
    Environment& environment;
    std::atomic<bool> cancel{false};
    Backoff backoff;

    class Run;
};

/// One sync_for().
class Syncer::Impl::Run {
public:
    Run(Impl& impl, const SyncBudget& budget,
        const std::function<void(const SyncProgress&)>& progress)
        : impl_(impl),
          replica_(impl.store),
          session_(impl.store),
          budget_(budget),
          progress_(progress),
          deadline_(impl.environment.now().at +
                    std::min(budget.time, Milliseconds(365LL * 24 * 3600 * 1000))) {}

    SyncResult run() {
        if (replica_.identity()) {
            converse();
        } else {
            end(SyncEnd::not_enrolled,
                "this file is not enrolled with a server; redeem an invitation code first");
        }
        add_up();
        if (result_.end == SyncEnd::not_reached)
            result_.retry_after = impl_.backoff.next(impl_.environment, asked_to_wait_);
        else
            impl_.backoff.succeeded();
        return result_;
    }

private:
    void end(SyncEnd how, std::string sentence) {
        result_.end = how;
        result_.sentence = std::move(sentence);
    }

    void converse() {
        if (replica_.declined()) return end_declined();
        session_.begin();
        report();
        while (true) {
            if (impl_.cancel)
                return end(SyncEnd::cancelled, "the sync was stopped; the rest goes next time");
            const Milliseconds left = deadline_ - impl_.environment.now().at;
            if (left.count() <= 0) return end_of_time();
            const std::string body =
                protocol::pack(session_.next_request(), protocol::Contents::request);
            if (used() + body.size() > budget_.bytes)
                return end(SyncEnd::out_of_budget,
                           "the bytes of this sync are used up; the rest goes next time");
            // A fork has another credential from then on.
            const HttpResponse response = exchange(*replica_.identity(), body, left);
            if (response.cancelled)
                return end(SyncEnd::cancelled, "the sync was stopped; the rest goes next time");
            if (response.status == 0 && impl_.environment.now().at >= deadline_)
                return end_of_time();
            if (!take(response)) return;
        }
    }

    HttpResponse exchange(const Identity& identity, const std::string& body, Milliseconds left) {
        HttpRequest request;
        request.url = identity.server + "/v1/sync";
        request.headers = {{"Authorization", "Bearer " + identity.credential},
                           {"Content-Type", protocol::kContentType}};
        request.body = body;
        request.timeout = std::min(left, kExchangeTimeMax);
        request.reply_bytes_max = kReplyBytesMax;
        ++result_.requests;
        const std::uint64_t sent_before = result_.bytes_sent,
                            received_before = result_.bytes_received;
        const HttpResponse response = impl_.transport.exchange(
            request, impl_.cancel, [&](std::uint64_t sent, std::uint64_t received) {
                result_.bytes_sent = sent_before + sent;
                result_.bytes_received = received_before + received;
                tell();
            });
        if (response.status != 0) {
            result_.bytes_sent = sent_before + body.size();
            result_.bytes_received = received_before + response.body.size();
        }
        return response;
    }

    /// Returns whether to go on.
    bool take(const HttpResponse& response) {
        if (!RAPPORT_PLANTED("ignore_retry_after")) asked_to_wait_ = retry_after(response);
        if (response.status != 200) {
            Failure failure = failure_of(response);
            if (failure.end == SyncEnd::not_authorised && session_.take_not_known()) return true;
            if (failure.end == SyncEnd::rejected && session_.take_rejected()) return true;
            end(failure.end, std::move(failure.sentence));
            return false;
        }
        if (!has_type(response, protocol::kContentType)) {
            end(SyncEnd::not_reached, kSomebodyElse);
            return false;
        }
        std::string archive;
        try {
            archive = protocol::unpack(response.body, kReplyBytesMax);
        } catch (const Error& e) {
            end(SyncEnd::not_reached,
                std::string("the server's answer arrived damaged: ") + e.what());
            return false;
        }
        Session::Step step;
        try {
            step = session_.take_reply(archive);
        } catch (const Error& e) {
            if (e.code() != ErrorCode::protocol_violated) throw;
            end(SyncEnd::rejected,
                std::string("the server's answer is not the protocol: ") + e.what());
            return false;
        }
        if (!step.counted) {
            end(SyncEnd::not_reached,
                "the answer was to another request; a proxy may keep old answers");
            return false;
        }
        result_.applied += step.settled.applied;
        result_.conflicted += step.settled.conflicted;
        result_.refused += step.settled.refused;
        result_.later += step.settled.later;
        result_.review += step.settled.review;
        result_.decided += step.settled.decided;
        result_.received += step.settled.records;
        result_.mended += step.settled.mended;
        result_.differing += step.settled.differing;
        result_.compared = result_.compared || step.compared;
        records_ += step.page_records;
        report();
        if (step.declined)
            end_declined();
        else if (step.out_of_step)
            end(SyncEnd::rejected,
                "the server and this file do not find together; nothing is lost");
        else if (step.done && step.revoked)
            end(SyncEnd::not_authorised,
                "this device is revoked: what it had not sent has been handed in, and it receives "
                "nothing any more");
        else if (step.done && compares())
            return true;
        else if (step.done)
            end(SyncEnd::complete, {});
        return result_.end == SyncEnd::complete && !step.done;
    }

    /// Begins to compare, when everything else is done: once in a run, and not in each.
    bool compares() {
        if (compares_ || (!budget_.compare && !session_.comparison_due())) return false;
        compares_ = true;
        session_.compare();
        return true;
    }

    void end_declined() {
        end(SyncEnd::needs_recovery,
            "this file is one more copy of a device; nothing is lost, and it can send again once "
            "it "
            "is enrolled with a new invitation code");
    }
    void end_of_time() {
        end(SyncEnd::out_of_budget, "the time of this sync is used up; the rest goes next time");
    }

    std::uint64_t used() const { return result_.bytes_sent + result_.bytes_received; }

    void add_up() {
        result_.unanswered = replica_.unanswered();
        result_.left = replica_.kept_back();
        // Also what an earlier run had sent: its verdicts come in this one.
        result_.sent =
            result_.applied + result_.refused + result_.later + result_.review + result_.unanswered;
        if (result_.bytes_sent > 0) return;
        result_.left += result_.unanswered;  // composed, but no byte of it left the device
        result_.sent = result_.unanswered = 0;
    }

    void report() {
        if (!progress_) return;
        shown_.bundles_done = result_.applied + result_.refused + result_.later + result_.review;
        shown_.bundles_total = shown_.bundles_done + replica_.unanswered() + session_.sendable();
        shown_.records_received = records_;
        tell();
    }
    void tell() {
        if (!progress_) return;
        shown_.bytes_sent = result_.bytes_sent;
        shown_.bytes_received = result_.bytes_received;
        progress_(shown_);
    }

    Impl& impl_;
    Replica replica_;
    Session session_;
    SyncBudget budget_;
    const std::function<void(const SyncProgress&)>& progress_;
    TimePoint deadline_;
    SyncResult result_;
    SyncProgress shown_;
    std::size_t records_ = 0;
    bool compares_ = false;
    std::optional<Milliseconds> asked_to_wait_;
};

Syncer::Syncer(Store& store, Transport& transport, Environment& environment)
    : impl_(std::make_unique<Impl>(store, transport, environment)) {}
Syncer::~Syncer() = default;

void Syncer::cancel() { impl_->cancel = true; }

SyncResult Syncer::sync_for(const SyncBudget& budget,
                            const std::function<void(const SyncProgress&)>& progress) {
    // A cancel that came just before the run began is meant for it; it is spent when the run ends.
    struct Spend {
        std::atomic<bool>& cancel;
        ~Spend() { cancel = false; }
    } spend{impl_->cancel};
    return Impl::Run(*impl_, budget, progress).run();
}

void Syncer::enrol(const std::string& server_url, const std::string& code) {
    const std::string server = server_address(server_url);
    Replica replica(impl_->store);
    const auto present = replica.identity();
    if (present && present->server != server)
        throw Error(ErrorCode::conflict, "the file is enrolled already, with another server");
    // Kept before it is sent: a lost answer is asked for again.
    std::string secret = replica.enrolment_secret();
    HttpRequest request;
    request.url = server + "/v1/enrol";
    request.headers = {{"Content-Type", "application/json"}};
    request.timeout = kEnrolTimeMax;
    request.reply_bytes_max = kEnrolReplyBytesMax;
    const auto ask = [&] {
        request.body = dumped(
            {{"code", code}, {"credential", secret}, {"file", impl_->store.overview().file_id}});
        return impl_->transport.exchange(request, impl_->cancel, {});
    };
    HttpResponse response = ask();
    // A new code for a file that was revoked or turned away needs a new credential.
    if (present && response.status != 200 && failure_of(response).end == SyncEnd::not_authorised) {
        secret = replica.new_enrolment_secret();
        response = ask();
    }
    if (response.cancelled)
        throw Error(ErrorCode::cancelled,
                    "the enrolment was stopped; the same code can be used again");
    if (response.status != 200) {
        const Failure failure = failure_of(response);
        switch (failure.end) {
            case SyncEnd::not_authorised:
                if (present)
                    throw Error(ErrorCode::conflict, "the file is enrolled already",
                                response.status);
                throw Error(ErrorCode::not_authorised, failure.sentence, response.status);
            case SyncEnd::rejected:
                throw Error(ErrorCode::protocol_violated, failure.sentence, response.status);
            default:
                throw Error(ErrorCode::network_failed, failure.sentence, response.status);
        }
    }
    if (!has_type(response, "application/json"))
        throw Error(ErrorCode::network_failed, kSomebodyElse, response.status);
    Identity identity;
    std::int64_t server_time_ms = 0;
    identity.server = server;
    identity.credential = secret;
    try {
        const JsonTree read = read_json(response.body);
        const nlohmann::json& answer = read.tree;
        identity.tenant = answer.at("tenant").get<std::string>();
        identity.rep = answer.at("rep").get<std::string>();
        const auto role = role_named(answer.at("role").get<std::string>());
        identity.scopes = answer.at("scopes").get<std::vector<std::string>>();
        const std::string writer =
            answer.at("writer").get<std::string>();  // 64 bits do not fit a JSON number
        const auto [last, fault] =
            std::from_chars(writer.data(), writer.data() + writer.size(), identity.writer);
        if (!role || fault != std::errc() || last != writer.data() + writer.size() ||
            identity.writer <= kServerWriter)
            throw Error(ErrorCode::protocol_violated,
                        "the server's answer names no role or writer this library knows");
        identity.role = *role;
        server_time_ms = answer.at("server_time_ms").get<std::int64_t>();
    } catch (const nlohmann::json::exception&) {
        throw Error(ErrorCode::protocol_violated,
                    "the server's answer to the enrolment is not what the protocol says");
    }
    replica.enrol(identity, server_time_ms);
}

}  // namespace rapport
