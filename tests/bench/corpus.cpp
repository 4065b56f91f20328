// SPDX-License-Identifier: Apache-2.0
#include "bench/corpus.hpp"

#include <algorithm>
#include <array>

#include "model/json.hpp"

namespace rapport::bench {
namespace {

constexpr std::int64_t kFirstMs = 1'767'600'000'000;  // a Monday in January 2026

// In falling order of use; the n-th is drawn about 1/n as often as the first.
constexpr std::array<std::string_view, 320> kWords{"die",
                                                   "der",
                                                   "und",
                                                   "in",
                                                   "den",
                                                   "wir",
                                                   "mit",
                                                   "das",
                                                   "ist",
                                                   "nicht",
                                                   "Kunde",
                                                   "auf",
                                                   "für",
                                                   "ein",
                                                   "zu",
                                                   "dem",
                                                   "im",
                                                   "eine",
                                                   "hat",
                                                   "von",
                                                   "Lieferung",
                                                   "sich",
                                                   "bis",
                                                   "noch",
                                                   "bei",
                                                   "auch",
                                                   "als",
                                                   "wird",
                                                   "sind",
                                                   "Angebot",
                                                   "an",
                                                   "aus",
                                                   "nach",
                                                   "einen",
                                                   "wurde",
                                                   "Termin",
                                                   "sehr",
                                                   "mehr",
                                                   "aber",
                                                   "nur",
                                                   "Deckel",
                                                   "soll",
                                                   "vom",
                                                   "über",
                                                   "haben",
                                                   "werden",
                                                   "einer",
                                                   "Woche",
                                                   "Preis",
                                                   "um",
                                                   "zum",
                                                   "er",
                                                   "sie",
                                                   "kann",
                                                   "bereits",
                                                   "Palette",
                                                   "Muster",
                                                   "möchte",
                                                   "Herr",
                                                   "Frau",
                                                   "zur",
                                                   "wieder",
                                                   "neue",
                                                   "Becher",
                                                   "Bestellung",
                                                   "seit",
                                                   "vor",
                                                   "gut",
                                                   "keine",
                                                   "weil",
                                                   "Linie",
                                                   "Folie",
                                                   "Abfüllung",
                                                   "schon",
                                                   "will",
                                                   "Menge",
                                                   "Qualität",
                                                   "etwa",
                                                   "alle",
                                                   "dann",
                                                   "Produktion",
                                                   "Charge",
                                                   "braucht",
                                                   "ob",
                                                   "Einkauf",
                                                   "undicht",
                                                   "wegen",
                                                   "durch",
                                                   "Stück",
                                                   "heute",
                                                   "Etikett",
                                                   "zwei",
                                                   "unter",
                                                   "Jahr",
                                                   "Umstellung",
                                                   "lange",
                                                   "gegen",
                                                   "Verpackung",
                                                   "wenn",
                                                   "Wettbewerber",
                                                   "drei",
                                                   "dass",
                                                   "Besuch",
                                                   "Lager",
                                                   "Monat",
                                                   "ab",
                                                   "ohne",
                                                   "Entscheidung",
                                                   "fragt",
                                                   "Muster",
                                                   "sollte",
                                                   "immer",
                                                   "besser",
                                                   "Rückmeldung",
                                                   "Werk",
                                                   "Kosten",
                                                   "letzte",
                                                   "Leitung",
                                                   "Kartons",
                                                   "Leckage",
                                                   "Reklamation",
                                                   "klären",
                                                   "nächste",
                                                   "Vertrag",
                                                   "Rabatt",
                                                   "weiter",
                                                   "sagt",
                                                   "Spritzguss",
                                                   "bitte",
                                                   "sobald",
                                                   "Maschine",
                                                   "Temperatur",
                                                   "oder",
                                                   "prüft",
                                                   "Technik",
                                                   "vier",
                                                   "Vorlauf",
                                                   "zufrieden",
                                                   "Joghurt",
                                                   "Zusage",
                                                   "gibt",
                                                   "kommt",
                                                   "Sorte",
                                                   "ganz",
                                                   "Konkurrenz",
                                                   "Größe",
                                                   "weniger",
                                                   "Stapel",
                                                   "Ware",
                                                   "Schicht",
                                                   "melden",
                                                   "Labor",
                                                   "offen",
                                                   "Material",
                                                   "Kühlhaus",
                                                   "schlecht",
                                                   "wäre",
                                                   "Verschluss",
                                                   "viele",
                                                   "erst",
                                                   "Jahresmenge",
                                                   "damit",
                                                   "Dienstag",
                                                   "wünscht",
                                                   "Farbe",
                                                   "gestern",
                                                   "Druck",
                                                   "Recycling",
                                                   "kleine",
                                                   "Anlage",
                                                   "vereinbart",
                                                   "hohe",
                                                   "Spedition",
                                                   "Freitag",
                                                   "Problem",
                                                   "stabil",
                                                   "Bedarf",
                                                   "Versand",
                                                   "Bereich",
                                                   "Gespräch",
                                                   "Siegel",
                                                   "großen",
                                                   "Februar",
                                                   "zeigen",
                                                   "Ersatz",
                                                   "pro",
                                                   "Donnerstag",
                                                   "Geschäftsführer",
                                                   "Fehler",
                                                   "Ausschuss",
                                                   "Molkerei",
                                                   "Test",
                                                   "günstiger",
                                                   "fehlt",
                                                   "Kante",
                                                   "ausgefallen",
                                                   "liefern",
                                                   "Aluminium",
                                                   "sofort",
                                                   "Gewicht",
                                                   "März",
                                                   "Euro",
                                                   "Zertifikat",
                                                   "bekommt",
                                                   "Deckelfolie",
                                                   "müssen",
                                                   "Prospekt",
                                                   "zurück",
                                                   "Mittwoch",
                                                   "Muss",
                                                   "Rahmen",
                                                   "pünktlich",
                                                   "Quartal",
                                                   "spät",
                                                   "Sauerrahm",
                                                   "geprüft",
                                                   "Konditionen",
                                                   "Werkzeug",
                                                   "Montag",
                                                   "dringend",
                                                   "Naht",
                                                   "bestellt",
                                                   "Quark",
                                                   "Lieferant",
                                                   "einmal",
                                                   "deshalb",
                                                   "Nachlass",
                                                   "Haltbarkeit",
                                                   "April",
                                                   "verspricht",
                                                   "Halle",
                                                   "warten",
                                                   "Papier",
                                                   "Boden",
                                                   "Schulung",
                                                   "Anteil",
                                                   "verloren",
                                                   "Rand",
                                                   "Kühlung",
                                                   "beschädigt",
                                                   "Umsatz",
                                                   "Feder",
                                                   "wechseln",
                                                   "Klima",
                                                   "Kreis",
                                                   "Filiale",
                                                   "Ansprechpartner",
                                                   "Toleranz",
                                                   "Regal",
                                                   "verklebt",
                                                   "Zahlung",
                                                   "Tonne",
                                                   "Gutschrift",
                                                   "Transport",
                                                   "öffnen",
                                                   "Probe",
                                                   "Siebdruck",
                                                   "zerdrückt",
                                                   "Ziel",
                                                   "Messe",
                                                   "Handel",
                                                   "Wunsch",
                                                   "Ausgabe",
                                                   "Auftrag",
                                                   "einsetzen",
                                                   "Vorgänger",
                                                   "Pflanzendrink",
                                                   "Mindestmenge",
                                                   "Kennzeichnung",
                                                   "Sommer",
                                                   "Dichtung",
                                                   "Aufpreis",
                                                   "Wanddicke",
                                                   "Griff",
                                                   "nachfüllen",
                                                   "Vertretung",
                                                   "Rohstoff",
                                                   "Laufzeit",
                                                   "Freigabe",
                                                   "Kratzer",
                                                   "Rechnung",
                                                   "Standort",
                                                   "Absprache",
                                                   "Klappe",
                                                   "Butter",
                                                   "wechselt",
                                                   "Sortiment",
                                                   "Barriere",
                                                   "Eimer",
                                                   "Stichprobe",
                                                   "Tiefziehen",
                                                   "Sichtfenster",
                                                   "verzogen",
                                                   "Foto",
                                                   "Nachweis",
                                                   "Urlaub",
                                                   "Zange",
                                                   "Pfand",
                                                   "Tülle",
                                                   "Kappe",
                                                   "Spatel"};

// Sums of the weights 1000/(n+2) up to each word.
const std::array<std::uint32_t, kWords.size()>& weights() {
    static const auto sums = [] {
        std::array<std::uint32_t, kWords.size()> all{};
        std::uint32_t sum = 0;
        for (std::size_t i = 0; i < all.size(); ++i)
            all[i] = sum += static_cast<std::uint32_t>(100'000 / (i + 2));
        return all;
    }();
    return sums;
}

std::string_view word(test::Chance& chance) {
    const auto& sums = weights();
    const std::uint32_t drawn = chance() % sums.back();
    return kWords[static_cast<std::size_t>(std::upper_bound(sums.begin(), sums.end(), drawn) -
                                           sums.begin())];
}

std::size_t characters_of(std::string_view utf8) {
    return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
}

RecordId id_at(test::Chance& chance, std::int64_t ms) {
    std::array<std::uint8_t, 10> random{};
    for (auto& byte : random) byte = static_cast<std::uint8_t>(chance());
    return time_ordered_id(ms, random);
}

template <class E>
E one_of(test::Chance& chance, std::uint32_t count) {
    return static_cast<E>(chance() % count);
}

}  // namespace

std::string german_text(test::Chance& chance, std::size_t characters) {
    std::string text;
    std::size_t length = 0;
    std::uint32_t in_sentence = 0;
    while (length < characters) {
        std::string next(word(chance));
        if (in_sentence == 0 && next[0] >= 'a' && next[0] <= 'z')
            next[0] = static_cast<char>(next[0] - 'a' + 'A');
        ++in_sentence;
        if (chance() % 24 == 0) next = std::to_string(chance() % 5000);
        if (in_sentence > 4 && chance() % 9 == 0) {
            next += '.';
            in_sentence = 0;
        } else if (chance() % 14 == 0) {
            next += ',';
        }
        if (!text.empty()) next.insert(0, " ");
        text += next;
        length += characters_of(next);
    }
    while (length > characters) {  // cut in front of a whole character
        while ((static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
        text.pop_back();
        --length;
    }
    if (text.back() == ' ') text.back() = '.';
    return text;
}

Record record_of(const RecordEdit& edit) {
    Record record{edit.kind, edit.id, {}, {}};
    for (const FieldEdit& f : edit.fields) record.fields[f.field->number] = f.content;
    return record;
}

Corpus make_corpus(std::uint64_t seed, std::size_t records) {
    test::Chance chance(seed);
    Corpus corpus;
    std::int64_t ms = kFirstMs;
    std::vector<Id<Customer>> customers;
    const auto instant = [](std::int64_t at) {
        return Instant(TimePoint(Milliseconds(at)), std::chrono::minutes{60});
    };
    for (std::size_t i = 0; i < records / 150 + 10; ++i) {
        Customer customer;
        customer.name = "Molkerei " + german_text(chance, 12);
        customer.legal_name = german_text(chance, 20);
        const Id<Customer> id(id_at(chance, ms += 10));
        customers.push_back(id);
        corpus.customers.push_back(creation(customer, id));
    }
    std::vector<Id<Visit>> visits(customers.size());
    for (std::size_t i = 0; i < records; ++i) {
        ms += 60'000 + chance() % 240'000;
        const std::size_t at = chance() % customers.size();
        const RecordId id = id_at(chance, ms);
        const std::size_t turn = visits[at].is_nil() ? 0 : i % 5;
        if (turn < 3) {
            Visit visit;
            visit.customer_id = customers[at];
            visit.type = one_of<VisitType>(chance, 6);
            visit.started_at = instant(ms - 2'400'000);
            visit.ended_at = instant(ms);
            visit.summary = german_text(chance, 300);
            visit.mood = static_cast<std::int64_t>(chance() % 5) - 2;
            visit.purpose.elements = {one_of<Purpose>(chance, 7)};
            visit.result = one_of<VisitResult>(chance, 5);
            visits[at] = Id<Visit>(id);
            corpus.records.push_back(creation(visit, id));
        } else if (turn == 3) {
            Complaint complaint;
            complaint.customer_id = customers[at];
            complaint.visit_id = visits[at];
            complaint.received_at = instant(ms);
            complaint.product_text = german_text(chance, 18);
            complaint.lot = "L" + std::to_string(100'000 + chance() % 900'000);
            complaint.verbatim = german_text(chance, 190);
            complaint.severity = one_of<Severity>(chance, 3);
            complaint.remedy_wanted = one_of<Remedy>(chance, 6);
            corpus.records.push_back(creation(complaint, id));
        } else {
            ProductWish wish;
            wish.customer_id = customers[at];
            wish.visit_id = visits[at];
            wish.captured_at = instant(ms);
            wish.need = german_text(chance, 220);
            wish.category = one_of<WishCategory>(chance, 9);
            wish.importance = one_of<Importance>(chance, 3);
            corpus.records.push_back(creation(wish, id));
        }
        const Record record = record_of(corpus.records.back());
        corpus.json_bytes += to_json(record).size() + 1;
        for (const auto& [number, content] : record.fields)
            if (record.kind->field(number)->marks.searched && !content.empty() &&
                content[0].value.text())
                corpus.text_bytes += content[0].value.text()->size();
    }
    return corpus;
}

}  // namespace rapport::bench
