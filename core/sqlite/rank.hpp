// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

struct sqlite3;

namespace rapport::sqlite {

/// What the phrases of one search weigh; found at its first row, so that asking again for its other
/// rows costs nothing.
struct RankWeights {
    std::vector<double> rarity;  ///< of each phrase
    double average_length = 1;   ///< of a document, in words
};

/// Adds `rank_of(TABLE)` to the full-text tables of a connection: BM25 as FTS5's own (k1 1.2,
/// b 0.75), in whole thousandths, the higher the better. FTS5's visits every document that holds a
/// word before the first row; this one stops counting when a 32nd of all documents hold it (1,000
/// at least), and such words weigh the same. `weights` outlives the connection; whoever asks
/// something else empties them first. Returns SQLite's result code.
int add_rank_of(sqlite3* connection, RankWeights& weights);

}  // namespace rapport::sqlite
