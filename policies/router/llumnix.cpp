// Virtual usage: a request goes to the freest instance, by KV memory left per request there; and as
// they fill unevenly, live requests are moved from the least free to the freest.
#include <algorithm>

#include "policies/router/router.h"

namespace kvsim {
namespace {

class Llumnix final : public Router {
 public:
  struct Params {
    Duration every = std::chrono::milliseconds(100);
    double from_below = 1000, to_above = 3000;
    static constexpr Rows kFields{
        field("every", &Params::every,
              between<Duration>(std::chrono::milliseconds(1), std::chrono::hours(1)),
              "instances are looked at for migration this often"),
        field("from_below", &Params::from_below, between(-1e12, 1e12),
              "tokens of KV memory left per request, below which an instance gives requests away"),
        field("to_above", &Params::to_above, between(-1e12, 1e12),
              "and above which it takes them")};
  };
  Llumnix(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.every = params_.every;
    return t;
  }
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    return least(instances, scores, [&](std::size_t i) { return -freeness(instances[i]); });
  }
  // The least free with the freest, the second least with the second freest, and so on.
  void balance(std::span<const InstanceView> instances, std::vector<Migration>& out) override {
    order_.clear();
    for (std::size_t i = 0; i < instances.size(); ++i)
      if (instances[i].up) order_.push_back(i);
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      return freeness(instances[a]) < freeness(instances[b]);
    });
    for (std::size_t k = 0; 2 * k + 1 < order_.size(); ++k) {
      const std::size_t from = order_[k], to = order_[order_.size() - 1 - k];
      if (freeness(instances[from]) >= params_.from_below ||
          freeness(instances[to]) <= params_.to_above)
        return;
      out.push_back({from, to});
    }
  }

 private:
  // Tokens of waiting prompts count as used: that is what makes usage virtual.
  static double freeness(const InstanceView& v) {
    return static_cast<double>(v.kv_tokens - v.prompt_tokens) /
           static_cast<double>(std::max<std::int64_t>(1, v.in_flight));
  }

  Params params_;
  std::vector<std::size_t> order_;
};

const Register<Llumnix> kSelf{"llumnix",
                              "the freest instance; live requests move from full to free ones",
                              "Llumnix, arXiv:2406.03243"};

}  // namespace
}  // namespace kvsim
