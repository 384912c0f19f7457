// A weighted sum of scorers in [0, 1]: share of the prompt cached, emptiness of the queue, free KV
// memory.
#include <algorithm>

#include "policies/router/prefix_rule.h"

namespace kvsim {
namespace {

class WeightedScores final : public Router {
 public:
  struct Params {
    double prefix = 3, queue = 2, memory = 2;
    Duration every{}, lag{};
    static constexpr Rows kFields{
        field("prefix", &Params::prefix, between(0.0, 1e6), "weight of the share that is cached"),
        field("queue", &Params::queue, between(0.0, 1e6),
              "weight of the queue: 1 where the fewest requests are in flight, 0 where the most"),
        field("memory", &Params::memory, between(0.0, 1e6),
              "weight of the KV memory that prompts in flight leave free"),
        field("every", &Params::every, between<Duration>(Duration{0}, std::chrono::hours(1)),
              "KV events are sent this often; 0: the index is exact"),
        field("lag", &Params::lag, between<Duration>(Duration{0}, std::chrono::hours(1)),
              "of KV events on their way")};
  };
  WeightedScores(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override { return indexed(params_.every, params_.lag); }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    std::int64_t most = 0;
    const std::int64_t fewest = instances[least_requests(instances, {})].in_flight;
    for (const InstanceView& v : instances) most = std::max(most, v.up ? v.in_flight : 0);
    return least(instances, scores, [&](std::size_t i) {
      const InstanceView& v = instances[i];
      const double prefix = static_cast<double>(r.hits(i)) / static_cast<double>(r.prompt_tokens);
      const double queue = most == fewest ? 1
                                          : static_cast<double>(most - v.in_flight) /
                                                static_cast<double>(most - fewest);
      const double memory = std::max(
          0.0, 1 - static_cast<double>(v.prompt_tokens) / static_cast<double>(v.kv_tokens));
      return -(params_.prefix * prefix + params_.queue * queue + params_.memory * memory);
    });
  }

 private:
  Params params_;
};

const Register<WeightedScores> kSelf{"weighted-scores",
                                     "a weighted sum of cached share, queue and free memory",
                                     "llm-d inference scheduler, scorers of the endpoint picker"};

}  // namespace
}  // namespace kvsim
