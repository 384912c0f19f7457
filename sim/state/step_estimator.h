#pragma once
// What a plan would cost, without saying how that is known: the engine implements it over its cost
// model, policies that need a forecast ask it.
#include <cstdint>

#include "sim/base/time.h"

namespace kvsim {

class StepEstimator {
 public:
  virtual ~StepEstimator() = default;
  // Computing tokens [from, to) of one sequence in all layers, KV of the tokens before them being
  // there. 0 for an empty range; does not fall as the range grows at its end.
  [[nodiscard]] virtual Duration prefill(std::int64_t from, std::int64_t to) const = 0;
  // K and V of that many tokens in all layers from stored layer inputs (hidden states). 0 for none;
  // does not fall with tokens.
  [[nodiscard]] virtual Duration project(std::int64_t tokens) const = 0;
  // One more token of one sequence alone that has so many.
  [[nodiscard]] virtual Duration decode(std::int64_t context) const = 0;
};

}  // namespace kvsim
