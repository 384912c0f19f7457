// What a request would cost each instance, in KV blocks: those of prompts that must be computed
// there, it included, and those that are decoded there. Least cost, or drawn by softmax.
#include <algorithm>
#include <cmath>

#include "policies/router/prefix_rule.h"

namespace kvsim {
namespace {

class KvCost final : public Router {
 public:
  struct Params {
    double overlap_weight = 1, temperature = 0;
    Duration every{}, lag{};
    static constexpr Rows kFields{
        field("overlap_weight", &Params::overlap_weight, between(0.0, 1e6),
              "of a block to be computed, beside 1 for one that is held"),
        field("temperature", &Params::temperature, between(0.0, 1e6),
              "0: the least cost; else drawn with softmax of costs normalised to [0, 1]"),
        field("every", &Params::every, between<Duration>(Duration{0}, std::chrono::hours(1)),
              "KV events are sent this often; 0: the index is exact"),
        field("lag", &Params::lag, between<Duration>(Duration{0}, std::chrono::hours(1)),
              "of KV events on their way")};
  };
  KvCost(Params p, const Context& c) : params_(p), random_(c.random) {}
  [[nodiscard]] Traits traits() const override { return indexed(params_.every, params_.lag); }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    const auto blocks = [&](std::int64_t tokens) {
      return static_cast<double>(tokens) / static_cast<double>(r.block_tokens);
    };
    const auto cost = [&](std::size_t i) {
      const InstanceView& v = instances[i];
      return params_.overlap_weight * blocks(v.pending_tokens + r.prompt_tokens - r.hits(i)) +
             blocks(v.prompt_tokens + r.prompt_tokens - r.hits(i));
    };
    if (params_.temperature == 0) return least(instances, scores, cost);
    costs_.assign(instances.size(), 0);
    double low = 0, high = 0;
    for (std::size_t i = 0, seen = 0; i < instances.size(); ++i) {
      if (!instances[i].up) continue;
      costs_[i] = cost(i);
      if (!scores.empty()) scores[i] = costs_[i];
      low = seen == 0 ? costs_[i] : std::min(low, costs_[i]);
      high = seen++ == 0 ? costs_[i] : std::max(high, costs_[i]);
    }
    return draw(r, instances, low, high);
  }

 private:
  std::size_t draw(const RoutedRequest& r, std::span<const InstanceView> instances, double low,
                   double high) {
    double sum = 0;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      if (!instances[i].up) continue;
      const double x = high > low ? (costs_[i] - low) / (high - low) : 0;
      costs_[i] = std::exp(-x / params_.temperature);
      sum += costs_[i];
    }
    double at = random_.at(r.index).uniform() * sum;
    std::size_t last = kNoInstance;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      if (!instances[i].up) continue;
      last = i;
      at -= costs_[i];
      if (at < 0) break;
    }
    return last;
  }

  Params params_;
  Rng random_;
  std::vector<double> costs_;
};

const Register<KvCost> kSelf{"kv-cost",
                             "the least cost: blocks to compute, weighted, plus blocks held",
                             "NVIDIA Dynamo, KV-aware router"};

}  // namespace
}  // namespace kvsim
