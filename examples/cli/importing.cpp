// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <unordered_map>
#include <unordered_set>

#include "command.hpp"
#include "model/refusals.hpp"
#include "progress.hpp"
#include "shown.hpp"

namespace rapport::cli {

namespace {

// Lines of one bundle that are held in memory: more than any server takes, so that a file whose
// lines all carry one bundle by mistake stays within bounds.
constexpr std::size_t kBundleLinesMax = 5000;
constexpr std::size_t kLineBytesMax = 4U << 20;
// Records that share a transaction: an fsync each would be most of the work, and a read command on
// the same file does not wait either way.
constexpr std::size_t kTransactionRecords = 1000;

class Importer {
public:
    explicit Importer(Store& store) : store_(store), known_(references_in(store)) {}

    void take(std::string text, std::size_t number) {
        took_name_ = false;
        Line line{number, parse_import_line(text, resolver()), {}};
        if (line.parsed.no_record) return;
        const bool unreadable = !line.parsed.refusals.empty() &&
                                line.parsed.record.kind == nullptr && line.parsed.bundle.empty();
        if (unreadable) {
            // Whether it was meant for the bundle around it only the next line can tell.
            report(number, line.parsed.refusals);
            ++left_out_;
            broken_inside_ = true;
            return;
        }
        const bool goes_on =
            !lines_.empty() && !line.parsed.bundle.empty() && line.parsed.bundle == bundle_;
        if (!goes_on) {
            finish_bundle();
            // It took the name of a record for known whose bundle had not gone in yet, and may not
            // have.
            if (took_name_) line.parsed = parse_import_line(text, resolver());
        }
        bundle_ = line.parsed.bundle;
        if (goes_on && broken_inside_) spoilt_ = true;
        broken_inside_ = false;
        if (lines_.size() == kBundleLinesMax && !spoilt_) {
            spoilt_ = true;
            report(number, {refusal({}, "bundle", "too_many_records",
                                    {"lines", std::to_string(kBundleLinesMax)})});
        }
        if (spoilt_ && lines_.size() >= kBundleLinesMax) {
            ++left_out_;
            return;
        }
        Record& record = line.parsed.record;
        if (record.id.is_nil()) {
            record.id = new_id();
            line.is_new = true;
        }
        name(line);
        line.text = std::move(text);
        lines_.push_back(std::move(line));
    }

    void finish_bundle() {
        if (!lines_.empty()) commit();
        lines_.clear();
        names_.clear();
        spoilt_ = false;
    }

    /// Brings in the bundles that are finished. To be called before waiting for more lines, and at
    /// the end, after finish_bundle().
    void write() {
        if (waiting_.empty()) return;
        std::vector<std::span<const RecordEdit>> bundles;
        for (const Bundle& bundle : waiting_) bundles.emplace_back(bundle.edits);
        const std::vector<Captured> answers = store_.commit_all(bundles);
        for (std::size_t i = 0; i < answers.size(); ++i) {
            const Bundle& bundle = waiting_[i];
            for (const Refusal& refusal : answers[i].refusals)
                report(line_of(bundle.lines, refusal.record), {refusal});
            if (answers[i]) {
                ++bundles_;
                went_in(bundle);
            } else {
                left_out_ += bundle.lines.size();
            }
        }
        waiting_.clear();
        waiting_names_.clear();
        waiting_ids_.clear();
    }

    std::size_t imported() const { return imported_; }
    std::size_t bundles() const { return bundles_; }
    std::size_t unchanged() const { return unchanged_; }
    std::size_t left_out() const { return left_out_; }

private:
    struct Line {
        std::size_t number;
        ImportLine parsed;
        std::string text;
        bool is_new = false;  // its id was drawn here
    };
    struct Bundle {
        std::vector<Line> lines;
        std::vector<RecordEdit> edits;
    };

    RecordId new_id() const {
        Environment& environment = system_environment();
        std::array<std::uint8_t, 10> random{};
        environment.random(random);
        return time_ordered_id(environment.now().at.time_since_epoch().count(), random);
    }

    ResolveReference resolver() {
        return [this](std::string_view reference) -> std::optional<RecordId> {
            const std::string named(reference);
            if (const auto here = names_.find(named); here != names_.end()) {
                took_name_ = true;
                return here->second;
            }
            if (waiting_names_.count(named) > 0) write();  // and only then is it known to be there
            if (const auto before = refs_.find(named); before != refs_.end()) return before->second;
            if (named.find(':') == std::string::npos) return std::nullopt;
            return known_(reference);
        };
    }

    // What later lines, and earlier ones of its bundle, can call this line.
    void name(const Line& line) {
        const Record& record = line.parsed.record;
        if (!line.parsed.ref.empty()) {
            if (waiting_names_.count(line.parsed.ref) > 0) write();
            if (names_.count(line.parsed.ref) + refs_.count(line.parsed.ref) > 0) {
                report(line.number, {refusal(record.id, "ref", "ref_used")});
                spoilt_ = true;
                return;
            }
            names_.emplace(line.parsed.ref, record.id);
        }
        if (record.kind == nullptr) return;
        for (const Item& item : record.shown("external_ids"))
            if (const Parts* parts = item.value.parts(); parts != nullptr && parts->size() == 2)
                if (const auto* system = (*parts)[0].text(), *id = (*parts)[1].text();
                    system != nullptr && id != nullptr)
                    names_.emplace(*system + ":" + *id, record.id);
    }

    void commit() {
        bool refused = spoilt_;
        Bundle bundle;
        for (Line& line : lines_) {
            if (!line.parsed.refusals.empty()) {
                // It may only have named a line that follows it in the bundle.
                const RecordId id = line.parsed.record.id;
                line.parsed = parse_import_line(line.text, resolver());
                line.parsed.record.id = id;
            }
            if (!line.parsed.refusals.empty()) {
                report(line.number, line.parsed.refusals);
                refused = true;
                continue;
            }
            if (auto edit = edit_of(line)) bundle.edits.push_back(std::move(*edit));
        }
        if (refused) {
            left_out_ += lines_.size();
            return;
        }
        bundle.lines = std::move(lines_);
        if (bundle.edits.empty()) return went_in(bundle);
        for (const auto& [called, id] : names_) waiting_names_.insert(called);
        for (const RecordEdit& edit : bundle.edits) waiting_ids_.insert(edit.id);
        waiting_.push_back(std::move(bundle));
        if (waiting_ids_.size() >= kTransactionRecords) write();
    }

    void went_in(const Bundle& bundle) {
        imported_ += bundle.edits.size();
        unchanged_ += bundle.lines.size() - bundle.edits.size();
        for (const Line& line : bundle.lines)
            if (!line.parsed.ref.empty()) refs_.emplace(line.parsed.ref, line.parsed.record.id);
    }

    // Nullopt when the file holds all of it already.
    std::optional<RecordEdit> edit_of(const Line& line) {
        const Record& record = line.parsed.record;
        if (waiting_ids_.count(record.id) > 0) write();
        RecordEdit edit{record.kind, record.id, true, {}, {}};
        const auto present = line.is_new ? std::nullopt : store_.find(record.id);
        edit.create = !present;
        if (edit.create && record.kind->home == Home::territory) edit.scope = record.scope;
        for (const auto& [number, content] : record.fields) {
            if (present) {
                const auto there = present->fields.find(number);
                if (there != present->fields.end() && there->second == content) continue;
            }
            edit.fields.push_back({record.kind->field(number), FieldEdit::Op::set, content});
        }
        if (present && edit.fields.empty()) return std::nullopt;
        return edit;
    }

    static std::size_t line_of(const std::vector<Line>& lines, const RecordId& id) {
        for (const Line& line : lines)
            if (line.parsed.record.id == id) return line.number;
        return lines.front().number;
    }

    static void report(std::size_t number, const std::vector<Refusal>& refusals) {
        for (const Refusal& refusal : refusals)
            std::cerr << "line " << number << ": " << plain_sentence_of(refusal) << '\n';
    }

    Store& store_;
    ResolveReference known_;
    std::unordered_map<std::string, RecordId> refs_;   // of lines that went in
    std::unordered_map<std::string, RecordId> names_;  // of the bundle being read
    std::vector<Line> lines_;
    std::vector<Bundle> waiting_;  // for the transaction they will share
    std::unordered_set<std::string> waiting_names_;
    std::unordered_set<RecordId> waiting_ids_;
    std::string bundle_;
    bool took_name_ = false;      // the line just parsed refers to one of `names_`
    bool spoilt_ = false;         // a line of the bundle cannot go in
    bool broken_inside_ = false;  // an unreadable line came after the last one of the bundle
    std::size_t imported_ = 0, bundles_ = 0, unchanged_ = 0, left_out_ = 0;
};

}  // namespace

int import_lines(const ImportOptions& options) {
    std::ifstream opened;
    std::uint64_t size = 0;
    if (options.data != "-") {
        opened.open(options.data, std::ios::binary);
        if (!opened || std::filesystem::is_directory(options.data))
            throw Failure(kRefused, options.data + ": cannot be read");
        std::error_code error;
        const auto bytes = std::filesystem::file_size(options.data, error);
        if (!error) size = bytes;
    }
    std::istream& in = options.data == "-" ? std::cin : opened;
    Store store = open_store(options.file, false);
    Importer importer(store);
    ProgressLine progress;
    std::size_t number = 0;
    std::uint64_t done = 0;
    std::string line;
    const auto next_line = [&] {
        if (in.rdbuf()->in_avail() <= 0) importer.write();  // a pipe may be silent for hours
        return static_cast<bool>(std::getline(in, line));
    };
    while (next_line()) {
        ++number;
        done += line.size() + 1;
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (number == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
        if (line.find_first_not_of(" \t") == std::string::npos) continue;
        if (line.size() > kLineBytesMax) line.resize(kLineBytesMax);  // unreadable, and said so
        importer.take(std::move(line), number);
        line.clear();
        if (progress.due())
            progress.show(done, size,
                          counted(importer.imported(), "record") + ", " + bytes_shown(done) +
                              (size > 0 ? " of " + bytes_shown(size) : ""));
    }
    importer.finish_bundle();
    importer.write();
    progress.clear();
    std::cout << "imported " << counted(importer.imported(), "record") << " in "
              << counted(importer.bundles(), "bundle");
    if (importer.unchanged() > 0)
        std::cout << ", " << importer.unchanged() << " were there already";
    std::cout << ", left out " << counted(importer.left_out(), "line") << '\n';
    if (in.bad())
        throw Failure(kRefused,
                      options.data + ": reading stopped at line " + std::to_string(number));
    return importer.left_out() == 0 ? kDone : kRefused;
}

}  // namespace rapport::cli
