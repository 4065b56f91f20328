// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rapport/doctor.hpp"
#include "sqlite/database.hpp"

namespace rapport {

/// Reads everything; goes on after a finding, so that one damaged row does not hide the others.
Diagnosis diagnose(sqlite::Database& db);

}  // namespace rapport
