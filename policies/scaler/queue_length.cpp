// Waiting requests: more instances in proportion while each has more than `target` of them, at most
// twice as many at a time; one less when nobody waits and those left would not be full.
#include <algorithm>
#include <cmath>

#include "policies/scaler/scaler.h"

namespace kvsim {
namespace {

class QueueLength final : public Scaler {
 public:
  struct Params {
    double target = 4, keep = 16;
    static constexpr Rows kFields{
        field("target", &Params::target, between(0.01, 1e6),
              "waiting requests of an instance, above which there are too few instances"),
        field("keep", &Params::keep, between(0.0, 1e6),
              "one instance less when nobody waits and the others would have at most so many "
              "requests in flight each")};
  };
  QueueLength(Params p, const Context&) : params_(p) {}
  std::int64_t wanted(const FleetView& v) override {
    const auto n = static_cast<double>(std::max<std::int64_t>(1, v.serving()));
    const double ratio = static_cast<double>(v.waiting) / (n * params_.target);
    if (ratio > 1) return static_cast<std::int64_t>(std::ceil(n * std::min(2.0, ratio)));
    const bool spare = v.waiting == 0 && static_cast<double>(v.in_flight) <=
                                             params_.keep * static_cast<double>(v.serving() - 1);
    return v.serving() - (spare ? 1 : 0);
  }

 private:
  Params params_;
};

const Register<QueueLength> kSelf{"queue-length",
                                  "more instances while requests wait, one less when nobody does",
                                  "vLLM production-stack, KEDA on vllm:num_requests_waiting"};

}  // namespace
}  // namespace kvsim
