// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <functional>
#include <iostream>

#include "command.hpp"

namespace rapport::cli {

namespace {

// `--watch` may stand before FILE: what does not look like an interval is not its value.
std::vector<std::string> arguments(int argc, char** argv) {
    std::vector<std::string> words(argv + 1, argv + argc);
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--") break;
        if (words[i] != "--watch") continue;
        const bool interval = i + 1 < words.size() && !words[i + 1].empty() &&
                              std::isdigit(static_cast<unsigned char>(words[i + 1].front())) != 0 &&
                              words[i + 1].find('.') == std::string::npos;
        if (!interval) {
            words[i] = "--watch=30s";
        } else {
            words[i] = "--watch=" + words[i + 1];
            words.erase(words.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
    }
    return words;
}

std::string format_help() { return "table, json, csv or ndjson"; }

class Program {
public:
    Program()
        : app_("Captures visits, complaints and wishes in a file, offline, and syncs them.",
               "rapport") {
        app_.set_version_flag("--version", "rapport " RAPPORT_VERSION);
        app_.require_subcommand(1, 1);
        app_.footer(
            "Exit codes: 0 done, 1 something was refused or invalid, 2 usage, 3 server not reached "
            "(nothing lost, "
            "try again).\nFields: f=v sets, f= clears, f+=a,b and f-=a change sets, group.part=v, "
            "ext.key=v, f:=JSON.\n"
            "`rapport COMMAND --help` shows examples.");

        auto* c =
            command("init", "Make a new file", init_.file, "  rapport init r17.rapport --rep R17");
        c->add_option("--rep", init_.rep, "Who captures, until enrolment says so")
            ->type_name("NAME");
        c->callback([this] { run_ = [this] { return init(init_); }; });

        c = command("enrol", "Redeem an invitation code", enrol_.file,
                    "  rapport enrol r17.rapport --server http://127.0.0.1:8470 --code K7QM-2F9X");
        c->add_option("--server", enrol_.server, "Address of the server")
            ->type_name("URL")
            ->required();
        c->add_option("--code", enrol_.code, "As `rapportd invite` printed it")
            ->type_name("CODE")
            ->required();
        c->callback([this] { run_ = [this] { return enrol(enrol_); }; });

        c = command("logout", "Leave the file to another user; what is unsent waits for this one",
                    logout_.file, "  rapport logout branch.rapport");
        c->callback([this] { run_ = [this] { return logout(logout_); }; });
        c = command("login", "Go on where a user logged out", login_.file,
                    "  rapport login branch.rapport --rep R17");
        c->add_option("--rep", login_.rep, "Who logged out before")->type_name("NAME")->required();
        c->callback([this] { run_ = [this] { return login(login_); }; });

        c = command("add", "Capture records as one bundle", add_.file,
                    "  rapport add r17.rapport customer name='Molkerei Mork' address.city=Düren "
                    "address.country=DE\n"
                    "  rapport add r17.rapport visit customer_id=@erp:10023 type=visit "
                    "purpose=present,survey \\\n"
                    "      started_at=2026-03-02T09:30:00+01:00 + complaint customer_id=@erp:10023 "
                    "visit_id=@1 \\\n"
                    "      product_text=Becher verbatim='Deckel undicht' severity=major\n"
                    "  rapport add r17.rapport product_wish customer_id=@erp:10023 need='...' "
                    "importance=important --draft");
        c->add_option("KIND-AND-FIELDS", add_.words,
                      "KIND f=v ... [+ KIND f=v ...]; @1 is the first record of these")
            ->type_name("")
            ->required();
        c->add_flag("--draft", add_.draft, "Keep it on this device until `submit`");
        c->callback([this] { run_ = [this] { return add(add_); }; });

        c = command(
            "set", "Change a record", set_.file,
            "  rapport set r17.rapport 0195f0c2-... remedy_wanted=replace lot= theme_hint+=deckel\n"
            "  rapport set r17.rapport @erp:10023 address.street='Rurauenweg 14' "
            "'deal:={\"a\":1}'");
        add_id(c, set_.id);
        add_words(c, set_.words, "f=v ...")->required();
        c->callback([this] { run_ = [this] { return set(set_); }; });

        c = command(
            "request", "Ask the server for a change of state", request_.file,
            "  rapport request qm.rapport 0195f0c2-... acknowledged due_at=2026-03-16T00:00:00Z\n"
            "  rapport request r17.rapport 0195f0c2-... withdrawn --reason 'customer took it "
            "back'");
        add_id(c, request_.id);
        c->add_option("STATE", request_.state, "The state wanted")->type_name("")->required();
        add_words(c, request_.words, "Fields that go with it, f=v ...");
        c->add_option("--reason", request_.reason, "Why")->type_name("TEXT");
        c->callback([this] { run_ = [this] { return request(request_); }; });

        c = command(
            "drafts", "List drafts, or type into one: kept at once, valid or not yet", drafts_.file,
            "  rapport drafts r17.rapport\n"
            "  rapport drafts r17.rapport 0195f0c2-... severity=maj description='Charge 4711'");
        c->add_option("ID", drafts_.id, "A record of the draft")->type_name("");
        add_words(c, drafts_.words, "f=v ...; f= clears");
        add_format(c, drafts_.format);
        c->callback([this] { run_ = [this] { return drafts(drafts_); }; });

        c = command("submit", "Check a draft as a whole and queue it", submit_.file,
                    "  rapport submit r17.rapport 0195f0c2-...");
        add_id(c, submit_.id);
        c->callback([this] { run_ = [this] { return submit(submit_); }; });

        c = command("discard", "Remove a draft, or what was refused", discard_.file,
                    "  rapport discard r17.rapport 0195f0c2-...");
        add_id(c, discard_.id);
        c->callback([this] { run_ = [this] { return discard(discard_); }; });

        c = command(
            "list", "List records of a kind, newest first", list_.file,
            "  rapport list r17.rapport complaint --where 'severity>=major' --since 7d\n"
            "  rapport list r17.rapport customer --where 'name~Molkerei' --sort name --limit 0 "
            "--format csv\n"
            "  rapport list r17.rapport visit --where result= --columns started_at,customer_id");
        c->add_option("KIND", list_.kind, "For example complaint")->type_name("")->required();
        c->add_option("--where", list_.where,
                      "f=v, or with !=, <, <=, >, >=, ~ (contains); f= is unset; all must hold")
            ->type_name("COND")
            ->allow_extra_args(false);
        c->add_option("--sort", list_.sort, "A field, ascending; -field descends")
            ->type_name("FIELD");
        c->add_option("--since", list_.since, "2026-03-02, 2026-03-02T09:30:00+01:00 or 7d")
            ->type_name("TIME");
        c->add_option("--limit", list_.limit, "Records at most; 0 = all")
            ->capture_default_str()
            ->type_name("N");
        c->add_option("--columns", list_.columns, "Fields to show, separated by commas")
            ->type_name("FIELDS")
            ->delimiter(',')
            ->allow_extra_args(false);
        add_format(c, list_.format);
        c->callback([this] { run_ = [this] { return list(list_); }; });

        c = command(
            "search", "Find records by the words of their texts, best first", search_.file,
            "  rapport search r17.rapport 'undichter Deckel'\n"
            "  rapport search r17.rapport '\"Deckel springen ab\" -Becher' --kind complaint "
            "--limit 5\n"
            "  rapport search r17.rapport Probe --customer @erp:10023 --format json");
        c->add_option("WORDS", search_.words,
                      "All must occur; \"two words\" side by side; -word must not; the last may go "
                      "on")
            ->type_name("")
            ->required();
        c->add_option("--kind", search_.kinds, "Only this kind; may be repeated")
            ->type_name("KIND")
            ->allow_extra_args(false);
        c->add_option("--customer", search_.customer, "Only this customer and what hangs on it")
            ->type_name("ID");
        c->add_option("--limit", search_.limit, "Hits at most")
            ->capture_default_str()
            ->type_name("N")
            ->check(CLI::Range(1, 1000));
        c->add_option("--offset", search_.offset, "Hits to leave out first")
            ->type_name("N")
            ->check(CLI::Range(0, 10000));
        add_format(c, search_.format);
        c->callback([this] { run_ = [this] { return search(search_); }; });

        c = command("show", "Show a record: fields, state of sync, conflicts, what refers to it",
                    show_.file,
                    "  rapport show r17.rapport 0195f0c2-...\n  rapport show r17.rapport "
                    "@erp:10023 --format json");
        add_id(c, show_.id);
        add_format(c, show_.format);
        c->callback([this] { run_ = [this] { return show(show_); }; });

        c = command("sync", "Send what was captured and take what others changed", sync_.file,
                    "  rapport sync r17.rapport --for 20s\n  rapport sync r17.rapport --watch 30s");
        c->add_option("--for", sync_.budget, "Time it may take, for example 20s")
            ->type_name("TIME");
        c->add_option("--watch", sync_.watch,
                      "Again and again, with this pause (30s); others may write meanwhile")
            ->type_name("[TIME]");
        c->add_flag("--compare", sync_.compare,
                    "Compare all records with the server's and mend what differs; else once a day");
        add_format(c, sync_.format);
        c->callback([this] { run_ = [this] { return sync(sync_); }; });

        c = command("status", "Show how the file stands", status_.file,
                    "  rapport status r17.rapport");
        add_format(c, status_.format);
        c->callback([this] { run_ = [this] { return status(status_); }; });

        c = command("departed", "List records that left this device's territories, and where to",
                    departed_.file, "  rapport departed r17.rapport --limit 0 --format csv");
        c->add_option("--limit", departed_.limit, "Records at most; 0 = all")
            ->capture_default_str()
            ->type_name("N");
        add_format(c, departed_.format);
        c->callback([this] { run_ = [this] { return departed(departed_); }; });

        c = command("loop", "List what this rep is to tell customers, and note it as seen",
                    loop_.file, "  rapport loop r17.rapport");
        add_format(c, loop_.format);
        c->callback([this] { run_ = [this] { return loop(loop_); }; });
        c = command("conflicts", "List fields with values nobody has reconciled", conflicts_.file,
                    "  rapport conflicts r17.rapport");
        add_format(c, conflicts_.format);
        c->callback([this] { run_ = [this] { return conflicts(conflicts_); }; });

        c = command("resolve", "Write over all values of a conflict", resolve_.file,
                    "  rapport resolve r17.rapport 0195f0c2-...:description --keep both\n"
                    "  rapport resolve r17.rapport 0195f0c2-...:description --value 'Rand zu weit, "
                    "fünf Muster'");
        c->add_option("CONFLICT", resolve_.conflict, "As `conflicts` shows it")
            ->type_name("")
            ->required();
        auto* keep = c->add_option("--keep", resolve_.keep, "mine, theirs, or both (texts only)")
                         ->type_name("SIDE")
                         ->check(CLI::IsMember({"mine", "theirs", "both"}));
        c->add_option("--value", resolve_.value, "What it should be instead")
            ->type_name("TEXT")
            ->excludes(keep);
        c->callback([this] { run_ = [this] { return resolve(resolve_); }; });

        c = command("import", "Capture records from a file, one JSON object a line", import_.file,
                    "  rapport import r17.rapport visits.ndjson\n"
                    "  rapport export old.rapport --kind note | rapport import r17.rapport -\n"
                    "A line: "
                    "{\"kind\":\"visit\",\"ref\":\"v1\",\"bundle\":\"b1\",\"fields\":{\"customer_"
                    "id\":\"@erp:10023\",...}}\n"
                    "A bad line is reported, its bundle left out; the rest goes in.");
        c->add_option("DATA", import_.data, "NDJSON; - is standard input")
            ->type_name("")
            ->required();
        c->callback([this] { run_ = [this] { return import_lines(import_); }; });

        c = command("export", "Print records as canonical JSON, one a line", export_.file,
                    "  rapport export r17.rapport --kind complaint > complaints.ndjson\n"
                    "  rapport export r17.rapport --unsent > unsent.ndjson");
        c->add_option("--kind", export_.kind, "Only this kind")->type_name("KIND");
        c->add_flag("--unsent", export_.unsent, "Only records with work the server has not taken");
        c->callback([this] { run_ = [this] { return export_lines(export_); }; });

        c = command("doctor", "Check the file, or save what can be read of a damaged one",
                    doctor_.file,
                    "  rapport doctor r17.rapport\n"
                    "  rapport doctor r17.rapport --salvage r17-new.rapport");
        c->add_option("--salvage", doctor_.salvage,
                      "Make this new file with everything readable, unsent work first; FILE is not "
                      "written to")
            ->type_name("NEW");
        add_format(c, doctor_.format);
        c->callback([this] { run_ = [this] { return doctor(doctor_); }; });

        c = app_.add_subcommand("schema", "Print the JSON Schema of records and of the feed");
        c->add_option("--kind", schema_kind_, "Only this kind")->type_name("KIND");
        c->footer("Examples:\n  rapport schema > rapport.schema.json");
        c->callback([this] { run_ = [this] { return schema(schema_kind_); }; });
    }

    int run(std::vector<std::string> words) {
        const std::string first = words.empty() ? "" : words.front();
        try {
            std::reverse(words.begin(), words.end());
            app_.parse(std::move(words));
        } catch (const CLI::CallForHelp&) {
            const auto chosen = app_.get_subcommands();
            std::cout << (chosen.empty() ? app_.help() : chosen.front()->help("rapport"));
            return kDone;
        } catch (const CLI::CallForVersion& version) {
            std::cout << version.what() << '\n';
            return kDone;
        } catch (const CLI::ParseError& error) {
            const auto chosen = app_.get_subcommands();
            if (chosen.empty() && !first.empty() && first.front() != '-') {
                std::vector<std::string> names;
                for (const CLI::App* c : app_.get_subcommands([](CLI::App*) { return true; }))
                    names.push_back(c->get_name());
                complain("there is no command \"" + first + "\"" +
                         suggestion(first, {names.begin(), names.end()}) + " (`rapport --help`)");
                return kUsage;
            }
            complain(error.what() + std::string("; see `rapport ") +
                     (chosen.empty() ? "" : chosen.front()->get_name() + " ") + "--help`");
            return kUsage;
        }
        return run_();
    }

private:
    CLI::App* command(const std::string& name, const std::string& what, std::string& file,
                      const std::string& examples) {
        auto* c = app_.add_subcommand(name, what);
        c->add_option("FILE", file, "The device's file")->type_name("")->required();
        c->add_option_function<std::string>(
             "--lang", use_language, "de or en: language of refusals; else that of the locale")
            ->type_name("LANG");
        c->footer("Examples:\n" + examples);
        return c;
    }
    static void add_id(CLI::App* c, std::string& id) {
        c->add_option("ID", id, "A record's id, or @system:id of another system")
            ->type_name("")
            ->required();
    }
    static CLI::Option* add_words(CLI::App* c, std::vector<std::string>& words,
                                  const std::string& what) {
        return c->add_option("FIELDS", words, what)->type_name("");
    }
    static void add_format(CLI::App* c, Format& format) {
        c->add_option_function<std::string>(
             "--format", [&format](const std::string& name) { format = *format_named(name); },
             format_help())
            ->type_name("FORMAT")
            ->check(CLI::IsMember(kFormatNames));
    }

    CLI::App app_;
    std::function<int()> run_;
    InitOptions init_;
    EnrolOptions enrol_;
    AddOptions add_;
    SetOptions set_;
    RequestOptions request_;
    DraftsOptions drafts_;
    DraftOptions submit_, discard_;
    ListOptions list_;
    SearchOptions search_;
    ShowOptions show_;
    StatusOptions status_;
    DepartedOptions departed_;
    LogoutOptions logout_;
    LoginOptions login_;
    LoopOptions loop_;
    ConflictsOptions conflicts_;
    ResolveOptions resolve_;
    SyncOptions sync_;
    ImportOptions import_;
    ExportOptions export_;
    DoctorOptions doctor_;
    std::string schema_kind_;
};

int run(int argc, char** argv) {
    std::ios::sync_with_stdio(false);
    try {
        Program program;
        const int code = program.run(arguments(argc, argv));
        std::cout.flush();
        if (!std::cout) throw Failure(kRefused, "the output could not be written");
        return code;
    } catch (const Failure& failure) {
        complain(failure.what());
        return failure.exit;
    } catch (const Error& error) {
        complain(error.what());
        return error.code() == ErrorCode::network_failed ? kNotReached : kRefused;
    } catch (const std::exception& error) {
        complain(std::string("stopped: ") + error.what());
        return kRefused;
    }
}

}  // namespace

}  // namespace rapport::cli

int main(int argc, char** argv) { return rapport::cli::run(argc, argv); }
