// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <set>
#include <utility>

#include "model/clock.hpp"
#include "rapport/error.hpp"
#include "server/auth/access.hpp"
#include "server/auth/secret.hpp"
#include "support/temp_dir.hpp"

using namespace rapport;
using namespace rapport::server;

namespace {

constexpr std::int64_t kDayMs = 24LL * 3600 * 1000;

/// The system's chance, but a clock that stands where the test puts it.
class StoppedClock : public Environment {
public:
    Instant now() override { return TimePoint(Milliseconds(now_ms)); }
    void random(std::span<std::uint8_t> out) override { system_environment().random(out); }
    std::int64_t now_ms = 1'772'440'000'000;
};

struct Office {
    TempDir folder;
    StoppedClock clock;
    std::unique_ptr<Storage> storage = open_sqlite_storage(folder.file("centre.db"));

    std::string invite_rep(Invitee invitee = {
                               "default", "R17", Role::rep, {"territory/DE-50"}, kInvitationDays}) {
        const auto transaction = storage->begin_write();
        const std::string code = invite(*transaction, clock, invitee);
        transaction->commit();
        return code;
    }
    std::optional<Enrolment> enrol(const std::string& code, const std::string& credential) {
        const auto transaction = storage->begin_write();
        const auto enrolment =
            redeem(*transaction, clock, {code, "0123456789abcdef", credential, "phone"});
        if (enrolment) transaction->commit();
        return enrolment;
    }
};

const std::string kSecret(40, 's');
const std::string kOtherSecret(40, 't');

}  // namespace

TEST_CASE("an enrolment tells the server's time, which is never behind its last commit") {
    Office office;
    const std::string code = office.invite_rep(), secret(43, 'a');
    const auto enrolment = office.enrol(code, secret);
    REQUIRE(enrolment);
    CHECK(enrolment->server_time_ms == office.clock.now_ms);
    {
        const auto transaction = office.storage->begin_write();
        transaction->save_last_stamp(HybridClock::at(office.clock.now_ms));
        transaction->commit();
    }
    const std::int64_t last_ms = std::exchange(office.clock.now_ms, office.clock.now_ms - 328'000);
    CHECK(office.enrol(code, secret)->server_time_ms == last_ms);
    CHECK(office.enrol(office.invite_rep(), std::string(43, 'b'))->server_time_ms == last_ms);
}

TEST_CASE("the hash of a secret is SHA-256 in hex") {
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(equal_in_constant_time("abc", "abc"));
    CHECK_FALSE(equal_in_constant_time("abc", "abd"));
    CHECK_FALSE(equal_in_constant_time("abc", "abcd"));
}

TEST_CASE("base64url takes back only what it wrote") {
    for (const std::string& bytes :
         {std::string(), std::string("\0", 1), std::string("\xff\xfe", 2), std::string("any")})
        CHECK(from_base64url(base64url(bytes)) == bytes);
    CHECK(base64url("\xfb\xff") == "-_8");
    for (const char* wrong : {"-_9", "-_8=", "+/8", "-_8\n", "a"})
        CHECK_FALSE(from_base64url(wrong));
}

TEST_CASE("an invitation code can be typed by hand") {
    std::set<std::string> codes;
    for (int i = 0; i < 200; ++i) {
        const std::string code = new_code(system_environment());
        CHECK(code.size() == 19);
        CHECK(code.find_first_of("01IO") == std::string::npos);
        CHECK(canonical_code(code) == code);
        codes.insert(code);
    }
    CHECK(codes.size() == 200);
    CHECK(canonical_code(" 7kq3mz8p w2td-9xhc ") == "7KQ3-MZ8P-W2TD-9XHC");
    for (const char* wrong : {"", "7KQ3-MZ8P-W2TD-9XH", "7KQ3-MZ8P-W2TD-9XHCC",
                              "7KQ3-MZ8P-W2TD-9XH0", "7KQ3_MZ8P_W2TD_9XHC"})
        CHECK_FALSE(canonical_code(wrong));
}

TEST_CASE("a code makes one device, with the rights it was written for") {
    Office office;
    const std::string code = office.invite_rep();
    const auto enrolment = office.enrol(code, kSecret);
    REQUIRE(enrolment);
    CHECK(enrolment->rep == "R17");
    CHECK(enrolment->scopes == std::vector<std::string>{"territory/DE-50"});
    CHECK(enrolment->writer > kServerWriter);
    CHECK(enrolment->writer < (std::uint64_t{1} << 40));

    const auto device = device_of(*office.storage->begin_read(), kSecret);
    REQUIRE(device);
    CHECK(device->writer == enrolment->writer);
    CHECK(device->role == Role::rep);
    CHECK(device->file_id == "0123456789abcdef");
    CHECK_FALSE(device_of(*office.storage->begin_read(), kOtherSecret));
    CHECK_FALSE(device_of(*office.storage->begin_read(), ""));
}

TEST_CASE(
    "an enrolment whose reply was lost is repeated and gets the same device, even after the code "
    "expired") {
    Office office;
    const std::string code = office.invite_rep();
    const auto first = office.enrol(code, kSecret);
    office.clock.now_ms += 30 * kDayMs;
    const auto again = office.enrol(code, kSecret);
    REQUIRE(first);
    REQUIRE(again);
    CHECK(again->writer == first->writer);
    CHECK(office.storage->begin_read()->devices().size() == 1);
}

TEST_CASE("a used code, an expired code and an unknown code make no device") {
    Office office;
    const std::string used = office.invite_rep(), late = office.invite_rep();
    REQUIRE(office.enrol(used, kSecret));
    CHECK_FALSE(office.enrol(used, kOtherSecret));
    CHECK_FALSE(office.enrol("7KQ3-MZ8P-W2TD-9XHC", kOtherSecret));
    CHECK_FALSE(office.enrol("no code", kOtherSecret));
    office.clock.now_ms += kInvitationDays * kDayMs - 1;
    const std::string in_time = office.invite_rep();
    office.clock.now_ms += 1;
    CHECK_FALSE(office.enrol(late, kOtherSecret));
    CHECK(office.enrol(in_time, kOtherSecret));
}

TEST_CASE("a credential names one device only") {
    Office office;
    REQUIRE(office.enrol(office.invite_rep(), kSecret));
    CHECK_FALSE(office.enrol(office.invite_rep(), kSecret));
}

TEST_CASE("a revoked device is known as such, and its code does not bring it back") {
    Office office;
    const std::string code = office.invite_rep();
    const auto enrolment = office.enrol(code, kSecret);
    REQUIRE(enrolment);
    {
        const auto transaction = office.storage->begin_write();
        Device device = *transaction->device(enrolment->writer);
        device.revoked = true;
        transaction->save(device);
        transaction->commit();
    }
    CHECK(device_of(*office.storage->begin_read(), kSecret)->revoked);
    CHECK_FALSE(office.enrol(code, kSecret));
}

TEST_CASE("neither code nor credential nor key is in the store") {
    Office office;
    const std::string code = office.invite_rep();
    const auto transaction = office.storage->begin_write();
    const std::string key = add_api_key(*transaction, office.clock, "default", Role::feed);
    CHECK(key.substr(0, 3) == "rk_");
    CHECK(key.size() == 46);
    CHECK_FALSE(transaction->invitation(code));
    CHECK(transaction->invitation(sha256_hex(code)));
    CHECK_FALSE(transaction->api_key(key));
    CHECK(api_key_of(*transaction, key)->role == Role::feed);
    CHECK(transaction->api_keys().size() == 1);
}

TEST_CASE("a revoked key opens nothing") {
    Office office;
    const auto transaction = office.storage->begin_write();
    const std::string secret = add_api_key(*transaction, office.clock, "default", Role::feed);
    ApiKey key = transaction->api_keys().front();
    key.revoked = true;
    transaction->save(key);
    CHECK_FALSE(api_key_of(*transaction, secret));
}

TEST_CASE("an invitation that cannot be meant so is refused") {
    const Invitee good{"default", "R17", Role::qm, {"territory/*"}, 14};
    CHECK_FALSE(fault_of(good));
    const auto with = [&](auto change) {
        Invitee invitee = good;
        change(invitee);
        return fault_of(invitee).has_value();
    };
    CHECK(with([](Invitee& i) { i.role = Role::sys; }));
    CHECK(with([](Invitee& i) { i.role = Role::feed; }));
    CHECK(with([](Invitee& i) { i.scopes.clear(); }));
    CHECK(with([](Invitee& i) { i.scopes = {"DE-50"}; }));
    CHECK(with([](Invitee& i) { i.scopes = {"territory/"}; }));
    CHECK(with([](Invitee& i) { i.scopes = {"territory/DE 50"}; }));
    CHECK(with([](Invitee& i) { i.scopes = {"planet/earth"}; }));
    CHECK(with([](Invitee& i) { i.rep = ""; }));
    CHECK(with([](Invitee& i) { i.rep = "R/17"; }));
    CHECK(with([](Invitee& i) { i.days = 0; }));
    CHECK(with([](Invitee& i) { i.tenant = ""; }));
}

TEST_CASE("an enrolment request names what is wrong with it") {
    const auto sentence = [](const std::string& json) -> std::string {
        try {
            enrolment_request_from_json(json);
            return {};
        } catch (const Error& error) {
            CHECK(error.code() == ErrorCode::invalid_argument);
            return error.what();
        }
    };
    const std::string credential(32, 'c');
    CHECK(sentence(R"({"code":"X","file":"0123456789abcdef","credential":")" + credential +
                   R"(","name":"phone"})")
              .empty());
    CHECK(sentence(R"({"code":"X","file":"0123456789abcdef","credential":")" + credential + R"("})")
              .empty());
    CHECK(sentence("[]").find("object") != std::string::npos);
    CHECK(sentence("{").find("object") != std::string::npos);
    CHECK(sentence(R"({"file":"0123456789abcdef","credential":")" + credential + R"("})")
              .find("code") == 0);
    CHECK(sentence(R"({"code":"X","file":"xyz","credential":")" + credential + R"("})")
              .find("file") == 0);
    CHECK(sentence(R"({"code":"X","file":"0123456789abcdef","credential":"short"})")
              .find("credential") == 0);
    CHECK(sentence(R"({"code":7,"file":"0123456789abcdef","credential":")" + credential + R"("})")
              .find("code") == 0);
}

TEST_CASE("a bearer secret is read in one form only") {
    CHECK(bearer_of("Bearer abc") == "abc");
    CHECK(bearer_of("bearer abc") == "abc");
    for (const char* wrong :
         {"", "Bearer", "Bearer ", "Bearer  abc", "Bearer a b", "Basic abc", "abc"})
        CHECK(bearer_of(wrong).empty());
}
