// SPDX-License-Identifier: Apache-2.0
// Closing the loop: what was decided is told to every customer, by the rep who owns it now.
#include <doctest/doctest.h>

#include <algorithm>

#include "server/admin.hpp"
#include "server/changeset.hpp"
#include "server/loops.hpp"
#include "sim/world.hpp"

using namespace rapport;
using namespace rapport::sim;

namespace {

void ask(Device& device, const RecordId& subject, const std::string& to,
         const std::map<std::string, std::string>& fields = {}, const std::string& reason = {}) {
    expect(device.store->request_state(subject, to, reason, fields));
}

std::vector<LoopTask> tasks_about(const Device& device, const RecordId& subject) {
    Query query;
    query.kind = &kind_of<LoopTask>();
    query.where = {{"subject_id", Compare::equal, Value(subject.raw())}};
    query.descending = false;
    query.limit = 1000;
    std::vector<LoopTask> tasks;
    for (const Record& r : device.store->query(query).records)
        tasks.push_back(from_record<LoopTask>(r));
    return tasks;
}

Id<LoopTask> task_of(const RecordId& subject, std::int64_t decision, const RecordId& customer) {
    return Id<LoopTask>(
        name_based_id("default", "loop_task",
                      subject.text() + ":" + std::to_string(decision) + ":" + customer.text()));
}

template <class K, class Fill>
K made(Fill fill) {
    K record;
    fill(record);
    return record;
}

Instant at(const char* text) { return *Instant::parse(text); }

struct Company : World {
    Device& phone = device("R17", Role::rep, {"territory/DE-50"});
    Device& south = device("R23", Role::rep, {"territory/DE-40"});
    Device& quality = device("Q1", Role::qm, {"territory/*"});
    Device& product = device("P1", Role::pm, {"territory/*"});

    Id<Complaint> answered_complaint(const Id<Customer>& customer, const char* decision) {
        const auto leak = phone.capture(made<Complaint>([&](Complaint& r) {
            r.customer_id = customer;
            r.product_text = "Becher";
            r.verbatim = "undicht";
            r.severity = Severity::major;
        }));
        settle();
        ask(quality, leak, "acknowledged");
        expect(quality.edit(leak).set(&Complaint::defect_code, "leak").save());
        ask(quality, leak, "assessed");
        ask(quality, leak, "answered", {{"decision", decision}, {"reply_text", "Nein, leider."}});
        settle();
        REQUIRE(phone.read(leak).state == ComplaintState::answered);
        return leak;
    }
    Id<ProductWish> wish(Device& by, const Id<Customer>& customer) {
        return by.capture(made<ProductWish>([&](ProductWish& r) {
            r.customer_id = customer;
            r.need = "Ein Liter";
            r.importance = Importance::nice;
        }));
    }
    void triage(const Id<ProductWish>& wish, const Id<Theme>& theme) {
        expect(product.edit(wish).add(&ProductWish::theme_ids, theme).save());
        ask(product, wish, "triaged");
    }
    Id<Theme> theme(const char* title) {
        const auto id = product.capture(made<Theme>([&](Theme& r) { r.title = title; }));
        ask(product, id, "under_review");
        return id;
    }
};

}  // namespace

TEST_CASE_FIXTURE(Company, "an answered complaint is told offline, and closes only then") {
    const auto customer = World::customer(phone);
    const auto leak = answered_complaint(customer, "unjustified");
    const auto tasks = tasks_about(phone, leak);
    REQUIRE(tasks.size() == 1);
    CHECK(tasks[0].customer_id == customer);
    CHECK(tasks[0].rep_id == "R17");
    CHECK(tasks[0].state == TaskState::open);
    CHECK(tasks_about(south, leak).empty());

    ask(phone, leak, "closed");
    settle();
    CHECK(phone.read(leak).state == ComplaintState::answered);

    cut(phone);
    const auto task = task_of(leak, *phone.read(leak).state_version, customer);
    expect(phone.edit(task)
               .set(&LoopTask::told_at, at("2026-03-04T10:00:00+01:00"))
               .set(&LoopTask::channel, Channel::phone)
               .set(&LoopTask::reaction, Reaction::neutral)
               .save());
    CHECK(phone.read(task).state == TaskState::done);
    ask(phone, leak, "closed");
    heal_and_settle();
    CHECK(quality.read(task).state == TaskState::done);
    CHECK(quality.read(leak).state == ComplaintState::closed);
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}

TEST_CASE_FIXTURE(Company,
                  "an unhappy customer keeps a complaint open, and a new answer is a new task") {
    const auto customer = World::customer(phone);
    const auto leak = answered_complaint(customer, "goodwill");
    const auto first = task_of(leak, *phone.read(leak).state_version, customer);
    expect(phone.edit(first)
               .set(&LoopTask::told_at, at("2026-03-04T10:00:00+01:00"))
               .set(&LoopTask::reaction, Reaction::unhappy)
               .save());
    ask(phone, leak, "closed");
    settle();
    CHECK(phone.read(leak).state == ComplaintState::answered);
    ask(phone, leak, "investigating");
    settle();
    CHECK(phone.read(leak).state == ComplaintState::investigating);
    ask(quality, leak, "answered");
    settle();
    CHECK(phone.read(leak).state == ComplaintState::answered);
    REQUIRE(tasks_about(phone, leak).size() == 2);
    const auto second = task_of(leak, *phone.read(leak).state_version, customer);
    CHECK(phone.read(second).state == TaskState::open);

    ask(phone, leak, "investigating", {}, "doch nicht gut");  // before anybody told the new answer
    settle();
    CHECK(phone.read(second).state == TaskState::cancelled);
    CHECK(phone.read(first).state == TaskState::done);
}

TEST_CASE_FIXTURE(
    Company,
    "quality acts on a complaint only with a corrective action that has an owner and a date") {
    const auto leak = phone.capture(made<Complaint>([&](Complaint& r) {
        r.customer_id = World::customer(phone);
        r.product_text = "Becher";
        r.verbatim = "undicht";
        r.severity = Severity::major;
    }));
    settle();
    ask(quality, leak, "acknowledged");
    expect(quality.edit(leak)
               .set(&Complaint::defect_code, "leak")
               .set(&Complaint::cause_code, "seal")
               .save());
    ask(quality, leak, "assessed");
    ask(quality, leak, "investigating", {{"owner", "Q1"}});
    ask(quality, leak, "action");
    settle();
    CHECK(quality.read(leak).state == ComplaintState::investigating);
    const auto action = quality.capture(made<CorrectiveAction>([&](CorrectiveAction& r) {
        r.subject_id = leak;
        r.step = ActionStep::corrective;
        r.text = "Siegelkopf tauschen";
        r.owner = "Q1";
    }));
    expect(quality.last);
    ask(quality, leak, "action");
    settle();
    CHECK(quality.read(leak).state == ComplaintState::investigating);
    expect(quality.edit(action)
               .set(&CorrectiveAction::due_at, at("2026-04-01T12:00:00+02:00"))
               .save());
    ask(quality, leak, "action");
    settle();
    CHECK(quality.read(leak).state == ComplaintState::action);
    CHECK(phone.read(action).text == "Siegelkopf tauschen");
}

TEST_CASE_FIXTURE(Company,
                  "a decided theme is told once to each customer behind it, by the rep of each") {
    const auto nord = World::customer(phone, "Nord"), sued = World::customer(south, "Süd");
    const auto one = wish(phone, nord), two = wish(phone, nord), three = wish(south, sued);
    settle();
    const auto bags = theme("Nachfüllbeutel");
    for (const auto& w : {one, two, three}) triage(w, bags);
    settle();
    CHECK(product.read(one).state == WishState::triaged);
    ask(product, bags, "planned", {{"decision_text_for_customer", "Kommt im Herbst."}});
    settle();
    for (const auto& w : {one, two}) CHECK(phone.read(w).state == WishState::decided);
    CHECK(tasks_about(product, bags).size() == 2);
    REQUIRE(tasks_about(phone, bags).size() == 1);
    CHECK(tasks_about(phone, bags)[0].rep_id == "R17");
    REQUIRE(tasks_about(south, bags).size() == 1);
    CHECK(tasks_about(south, bags)[0].rep_id == "R23");

    cut(phone);
    expect(phone.edit(task_of(bags, 1, nord))
               .set(&LoopTask::told_at, at("2026-03-04T10:00:00+01:00"))
               .set(&LoopTask::reaction, Reaction::pleased)
               .save());
    heal_and_settle();
    for (const auto& w : {one, two}) CHECK(product.read(w).state == WishState::told);
    CHECK(product.read(three).state == WishState::decided);

    SUBCASE("the centre counts who has been told") {
        std::vector<std::string> rows;
        const server::admin::Host host{storage(), phone.environment,
                                       [&](const auto& job) { job(engine()); }};
        const auto run = [&](const char* request) {
            rows.clear();
            return server::admin::run(host, request, [&](const std::string& line) {
                if (line.rfind("{\"row\"", 0) == 0) rows.push_back(line);
            });
        };
        CHECK(run(R"({"command":"loop"})") == 0);
        REQUIRE(rows.size() == 2);
        CHECK(rows[0] == R"({"row":["territory/DE-40",1,1,0,0,1,0]})");
        CHECK(rows[1] == R"({"row":["territory/DE-50",1,1,0,1,0,0]})");
        CHECK(run(R"({"command":"loop","open":1})") == 0);
        REQUIRE(rows.size() == 1);
        CHECK(rows[0].find("R23") != std::string::npos);
        CHECK(rows[0].find(sued.text()) != std::string::npos);
    }
    SUBCASE("delivering it is a new decision, told again") {
        ask(product, bags, "in_progress");
        ask(product, bags, "delivered", {{"decision_text_for_customer", "Ist da."}});
        settle();
        CHECK(phone.read(one).state == WishState::decided);
        CHECK(phone.read(task_of(bags, 2, nord)).state == TaskState::open);
        CHECK(phone.read(task_of(bags, 1, nord)).state == TaskState::done);
        CHECK(south.read(task_of(bags, 1, sued)).state == TaskState::cancelled);
        CHECK(south.read(task_of(bags, 2, sued)).state == TaskState::open);
        expect(south.edit(task_of(bags, 2, sued))
                   .set(&LoopTask::told_at, at("2026-03-04T10:00:00+01:00"))
                   .save());
        settle();
        CHECK(product.read(three).state == WishState::told);
    }
    SUBCASE("a wish that comes late is decided at once, and told where its customer was told") {
        const auto late = wish(phone, nord), other = wish(south, sued);
        settle();
        triage(late, bags);
        triage(other, bags);
        settle();
        CHECK(phone.read(late).state == WishState::told);
        CHECK(south.read(other).state == WishState::decided);
        CHECK(tasks_about(product, bags).size() == 2);
    }
    SUBCASE("a theme that is linked to a triaged wish later counts too") {
        const auto first = theme("Henkel");
        const auto late = wish(phone, nord);
        settle();
        triage(late, first);
        settle();
        REQUIRE(product.read(late).state == WishState::triaged);
        expect(product.edit(late).add(&ProductWish::theme_ids, bags).save());
        settle();
        CHECK(phone.read(late).state == WishState::told);
    }
    SUBCASE("wishes of a theme that is merged into it count there") {
        const auto twin = theme("Beutel");
        const auto late = wish(south, World::customer(south, "West"));
        settle();
        triage(late, twin);
        ask(product, twin, "merged", {{"merged_into", bags.text()}});
        settle();
        CHECK(south.read(late).state == WishState::decided);
        CHECK(tasks_about(product, bags).size() == 3);
    }
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}

TEST_CASE_FIXTURE(Company, "a theme behind which many wishes stand is decided in bounded commits") {
    const auto customer = World::customer(phone);
    std::vector<Id<ProductWish>> wishes;
    Bundling bundle = phone.store->bundle();
    for (int i = 0; i < 450; ++i)
        wishes.push_back(bundle.add(made<ProductWish>([&](ProductWish& r) {
            r.customer_id = customer;
            r.need = "Ein Liter";
            r.importance = Importance::nice;
        })));
    expect(bundle.save());
    settle();
    const auto bags = theme("Nachfüllbeutel");
    Bundling links = product.store->bundle();
    for (const auto& w : wishes) links.change(product.edit(w).add(&ProductWish::theme_ids, bags));
    expect(links.save());
    std::sort(wishes.begin(), wishes.end());
    wishes = {wishes[0], wishes[250], wishes[449]};  // one for each commit
    for (const auto& w : wishes) ask(product, w, "triaged");
    settle();
    const auto decided = [&] {
        return std::count_if(wishes.begin(), wishes.end(), [&](const auto& w) {
            return show(server_state(w)).value("state") == Value("decided");
        });
    };
    CHECK(decided() == 0);
    ask(product, bags, "planned", {{"decision_text_for_customer", "Kommt im Herbst."}});
    product.session->begin();
    const auto answer = engine().sync({product.writer, product.session->next_request()});
    REQUIRE(answer.error_code.empty());
    CHECK(decided() == 1);
    CHECK(engine().carry_on() == 200);
    CHECK(decided() == 2);
    CHECK(engine().carry_on() == 50);
    CHECK(decided() == 3);
    CHECK(engine().carry_on() == 0);
    settle();
    CHECK(tasks_about(phone, bags).size() == 1);
    CHECK(storage().begin_read()->open_decisions("default").empty());
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}

TEST_CASE_FIXTURE(Company,
                  "an untold decision goes with its customer to the rep of the new territory") {
    const auto customer = World::customer(phone);
    const auto told = answered_complaint(customer, "goodwill"),
               open = answered_complaint(customer, "justified");
    const auto first = task_of(told, *phone.read(told).state_version, customer),
               second = task_of(open, *phone.read(open).state_version, customer);
    expect(phone.edit(first).set(&LoopTask::told_at, at("2026-03-04T10:00:00+01:00")).save());
    settle();
    CHECK_FALSE(engine().begin("default", {customer, "", "territory/DE-40"}));
    settle();
    CHECK_FALSE(phone.store->find(second));
    CHECK(south.read(second).rep_id == "R23");
    CHECK(south.read(first).rep_id == "R17");  // who told it
    expect(south.edit(second).set(&LoopTask::told_at, at("2026-03-05T10:00:00+01:00")).save());
    ask(south, open, "closed");
    settle();
    CHECK(quality.read(open).state == ComplaintState::closed);
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}

TEST_CASE_FIXTURE(
    Company, "a question about a wish comes back as a task, and the note that answers it ends it") {
    const auto id = wish(phone, World::customer(phone));
    settle();
    ask(product, id, "needs_info", {{"question", "Welcher Durchmesser?"}});
    settle();
    Query query;
    query.kind = &kind_of<Task>();
    REQUIRE(phone.store->query(query).records.size() == 1);
    const Record task = phone.store->query(query).records[0];
    CHECK(task.value("text") == Value("Welcher Durchmesser?"));
    CHECK(task.value("state") == Value("open"));
    CHECK(task.scope == "rep/R17");
    phone.capture(made<Note>([&](Note& r) {
        r.subject_id = AnyId(id);
        r.text = "95 mm";
    }));
    ask(phone, id, "submitted");
    settle();
    CHECK(phone.read(id).state == WishState::submitted);
    CHECK(phone.store->find(task.id)->value("state") == Value("done"));
}

TEST_CASE(
    "a task goes to the rep of the territory, to its creator among several, to nobody if there is "
    "none") {
    Company world;
    Device& colleague = world.device("A1", Role::rep, {"territory/DE-50"});
    const auto customer = world.World::customer(world.phone);
    const auto leak = world.answered_complaint(customer, "goodwill");
    CHECK(tasks_about(colleague, leak).at(0).rep_id == "R17");

    const auto readdressed = [&](const std::string& scope) {
        const auto tx = world.storage().begin_write();
        Limits limits;
        server::Round round(*tx, world.phone.environment, limits);
        server::Changeset changes(round, "default", "0.1", server::kServerName);
        auto* task = changes.find(task_of(leak, *world.phone.read(leak).state_version, customer));
        REQUIRE(task);
        task->state.scope = scope;
        server::readdress(round, changes, *task);
        return server::shown_text(*task, "rep_id");
    };
    CHECK(readdressed("territory/DE-40") == "R23");
    CHECK(readdressed("territory/DE-99") == "");
    CHECK(readdressed("territory/DE-50") == "R17");
    {
        const auto tx = world.storage().begin_write();
        for (server::Device device : tx->devices())
            if (device.rep == "R17") {
                device.revoked = true;
                tx->save(device);
            }
        tx->commit();
    }
    CHECK(readdressed("territory/DE-50") == "A1");
}

// ---- what time alone brings about

namespace {

constexpr std::int64_t kDayMs = 86'400'000;

struct Waiting : Company {
    Id<Customer> customer = World::customer(phone);
    Id<Complaint> leak = answered_complaint(customer, "unjustified");
    Id<LoopTask> task = task_of(leak, *phone.read(leak).state_version, customer);

    void tell(std::optional<Reaction> reaction = {}) {
        auto edit = phone.edit(task).set(&LoopTask::told_at, phone.environment.now());
        if (reaction) edit.set(&LoopTask::reaction, *reaction);
        expect(edit.save());
        settle();
    }
    /// Another complaint, whose answer the phone has not seen.
    Id<Complaint> answered_without_phone() {
        const auto id = phone.capture(a_complaint(customer, "Etikett schief"));
        settle();
        ask(quality, id, "acknowledged");
        expect(quality.edit(id).set(&Complaint::defect_code, "label").save());
        ask(quality, id, "assessed");
        settle();
        cut(phone);
        ask(quality, id, "answered", {{"decision", "goodwill"}, {"reply_text", "Ersatz."}});
        settle();
        return id;
    }
    ComplaintState state() {
        settle();
        REQUIRE(quality.read(leak).state == phone.read(leak).state);
        return *phone.read(leak).state;
    }
    /// The history of the complaint as a device shows it: `closed by server`, the newest last.
    std::vector<std::string> history() {
        Query query;
        query.kind = &kind_of<StatusEvent>();
        query.where = {{"subject_id", Compare::equal, Value(leak.raw())}};
        query.descending = false;
        std::vector<std::string> lines;
        for (const Record& r : phone.store->query(query).records)
            lines.push_back(*r.value("to").text() + " by " + *r.value("by").text());
        return lines;
    }
    int closings() {
        const auto lines = history();
        return static_cast<int>(std::count(lines.begin(), lines.end(), "closed by server"));
    }
};

}  // namespace

TEST_CASE_FIXTURE(Waiting,
                  "a complaint closes by itself when the customer has been silent for 14 days") {
    pass(20 * kDayMs);
    CHECK(state() == ComplaintState::answered);  // nobody has been told
    tell();
    pass(13 * kDayMs);
    SUBCASE("in one go") {}
    SUBCASE("the server was restarted") { restart_server(); }
    SUBCASE("the server was restored from a backup") {
        restore_server(back_up_server());
        settle();
    }
    CHECK(state() == ComplaintState::answered);
    pass(kDayMs);
    CHECK(engine().carry_on() == 1);
    CHECK(engine().carry_on() == 0);
    CHECK(state() == ComplaintState::closed);
    CHECK(history().back() == "closed by server");
    CHECK(phone.read(leak).closed_at.has_value());
    const auto version = *phone.read(leak).state_version;

    // And once, whatever becomes of the server and its clock.
    set_server_clock(-400 * kDayMs);
    restart_server();
    for (int i = 0; i < 3; ++i) {
        pass(10 * kDayMs);
        while (engine().carry_on() > 0) {
        }
    }
    set_server_clock(400 * kDayMs);
    CHECK(state() == ComplaintState::closed);
    CHECK(closings() == 1);
    CHECK(*phone.read(leak).state_version == version);
    bool in_feed = false;
    for (const auto& r : storage().begin_read()->feed("default", 0, 100'000))
        if (r.state.id == leak) in_feed = r.author == "server";
    CHECK(in_feed);
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}

TEST_CASE_FIXTURE(Waiting,
                  "every word of the customer begins the 14 days anew, and reopening ends them") {
    tell();
    pass(10 * kDayMs);
    expect(phone.edit(task).set(&LoopTask::reaction, Reaction::unhappy).save());
    settle();
    pass(10 * kDayMs);
    CHECK(state() == ComplaintState::answered);
    SUBCASE("silence") {
        pass(4 * kDayMs);
        CHECK(state() == ComplaintState::closed);
        // Whoever closed it, it can be opened again.
        ask(phone, leak, "investigating", {}, "wieder undicht");
        CHECK(state() == ComplaintState::investigating);
        pass(100 * kDayMs);
        CHECK(state() == ComplaintState::investigating);
    }
    SUBCASE("reopened") {
        ask(phone, leak, "investigating");
        settle();
        pass(40 * kDayMs);
        CHECK(state() == ComplaintState::investigating);
        CHECK(closings() == 0);
    }
    SUBCASE("closed by the rep, who may do that at once if the customer is content") {
        expect(phone.edit(task).set(&LoopTask::reaction, Reaction::pleased).save());
        ask(phone, leak, "closed");
        CHECK(state() == ComplaintState::closed);
        pass(40 * kDayMs);
        CHECK(state() == ComplaintState::closed);
        CHECK(history().back() == "closed by R17");
    }
}

TEST_CASE_FIXTURE(Waiting, "what is due comes in commits of bounded size") {
    constexpr int kMore = 150;
    std::vector<Id<Complaint>> more;
    for (int i = 0; i < kMore; ++i) {
        more.push_back(phone.capture(a_complaint(customer)));
        if (i % 50 == 49) settle();
    }
    for (const auto& c : more) {
        ask(quality, c, "acknowledged");
        expect(quality.edit(c).set(&Complaint::defect_code, "leak").save());
        ask(quality, c, "assessed");
        ask(quality, c, "answered", {{"decision", "goodwill"}, {"reply_text", "Ersatz."}});
    }
    settle();
    for (const auto& c : more)
        expect(phone.edit(task_of(c, *phone.read(c).state_version, customer))
                   .set(&LoopTask::told_at, phone.environment.now())
                   .save());
    settle();
    pass(15 * kDayMs);
    const auto commits = [&] { return storage().begin_read()->feed_head("default"); };
    const auto before = commits();
    std::vector<std::size_t> steps;
    while (const std::size_t step = engine().carry_on()) steps.push_back(step);
    CHECK(steps == std::vector<std::size_t>{100, 50});
    CHECK(commits() - before == 2);
    settle();
    for (const auto& c : more) CHECK(phone.read(c).state == ComplaintState::closed);
}

// ---- delivered, seen, told

TEST_CASE_FIXTURE(Waiting, "a task is delivered when a device of its rep shows to have it") {
    // Another of the same territory is not the rep it is addressed to.
    Device& colleague = device("R31", Role::rep, {"territory/DE-50"});
    const auto second = answered_without_phone();
    const auto open = task_of(second, *quality.read(second).state_version, customer);
    CHECK(colleague.read(open).rep_id == "R17");
    CHECK_FALSE(colleague.read(open).delivered_at);
    const auto delivered = [&] {
        return show(server_state(open)).value("delivered_at").integer() != nullptr;
    };
    const auto request = [&] {
        pass(60'000);
        return engine().sync({phone.writer, phone.session->next_request()});
    };
    const auto lost = request();  // its reply does not arrive
    REQUIRE(lost.error_code.empty());
    CHECK_FALSE(delivered());
    const auto reply = request();
    CHECK_FALSE(delivered());
    REQUIRE(phone.take(reply.archive).counted);
    const std::int64_t has_it_ms = now_ms();
    CHECK_FALSE(delivered());
    const auto next = request();
    CHECK(delivered());
    REQUIRE(phone.take(next.archive).counted);
    heal_and_settle();
    const auto at = colleague.read(open).delivered_at;
    REQUIRE(at);
    CHECK(at->at.time_since_epoch().count() > has_it_ms);
    CHECK(storage().begin_read()->undelivered("default", "R17").empty());
    // It is the server's to say.
    CHECK_FALSE(phone.edit(open).set(&LoopTask::delivered_at, phone.environment.now()).save());
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}

TEST_CASE_FIXTURE(Waiting,
                  "a task handed over before it was delivered is awaited by who has it now") {
    CHECK(phone.read(task).delivered_at.has_value());
    const auto second = answered_without_phone();
    const auto open = task_of(second, *quality.read(second).state_version, customer);
    cut(south);
    CHECK(storage().begin_read()->undelivered("default", "R17") == std::vector<RecordId>{open});
    hand_over(customer, "territory/DE-40");
    settle();
    CHECK(storage().begin_read()->undelivered("default", "R17").empty());
    CHECK(storage().begin_read()->undelivered("default", "R23") == std::vector<RecordId>{open});
    CHECK_FALSE(quality.read(open).delivered_at);
    heal_and_settle();
    CHECK(quality.read(open).delivered_at.has_value());
    CHECK(south.read(open).rep_id == "R23");
    for (const std::string& difference : differences()) FAIL_CHECK(difference);
}
