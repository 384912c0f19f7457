#include "sim/study/bootstrap_run.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace kvsim {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::array kRanks{0.5, 0.9, 0.99};
constexpr std::array kRankNames{"median", "p90", "p99"};

double sum_of(const std::vector<double>& up_to, const std::vector<Block>& blocks, std::size_t n) {
  double sum = 0;
  for (const Block& b : blocks) {
    const std::size_t end = b.start + b.length;
    sum += end <= n ? up_to[end] - up_to[b.start] : up_to[n] - up_to[b.start] + up_to[end - n];
  }
  return sum;
}

}  // namespace

BlockPlan plan_blocks(const std::vector<std::vector<double>>& series) {
  BlockPlan plan;
  for (const std::vector<double>& s : series) {
    const auto n = static_cast<double>(s.size());
    const double length = mean_block_length(s);
    if (length > 1) plan.mean = std::max(plan.mean, std::min(kBlockFactor * length, n / 5));
    plan.stretches = std::max(plan.stretches, n);
  }
  plan.mean = std::max(plan.mean, 1.0);
  plan.stretches /= plan.mean;
  return plan;
}

template <class Above, class Below>
void RunResampler::add_ratio(Key key, const Sample& requests, Above above, Below below) {
  Ratio r;
  r.above.assign(n_ + 1, 0);
  r.below.assign(n_ + 1, 0);
  for (std::size_t i = 0; i < n_; ++i) {
    r.above[i + 1] = r.above[i] + above(i, *requests[i]);
    r.below[i + 1] = r.below[i] + below(i, *requests[i]);
  }
  if (!(r.below[n_] > 0)) return;
  keys_.push_back(std::move(key));
  ratios_.push_back(std::move(r));
}

void RunResampler::add_latency(Latency latency, const Sample& requests,
                               const std::vector<bool>& is_used) {
  const auto counts = [&](std::size_t i, const RequestOutcome& r) {
    return is_used[i] && latency_ms(r, latency) ? 1.0 : 0.0;
  };
  add_ratio(
      {latency_metric(latency), "mean"}, requests,
      [&](std::size_t i, const RequestOutcome& r) {
        return is_used[i] ? latency_ms(r, latency).value_or(0) : 0.0;
      },
      counts);
  Ranked ranked;
  for (std::size_t i = 0; i < n_; ++i)
    if (counts(i, *requests[i]) > 0) ranked.request.push_back(static_cast<std::uint32_t>(i));
  std::ranges::stable_sort(ranked.request, {},
                           [&](std::uint32_t i) { return *latency_ms(*requests[i], latency); });
  for (const std::uint32_t i : ranked.request)
    ranked.value.push_back(*latency_ms(*requests[i], latency));
  ranked_.push_back(std::move(ranked));
}

RunResampler::RunResampler(const Sample& requests, const std::vector<bool>& is_used, const Slo& slo,
                           Latency by)
    : n_(requests.size()) {
  const auto one = [](std::size_t, const RequestOutcome&) { return 1.0; };
  for (const auto& [latency, name] : enum_names(Latency{})) add_latency(latency, requests, is_used);
  add_ratio(
      {"slo_attainment", "value"}, requests,
      [&](std::size_t, const RequestOutcome& r) { return meets(r, slo) ? 1.0 : 0.0; }, one);
  add_ratio(
      {"prefix_hit_rate", "value"}, requests,
      [](std::size_t, const RequestOutcome& r) { return static_cast<double>(r.hit_tokens); },
      [](std::size_t, const RequestOutcome& r) { return static_cast<double>(r.queried_tokens); });
  for (const auto& [kind, name] : enum_names(Interval{})) {
    const auto k = static_cast<std::size_t>(kind);
    const auto part = [&](std::size_t i, const RequestOutcome& r) {
      return is_used[i] && latency_ms(r, by) ? latency_parts_ms(r, by)[k] : 0.0;
    };
    add_ratio({name, "part"}, requests, part, [&](std::size_t i, const RequestOutcome& r) {
      return is_used[i] && latency_ms(r, by) ? 1.0 : 0.0;
    });
  }
  for (const auto& [latency, name] : enum_names(Latency{}))
    for (const char* statistic : kRankNames) keys_.push_back({latency_metric(latency), statistic});
  times_.resize(n_);
}

void RunResampler::draw(const std::vector<Block>& blocks, std::vector<double>& out) {
  out.clear();
  for (const Ratio& r : ratios_) {
    const double below = sum_of(r.below, blocks, n_);
    out.push_back(below > 0 ? sum_of(r.above, blocks, n_) / below : kNone);
  }
  std::ranges::fill(times_, 0U);
  for (const Block& b : blocks) {
    const std::size_t end = b.start + b.length, tail = std::min(end, n_);
    for (std::size_t i = b.start; i < tail; ++i) ++times_[i];
    for (std::size_t i = n_; i < end; ++i) ++times_[i - n_];
  }
  for (const Ranked& r : ranked_) {
    std::uint64_t all = 0;
    for (const std::uint32_t i : r.request) all += times_[i];
    std::size_t at = 0;
    std::uint64_t passed = 0;
    // The value at position `rank` from 0 of the resample; ranks must not fall.
    const auto value_at = [&](std::uint64_t rank) {
      while (passed + times_[r.request[at]] <= rank) passed += times_[r.request[at++]];
      return r.value[at];
    };
    for (const double q : kRanks) {
      if (all == 0) {
        out.push_back(kNone);
        continue;
      }
      const double rank = q * static_cast<double>(all - 1);
      const auto low = static_cast<std::uint64_t>(rank);
      const double first = value_at(low);
      const std::size_t kept_at = at;  // the next quantile may begin with the same value
      const std::uint64_t kept = passed;
      const double next = low + 1 < all ? value_at(low + 1) : first;
      at = kept_at, passed = kept;
      out.push_back(first + (rank - static_cast<double>(low)) * (next - first));
    }
  }
}

std::size_t resamples_for(std::size_t requests) {
  return std::clamp<std::size_t>(50'000'000 / std::max<std::size_t>(requests, 1), 200, 2000);
}

}  // namespace kvsim
