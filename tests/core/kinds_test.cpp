// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <set>

#include "rapport/error.hpp"
#include "rapport/kinds.hpp"
#include "rapport/record.hpp"

using namespace rapport;

namespace {

std::string_view name_of(Policy policy) {
    constexpr std::string_view names[] = {"write_once", "last_writer", "keep_both",
                                          "add_wins",   "per_key",     "highest",
                                          "lowest",     "owned",       "absorbing"};
    return names[static_cast<std::size_t>(policy)];
}

std::string described(const TypeInfo& type) {
    constexpr std::string_view names[] = {"boolean", "integer",   "text", "code",
                                          "instant", "reference", "group"};
    std::string out(names[static_cast<std::size_t>(type.shape)]);
    for (std::size_t i = 0; i < type.codes.size(); ++i)
        out.append(i == 0 ? " " : ",").append(type.codes[i]);
    if (!type.refers_to.empty()) out.append(" ").append(type.refers_to);
    for (const PartInfo& part : type.parts)
        out.append(" ").append(part.name).append(":").append(described(part.type));
    return out;
}

std::string golden_line(const Kind& kind, const Field& field) {
    return kind.name + " " + std::to_string(field.number) + " " + field.name + " " +
           std::string(name_of(field.policy)) + " " + described(field.type);
}

/// What a child process that builds the table of K says before it ends; empty if it does not abort.
template <class K>
std::string last_words() {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        ::dup2(ends[1], STDERR_FILENO);
        kind_of<K>();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string words;
    char buffer[512];
    for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
        words.append(buffer, static_cast<std::size_t>(n));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? words : std::string();
}

bool says(const std::string& words, const char* part) {
    return words.find(part) != std::string::npos;
}

struct Sound : Common {
    static constexpr std::uint16_t kNumber = 900;
    static constexpr std::string_view kName = "sound";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    LastWriter<Text<10>> second;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(17, "second", second, by(Role::rep)));
        a(field(16, "first", first, by(Role::rep)));
    }
};

struct Forgetful : Common {
    static constexpr std::uint16_t kNumber = 901;
    static constexpr std::string_view kName = "forgetful";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    LastWriter<bool> forgotten;
    LastWriter<Text<10>> last;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first), field(17, "last", last));
    }
};

struct ForgetsLast : Common {
    static constexpr std::uint16_t kNumber = 902;
    static constexpr std::string_view kName = "forgets_last";
    static Kind traits() { return {}; }
    LastWriter<Text<10>> first;
    LastWriter<bool> forgotten;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first));
    }
};

struct ForgetsCommon : Common {
    static constexpr std::uint16_t kNumber = 903;
    static constexpr std::string_view kName = "forgets_common";
    static Kind traits() { return {}; }
    LastWriter<Text<10>> first;
    template <class A>
    void serialize(A& a) {
        a(field(16, "first", first));
    }
};

struct Twice : Common {
    static constexpr std::uint16_t kNumber = 904;
    static constexpr std::string_view kName = "twice";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    LastWriter<bool> second;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first), field(16, "second", second));
    }
};

struct OneMemberTwice : Common {
    static constexpr std::uint16_t kNumber = 905;
    static constexpr std::string_view kName = "one_member_twice";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    LastWriter<bool> second;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first), field(17, "second", first));
    }
};

struct LowNumber : Common {
    static constexpr std::uint16_t kNumber = 906;
    static constexpr std::string_view kName = "low_number";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(11, "first", first));
    }
};

struct Unwritable : Common {
    static constexpr std::uint16_t kNumber = 907;
    static constexpr std::string_view kName = "unwritable";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first, required));
    }
};

struct ColumnClash : Common {
    static constexpr std::uint16_t kNumber = 908;
    static constexpr std::string_view kName = "column_clash";
    static Kind traits() { return {}; }
    LastWriter<Money> cost;
    LastWriter<Currency> cost_currency;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "cost", cost), field(17, "cost_currency", cost_currency));
    }
};

struct HalfFixed : Common {
    static constexpr std::uint16_t kNumber = 909;
    static constexpr std::string_view kName = "half_fixed";
    static Kind traits() { return {}; }
    LastWriter<bool> first;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first, fixed | by(Role::rep)));
    }
};

struct Indiscreet : Common {
    static constexpr std::uint16_t kNumber = 910;
    static constexpr std::string_view kName = "indiscreet";
    static Kind traits() { return {}; }
    LastWriter<bool, Disclosed<Disclosure::limit>> first;
    template <class A>
    void serialize(A& a) {
        serialize_common(a);
        a(field(16, "first", first));
    }
};

Id<Visit> some_visit() {
    return Id<Visit>(*RecordId::parse("0195a0f0-0000-7000-8000-000000000001"));
}

template <class E>
bool last_is(E last, std::string_view code) {
    return static_cast<std::size_t>(last) + 1 == std::size(CodesOf<E>::list) &&
           CodesOf<E>::list[static_cast<std::size_t>(last)] == code;
}

}  // namespace

TEST_CASE("every field keeps its number, policy and shape for ever") {
    const std::string path = RAPPORT_GOLDEN_DIR "/field_numbers.txt";
    std::ifstream file(path);
    REQUIRE_MESSAGE(file, "cannot read " << path);
    std::set<std::string> golden;
    for (std::string line; std::getline(file, line);)
        if (!line.empty() && line.front() != '#') golden.insert(line);

    std::set<std::string> present;
    std::string added;
    for (const Kind* kind : all_kinds())
        for (const Field& field : kind->fields) {
            const std::string line = golden_line(*kind, field);
            present.insert(line);
            if (!golden.count(line)) added += line + "\n";
        }
    for (const std::string& line : golden)
        CHECK_MESSAGE(
            present.count(line),
            "gone or changed: "
                << line
                << "\nA released field never changes: give the new "
                   "one a new number. Only a code added at the end may replace its line.");
    CHECK_MESSAGE(added.empty(), "new; to release them append these lines to " << path << ":\n"
                                                                               << added);
}

TEST_CASE("kinds are found by name and by number") {
    REQUIRE(all_kinds().size() == 25);
    for (const Kind* kind : all_kinds()) {
        CHECK(kind_named(kind->name) == kind);
        CHECK(kind_numbered(kind->number) == kind);
    }
    CHECK(kind_named("product_wish") == &kind_of<ProductWish>());
    CHECK(kind_numbered(8) == &kind_of<Complaint>());
    CHECK(kind_named("order") == nullptr);
    CHECK(kind_numbered(0) == nullptr);
    CHECK(kind_numbered(20) == nullptr);  // kept for erasure orders
    CHECK(kind_numbered(27) == nullptr);
}

TEST_CASE("every reference names a kind that exists and every root is a reference") {
    for (const Kind* kind : all_kinds()) {
        for (const Field& field : kind->fields)
            if (!field.type.refers_to.empty())
                CHECK_MESSAGE(kind_named(field.type.refers_to), kind->name << "." << field.name);
        const bool has_root = kind->home == Home::customer || kind->home == Home::subject ||
                              kind->home == Home::person || kind->home == Home::customer_or_person;
        CHECK(kind->root.empty() == !has_root);
        if (has_root) CHECK(kind->field(kind->root)->type.shape == Shape::reference);
        REQUIRE(kind->field(kind->time));
        CHECK(kind->field(kind->time)->type.shape == Shape::instant);
    }
}

TEST_CASE("each enum has one code per enumerator") {
    CHECK(last_is(CustomerState::merged, "merged"));
    CHECK(last_is(CustomerClass::d, "D"));
    CHECK(last_is(VisitType::fair, "fair"));
    CHECK(last_is(Purpose::survey, "survey"));
    CHECK(last_is(VisitResult::cancelled, "cancelled"));
    CHECK(last_is(VisitState::closed, "closed"));
    CHECK(last_is(Aida::action, "action"));
    CHECK(last_is(TalkOutcome::not_offered, "not_offered"));
    CHECK(last_is(LossReason::other, "other"));
    CHECK(last_is(ComplaintState::merged, "merged"));
    CHECK(last_is(Channel::other, "other"));
    CHECK(last_is(Severity::safety, "safety"));
    CHECK(last_is(Remedy::other, "other"));
    CHECK(last_is(Decision::unjustified, "unjustified"));
    CHECK(last_is(WishState::withdrawn, "withdrawn"));
    CHECK(last_is(WishCategory::other, "other"));
    CHECK(last_is(Importance::dealbreaker, "dealbreaker"));
    CHECK(last_is(ThemeState::merged, "merged"));
    CHECK(last_is(Visibility::internal, "internal"));
    CHECK(last_is(AttachmentRole::barcode_image, "barcode_image"));
    CHECK(last_is(RequestVerdict::already_there, "already_there"));
    CHECK(last_is(TaskPriority::urgent, "urgent"));
    CHECK(last_is(TaskState::done, "done"));
    CHECK(last_is(Reaction::reopened, "reopened"));
    CHECK(last_is(ReachedAt::other, "other"));
    CHECK(last_is(EffectivenessResult::not_ok, "not_ok"));
    CHECK(last_is(Role::feed, "feed"));
    CHECK(last_is(Disclosure::full, "full"));
    CHECK(last_is(QuestionState::closed, "closed"));
    CHECK(last_is(QuestionType::photo, "photo"));
    CHECK(last_is(QuestionTo::territory, "territory"));
    CHECK(last_is(AskWhen::date_range, "date_range"));
    CHECK(last_is(AnswerStatus::not_applicable, "not_applicable"));
    CHECK(last_is(ConsentPurpose::profiling, "profiling"));
    CHECK(last_is(LawfulBasis::legitimate_interest, "legitimate_interest"));
    CHECK(last_is(ConsentMethod::other, "other"));
    CHECK(last_is(ApprovalState::withdrawn, "withdrawn"));
    CHECK(last_is(LimitVerdict::needs_approval, "needs_approval"));
    CHECK(last_is(ActionStep::preventive, "preventive"));
    for (std::size_t i = 0; i < std::size(CodesOf<Role>::list); ++i)
        CHECK(CodesOf<Role>::list[i] == rapport::name_of(static_cast<Role>(i)));
}

TEST_CASE("fields say who may see, write and lower them") {
    const Kind& customer = kind_of<Customer>();
    CHECK_FALSE(customer.field("rev12")->visible_to(Role::rep));
    CHECK_FALSE(customer.field("rev12")->visible_to(Role::mgr));
    CHECK(customer.field("name")->visible_to(Role::rep));
    CHECK(kind_of<Theme>().field("decision_text_internal")->central);

    const Field& contact = *kind_of<ProductWish>().field("contact_id");
    CHECK(contact.visible_to(Role::rep));
    CHECK_FALSE(contact.visible_to(Role::pm));
    CHECK_FALSE(contact.visible_to(Role::mkt));

    const Field& severity = *kind_of<Complaint>().field("severity");
    CHECK(severity.marks.required);
    CHECK(severity.marks.writers.contains(Role::rep));
    CHECK_FALSE(severity.marks.lowered_by.contains(Role::rep));
    CHECK(severity.marks.lowered_by.contains(Role::qm));
    CHECK(kind_of<Complaint>().field("state")->marks.writers.empty());

    CHECK(kind_of<Contact>().field("phones")->personal);
    CHECK(kind_of<Complaint>().field("verbatim")->personal);
    CHECK_FALSE(kind_of<Complaint>().field("lot")->personal);
    const Kind& policy = kind_of<DiscountPolicy>();
    for (const char* name : {"max_bp", "floor_price", "needs"}) {
        CHECK_FALSE(policy.field(name)->visible_to(Role::rep, Disclosure::none));
        CHECK_FALSE(policy.field(name)->visible_to(Role::rep, Disclosure::verdict));
        CHECK(policy.field(name)->visible_to(Role::rep, Disclosure::limit));
    }
    for (const char* name : {"cost", "margin_bp"}) {
        CHECK_FALSE(policy.field(name)->visible_to(Role::mgr, Disclosure::limit));
        CHECK(policy.field(name)->visible_to(Role::mgr, Disclosure::full));
        CHECK(policy.field(name)->visible_to(Role::price, Disclosure::none));
    }
    CHECK(policy.field("disclosure")->visible_to(Role::rep, Disclosure::none));

    CHECK(kind_of<StatusEvent>().creators.empty());
    CHECK(kind_of<Note>().append_only);
}

TEST_CASE("a typed record becomes a general one and back without loss") {
    Complaint c;
    c.created_at = *Instant::parse("2026-03-02T09:30:00+01:00");
    c.visit_id = some_visit();
    c.verbatim = "Deckel undicht";
    c.severity = Severity::critical;
    c.description = "Charge 4711";
    c.description.siblings.push_back("zwei Paletten");
    c.qty_affected = Quantity{4'200'000, "H87"};
    c.effectiveness = Effectiveness{*Instant::parse("2026-04-01T08:00:00Z"), std::nullopt};
    c.cost = Money{-1250, "EUR"};
    c.ext.entries["line"] = "3";

    const RecordId id = *RecordId::parse("0195a0f0-0000-7000-8000-00000000000a");
    const Record record = to_record(c, id);
    CHECK(record.id == id);
    CHECK(record.value("severity") == Value("critical"));
    CHECK(record.value("cost") == Value(Parts{Value(-1250), Value("EUR")}));
    CHECK(record.shown("description").size() == 2);
    CHECK(record.value("effectiveness").parts()->at(1).is_null());
    CHECK(record.shown("lot").empty());

    const auto back = from_record<Complaint>(record);
    CHECK(back.created_at == c.created_at);
    CHECK(back.visit_id == c.visit_id);
    CHECK(back.severity == Severity::critical);
    CHECK(back.description.text() == "Charge 4711\n\nzwei Paletten");
    CHECK(back.qty_affected == c.qty_affected);
    CHECK(back.effectiveness == c.effectiveness);
    CHECK(back.cost == c.cost);
    CHECK(back.ext == c.ext);
    CHECK_FALSE(back.lot.has_value());
}

TEST_CASE("a code this build does not know reads as unset and stays in the record") {
    Record record{&kind_of<Complaint>(), {}, {}, {}};
    record.set("severity", "catastrophic");
    CHECK_FALSE(from_record<Complaint>(record).severity.has_value());
    CHECK(record.value("severity") == Value("catastrophic"));
}

TEST_CASE("sets, references and groups in sets survive the way through a record") {
    Contact contact;
    contact.phones.elements = {{"+492421086651", ReachedAt::work}, {"+491713920000", {}}};
    const auto back = from_record<Contact>(to_record(contact, {}));
    CHECK(back.phones == contact.phones);

    ProductTalk talk;
    talk.visit_id = some_visit();
    talk.reasons = {LossReason::price_high, LossReason::terms};
    const Record record = to_record(talk, {});
    CHECK(record.shown("reasons")[0].key != record.shown("reasons")[1].key);
    CHECK(from_record<ProductTalk>(record).reasons == talk.reasons);
    CHECK(record.value("visit_id").text()->size() == 16);
}

TEST_CASE("a list of groups survives the way through a record, each element once") {
    PriceRequest request;
    const auto product = Id<Product>(some_visit());
    request.lines = {{1, product, 2'000, "KGM", 10'000, 9'000, "EUR"},
                     {2, product, 2'000, "KGM", 10'000, 9'000, "EUR"}};
    const Record record = to_record(request, {});
    REQUIRE(record.shown("lines").size() == 2);
    CHECK(from_record<PriceRequest>(record).lines == request.lines);

    StateTable table;
    table.rows = {
        {"submitted", "closed", "qm rep", "new_note", "ask_first", "owner", "due_at", true}};
    CHECK(from_record<StateTable>(to_record(table, {})).rows == table.rows);
}

TEST_CASE("setting a field by name replaces it, null clears it, and a wrong name is an error") {
    Record record{&kind_of<Visit>(), {}, {}, {}};
    record.set("type", "call");
    record.set("type", "fair");
    CHECK(record.value("type") == Value("fair"));
    CHECK(record.value(17) == Value("fair"));
    record.set("type", Value());
    CHECK(record.value("type").is_null());
    CHECK_THROWS_AS(record.set("colour", "red"), Error);
    CHECK_THROWS_AS(record.set("ext", "red"), Error);
}

TEST_CASE("a field is found at the place of its member") {
    const Complaint sample;
    const auto offset = reinterpret_cast<const char*>(&sample.remedy_wanted) -
                        reinterpret_cast<const char*>(&sample);
    CHECK(kind_of<Complaint>().field_at(static_cast<std::size_t>(offset)).name == "remedy_wanted");
}

TEST_CASE("roles and error codes have their names") {
    for (int i = 0; i <= static_cast<int>(Role::feed); ++i) {
        const auto role = static_cast<Role>(i);
        CHECK(role_named(rapport::name_of(role)) == role);
        CHECK(Roles::everyone().contains(role));
    }
    CHECK_FALSE(role_named("boss"));
    CHECK(rapport::name_of(ErrorCode::storage_busy) == "storage_busy");
}

TEST_CASE("a kind whose list and struct disagree stops the program with a sentence") {
    CHECK(kind_of<Sound>().fields.size() == 9);
    CHECK(says(last_words<Forgetful>(), "forgetful: a member between first and last"));
    CHECK(says(last_words<ForgetsLast>(), "forgets_last: a member after first"));
    CHECK(
        says(last_words<ForgetsCommon>(), "forgets_common: a member between the start and first"));
    CHECK(says(last_words<Twice>(), "twice: first and second have the same number"));
    CHECK(says(last_words<OneMemberTwice>(), "one_member_twice: first and second"));
    CHECK(says(last_words<LowNumber>(), "low_number.first: its number 11"));
    CHECK(says(last_words<Unwritable>(), "unwritable.first: required"));
    CHECK(says(last_words<HalfFixed>(), "half_fixed.first: only a set or map"));
    CHECK(says(last_words<Indiscreet>(), "indiscreet.first: its record has no level"));
    CHECK(says(last_words<ColumnClash>(), "column_clash: two fields or parts named cost_currency"));
}
