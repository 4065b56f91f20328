// SPDX-License-Identifier: Apache-2.0
// What the office writes and every device obeys: workflows as data, policies, questions.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "model/archive.hpp"
#include "model/json.hpp"
#include "protocol/messages.hpp"
#include "sim/world.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

std::string first_code(const Captured& captured) {
    return captured.refusals.empty() ? "" : captured.refusals.front().code;
}

/// What `rapportd import` makes of a line: the id, or the code of the first refusal.
struct Imported {
    RecordId id;
    std::string code;
};
Imported import(World& world, const std::string& line) {
    const ImportLine parsed = parse_import_line(line, {});
    if (!parsed.refusals.empty()) return {{}, parsed.refusals.front().code};
    const auto written = world.engine().write_as_server("default", {parsed.record}).front();
    return {written.id, written.refusals.empty() ? "" : written.refusals.front().code};
}

std::string state_of(const Device& device, const RecordId& id) {
    const auto record = device.store->find(id);
    const std::string* state = record ? record->value("state").text() : nullptr;
    return state ? *state : "";
}

std::vector<std::string> next_of(const Device& device, const RecordId& id) {
    std::vector<std::string> next;
    for (const NextState& n : device.store->next_states(id)) next.push_back(n.to);
    return next;
}
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a workflow the office writes replaces the built-in one, on the server and on devices") {
    World world;
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& quality = world.device("Q1", Role::qm, {"territory/*"});
    const auto leak = phone.capture(a_complaint(world.customer(phone)));
    world.settle();
    CHECK(next_of(quality, leak) == Names{"acknowledged", "withdrawn", "merged"});
    CHECK(next_of(phone, leak) == Names{"withdrawn"});

    CHECK(import(world, R"({"kind":"state_table","fields":{"kind":"complaint","version":2,
        "initial":"submitted","rows":[
        {"from":"submitted","to":"in_lab","roles":"qm rep"},
        {"from":"in_lab","to":"answered","roles":"qm","needs":"decision","sets":"decision",
         "guard":"new_note","code":"lab_report_missing"}]}})")
              .code == "");
    CHECK(import(world, R"({"kind":"state_table","fields":{"kind":"complaint","version":1,
        "initial":"submitted","rows":[{"from":"submitted","to":"old","roles":"qm"}]}})")
              .code == "");
    world.settle();
    CHECK(next_of(phone, leak) == Names{"in_lab"});
    CHECK(first_code(quality.store->request_state(leak, "acknowledged", "", {})) ==
          "no_such_transition");
    expect(phone.store->request_state(leak, "in_lab", "", {}));
    CHECK(next_of(phone, leak).empty());
    world.settle();
    CHECK(state_of(quality, leak) == "in_lab");  // a code no build knows
    CHECK_FALSE(quality.read(leak).state.has_value());
    CHECK(next_of(quality, leak) == Names{"answered"});

    expect(quality.store->request_state(leak, "answered", "", {{"decision", "goodwill"}}));
    world.settle();
    CHECK(state_of(phone, leak) == "in_lab");
    Query query;
    query.kind = &kind_of<StateRequest>();
    query.where = {{"verdict", Compare::equal, Value("refused")}};
    REQUIRE(quality.store->query(query).records.size() == 1);
    CHECK(quality.store->query(query).records[0].value("verdict_code") ==
          Value("lab_report_missing"));
    // Under the table's code, in the words of the guard.
    const auto told = quality.store->overview().turned_down;
    REQUIRE(told.size() == 1);
    CHECK(told[0].subject.id == leak);
    CHECK(told[0].to == "answered");
    CHECK(told[0].why.code == "lab_report_missing");
    CHECK(sentence(told[0].why, Language::german) ==
          "Bitte zuerst eine Notiz anlegen, die die Rückfrage beantwortet.");

    Note report;
    report.subject_id = AnyId(leak);
    report.text = "Riss im Deckel";
    quality.capture(report);
    expect(quality.store->request_state(leak, "answered", "", {{"decision", "goodwill"}}));
    world.settle();
    CHECK(state_of(phone, leak) == "answered");
    CHECK(quality.store->overview().turned_down.empty());
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
}

TEST_CASE("a state table with an unknown guard is not imported, and a version is never rewritten") {
    World world;
    const auto table = [](const char* guard, const char* to) {
        return std::string(R"({"kind":"state_table","fields":{"kind":"theme","version":1,)") +
               R"("initial":"open","rows":[{"from":"open","to":")" + to +
               R"(","roles":"pm","guard":")" + guard + R"("}]}})";
    };
    CHECK(import(world, table("full_moon", "planned")).code == "unknown_guard");
    CHECK(import(world, table("new_note", "planned")).code == "");
    CHECK(import(world, table("new_note", "planned")).code == "");
    CHECK(import(world, table("new_note", "parked")).code == "write_once");
}

// ---- disclosure

namespace {

/// Figures no file holds by chance, of more than the 48 bits up to which SQLite writes fewer bytes.
constexpr std::int64_t kFloor = 613'948'217'365'021, kCost = 598'173'264'908'137;

std::string policy_line(const char* code, const char* disclosure, int version = 1) {
    return std::string(R"({"kind":"discount_policy","fields":{"code":")") + code +
           R"(","version":)" + std::to_string(version) +
           R"(,"role":"rep","product_group":"cups","disclosure":")" + disclosure +
           R"(","max_bp":1250,"floor_price":{"minor":")" + std::to_string(kFloor) +
           R"(","currency":"EUR"},"needs":[{"above_bp":1250,"approver":"mgr"}],"cost":{"minor":")" +
           std::to_string(kCost) + R"(","currency":"EUR"},"margin_bp":3141}})";
}

/// A number as text, as 8 bytes either way round, and as the varints of our archives.
std::vector<std::string> forms_of(std::int64_t number) {
    std::string big, little;
    for (int i = 0; i < 8; ++i) {
        little += static_cast<char>((static_cast<std::uint64_t>(number) >> (8 * i)) & 0xFF);
        big.insert(big.begin(), little.back());
    }
    WireWriter plain, zigzagged;
    plain.varint(static_cast<std::uint64_t>(number));
    zigzagged.varint(zigzag(number));
    return {std::to_string(number), big, little, plain.take(), zigzagged.take()};
}

/// How many forms of the number the bytes hold.
std::size_t traces(const std::string& bytes, std::int64_t number) {
    std::size_t found = 0;
    for (const std::string& form : forms_of(number))
        found += bytes.find(form) != std::string::npos ? 1 : 0;
    return found;
}

std::string file_with_wal(const Device& device) {
    std::string bytes;
    for (const char* end : {"", "-wal"}) {
        std::ifstream in(device.path() + end, std::ios::binary);
        bytes.append(std::istreambuf_iterator<char>(in), {});
    }
    return bytes;
}

/// Syncs one device until it is done; returns every archive that came down, unpacked.
std::string wire_of(World& world, Device& device) {
    std::string bytes;
    device.session->begin();
    for (bool done = false; !done;) {
        world.pass(20);
        const auto answer = world.engine().sync({device.writer, device.session->next_request()});
        REQUIRE(answer.error_code.empty());
        bytes += answer.archive;
        done = device.session->take_reply(answer.archive).done;
    }
    return bytes;
}

}  // namespace

TEST_CASE("an undisclosed number of a policy is in no byte that reaches a device") {
    World world;
    Device& rep = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& mgr = world.device("M1", Role::mgr, {"territory/*"});
    Device& price = world.device("PR", Role::price, {"territory/*"});
    std::map<std::string, RecordId> ids;
    const auto write = [&](const char* level, int version) {
        const Imported imported = import(world, policy_line("cups", level, version));
        CHECK(imported.code == "");
        ids[level] = imported.id;
    };
    const auto policy = [](const Device& device, const RecordId& id) {
        return device.store->read(Id<DiscountPolicy>(id));
    };
    const auto check_silent = [&](const std::string& wire, const Device& device) {
        const std::string file = file_with_wal(device);
        for (const std::int64_t number : {kFloor, kCost}) {
            CHECK(traces(wire, number) == 0);
            CHECK(traces(file, number) == 0);
        }
        CHECK(file.find("\"above_bp\"") == std::string::npos);
    };

    write("none", 1);
    write("verdict", 2);
    check_silent(wire_of(world, rep), rep);
    for (const char* level : {"none", "verdict"}) {
        const auto held = policy(rep, ids[level]);
        REQUIRE(held);
        CHECK(held->role == Role::rep);
        CHECK_FALSE(held->max_bp);
        CHECK_FALSE(held->floor_price);
        CHECK_FALSE(held->needs.has_value());
        CHECK_FALSE(held->margin_bp);
    }
    wire_of(world, mgr);
    CHECK_FALSE(policy(mgr, ids["none"]));  // policies of reps are not theirs

    write("limit", 3);
    const std::string wire = wire_of(world, rep);
    CHECK(traces(wire, kFloor) > 0);  // the search finds what is there
    CHECK(traces(file_with_wal(rep), kFloor) > 0);
    CHECK(traces(wire, kCost) == 0);
    CHECK(traces(file_with_wal(rep), kCost) == 0);
    CHECK(policy(rep, ids["limit"])->max_bp == 1250);
    CHECK(policy(rep, ids["limit"])->needs.elements.size() == 1);
    CHECK_FALSE(policy(rep, ids["limit"])->cost);

    write("full", 4);
    CHECK(traces(wire_of(world, rep), kCost) > 0);
    CHECK(policy(rep, ids["full"])->margin_bp == 3141);

    CHECK(traces(wire_of(world, price), kCost) > 0);
    CHECK(policy(price, ids["none"])->margin_bp == 3141);

    // Less than before: what the device was told leaves with the next sync.
    CHECK(import(world, R"({"kind":"discount_policy","fields":{"code":"cups","version":4,
        "disclosure":"none"}})")
              .code == "");
    wire_of(world, rep);
    CHECK_FALSE(policy(rep, ids["full"])->max_bp);
    CHECK_FALSE(policy(rep, ids["full"])->cost);
}

TEST_CASE("revenue comes from the ERP by the customer's number there, and stays at the centre") {
    World world;
    Device& phone = world.device("R17", Role::rep, {"territory/DE-50"});
    Customer customer;
    customer.name = "Molkerei Nord";
    customer.external_ids = {{"erp", "10023"}, {"crm", "x"}};
    const auto id = phone.capture(customer);
    world.settle();
    const auto line = [](const char* number, const char* more) {
        return std::string(
                   R"({"kind":"customer","fields":{"external_ids":[{"system":"erp","id":")") +
               number + R"("}],"rev12":{"minor":")" + std::to_string(kCost) +
               R"(","currency":"EUR"})" + more + "}}";
    };
    CHECK(import(world, line("10023", "")).code == "");
    CHECK(import(world, line("99", "")).code == "unknown_record");
    CHECK(import(world, line("10023", R"(,"name":"Molkerei Süd")")).code == "not_writable");
    const Record stored = show(world.server_state(id));
    CHECK(stored.value("rev12") == Value(Parts{Value(kCost), Value("EUR")}));
    CHECK(stored.shown("external_ids").size() == 2);
    CHECK(stored.value("name") == Value("Molkerei Nord"));
    CHECK(traces(wire_of(world, phone), kCost) == 0);
    CHECK(traces(file_with_wal(phone), kCost) == 0);
}

// ---- questions

TEST_CASE("a question goes live, is fixed then, and its answers come back") {
    World world;
    Device& rep = world.device("R17", Role::rep, {"territory/DE-50"});
    Device& south = world.device("R23", Role::rep, {"territory/DE-40"});
    Device& mkt = world.device("MK", Role::mkt, {"territory/*"});
    const auto customer = world.customer(rep);
    MarketingQuestion question;
    question.code = "cups";
    question.version = 1;
    question.target = QuestionTarget{QuestionTo::territory, "DE-50"};
    question.campaign = "Becher 2026";
    question.text.entries["de"] = "Welche Becher?";
    question.type = QuestionType::single;
    question.options = {{"small", "Klein", "de", 1}};
    const auto id = mkt.capture(question);
    expect(mkt.last);
    world.settle();
    CHECK_FALSE(south.store->find(id));
    REQUIRE(rep.read(id).state == QuestionState::draft);

    Answer answer;
    answer.question_id = id;
    answer.question_version = 1;
    answer.customer_id = customer;
    answer.choices = {"small"};
    rep.capture(answer);
    CHECK(first_code(rep.last) == "question_not_live");

    const QuestionOption large{"large", "Groß", "de", 2};
    expect(mkt.edit(id).add(&MarketingQuestion::options, large).save());
    expect(mkt.store->request_state(id, "live", "", {}));
    world.settle();
    CHECK(rep.read(id).state == QuestionState::live);
    CHECK(rep.read(id).options.elements.size() == 2);
    CHECK(first_code(mkt.edit(id).set(&MarketingQuestion::campaign, "Anders").save()) == "fixed");

    answer.choices = {"large"};
    const auto given = rep.capture(answer);
    expect(rep.last);
    answer.choices = {"small"};
    answer.replaces = given;
    const auto corrected = rep.capture(answer);
    expect(rep.last);
    Answer own;
    own.question_id = id;
    own.question_version = 1;
    own.status = AnswerStatus::dont_know;
    const auto mine = rep.capture(own);
    expect(rep.last);
    world.settle();
    CHECK(mkt.read(corrected).choices.elements == std::vector<FreeCode>{"small"});
    CHECK(rep.store->find(mine)->scope == "rep/R17");
    CHECK(rep.store->find(given)->scope == "territory/DE-50");
    CHECK(rep.store->status(mine).state == SyncState::confirmed);
    CHECK(first_code(rep.edit(given).set(&Answer::text, "doch").save()) == "append_only");
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
}

TEST_CASE(
    "an edit made offline of a question that went live meanwhile is refused with its reason") {
    World world;
    Device& one = world.device("MK", Role::mkt, {"territory/*"});
    Device& two = world.device("MK", Role::mkt, {"territory/*"});
    const Imported imported = import(world, R"({"kind":"marketing_question","fields":{"code":"q",
        "version":1,"target":{"who":"customers"},"campaign":"C","text":{"de":"Wie oft?"},
        "type":"number"}})");
    REQUIRE(imported.code == "");
    const Id<MarketingQuestion> id(imported.id);
    world.settle();
    world.cut(two);
    expect(two.edit(id).set(&MarketingQuestion::campaign, "Anders").save());
    CHECK(import(world, R"({"kind":"marketing_question","fields":{"code":"q","version":1,
        "state":"live"}})")
              .code == "");
    world.heal_and_settle();
    CHECK(one.read(id).state == QuestionState::live);
    CHECK(one.read(id).campaign == "C");
    CHECK(two.store->status(id).state == SyncState::refused);
    CHECK(two.store->status(id).reasons.at(0).code == "fixed");
    CHECK(import(world, R"({"kind":"marketing_question","fields":{"code":"q","version":1,
        "campaign":"D"}})")
              .code == "fixed");
    CHECK(import(world, R"({"kind":"marketing_question","fields":{"code":"q","version":1,
        "state":"draft"}})")
              .code == "no_such_transition");
}

// ---- prices

namespace {

struct Shop : World {
    Device& rep = device("R17", Role::rep, {"territory/DE-50"});
    Device& mgr = device("M1", Role::mgr, {"territory/*"});
    Device& price = device("PR", Role::price, {"territory/*"});
    Id<Customer> customer = World::customer(rep);
    Id<Product> cup{imported(R"({"kind":"product","fields":{"code":"C5","name":"Becher",
        "group":"cups"}})")};

    RecordId imported(const std::string& line) {
        const Imported result = import(*this, line);
        CHECK(result.code == "");
        return result.id;
    }
    Id<DiscountPolicy> policy(int version, int max_bp, const char* disclosure = "limit") {
        return Id<DiscountPolicy>(imported(
            R"({"kind":"discount_policy","fields":{"code":"cups","version":)" +
            std::to_string(version) + R"(,"role":"rep","product_group":"cups","disclosure":")" +
            disclosure + R"(","max_bp":)" + std::to_string(max_bp) +
            R"(,"needs":[{"above_bp":0,"approver":"mgr"},{"above_bp":3000,"approver":"price"}]}})"));
    }
    PriceRequest request(std::int64_t wanted) const {
        PriceRequest r;
        r.customer_id = customer;
        r.lines = {{1, cup, 1'000, "H87", 10'000, wanted, "EUR"}};
        return r;
    }
};

}  // namespace

TEST_CASE_FIXTURE(Shop,
                  "a price within the limit needs nobody, and one beyond it the role that may") {
    policy(1, 1'000);
    settle();
    const auto good = rep.capture(request(9'000)), low = rep.capture(request(8'000)),
               lower = rep.capture(request(6'000));
    settle();
    CHECK(rep.read(good).state == ApprovalState::within_limit);
    CHECK(rep.read(low).state == ApprovalState::needs_approval);
    CHECK(rep.read(low).approver == Role::mgr);
    CHECK(rep.read(lower).approver == Role::price);
    CHECK(rep.read(good).number == "P-2026-00001");
    CHECK(
        first_code(rep.edit(good)
                       .add(&PriceRequest::lines, PriceLine{2, cup, 1'000, "H87", 10'000, 1, "EUR"})
                       .save()) == "write_once");

    expect(price.store->request_state(low, "approved", "", {}));
    expect(mgr.store->request_state(lower, "approved", "", {}));
    settle();
    CHECK(rep.read(low).state == ApprovalState::needs_approval);
    CHECK(rep.read(lower).state == ApprovalState::needs_approval);
    expect(mgr.store->request_state(low, "approved", "", {}));
    expect(price.store->request_state(lower, "countered", "", {{"counter_bp", "2500"}}));
    settle();
    CHECK(rep.read(low).state == ApprovalState::approved);
    CHECK(rep.read(low).decided_by == "M1");
    CHECK(rep.read(lower).counter_bp == 2'500);
    expect(rep.store->request_state(lower, "accepted", "", {}));
    settle();
    CHECK(price.read(lower).state == ApprovalState::accepted);
    // Nobody wrote a limit for it.
    PriceRequest other = request(9'999);
    other.lines.elements[0].product_id =
        Id<Product>(imported(R"({"kind":"product","fields":{"code":"L1","name":"Deckel"}})"));
    settle();
    const auto free = rep.capture(other);
    settle();
    CHECK(rep.read(free).approver == Role::price);
}

TEST_CASE_FIXTURE(
    Shop, "a verdict given offline by a policy the device had is honoured, by an older one not") {
    const auto first = policy(1, 2'000);
    settle();
    const auto offline = [&](const Id<DiscountPolicy>& by, int version) {
        PriceRequest r = request(8'000);
        r.policy_id = by;
        r.policy_version = version;
        r.device_verdict = LimitVerdict::within_limit;
        return rep.capture(r);
    };
    cut(rep);
    pass(1000);
    const auto honoured = offline(first, 1);
    pass(1000);
    policy(2, 500);
    heal_and_settle();
    CHECK(price.read(honoured).state == ApprovalState::within_limit);
    CHECK(price.read(honoured).in_good_faith == true);
    CHECK(rep.store->count({&kind_of<DiscountPolicy>(), {}, {}, {}, true, 50, {}}) == 2);

    const auto stale = offline(first, 1);  // the device has the newer policy now
    settle();
    CHECK(price.read(stale).state == ApprovalState::needs_approval);
    CHECK_FALSE(price.read(stale).in_good_faith.has_value());
}

TEST_CASE_FIXTURE(Shop,
                  "an offer expires by itself when its time is over, unless it was taken before") {
    policy(1, 1'000);
    settle();
    const auto offered = rep.capture(request(8'000)), open_ended = rep.capture(request(8'000)),
               lower = rep.capture(request(6'000)), taken = rep.capture(request(6'000));
    settle();
    constexpr std::int64_t kDayMs = 86'400'000;
    const std::string until =
        Instant(rep.environment.now().at + Milliseconds(10 * kDayMs)).rfc3339();
    expect(mgr.store->request_state(offered, "approved", "", {{"offer_until", until}}));
    expect(mgr.store->request_state(open_ended, "approved", "", {}));
    for (const auto& id : {lower, taken})
        expect(price.store->request_state(id, "countered", "",
                                          {{"counter_bp", "2500"}, {"offer_until", until}}));
    settle();
    expect(rep.store->request_state(taken, "accepted", "", {}));
    pass(9 * kDayMs);
    settle();
    CHECK(rep.read(offered).state == ApprovalState::approved);
    pass(kDayMs);
    settle();
    CHECK(rep.read(offered).state == ApprovalState::expired);
    CHECK(rep.read(lower).state == ApprovalState::expired);
    CHECK(rep.read(open_ended).state == ApprovalState::approved);
    CHECK(rep.read(taken).state == ApprovalState::accepted);
}

TEST_CASE_FIXTURE(Shop, "the word of a device that was told no limit does not count") {
    const auto silent = policy(1, 2'000, "verdict");
    settle();
    cut(rep);
    PriceRequest r = request(7'000);
    r.policy_id = silent;
    r.policy_version = 1;
    r.device_verdict = LimitVerdict::within_limit;
    const auto claimed = rep.capture(r), within = rep.capture(request(8'000));
    heal_and_settle();
    CHECK(rep.read(claimed).state == ApprovalState::needs_approval);
    CHECK(rep.read(within).state == ApprovalState::within_limit);
}

TEST_CASE_FIXTURE(Shop, "goods made to order are judged by the options, words always by a person") {
    const Id<CustomOption> width(imported(R"({"kind":"custom_option","fields":{"code":"width",
        "name":"Breite","allowed":{"min":"100","max":"200","unit":"MMT"},"lead_time_days":21,
        "approver":"qm"}})"));
    settle();
    const auto ask_for = [&](std::int64_t amount, const char* words) {
        CustomisationRequest r;
        r.customer_id = customer;
        r.options = {{width, Minor(amount)}};
        if (*words) r.wanted = words;
        return rep.capture(r);
    };
    const auto fits = ask_for(150, ""), wide = ask_for(250, ""), words = ask_for(150, "in Blau");
    settle();
    CHECK(rep.read(fits).state == ApprovalState::within_limit);
    CHECK(rep.read(fits).lead_time_days == 21);
    CHECK(rep.read(wide).approver == Role::qm);
    CHECK(rep.read(words).approver == Role::pm);
}
