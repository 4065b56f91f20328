// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "model/erasure.hpp"
#include "store/core.hpp"

/// Erasure orders on the device: what they take from the file, and which it has carried out.
namespace rapport {

/// Notes the orders this file does not have, and takes what they reach from rows, confirmed values
/// beside pending ones, pending and frozen bundles, drafts, what is staged and the search index.
/// Free pages keep it until Core::scrub() and note_scrubbed(). Part of the caller's transaction.
void take_orders(Store::Core::Writing& writing, const std::vector<ErasureOrder>& orders);
/// Takes what all orders of the user reach, once more: for rows that came back, from a damaged file
/// or from their time away, and for what others left here who had not heard of the orders.
void erase_again(sqlite::Database& db);

/// Orders above a number, in their order.
std::vector<ErasureOrder> orders_after(sqlite::Database& db, std::uint64_t number,
                                       std::size_t limit);
/// The highest order that is carried out to the last free page; number 0: none.
ErasureOrder order_done(sqlite::Database& db);
/// Is there one that is not?
bool scrub_due(sqlite::Database& db);
void note_scrubbed(sqlite::Database& db);

}  // namespace rapport
