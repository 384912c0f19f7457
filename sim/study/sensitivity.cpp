#include "sim/study/sensitivity.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/random.h"

namespace kvsim {
namespace {

constexpr int kResamples = 200;

// Rows of a Saltelli design without gaps: f(A), f(B), f(A with axis i of B) ..., centred, which
// takes the error of the mean out of the products.
std::vector<std::vector<double>> complete_rows(std::size_t axes, std::span<const double> outcome) {
  const std::size_t width = axes + 2;
  KVSIM_CHECK(outcome.size() % width == 0, "{} outcomes in rows of {}", outcome.size(), width);
  std::vector<std::vector<double>> rows;
  double sum = 0;
  for (std::size_t at = 0; at < outcome.size(); at += width) {
    const auto row = outcome.subspan(at, width);
    if (std::any_of(row.begin(), row.end(), [](double y) { return !std::isfinite(y); })) continue;
    rows.emplace_back(row.begin(), row.end());
    sum += row[0] + row[1];
  }
  const double mean = rows.empty() ? 0 : sum / (2 * static_cast<double>(rows.size()));
  for (std::vector<double>& row : rows)
    for (double& y : row) y -= mean;
  return rows;
}

// The indices over the rows that `pick` names (once for each time it names them).
SobolIndices estimate(std::size_t axes, const std::vector<std::vector<double>>& rows,
                      std::span<const std::size_t> pick) {
  SobolIndices out;
  out.rows = pick.size();
  out.axes.resize(axes);
  const auto n = static_cast<double>(pick.size());
  double sum = 0, squares = 0;
  for (const std::size_t r : pick) {
    const double a = rows[r][0], b = rows[r][1];
    sum += a + b;
    squares += a * a + b * b;
    for (std::size_t i = 0; i < axes; ++i) {
      const double mixed = rows[r][i + 2];
      out.axes[i].first += b * (mixed - a) / n;
      out.axes[i].total += (a - mixed) * (a - mixed) / (2 * n);
    }
  }
  const double mean = sum / (2 * n);
  out.variance = std::max(squares / (2 * n) - mean * mean, 0.0);
  for (SobolIndex& s : out.axes) {
    s.first = out.variance > 0 ? s.first / out.variance : 0;
    s.total = out.variance > 0 ? s.total / out.variance : 0;
  }
  return out;
}

double half_width(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double q) {
    return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
  };
  return (at(0.975) - at(0.025)) / 2;
}

}  // namespace

std::vector<MorrisIndex> morris_indices(std::span<const UnitPoint> points,
                                        std::span<const double> outcome) {
  KVSIM_CHECK(points.size() == outcome.size(), "{} points, {} outcomes", points.size(),
              outcome.size());
  if (points.empty()) return {};
  const std::size_t axes = points[0].size();
  std::vector<std::vector<double>> effects(axes);
  for (std::size_t i = 1; i < points.size(); ++i) {
    if (i % (axes + 1) == 0) continue;  // the next trajectory begins
    for (std::size_t axis = 0; axis < axes; ++axis) {
      const double step = points[i][axis] - points[i - 1][axis];
      const double change = outcome[i] - outcome[i - 1];
      if (step != 0 && std::isfinite(change)) effects[axis].push_back(change / step);
    }
  }
  std::vector<MorrisIndex> all(axes);
  for (std::size_t axis = 0; axis < axes; ++axis) {
    MorrisIndex& m = all[axis];
    m.effects = effects[axis].size();
    const auto n = static_cast<double>(m.effects);
    for (const double e : effects[axis]) {
      m.mu += e / n;
      m.mu_star += std::abs(e) / n;
    }
    for (const double e : effects[axis]) m.sigma += (e - m.mu) * (e - m.mu);
    m.sigma = m.effects > 1 ? std::sqrt(m.sigma / (n - 1)) : 0;
  }
  return all;
}

SobolIndices sobol_indices(std::size_t axes, std::span<const double> outcome) {
  const std::vector<std::vector<double>> rows = complete_rows(axes, outcome);
  std::vector<std::size_t> pick(rows.size());
  for (std::size_t i = 0; i < pick.size(); ++i) pick[i] = i;
  if (rows.empty()) return {std::vector<SobolIndex>(axes), 0, 0};
  SobolIndices out = estimate(axes, rows, pick);
  std::vector<std::vector<double>> first(axes), total(axes);
  Rng rng(rows.size(), "bootstrap");
  for (int resample = 0; resample < kResamples; ++resample) {
    for (std::size_t& r : pick) r = rng.below(rows.size());
    const SobolIndices one = estimate(axes, rows, pick);
    for (std::size_t i = 0; i < axes; ++i) {
      first[i].push_back(one.axes[i].first);
      total[i].push_back(one.axes[i].total);
    }
  }
  for (std::size_t i = 0; i < axes; ++i) {
    out.axes[i].first_margin = half_width(first[i]);
    out.axes[i].total_margin = half_width(total[i]);
  }
  return out;
}

}  // namespace kvsim
