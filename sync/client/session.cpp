// SPDX-License-Identifier: Apache-2.0
#include "client/session.hpp"

#include <algorithm>

#include "protocol/messages.hpp"

namespace rapport {
namespace {

// More than one comes of late copies of requests, which a restored server takes for new ones.
constexpr int kMismatchesMax = 8;
constexpr std::size_t kOrdersHandedMax = 500;
constexpr int kInVainMax = 5;

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
    in.renewal_begins = reply.renewal_begins;
    in.revoked = reply.revoked;
    in.incomplete = std::move(reply.incomplete);
    in.server_time_ms = reply.server_time_ms;
    in.scopes = std::move(reply.scopes);
    in.limits = reply.limits;
    in.erasures = std::move(reply.erasures);
    auto next = reply.records.begin();
    if (reply.compared)
        for (protocol::Differing& part : reply.compared->differing) {
            if (part.records > static_cast<std::size_t>(reply.records.end() - next))
                throw Error(ErrorCode::protocol_violated, "a page lacks records it announces");
            IncomingStretch& stretch = in.differing.emplace_back();
            stretch.from = std::move(part.from);
            stretch.to = std::move(part.to);
            for (; part.records > 0; --part.records)
                stretch.records.push_back(IncomingRecord::from(std::move(*next++)));
        }
    in.records.reserve(static_cast<std::size_t>(reply.records.end() - next));
    for (; next != reply.records.end(); ++next)
        in.records.push_back(IncomingRecord::from(std::move(*next)));
    in.confirmed = std::move(reply.confirmed);
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
    again_ = false;
}

std::string Session::next_request() {
    if (!replica_.identity())
        throw Error(ErrorCode::not_enrolled, "this file is not enrolled with a server");
    const Limits limits = replica_.limits();
    Outgoing out = replica_.compose(limits, next_comparison());
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
    request.comparison = std::move(out.comparison);
    const ErasureOrder done = replica_.order_done();
    request.anew = replica_.anew();
    request.erasures = done.number;
    request.erasures_claim = done.claim;
    if (orders_known_) request.handed = replica_.orders_after(*orders_known_, kOrdersHandedMax);
    // Bundles are nearly all of it.
    constexpr std::size_t kBesides = 4096, kLength = 5;
    std::size_t size = kBesides;
    for (const std::string& bundle : request.bundles) size += bundle.size() + kLength;
    WireWriter w;
    w.reserve(size);
    w(request);
    return w.take();
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
    std::optional<ComparePoint> compared_to;
    if (reply.compared) compared_to = reply.compared->up_to;
    Incoming in = incoming_of(std::move(reply));
    const bool checkpoint = in.checkpoint, changed = in.leaves_entry;
    step.revoked = in.revoked;
    step.page_records = in.records.size();
    const auto settled = replica_.settle(std::move(in));
    if (!settled) return {};
    step.counted = true;
    step.settled = *settled;
    // The answer to a repeat leaves nothing out, so it cannot differ once more.
    step.out_of_step = settled->again && again_;
    again_ = settled->again;
    if (again_) return step;
    if (in.checkpoint)
        while (replica_.tidy()) {
        }
    // What was carried out is acknowledged at once, by one more request.
    const std::uint64_t done_before = checkpoint ? replica_.order_done().number : 0;
    const bool acknowledges =
        checkpoint && replica_.scrub() && replica_.order_done().number != done_before;
    step.done = checkpoint && !acknowledges && replica_.sendable(1) == 0;
    if (comparing_) {
        comparing_->differing += settled->differing;
        step.compared =
            go_on_comparing(compared_to, step.done || step.revoked, changed || settled->mended > 0);
        step.done = step.done && !comparing_;
    }
    return step;
}

void Session::compare() { comparing_.emplace(); }

std::optional<Comparison> Session::next_comparison() {
    if (!comparing_) return std::nullopt;
    if (comparing_->open.empty()) comparing_->open = replica_.stretches_behind(comparing_->up_to);
    if (comparing_->open.empty()) return std::nullopt;
    const auto count = std::min(comparing_->open.size(), kStretchesMax);
    return Comparison{
        comparing_->up_to,
        {comparing_->open.begin(), comparing_->open.begin() + static_cast<std::ptrdiff_t>(count)}};
}

bool Session::go_on_comparing(const std::optional<ComparePoint>& up_to, bool at_rest,
                              bool changed) {
    Comparing& c = *comparing_;
    if (up_to && *up_to == end_of_comparison()) {
        end_comparison(true);
        return true;
    }
    if (up_to && precedes(c.up_to, *up_to)) {
        c.up_to = *up_to;
        c.in_vain = 0;
        const auto last = std::find_if(c.open.begin(), c.open.end(),
                                       [&](const Stretch& s) { return s.to == *up_to; });
        // Of one that was too long to come whole, the rest is counted anew.
        c.open.erase(c.open.begin(), last == c.open.end() ? last : last + 1);
    } else if (up_to ? ++c.in_vain == kInVainMax : at_rest) {
        end_comparison(false);
        return false;
    }
    if (changed) c.open.clear();
    return false;
}

void Session::end_comparison(bool whole) {
    replica_.note_compared(whole ? std::optional(comparing_->differing) : std::nullopt);
    comparing_.reset();
}

bool Session::take_rejected() {
    if (!replica_.drop_comparison()) return false;
    if (comparing_) end_comparison(false);
    return true;
}

}  // namespace rapport
