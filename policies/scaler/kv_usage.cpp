// KV memory in use: instances in proportion to what of it requests hold, over a target.
#include <cmath>

#include "policies/scaler/scaler.h"

namespace kvsim {
namespace {

class KvUsage final : public Scaler {
 public:
  struct Params {
    Ratio target{0.6}, tolerance{0.1};
    static constexpr Rows kFields{
        field("target", &Params::target, between(Ratio{0.01}, Ratio{1}),
              "share of the KV blocks that requests hold"),
        field("tolerance", &Params::tolerance, between(Ratio{0}, Ratio{1}),
              "nothing changes while usage over target is this near to 1")};
  };
  KvUsage(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.memory = true;
    return t;
  }
  // Instances that start have no usage yet, but count.
  std::int64_t wanted(const FleetView& v) override {
    if (v.up == 0) return v.serving();
    const double needed = static_cast<double>(v.up) * v.kv_usage / params_.target.value;
    if (std::abs(needed / static_cast<double>(v.serving()) - 1) <= params_.tolerance.value)
      return v.serving();
    return static_cast<std::int64_t>(std::ceil(needed));
  }

 private:
  Params params_;
};

const Register<KvUsage> kSelf{"kv-usage", "instances in proportion to the KV memory in use",
                              "Kubernetes HorizontalPodAutoscaler's formula on "
                              "vllm:kv_cache_usage_perc"};

}  // namespace
}  // namespace kvsim
