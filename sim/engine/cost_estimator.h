#pragma once
// What policies ask, answered by the cost model of instances that are alike: one sequence alone.
#include <array>
#include <cmath>
#include <cstdint>

#include "hardware/cost_model.h"
#include "sim/state/step_estimator.h"

namespace kvsim {

class CostEstimator final : public StepEstimator {
 public:
  // `project_share`: the products of K and V, of all computing of a token without attention.
  CostEstimator(CostModel& cost, double project_share)
      : cost_(cost), project_share_(project_share) {}
  [[nodiscard]] Duration prefill(std::int64_t from, std::int64_t to) const override {
    if (to <= from) return Duration{0};
    Price& p =
        prices_[(static_cast<std::size_t>(from) * 31 + static_cast<std::size_t>(to)) % kPrices];
    if (p.from == from && p.to == to) return p.takes;
    const PrefillPiece piece{to - from, from, false};
    StepShape shape;
    shape.prefills = {&piece, 1};
    p = {from, to, cost_.mixed_step(shape)};
    return p.takes;
  }
  // A share of the layer's products, attention apart (so without history).
  [[nodiscard]] Duration project(std::int64_t tokens) const override {
    const double ns = project_share_ * static_cast<double>(prefill(0, tokens).count());
    return Duration{static_cast<std::int64_t>(std::ceil(ns))};
  }
  [[nodiscard]] Duration decode(std::int64_t context) const override {
    StepShape shape;
    shape.decodes = shape.padded_decodes = 1;
    shape.decode_context_sum = shape.decode_context_max = context;
    return cost_.decode_line(shape).at(shape);
  }

 private:
  struct Price {
    std::int64_t from = 0, to = 0;
    Duration takes{};
  };
  CostModel& cost_;
  double project_share_;
  // A router asks for every instance of a fleet, and most have the same of a prompt.
  static constexpr std::size_t kPrices = 256;
  mutable std::array<Price, kPrices> prices_{};
};

}  // namespace kvsim
