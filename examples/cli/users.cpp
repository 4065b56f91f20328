// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "command.hpp"
#include "shown.hpp"

namespace rapport::cli {

std::string waiting_of(const LoggedOut& user) {
    std::string text = counted(user.unsent, "bundle");
    if (user.drafts > 0) text += ", " + counted(user.drafts, "draft");
    return text;
}

int logout(const LogoutOptions& options) {
    Store store = open_store(options.file, false);
    store.log_out();
    const LoggedOut user = store.overview().logged_out.back();
    std::cout << user.rep << " is logged out; unsent work that waits: " << waiting_of(user) << '\n';
    return kDone;
}

int login(const LoginOptions& options) {
    Store store = open_store(options.file, false);
    store.log_in(options.rep);
    const Overview overview = store.overview();
    std::cout << overview.rep << " is logged in, with "
              << counted(overview.queued + overview.sent + overview.refused + overview.review +
                             overview.waiting,
                         "bundle")
              << " of unsent work; `rapport sync` brings the rest back\n";
    return kDone;
}

}  // namespace rapport::cli
