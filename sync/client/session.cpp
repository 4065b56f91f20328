// SPDX-License-Identifier: Apache-2.0
#include "client/session.hpp"

#include <algorithm>

#include "protocol/messages.hpp"

namespace rapport {
namespace {

protocol::Entry wire(const EntryRef& e) { return {e.id, e.tag}; }

std::vector<RecordState> decode_all(const std::vector<std::string>& records) {
    std::vector<RecordState> decoded;
    decoded.reserve(records.size());
    for (const std::string& bytes : records) decoded.push_back(decode_record(bytes));
    return decoded;
}

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
    in.incomplete = std::move(reply.incomplete);
    in.server_time_ms = reply.server_time_ms;
    in.scopes = std::move(reply.scopes);
    in.limits = reply.limits;
    in.records = decode_all(reply.records);
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

void Session::begin() { replica_.begin_run(); }

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
    request.witnessed = std::move(out.witnessed);
    request.touched = std::move(out.touched);
    return encode(request);
}

Session::Step Session::take_reply(std::string_view archive) {
    auto reply = decode<protocol::Reply>(archive);
    if (reply.outcome != protocol::Outcome::ok && reply.outcome != protocol::Outcome::mismatch)
        throw Error(ErrorCode::protocol_violated, "a reply with an unknown outcome");
    Step step;
    if (!replica_.in_flight(reply.next)) return step;
    if (reply.outcome == protocol::Outcome::mismatch) {
        std::vector<EntryRef> entries;
        for (const protocol::Entry& e : reply.entries) entries.push_back({e.id, e.tag});
        replica_.note_mismatch(entries);
        step.counted = true;
        step.needs_recovery = true;
        return step;
    }
    Incoming in = incoming_of(std::move(reply));
    const bool checkpoint = in.checkpoint;
    step.page_records = in.records.size();
    const auto settled = replica_.settle(std::move(in));
    if (!settled) return {};
    step.counted = true;
    step.settled = *settled;
    if (in.checkpoint)
        while (replica_.tidy()) {
        }
    step.needs_recovery = replica_.needs_recovery();
    step.done = checkpoint && replica_.sendable(1) == 0;
    return step;
}

}  // namespace rapport
