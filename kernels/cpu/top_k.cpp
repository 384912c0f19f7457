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
// sample. The row is read twice and nothing of its size is written.

#ifndef KVSIM_TOP_K_SCRATCH
#define KVSIM_TOP_K_SCRATCH
namespace kvsim::kernels::cpu {
// Room for a row, kept by its thread between calls; vectors may write one vector past what they
// keep.
struct TopKScratch {
  void grow(std::size_t columns) {
    if (inside.size() >= columns + 16) return;
    inside.resize(columns + 16);
    found.resize(columns + 16);
  }
  std::vector<std::int32_t> inside, found;
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
hn::Vec<Keys> key_vector(const float* in) {
  const Keys di;
  const hn::Rebind<float, Keys> d;
  const auto x = hn::Add(hn::LoadU(d, in), hn::Zero(d));
  const auto bits = hn::BitCast(di, x);
  const auto key = hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), hn::Set(di, kMost)));
  return hn::IfThenElse(hn::RebindMask(di, hn::Eq(x, x)), key, hn::Set(di, kLeast));
}

std::int32_t key_of(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x + 0.0F);
  return std::isnan(x) ? kLeast : bits ^ ((bits >> 31) & kMost);
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

// Fills the band in one pass. False: the key of rank k (from 1) is not in it.
bool fill(const float* in, std::size_t n, std::size_t k, Band& band) {
  const Keys d;
  const auto low = hn::Set(d, band.low), high = hn::Set(d, band.high);
  auto above = hn::Zero(d);  // minus one per key
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto key = key_vector(in + i);
    const auto is_above = hn::Gt(key, high);
    above = hn::Add(above, hn::VecFromMask(d, is_above));
    const auto is_inside = hn::Not(hn::Or(is_above, hn::Lt(key, low)));
    hn::StoreU(hn::Compress(key, is_inside), d, band.inside + band.count);
    band.count += hn::CountTrue(d, is_inside);
  }
  band.above = static_cast<std::size_t>(-hn::GetLane(hn::SumOfLanes(d, above)));
  for (; i < n; ++i) {
    const std::int32_t key = key_of(in[i]);
    band.above += key > band.high ? 1 : 0;
    if (key >= band.low && key <= band.high) band.inside[band.count++] = key;
  }
  return band.above < k && k <= band.above + band.count;
}

// Narrows the band by the ranks of a strided sample, three deviations to each side.
void bracket(const float* in, std::size_t n, std::size_t k, Band& band) {
  constexpr std::size_t kSample = 256;
  if (n < 8 * kSample) return;
  std::array<std::int32_t, kSample> sample{};
  for (std::size_t i = 0; i < kSample; ++i)
    sample[i] = key_of(in[i * n / kSample + n / kSample / 2]);
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

// Ascending indices of the k keys that are at least `limit`, the k-th; of those that equal it the
// first.
void write_indices(const float* in, std::size_t n, std::int32_t limit, std::size_t k,
                   std::int32_t* out) {
  const Keys d;
  const auto bound = hn::Set(d, limit);
  const auto step = hn::Set(d, static_cast<std::int32_t>(hn::Lanes(d)));
  auto index = hn::Iota(d, 0);
  std::size_t i = 0, count = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d), index = hn::Add(index, step)) {
    const auto is_taken = hn::Not(hn::Lt(key_vector(in + i), bound));
    hn::StoreU(hn::Compress(index, is_taken), d, out + count);
    count += hn::CountTrue(d, is_taken);
  }
  for (; i < n; ++i)
    if (key_of(in[i]) >= limit) out[count++] = static_cast<std::int32_t>(i);
  if (count == k) return;
  const auto equals = [&](std::int32_t at) { return key_of(in[at]) == limit; };
  std::int64_t ties = static_cast<std::int64_t>(k) - static_cast<std::int64_t>(count) +
                      std::count_if(out, out + count, equals);
  std::size_t write = 0;
  for (std::size_t read = 0; read < count; ++read)
    if (!equals(out[read]) || ties-- > 0) out[write++] = out[read];
}

void select(const float* in, std::size_t n, std::size_t k, std::int32_t* out,
            TopKScratch& scratch) {
  std::size_t count = std::min(n, k);
  if (n <= k) {
    std::iota(out, out + n, 0);
  } else if (k > 0) {
    Band band{kLeast, kMost, 0, scratch.inside.data(), 0};
    bracket(in, n, k, band);
    if (!fill(in, n, k, band)) {
      band = {kLeast, kMost, 0, scratch.inside.data(), 0};
      fill(in, n, k, band);
    }
    write_indices(in, n, kth(band, k), k, scratch.found.data());
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
    static thread_local TopKScratch scratch;
    scratch.grow(columns);
    const auto [first, end] = threads.part(a.rows, thread);
    for (auto r = static_cast<std::size_t>(first); r < static_cast<std::size_t>(end); ++r) {
      const auto n = a.lengths.empty() ? columns : static_cast<std::size_t>(a.lengths[r]);
      HWY_DYNAMIC_DISPATCH(select)(a.in.data() + r * columns, n, k, a.out.data() + r * k, scratch);
    }
  });
}

}  // namespace kvsim::kernels::cpu
#endif
