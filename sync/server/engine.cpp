// SPDX-License-Identifier: Apache-2.0
#include "server/engine.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <map>
#include <span>

#include "model/hash.hpp"
#include "model/planted.hpp"
#include "model/refusals.hpp"
#include "server/admission.hpp"
#include "server/auth/secret.hpp"
#include "server/comparison.hpp"
#include "server/loops.hpp"
#include "server/pull.hpp"
#include "server/recovery.hpp"

namespace rapport::server {
namespace {

constexpr std::size_t kEntriesMax = 8;  // that a request may follow
constexpr std::size_t kLevels = 12, kPerLevel = 2;
constexpr std::size_t kAnswersMax =
    64;  // to one request: the device may hold the tag of any of them
constexpr std::ptrdiff_t kOfferTagsMax = 8;  // late copies of offers draw some that nobody names
constexpr std::int64_t kSeenEveryMs =
    5 * 60'000;  // how exact `last_seen_ms` is: a poll costs no write

constexpr std::size_t kCredentialMin = 32, kCredentialMax = 256;

/// As a device file is named at its enrolment.
std::string file_name(std::uint64_t file) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string name;
    for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[(file >> shift) & 15];
    return name;
}

[[noreturn]] void violated(const char* what) { throw Error(ErrorCode::protocol_violated, what); }

/// Of the entries before the last 8 those stay that are met by a device file restored from an old
/// copy: of ids with at least n trailing zero bits the newest two, for each n. They reach back some
/// thousands of syncs, ever more thinly.
void thin(std::vector<ServerEntry>& entries) {
    std::array<std::size_t, kLevels> newer{};
    for (std::size_t i = entries.size() - std::min(entries.size(), kEntriesMax); i-- > 0;) {
        const auto level = std::min<std::size_t>(
            static_cast<std::size_t>(std::countr_zero(entries[i].id)), kLevels - 1);
        if (newer[level] == kPerLevel)
            entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(i));
        else
            for (std::size_t n = 0; n <= level; ++n) newer[n] = std::min(newer[n] + 1, kPerLevel);
    }
}

const ServerEntry::Answer* answer_of(const ServerEntry& entry, const protocol::Entry& named) {
    if (entry.id != named.id) return nullptr;
    for (const ServerEntry::Answer& answer : entry.answers)
        if (answer.tag == named.tag) return &answer;
    return nullptr;
}

/// A clock far ahead must not win over everybody until the world has caught up: such stamps become
/// the furthest that is let through, in their own order. What was sent stays readable in the stored
/// bundle. Returns whether there are such.
bool hold_back_stamps(std::vector<Bundle>& bundles, std::int64_t now_ms) {
    const Stamp furthest = HybridClock::at(now_ms + kStampAheadMsMax);
    std::map<Stamp, Stamp> replaced;
    const auto each = [&](auto work) {
        for (Bundle& bundle : bundles)
            for (Change& change : bundle.changes)
                for (Write& write : change.writes)
                    for (Added& add : write.adds)
                        if (add.stamp > furthest) work(add);
    };
    each([&](Added& add) { replaced[add.stamp]; });
    // While the clock stands, after it was set back, what was held back in the push before is
    // written over by stamps right behind it, and they stay there.
    const Stamp beyond = HybridClock::at(now_ms + kStampAheadMsMax + 1);
    Stamp next = furthest;
    bool any = false;
    for (auto& [sent, held] : replaced) {
        held = next = sent < beyond ? sent : next + 1;
        any |= held != sent;
    }
    each([&](Added& add) { add.stamp = replaced[add.stamp]; });
    return any;
}

/// A recovery goes on from a tag that this server does not know: it was restored once more.
bool forgotten(const Device& device, const protocol::Request& request) {
    return request.basis != protocol::Entry{} &&
           std::none_of(device.entries.begin(), device.entries.end(), [&](const ServerEntry& e) {
               return answer_of(e, request.basis) != nullptr;
           });
}

/// One request of one device: where it stands in the conversation, its bundles, its page.
class Exchange {
public:
    Exchange(Round& round, Device device, protocol::Request request)
        : round_(round), device_(std::move(device)), request_(std::move(request)) {}

    protocol::Reply answer() {
        reply_.next = request_.next;
        reply_.server_time_ms = round_.now_ms();
        switch (place()) {
            case Place::elsewhere:
                return mismatch();
            case Place::offers:
                take_offers(round_, device_, request_, reply_);
                reply_.checkpoint = false;
                reply_.receipt = device_.receipt;
                renew_basis();
                break;
            case Place::two_files:
                reply_.outcome = protocol::Outcome::fork;
                return std::move(reply_);
            case Place::answered_before:
                answer_again();
                break;
            case Place::next:
                take_and_answer();
                break;
        }
        if (request_.limits_version != round_.limits.version && !device_.revoked)
            reply_.limits = round_.limits;
        return std::move(reply_);
    }

    protocol::Reply mismatch() {
        reply_.next = request_.next;
        reply_.server_time_ms = round_.now_ms();
        reply_.outcome = protocol::Outcome::mismatch;
        for (const ServerEntry& entry : device_.entries)
            for (const ServerEntry::Answer& answer : entry.answers)
                reply_.entries.push_back({entry.id, answer.tag});
        return std::move(reply_);
    }

private:
    enum class Place {
        next,             ///< it follows the newest entry
        answered_before,  ///< it made the newest entry; its reply was lost
        elsewhere,        ///< a restored or cloned side, or a late duplicate
        offers,           ///< what this server may have lost; it leaves no entry
        two_files,        ///< another file sends under this writer, or has the fork's name
    };

    Place place() {
        if (request_.kind != protocol::kNormal) return place_in_recovery();
        const auto entries = last_entries();
        const auto named = [&](std::uint64_t id) {
            return std::find_if(entries.begin(), entries.end(),
                                [&](const ServerEntry& e) { return e.id == id; });
        };
        if (!find_basis()) return Place::elsewhere;
        // Entries behind the one it names, or behind its own, that took nothing up do not count: a
        // late copy of a sync that had found nothing new leaves such a one, which the device never
        // hears of, and only a cursor hangs on it.
        if (const auto own = named(request_.next);
            own != entries.end() && !RAPPORT_PLANTED("take_a_repeat_as_new"))
            return entries.back().receipt == own->receipt ? Place::answered_before
                                                          : Place::elsewhere;
        const auto basis = named(request_.last.id);
        const std::uint64_t receipt = basis == entries.end() ? 0 : basis->receipt;
        const bool met = entries.empty() || entries.back().receipt == receipt ||
                         RAPPORT_PLANTED("take_a_late_copy_as_new");
        return met && !differs_from_offered(round_, device_, request_) ? Place::next
                                                                       : Place::elsewhere;
    }

    /// To join offers again changes nothing, so they need no place of their own.
    Place place_in_recovery() {
        if (request_.more) return forgotten(device_, request_) ? Place::elsewhere : Place::offers;
        check_cursor(request_.cursor);
        const auto& entries = device_.entries;
        const bool repeated = !entries.empty() && entries.back().id == request_.next;
        // What had been offered was answered under other scopes than those of now.
        anew_ |= repeated && forgotten(device_, request_);
        if (!anew_) basis_ = with_further_streams(round_, device_, request_.cursor);
        if (repeated) return Place::answered_before;
        if (request_.kind == protocol::kFork)
            return entries.empty() ? Place::next : Place::two_files;
        const bool met = entries.empty() ? request_.basis == protocol::Entry{}
                                         : answer_of(entries.back(), request_.basis) != nullptr;
        if (!met) return Place::elsewhere;
        return differs_from_offered(round_, device_, request_) ||
                       written_by_two(round_, device_, request_)
                   ? Place::two_files
                   : Place::next;
    }

    /// Under a further tag, durable with the offers: whoever goes on from it finds out whether this
    /// server has been restored once more, and with it lost what it took.
    void renew_basis() {
        // Restored to before its first sync, which every basis without an entry stands for.
        if (device_.entries.empty()) device_.entries.push_back({0, device_.receipt, {}});
        auto entry = std::find_if(device_.entries.begin(), device_.entries.end(),
                                  [&](const ServerEntry& e) { return e.id == request_.basis.id; });
        // Who asks for a fork that was granted before knows no entry of the device it came of.
        if (entry == device_.entries.end() && request_.basis.id == 0)
            entry = device_.entries.insert(device_.entries.begin(), {0, 0, {}});
        if (entry == device_.entries.end()) return;
        auto& answers = entry->answers;
        if (std::count_if(answers.begin(), answers.end(), is_of_offers) >= kOfferTagsMax)
            answers.erase(std::find_if(answers.begin(), answers.end(), is_of_offers));
        reply_.tag = draw_tag();
        answers.push_back({reply_.tag, {}});
        if (answers.size() > kAnswersMax) answers.erase(answers.begin());
        round_.tx.save(device_);
    }

    std::span<const ServerEntry> last_entries() const {
        const auto count = std::min(device_.entries.size(), kEntriesMax);
        return {device_.entries.data() + (device_.entries.size() - count), count};
    }

    /// Finds the cursor the device continues from: that of the answer its last entry is from.
    bool find_basis() {
        if (request_.last == protocol::Entry{}) return true;
        for (const ServerEntry& entry : last_entries())
            if (const auto* answer = answer_of(entry, request_.last)) {
                if (!anew_) basis_ = answer->cursor;
                return true;
            }
        return false;
    }

    void answer_again() {
        compare_with_device();
        decode_bundles();
        for (const Bundle& bundle : bundles_)
            answer_bundle(bundle, round_.tx.verdict(device_.writer, bundle.counter));
        load_late();
        bring_down();
        answer_late();
        ServerEntry& entry =
            *std::find_if(device_.entries.begin(), device_.entries.end(),
                          [&](const ServerEntry& e) { return e.id == request_.next; });
        reply_.tag = draw_tag();
        if (!RAPPORT_PLANTED("forget_the_tag_of_a_second_answer"))
            entry.answers.push_back({reply_.tag, reply_.cursor});
        if (entry.answers.size() > kAnswersMax) entry.answers.erase(entry.answers.begin());
        save_device();
    }

    void take_and_answer() {
        compare_with_device();
        decode_bundles();
        load_late();
        if (!device_.revoked) note_delivered(round_, device_, basis_);
        // Counters never go back: what this server has lost of the device it does not give again.
        if (request_.kind != protocol::kNormal)
            device_.receipt = std::max(device_.receipt, request_.receipt);
        const std::uint64_t receipt_before = device_.receipt;
        as_sent_ = request_.kind == protocol::kNormal;
        if (!RAPPORT_PLANTED("let_any_stamp_in") && hold_back_stamps(bundles_, round_.now_ms()))
            as_sent_ = false;
        round_.changed.clear();
        for (std::size_t i = 0; i < bundles_.size(); ++i)
            answer_bundle(bundles_[i], take(bundles_[i], request_.bundles[i]));
        if (request_.kind != protocol::kNormal) settle_unrooted(round_, device_.tenant);
        bring_down();
        answer_late();
        // What this reply tells late counts as told once the device names the entry it leaves.
        if (!late_.empty()) round_.tx.tell_late_verdicts(device_.writer, request_.next);
        if (RAPPORT_PLANTED("tell_a_late_verdict_only_once"))
            round_.tx.late_verdicts_arrived(device_.writer, request_.next);
        if (request_.kind != protocol::kNormal || reply_.cursor != basis_ ||
            device_.receipt != receipt_before || !late_.empty()) {
            leave_entry();
            save_device();
        } else {
            reply_.cursor.clear();
            if (device_.last_seen_ms + kSeenEveryMs <= round_.now_ms()) save_device();
        }
    }

    /// Before anything of the request is done: what is compared is how its basis left the device.
    void compare_with_device() {
        if (!request_.comparison || request_.kind != protocol::kNormal || device_.revoked) return;
        ComparedPart part = compare(round_, device_, basis_, *request_.comparison);
        if (!part.compared.differing.empty())
            round_.tx.save(RecoveryNote{
                0, device_.tenant, round_.now_ms(), device_.writer, 0, {}, {}, kDiffered, {}});
        reply_.compared = std::move(part.compared);
        reply_.records = std::move(part.records);
        reply_.authors = std::move(part.authors);
    }

    void decode_bundles() {
        // A request was composed once, by the limits of that day, and is repeated as it is: only
        // the size of its body bounds it.
        for (const std::string& bytes : request_.bundles) {
            bundles_.push_back(decode_bundle(bytes));
            if (bundles_.size() > 1 &&
                bundles_.back().counter <= bundles_[bundles_.size() - 2].counter)
                violated("the bundles of a request rise in their counters");
            for (const std::uint64_t needed : bundles_.back().needs)
                if (needed >= bundles_.back().counter)
                    violated("a bundle needs one that is not before it");
        }
    }

    /// The verdict of a bundle: the stored one, or a new one stored with it.
    std::optional<StoredVerdict> take(Bundle& bundle, const std::string& sent) {
        if (bundle.counter <= device_.receipt)
            if (auto stored = round_.tx.verdict(device_.writer, bundle.counter)) return stored;
        if (bundle.counter != device_.receipt + 1)
            violated("the bundles of a writer follow each other without a gap");
        StoredVerdict verdict;
        close_former(bundle);
        std::string rewritten;
        const Stripped stripped = strip_erased(bundle, sent, rewritten);
        const std::string& bytes = stripped.anything ? rewritten : sent;
        if (bytes.size() > round_.limits.bundle_bytes_max) {
            verdict = {Verdict::refused, {refusal({}, {}, "too_large", {"limits"})}};
        } else if (device_.revoked && std::max(captured_ms(bundle), device_.last_sync_ms) >
                                          round_.tx.revoked_at(device_.writer).value_or(0)) {
            verdict = {Verdict::review, {refusal({}, {}, "revoked")}};
        } else {
            verdict =
                Admission(round_, device_, bundle, Authority::device, stripped.reached).judge();
        }
        if (verdict.verdict != Verdict::refused) hold(round_.tx, device_.tenant, stripped);
        // What waits comes again under another counter, and by then an order may be known to reach
        // it.
        const bool comes_again = verdict.verdict == Verdict::later;
        if (comes_again || stripped.anything)
            round_.tx.keep_sent_hash(device_.writer, bundle.counter, hash64(sent));
        round_.tx.save_verdict(device_.writer, bundle.counter, verdict,
                               comes_again ? std::string_view() : std::string_view(bytes),
                               round_.now_ms());
        if (verdict.verdict != Verdict::refused ||
            !RAPPORT_PLANTED("forget_the_receipt_of_a_refusal"))
            device_.receipt = bundle.counter;
        return verdict;
    }

    /// What an erasure order reaches is neither merged nor kept.
    Stripped strip_erased(Bundle& bundle, const std::string& bytes, std::string& rewritten) {
        if (!round_.erasures) return {};
        Stripped stripped = strip(round_.tx, *round_.erasures, device_, bundle, round_.now_ms());
        if (!stripped.anything) return stripped;
        as_sent_ = false;
        Bundle sent = decode_bundle(bytes);
        strip(round_.tx, *round_.erasures, device_, sent, round_.now_ms());
        rewritten = encode_bundle(sent);
        return stripped;
    }

    /// A bundle that was refused and comes again leaves the office's list under its former name.
    void close_former(const Bundle& bundle) {
        for (const Change& change : bundle.changes)
            for (const Write& write : change.writes)
                if (!write.former.empty() && write.former.back().writer == device_.writer)
                    return round_.tx.sent_again(device_.writer, write.former.back().counter);
    }

    /// Verdicts of people on bundles of earlier syncs that the device has not shown to know: the
    /// entry it names is not one whose reply told them.
    void load_late() {
        late_ = round_.tx.late_verdicts(device_.writer);
        const auto known = [&](const LateVerdict& v) {
            return v.told_in != 0 && v.told_in == request_.last.id;
        };
        if (std::erase_if(late_, known) > 0)
            round_.tx.late_verdicts_arrived(device_.writer, request_.last.id);
    }
    void answer_late() {
        for (const LateVerdict& v : late_) {
            const bool carried =
                std::any_of(bundles_.begin(), bundles_.end(),
                            [&](const Bundle& bundle) { return bundle.counter == v.counter; });
            if (!carried) tell(v.counter, v.verdict);
        }
    }

    void answer_bundle(const Bundle& bundle, const std::optional<StoredVerdict>& verdict) {
        if (!verdict) violated("a repeated request carries bundles it did not carry before");
        tell(bundle.counter, *verdict);
    }
    void tell(std::uint64_t counter, const StoredVerdict& verdict) {
        reply_.verdicts.push_back({counter, verdict.verdict, {}});
        if (!device_.revoked) reply_.verdicts.back().reasons = verdict.reasons;
    }

    void bring_down() {
        reply_.receipt = device_.receipt;
        if (device_.revoked) {
            reply_.revoked = true;
            reply_.cursor = basis_;
            return;
        }
        Carried carried;
        std::vector<RecordId> judged;
        const auto note_judged = [&](const Bundle& bundle) {
            for (const Change& change : bundle.changes) judged.push_back(change.id);
        };
        // What was refused the device does not merge; a restored server may hold it nevertheless,
        // offered by others.
        for (std::size_t i = 0; i < bundles_.size(); ++i)
            if (reply_.verdicts[i].verdict == Verdict::applied) {
                carried.emplace(bundles_[i].counter, &bundles_[i]);
                note_judged(bundles_[i]);
            }
        for (const LateVerdict& v : late_)
            if (v.verdict.verdict == Verdict::applied)
                if (const auto stored = round_.tx.bundle(device_.writer, v.counter);
                    stored && !stored->bytes.empty())
                    note_judged(decode_bundle(stored->bytes));
        Page page = pull(round_, device_, basis_, carried, judged, as_sent_, anew_);
        if (!page.confirmed.empty())
            reply_.confirmed = Confirmed{runs_of(page.confirmed), page.confirmed_sum};
        const auto append = [](auto& to, auto& from) {
            to.insert(to.end(), std::make_move_iterator(from.begin()),
                      std::make_move_iterator(from.end()));
        };
        append(reply_.records, page.records);
        reply_.departures = std::move(page.departures);
        reply_.not_yours = std::move(page.not_yours);
        append(reply_.authors, page.authors);
        reply_.cursor = std::move(page.cursor);
        reply_.checkpoint = page.checkpoint;
        reply_.download = page.download;
        reply_.renewal = page.renewal;
        reply_.renewal_begins = page.renewal_begins;
        reply_.incomplete = std::move(page.incomplete);
        // What this server has lost may have been a change of them that the device has heard of.
        if (page.scopes_changed || request_.kind != protocol::kNormal)
            reply_.scopes = device_.scopes;
    }

    /// Where these stand among the records of the applied bundles.
    std::vector<std::uint32_t> runs_of(const std::set<RecordId>& confirmed) const {
        std::set<RecordId> sent;
        for (std::size_t i = 0; i < bundles_.size(); ++i)
            if (reply_.verdicts[i].verdict == Verdict::applied)
                for (const Change& change : bundles_[i].changes) sent.insert(change.id);
        std::vector<std::uint32_t> runs{0};
        for (const RecordId& id : sent) {
            const bool left_out = runs.size() % 2 == 1;
            if (confirmed.contains(id) == left_out)
                ++runs.back();
            else
                runs.push_back(1);
        }
        return runs;
    }

    void leave_entry() {
        reply_.tag = draw_tag();
        device_.entries.push_back({request_.next, device_.receipt, {{reply_.tag, reply_.cursor}}});
        thin(device_.entries);
    }

    void save_device() {
        device_.last_seen_ms = round_.now_ms();
        if (!device_.revoked && sent_all()) device_.last_sync_ms = round_.now_ms();
        round_.tx.save(device_);
    }

    /// A request with room left carries all the device could send; what it did not know then it
    /// knows from now on.
    bool sent_all() const {
        std::size_t bytes = 0;
        for (const std::string& bundle : request_.bundles) bytes += bundle.size();
        return request_.bundles.size() < round_.limits.request_bundles_max &&
               bytes + round_.limits.bundle_bytes_max <= round_.limits.request_bytes_max;
    }

    std::uint64_t draw_tag() {
        std::uint64_t tag = 0;
        while (tag == 0) tag = round_.environment.random64();
        return tag;
    }

    Round& round_;
    Device device_;
    const protocol::Request request_;
    std::vector<Bundle> bundles_;
    std::string basis_;          ///< the cursor the device has
    bool anew_ = request_.anew;  ///< it gets everything anew
    bool as_sent_ = false;       ///< for the first time, and nothing of the bundles was replaced
    std::vector<LateVerdict> late_;
    protocol::Reply reply_;
};

/// The device a file becomes that finds another one, or its own past, under its name. One for each
/// credential: a third file is turned away, and listed.
std::optional<Device> forked(Round& round, const Device& parent, const protocol::Request& request) {
    if (request.parent != parent.writer)
        violated("a fork names another parent than its credential");
    if (request.credential.size() < kCredentialMin || request.credential.size() > kCredentialMax)
        violated("a fork names no credential");
    const std::string hash = sha256_hex(request.credential);
    if (const auto known = round.tx.device(request.writer)) {
        if (known->revoked)
            throw Error(ErrorCode::not_authorised, "the device is unknown or revoked");
        if (known->parent == parent.writer && known->credential_hash == hash) return known;
        return std::nullopt;
    }
    const auto devices = round.tx.devices();
    const bool granted = std::any_of(devices.begin(), devices.end(), [&](const Device& device) {
        return device.parent == parent.writer;
    });
    // Offers may have brought values that this very file wrote before the server was restored.
    const bool anothers = round.tx.author(request.writer).value_or(parent.rep) != parent.rep;
    if (granted || request.writer <= kServerWriter || anothers ||
        round.tx.device_by_credential(hash)) {
        round.tx.save(RecoveryNote{0,
                                   parent.tenant,
                                   round.now_ms(),
                                   parent.writer,
                                   0,
                                   {},
                                   {},
                                   recovery_code::kThirdFile,
                                   {}});
        return std::nullopt;
    }
    Device child = parent;
    child.writer = request.writer;
    child.parent = parent.writer;
    child.credential_hash = hash;
    child.receipt = 0;
    child.entries.clear();
    child.enrolled_at_ms = child.last_seen_ms = round.now_ms();
    child.file_id = file_name(request.file);
    round.tx.save(child);
    return child;
}

std::string answer(Round& round, const Engine::Call& call, Engine::Answer& told) {
    const auto device = round.tx.device(call.writer);
    if (!device) throw Error(ErrorCode::not_authorised, "the device is unknown");
    auto request = decode<protocol::Request>(call.archive);
    if (device->revoked && request.kind != protocol::kNormal)
        throw Error(ErrorCode::not_authorised, "the device is revoked");
    if (request.version < protocol::kVersionMin || request.version > protocol::kVersionMax)
        violated("the request has a protocol version this server does not speak");
    if (request.kind > protocol::kFork) violated("the request is of an unknown kind");
    if (request.next == 0) violated("the request names no sync id");
    if (request.writer != call.writer && request.kind != protocol::kFork)
        throw Error(ErrorCode::not_authorised,
                    "the request names another writer than its credential");
    if (round.erasures)
        if (const auto early = settle_erasures(round, *device, request)) return encode(*early);
    const std::uint64_t erasures = request.erasures;
    std::optional<Device> child;
    if (request.kind == protocol::kFork && !round.tx.device(request.writer) &&
        forgotten(*device, request))
        return encode(Exchange(round, *device, std::move(request)).mismatch());
    if (request.kind == protocol::kFork && !(child = forked(round, *device, request))) {
        protocol::Reply declined;
        declined.outcome = protocol::Outcome::declined;
        declined.next = request.next;
        declined.server_time_ms = round.now_ms();
        return encode(declined);
    }
    told.forked = child && child->entries.empty();
    const bool recovers = request.kind == protocol::kRecover && !request.more;
    protocol::Reply reply = Exchange(round, child ? *child : *device, std::move(request)).answer();
    told.recovered = recovers && reply.outcome == protocol::Outcome::ok;
    for (const protocol::BundleVerdict& v : reply.verdicts) told.verdicts.push_back(v.verdict);
    if (reply.compared) {
        told.compared = true;
        told.differing = reply.compared->differing.size();
        for (const protocol::Differing& part : reply.compared->differing)
            told.differing_records += part.records;
    }
    if (round.erasures && reply.outcome == protocol::Outcome::ok)
        reply.erasures = round.erasures->after(device->tenant, erasures, kErasuresPerReply);
    return encode(reply);
}

bool is_of_the_storage(ErrorCode code) {
    return code == ErrorCode::storage_failed || code == ErrorCode::storage_damaged ||
           code == ErrorCode::storage_busy || code == ErrorCode::storage_newer;
}

std::string code_for_peer(ErrorCode code) {
    switch (code) {
        case ErrorCode::protocol_violated:
        case ErrorCode::limit_exceeded:
        case ErrorCode::not_authorised:
        case ErrorCode::cancelled:  // not now
            return std::string(name_of(code));
        default:
            return std::string(name_of(ErrorCode::internal));
    }
}

std::optional<StoredBundle> in_review(Transaction& tx, const std::string& tenant, Dot bundle) {
    const auto device = tx.device(bundle.writer);
    if (!device || device->tenant != tenant) return std::nullopt;
    auto stored = tx.bundle(bundle.writer, bundle.counter);
    if (!stored || stored->verdict.verdict != Verdict::review) return std::nullopt;
    return stored;
}

}  // namespace

Engine::Engine(Storage& storage, Environment& environment, Limits limits, std::int64_t horizon_days,
               Erasures* erasures)
    : storage_(storage),
      environment_(environment),
      limits_(limits),
      horizon_days_(horizon_days),
      erasures_(erasures) {
    if (erasures_) catch_up_with_erasures();
}

std::vector<Engine::Answer> Engine::sync(const std::vector<Call>& calls) {
    carry_out_what_is_left();
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_, horizon_days_);
    round.erasures = erasures_;
    std::vector<Answer> answers;
    // A savepoint costs a copy of each page that is written in it: a call alone needs none, because
    // what it leaves when it fails is not committed.
    const bool alone = calls.size() == 1;
    bool orders_undone = false;
    for (const Call& call : calls) {
        Answer& a = answers.emplace_back();
        const std::size_t orders = erasures_ ? erasures_->lines().size() : 0;
        const auto failed = [&](std::string code, const char* sentence) {
            a = {};
            a.error_code = std::move(code);
            a.error_sentence = sentence;
            orders_undone |= erasures_ && erasures_->lines().size() > orders;
        };
        const auto handle = [&] {
            a.archive = answer(round, call, a);
            return true;
        };
        try {
            alone ? handle() : tx->savepoint(handle);
        } catch (const Error& e) {
            if (is_of_the_storage(e.code())) throw;
            failed(code_for_peer(e.code()), e.what());
        } catch (const std::exception& e) {
            failed(code_for_peer(ErrorCode::internal), e.what());
        }
        if (alone && !a.error_code.empty()) return answers;
        if (!a.error_code.empty()) round.lifecycles.clear();
    }
    commit(round);
    // What a device handed back stays in the file of the orders, but not what a call did with it.
    if (orders_undone) erasures_done_ = 0;
    return answers;
}

void Engine::commit(Round& round) {
    if (round.clock.last() != round.before) round.tx.save_last_stamp(round.clock.last());
    round.tx.commit();
    work_open_ |= round.work_open;
    deadline_ms_ = std::min(deadline_ms_, round.deadline_ms);
    server_time_ms_ = round.now_ms();
    if (!round.erasures) return;
    if (erasures_done_ < erasures_->lines().size() || round.erased_late) scrub_ = Scrub::all;
    erasures_done_ = erasures_->lines().size();
}

std::optional<StoredVerdict> Engine::accept(const std::string& tenant, Dot bundle) {
    carry_out_what_is_left();
    const auto tx = storage_.begin_write();
    const auto stored = in_review(*tx, tenant, bundle);
    if (!stored) return std::nullopt;
    Round round(*tx, environment_, limits_);
    round.erasures = erasures_;
    std::vector<Bundle> bundles{decode_bundle(stored->bytes)};
    hold_back_stamps(bundles, stored->received_at_ms);  // what was sent later is over it
    const Device device = *tx->device(bundle.writer);
    Stripped stripped;
    if (erasures_) stripped = strip(*tx, *erasures_, device, bundles.front(), round.now_ms());
    const StoredVerdict verdict =
        Admission(round, device, bundles.front(), Authority::office, stripped.reached).judge();
    if (verdict.verdict == Verdict::later) return verdict;
    tx->decide(bundle.writer, bundle.counter, verdict);
    commit(round);
    return verdict;
}

namespace {

std::optional<RecoveryNote> note_numbered(Transaction& tx, const std::string& tenant,
                                          std::uint64_t number) {
    for (RecoveryNote& note : tx.recovery_notes(tenant))
        if (note.id == number) return std::move(note);
    return std::nullopt;
}

}  // namespace

bool Engine::accept_offered(const std::string& tenant, std::uint64_t number) {
    carry_out_what_is_left();
    const auto tx = storage_.begin_write();
    const auto note = note_numbered(*tx, tenant, number);
    if (!note) return false;
    Round round(*tx, environment_, limits_);
    round.erasures = erasures_;
    if (!take_kept_back(round, *note)) return false;
    commit(round);
    return true;
}

bool Engine::dismiss_note(const std::string& tenant, std::uint64_t number) {
    const auto tx = storage_.begin_write();
    const auto note = note_numbered(*tx, tenant, number);
    if (!note) return false;
    tx->remove(*note);
    tx->commit();
    return true;
}

bool Engine::reject(const std::string& tenant, Dot bundle, const std::string& reason) {
    const auto tx = storage_.begin_write();
    if (!in_review(*tx, tenant, bundle)) return false;
    tx->decide(bundle.writer, bundle.counter,
               {Verdict::refused, {refusal({}, {}, "rejected", {reason})}});
    tx->commit();
    return true;
}

}  // namespace rapport::server
