// SPDX-License-Identifier: Apache-2.0
#include "client/session.hpp"

#include <algorithm>

#include "protocol/messages.hpp"

namespace rapport {
namespace {

// More than one comes of late copies of requests, which a restored server takes for new ones.
constexpr int kMismatchesMax = 8;
constexpr std::size_t kOrdersHandedMax = 500;

protocol::Entry wire(const EntryRef& e) { return {e.id, e.tag}; }

bool known(Verdict v) { return v >= Verdict::applied && v <= Verdict::review; }

Incoming incoming_of(protocol::Reply&& reply) {
    Incoming in;
    in.next = reply.next;
    in.tag = reply.tag;
    in.leaves_entry = reply.tag != 0;
    in.cursor = std::move(reply.cursor);
    in.receipt = reply.receipt;
    in.checkpoint = reply.checkpoint;
    in.download = reply.download;
    in.renewal = reply.renewal;
    in.revoked = reply.revoked;
    in.incomplete = std::move(reply.incomplete);
    in.server_time_ms = reply.server_time_ms;
    in.scopes = std::move(reply.scopes);
    in.limits = reply.limits;
    in.erasures = std::move(reply.erasures);
    in.records.reserve(reply.records.size());
    for (std::string& bytes : reply.records)
        in.records.push_back(IncomingRecord::from(std::move(bytes)));
    in.not_yours = std::move(reply.not_yours);
    for (protocol::BundleVerdict& v : reply.verdicts) {
        if (!known(v.verdict))
            throw Error(ErrorCode::protocol_violated, "a verdict of unknown kind");
        in.verdicts.push_back({v.counter, v.verdict, std::move(v.reasons)});
    }
    for (protocol::Departed& d : reply.departures)
        in.departures.push_back({d.kind, d.id, d.move, std::move(d.scope)});
    for (protocol::Author& a : reply.authors)
        in.authors.insert_or_assign(a.writer, std::move(a.name));
    return in;
}

}  // namespace

void Session::begin() {
    replica_.begin_run();
    mismatches_ = 0;
}

std::string Session::next_request() {
    if (!replica_.identity())
        throw Error(ErrorCode::not_enrolled, "this file is not enrolled with a server");
    const Limits limits = replica_.limits();
    Outgoing out = replica_.compose(limits);
    protocol::Request request;
    request.kind = static_cast<std::uint8_t>(out.kind);
    request.writer = out.writer;
    request.last = wire(out.last);
    request.next = out.next;
    request.limits_version = limits.version;
    request.bundles = std::move(out.bundles);
    request.basis = wire(out.basis);
    request.cursor = std::move(out.cursor);
    request.receipt = out.receipt;
    request.parent = out.parent;
    request.credential = std::move(out.credential);
    request.file = out.file;
    request.more = out.more;
    for (const SentBundle& bundle : out.sent) request.sent.push_back({bundle.counter, bundle.hash});
    for (auto& [writer, name] : out.authors) request.authors.push_back({writer, std::move(name)});
    request.witnessed = std::move(out.witnessed);
    request.touched = std::move(out.touched);
    const ErasureOrder done = replica_.order_done();
    request.anew = replica_.anew();
    request.erasures = done.number;
    request.erasures_claim = done.claim;
    if (orders_known_) request.handed = replica_.orders_after(*orders_known_, kOrdersHandedMax);
    return encode(request);
}

Session::Step Session::take_reply(std::string_view archive) {
    auto reply = decode<protocol::Reply>(archive);
    if (reply.outcome > protocol::Outcome::erasures_wanted)
        throw Error(ErrorCode::protocol_violated, "a reply with an unknown outcome");
    Step step;
    if (!replica_.in_flight(reply.next)) return step;
    if (reply.outcome == protocol::Outcome::erasures_wanted) {
        if (orders_known_ == reply.erasures_known)
            throw Error(ErrorCode::protocol_violated,
                        "the server asks again for erasure orders it was handed");
        orders_known_ = reply.erasures_known;
        step.counted = true;
        return step;
    }
    if (reply.outcome != protocol::Outcome::ok) {
        step.counted = true;
        step.out_of_step = ++mismatches_ > kMismatchesMax;
        if (reply.outcome == protocol::Outcome::mismatch) {
            std::vector<EntryRef> entries;
            for (const protocol::Entry& e : reply.entries) entries.push_back({e.id, e.tag});
            replica_.recover(entries);
        } else if (reply.outcome == protocol::Outcome::fork) {
            replica_.fork();
        } else {
            replica_.note_declined();
            step.declined = true;
        }
        return step;
    }
    orders_known_.reset();
    Incoming in = incoming_of(std::move(reply));
    const bool checkpoint = in.checkpoint;
    step.revoked = in.revoked;
    step.page_records = in.records.size();
    const auto settled = replica_.settle(std::move(in));
    if (!settled) return {};
    step.counted = true;
    step.settled = *settled;
    if (in.checkpoint)
        while (replica_.tidy()) {
        }
    // What was carried out is acknowledged at once, by one more request.
    const std::uint64_t done_before = checkpoint ? replica_.order_done().number : 0;
    const bool acknowledges =
        checkpoint && replica_.scrub() && replica_.order_done().number != done_before;
    step.done = checkpoint && !acknowledges && replica_.sendable(1) == 0;
    return step;
}

}  // namespace rapport
