// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "output.hpp"
#include "rapport/error.hpp"
#include "server/admin.hpp"
#include "server/auth/access.hpp"
#include "server/http/log.hpp"
#include "server/http/service.hpp"
#include "server/views.hpp"

namespace {

using namespace rapport;
using namespace rapport::server;
using Json = nlohmann::ordered_json;

constexpr int kDone = 0, kRefused = 1, kUsage = 2, kNotReached = 3;
constexpr std::chrono::seconds kStopGrace{10};

class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

std::string store_path(const std::string& spec) {
    constexpr std::string_view kSqlite = "sqlite:";
    if (spec.compare(0, kSqlite.size(), kSqlite) != 0 || spec.size() == kSqlite.size())
        throw UsageError("--store takes sqlite:PATH");
    return std::filesystem::absolute(spec.substr(kSqlite.size())).string();
}

void listen_address(const std::string& text, http::ListenerOptions& options) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) throw UsageError("--listen takes HOST:PORT");
    options.host = text.substr(0, colon);
    if (options.host.size() > 2 && options.host.front() == '[' && options.host.back() == ']')
        options.host = options.host.substr(1, options.host.size() - 2);
    const std::string port = text.substr(colon + 1);
    const auto [end, fault] = std::from_chars(port.data(), port.data() + port.size(), options.port);
    if (fault != std::errc() || end != port.data() + port.size())
        throw UsageError("--listen takes HOST:PORT");
}

void write_port_file(const std::string& path, std::uint16_t port) {
    const std::string fresh = path + ".new";
    {
        std::ofstream out(fresh, std::ios::trunc);
        out << port << '\n';
        if (!out.flush())
            throw Error(ErrorCode::storage_failed, "the port file cannot be written: " + path);
    }
    std::filesystem::rename(fresh, path);
}

/// The first line of the file.
std::string token_in(const std::string& path) {
    constexpr std::size_t kTokenMin = 16;
    std::string token;
    std::getline(std::ifstream(path), token);
    if (!token.empty() && token.back() == '\r') token.pop_back();
    if (token.size() < kTokenMin)
        throw UsageError("the first line of " + path + " is no token of at least 16 characters");
    return token;
}

// ---- serve

int serve(const std::string& path, const std::string& orders, const http::ListenerOptions& options,
          const std::string& port_file, bool with_views, const std::string& metrics_token) {
    // Blocked before any thread exists, so that only sigwait() below sees them.
    sigset_t stop_signals;
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);

    const auto storage = open_sqlite_storage(path);
    Erasures erasures(orders);
    Environment& environment = system_environment();
    http::Service service(
        *storage, environment, options,
        [](const std::string& sentence) {
            log::write(log::Level::error, "stopped_to_protect_data", {{"sentence", sentence}});
            std::_Exit(70);
        },
        {}, &erasures, metrics_token);
    Views views(*storage, views_folder(path));
    std::unique_ptr<admin::Socket> socket;
    try {
        const admin::Host host{
            *storage, environment,
            [&](const std::function<void(Engine&)>& job) { service.queue().run(job); }, nullptr,
            &views};
        socket = std::make_unique<admin::Socket>(admin::socket_path(path), host);
    } catch (const Error& error) {
        if (error.code() == ErrorCode::conflict) throw;
        log::write(log::Level::warning, "no_administration_socket", {{"sentence", error.what()}});
    }
    std::optional<ViewsFollower> follower;
    if (with_views) follower.emplace(views);
    service.run();
    log::write(log::Level::info, "listening",
               {{"host", options.host}, {"port", service.port()}, {"pid", ::getpid()}});
    if (!port_file.empty()) write_port_file(port_file, service.port());

    int signal = 0;
    sigwait(&stop_signals, &signal);
    log::write(log::Level::info, "stopping", {{"signal", signal}});
    socket.reset();
    service.stop(kStopGrace);
    follower.reset();
    log::write(log::Level::info, "stopped");
    return kDone;
}

// ---- administration

/// Prints the answer of a command as it comes.
class Printer {
public:
    explicit Printer(cli::Format format) : format_(format) {}
    ~Printer() { end_progress(); }

    void take(const std::string& line) {
        const Json tree = Json::parse(line, nullptr, false);
        if (!tree.is_object() || tree.empty()) return;
        const std::string& name = tree.begin().key();
        const Json& value = tree.begin().value();
        if (name != "progress") end_progress();
        if (name == "columns") {
            columns_ = value.get<std::vector<std::string>>();
            rows_ = std::make_unique<cli::Rows>(std::cout, format_, columns_,
                                                cli::terminal_width(STDOUT_FILENO));
        } else if (name == "row" && rows_) {
            std::vector<cli::Cell> cells;
            for (std::size_t i = 0; i < value.size(); ++i)
                cells.push_back(cell_of(value[i], columns_.at(i)));
            rows_->add(std::move(cells));
        } else if (name == "say") {
            if (rows_) rows_->finish();
            std::cout << value.get<std::string>() << std::endl;
        } else if (name == "complain") {
            std::cerr << value.get<std::string>() << std::endl;
        } else if (name == "progress" && ::isatty(STDERR_FILENO) != 0) {
            std::cerr << '\r' << value.get<std::size_t>() << " lines" << std::flush;
            in_progress_ = true;
        }
    }

private:
    static cli::Cell cell_of(const Json& value, const std::string& column) {
        if (value.is_null()) return {};
        if (value.is_boolean()) return value.get<bool>();
        if (value.is_number_integer()) return value.get<std::int64_t>();
        const bool name = column == "writer" || column == "id" || column == "name" ||
                          column == "parent" || column == "outcome" || column == "bundle" ||
                          column == "code" || column == "file" || column == "note";
        return name ? cli::Cell::whole(value.get<std::string>())
                    : cli::Cell(value.get<std::string>());
    }
    void end_progress() {
        if (in_progress_) std::cerr << "\r\033[K" << std::flush;
        in_progress_ = false;
    }

    const cli::Format format_;
    std::vector<std::string> columns_;
    std::unique_ptr<cli::Rows> rows_;
    bool in_progress_ = false;
};

/// Through the running server if one has the store open, else on the store itself.
int administer(const std::string& path, const std::string& orders, const Json& request,
               bool may_create, cli::Format format) {
    Printer printer(format);
    const admin::Emit print = [&](const std::string& line) { printer.take(line); };
    const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (line.size() > admin::kRequestBytesMax) throw UsageError("the arguments are too long");
    if (const auto code = admin::ask(admin::socket_path(path), line, print)) return *code;

    if (!may_create && !std::filesystem::exists(path))
        throw Error(ErrorCode::not_found, "there is no store at " + path);
    const auto storage = open_sqlite_storage(path);
    Erasures erasures(orders);
    Engine engine(*storage, system_environment(), {}, kHorizonDays, &erasures);
    Views views(*storage, views_folder(path));
    const admin::Host host{*storage, system_environment(),
                           [&](const std::function<void(Engine&)>& job) { job(engine); }, nullptr,
                           &views};
    return admin::run(host, line, print);
}

int run(int argc, char** argv) {
    CLI::App app{"The centre of Rapport: devices replicate to it, programs read its feed."};
    app.set_version_flag("--version", std::string("rapportd ") + RAPPORT_VERSION);
    app.require_subcommand(1);
    app.footer(
        "Exit codes: 0 done, 1 something was refused or invalid, 2 usage, 3 the server went away.");

    std::string store, tenant = "default", format = "table", file, orders;
    const auto with_store = [&](CLI::App* command) {
        command->add_option("--store", store, "The database, sqlite:PATH")->required();
        command->add_option("--erasures", orders,
                            "The file of erasure orders, not to be restored with the database; "
                            "STORE.erasures if not given");
        return command;
    };
    const auto with_tenant = [&](CLI::App* command) {
        command->add_option("--tenant", tenant, "The company, when the server has several")
            ->capture_default_str();
        return command;
    };
    const auto with_format = [&](CLI::App* command) {
        command->add_option("--format", format, "How to print rows")
            ->check(CLI::IsMember(cli::kFormatNames))
            ->capture_default_str();
        return command;
    };

    std::string listen = "127.0.0.1:8470", port_file, metrics_token;
    http::ListenerOptions options;
    auto* serve_command =
        with_store(app.add_subcommand("serve", "Serve devices and programs until SIGTERM"));
    serve_command->add_option("--listen", listen, "HOST:PORT; port 0 takes a free one")
        ->capture_default_str();
    serve_command->add_option("--port-file", port_file,
                              "Write the port here once the server listens");
    serve_command->add_option("--connections", options.connections_max, "Open at once")
        ->capture_default_str()
        ->check(CLI::Range(1, 100000));
    serve_command
        ->add_option("--metrics-token", metrics_token,
                     "Serve GET /metrics to who presents the first line of this file as bearer")
        ->check(CLI::ExistingFile);
    bool with_views = false, update = false;
    serve_command->add_flag("--views", with_views,
                            "Keep typed tables of all records in STORE.views for SQL tools");
    serve_command->add_flag("--insecure-any-address", options.any_address,
                            "Plain HTTP beyond loopback, for a proxy in front that ends TLS");

    std::string rep, role;
    std::vector<std::string> scopes;
    std::int64_t days = kInvitationDays;
    auto* invite = with_tenant(with_store(
        app.add_subcommand("invite", "Invite one device; prints the code as the last word")));
    invite->add_option("--rep", rep, "User name, for example R17")->required();
    invite->add_option("--role", role, "rep, mgr, mkt, qm, pm, price, dpo or admin")->required();
    invite->add_option("--scope", scopes, "territory/DE-50, territory/* ...; may be given again")
        ->required();
    invite->add_option("--days", days, "How long the code is valid")->capture_default_str();

    auto* key = app.add_subcommand("key", "Keys of programs that read the feed");
    key->require_subcommand(1);
    std::string key_role = "feed", key_name;
    auto* key_add = with_tenant(
        with_store(key->add_subcommand("add", "Add a key; prints it as the last word")));
    key_add->add_option("--role", key_role, "feed or admin")->capture_default_str();
    auto* key_list = with_format(with_store(key->add_subcommand("list", "All keys by name")));
    auto* key_revoke = with_store(key->add_subcommand("revoke", "Revoke a key"));
    key_revoke->add_option("NAME", key_name, "As `key list` shows it")->required();

    auto* import = with_tenant(with_store(app.add_subcommand(
        "import",
        "What the office writes, from NDJSON: products, territories, code lists, themes, "
        "questions, "
        "discount policies, custom options, state tables, revenue of customers")));
    import->add_option("FILE", file)->required()->check(CLI::ExistingFile);
    std::string writer;
    auto* devices = with_format(app.add_subcommand("devices", "All devices"));
    devices->add_option("--store", store, "The database, sqlite:PATH");
    devices->require_subcommand(0, 1);
    auto* devices_revoke =
        devices->add_subcommand("revoke", "Revoke a device and what was forked from it");
    devices_revoke->add_option("--store", store, "The database, sqlite:PATH");
    devices_revoke->add_option("WRITER", writer, "As `devices` shows it")->required();
    auto* devices_scopes = devices->add_subcommand(
        "scopes", "Give a device other scopes; it removes what it loses, unsent work is judged");
    devices_scopes->add_option("--store", store, "The database, sqlite:PATH");
    devices_scopes->add_option("WRITER", writer, "As `devices` shows it")->required();
    devices_scopes
        ->add_option("--scope", scopes, "territory/DE-50, territory/* ...; may be given again")
        ->required();
    std::string customer, from, to;
    auto* handover = with_tenant(with_store(app.add_subcommand(
        "handover", "Hand a customer, or all of a territory, over with everything about them")));
    handover->add_option("--customer", customer,
                         "The customer's id, or @erp:10023: its id in another system");
    handover->add_option("--from", from, "All customers of this one, territory/CODE")
        ->excludes("--customer");
    handover->add_option("--to", to, "Where they live from now on, territory/CODE")->required();
    auto* stats = with_format(
        with_store(app.add_subcommand("stats", "Records, conflicts, streams and the feed's head")));
    bool open_only = false;
    auto* loop = with_format(with_tenant(with_store(app.add_subcommand(
        "loop", "How many decisions have been told to customers, by territory"))));
    loop->add_flag("--open", open_only, "List those that nobody has told yet");
    auto* accept = with_format(with_tenant(with_store(app.add_subcommand(
        "accept",
        "Take the unsent work of a device that cannot send, from `rapport export --unsent`"))));
    accept->add_option("--rep", rep, "Whose device it was, if not the author of each record");
    accept->add_option("FILE", file)->required()->check(CLI::ExistingFile);
    auto* review = app.add_subcommand("review", "Bundles that a person decides about");
    review->require_subcommand(1);
    std::string bundle, reason, lang;
    bool refused = false;
    const auto with_lang = [&](CLI::App* command) {
        command->add_option("--lang", lang, "de or en: language of the reasons")
            ->check(CLI::IsMember({"de", "en"}));
        return command;
    };
    const auto with_bundle = [&](CLI::App* command) {
        command->add_option("BUNDLE", bundle, "WRITER.COUNTER, as `review list` shows it")
            ->required();
        return with_tenant(with_store(command));
    };
    auto* review_list = with_lang(with_format(with_tenant(
        with_store(review->add_subcommand("list", "What is in review, with the reasons")))));
    review_list->add_flag("--refused", refused, "And what devices have not repaired yet");
    with_lang(with_bundle(review->add_subcommand(
        "show", "What a bundle writes, as JSON lines, and why it was not taken")));
    with_lang(with_bundle(review->add_subcommand(
        "accept", "Take it with the authority of the office, whatever its device's scopes")));
    auto* review_reject =
        with_bundle(review->add_subcommand("reject", "Refuse it; its device shows the reason"));
    review_reject->add_option("--reason", reason, "For the rep to read")->required();
    auto* recoveries = app.add_subcommand(
        "recoveries", "What came back from devices after this store was restored from a backup");
    recoveries->require_subcommand(1);
    std::string note;
    const auto with_note = [&](CLI::App* command) {
        command->add_option("NOTE", note, "As `recoveries list` shows it")->required();
        return with_tenant(with_store(command));
    };
    auto* recoveries_list = with_format(with_tenant(with_store(recoveries->add_subcommand(
        "list", "What an administrator should look at; kept_back: it was not joined"))));
    with_note(recoveries->add_subcommand("show", "A record that was kept back, as a JSON line"));
    with_note(recoveries->add_subcommand("accept", "Join a record that was kept back"));
    with_note(recoveries->add_subcommand("dismiss", "It has been seen, and goes from the list"));
    std::vector<std::string> contacts, customers;
    bool hold_texts = false;
    auto* erase = with_tenant(with_store(app.add_subcommand(
        "erase",
        "Order the personal data of contacts erased, here and on every device, for good")));
    erase->add_option("--contact", contacts, "Its id, or @erp:10023; may be given again");
    erase->add_option("--customer", customers,
                      "A customer who is a person, with everything about them");
    erase->add_flag("--hold-texts", hold_texts,
                    "Keep back the words of visits, complaints and wishes that name them, to be "
                    "decided one by one; without it they are erased as well");
    auto* erasures = with_format(with_tenant(with_store(app.add_subcommand(
        "erasures", "Erasure orders, and which devices have not carried them out yet"))));
    auto* held =
        app.add_subcommand("held", "Words about somebody erased, kept back for a decision");
    held->require_subcommand(1);
    std::string record;
    const auto with_record = [&](CLI::App* command) {
        command->add_option("RECORD", record, "Its id, as `held list` shows it")->required();
        return with_tenant(with_store(command));
    };
    auto* held_list = with_format(with_tenant(with_store(
        held->add_subcommand("list", "The records, by whom they were written, and the words"))));
    with_record(held->add_subcommand("release", "Show the words of a record again"));
    with_record(held->add_subcommand("erase", "Erase the words of a record"));
    auto* subject_export = with_tenant(with_store(app.add_subcommand(
        "subject-export",
        "Everything held on a contact, as JSON lines (GDPR articles 15 and 20)")));
    subject_export->add_option("--contact", contacts, "Its id, or @erp:10023")->expected(1);
    subject_export->add_option("--customer", customers, "A customer who is a person")->expected(1);
    auto* backup = with_store(
        app.add_subcommand("backup", "A consistent copy of the store, also while it is served"));
    backup->add_option("--to", file, "The new file")->required();
    auto* views = with_format(with_store(app.add_subcommand(
        "views", "Where the typed tables for SQL tools are, and how far they have come")));
    views->add_flag("--update", update, "Bring them up to date first");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error, std::cout, std::cerr) == 0 ? kDone : kUsage;
    }

    try {
        if (store.empty()) throw UsageError("--store is required");
        const std::string path = store_path(store);
        orders = orders.empty() ? erasures_path(path) : std::filesystem::absolute(orders).string();
        if (serve_command->parsed()) {
            listen_address(listen, options);
            if (!metrics_token.empty()) metrics_token = token_in(metrics_token);
            return serve(path, orders, options, port_file, with_views, metrics_token);
        }
        Json request;
        bool may_create = false;
        const auto name = [&](const char* command) { request["command"] = command; };
        if (!file.empty()) file = std::filesystem::absolute(file).string();
        if (invite->parsed()) {
            name("invite");
            request["rep"] = rep;
            request["role"] = role;
            request["scopes"] = scopes;
            request["days"] = days;
            may_create = true;
        } else if (key_add->parsed()) {
            name("key_add");
            request["role"] = key_role;
            may_create = true;
        } else if (key_list->parsed()) {
            name("key_list");
        } else if (key_revoke->parsed()) {
            name("key_revoke");
            request["name"] = key_name;
        } else if (handover->parsed()) {
            name("handover");
            if (!customer.empty()) request["customer"] = customer;
            if (!from.empty()) request["from"] = from;
            request["to"] = to;
        } else if (import->parsed()) {
            name("import");
            request["path"] = file;
            may_create = true;
        } else if (devices_revoke->parsed()) {
            name("devices_revoke");
            request["writer"] = writer;
        } else if (devices_scopes->parsed()) {
            name("devices_scopes");
            request["writer"] = writer;
            request["scopes"] = scopes;
        } else if (devices->parsed()) {
            name("devices");
        } else if (stats->parsed()) {
            name("stats");
        } else if (loop->parsed()) {
            name("loop");
            request["open"] = open_only ? 1 : 0;
        } else if (accept->parsed()) {
            name("accept");
            if (!rep.empty()) request["rep"] = rep;
            request["path"] = file;
        } else if (review->parsed()) {
            const auto action = review->get_subcommands().front();
            request["command"] = "review_" + action->get_name();
            if (action != review_list) request["bundle"] = bundle;
            if (action == review_list) request["refused"] = refused;
            if (action == review_reject)
                request["reason"] = reason;
            else
                request["lang"] =
                    lang.empty() ? cli::code_of(cli::language_of_environment()) : lang;
        } else if (recoveries->parsed()) {
            const auto action = recoveries->get_subcommands().front();
            const bool lists = action == recoveries_list;
            request["command"] = lists ? "recoveries" : "recoveries_" + action->get_name();
            if (!lists) request["note"] = note;
        } else if (erase->parsed() || subject_export->parsed()) {
            name(erase->parsed() ? "erase" : "subject_export");
            request["contacts"] = contacts;
            request["customers"] = customers;
            if (erase->parsed()) request["hold_texts"] = hold_texts;
        } else if (erasures->parsed()) {
            name("erasures");
        } else if (held->parsed()) {
            request["command"] = "held_" + held->get_subcommands().front()->get_name();
            if (!held_list->parsed()) request["record"] = record;
        } else if (backup->parsed()) {
            name("backup");
            request["to"] = file;
        } else if (views->parsed()) {
            name("views");
            request["update"] = update;
        }
        request["tenant"] = tenant;
        return administer(path, orders, request, may_create, *cli::format_named(format));
    } catch (const UsageError& error) {
        std::cerr << "rapportd: " << error.what() << '\n';
        return kUsage;
    } catch (const Error& error) {
        std::cerr << "rapportd: " << error.what() << '\n';
        if (error.code() == ErrorCode::invalid_argument) return kUsage;
        return error.code() == ErrorCode::network_failed && !serve_command->parsed() ? kNotReached
                                                                                     : kRefused;
    } catch (const std::exception& error) {
        std::cerr << "rapportd: " << error.what() << '\n';
        return kRefused;
    }
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv); }
