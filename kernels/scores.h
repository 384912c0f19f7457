#pragma once
// What token policies know about cached tokens: attention scores, their reduction to one importance
// per kv head and token, the choice of the best k, and summaries of whole pages.
// Spans must outlive the call and have the sizes written beside them.
#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/attention.h"
#include "kernels/kv_cache.h"

namespace kvsim::kernels {

// out[query][h][t] = scale * q[query][h] . key[t] over the tokens t that the query sees (queries
// are the last ones of their sequence, as in PrefillAttention); with softmax, exp of it over the
// sum of exps. Columns of tokens that it does not see: 0 with softmax, -infinity without.
struct KeyScores {
  KvCache cache;
  BlockTable table;
  int q_heads = 0;
  float scale = 1;
  bool softmax = true;
  std::span<const std::int32_t> starts;  // [sequences + 1], ascending from 0
  std::span<const float> q;              // [queries][q_heads][k_dim]
  std::int32_t columns = 0;              // at least the longest length
  std::span<float> out;                  // [queries][q_heads][columns]
};

enum class Combine : std::uint8_t { mean, max };
constexpr auto enum_names(Combine) {
  return std::array{std::pair{Combine::mean, "mean"}, std::pair{Combine::max, "max"}};
}

// Importance of the tokens of one sequence from the scores of its queries:
//   s[g][t] = sum over the last `window` queries (0 = all) of the `heads` combination, over the
//             query heads of kv head g, of in[query][head][t]
//   out[g][t] = (accumulate ? out[g][t] : 0) + `pool` combination of s[g][t - r .. t + r] within
//               the row, r = (pool_width - 1) / 2
// Accumulated, window 0, pool_width 1: H2O (arXiv:2306.14048). Window of observing queries and
// pooling: SnapKV (arXiv:2404.14469). mean over the ends divides by the columns that exist.
struct ScoreReduction {
  std::int32_t queries = 0;
  int q_heads = 0, kv_heads = 0;
  std::int32_t columns = 0;
  std::int32_t window = 0;
  Combine heads = Combine::mean;
  Combine pool = Combine::max;
  int pool_width = 1;  // odd
  bool accumulate = false;
  std::span<const float> in;  // [queries][q_heads][columns]
  std::span<float> out;       // [kv_heads][columns]
};

// The k largest of the first lengths[row] numbers of each row (all columns when lengths is empty),
// as ascending indices; -1 fills rows that have fewer. Of equal numbers (-0 equals 0) the lower
// index wins; NaN is below everything.
struct TopK {
  std::int32_t rows = 0, columns = 0, k = 0;
  std::span<const std::int32_t> lengths;  // [rows] or empty
  std::span<const float> in;              // [rows][columns]
  std::span<std::int32_t> out;            // [rows][k]
};

// Smallest and largest key per page and channel over the valid tokens of each page that the table
// names (Quest, arXiv:2406.10774). Other pages keep what they hold. A page that two sequences share
// is written twice, the later sequence's count of tokens wins.
struct PageSummaries {
  KvCache cache;
  BlockTable table;
  std::span<float> out;  // [pages of the cache][kv_heads][2][k_dim], minima first
};

// Upper bound of q . key over a page: sum over channels of max(q * minimum, q * maximum).
// -infinity where a sequence has no such page.
struct PageScores {
  BlockTable table;
  int q_heads = 0, kv_heads = 0, k_dim = 0, page_tokens = 16;
  std::span<const float> summaries;  // as PageSummaries::out
  std::span<const float> q;          // [sequence][q_heads][k_dim]
  std::span<float> out;              // [sequence][q_heads][max_pages]
};

namespace reference {
void score_keys(const KeyScores&);
void reduce_scores(const ScoreReduction&);
void top_k(const TopK&);
void summarize_pages(const PageSummaries&);
void score_pages(const PageScores&);
}  // namespace reference

class Threads;
namespace cpu {
void score_keys(const KeyScores&, Threads&);
void reduce_scores(const ScoreReduction&, Threads&);
void top_k(const TopK&, Threads&);
void summarize_pages(const PageSummaries&, Threads&);
void score_pages(const PageScores&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
