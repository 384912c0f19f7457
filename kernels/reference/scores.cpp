#include "kernels/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace kvsim::kernels::reference {

namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

double dot_key(const KvCache& cache, const BlockTable& table, std::size_t sequence,
               std::int32_t token, int head, std::span<const float> q) {
  const std::int32_t page = table.page_of(sequence, token / cache.format.page_tokens);
  const int slot = token % cache.format.page_tokens;
  double sum = 0;
  for (int d = 0; d < cache.format.k_dim; ++d)
    sum += double{q[u(d)]} * double{cache.key(page, head, slot, d)};
  return sum;
}

void softmax(std::vector<double>& row) {
  const double top = row.empty() ? 0 : *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (double& x : row) sum += x = std::exp(x - top);
  for (double& x : row) x /= sum;
}

}  // namespace

void score_keys(const KeyScores& a) {
  const auto k_dim = u(a.cache.format.k_dim);
  const int group = a.q_heads / a.cache.format.kv_heads;
  for (std::size_t s = 0; s + 1 < a.starts.size(); ++s)
    for (std::int32_t i = a.starts[s]; i < a.starts[s + 1]; ++i)
      for (int h = 0; h < a.q_heads; ++h) {
        const std::size_t row = u(i) * u(a.q_heads) + u(h);
        const std::int32_t seen = a.table.lengths[s] - (a.starts[s + 1] - 1 - i);
        std::vector<double> scores;
        for (std::int32_t t = 0; t < seen; ++t)
          scores.push_back(double{a.scale} * dot_key(a.cache, a.table, s, t, h / group,
                                                     a.q.subspan(row * k_dim, k_dim)));
        if (a.softmax) softmax(scores);
        scores.resize(u(a.columns), a.softmax ? 0 : kNothing);
        for (std::size_t t = 0; t < scores.size(); ++t)
          a.out[row * u(a.columns) + t] = static_cast<float>(scores[t]);
      }
}

void reduce_scores(const ScoreReduction& a) {
  const int group = a.q_heads / a.kv_heads;
  const std::int32_t first = a.window > 0 ? std::max(0, a.queries - a.window) : 0;
  const std::int32_t reach = (a.pool_width - 1) / 2;
  const auto combine = [](Combine how, const std::vector<double>& v) {
    return how == Combine::max
               ? *std::max_element(v.begin(), v.end())
               : std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  };
  for (int g = 0; g < a.kv_heads; ++g) {
    std::vector<double> sums(u(a.columns));
    for (std::int32_t i = first; i < a.queries; ++i)
      for (std::int32_t t = 0; t < a.columns; ++t) {
        std::vector<double> heads;
        for (int h = g * group; h < (g + 1) * group; ++h)
          heads.push_back(a.in[(u(i) * u(a.q_heads) + u(h)) * u(a.columns) + u(t)]);
        sums[u(t)] += combine(a.heads, heads);
      }
    for (std::int32_t t = 0; t < a.columns; ++t) {
      const std::vector<double> near(sums.begin() + std::max(0, t - reach),
                                     sums.begin() + std::min(a.columns, t + reach + 1));
      float& out = a.out[u(g) * u(a.columns) + u(t)];
      out = static_cast<float>((a.accumulate ? double{out} : 0.0) + combine(a.pool, near));
    }
  }
}

void top_k(const TopK& a) {
  for (std::int32_t r = 0; r < a.rows; ++r) {
    const auto row = a.in.subspan(u(r) * u(a.columns), u(a.columns));
    std::vector<std::int32_t> order(u(a.lengths.empty() ? a.columns : a.lengths[u(r)]));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t x, std::int32_t y) {
      const float vx = row[u(x)], vy = row[u(y)];
      return std::isnan(vx) ? false : std::isnan(vy) || vx > vy;
    });
    order.resize(std::min(order.size(), u(a.k)));
    std::sort(order.begin(), order.end());
    order.resize(u(a.k), -1);
    std::copy(order.begin(), order.end(), a.out.begin() + std::int64_t{r} * a.k);
  }
}

void summarize_pages(const PageSummaries& a) {
  const KvFormat& f = a.cache.format;
  for (std::size_t s = 0; s < a.table.lengths.size(); ++s)
    for (std::int32_t first = 0; first < a.table.lengths[s]; first += f.page_tokens) {
      const std::int32_t page = a.table.page_of(s, first / f.page_tokens);
      const int valid = std::min(f.page_tokens, a.table.lengths[s] - first);
      for (int h = 0; h < f.kv_heads; ++h) {
        float* out = &a.out[(u(page) * u(f.kv_heads) + u(h)) * 2 * u(f.k_dim)];
        for (int d = 0; d < f.k_dim; ++d) {
          float low = a.cache.key(page, h, 0, d), high = low;
          for (int t = 1; t < valid; ++t) {
            low = std::min(low, a.cache.key(page, h, t, d));
            high = std::max(high, a.cache.key(page, h, t, d));
          }
          out[d] = low, out[f.k_dim + d] = high;
        }
      }
    }
}

void score_pages(const PageScores& a) {
  const int group = a.q_heads / a.kv_heads;
  for (std::size_t s = 0; s < a.table.lengths.size(); ++s)
    for (int h = 0; h < a.q_heads; ++h)
      for (std::int32_t p = 0; p < a.table.max_pages; ++p) {
        const std::size_t row = s * u(a.q_heads) + u(h);
        float& out = a.out[row * u(a.table.max_pages) + u(p)];
        out = -std::numeric_limits<float>::infinity();
        if (std::int64_t{p} * a.page_tokens >= a.table.lengths[s]) continue;
        const float* low = &a.summaries[(u(a.table.page_of(s, p)) * u(a.kv_heads) + u(h / group)) *
                                        2 * u(a.k_dim)];
        double sum = 0;
        for (int d = 0; d < a.k_dim; ++d) {
          const double q = a.q[row * u(a.k_dim) + u(d)];
          sum += std::max(q * low[d], q * low[a.k_dim + d]);
        }
        out = static_cast<float>(sum);
      }
}

}  // namespace kvsim::kernels::reference
