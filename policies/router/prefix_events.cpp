// The same by an index that the instances' KV events feed: it hears of blocks late, so it sends
// requests to prefixes that are gone and misses those that are new.
#include "policies/router/prefix_rule.h"

namespace kvsim {
namespace {

class PrefixEvents final : public Router {
 public:
  struct Params {
    Duration every = std::chrono::milliseconds(10), lag = std::chrono::milliseconds(50);
    std::int64_t imbalance = 32;
    double ratio = 1.5;
    static constexpr Rows kFields{
        field("every", &Params::every, between<Duration>(Duration{1000}, std::chrono::hours(1)),
              "instances send what changed in their caches this often"),
        field("lag", &Params::lag, between<Duration>(Duration{0}, std::chrono::hours(1)),
              "on its way to the index"),
        field("imbalance", &Params::imbalance, between<std::int64_t>(0, 1 << 30),
              "an instance is passed over that has more requests in flight than the least loaded, "
              "by more than this many"),
        field("ratio", &Params::ratio, between(1.0, 1e6), "and by more than this factor")};
  };
  PrefixEvents(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override { return indexed(params_.every, params_.lag); }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    return longest_prefix(instances, scores, {params_.imbalance, params_.ratio},
                          [&](std::size_t i) { return r.hits(i); });
  }

 private:
  Params params_;
};

const Register<PrefixEvents> kSelf{
    "prefix-events", "the longest cached prefix by an index that KV events feed, late",
    "vLLM KV events; llm-d and Dynamo KV indexers"};

}  // namespace
}  // namespace kvsim
