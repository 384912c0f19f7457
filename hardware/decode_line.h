#pragma once
// From a decode-only price in doubles to the integer form of DecodeLine.
#include <cmath>

#include "hardware/cost_model.h"

namespace kvsim {

// ns = base + per_context * sum + per_max * max + sum_i per_window[i] * window_sum[i]
struct RealLine {
  double base = 0, per_context = 0, per_max = 0;
  std::array<double, kMaxWindows> per_window{};
};

// Throws InputError when the price could leave 62 bits within `iterations` steps (about 270 s per iteration):
// tables or figures must be wrong.
inline DecodeLine to_integers(const RealLine& r, const StepShape& s, std::int64_t iterations) {
  constexpr double kOne = static_cast<double>(std::int64_t{1} << DecodeLine::kShift);
  constexpr std::int64_t kMostIterations = std::int64_t{1} << 20;
  DecodeLine line;
  line.iterations = std::clamp<std::int64_t>(iterations, 1, kMostIterations);
  const auto ahead = static_cast<double>(line.iterations);
  const double sum = static_cast<double>(s.decode_context_sum) + static_cast<double>(s.decodes) * ahead;
  double size = std::abs(r.base) + std::abs(r.per_context) * sum +
                std::abs(r.per_max) * (static_cast<double>(s.decode_context_max) + ahead);
  for (const double w : r.per_window) size += std::abs(w) * sum;
  if (!(size * kOne < 0x1p62))
    throw InputError("an iteration would take more than 270 s: check the cost tables, efficiencies and links");
  line.base = std::llround(r.base * kOne);
  line.per_context = std::llround(r.per_context * kOne);
  line.per_max = std::llround(r.per_max * kOne);
  for (std::size_t i = 0; i < kMaxWindows; ++i) line.per_window[i] = std::llround(r.per_window[i] * kOne);
  return line;
}

}  // namespace kvsim
