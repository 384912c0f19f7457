#include "policies/token/budgets/spread.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvsim::token {

namespace {

// sum over i of clamp(factor * weight, low, high)
double filled(std::span<const double> weights, double factor, double low, double high) {
  double sum = 0;
  for (const double w : weights) sum += std::clamp(factor * w, low, high);
  return sum;
}

}  // namespace

std::vector<std::int64_t> spread(std::span<const double> weights, std::int64_t total,
                                 std::int64_t low, std::int64_t high) {
  const std::size_t n = weights.size();
  const auto lo = static_cast<double>(low), hi = static_cast<double>(std::max(low, high));
  const auto count = static_cast<std::int64_t>(n);
  total = std::clamp(total, low * count, std::max(low, high) * count);
  // The factor that fills the total, by bisection: what the bounds cut off goes to the others.
  double below = 0, above = 1;
  while (filled(weights, above, lo, hi) < static_cast<double>(total) && above < 1e18) above *= 2;
  for (int i = 0; i < 200; ++i) {
    const double middle = (below + above) / 2;
    (filled(weights, middle, lo, hi) < static_cast<double>(total) ? below : above) = middle;
  }
  std::vector<std::int64_t> out(n);
  std::vector<double> rest(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double exact = std::clamp(above * weights[i], lo, hi);
    out[i] = static_cast<std::int64_t>(std::floor(exact + 1e-9));
    rest[i] = exact - static_cast<double>(out[i]);
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rest[a] > rest[b] + 1e-9; });
  std::int64_t missing = total - std::accumulate(out.begin(), out.end(), std::int64_t{0});
  for (int round = 0; round < 2 && missing > 0; ++round)
    for (std::size_t k = 0; k < n && missing > 0; ++k)
      if (out[order[k]] < std::max(low, high)) ++out[order[k]], --missing;
  return out;
}

void give_layers(std::span<const std::int64_t> tokens, std::int64_t heads,
                 std::span<HeadPlan> plans) {
  for (std::size_t i = 0; i < plans.size(); ++i)
    plans[i].tokens = tokens[i / static_cast<std::size_t>(heads)];
}

std::int64_t protected_tokens(const BudgetQuestion& q) {
  return std::min(q.tokens, q.sinks + q.recent);
}

bool fits(const BudgetQuestion& q) { return q.tokens >= q.prompt; }

double far_share(std::span<const float> attention, std::int64_t sinks, std::int64_t recent) {
  double all = 0, far = 0;
  const auto n = static_cast<std::int64_t>(attention.size());
  for (std::int64_t t = 0; t < n; ++t) {
    const double a = attention[static_cast<std::size_t>(t)];
    all += a;
    if (t >= sinks && t < n - recent) far += a;
  }
  return all > 0 ? far / all : 0;
}

}  // namespace kvsim::token
