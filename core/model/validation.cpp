// SPDX-License-Identifier: Apache-2.0
#include "model/validation.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "model/ascii.hpp"
#include "model/lifecycle.hpp"
#include "model/refusals.hpp"

namespace rapport {
namespace {

// ISO 3166-1 alpha-2, officially assigned.
constexpr std::string_view kCountries =
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR "
    "BS BT BV BW BY BZ CA "
    "CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET "
    "FI FJ FK FM FO FR GA "
    "GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ "
    "IR IS IT JE JM JO JP "
    "KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML "
    "MM MN MO MP MQ MR MS "
    "MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS "
    "PT PW PY QA RE RO RS "
    "RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL "
    "TM TN TO TR TT TV TW "
    "TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW ";

// ISO 4217 without XTS (tests) and XXX (no currency). ANG, BGN and HRK were withdrawn after 2022
// and stay, because amounts of the years before are still entered.
constexpr std::string_view kCurrencies =
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN "
    "BWP BYN BZD CAD CDF "
    "CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP "
    "GEL GHS GIP GMD GNF "
    "GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD "
    "KYD KZT LAK LBP LKR "
    "LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR "
    "NZD OMR PAB PEN PGK "
    "PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TND "
    "TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAD XAF XAG XAU XBA "
    "XBB XBC XBD XCD XCG "
    "XDR XOF XPD XPF XPT XSU XUA YER ZAR ZMW ZWG ";

constexpr int kMarksInARowMax =
    30;  // Stream-Safe Text Format, UAX 15; also keeps normalisation from going quadratic
// Every character before U+0300 is its own composed form (NFC_Quick_Check), umlauts included. In
// UTF-8 none of them has a byte from 0xCC on.
constexpr utf8proc_int32_t kFirstComposing = 0x300;
constexpr std::int64_t kKeyMax = 80;
constexpr std::int64_t kLocalMsMax = 253'402'300'799'999;  // 9999-12-31T23:59:59.999

bool listed(std::string_view list, std::string_view code) {
    for (std::size_t i = 0; i + code.size() < list.size(); i += code.size() + 1)
        if (list.substr(i, code.size()) == code) return true;
    return false;
}

// ---- characters

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_letter(char c) { return is_upper(c) || is_lower(c); }
bool is_alnum(char c) { return is_digit(c) || is_letter(c); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }
bool beyond_ascii(char c) { return (static_cast<unsigned char>(c) & 0x80U) != 0; }
char to_upper(char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }

template <class Test>
bool all_of(std::string_view text, Test test) {
    return std::all_of(text.begin(), text.end(), test);
}

std::string upper(std::string_view text) {
    std::string s(text);
    std::transform(s.begin(), s.end(), s.begin(), to_upper);
    return s;
}
std::string without(std::string_view text, std::string_view characters) {
    std::string s;
    std::copy_if(text.begin(), text.end(), std::back_inserter(s),
                 [&](char c) { return characters.find(c) == std::string_view::npos; });
    return s;
}

std::int64_t code_points(std::string_view text) {
    return std::count_if(text.begin(), text.end(),
                         [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> pieces;
    for (;;) {
        const std::size_t end = text.find(at);
        pieces.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return pieces;
        text.remove_prefix(end + 1);
    }
}

bool is_blank(utf8proc_int32_t c) {
    if (c == '\t' || c == '\n' || c == 0xFEFF) return true;
    const auto category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

utf8proc_ssize_t code_point_at(std::string_view text, std::size_t i, utf8proc_int32_t& c) {
    return utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + i,
                            static_cast<utf8proc_ssize_t>(text.size() - i), &c);
}

std::string_view trimmed(std::string_view text) {
    utf8proc_int32_t c = 0;
    while (!text.empty()) {
        const utf8proc_ssize_t size = code_point_at(text, 0, c);
        if (!is_blank(c)) break;
        text.remove_prefix(static_cast<std::size_t>(size));
    }
    while (!text.empty()) {
        std::size_t last = text.size() - 1;
        while ((static_cast<unsigned char>(text[last]) & 0xC0U) == 0x80U) --last;
        code_point_at(text, last, c);
        if (!is_blank(c)) break;
        text.remove_suffix(text.size() - last);
    }
    return text;
}

/// Are these eight bytes all from the blank to the tilde?
bool all_printable(const char* bytes) {
    constexpr std::uint64_t kEach = 0x0101010101010101, kHigh = 0x80 * kEach;
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes, sizeof eight);
    return ((eight | (eight - 0x20 * kEach) | (eight + kEach)) & kHigh) == 0;
}

/// Nothing if the text is sound, else the code of the refusal. `plain` stays true if nothing in it
/// is to be composed and no line break to be replaced.
std::optional<RefusalCode> unsound(std::string_view text, bool single_line, bool* plain = nullptr) {
    int marks = 0;
    utf8proc_int32_t c = 0;
    for (std::size_t i = 0; i < text.size();) {
        if (i + 8 <= text.size() && all_printable(text.data() + i)) {
            marks = 0;
            i += 8;
            continue;
        }
        if (text[i] >= ' ' && text[i] <= '~') {  // most of what people write
            marks = 0;
            ++i;
            continue;
        }
        const utf8proc_ssize_t size = code_point_at(text, i, c);
        if (size <= 0) return RefusalCode(refusal_code::kNotUtf8);
        i += static_cast<std::size_t>(size);
        if (plain && (c == '\r' || c >= kFirstComposing)) *plain = false;
        const bool line_break = c == '\n' || c == '\r' || c == 0x2028 || c == 0x2029;
        if (single_line && line_break) return RefusalCode(refusal_code::kControlCharacter);
        if (utf8proc_category(c) == UTF8PROC_CATEGORY_CC && !line_break &&
            (single_line || c != '\t'))
            return RefusalCode(refusal_code::kControlCharacter);
        marks = utf8proc_get_property(c)->combining_class != 0 ? marks + 1 : 0;
        if (marks > kMarksInARowMax) return RefusalCode(refusal_code::kControlCharacter);
    }
    return std::nullopt;
}

std::string composed(std::string_view text) {
    if (std::none_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0xCC; }))
        return std::string(text);
    utf8proc_uint8_t* raw = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                     static_cast<utf8proc_ssize_t>(text.size()), &raw,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
    if (size < 0)
        throw Error(ErrorCode::internal, "sound text could not be normalised",
                    static_cast<int>(size));
    return {reinterpret_cast<const char*>(raw), static_cast<std::size_t>(size)};
}

std::string with_line_feeds(std::string_view text) {
    std::string s;
    s.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\r')
            s += text[i];
        else if (i + 1 == text.size() || text[i + 1] != '\n')
            s += '\n';
    }
    return s;
}

std::string cleaned(std::string_view sound_text, bool single_line) {
    // Blanks fall away after composing, because what is cut out of NFC is NFC.
    return std::string(
        trimmed(composed(single_line ? std::string(sound_text) : with_line_feeds(sound_text))));
}

// ---- formats

/// The GS1 check digit: weights 3 and 1 from the right.
bool check_digit_fits(std::string_view digits) {
    int sum = 0;
    for (std::size_t i = 0; i < digits.size(); ++i)
        sum += (digits[digits.size() - 1 - i] - '0') * (i % 2 == 1 ? 3 : 1);
    return sum % 10 == 0;
}

bool is_name(std::string_view text) {
    return !text.empty() &&
           all_of(text, [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_host(std::string_view host) {
    for (const std::string_view label : split(host, '.')) {
        if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-')
            return false;
        if (!all_of(label, [](char c) { return is_alnum(c) || c == '-' || beyond_ascii(c); }))
            return false;
    }
    return host.size() <= 253;
}

bool canonical_phone(std::string& text) {
    text = without(text, " -./");
    const std::size_t digits = text.size() - 1;
    return text.size() > 1 && text[0] == '+' && text[1] != '0' && digits >= 7 && digits <= 15 &&
           all_of(std::string_view(text).substr(1), is_digit);
}

bool canonical_email(std::string& text) {
    const std::size_t at = text.rfind('@');
    if (at == std::string::npos || at == 0 || at > 64 || text.size() > 254) return false;
    for (const std::string_view atom : split(std::string_view(text).substr(0, at), '.'))
        if (atom.empty() || !all_of(atom, [](char c) {
                return is_alnum(c) || beyond_ascii(c) ||
                       std::string_view("!#$%&'*+-/=?^_`{|}~").find(c) != std::string_view::npos;
            }))
            return false;
    const std::string host = lower(std::string_view(text).substr(at + 1));
    text.replace(at + 1, std::string::npos, host);
    return host.find('.') != std::string::npos && is_host(host);
}

bool canonical_url(std::string& text) {
    const std::size_t scheme_end = text.find("://");
    if (scheme_end == std::string::npos) return false;
    const std::string scheme = lower(std::string_view(text).substr(0, scheme_end));
    if (scheme != "http" && scheme != "https") return false;
    const std::size_t host_at = scheme_end + 3;
    const std::size_t host_end = std::min(text.find_first_of("/?#", host_at), text.size());
    std::string host = lower(std::string_view(text).substr(host_at, host_end - host_at));
    if (!all_of(text, [](char c) { return c > ' ' || beyond_ascii(c); }) ||
        text.find_first_of("<>\"\\^`{|}") != std::string::npos)
        return false;
    text = scheme + "://" + host + text.substr(host_end);
    if (!host.empty() && host.front() == '[') {
        const std::size_t close = host.find(']');
        if (close == std::string::npos || close < 3) return false;
        if (!all_of(std::string_view(host).substr(1, close - 1),
                    [](char c) { return is_hex(c) || c == ':' || c == '.'; }))
            return false;
        const std::string rest = host.substr(close + 1);
        return rest.empty() || (rest.size() > 1 && rest[0] == ':' &&
                                all_of(std::string_view(rest).substr(1), is_digit));
    }
    if (const std::size_t colon = host.rfind(':'); colon != std::string::npos) {
        const std::string_view port = std::string_view(host).substr(colon + 1);
        if (port.empty() || port.size() > 5 || !all_of(port, is_digit)) return false;
        host.resize(colon);
    }
    return is_host(host);
}

/// The shape of BCP 47 and the letter case of RFC 5646 section 2.1.1; the registry is not
/// consulted.
bool canonical_language(std::string& text) {
    std::string tag;
    bool after_singleton = false;
    const auto subtags = split(text, '-');
    for (std::size_t i = 0; i < subtags.size(); ++i) {
        const std::string_view s = subtags[i];
        if (s.empty() || s.size() > 8 || !all_of(s, is_alnum)) return false;
        if (i == 0 && (s.size() < 2 || !all_of(s, is_letter))) return false;
        std::string subtag = lower(s);
        if (i > 0 && !after_singleton && s.size() == 2 && all_of(s, is_letter)) subtag = upper(s);
        if (i > 0 && !after_singleton && s.size() == 4 && all_of(s, is_letter))
            subtag[0] = to_upper(subtag[0]);
        if (s.size() == 1) {
            if (i + 1 == subtags.size()) return false;
            after_singleton = true;
        }
        tag += (i == 0 ? "" : "-") + subtag;
    }
    text = std::move(tag);
    return true;
}

bool canonical_vat_id(std::string& text) {
    text = upper(without(text, " .-"));
    if (text.size() < 4 || text.size() > 15) return false;
    const std::string prefix =
        text.substr(0, 2);  // EL is Greece, XI Northern Ireland, EU a trader outside the Union
    if (!listed(kCountries, prefix) && !listed("EL XI EU ", prefix)) return false;
    return all_of(std::string_view(text).substr(2),
                  [](char c) { return is_digit(c) || is_upper(c); });
}

/// `C`, `28`, `28.4`, `28.41`, `C28.41`, and national fifth digits (`28.41.0`).
bool canonical_nace(std::string& text) {
    text = upper(text);
    std::string_view rest = text;
    const bool section = !rest.empty() && rest.front() >= 'A' && rest.front() <= 'V';
    if (section) rest.remove_prefix(1);
    if (section && rest.empty()) return true;
    const auto pieces = split(rest, '.');
    if (pieces.size() > 3 || pieces[0].size() != 2) return false;
    return std::all_of(pieces.begin(), pieces.end(), [](std::string_view piece) {
        return !piece.empty() && piece.size() <= 2 && all_of(piece, is_digit);
    });
}

bool is_media_type(std::string_view text) {
    const auto halves = split(text, '/');
    return halves.size() == 2 &&
           std::all_of(halves.begin(), halves.end(), [](std::string_view half) {
               return !half.empty() && is_alnum(half.front()) && half.size() <= 127 &&
                      all_of(half, [](char c) {
                          return is_alnum(c) ||
                                 std::string_view("!#$&-^_.+").find(c) != std::string_view::npos;
                      });
           });
}

bool is_scope(std::string_view text) {
    if (text == "global") return true;
    for (const std::string_view prefix : {"territory/", "rep/", "policy/"})
        if (text.substr(0, prefix.size()) == prefix) return is_name(text.substr(prefix.size()));
    return false;
}

struct Misfit {
    RefusalCode code;
    const char* form = "";  ///< of a code with several sentences
};

/// Brings `text` into the stored form; says what is wrong with it if it does not follow the format.
std::optional<Misfit> misfit(Format format, std::string& text) {
    using namespace refusal_code;
    switch (format) {
        case Format::any:
        case Format::line:
            return std::nullopt;
        case Format::e164:
            if (canonical_phone(text)) return std::nullopt;
            return Misfit{kMalformed, "phone"};
        case Format::email:
            if (canonical_email(text)) return std::nullopt;
            return Misfit{kMalformed, "email"};
        case Format::url:
            if (canonical_url(text)) return std::nullopt;
            return Misfit{kMalformed, "url"};
        case Format::country:
            text = upper(text);
            if (text.size() == 2 && listed(kCountries, text)) return std::nullopt;
            return Misfit{kUnknownCountry};
        case Format::currency:
            text = upper(text);
            if (text.size() == 3 && listed(kCurrencies, text)) return std::nullopt;
            return Misfit{kUnknownCurrency};
        case Format::language:
            if (canonical_language(text)) return std::nullopt;
            return Misfit{kMalformed, "language"};
        case Format::gtin:
            text = without(text, " -");
            if (!all_of(text, is_digit) ||
                (text.size() != 8 && (text.size() < 12 || text.size() > 14)))
                return Misfit{kMalformed, "gtin"};
            if (!check_digit_fits(text)) return Misfit{kGtinCheckDigit};
            text.insert(0, 14 - text.size(), '0');
            return std::nullopt;
        case Format::gln:
            text = without(text, " -");
            if (!all_of(text, is_digit) || text.size() != 13) return Misfit{kMalformed, "gln"};
            if (!check_digit_fits(text)) return Misfit{kGlnCheckDigit};
            return std::nullopt;
        case Format::vat_id:
            if (canonical_vat_id(text)) return std::nullopt;
            return Misfit{kMalformed, "vat_id"};
        case Format::nace:
            if (canonical_nace(text)) return std::nullopt;
            return Misfit{kMalformed, "nace"};
        case Format::unit:
            text = upper(text);
            if ((text.size() == 2 || text.size() == 3) && all_of(text, is_alnum))
                return std::nullopt;
            return Misfit{kMalformed, "unit"};
        case Format::sha256:
            text = lower(text);
            if (text.size() == 64 && all_of(text, is_hex)) return std::nullopt;
            return Misfit{kMalformed, "sha256"};
        case Format::media_type:
            text = lower(text);
            if (is_media_type(text)) return std::nullopt;
            return Misfit{kMalformed, "media_type"};
        case Format::scope:
            if (is_scope(text)) return std::nullopt;
            return Misfit{kMalformed, "scope"};
        case Format::name:
            if (is_name(text)) return std::nullopt;
            return Misfit{kMalformed, "name"};
    }
    return Misfit{kMalformed};
}

// ---- values

struct Findings {
    const RecordId& record;
    std::vector<Refusal>& out;

    void add(const std::string& field, RefusalCode code, std::vector<std::string> parameters = {}) {
        out.push_back(refusal(record, field, code, std::move(parameters)));
    }
};

/// The form of `wrong_type` for what a type takes.
const char* wanted(const TypeInfo& type) {
    switch (type.shape) {
        case Shape::boolean:
            return "boolean";
        case Shape::integer:
            return "integer";
        case Shape::text:
            return "text";
        case Shape::code:
            return "code";
        case Shape::instant:
            return "instant";
        case Shape::reference:
            return "reference";
        case Shape::group:
            return "group";
    }
    throw Error(ErrorCode::internal, "a type has a shape that is none");
}

void check_typed(const TypeInfo& type, const std::string& name, Value& value, Findings& findings);

void check_integer(const TypeInfo& type, const std::string& name, std::int64_t number,
                   Findings& findings) {
    if (number < type.min || number > type.max)
        findings.add(name, refusal_code::kOutOfRange,
                     {std::to_string(type.min), std::to_string(type.max)});
}

bool is_in_range(const Instant& instant) {
    const std::int64_t local_ms = instant.at.time_since_epoch().count() +
                                  std::chrono::duration_cast<Milliseconds>(instant.offset).count();
    return local_ms >= 0 && local_ms <= kLocalMsMax && instant.offset.count() >= -1023;
}

void check_instant(const std::string& name, std::int64_t packed, Findings& findings) {
    if (!is_in_range(Instant::unpack(packed)))
        findings.add(name, refusal_code::kOutOfRange, {"instant"});
}

/// Is it free text that is accepted as it stands? Nearly all that comes is, and need not be copied
/// to find that out.
bool is_clean(const TypeInfo& type, std::string_view text) {
    bool plain = true;
    return type.format == Format::any && !text.empty() && !unsound(text, false, &plain) && plain &&
           trimmed(text).size() == text.size() &&
           (static_cast<std::int64_t>(text.size()) <= type.max || code_points(text) <= type.max);
}

void check_text(const TypeInfo& type, const std::string& name, Value& value, Findings& findings) {
    const bool single_line = type.format != Format::any;
    if (is_clean(type, *value.text())) return;
    if (const auto code = unsound(*value.text(), single_line)) {
        std::vector<std::string> form;
        if (single_line && *code == refusal_code::kControlCharacter) form = {"line"};
        return findings.add(name, *code, std::move(form));
    }
    std::string text = cleaned(*value.text(), single_line);
    if (text.empty()) {
        value = Value();
        return;
    }
    if (const auto wrong = misfit(type.format, text)) {
        std::vector<std::string> form;
        if (*wrong->form != '\0') form = {wrong->form};
        return findings.add(name, wrong->code, std::move(form));
    }
    if (code_points(text) > type.max)
        return findings.add(name, refusal_code::kTooLong, {std::to_string(type.max)});
    value = Value(std::move(text));
}

void check_code(const TypeInfo& type, const std::string& name, Value& value, Findings& findings) {
    const std::string& code = *value.text();
    if (code.empty()) {
        value = Value();
    } else if (type.codes.empty()) {
        if (!is_name(code))
            findings.add(name, refusal_code::kMalformed, {"name"});
        else if (code_points(code) > type.max)
            findings.add(name, refusal_code::kTooLong, {std::to_string(type.max)});
    } else if (std::find(type.codes.begin(), type.codes.end(), code) == type.codes.end()) {
        std::string known;
        for (const std::string_view c : type.codes)
            known.append(known.empty() ? "" : ", ").append(c);
        findings.add(name, refusal_code::kUnknownCode, {known});
    }
}

void check_group(const TypeInfo& type, const std::string& name, Value& value, Findings& findings) {
    Parts parts = *value.parts();
    if (parts.size() > type.parts.size())
        return findings.add(name, refusal_code::kUnknownPart, {std::to_string(type.parts.size())});
    parts.resize(type.parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i)
        check_typed(type.parts[i].type, name + "." + std::string(type.parts[i].name), parts[i],
                    findings);
    if (std::all_of(parts.begin(), parts.end(), [](const Value& part) { return part.is_null(); })) {
        value = Value();
        return;
    }
    for (std::size_t i = 0; i < parts.size(); ++i)
        if (type.parts[i].required && parts[i].is_null())
            findings.add(name + "." + std::string(type.parts[i].name), refusal_code::kRequired,
                         {"group"});
    value = Value(std::move(parts));
}

void check_typed(const TypeInfo& type, const std::string& name, Value& value, Findings& findings) {
    if (value.is_null()) return;
    const std::int64_t* integer = value.integer();
    const std::string* text = value.text();
    switch (type.shape) {
        case Shape::boolean:
            if (integer && (*integer == 0 || *integer == 1)) return;
            break;
        case Shape::integer:
            if (integer) return check_integer(type, name, *integer, findings);
            break;
        case Shape::instant:
            if (integer) return check_instant(name, *integer, findings);
            break;
        case Shape::text:
            if (text) return check_text(type, name, value, findings);
            break;
        case Shape::code:
            if (text) return check_code(type, name, value, findings);
            break;
        case Shape::reference:
            if (const auto id = text ? RecordId::from_bytes(*text) : std::nullopt;
                id && !id->is_nil())
                return;
            break;
        case Shape::group:
            if (value.parts()) return check_group(type, name, value, findings);
            break;
    }
    findings.add(name, refusal_code::kWrongType, {wanted(type)});
}

// ---- rules over several fields

bool is_set(const Record& record, std::string_view field) {
    const Content& shown = record.shown(field);
    return std::any_of(shown.begin(), shown.end(),
                       [](const Item& item) { return !item.value.is_null(); });
}

bool holds(const Record& record, std::string_view field, std::string_view code) {
    const std::string* text = record.value(field).text();
    return text && *text == code;
}

const Value& part_of(const Record& record, std::string_view field, std::string_view part) {
    static const Value kNull;
    const Field* f = record.kind->field(field);
    const Parts* parts = record.value(field).parts();
    if (!f || !parts) return kNull;
    for (std::size_t i = 0; i < f->type.parts.size() && i < parts->size(); ++i)
        if (f->type.parts[i].name == part) return (*parts)[i];
    return kNull;
}

/// Both given, and the second earlier than the first. Times are compared as moments, whatever their
/// zones.
bool runs_backwards(const Value& begin, const Value& end) {
    return begin.integer() && end.integer() &&
           Instant::unpack(*end.integer()).at < Instant::unpack(*begin.integer()).at;
}

bool is_negative(const Value& minor) { return minor.integer() && *minor.integer() < 0; }

/// Calls with each element of a set of groups: its parts as `named("part")`.
template <class Work>
void each_group(const Record& record, std::string_view field, Work work) {
    const Field* f = record.kind->field(field);
    for (const Item& item : record.shown(field)) {
        const Parts* parts = item.value.parts();
        work([&](std::string_view name) -> Value {
            for (std::size_t i = 0; parts && i < parts->size() && i < f->type.parts.size(); ++i)
                if (f->type.parts[i].name == name) return (*parts)[i];
            return {};
        });
    }
}

/// Does a part of the elements take two different values, or the same one twice?
bool differs(const Record& record, std::string_view field, std::string_view part) {
    std::set<Value> seen;
    each_group(record, field, [&](auto named) { seen.insert(named(part)); });
    return seen.size() > 1;
}
bool repeats(const Record& record, std::string_view field, std::string_view part) {
    std::set<Value> seen;
    std::size_t count = 0;
    each_group(record, field, [&](auto named) {
        seen.insert(named(part));
        ++count;
    });
    return seen.size() < count;
}

bool exceeds(const Value& low, const Value& high) {
    return low.integer() && high.integer() && *low.integer() > *high.integer();
}

struct Rule {
    std::string_view kind;
    const char* field;
    RefusalCode code;
    std::vector<std::string> parameters;
    bool (*broken)(const Record& record);
};

const Rule kRules[] = {
    {"complaint",
     "product_id",
     refusal_code::kProductMissing,
     {},
     [](const Record& r) { return !is_set(r, "product_id") && !is_set(r, "product_text"); }},
    {"visit",
     "ended_at",
     refusal_code::kEndsBeforeStart,
     {"ended_at", "started_at"},
     [](const Record& r) { return runs_backwards(r.value("started_at"), r.value("ended_at")); }},
    {"visit",
     "planned",
     refusal_code::kEndsBeforeStart,
     {"planned.to", "planned.from"},
     [](const Record& r) {
         return runs_backwards(part_of(r, "planned", "from"), part_of(r, "planned", "to"));
     }},
    {"visit",
     "purpose",
     refusal_code::kPurposeMissing,
     {},
     [](const Record& r) {
         return (holds(r, "state", "closed") || is_set(r, "result")) && !is_set(r, "purpose");
     }},
    {"visit",
     "result",
     refusal_code::kResultMissing,
     {},
     [](const Record& r) { return holds(r, "state", "closed") && !is_set(r, "result"); }},
    {"product_talk",
     "deal_value",
     refusal_code::kNegativeAmount,
     {},
     [](const Record& r) { return is_negative(part_of(r, "deal_value", "minor")); }},
    {"product_wish",
     "deal_at_stake",
     refusal_code::kNegativeAmount,
     {},
     [](const Record& r) { return is_negative(part_of(r, "deal_at_stake", "minor")); }},
    {"marketing_question",
     "options",
     refusal_code::kOptionsMissing,
     {},
     [](const Record& r) {
         return (holds(r, "type", "single") || holds(r, "type", "multi")) && !is_set(r, "options");
     }},
    {"marketing_question",
     "target",
     refusal_code::kRequired,
     {"target"},
     [](const Record& r) {
         const Value& who = part_of(r, "target", "who");
         return (who == Value("segment") || who == Value("territory")) &&
                part_of(r, "target", "code").is_null();
     }},
    {"marketing_question",
     "max",
     refusal_code::kOutOfRange,
     {"below", "max", "min"},
     [](const Record& r) { return exceeds(r.value("min"), r.value("max")); }},
    {"marketing_question",
     "valid_until",
     refusal_code::kEndsBeforeStart,
     {"valid_until", "valid_from"},
     [](const Record& r) { return runs_backwards(r.value("valid_from"), r.value("valid_until")); }},
    {"discount_policy",
     "valid_until",
     refusal_code::kEndsBeforeStart,
     {"valid_until", "valid_from"},
     [](const Record& r) { return runs_backwards(r.value("valid_from"), r.value("valid_until")); }},
    {"price_request",
     "lines",
     refusal_code::kLineTwice,
     {},
     [](const Record& r) { return repeats(r, "lines", "line"); }},
    {"price_request",
     "lines",
     refusal_code::kMixedCurrencies,
     {},
     [](const Record& r) { return differs(r, "lines", "currency"); }},
    {"customisation_request",
     "wanted",
     refusal_code::kRequired,
     {"wanted"},
     [](const Record& r) { return !is_set(r, "options") && !is_set(r, "wanted"); }},
    {"customisation_request",
     "options",
     refusal_code::kLineTwice,
     {"option"},
     [](const Record& r) { return repeats(r, "options", "option_id"); }},
    {"custom_option",
     "allowed",
     refusal_code::kOutOfRange,
     {"below", "allowed.max", "allowed.min"},
     [](const Record& r) {
         return exceeds(part_of(r, "allowed", "min"), part_of(r, "allowed", "max"));
     }},
};

bool is_erased(const Record& record) {
    const std::int64_t* erased = record.value(common_field::erased).integer();
    return erased && *erased != 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
    utf8proc_int32_t c = 0;
    for (std::size_t i = 0; i < text.size();) {
        const auto size =
            static_cast<unsigned char>(text[i]) < 0x80 ? 1 : code_point_at(text, i, c);
        if (size <= 0) return false;
        i += static_cast<std::size_t>(size);
    }
    return true;
}

std::optional<std::string> normalised(std::string_view text, bool single_line) {
    if (unsound(text, single_line)) return std::nullopt;
    return cleaned(text, single_line);
}

std::optional<std::string> canonical_text(Format format, std::string_view text) {
    std::string canonical(text);
    if (misfit(format, canonical)) return std::nullopt;
    return canonical;
}

void check_value(const Field& field, const RecordId& record, Value& value,
                 std::vector<Refusal>& out) {
    Findings findings{record, out};
    check_typed(field.type, field.name, value, findings);
}

void check_content(const Field& field, const RecordId& record, Content& content,
                   const Limits& limits, std::vector<Refusal>& out) {
    Findings findings{record, out};
    const bool several = field.is_keyed() || field.policy == Policy::keep_both;
    if (!several && content.size() > 1) findings.add(field.name, refusal_code::kTooMany, {"one"});
    if (several && content.size() > limits.set_elements_max) {
        findings.add(field.name, refusal_code::kTooMany, {std::to_string(limits.set_elements_max)});
        return;
    }
    for (Item& item : content) {
        check_typed(field.type, field.name, item.value, findings);
        if (field.policy == Policy::add_wins) {
            item.key = canonical_bytes(item.value);
        } else if (field.policy != Policy::per_key) {
            item.key.clear();
        } else if (!is_name(item.key) || code_points(item.key) > kKeyMax) {
            findings.add(field.name, refusal_code::kMalformedKey, {std::to_string(kKeyMax)});
        }
    }
    if (field.policy != Policy::per_key)
        content.erase(std::remove_if(content.begin(), content.end(),
                                     [](const Item& i) { return i.value.is_null(); }),
                      content.end());
    if (!field.is_keyed()) return;
    const auto same_key = [](const Item& a, const Item& b) { return a.key == b.key; };
    std::stable_sort(content.begin(), content.end(),
                     [](const Item& a, const Item& b) { return a.key < b.key; });
    if (field.policy == Policy::add_wins)
        content.erase(std::unique(content.begin(), content.end(), same_key), content.end());
    else if (std::adjacent_find(content.begin(), content.end(), same_key) != content.end())
        findings.add(field.name, refusal_code::kDuplicateKey);
}

bool is_canonical(const Field& field, const Value& value) {
    if (field.is_keyed()) return false;
    const TypeInfo& type = field.type;
    const std::int64_t* integer = value.integer();
    const std::string* text = value.text();
    switch (type.shape) {
        case Shape::boolean:
            return integer && (*integer == 0 || *integer == 1);
        case Shape::integer:
            return integer && *integer >= type.min && *integer <= type.max;
        case Shape::text:
            return text && is_clean(type, *text);
        case Shape::code:
            return text && !text->empty() &&
                   std::find(type.codes.begin(), type.codes.end(), *text) != type.codes.end();
        case Shape::reference: {
            const auto id = text ? RecordId::from_bytes(*text) : std::nullopt;
            return id && !id->is_nil();
        }
        case Shape::instant:
            return integer && is_in_range(Instant::unpack(*integer));
        case Shape::group:
            break;
    }
    return false;
}

void check_record(const Record& record, std::vector<Refusal>& out) {
    Findings findings{record.id, out};
    const bool erased = is_erased(record);
    for (const Field& field : record.kind->fields) {
        // What only the server writes is not the capturer's to bring; what an erasure order took is
        // not missing.
        const bool excused = field.policy == Policy::owned || (erased && field.personal);
        if (field.marks.required && !excused && !is_set(record, field.name))
            findings.add(field.name, refusal_code::kRequired);
        if (field.type.shape != Shape::reference || record.id.is_nil()) continue;
        for (const Item& item : record.shown(field.name))
            if (item.value.text() && *item.value.text() == record.id.raw())
                findings.add(field.name, refusal_code::kRefersToItself);
    }
    for (const Rule& rule : kRules)
        if (rule.kind == record.kind->name &&
            !(erased && record.kind->field(rule.field) &&
              record.kind->field(rule.field)->personal) &&
            rule.broken(record))
            findings.add(rule.field, rule.code, rule.parameters);
    if (record.kind->name == "state_table") check_state_table(record, out);
}

void check_writer(const Kind& kind, const Field* field, const RecordId& record, bool create,
                  Role role, std::vector<Refusal>& out) {
    if (role == Role::sys) return;
    const auto refuse = [&](const std::string& name, RefusalCode code,
                            std::vector<std::string> parameters = {}) {
        Refusal found = refusal(record, name, code, std::move(parameters));
        if (std::find(out.begin(), out.end(), found) == out.end()) out.push_back(std::move(found));
    };
    const std::string who(name_of(role));
    if (create && !kind.creators.contains(role))
        refuse("", refusal_code::kNotCreatable, {kind.name, who});
    if (!create && kind.append_only) return refuse("", refusal_code::kAppendOnly, {kind.name});
    if (!field) return;
    if (field->policy == Policy::owned)
        return refuse(field->name, refusal_code::kNotWritable, {"owned"});
    if (!field->marks.writers.contains(role))
        return refuse(field->name, refusal_code::kNotWritable, {who});
    if (!create && (field->marks.fixed || (field->number < common_field::first_own &&
                                           field->policy == Policy::write_once)))
        refuse(field->name, refusal_code::kWriteOnce);
}

void check_open(const Record& present, const Field& field, std::vector<Refusal>& out) {
    const std::string_view open = present.kind->open_state;
    if (open.empty() || field.number < common_field::first_own || is_erased(present)) return;
    const std::string* state = present.value(common_field::state).text();
    if (!state || state->empty() || *state == open) return;
    out.push_back(
        refusal(present.id, field.name, refusal_code::kFixed, {present.kind->name, *state}));
}

}  // namespace rapport
