#pragma once
// Figures of one run, again and again, from resampled blocks of its requests.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/study/bootstrap.h"
#include "sim/study/paired.h"

namespace kvsim {

// Twice the automatic block: that one minimises the error of the variance, while intervals of
// waiting times that hang together for long still fall short with it (docs/what-if.md has figures).
inline constexpr double kBlockFactor = 2;
// Resampled from blocks of `mean` requests on average, the run has n / mean stretches that know
// little of each other.
struct BlockPlan {
  double mean = 1;
  double stretches = 1;
};
// `series`: values in order of arrival; the longest block among them, at most a fifth of the run.
BlockPlan plan_blocks(const std::vector<std::vector<double>>& series);

class RunResampler {
 public:
  struct Key {
    std::string name, statistic;
  };
  // `requests` in order of arrival; `is_used`: whether the latencies count it, one per request.
  // Parts of `by` follow the figures, under the name of the interval and the statistic "part".
  RunResampler(const Sample& requests, const std::vector<bool>& is_used, const Slo&, Latency by);
  [[nodiscard]] const std::vector<Key>& keys() const { return keys_; }
  [[nodiscard]] std::size_t size() const { return n_; }
  // One value a key; NaN where the blocks hold nothing of it.
  void draw(const std::vector<Block>&, std::vector<double>& out);

 private:
  struct Ratio {  // sums up to each request, from 0
    std::vector<double> above, below;
  };
  struct Ranked {  // ascending
    std::vector<std::uint32_t> request;
    std::vector<double> value;
  };
  template <class Above, class Below>
  void add_ratio(Key, const Sample&, Above, Below);
  void add_latency(Latency, const Sample&, const std::vector<bool>& is_used);

  std::size_t n_ = 0;
  std::vector<Key> keys_;
  std::vector<Ratio> ratios_;
  std::vector<Ranked> ranked_;
  std::vector<std::uint32_t> times_;  // drawn, per request
};

// So many that percentiles settle, fewer for very long runs.
std::size_t resamples_for(std::size_t requests);

}  // namespace kvsim
