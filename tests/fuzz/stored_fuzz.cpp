// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "fuzz.hpp"
#include "model/archive.hpp"
#include "model/bundle.hpp"
#include "model/state.hpp"
#include "rapport/kinds/complaint.hpp"
#include "rapport/refusal.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "support/temp_dir.hpp"

// What a file's own rows may hold once a disk has damaged them. The first byte tells which: the
// fields of a record as a device and as the centre keep them, writes, reasons, and the columns of a
// real row and of the change that waits over it.
namespace rapport::fuzz {
namespace {

// Read once, written and read again it is the same.
void fields(std::string_view input, bool captures) {
    RecordState state;
    state.kind = kind_of<Complaint>().number;
    decode_fields(input, captures, state);
    show(state);
    conflicted(state);
    const std::string once = encode_fields(state, captures);
    RecordState again;
    again.kind = state.kind;
    decode_fields(once, captures, again);
    require(again == state && encode_fields(again, captures) == once);
}

void writes(std::string_view input) {
    const std::vector<Write> writes = decode_writes(input);
    require(decode_writes(encode_writes(writes)) == writes);
}

void reasons(std::string_view input) {
    const auto reasons = decode<std::vector<Refusal>>(input);
    require(decode<std::vector<Refusal>>(encode(reasons)) == reasons);
    for (const Refusal& reason : reasons)
        for (const Language language : {Language::english, Language::german})
            sentence(reason, language);
}

struct Damaged {
    const char* update;
    bool text;
};
constexpr std::array<Damaged, 5> kDamaged{{{"UPDATE visit SET version=?", false},
                                           {"UPDATE visit SET siblings=?", true},
                                           {"UPDATE visit SET purpose=?", true},
                                           {"UPDATE change SET writes=?", false},
                                           {"UPDATE bundle SET former=?, reasons=?1", false}}};

struct Subject {
    TempDir folder;
    Store store = Store::open(folder.file("fuzz.rapport"));
    Id<Visit> visit;

    Subject() {
        Visit v;
        v.customer_id = Id<Customer>(RecordId{{7}});
        v.type = VisitType::call;
        v.summary = "am Telefon";
        v.purpose = {Purpose::present};
        visit = store.put(v).first;
    }
};

// A row that cannot be read is said to be damaged; one that can is saved and read again.
void row(std::string_view input, const Damaged& damaged) {
    counting = false;  // the file is there before it is damaged
    static Subject subject;
    counting = true;
    Store::Core::Writing writing(subject.store.core());  // and is rolled back
    auto update = writing.db.prepare(damaged.update);
    if (damaged.text)
        update.bind(1, input);
    else
        update.bind_blob(1, input);
    update.run();
    try {
        auto loaded = load(writing.db, kind_of<Visit>(), subject.visit);
        require(loaded.has_value());
        for (const PendingChange& change : loaded->pending)
            require(load_bundle(writing.db, change.bundle).has_value());
        save_with_pending(writing.db, loaded->row, loaded->pending);
        const auto again = load(writing.db, kind_of<Visit>(), subject.visit);
        require(again && again->row.shown == loaded->row.shown);
    } catch (const Error& e) {
        if (e.code() != ErrorCode::storage_damaged) throw;
    }
}

}  // namespace
}  // namespace rapport::fuzz

void rapport::fuzz::run(std::string_view input) {
    if (input.empty()) return;
    const std::size_t form = static_cast<unsigned char>(input.front()) % (4 + kDamaged.size());
    input.remove_prefix(1);
    if (form < 2) return fields(input, form == 1);
    if (form == 2) return writes(input);
    if (form == 3) return reasons(input);
    row(input, kDamaged[form - 4]);
}
