// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/messages.hpp"

/// A message's archive with what is alike laid side by side, so that it compresses better: all
/// lengths of one field, all its texts, all the times, as steps. The archive comes back byte for
/// byte, and with it the frozen bundles in it. Layout in sync/PROTOCOL.md.
namespace rapport::protocol {

/// Nothing if the archive is not of that form, or gets no shorter.
std::optional<std::string> put_apart(std::string_view archive, Contents contents);
/// The same of an archive that is not needed afterwards: it is emptied before the columns are
/// joined, unless nothing is returned.
std::optional<std::string> take_apart(std::string& archive, Contents contents);
/// `size` is that of the archive; nothing longer is ever made. Throws Error(protocol_violated).
std::string put_together(std::string_view columns, std::size_t size, Contents contents);

}  // namespace rapport::protocol
