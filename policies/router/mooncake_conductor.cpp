// Mooncake's conductor (its algorithm 1): the instance with the least estimated TTFT. One that has
// far less of the prompt than the best may have the best's prefix copied to it; so prefixes that
// are asked for more than their holders can serve spread by themselves.
#include <algorithm>

#include "policies/router/router.h"

namespace kvsim {
namespace {

class MooncakeConductor final : public Router {
 public:
  struct Params {
    double threshold = 4;
    static constexpr Rows kFields{
        field("threshold", &Params::threshold, between(1.0, 1e6),
              "the best prefix is copied to an instance that has less than one of so many parts of "
              "it")};
  };
  MooncakeConductor(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.index = Traits::Index::exact;
    t.estimates = true;
    t.copies = true;
    return t;
  }
  [[nodiscard]] std::size_t copy_from() const override { return source_; }

  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    std::size_t holder = 0;
    for (std::size_t i = 0; i < instances.size(); ++i)
      if (instances[i].up && (!instances[holder].up || r.hits(i) > r.hits(holder))) holder = i;
    const std::int64_t best = r.hits(holder);
    const std::size_t chosen = least(instances, scores, [&](std::size_t i) {
      const Duration here = r.prefill(i, copies(r, instances[i], i, best) ? best : r.hits(i));
      return to_ns(instances[i].pending_work + here + copy_time(r, instances[i], i, best));
    });
    source_ = copies(r, instances[chosen], chosen, best) ? holder : kNoInstance;
    return chosen;
  }

 private:
  [[nodiscard]] bool copies(const RoutedRequest& r, const InstanceView& v, std::size_t i,
                            std::int64_t best) const {
    return v.copy_bytes_per_s > 0 &&
           static_cast<double>(best) > params_.threshold * static_cast<double>(r.hits(i));
  }
  [[nodiscard]] Duration copy_time(const RoutedRequest& r, const InstanceView& v, std::size_t i,
                                   std::int64_t best) const {
    if (!copies(r, v, i, best)) return Duration{0};
    const auto bytes = static_cast<double>((best - r.hits(i)) * v.kv_token_bytes);
    return Duration{static_cast<std::int64_t>(bytes / v.copy_bytes_per_s * 1e9)};
  }

  Params params_;
  std::size_t source_ = kNoInstance;
};

const Register<MooncakeConductor> kSelf{
    "mooncake-conductor", "the least estimated TTFT; hot prefixes are copied to other instances",
    "Mooncake, arXiv:2407.00079, algorithm 1"};

}  // namespace
}  // namespace kvsim
