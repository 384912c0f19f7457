// The instance that has most of the prompt in its prefix cache, by an index that is always right,
// unless its queue is much longer than the shortest.
#include "policies/router/router.h"

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
  PrefixAware(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.index = Traits::Index::exact;
    return t;
  }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    const std::int64_t fewest = instances[least_requests(instances, {})].in_flight;
    const double limit = params_.ratio * static_cast<double>(fewest);
    std::size_t best = kNoInstance;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      const InstanceView& v = instances[i];
      if (!v.up ||
          (v.in_flight > fewest + params_.imbalance && static_cast<double>(v.in_flight) > limit))
        continue;
      if (!scores.empty()) scores[i] = -static_cast<double>(r.hits(i));
      if (best == kNoInstance || r.hits(i) > r.hits(best) ||
          (r.hits(i) == r.hits(best) && v.in_flight < instances[best].in_flight))
        best = i;
    }
    return best;
  }

 private:
  Params params_;
};

const Register<PrefixAware> kSelf{"prefix-aware",
                                  "the longest cached prefix by an exact index, within a bound on "
                                  "imbalance",
                                  "SGLang router's cache_aware rule over the engines' own index"};

}  // namespace
}  // namespace kvsim
