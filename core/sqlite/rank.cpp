// SPDX-License-Identifier: Apache-2.0
#include "sqlite/rank.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

namespace rapport::sqlite {
namespace {

constexpr double kSaturation = 1.2, kLengthShare = 0.75;  // k1 and b of BM25
constexpr std::int64_t kCommonShare = 32, kCountedMin = 1000;

struct Count {
    std::int64_t documents = 0;
    std::int64_t most = 0;
};

int count_one(const Fts5ExtensionApi*, Fts5Context*, void* counting) {
    Count& count = *static_cast<Count*>(counting);
    return ++count.documents < count.most ? SQLITE_OK : SQLITE_DONE;
}

int weigh(const Fts5ExtensionApi* api, Fts5Context* query, RankWeights& weights) {
    sqlite3_int64 documents = 0, words = 0;
    if (int rc = api->xRowCount(query, &documents)) return rc;
    if (int rc = api->xColumnTotalSize(query, -1, &words)) return rc;
    const auto all = static_cast<double>(documents);
    weights.average_length = std::max(1.0, static_cast<double>(words) / std::max(1.0, all));
    std::vector<double> rarity;
    for (int phrase = 0; phrase < api->xPhraseCount(query); ++phrase) {
        Count count{0, std::max<std::int64_t>(kCountedMin, documents / kCommonShare)};
        if (int rc = api->xQueryPhrase(query, phrase, &count, count_one)) return rc;
        const auto with = static_cast<double>(count.documents);
        rarity.push_back(std::max(1e-6, std::log((all - with + 0.5) / (with + 0.5))));
    }
    weights.rarity = std::move(rarity);
    return SQLITE_OK;
}

int rank(const Fts5ExtensionApi* api, Fts5Context* query, std::int64_t& thousandths) {
    auto& weights = *static_cast<RankWeights*>(api->xUserData(query));
    if (weights.rarity.empty())
        if (int rc = weigh(api, query, weights)) return rc;
    int length = 0, hits = 0;
    if (int rc = api->xColumnSize(query, -1, &length)) return rc;
    if (int rc = api->xInstCount(query, &hits)) return rc;
    std::vector<double> times(weights.rarity.size(), 0);
    for (int i = 0; i < hits; ++i) {
        int phrase = 0, column = 0, at = 0;
        if (int rc = api->xInst(query, i, &phrase, &column, &at)) return rc;
        times[static_cast<std::size_t>(phrase)] += 1;
    }
    double sum = 0;
    const double relative = static_cast<double>(length) / weights.average_length;
    for (std::size_t i = 0; i < times.size(); ++i)
        sum += weights.rarity[i] * times[i] * (kSaturation + 1) /
               (times[i] + kSaturation * (1 - kLengthShare + kLengthShare * relative));
    thousandths = static_cast<std::int64_t>(sum * 1000);
    return SQLITE_OK;
}

void rank_of(const Fts5ExtensionApi* api, Fts5Context* query, sqlite3_context* result, int,
             sqlite3_value**) try {
    std::int64_t thousandths = 0;
    if (int rc = rank(api, query, thousandths))
        sqlite3_result_error_code(result, rc);
    else
        sqlite3_result_int64(result, thousandths);
} catch (const std::bad_alloc&) {
    sqlite3_result_error_nomem(result);
}

}  // namespace

int add_rank_of(sqlite3* connection, RankWeights& weights) {
    fts5_api* api = nullptr;
    sqlite3_stmt* select = nullptr;
    if (int rc = sqlite3_prepare_v2(connection, "SELECT fts5(?1)", -1, &select, nullptr)) return rc;
    const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> whole(select, sqlite3_finalize);
    if (int rc = sqlite3_bind_pointer(select, 1, &api, "fts5_api_ptr", nullptr)) return rc;
    if (int rc = sqlite3_step(select); rc != SQLITE_ROW || !api)
        return rc == SQLITE_ROW ? SQLITE_ERROR : rc;
    return api->xCreateFunction(api, "rank_of", &weights, rank_of, nullptr);
}

}  // namespace rapport::sqlite
