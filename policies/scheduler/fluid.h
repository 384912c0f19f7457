#pragma once
// The fluid model of WAIT and Nested WAIT (arXiv:2504.11320), from what has come and ended so far:
// requests arrive at a steady rate, an iteration takes time linear in the KV that it reads, and in
// equilibrium as many requests enter it as arrive while it lasts.
//
//   b = d0 + d1 rate b E[L l + L^2 / 2] + rate b prefill     prompts l, outputs L
//   requests that enter segment k in an iteration = rate b P(L >= start of k)
#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/step_estimator.h"

namespace kvsim {

class FluidModel {
 public:
  // Segments of the output begin at 0 and at `limits`, ascending.
  FluidModel(std::vector<std::int64_t> limits, const StepEstimator* steps)
      : limits_(std::move(limits)), steps_(steps), reached_(limits_.size(), 0) {}

  void arrived(std::int64_t prompt, Time now) {
    if (arrivals_ == 0) first_ = now;
    ++arrivals_;
    last_ = now;
    prompts_ += static_cast<double>(prompt);
  }
  void ended(std::int64_t output) {
    const auto n = static_cast<double>(output);
    ++ended_;
    outputs_ += n;
    squares_ += n * n;
    for (std::size_t k = 0; k < limits_.size(); ++k) reached_[k] += output >= limits_[k] ? 1 : 0;
  }

  // Seconds of an iteration in equilibrium; as long as kOverload of the shortest when there is
  // none, because more comes than is served. 0 before anything is known.
  [[nodiscard]] double iteration() const {
    if (arrivals_ < 2 || ended_ == 0 || last_ == first_) return 0;
    constexpr std::int64_t kFar = 4096;
    constexpr double kOverload = 20;
    const double d0 = to_seconds(steps_->decode(1));
    const double d1 = std::max(0.0, to_seconds(steps_->decode(kFar)) - d0) / (kFar - 1);
    const double l = prompts_ / static_cast<double>(arrivals_);
    const auto ended = static_cast<double>(ended_);
    const double held = outputs_ / ended * l + squares_ / ended / 2;
    const double prefill =
        std::max(0.0, to_seconds(steps_->prefill(0, static_cast<std::int64_t>(l))) - d0);
    const double left = 1 - rate() * (d1 * held + prefill);
    return d0 / std::max(left, 1 / kOverload);
  }
  // Requests that enter the segment together, 1 to `most`.
  [[nodiscard]] std::int64_t group(std::size_t segment, std::int64_t most) const {
    if (ended_ == 0) return 1;
    const double share =
        segment == 0 ? 1 : static_cast<double>(reached_[segment - 1]) / static_cast<double>(ended_);
    const double n = std::ceil(rate() * iteration() * share - 1e-9);
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(n), 1, most);
  }

 private:
  // Requests a second.
  [[nodiscard]] double rate() const {
    return last_ > first_ ? static_cast<double>(arrivals_ - 1) / to_seconds(last_ - first_) : 0;
  }

  std::vector<std::int64_t> limits_;
  const StepEstimator* steps_;
  Time first_{}, last_{};
  std::int64_t arrivals_ = 0, ended_ = 0;
  double prompts_ = 0, outputs_ = 0, squares_ = 0;
  std::vector<std::int64_t> reached_;  // of those that ended, by limit
};

}  // namespace kvsim
