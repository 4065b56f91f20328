// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iostream>
#include <iterator>

#include "command.hpp"
#include "rapport/kinds/loop_task.hpp"
#include "shown.hpp"

namespace rapport::cli {
namespace {

/// What the office decided, in its words for the customer.
std::string words_of(const Record& subject) {
    for (const char* name : {"reply_text", "decision_text_for_customer"})
        if (subject.kind->field(name))
            if (const std::string* text = subject.value(name).text()) return *text;
    return {};
}

std::vector<Record> open_tasks(const Store& store) {
    Query query;
    query.kind = &kind_of<LoopTask>();
    query.where = {{"rep_id", Compare::equal, Value(store.overview().rep)},
                   {"state", Compare::equal, Value("open")}};
    query.descending = false;
    std::vector<Record> tasks;
    for (Page page = store.query(query);; page = store.query(query)) {
        std::move(page.records.begin(), page.records.end(), std::back_inserter(tasks));
        if (page.next.empty()) return tasks;
        query.after = page.next;
    }
}

}  // namespace

int loop(const LoopOptions& options) {
    Store store = open_store(options.file, false);
    const std::vector<Record> tasks = open_tasks(store);
    const bool people = options.format == Format::table;
    Rows rows(std::cout, options.format, {"id", "customer", "about", "words", "decided_at"},
              terminal_width(STDOUT_FILENO));
    for (const Record& record : tasks) {
        const auto task = from_record<LoopTask>(record);
        const auto customer = task.customer_id ? store.find(*task.customer_id) : std::nullopt;
        const auto subject = task.subject_id ? store.find(*task.subject_id) : std::nullopt;
        const auto at = task.created_at;
        rows.add({Cell::whole(record.id.text()), customer ? Cell(title(*customer)) : Cell(),
                  subject ? Cell(title(*subject)) : Cell(),
                  subject ? Cell(words_of(*subject)) : Cell(),
                  at ? Cell::whole(people ? local_second(*at) : at->rfc3339()) : Cell()});
    }
    rows.finish();
    std::cout.flush();

    int code = kDone;
    for (const Record& record : tasks) {
        if (!record.shown("rep_seen_at").empty()) continue;
        const Captured seen = store.edit(Id<LoopTask>(record.id))
                                  .set(&LoopTask::rep_seen_at, system_environment().now())
                                  .save();
        for (const Refusal& refusal : seen.refusals) complain(sentence_of(refusal));
        if (!seen) code = kRefused;
    }
    return code;
}

}  // namespace rapport::cli
