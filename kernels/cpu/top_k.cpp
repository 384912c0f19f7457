#include "kernels/scores.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/top_k.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/threads.h"

// Exact selection without sorting: numbers become integers of the same order, a sample brackets the
// k-th largest, one pass keeps what lies in the bracket, bisection by counting finds the k-th
// there, and a last pass writes the indices. All in vectors; the result never depends on the
// sample.

#ifndef KVSIM_TOP_K_SCRATCH
#define KVSIM_TOP_K_SCRATCH
namespace kvsim::kernels::cpu {
// Room for a row; vectors may write one vector past what they keep.
struct TopKScratch {
  explicit TopKScratch(std::size_t columns)
      : keys(columns + 16), inside(columns + 16), found(columns + 16) {}
  std::vector<std::int32_t> keys, inside, found;
};
}  // namespace kvsim::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Keys = hn::CappedTag<std::int32_t, 16>;

constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();

// Keys of the same order as the numbers; -0 like 0; NaN least.
void order_keys(const float* in, std::size_t n, std::int32_t* keys) {
  const Keys di;
  const hn::Rebind<float, Keys> d;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto x = hn::Add(hn::LoadU(d, in + i), hn::Zero(d));
    const auto bits = hn::BitCast(di, x);
    const auto key = hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), hn::Set(di, kMost)));
    hn::StoreU(hn::IfThenElse(hn::RebindMask(di, hn::Eq(x, x)), key, hn::Set(di, kLeast)), di,
               keys + i);
  }
  for (; i < n; ++i) {
    const auto bits = std::bit_cast<std::int32_t>(in[i] + 0.0F);
    keys[i] = std::isnan(in[i]) ? kLeast : bits ^ ((bits >> 31) & kMost);
  }
}

std::size_t count_from(const std::int32_t* keys, std::size_t n, std::int32_t least) {
  const Keys d;
  const auto limit = hn::Set(d, least);
  auto count = hn::Zero(d);  // minus one per key below
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    count = hn::Add(count, hn::VecFromMask(d, hn::Lt(hn::LoadU(d, keys + i), limit)));
  std::size_t below = static_cast<std::size_t>(-hn::GetLane(hn::SumOfLanes(d, count)));
  for (; i < n; ++i) below += keys[i] < least ? 1 : 0;
  return n - below;
}

struct Band {
  std::int32_t low = kLeast, high = kMost;
  std::size_t above = 0;           // keys > high
  std::int32_t* inside = nullptr;  // keys in low .. high
  std::size_t count = 0;
};

// Fills the band; it must hold the key of rank k (from 1), else it is widened to everything.
void fill(const std::vector<std::int32_t>& keys, std::size_t n, std::size_t k, Band& band) {
  const Keys d;
  const auto low = hn::Set(d, band.low), high = hn::Set(d, band.high);
  const std::size_t from_low = count_from(keys.data(), n, band.low);
  band.above = band.high == kMost ? 0 : count_from(keys.data(), n, band.high + 1);
  if (band.above >= k || from_low < k) band = {kLeast, kMost, 0, band.inside, 0};
  if (band.low == kLeast && band.high == kMost) {
    std::copy_n(keys.begin(), n, band.inside);
    band.count = n;
    return;
  }
  std::size_t i = 0, count = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto key = hn::LoadU(d, keys.data() + i);
    const auto is_inside = hn::Not(hn::Or(hn::Lt(key, low), hn::Gt(key, high)));
    hn::StoreU(hn::Compress(key, is_inside), d, band.inside + count);
    count += hn::CountTrue(d, is_inside);
  }
  for (; i < n; ++i)
    if (keys[i] >= band.low && keys[i] <= band.high) band.inside[count++] = keys[i];
  band.count = count;
}

// Narrows the band by the ranks of a strided sample, three deviations to each side.
void bracket(const std::vector<std::int32_t>& keys, std::size_t n, std::size_t k, Band& band) {
  constexpr std::size_t kSample = 256;
  if (n < 8 * kSample) return;
  std::array<std::int32_t, kSample> sample{};
  for (std::size_t i = 0; i < kSample; ++i) sample[i] = keys[i * n / kSample + n / kSample / 2];
  std::sort(sample.begin(), sample.end());
  const double share = static_cast<double>(k) / static_cast<double>(n);
  const double rank = share * kSample;
  const double reach = 3 * std::sqrt(rank * (1 - share)) + 2;
  if (rank - reach >= 1) band.high = sample[kSample - static_cast<std::size_t>(rank - reach)];
  if (rank + reach < kSample - 1)
    band.low = sample[kSample - 1 - static_cast<std::size_t>(rank + reach)];
}

// Largest t with at least k keys >= t.
std::int32_t kth(const Band& band, std::size_t k) {
  std::int64_t low = band.low, high = band.high;
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    const std::size_t from = count_from(band.inside, band.count, static_cast<std::int32_t>(middle));
    if (band.above + from >= k)
      low = middle;
    else
      high = middle - 1;
  }
  return static_cast<std::int32_t>(low);
}

// Ascending indices of keys > limit and of the first `ties` that equal it.
std::size_t write_indices(const std::vector<std::int32_t>& keys, std::size_t n, std::int32_t limit,
                          std::size_t ties, std::int32_t* out) {
  const Keys d;
  const auto bound = hn::Set(d, limit);
  std::size_t i = 0, count = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto key = hn::LoadU(d, keys.data() + i);
    const std::size_t equal = hn::CountTrue(d, hn::Eq(key, bound));
    if (equal > ties) break;
    ties -= equal;
    const auto is_taken = ties + equal > 0 ? hn::Not(hn::Lt(key, bound)) : hn::Gt(key, bound);
    hn::StoreU(hn::Compress(hn::Iota(d, static_cast<std::int32_t>(i)), is_taken), d, out + count);
    count += hn::CountTrue(d, is_taken);
  }
  const auto one = [&](std::size_t at) {
    if (keys[at] < limit || (keys[at] == limit && ties == 0)) return;
    ties -= keys[at] == limit ? 1 : 0;
    out[count++] = static_cast<std::int32_t>(at);
  };
  for (const std::size_t end = std::min(n, i + hn::Lanes(d)); i < end; ++i) one(i);
  for (; i + hn::Lanes(d) <= n && ties == 0; i += hn::Lanes(d)) {
    const auto is_taken = hn::Gt(hn::LoadU(d, keys.data() + i), bound);
    hn::StoreU(hn::Compress(hn::Iota(d, static_cast<std::int32_t>(i)), is_taken), d, out + count);
    count += hn::CountTrue(d, is_taken);
  }
  for (; i < n; ++i) one(i);
  return count;
}

void select(const float* in, std::size_t n, std::size_t k, std::int32_t* out,
            TopKScratch& scratch) {
  std::size_t count = std::min(n, k);
  if (n <= k) {
    std::iota(out, out + n, 0);
  } else if (k > 0) {
    order_keys(in, n, scratch.keys.data());
    Band band{kLeast, kMost, 0, scratch.inside.data(), 0};
    bracket(scratch.keys, n, k, band);
    fill(scratch.keys, n, k, band);
    const std::int32_t limit = kth(band, k);
    const std::size_t larger = limit == kMost ? 0 : count_from(scratch.keys.data(), n, limit + 1);
    count = write_indices(scratch.keys, n, limit, k - larger, scratch.found.data());
    std::copy_n(scratch.found.begin(), count, out);
  }
  std::fill(out + count, out + k, -1);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(select);

void top_k(const TopK& a, Threads& threads) {
  const auto columns = static_cast<std::size_t>(a.columns), k = static_cast<std::size_t>(a.k);
  threads.run([&](int thread) {
    TopKScratch scratch(columns);
    const auto [first, end] = threads.part(a.rows, thread);
    for (auto r = static_cast<std::size_t>(first); r < static_cast<std::size_t>(end); ++r) {
      const auto n = a.lengths.empty() ? columns : static_cast<std::size_t>(a.lengths[r]);
      HWY_DYNAMIC_DISPATCH(select)(a.in.data() + r * columns, n, k, a.out.data() + r * k, scratch);
    }
  });
}

}  // namespace kvsim::kernels::cpu
#endif
