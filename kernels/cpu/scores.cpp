#include "kernels/scores.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scores.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/key_loader.inc"
#include "kernels/cpu/lanes.inc"
#include "kernels/cpu/softmax.inc"
#include "kernels/cpu/tile_reader.h"
#include "kernels/threads.h"
#include "sim/base/check.h"

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

// Scores of the tokens that a query sees, the first `seen` of `columns`, in their final form.
void finish_row(float* row, std::size_t seen, std::size_t columns, bool softmax) {
  if (softmax && seen > 0)
    map_row(row, 1 / exp_row(row, row_max(row, seen), row, seen), 0, row, seen);
  std::fill(row + seen, row + columns, softmax ? 0.0F : -std::numeric_limits<float>::infinity());
}

// Sums of combined heads over the queries first .. queries - 1.
void sum_heads(const ScoreReduction& a, std::int32_t first, int kv_head, std::size_t begin,
               std::size_t end, float* sums) {
  const auto columns = static_cast<std::size_t>(a.columns);
  const int group = a.q_heads / a.kv_heads;
  const float weight = a.heads == Combine::mean ? 1.0F / static_cast<float>(group) : 1.0F;
  std::fill(sums + begin, sums + end, 0.0F);
  const Wide d;
  for (std::int32_t i = first; i < a.queries; ++i) {
    const float* in =
        a.in.data() + (static_cast<std::size_t>(i) * static_cast<std::size_t>(a.q_heads) +
                       static_cast<std::size_t>(kv_head * group)) *
                          columns;
    std::size_t t = begin;
    for (; t + hn::Lanes(d) <= end; t += hn::Lanes(d)) {
      auto all = hn::LoadU(d, in + t);
      for (int h = 1; h < group; ++h) {
        const auto next = hn::LoadU(d, in + static_cast<std::size_t>(h) * columns + t);
        all = a.heads == Combine::mean ? hn::Add(all, next) : hn::Max(all, next);
      }
      hn::StoreU(hn::MulAdd(all, hn::Set(d, weight), hn::LoadU(d, sums + t)), d, sums + t);
    }
    for (; t < end; ++t) {
      float all = in[t];
      for (int h = 1; h < group; ++h) {
        const float next = in[static_cast<std::size_t>(h) * columns + t];
        all = a.heads == Combine::mean ? all + next : std::max(all, next);
      }
      sums[t] += all * weight;
    }
  }
}

void pool(const ScoreReduction& a, const float* sums, float* out) {
  const std::int32_t reach = (a.pool_width - 1) / 2;
  const Wide d;
  const auto lanes = static_cast<std::int32_t>(hn::Lanes(d));
  const auto ends = [&](std::int32_t first, std::int32_t end) {
    for (std::int32_t t = first; t < end; ++t) {
      const std::int32_t low = std::max(0, t - reach), high = std::min(a.columns, t + reach + 1);
      float all = sums[low];
      for (std::int32_t i = low + 1; i < high; ++i)
        all = a.pool == Combine::mean ? all + sums[i] : std::max(all, sums[i]);
      if (a.pool == Combine::mean) all /= static_cast<float>(high - low);
      out[t] = (a.accumulate ? out[t] : 0) + all;
    }
  };
  std::int32_t t = std::min(reach, a.columns);
  ends(0, t);
  const auto weight =
      hn::Set(d, a.pool == Combine::mean ? 1.0F / static_cast<float>(a.pool_width) : 1.0F);
  for (; t + reach + lanes <= a.columns; t += lanes) {
    auto all = hn::LoadU(d, sums + t - reach);
    for (std::int32_t i = 1 - reach; i <= reach; ++i) {
      const auto next = hn::LoadU(d, sums + t + i);
      all = a.pool == Combine::mean ? hn::Add(all, next) : hn::Max(all, next);
    }
    const auto old = a.accumulate ? hn::LoadU(d, out + t) : hn::Zero(d);
    hn::StoreU(hn::MulAdd(all, weight, old), d, out + t);
  }
  ends(t, a.columns);
}

// Key ranges of one head page over its first `valid` tokens.
void summarize(const KvCache& cache, std::int32_t page, int head, int valid, float* out,
               float* keys) {
  const Wide d;
  const auto k_dim = static_cast<std::size_t>(cache.format.k_dim);
  for (int tile = 0; tile * kTileTokens < valid; ++tile) {
    load_key_tile(cache, page, head, tile, keys);
    const auto tokens = static_cast<std::size_t>(std::min(kTileTokens, valid - tile * kTileTokens));
    for (std::size_t j = 0; j < k_dim; ++j) {
      float* row = keys + j * 16;
      for (std::size_t t = tokens; t < 16; ++t) row[t] = row[0];
      auto low = hn::LoadU(d, row), high = low;
      for (std::size_t i = hn::Lanes(d); i < 16; i += hn::Lanes(d)) {
        low = hn::Min(low, hn::LoadU(d, row + i));
        high = hn::Max(high, hn::LoadU(d, row + i));
      }
      const float least = hn::GetLane(hn::MinOfLanes(d, low));
      const float most = hn::GetLane(hn::MaxOfLanes(d, high));
      out[j] = tile == 0 ? least : std::min(out[j], least);
      out[k_dim + j] = tile == 0 ? most : std::max(out[k_dim + j], most);
    }
  }
}

// n is a multiple of 16.
float page_score(const float* q, const float* low, const float* high, std::size_t n) {
  const Wide d;
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, q + i);
    sum = hn::Add(sum,
                  hn::Max(hn::Mul(x, hn::LoadU(d, low + i)), hn::Mul(x, hn::LoadU(d, high + i))));
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void score_pages_of(const PageScores& a, std::size_t s, int head) {
  const auto k_dim = static_cast<std::size_t>(a.k_dim);
  const std::size_t row = s * static_cast<std::size_t>(a.q_heads) + static_cast<std::size_t>(head);
  float* out = a.out.data() + row * static_cast<std::size_t>(a.table.max_pages);
  const std::int32_t pages =
      std::min(a.table.max_pages, (a.table.lengths[s] + a.page_tokens - 1) / a.page_tokens);
  const int kv_head = head / (a.q_heads / a.kv_heads);
  for (std::int32_t p = 0; p < pages; ++p) {
    const float* low = a.summaries.data() + (static_cast<std::size_t>(a.table.page_of(s, p)) *
                                                 static_cast<std::size_t>(a.kv_heads) +
                                             static_cast<std::size_t>(kv_head)) *
                                                2 * k_dim;
    out[p] = page_score(&a.q[row * k_dim], low, low + k_dim, k_dim);
  }
  std::fill(out + pages, out + a.table.max_pages, -std::numeric_limits<float>::infinity());
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(finish_row);
HWY_EXPORT(sum_heads);
HWY_EXPORT(pool);
HWY_EXPORT(summarize);
HWY_EXPORT(score_pages_of);

namespace {

// One kv head of one sequence at a time. Kept by a thread: fresh memory costs page faults.
class KeyScorer {
 public:
  void run(const KeyScores& a, std::size_t s, int head) {
    const KvFormat& f = a.cache.format;
    const std::int32_t length = a.table.lengths[s];
    const auto group_heads = static_cast<std::size_t>(a.q_heads / f.kv_heads);
    const auto k_dim = static_cast<std::size_t>(f.k_dim);
    const std::int32_t first = a.starts[s], end = a.starts[s + 1];
    const auto rows = static_cast<std::size_t>(end - first) * group_heads;
    const auto row_of = [&](std::size_t r) {
      return (static_cast<std::size_t>(first) + r / group_heads) *
                 static_cast<std::size_t>(a.q_heads) +
             static_cast<std::size_t>(head) * group_heads + r % group_heads;
    };
    const auto out_of = [&](std::size_t r) {
      return a.out.data() + row_of(r) * static_cast<std::size_t>(a.columns);
    };
    float* q = q_.at_least(rows * k_dim);
    for (std::size_t r = 0; r < rows; ++r)
      std::transform(&a.q[row_of(r) * k_dim], &a.q[row_of(r) * k_dim] + k_dim, q + r * k_dim,
                     [&](float x) { return x * a.scale; });
    float* scores = scores_.at_least(rows * kGroupTokens);
    reader_.open(f);
    const std::int32_t tiles = (length + kTileTokens - 1) / kTileTokens;
    const auto group_at = [&](std::int32_t g) {
      return g * kGroupTiles < tiles
                 ? tile_group(
                       a.cache, a.table, s, head, tiles, [](std::int32_t i) { return i; }, g)
                 : TileGroup{};
    };
    TileGroup group = group_at(0);
    for (std::int32_t g = 0; group.tiles > 0; ++g) {
      const TileGroup next = group_at(g + 1);
      prefetcher_.clear(1);
      reader_.prefetch_keys(next, prefetcher_);
      KeyTiles keys;
      reader_.read_keys(group, keys);
      score(keys, q, static_cast<int>(rows), scores, prefetcher_);
      const std::int32_t token = g * kGroupTokens;
      const auto valid = static_cast<std::size_t>(std::min(kGroupTokens, length - token));
      for (std::size_t r = 0; r < rows; ++r)
        std::copy_n(scores + r * kGroupTokens, valid, out_of(r) + token);
      group = next;
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const auto later = end - 1 - first - static_cast<std::int32_t>(r / group_heads);
      HWY_DYNAMIC_DISPATCH(finish_row)
      (out_of(r), static_cast<std::size_t>(std::max(0, length - later)),
       static_cast<std::size_t>(a.columns), a.softmax);
    }
  }

 private:
  TileReader reader_;
  Prefetcher prefetcher_;
  Scratch q_, scores_;
};

}  // namespace

void score_keys(const KeyScores& a, Threads& threads) {
  const int heads = a.cache.format.kv_heads;
  KVSIM_CHECK(a.q_heads % heads == 0, "{} query heads of {} kv heads", a.q_heads, heads);
  threads.run([&](int thread) {
    static thread_local KeyScorer scorer;
    const auto [first, end] = threads.part((std::ssize(a.starts) - 1) * heads, thread);
    for (std::int64_t i = first; i < end; ++i)
      scorer.run(a, static_cast<std::size_t>(i / heads), static_cast<int>(i % heads));
  });
}

// Heads in turn, the columns of each split over the team; pooling needs the neighbours' sums.
void reduce_scores(const ScoreReduction& a, Threads& threads) {
  KVSIM_CHECK(a.q_heads % a.kv_heads == 0 && a.pool_width % 2 == 1, "{} heads of {}, pool of {}",
              a.q_heads, a.kv_heads, a.pool_width);
  const auto columns = static_cast<std::size_t>(a.columns);
  const std::int32_t from = a.window > 0 ? std::max(0, a.queries - a.window) : 0;
  std::vector<float> sums(columns * static_cast<std::size_t>(a.kv_heads));
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.columns, thread, 16);
    for (int h = 0; h < a.kv_heads; ++h) HWY_DYNAMIC_DISPATCH(sum_heads)
    (a, from, h, static_cast<std::size_t>(first), static_cast<std::size_t>(end),
     sums.data() + static_cast<std::size_t>(h) * columns);
  });
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.kv_heads, thread);
    for (auto h = static_cast<std::size_t>(first); h < static_cast<std::size_t>(end); ++h)
      HWY_DYNAMIC_DISPATCH(pool)(a, sums.data() + h * columns, a.out.data() + h * columns);
  });
}

// Sequence after sequence, so that of two that share a page the later one wins; heads are split.
void summarize_pages(const PageSummaries& a, Threads& threads) {
  const KvFormat& f = a.cache.format;
  const auto k_dim = static_cast<std::size_t>(f.k_dim);
  threads.run([&](int thread) {
    std::vector<float> keys(k_dim * 16);
    const auto [first, end] = threads.part(f.kv_heads, thread);
    for (std::size_t s = 0; s < a.table.lengths.size(); ++s)
      for (std::int32_t token = 0; token < a.table.lengths[s]; token += f.page_tokens)
        for (auto h = static_cast<int>(first); h < end; ++h) {
          const std::int32_t page = a.table.page_of(s, token / f.page_tokens);
          float* out = a.out.data() +
                       (static_cast<std::size_t>(page) * static_cast<std::size_t>(f.kv_heads) +
                        static_cast<std::size_t>(h)) *
                           2 * k_dim;
          HWY_DYNAMIC_DISPATCH(summarize)
          (a.cache, page, h, std::min(f.page_tokens, a.table.lengths[s] - token), out, keys.data());
        }
  });
}

void score_pages(const PageScores& a, Threads& threads) {
  KVSIM_CHECK(a.q_heads % a.kv_heads == 0 && a.k_dim % 16 == 0, "{} heads of {}, k_dim {}",
              a.q_heads, a.kv_heads, a.k_dim);
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(std::ssize(a.table.lengths) * a.q_heads, thread);
    for (std::int64_t i = first; i < end; ++i) HWY_DYNAMIC_DISPATCH(score_pages_of)
    (a, static_cast<std::size_t>(i / a.q_heads), static_cast<int>(i % a.q_heads));
  });
}

}  // namespace kvsim::kernels::cpu
#endif
