// The instance that has most of the prompt in its prefix cache, by an index that is always right,
// unless its queue is much longer than the shortest.
#include "policies/router/prefix_rule.h"

namespace kvsim {
namespace {

class PrefixAware final : public Router {
 public:
  struct Params {
    std::int64_t imbalance = 32;
    double ratio = 1.5;
    static constexpr Rows kFields{
        field("imbalance", &Params::imbalance, between<std::int64_t>(0, 1 << 30),
              "an instance is passed over that has more requests in flight than the least loaded, "
              "by more than this many"),
        field("ratio", &Params::ratio, between(1.0, 1e6), "and by more than this factor")};
  };
  PrefixAware(Params p, const Context&) : bound_{p.imbalance, p.ratio} {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.index = Traits::Index::exact;
    return t;
  }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    return longest_prefix(instances, scores, bound_, [&](std::size_t i) { return r.hits(i); });
  }

 private:
  ImbalanceBound bound_;
};

const Register<PrefixAware> kSelf{"prefix-aware",
                                  "the longest cached prefix by an exact index, within a bound on "
                                  "imbalance",
                                  "SGLang router's cache_aware rule over the engines' own caches"};

}  // namespace
}  // namespace kvsim
