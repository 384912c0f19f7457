// Requests in flight an instance: their mean over a window, divided by a target. A short window
// takes over when it asks for much more than there is, and while it does nothing is taken away.
#include <algorithm>
#include <cmath>
#include <deque>

#include "policies/scaler/scaler.h"

namespace kvsim {
namespace {

class Concurrency final : public Scaler {
 public:
  struct Params {
    double target = 32;
    Duration window = std::chrono::seconds(60);
    Ratio panic_window{0.1};
    double panic = 2;
    static constexpr Rows kFields{
        field("target", &Params::target, between(0.01, 1e6), "requests in flight an instance"),
        field("window", &Params::window,
              between<Duration>(std::chrono::seconds(1), std::chrono::hours(24)),
              "requests in flight are averaged over it"),
        field("panic_window", &Params::panic_window, between(Ratio{0.001}, Ratio{1}),
              "share of it that shows a sudden load"),
        field("panic", &Params::panic, between(1.0, 1e6),
              "this many times as many instances as there are, asked for by that share, begin a "
              "panic; it ends after a window without")};
  };
  Concurrency(Params p, const Context&) : params_(p) {}
  std::int64_t wanted(const FleetView& v) override {
    seen_.emplace_back(v.now, static_cast<double>(v.in_flight));
    while (seen_.front().first + params_.window < v.now) seen_.pop_front();
    const auto short_window = Duration{static_cast<std::int64_t>(
        static_cast<double>(to_ns(params_.window)) * params_.panic_window.value)};
    const std::int64_t stable = instances_for(v.now - params_.window);
    const std::int64_t sudden = instances_for(v.now - short_window);
    const bool panics = static_cast<double>(sudden) >=
                        params_.panic * static_cast<double>(std::max<std::int64_t>(1, v.up));
    if (panics) calm_at_ = v.now + params_.window;
    if (v.now >= calm_at_) return stable;
    return std::max({stable, sudden, v.serving()});
  }

 private:
  // That the mean of what was seen from `since` on asks for.
  [[nodiscard]] std::int64_t instances_for(Time since) const {
    double sum = 0, n = 0;
    for (const auto& [at, requests] : seen_)
      if (at >= since) sum += requests, n += 1;
    return static_cast<std::int64_t>(std::ceil(sum / n / params_.target));
  }

  Params params_;
  std::deque<std::pair<Time, double>> seen_;
  Time calm_at_{};
};

const Register<Concurrency> kSelf{"concurrency",
                                  "as many instances as requests in flight need at a target each",
                                  "Knative pod autoscaler (KPA), stable and panic window"};

}  // namespace
}  // namespace kvsim
