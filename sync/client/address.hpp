// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace rapport {

/// A server's base URL in the form it is kept in: scheme and host in lower case, no slash at the
/// end. Plain http is taken for this machine only, because bearer secrets and customer data travel
/// on it. Errors: invalid_argument for anything else than `https://HOST[:PORT][/PATH]`, or http to
/// a loopback host.
std::string server_address(std::string_view url);

/// Is the host of this http or https URL this machine: localhost, 127.0.0.0/8 or [::1]?
bool is_loopback(std::string_view url);

}  // namespace rapport
