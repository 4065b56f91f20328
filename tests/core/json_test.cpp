// SPDX-License-Identifier: Apache-2.0
#include "model/json.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "model/json_tree.hpp"
#include "model/validation.hpp"
#include "rapport/kinds.hpp"

using namespace rapport;

namespace {

RecordId id(int n) {
    char text[40];
    std::snprintf(text, sizeof text, "01956e2a-7c00-7000-8000-%012d", n);
    return *RecordId::parse(text);
}
Instant at(const char* time) { return *Instant::parse(time); }

const ResolveReference kNoReferences = [](std::string_view) { return std::nullopt; };

std::string codes(const std::vector<Refusal>& refusals) {
    std::string out;
    for (const Refusal& r : refusals) out += (out.empty() ? "" : " ") + r.field + ":" + r.code;
    return out;
}

std::string import_codes(std::string_view line) {
    return codes(parse_import_line(line, kNoReferences).refusals);
}

/// Draws canonical values of any type from a seed.
class Draw {
public:
    explicit Draw(unsigned seed) : random_(seed) {}

    std::int64_t number(std::int64_t low, std::int64_t high) {
        switch (pick(4)) {
            case 0:
                return low;
            case 1:
                return high;
            default:
                return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
        }
    }
    std::size_t pick(std::size_t of) {
        return std::uniform_int_distribution<std::size_t>(0, of - 1)(random_);
    }

    Value value(const TypeInfo& type) {
        switch (type.shape) {
            case Shape::boolean:
                return Value(number(0, 1));
            case Shape::integer:
                return Value(number(type.min, type.max));
            case Shape::instant:
                return Value(
                    Instant(TimePoint(Milliseconds(number(1'000'000'000, 253'402'000'000'000))),
                            std::chrono::minutes(number(-1023, 840)))
                        .packed());
            case Shape::code:
                return Value(std::string(type.codes[pick(type.codes.size())]));
            case Shape::reference:
                return Value(id(static_cast<int>(pick(1000)) + 1).raw());
            case Shape::text:
                return Value(text(type));
            case Shape::group:
                break;
        }
        Parts parts;
        for (const PartInfo& part : type.parts)
            parts.push_back(part.required || pick(3) > 0 ? value(part.type) : Value());
        if (std::all_of(parts.begin(), parts.end(), [](const Value& v) { return v.is_null(); }))
            parts[0] = value(type.parts[0].type);
        return Value(std::move(parts));
    }

    std::string text(const TypeInfo& type) {
        switch (type.format) {
            case Format::e164:
                return "+4930" + digits(6);
            case Format::email:
                return "m" + digits(4) + "@beispiel.example";
            case Format::url:
                return "https://beispiel.example/" + digits(3);
            case Format::country:
                return pick(2) ? "DE" : "AT";
            case Format::currency:
                return pick(2) ? "EUR" : "JPY";
            case Format::language:
                return pick(2) ? "de" : "en-GB";
            case Format::gtin:
                return "04006381333931";
            case Format::gln:
                return "4012345000009";
            case Format::vat_id:
                return "DE" + digits(9);
            case Format::nace:
                return "C28.41";
            case Format::unit:
                return pick(2) ? "KGM" : "H87";
            case Format::sha256:
                return std::string(64, "0123456789abcdef"[pick(16)]);
            case Format::media_type:
                return "image/jpeg";
            case Format::scope:
                return "territory/DE-" + digits(2);
            case Format::name:
                return "code_" + digits(3);
            case Format::any:
            case Format::line:
                break;
        }
        static const std::vector<std::string> kPieces = {"Deckel", "undicht", "üß", "\"", "\\", "/",
                                                         "@c1",    "😀",       "{}", "€",  "1e9"};
        std::string s = "T" + digits(2);
        while (s.size() + 10 < static_cast<std::size_t>(type.max) && s.size() < 60 && pick(5) > 0)
            s += (type.format == Format::any && pick(4) == 0 ? "\n" : " ") +
                 kPieces[pick(kPieces.size())];
        return s;
    }

    Content content(const Field& field) {
        Content c;
        const std::size_t count =
            field.is_keyed() || field.policy == Policy::keep_both ? 1 + pick(3) : 1;
        for (std::size_t i = 0; i < count; ++i)
            c.push_back({field.policy == Policy::per_key ? "k" + std::to_string(i) : "",
                         value(field.type)});
        return c;
    }

private:
    std::string digits(int count) {
        std::string s;
        for (int i = 0; i < count; ++i) s += static_cast<char>('0' + pick(10));
        return s;
    }
    std::mt19937 random_;
};

/// Records that show every form the canonical JSON has.
std::vector<Record> golden_records() {
    std::vector<Record> all;
    const auto common = [](Common& c, const char* time) {
        c.created_at = at(time);
        c.created_by = "R17";
        c.device_id = "00000000000000a7";
        c.lang = "de";
        c.schema_version = 1;
    };

    Customer customer;
    common(customer, "2026-03-02T08:00:00+01:00");
    customer.name = "Müller & Söhne GmbH";
    customer.address = Address{"Hauptstraße 1", "50667", "Köln", "DE"};
    customer.geo = Geo{509'375'310, -1, 12};
    customer.rev12 = Money{9'007'199'254'740'993, "EUR"};
    customer.external_ids = {ExternalId{"erp", "4711"}, ExternalId{"crm", "A:1"}};
    customer.tags = {"neu", "Großkunde", "alt"};
    customer.ext.entries["region"] = "West";
    customer.ext.entries["abc"] = "1";
    customer.erased = false;
    all.push_back(to_record(customer, id(1)));

    Contact contact;
    common(contact, "2026-03-02T08:05:00+01:00");
    contact.customer_id = Id<Customer>(id(1));
    contact.name = PersonName{"", "König"};
    contact.phones = {Reachable<Phone>{"+49221123456", ReachedAt::work},
                      Reachable<Phone>{"+491701234567", std::nullopt}};
    all.push_back(to_record(contact, id(2)));

    Visit visit;
    common(visit, "2026-03-02T09:30:00.250+01:00");
    visit.customer_id = Id<Customer>(id(1));
    visit.type = VisitType::visit;
    visit.started_at = at("2026-03-02T09:30:00+01:00");
    visit.ended_at = at("2026-03-02T09:15:00Z");
    visit.purpose = {Purpose::renew, Purpose::acquire};
    visit.participants = {Id<Contact>(id(2))};
    visit.summary.siblings = {"Preis zu hoch.\nEr will \"Muster\".", "Tab\tund \\ und / und 😀"};
    visit.mood = -1;
    visit.result = VisitResult::follow_up;
    visit.state = VisitState::closed;
    all.push_back(to_record(visit, id(3)));

    Complaint complaint;
    common(complaint, "2026-03-02T09:40:00+01:00");
    complaint.customer_id = Id<Customer>(id(1));
    complaint.visit_id = Id<Visit>(id(3));
    complaint.product_text = "Deckel 80 mm";
    complaint.gtin = "04006381333931";
    complaint.received_at = at("2026-03-02T09:40:00+01:00");
    complaint.verbatim = "Der Deckel ist undicht.";
    complaint.channel = Channel::visit;
    complaint.description = "Charge 4711, zwei Paletten";
    complaint.qty_affected = Quantity{2'500, "KGM"};
    complaint.severity = Severity::critical;
    complaint.remedy_wanted = Remedy::replace;
    complaint.cost = Money{-129'900, "EUR"};
    all.push_back(to_record(complaint, id(4)));

    Theme theme;
    common(theme, "2026-03-03T00:00:00Z");
    theme.title = "Leiser Motor";
    theme.labels.entries = {{"en", "Quieter motor"}, {"de", "Leiser Motor"}};
    all.push_back(to_record(theme, id(5)));
    all.back().scope = "global";

    StateRequest request;
    common(request, "2026-03-03T10:00:00-03:30");
    request.subject_id = AnyId(id(4));
    request.expected_version = 0;
    request.to = "acknowledged";
    request.fields.entries = {{"due_at", "2026-03-17T12:00:00Z"}};
    all.push_back(to_record(request, id(6)));

    // What a newer version wrote: a code this build does not know, and fields it does not know.
    Record newer = to_record(complaint, id(7));
    newer.set("remedy_wanted", Value("exchange_abroad"));
    newer.fields[900] = {{"", Value("neu")}};
    newer.fields[901] = {{"", Value(std::int64_t{9'007'199'254'740'993})}};
    newer.fields[902] = {{"", Value(Parts{Value(std::int64_t{1}), Value()})}};
    newer.fields[903] = {{canonical_bytes(Value("a")), Value("a")}, {"de", Value("b")}};
    newer.fields[904] = {{"", Value(std::string("\x00\xFF", 2))}};
    all.push_back(newer);

    for (Record& r : all)
        if (r.scope.empty()) r.scope = "territory/DE-50";
    return all;
}

std::vector<std::string> golden_lines() {
    std::ifstream file(RAPPORT_GOLDEN_DIR "/record_json.ndjson", std::ios::binary);
    REQUIRE(file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

const Field& field_of(std::string_view kind, std::string_view field) {
    return *kind_named(kind)->field(field);
}

struct FromText {
    std::optional<Content> content;
    std::vector<Refusal> refusals;
    std::string code() const { return codes(refusals); }
};
FromText typed(std::string_view kind, std::string_view field, std::string_view part,
               std::string_view text) {
    const ResolveReference resolve = [](std::string_view reference) -> std::optional<RecordId> {
        if (reference == "1") return id(1);
        if (reference == "erp:4711") return id(2);
        return std::nullopt;
    };
    FromText f;
    f.content = content_from_text(field_of(kind, field), part, text, resolve, id(9), f.refusals);
    CHECK(f.content.has_value() == f.refusals.empty());
    return f;
}

}  // namespace

TEST_CASE("canonical JSON is the golden lines, byte for byte") {
    const std::vector<Record> records = golden_records();
    const std::vector<std::string> lines = golden_lines();
    REQUIRE(lines.size() == records.size());
    for (std::size_t i = 0; i < records.size(); ++i) CHECK(to_json(records[i]) == lines[i]);
}

TEST_CASE("golden lines read back to the records they show, but for unknown fields") {
    const std::vector<Record> records = golden_records();
    const std::vector<std::string> lines = golden_lines();
    REQUIRE(lines.size() == records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
        const ImportLine line = parse_import_line(lines[i], kNoReferences);
        CHECK(codes(line.refusals) == "");
        CHECK(line.record.kind == records[i].kind);
        CHECK(line.record.id == records[i].id);
        CHECK(line.record.scope == records[i].scope);
        Record known = records[i];
        known.fields.erase_if([&](const auto& f) { return known.kind->field(f.first) == nullptr; });
        CHECK(to_json(line.record) == to_json(known));
    }
}

TEST_CASE("every field of every kind survives JSON with any value") {
    Draw draw(7);
    for (const Kind* kind : all_kinds())
        for (int round = 0; round < 30; ++round) {
            Record record{kind, id(2000 + round), "territory/DE-50", {}};
            for (const Field& field : kind->fields) {
                CAPTURE(kind->name + "." + field.name);
                Content content = draw.content(field);
                std::vector<Refusal> refusals;
                check_content(field, record.id, content, Limits{}, refusals);
                REQUIRE(codes(refusals) == "");
                const std::string json = content_to_json(field, content);
                CHECK(content_from_json(field, json, kNoReferences, record.id, refusals) ==
                      content);
                CHECK(codes(refusals) == "");
                record.fields[field.number] = std::move(content);
            }
            const std::string json = to_json(record);
            const ImportLine line = parse_import_line(json, kNoReferences);
            CHECK(codes(line.refusals) == "");
            CHECK(line.record.fields == record.fields);
            CHECK(to_json(line.record) == json);
        }
}

TEST_CASE("what was read is already canonical: validation changes nothing and finds nothing") {
    Draw draw(8);
    for (const Kind* kind : all_kinds())
        for (const Field& field : kind->fields) {
            CAPTURE(kind->name + "." + field.name);
            std::vector<Refusal> refusals;
            Content content = draw.content(field);
            check_content(field, id(1), content, Limits{}, refusals);
            Content again = content;
            check_content(field, id(1), again, Limits{}, refusals);
            CHECK(again == content);
            CHECK(codes(refusals) == "");
        }
}

TEST_CASE("unset content is null, and null is unset") {
    const Field& name = field_of("customer", "name");
    std::vector<Refusal> refusals;
    CHECK(content_to_json(name, {}) == "null");
    CHECK(content_from_json(name, "null", kNoReferences, id(1), refusals) == Content{});
    CHECK(content_to_json(field_of("customer", "tags"), {}) == "[]");
    CHECK(content_to_json(field_of("customer", "ext"), {}) == "{}");
}

TEST_CASE("members of the feed come before those of the record") {
    Record r{kind_named("customer"), id(1), "", {}};
    CHECK(to_json(r, {{"event", "\"created\""}, {"feed", "7"}}) ==
          "{\"event\":\"created\",\"feed\":7,\"kind\":\"customer\",\"id\":\"01956e2a-7c00-7000-"
          "8000-000000000001\",\"fields\":{}}");
}

TEST_CASE("whole numbers are read as numbers or digits, and nothing else") {
    const Field &minor = field_of("product_talk", "deal_value"), &mood = field_of("visit", "mood");
    std::vector<Refusal> refusals;
    const auto read = [&](const Field& field, const char* json) {
        refusals.clear();
        return content_from_json(field, json, kNoReferences, id(1), refusals);
    };
    const Content money{{"", Value(Parts{Value(std::int64_t{INT64_MAX}), Value("EUR")})}};
    CHECK(read(minor, R"({"minor":9223372036854775807,"currency":"EUR"})") == money);
    CHECK(read(minor, R"({"minor":"9223372036854775807","currency":"EUR"})") == money);
    CHECK(content_to_json(minor, money) == R"({"minor":"9223372036854775807","currency":"EUR"})");
    CHECK(read(mood, "-2") == Content{{"", Value(std::int64_t{-2})}});
    for (const char* wrong :
         {"1.0", "1.5", "1e2", "\"1.0\"", "\"\"", "\" 1\"", "\"+1\"", "\"0x1\"", "true", "[1]",
          "{}", "99999999999999999999", "\"9223372036854775808\""}) {
        CAPTURE(wrong);
        CHECK_FALSE(read(mood, wrong));
        CHECK(codes(refusals) == "mood:wrong_type");
    }
    CHECK_FALSE(read(mood, "9223372036854775808"));
    CHECK(codes(refusals) == "mood:out_of_range");
    CHECK_FALSE(read(mood, "1e999"));
    CHECK(codes(refusals) == "mood:not_json");
}

TEST_CASE("a value of the wrong JSON type is refused by name, for every field of every kind") {
    Draw draw(9);
    for (const Kind* kind : all_kinds())
        for (const Field& field : kind->fields) {
            CAPTURE(kind->name + "." + field.name);
            for (const char* wrong :
                 {"3.25", "[[]]", "[3.25]", "{\"no_such_part\":[[]]}", "{\"siblings\":[1]}"}) {
                std::vector<Refusal> refusals;
                CHECK_FALSE(content_from_json(field, wrong, kNoReferences, id(1), refusals));
                REQUIRE_FALSE(refusals.empty());
                CHECK(refusals[0].field.substr(0, field.name.size()) == field.name);
                CHECK(refusals[0].record == id(1));
            }
        }
}

TEST_CASE("a misspelt part, time or id is refused by name") {
    std::vector<Refusal> refusals;
    const auto read = [&](std::string_view kind, std::string_view field, const char* json) {
        refusals.clear();
        CHECK_FALSE(content_from_json(field_of(kind, field), json, kNoReferences, id(1), refusals));
        return codes(refusals);
    };
    CHECK(read("customer", "address", R"({"stret":"x","city":5})") ==
          "address.city:wrong_type address.stret:unknown_part");
    CHECK(read("customer", "address", R"({"Geheim nis":"x"})") == "address.?:unknown_part");
    CHECK(read("visit", "started_at", R"("2026-03-02T09:30:00")") == "started_at:malformed");
    CHECK(read("visit", "customer_id", R"("4711")") == "customer_id:malformed");
    CHECK(read("visit", "customer_id", R"("@c1")") == "customer_id:unknown_reference");
    CHECK(read("visit", "summary", R"({"siblings":["a"],"more":1})") == "summary:wrong_type");
}

TEST_CASE("an import line names its record, its bundle and what it refers to") {
    const ResolveReference resolve = [](std::string_view reference) -> std::optional<RecordId> {
        if (reference == "c1") return id(1);
        if (reference == "erp:4711") return id(2);
        return std::nullopt;
    };
    const ImportLine line = parse_import_line(
        R"({"kind":"visit","ref":"v1","bundle":"Montag 1","fields":{"customer_id":"@c1","participants":["@erp:4711"],"mood":null}})",
        resolve);
    CHECK(codes(line.refusals) == "");
    CHECK(line.record.id.is_nil());
    CHECK(line.ref == "v1");
    CHECK(line.bundle == "Montag 1");
    CHECK(line.record.value("customer_id") == Value(id(1).raw()));
    CHECK(line.record.value("participants") == Value(id(2).raw()));
    CHECK(line.record.fields.size() == 2);
}

TEST_CASE("a bad import line is refused with the field that is wrong, and the rest is read") {
    CHECK(import_codes(R"({"kind":"spaceship","fields":{}})") == "kind:unknown_kind");
    CHECK(import_codes(R"({"kind":7,"fields":{}})") == "kind:unknown_kind");
    CHECK(import_codes(R"({"fields":{}})") == "kind:required");
    CHECK(import_codes(R"({"kind":"visit"})") == "fields:required");
    CHECK(import_codes(R"({"kind":"visit","fields":[]})") == "fields:wrong_type");
    CHECK(import_codes(R"({"kind":"visit","feilds":{},"fields":{}})") == "feilds:unknown_field");
    CHECK(import_codes(R"({"kind":"visit","id":"x","fields":{}})") == "id:malformed");
    CHECK(import_codes(R"({"kind":"visit","scope":"mars","fields":{}})") == "scope:malformed");
    CHECK(import_codes(R"({"kind":"visit","ref":"a b","fields":{}})") == "ref:malformed");
    CHECK(import_codes(R"({"kind":"visit","ref":1,"fields":{}})") == "ref:wrong_type");
    const ImportLine line = parse_import_line(
        R"({"kind":"visit","id":"01956e2a-7c00-7000-8000-000000000009","fields":{"mod":1,"Frau Meier!":2,"state":3,"mood":1}})",
        kNoReferences);
    CHECK(codes(line.refusals) == "?:unknown_field mod:unknown_field state:wrong_type");
    CHECK(line.record.value("mood") == Value(std::int64_t{1}));
    for (const Refusal& r : line.refusals) {
        CHECK(r.record == id(9));
        CHECK(r.sentence.find("Meier") == std::string::npos);
    }
}

TEST_CASE("hostile lines are refused quickly and never crash") {
    CHECK(import_codes("") == ":not_json");
    CHECK(import_codes("{") == ":not_json");
    CHECK(import_codes("[1]") == ":wrong_type");
    CHECK(import_codes("null") == ":wrong_type");
    CHECK(import_codes("{} {}") == ":not_json");
    CHECK(import_codes(R"({"kind":"visit","fields":{"mood":1e99999}})") == ":not_json");
    CHECK(import_codes("{\"kind\":\"note\",\"fields\":{\"text\":\"\xFF\"}}") == ":not_json");
    CHECK(import_codes(R"({"kind":"note","fields":{"text":"\ud800"}})") == ":not_json");
    CHECK(import_codes(R"({"kind":"visit","kind":"note","fields":{}})") == ":duplicate_key");
    CHECK(import_codes(R"({"kind":"visit","fields":{"mood":1,"mood":2}})") == ":duplicate_key");
    CHECK(import_codes(R"({"kind":"visit","fields":{"check_in":{"at":"x","\u0061t":"y"}}})") ==
          ":duplicate_key");

    CHECK(import_codes(std::string(500'000, '[')) == ":too_deep");
    std::string full = "[0";
    for (std::size_t i = 2; i < kJsonValuesMax; ++i) full += ",0";
    CHECK(import_codes(full + "]") == ":wrong_type");
    CHECK(import_codes(full + ",0]") == ":too_many_values");
    CHECK(read_json(full + ",0]").fault == RefusalCode("too_many_values"));
    CHECK_FALSE(read_json(full + "]").fault);
    CHECK_FALSE(read_stored_json(full + ",0]").fault);
    CHECK(read_json(std::string(kJsonBytesMax + 1, ' ')).fault == RefusalCode("too_large"));
    std::string nested =
        R"({"kind":"visit","fields":{"mood":)" + std::string(14, '[') + std::string(14, ']') + "}}";
    CHECK(import_codes(nested) == "mood:wrong_type");
    nested =
        R"({"kind":"visit","fields":{"mood":)" + std::string(15, '[') + std::string(15, ']') + "}}";
    CHECK(import_codes(nested) == ":too_deep");

    CHECK(import_codes(std::string(kJsonBytesMax + 1, ' ')) == ":too_large");
    std::string many = R"({"kind":"customer","fields":{"ext":{)";
    for (int i = 0; i < 19'990; ++i) many += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
    CHECK(import_codes(many + "}}}") == "");
}

TEST_CASE("a text becomes the tree that it says") {
    const std::string text =
        R"({"a":[1,[],{"b":-2,"c":{}},"d"],"e":{"f":[[[true]],null]},"g":1.5,"h":18446744073709551615})";
    const JsonTree read = read_json(text);
    REQUIRE_FALSE(read.fault);
    CHECK(read.tree.dump() == text);
    CHECK(read_json("\"x\"").tree == "x");
    CHECK(read_json(R"({"a":[1,2)").tree.is_null());
}

TEST_CASE("a map that edits made larger than any line still reads back") {
    const Field& ext = field_of("customer", "ext");
    Content content;
    for (int i = 0; i < 1500; ++i)
        content.push_back({"k" + std::to_string(10'000 + i), Value(std::string(1000, 'x'))});
    std::vector<Refusal> refusals;
    const std::string json = content_to_json(ext, content);
    REQUIRE(json.size() > kJsonBytesMax);
    CHECK(content_from_json(ext, json, kNoReferences, id(1), refusals) == content);
}

TEST_CASE("random damage to a golden line is refused or read, never worse") {
    std::mt19937 random(11);
    const std::vector<std::string> lines = golden_lines();
    REQUIRE_FALSE(lines.empty());
    for (int round = 0; round < 4000; ++round) {
        std::string line = lines[random() % lines.size()];
        for (auto cuts = random() % 3 + 1; cuts > 0; --cuts) {
            const std::size_t place = random() % line.size();
            switch (random() % 3) {
                case 0:
                    line[place] = static_cast<char>(random() % 256);
                    break;
                case 1:
                    line.erase(place, random() % 8 + 1);
                    break;
                default:
                    line.insert(place, 1, "\"{}[],:0-e\\"[random() % 11]);
                    break;
            }
            if (line.empty()) line = "{";
        }
        const ImportLine read = parse_import_line(line, kNoReferences);
        if (!read.refusals.empty() || !read.record.kind) continue;
        const std::string json = to_json(read.record);
        CHECK(to_json(parse_import_line(json, kNoReferences).record) == json);
    }
}

TEST_CASE("a command line's text becomes the value its field has") {
    CHECK(typed("visit", "mood", "", "-2").content == Content{{"", Value(std::int64_t{-2})}});
    CHECK(typed("visit", "mood", "", "1.5").code() == "mood:wrong_type");
    CHECK(typed("product", "active", "", "true").content == Content{{"", Value(std::int64_t{1})}});
    CHECK(typed("product", "active", "", "yes").code() == "active:wrong_type");
    CHECK(typed("visit", "started_at", "", "2026-03-02T09:30:00+01:00").content ==
          Content{{"", Value(at("2026-03-02T09:30:00+01:00").packed())}});
    CHECK(typed("visit", "started_at", "", "morgen").code() == "started_at:malformed");
    CHECK(typed("visit", "customer_id", "", "@1").content == Content{{"", Value(id(1).raw())}});
    CHECK(typed("visit", "customer_id", "", "@erp:4711").content ==
          Content{{"", Value(id(2).raw())}});
    CHECK(typed("visit", "customer_id", "", "@9").code() == "customer_id:unknown_reference");
    CHECK(typed("visit", "customer_id", "", id(3).text()).content ==
          Content{{"", Value(id(3).raw())}});
    CHECK(typed("visit", "summary", "", "@1, a=b").content == Content{{"", Value("@1, a=b")}});
    CHECK(typed("visit", "result", "", "order").content == Content{{"", Value("order")}});
    CHECK(typed("visit", "result", "", "").content == Content{});
}

TEST_CASE("a command line's commas separate elements, and colons the parts of an element") {
    const auto purposes = typed("visit", "purpose", "", "renew, acquire,renew,").content;
    REQUIRE(purposes);
    CHECK(content_to_json(field_of("visit", "purpose"), *purposes) == R"(["acquire","renew"])");
    CHECK(content_to_json(field_of("contact", "phones"),
                          *typed("contact", "phones", "", "+4922112:work,+4917012").content) ==
          R"([{"value":"+4917012"},{"value":"+4922112","type":"work"}])");
    CHECK(content_to_json(field_of("customer", "external_ids"),
                          *typed("customer", "external_ids", "", "crm:A:1").content) ==
          R"([{"system":"crm","id":"A:1"}])");
    CHECK(typed("visit", "participants", "", "@1,@9").code() == "participants:unknown_reference");
}

TEST_CASE("a command line writes a group part by part and a map key by key") {
    const Field& address = field_of("customer", "address");
    const auto city = typed("customer", "address", "city", "Köln").content;
    REQUIRE(city);
    const Content shown{{"", Value(Parts{Value("Weg 1"), Value(), Value("Bonn"), Value("DE")})}};
    CHECK(content_to_json(address, over_part(address, "city", shown, *city)) ==
          "{\"street\":\"Weg 1\",\"city\":\"Köln\",\"country\":\"DE\"}");
    CHECK(content_to_json(address, over_part(address, "city", {}, *city)) == "{\"city\":\"Köln\"}");
    const auto none = typed("customer", "address", "city", "").content;
    REQUIRE(none);
    CHECK(content_to_json(address, over_part(address, "city", shown, *none)) ==
          R"({"street":"Weg 1","country":"DE"})");
    CHECK(over_part(address, "city", *city, *none).empty());

    CHECK(typed("customer", "address", "planet", "x").code() == "address.planet:unknown_part");
    CHECK(typed("customer", "address", "", "x").code() == "address:wrong_type");
    CHECK(typed("customer", "name", "first", "x").code() == "name.first:unknown_part");
    CHECK(typed("contact", "phones", "value", "x").code() == "phones.value:unknown_part");
    CHECK(typed("customer", "ext", "region", "West").content == Content{{"region", Value("West")}});
    CHECK(typed("customer", "ext", "region", "").content == Content{{"region", Value()}});
    CHECK(typed("customer", "ext", "", "West").code() == "ext:wrong_type");
    CHECK(typed("customer", "ext", "", "").content == Content{});
}
