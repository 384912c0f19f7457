#pragma once
// From a decode-only price in doubles to the integer form of DecodeLine.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hardware/cost_model.h"

namespace kvsim {

// ns = base + per_context * sum + per_max * max + sum_i per_window[i] * window_sum[i]
struct RealLine {
  double base = 0, per_context = 0, per_max = 0;
  std::array<double, kMaxWindows> per_window{};
};

// Ends the cell early where the price could leave 62 bits (270 s at the usual shift); throws
// InputError when it already has: tables or figures must be wrong.
inline DecodeLine to_integers(const RealLine& r, const StepShape& s, std::int64_t iterations,
                              int shift = DecodeLine::kShift) {
  const auto one = static_cast<double>(std::int64_t{1} << shift);
  constexpr double kMostIterations = 1 << 20;
  const auto n = static_cast<double>(s.decodes), sum = static_cast<double>(s.decode_context_sum);
  double slope = std::abs(r.per_context);
  for (const double w : r.per_window) slope += std::abs(w);
  const double size = std::abs(r.base) + slope * (sum + n) +
                      std::abs(r.per_max) * (static_cast<double>(s.decode_context_max) + 1);
  const double room = 0x1p62 / one - size, growth = slope * n + std::abs(r.per_max);
  if (!(room > 0))
    throw InputError(
        fmt::format("an iteration would take more than {:.0f} s: check the cost tables, "
                    "efficiencies and links",
                    std::floor(0x1p62 / one / 1e10) * 10));
  DecodeLine line;
  line.shift = shift;
  const double most =
      growth * kMostIterations < room ? kMostIterations : std::max(room / growth, 1.0);
  line.iterations = std::clamp<std::int64_t>(iterations, 1, static_cast<std::int64_t>(most));
  line.base = std::llround(r.base * one);
  line.per_context = std::llround(r.per_context * one);
  line.per_max = std::llround(r.per_max * one);
  for (std::size_t i = 0; i < kMaxWindows; ++i)
    line.per_window[i] = std::llround(r.per_window[i] * one);
  return line;
}

// A piece of one token behind others is a decode in all but name (a request that takes over what
// another instance has computed): it becomes one. Gives the pieces that are left; the shape then
// points to nothing.
inline std::vector<PrefillPiece> without_decodes(StepShape& s) {
  std::vector<PrefillPiece> left;
  for (const PrefillPiece& p : s.prefills) {
    if (p.tokens > 1 || p.history == 0) {
      left.push_back(p);
      continue;
    }
    ++s.decodes;
    s.decode_context_sum += p.history + 1;
    s.decode_context_max = std::max(s.decode_context_max, p.history + 1);
  }
  s.padded_decodes = std::max(s.padded_decodes, s.decodes);
  s.prefills = {};
  return left;
}

}  // namespace kvsim
