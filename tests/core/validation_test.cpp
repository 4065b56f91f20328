// SPDX-License-Identifier: Apache-2.0
#include "model/validation.hpp"

#include <doctest/doctest.h>

#include "rapport/kinds.hpp"

using namespace rapport;

namespace {

const RecordId kSomebody = *RecordId::parse("01956e2a-7c00-7000-8000-000000000001");
const RecordId kElse = *RecordId::parse("01956e2a-7c00-7000-8000-000000000002");

Field text_field(Format format, std::int64_t max = 100) {
    Field f;
    f.number = 16;
    f.name = "sample";
    f.type.shape = Shape::text;
    f.type.format = format;
    f.type.max = max;
    return f;
}

struct Checked {
    Value value;
    std::vector<Refusal> refusals;
    std::string text() const { return value.text() ? *value.text() : "(no text)"; }
    std::string code() const { return refusals.empty() ? "" : refusals.front().code; }
    std::string field() const { return refusals.empty() ? "" : refusals.front().field; }
};

Checked checked(const Field& field, Value value) {
    Checked c{std::move(value), {}};
    check_value(field, kSomebody, c.value, c.refusals);
    return c;
}

Checked checked(Format format, const char* text) {
    return checked(text_field(format), Value(text));
}

struct CheckedContent {
    Content content;
    std::vector<Refusal> refusals;
    std::string code() const { return refusals.empty() ? "" : refusals.front().code; }
};
CheckedContent content_checked(const Field& field, Content content) {
    CheckedContent c{std::move(content), {}};
    check_content(field, kSomebody, c.content, Limits{}, c.refusals);
    return c;
}

template <class K>
std::vector<Refusal> refusals_of(const K& typed) {
    std::vector<Refusal> out;
    check_record(to_record(typed, kSomebody), out);
    return out;
}
std::string codes(const std::vector<Refusal>& refusals) {
    std::string out;
    for (const Refusal& r : refusals) out += (out.empty() ? "" : " ") + r.field + ":" + r.code;
    return out;
}

Instant at(const char* time) { return *Instant::parse(time); }

Complaint a_complaint() {
    Complaint c;
    c.created_at = at("2026-03-02T09:30:00+01:00");
    c.customer_id = Id<Customer>(kElse);
    c.product_text = "Deckel 80 mm";
    c.received_at = at("2026-03-02T09:30:00+01:00");
    c.verbatim = "Der Deckel ist undicht.";
    c.channel = Channel::visit;
    c.severity = Severity::major;
    return c;
}

Visit a_visit() {
    Visit v;
    v.created_at = at("2026-03-02T09:30:00+01:00");
    v.customer_id = Id<Customer>(kElse);
    v.type = VisitType::visit;
    v.state = VisitState::open;
    return v;
}

std::string writer_code(const Kind& kind, const char* field, bool create, Role role) {
    std::vector<Refusal> out;
    check_writer(kind, field ? kind.field(std::string_view(field)) : nullptr, kSomebody, create,
                 role, out);
    return codes(out);
}

}  // namespace

TEST_CASE("text is stored composed, trimmed, and with plain line breaks") {
    CHECK(normalised("u\u0308ber", true) == "über");
    CHECK(normalised("\u00A0  a b\t ", false) == "a b");
    CHECK(normalised("eins\r\nzwei\rdrei\n", false) == "eins\nzwei\ndrei");
    CHECK(normalised("a\tb", false) == "a\tb");
    CHECK(normalised("\u212B", true) == "Å");  // Angstrom sign becomes A with ring
    CHECK(normalised("", true) == "");
    CHECK(normalised("😀", true) == "😀");
}

TEST_CASE("normalising twice changes nothing more") {
    for (const char* text :
         {"  u\u0308 \r\n x", "\uFEFFBOM", "a\u0301\u0323", "\u1100\u1161", " \u0308a"}) {
        const auto once = normalised(text, false);
        REQUIRE(once);
        CHECK(normalised(*once, false) == once);
    }
}

TEST_CASE("text that is not UTF-8 is refused") {
    for (const char* text :
         {"\xFF", "\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "a\x80"}) {
        CHECK_FALSE(normalised(text, false));
        CHECK(checked(Format::any, text).code() == "not_utf8");
    }
}

TEST_CASE("control characters are refused, line breaks only in single lines") {
    CHECK_FALSE(normalised(std::string_view("a\0b", 3), false));
    CHECK_FALSE(normalised("a\x1B[31m", false));
    CHECK_FALSE(normalised("a\u0085b", false));
    CHECK_FALSE(normalised("a\nb", true));
    CHECK_FALSE(normalised("a\tb", true));
    CHECK_FALSE(normalised("a\u2028b", true));
    CHECK(checked(Format::line, "a\nb").code() == "control_character");
    CHECK(checked(Format::any, "a\nb").refusals.empty());
}

TEST_CASE(
    "a letter under a pile of combining marks is refused instead of being sorted for minutes") {
    std::string pile = "a";
    for (int i = 0; i < 200'000; ++i) pile += i % 2 ? "\u0301" : "\u0323";
    CHECK(checked(text_field(Format::any, 1'000'000), Value(pile)).code() == "control_character");
}

TEST_CASE("length counts code points, after normalising") {
    const Field three = text_field(Format::line, 3);
    CHECK(checked(three, Value("äöü")).refusals.empty());
    CHECK(checked(three, Value("a\u0308o\u0308u\u0308 ")).text() == "äöü");
    CHECK(checked(three, Value("abcd")).code() == "too_long");
    CHECK(checked(three, Value("   ")).value.is_null());
}

TEST_CASE("formats accept what follows the standard and store one form of it") {
    const struct {
        Format format;
        const char* text;
        const char* stored;
    } kGood[] = {
        {Format::e164, "+49 30-123456", "+4930123456"},
        {Format::e164, "+1234567", "+1234567"},
        {Format::email, "Max.Muster+x@Beispiel.DE", "Max.Muster+x@beispiel.de"},
        {Format::email, "jürgen@beispiel.example", "jürgen@beispiel.example"},
        {Format::url, "HTTPS://Beispiel.de/A?b=c#d", "https://beispiel.de/A?b=c#d"},
        {Format::url, "http://[2001:DB8::1]:8470/x", "http://[2001:db8::1]:8470/x"},
        {Format::url, "http://localhost:80", "http://localhost:80"},
        {Format::country, "de", "DE"},
        {Format::country, "ZW", "ZW"},
        {Format::country, "AD", "AD"},
        {Format::currency, "eur", "EUR"},
        {Format::currency, "ZWG", "ZWG"},
        {Format::currency, "TND", "TND"},
        {Format::language, "DE-at", "de-AT"},
        {Format::language, "zh-hans-cn", "zh-Hans-CN"},
        {Format::language, "de-x-ab", "de-x-ab"},
        {Format::gtin, "96385074", "00000096385074"},
        {Format::gtin, "036000291452", "00036000291452"},
        {Format::gtin, "4006381333931", "04006381333931"},
        {Format::gtin, "0400 6381 333931", "04006381333931"},
        {Format::gln, "4012345000009", "4012345000009"},
        {Format::vat_id, "de 123456789", "DE123456789"},
        {Format::vat_id, "EL123456789", "EL123456789"},
        {Format::vat_id, "ATU12345678", "ATU12345678"},
        {Format::nace, "c28.41", "C28.41"},
        {Format::nace, "28.41.0", "28.41.0"},
        {Format::nace, "C", "C"},
        {Format::unit, "kgm", "KGM"},
        {Format::unit, "H87", "H87"},
        {Format::media_type, "Image/JPEG", "image/jpeg"},
        {Format::media_type, "application/vnd.oasis.opendocument.text",
         "application/vnd.oasis.opendocument.text"},
        {Format::scope, "territory/DE-50", "territory/DE-50"},
        {Format::scope, "global", "global"},
        {Format::scope, "rep/R17", "rep/R17"},
        {Format::scope, "policy/rep", "policy/rep"},
        {Format::name, "price_high.v-2", "price_high.v-2"},
    };
    for (const auto& c : kGood) {
        CAPTURE(c.text);
        const Checked once = checked(c.format, c.text);
        CHECK(codes(once.refusals) == "");
        CHECK(once.text() == c.stored);
        CHECK(checked(c.format, c.stored).text() == c.stored);
        CHECK(canonical_text(c.format, c.text) == c.stored);
    }
    const std::string hash(64, 'A');
    CHECK(checked(Format::sha256, hash.c_str()).text() == std::string(64, 'a'));
}

TEST_CASE("formats refuse what does not follow the standard") {
    const struct {
        Format format;
        const char* text;
        const char* code;
    } kBad[] = {
        {Format::e164, "030123456", "malformed"},
        {Format::e164, "+49 (0)30 1234", "malformed"},
        {Format::e164, "+123456", "malformed"},
        {Format::e164, "+1234567890123456", "malformed"},
        {Format::e164, "+0301234567", "malformed"},
        {Format::email, "max", "malformed"},
        {Format::email, "max@host", "malformed"},
        {Format::email, "max..m@host.de", "malformed"},
        {Format::email, "a b@host.de", "malformed"},
        {Format::email, "a@-host.de", "malformed"},
        {Format::email, "@host.de", "malformed"},
        {Format::url, "ftp://host.de", "malformed"},
        {Format::url, "www.host.de", "malformed"},
        {Format::url, "javascript:alert(1)", "malformed"},
        {Format::url, "http://", "malformed"},
        {Format::url, "http://a b.de", "malformed"},
        {Format::url, "http://bank.de@evil.de", "malformed"},
        {Format::url, "http://host:port", "malformed"},
        {Format::country, "XX", "unknown_country"},
        {Format::country, "DEU", "unknown_country"},
        {Format::country, "E ", "unknown_country"},
        {Format::currency, "DEM", "unknown_currency"},
        {Format::currency, "XXX", "unknown_currency"},
        {Format::currency, "EU", "unknown_currency"},
        {Format::language, "d", "malformed"},
        {Format::language, "de_AT", "malformed"},
        {Format::language, "de-", "malformed"},
        {Format::language, "de-x", "malformed"},
        {Format::gtin, "4006381333932", "gtin_check_digit"},
        {Format::gtin, "400638133393", "gtin_check_digit"},
        {Format::gtin, "40063813339", "malformed"},
        {Format::gtin, "400638133393x", "malformed"},
        {Format::gln, "4012345000008", "gln_check_digit"},
        {Format::gln, "96385074", "malformed"},
        {Format::vat_id, "123456789", "malformed"},
        {Format::vat_id, "DE1", "malformed"},
        {Format::vat_id, "XX123456789", "malformed"},
        {Format::nace, "2841", "malformed"},
        {Format::nace, "28.", "malformed"},
        {Format::unit, "K", "malformed"},
        {Format::unit, "piece", "malformed"},
        {Format::sha256, "abc", "malformed"},
        {Format::media_type, "jpeg", "malformed"},
        {Format::media_type, "image/", "malformed"},
        {Format::scope, "territory/", "malformed"},
        {Format::scope, "territory/*", "malformed"},
        {Format::scope, "everywhere", "malformed"},
        {Format::name, "two words", "malformed"},
        {Format::name, "über", "malformed"},
    };
    for (const auto& c : kBad) {
        CAPTURE(c.text);
        const Checked seen = checked(c.format, c.text);
        CHECK(seen.code() == c.code);
        CHECK(seen.field() == "sample");
        CHECK_FALSE(canonical_text(c.format, c.text));
    }
}

TEST_CASE("every listed country and currency is accepted, and no other") {
    for (const Format format : {Format::country, Format::currency}) {
        int accepted = 0;
        std::string code(format == Format::country ? 2 : 3, 'A');
        for (;;) {
            accepted += canonical_text(format, code).has_value();
            std::size_t i = code.size();
            while (i > 0 && code[i - 1] == 'Z') code[--i] = 'A';
            if (i == 0) break;
            ++code[i - 1];
        }
        CHECK(accepted == (format == Format::country ? 249 : 179));
    }
}

TEST_CASE("sentences name the field and its bound, never what was typed") {
    const Checked seen = checked(text_field(Format::line, 5), Value("Geheimnis"));
    REQUIRE(seen.refusals.size() == 1);
    CHECK(seen.refusals[0] ==
          Refusal{kSomebody, "sample", "too_long", "`sample` takes at most 5 characters.", {"5"}});
    const Field& mood = *kind_of<Visit>().field("mood");
    CHECK(checked(mood, Value(std::int64_t{3})).refusals.at(0).sentence ==
          "`mood` must be from -2 to 2.");
    const Field& severity = *kind_of<Complaint>().field("severity");
    CHECK(checked(severity, Value("horrible")).refusals.at(0).sentence ==
          "`severity` must be one of: minor, major, critical, safety.");
}

TEST_CASE("whole numbers, codes, times and references keep to their bounds") {
    const Kind& visit = kind_of<Visit>();
    const Field &mood = *visit.field("mood"), &type = *visit.field("type"),
                &started = *visit.field("started_at"), &customer = *visit.field("customer_id"),
                &erased = *visit.field("erased");
    CHECK(checked(mood, Value(std::int64_t{-2})).refusals.empty());
    CHECK(checked(mood, Value(std::int64_t{-3})).code() == "out_of_range");
    CHECK(checked(mood, Value("2")).code() == "wrong_type");
    CHECK(checked(type, Value("fair")).refusals.empty());
    CHECK(checked(type, Value("seance")).code() == "unknown_code");
    CHECK(checked(type, Value(std::int64_t{1})).code() == "wrong_type");
    CHECK(checked(started, Value(at("2026-03-02T09:30:00+01:00").packed())).refusals.empty());
    CHECK(checked(started, Value(at("1970-01-01T00:00:00+14:00").packed())).refusals.empty());
    CHECK(checked(started, Value(at("9999-12-31T23:59:59.999-12:00").packed())).refusals.empty());
    const std::int64_t before_1970 = Instant(TimePoint(Milliseconds(-1))).packed();
    for (const std::int64_t packed : {INT64_MIN, INT64_MAX, std::int64_t{0}, before_1970})
        CHECK(checked(started, Value(packed)).code() == "out_of_range");
    CHECK(checked(customer, Value(kElse.raw())).refusals.empty());
    CHECK(checked(customer, Value(kElse.text())).code() == "wrong_type");
    CHECK(checked(customer, Value(RecordId{}.raw())).code() == "wrong_type");
    CHECK(checked(erased, Value(std::int64_t{1})).refusals.empty());
    CHECK(checked(erased, Value(std::int64_t{2})).code() == "wrong_type");
}

TEST_CASE("a group needs its required parts, takes no others, and is nothing when all parts are") {
    const Field& money = *kind_of<ProductTalk>().field("deal_value");
    CHECK(checked(money, Value(Parts{Value(std::int64_t{100}), Value("eur")})).value ==
          Value(Parts{Value(std::int64_t{100}), Value("EUR")}));
    const Checked half = checked(money, Value(Parts{Value(std::int64_t{100})}));
    CHECK(codes(half.refusals) == "deal_value.currency:required");
    CHECK(codes(checked(money, Value(Parts{Value(), Value("EUR")})).refusals) ==
          "deal_value.minor:required");
    CHECK(codes(checked(money, Value(Parts{Value(std::int64_t{1}), Value("EUR"), Value()}))
                    .refusals) == "deal_value:unknown_part");
    CHECK(codes(checked(money, Value(Parts{Value(std::int64_t{1}), Value("DEM")})).refusals) ==
          "deal_value.currency:unknown_currency");
    CHECK(checked(money, Value(Parts{Value(), Value(" ")})).value.is_null());
    CHECK(checked(money, Value(std::int64_t{100})).code() == "wrong_type");
    const Field& address = *kind_of<Customer>().field("address");
    CHECK(checked(address, Value(Parts{Value("Hauptstr. 1")})).value ==
          Value(Parts{Value("Hauptstr. 1"), Value(), Value(), Value()}));
}

TEST_CASE("a set loses duplicates, gets its keys anew and keeps to its bound") {
    const Field& tags = *kind_of<Customer>().field("tags");
    const CheckedContent seen = content_checked(
        tags, {{"x", Value("neu")}, {"", Value(" neu ")}, {"", Value("alt")}, {"", Value("")}});
    CHECK(seen.refusals.empty());
    REQUIRE(seen.content.size() == 2);
    for (const Item& item : seen.content) CHECK(item.key == canonical_bytes(item.value));
    CHECK(seen.content[0].key < seen.content[1].key);

    Content many;
    for (int i = 0; i < 201; ++i) many.push_back({"", Value("t" + std::to_string(i))});
    CHECK(content_checked(tags, many).code() == "too_many");
    many.pop_back();
    CHECK(content_checked(tags, many).refusals.empty());
}

TEST_CASE("a map keeps nulls, which clear their key, and refuses odd or doubled keys") {
    const Field& ext = *kind_of<Customer>().field("ext");
    const CheckedContent seen = content_checked(ext, {{"b", Value(" x ")}, {"a.1", Value()}});
    CHECK(seen.refusals.empty());
    CHECK(seen.content == Content{{"a.1", Value()}, {"b", Value("x")}});
    CHECK(content_checked(ext, {{"zwei Worte", Value("x")}}).code() == "malformed_key");
    CHECK(content_checked(ext, {{"", Value("x")}}).code() == "malformed_key");
    CHECK(content_checked(ext, {{"a", Value("x")}, {"a", Value("y")}}).code() == "duplicate_key");
}

TEST_CASE("a register takes one value, and content that says nothing ends up empty") {
    const Field& name = *kind_of<Customer>().field("name");
    CHECK(content_checked(name, {{"", Value("a")}, {"", Value("b")}}).code() == "too_many");
    CHECK(content_checked(name, {{"", Value("  ")}}).content.empty());
    CHECK(content_checked(name, {{"stray", Value("a")}}).content == Content{{"", Value("a")}});
    const Field& remarks = *kind_of<Customer>().field("remarks");
    CHECK(content_checked(remarks, {{"", Value("a")}, {"", Value("b")}}).refusals.empty());
}

TEST_CASE("a complaint names customer, product, words and severity") {
    CHECK(codes(refusals_of(a_complaint())) == "");
    Complaint c = a_complaint();
    c.product_text = std::nullopt;
    CHECK(codes(refusals_of(c)) == "product_id:product_missing");
    c.product_id = Id<Product>(kElse);
    CHECK(codes(refusals_of(c)) == "");
    c.verbatim = std::nullopt;
    c.severity = std::nullopt;
    CHECK(codes(refusals_of(c)) == "verbatim:required severity:required");
    CHECK(codes(refusals_of(Complaint{})) ==
          "created_at:required customer_id:required received_at:required verbatim:required "
          "channel:required "
          "severity:required product_id:product_missing");
}

TEST_CASE("what an erasure order took is not missing") {
    Complaint c = a_complaint();
    c.verbatim = std::nullopt;
    c.erased = true;
    CHECK(codes(refusals_of(c)) == "");
}

TEST_CASE("a visit ends after it began, and closes with a purpose and a result") {
    Visit v = a_visit();
    CHECK(codes(refusals_of(v)) == "");
    v.started_at = at("2026-03-02T10:00:00+01:00");
    v.ended_at = at("2026-03-02T09:30:00Z");  // later, though the digits say earlier
    CHECK(codes(refusals_of(v)) == "");
    v.ended_at = at("2026-03-02T09:59:59+01:00");
    CHECK(codes(refusals_of(v)) == "ended_at:ends_before_start");

    v = a_visit();
    v.planned = TimeRange{at("2026-03-02T10:00:00Z"), at("2026-03-02T09:00:00Z")};
    CHECK(codes(refusals_of(v)) == "planned:ends_before_start");
    v.planned = TimeRange{at("2026-03-02T10:00:00Z"), std::nullopt};
    CHECK(codes(refusals_of(v)) == "");

    v = a_visit();
    v.state = VisitState::closed;
    CHECK(codes(refusals_of(v)) == "purpose:purpose_missing result:result_missing");
    v.purpose = {Purpose::renew};
    v.result = VisitResult::order;
    CHECK(codes(refusals_of(v)) == "");
    v.state = VisitState::open;
    v.purpose = {};
    CHECK(codes(refusals_of(v)) == "purpose:purpose_missing");
}

TEST_CASE("money that a deal is worth is not below zero") {
    ProductTalk talk;
    talk.created_at = at("2026-03-02T09:30:00Z");
    talk.visit_id = Id<Visit>(kElse);
    talk.product_id = Id<Product>(kElse);
    talk.aida = Aida::desire;
    talk.deal_value = Money{-1, "EUR"};
    CHECK(codes(refusals_of(talk)) == "deal_value:negative_amount");
    ProductWish wish;
    wish.created_at = at("2026-03-02T09:30:00Z");
    wish.customer_id = Id<Customer>(kElse);
    wish.need = "leiser";
    wish.importance = Importance::nice;
    wish.deal_at_stake = Money{-1, "EUR"};
    CHECK(codes(refusals_of(wish)) == "deal_at_stake:negative_amount");
}

TEST_CASE("a record does not refer to itself") {
    Theme t;
    t.created_at = at("2026-03-02T09:30:00Z");
    t.title = "Leiser";
    t.parent = Id<Theme>(kSomebody);
    CHECK(codes(refusals_of(t)) == "parent:refers_to_itself");
}

TEST_CASE("roles write what the kind's list lets them write") {
    const Kind& complaint = kind_of<Complaint>();
    CHECK(writer_code(complaint, nullptr, true, Role::rep) == "");
    CHECK(writer_code(complaint, nullptr, true, Role::qm) == ":not_creatable");
    CHECK(writer_code(complaint, nullptr, false, Role::qm) == "");
    CHECK(writer_code(complaint, "description", false, Role::qm) == "");
    CHECK(writer_code(complaint, "defect_code", false, Role::rep) == "defect_code:not_writable");
    CHECK(writer_code(complaint, "state", false, Role::qm) == "state:not_writable");
    CHECK(writer_code(complaint, "created_at", true, Role::rep) == "");
    CHECK(writer_code(complaint, "created_at", false, Role::rep) == "created_at:write_once");
    CHECK(writer_code(complaint, "ext", false, Role::rep) == "");
    CHECK(writer_code(complaint, "erased", false, Role::rep) == "erased:not_writable");
    CHECK(writer_code(complaint, "state", false, Role::sys) == "");

    const Kind& note = kind_of<Note>();
    CHECK(writer_code(note, "text", true, Role::rep) == "");
    CHECK(writer_code(note, "text", false, Role::rep) == ":append_only");
    CHECK(writer_code(kind_of<StatusEvent>(), "to", true, Role::mgr) ==
          ":not_creatable to:not_writable");
}

TEST_CASE("a whole record asked field by field is refused once as a record") {
    std::vector<Refusal> out;
    const Kind& note = kind_of<Note>();
    check_writer(note, nullptr, kSomebody, false, Role::rep, out);
    for (const Field& f : note.fields) check_writer(note, &f, kSomebody, false, Role::rep, out);
    CHECK(codes(out) == ":append_only");
}
