#include "sim/state/outcome.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "sim/base/check.h"

namespace kvsim {
namespace {

// Log-linear bins: 1024 per octave. Below 2048 ns a bin is one nanosecond; above, bin i = shift *
// 1024 + (ns >> shift) covers 2^shift nanoseconds whose lowest is at least 1024 * 2^shift, hence
// the relative resolution of 2^-10.
constexpr int kSubBits = 10;
constexpr std::size_t kSub = std::size_t{1} << kSubBits;

int shift_of(std::uint64_t ns) {
  return std::max(0, static_cast<int>(std::bit_width(ns)) - (kSubBits + 1));
}

std::size_t bin_of(std::int64_t ns) {
  const auto u = static_cast<std::uint64_t>(ns);
  const int shift = shift_of(u);
  return (static_cast<std::size_t>(shift) << kSubBits) + static_cast<std::size_t>(u >> shift);
}

struct Bin {
  double low = 0;     // its lowest duration
  double spread = 0;  // its highest minus its lowest
};

Bin bin_at(std::size_t index) {
  if (index < 2 * kSub) return {static_cast<double>(index), 0};
  const std::size_t shift = (index >> kSubBits) - 1;
  const std::uint64_t low = static_cast<std::uint64_t>(index - (shift << kSubBits)) << shift;
  return {static_cast<double>(low), static_cast<double>((std::uint64_t{1} << shift) - 1)};
}

}  // namespace

void KvUse::add(KvOccupancy& o, Time begin, std::span<const Time> ends,
                std::span<const std::int64_t> opened, std::int64_t block_tokens,
                std::int64_t filled) {
  if (ends.empty()) return;
  Wide used = 0, unfilled = 0;
  std::int64_t before = to_ns(begin), peak = peak_unfilled_;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const std::int64_t ns = to_ns(ends[i]) - before;
    before = to_ns(ends[i]);
    used += Wide{o.used_blocks} * ns;
    unfilled += Wide{o.unfilled_tokens} * ns;
    peak = std::max(peak, o.unfilled_tokens);
    o.used_blocks += opened[i];
    o.unfilled_tokens += opened[i] * block_tokens - filled;
  }
  const std::int64_t all = to_ns(ends.back() - begin);
  used_ += used;
  unfilled_ += unfilled;
  stranded_ += Wide{o.stranded_blocks} * all;
  ns_ += all;
  peak_unfilled_ = peak;
  peak_stranded_ = std::max(peak_stranded_, o.stranded_blocks);
}

void DurationHistogram::add(std::int64_t ns, std::int64_t weight) {
  KVSIM_CHECK(ns >= 0 && weight >= 0, "duration {} ns, weight {}", ns, weight);
  if (weight == 0) return;
  const std::size_t bin = bin_of(ns);
  if (bin >= bins_.size()) [[unlikely]]
    bins_.resize((bin / kSub + 1) * kSub);
  bins_[bin] += weight;
  if (count_ == 0) min_ = max_ = ns;
  min_ = std::min(min_, ns);
  max_ = std::max(max_, ns);
  count_ += weight;
  sum_ += static_cast<Wide>(ns) * weight;
}

// Gaps that follow each other differ little: they are counted a bin at a time.
void DurationHistogram::add_gaps(Time begin, std::span<const Time> ends, std::int64_t weight) {
  if (ends.empty() || weight <= 0) return;
  std::int64_t before = to_ns(begin), low = 0, least = to_ns(ends.front() - begin), most = least;
  std::uint64_t width = 0;  // of the bin that begins at `low`
  std::size_t bin = 0;
  std::int64_t here = 0;  // gaps in it
  const auto put = [&] {
    if (here > 0) bins_[bin] += here * weight;
    here = 0;
  };
  for (const Time end : ends) {
    const std::int64_t ns = to_ns(end) - before;
    before = to_ns(end);
    least = std::min(least, ns);
    most = std::max(most, ns);
    if (static_cast<std::uint64_t>(ns - low) >= width) {
      KVSIM_CHECK(ns >= 0, "a gap of {} ns", ns);
      put();
      bin = bin_of(ns);
      if (bin >= bins_.size()) bins_.resize((bin / kSub + 1) * kSub);
      width = std::uint64_t{1} << shift_of(static_cast<std::uint64_t>(ns));
      low = static_cast<std::int64_t>(static_cast<std::uint64_t>(ns) & ~(width - 1));
    }
    ++here;
  }
  put();
  min_ = count_ == 0 ? least : std::min(min_, least);
  max_ = count_ == 0 ? most : std::max(max_, most);
  count_ += static_cast<std::int64_t>(ends.size()) * weight;
  sum_ += static_cast<Wide>(to_ns(ends.back() - begin)) * weight;
}

void DurationHistogram::merge(const DurationHistogram& other) {
  if (other.count_ == 0) return;
  if (other.bins_.size() > bins_.size()) bins_.resize(other.bins_.size());
  for (std::size_t i = 0; i < other.bins_.size(); ++i) bins_[i] += other.bins_[i];
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  count_ += other.count_;
  sum_ += other.sum_;
}

double DurationHistogram::mean_ns() const {
  return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

double DurationHistogram::std_ns() const {
  if (count_ == 0) return 0;
  const double mean = mean_ns();
  double squares = 0;
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    if (bins_[i] == 0) continue;
    const Bin bin = bin_at(i);
    const double middle =
        std::clamp(bin.low + bin.spread / 2, static_cast<double>(min_), static_cast<double>(max_));
    squares += static_cast<double>(bins_[i]) * (middle - mean) * (middle - mean);
  }
  return std::sqrt(squares / static_cast<double>(count_));
}

// The k-th order statistic is taken to lie at (k - before + 1/2) / n of its bin; between two order
// statistics the value is interpolated as stats.h does. Ends are exact.
double DurationHistogram::quantile_ns(double q) const {
  if (count_ == 0) return 0;
  const double rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_ - 1);
  const auto low_rank = static_cast<std::int64_t>(rank);
  const std::int64_t high_rank = std::min(low_rank + 1, count_ - 1);
  double low = 0;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    const std::int64_t n = bins_[i];
    const Bin bin = bin_at(i);
    const auto value = [&](std::int64_t k) {
      if (k == 0) return static_cast<double>(min_);
      if (k == count_ - 1) return static_cast<double>(max_);
      const double v =
          bin.low + bin.spread * (static_cast<double>(k - before) + 0.5) / static_cast<double>(n);
      return std::clamp(v, static_cast<double>(min_), static_cast<double>(max_));
    };
    if (low_rank >= before && low_rank < before + n) low = value(low_rank);
    if (high_rank < before + n) {
      const double high = value(high_rank);
      return low + (rank - static_cast<double>(low_rank)) * (high - low);
    }
    before += n;
  }
  return static_cast<double>(max_);
}

}  // namespace kvsim
