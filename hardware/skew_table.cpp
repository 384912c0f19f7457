#include "hardware/skew_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "hardware/csv_table.h"

namespace kvsim {

namespace {

constexpr int kLevels = 21;  // of mean/max: centres 0, 1/20 ... 1
// Widths of the Gaussian in octaves (ratio: in mean/max), chosen by held-out error on two measured
// profiles.
constexpr double kChunkWidth = 0.7, kHistoryWidth = 0.6, kKvWidth = 0.35, kRatioWidth = 0.05;
constexpr double kFar = 30;          // exp(-30) is nothing
constexpr double kOtherKernel = 25;  // between decode-only batches and those with a prefill
constexpr double kLow = -0.5,
                 kHigh = 3;  // of alpha; beyond is noise where mean and maximum cost the same

// 0..20: the level whose centre is nearest to sum / (n max). Rounds half up.
std::int64_t level_of(std::int64_t n, std::int64_t sum, std::int64_t max) {
  return std::clamp<std::int64_t>((40 * sum / std::max<std::int64_t>(n * max, 1) + 1) / 2, 0,
                                  kLevels - 1);
}

double square(double v) { return v * v; }

}  // namespace

std::vector<SkewRow> read_skew(const std::string& path) {
  static constexpr std::array<std::string_view, 8> kColumns{
      "n", "pc", "kp", "kv_big", "kv_mean", "t_mean_us", "t_max_us", "t_skew_us"};
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::vector<SkewRow> rows;
  read_csv(path, kColumns, [&](const CsvRow& r) {
    SkewRow s{r.whole(0, 1, 1 << 20), r.whole(1, 0, kMost),  r.whole(2, 0, kMost),
              r.whole(3, 1, kMost),   r.number(4, 0, 1e12),  r.number(5, 0, 1e9),
              r.number(6, 0, 1e9),    r.number(7, 1e-3, 1e9)};
    if (s.kv_mean > static_cast<double>(s.kv_max)) r.error("kv_mean is above kv_big");
    rows.push_back(s);
  });
  return rows;
}

void SkewTable::Axis::build(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  value = std::move(values);
  for (const std::int64_t v : value)
    position.push_back(v > 0
                           ? std::log2(static_cast<double>(v))
                           : (value.size() > 1 ? std::log2(static_cast<double>(value[1])) - 1 : 0));
  for (std::size_t i = 0; i + 1 < value.size(); ++i)
    bound.push_back(value[i] == 0
                        ? 1
                        : static_cast<std::int64_t>(std::ceil(std::sqrt(
                              static_cast<double>(value[i]) * static_cast<double>(value[i + 1])))));
}

std::size_t SkewTable::Axis::nearest(std::int64_t v) const {
  return static_cast<std::size_t>(std::upper_bound(bound.begin(), bound.end(), v) - bound.begin());
}

SkewTable::SkewTable(std::vector<SkewRow> rows) {
  if (rows.empty()) return;
  const auto axis = [&](Axis& a, std::int64_t SkewRow::*member) {
    std::vector<std::int64_t> v;
    for (const SkewRow& r : rows) v.push_back(r.*member);
    a.build(std::move(v));
  };
  axis(decodes_, &SkewRow::decodes);
  axis(chunk_, &SkewRow::chunk);
  axis(history_, &SkewRow::history);
  axis(kv_, &SkewRow::kv_max);
  points_.resize(decodes_.value.size());
  for (const SkewRow& r : rows) {
    points_[decodes_.nearest(r.decodes)].push_back(
        {chunk_.position[chunk_.nearest(r.chunk)], history_.position[history_.nearest(r.history)],
         kv_.position[kv_.nearest(r.kv_max)], r.kv_mean / static_cast<double>(r.kv_max),
         r.t_max - r.t_mean, r.t_skew - r.t_mean, 1 / square(r.t_skew), r.chunk > 0});
  }
  double cells = kLevels;  // as a double: a hostile table's product may overflow
  for (const Axis* a : {&decodes_, &chunk_, &history_, &kv_})
    cells *= static_cast<double>(a->value.size());
  if (cells > 2e7)
    throw InputError("the skew table has too many different values to be a grid",
                     "expected a few values in each of n, pc, kp and kv_big");
  cells_.assign(
      points_.size() * chunk_.value.size() * history_.value.size() * kv_.value.size() * kLevels,
      std::numeric_limits<double>::quiet_NaN());
}

double SkewTable::fit(std::size_t n, std::size_t chunk, std::size_t history, std::size_t kv,
                      int level) const {
  const std::vector<Point>& points = points_[n];
  const double ratio = level / double{kLevels - 1};
  const auto distance = [&](const Point& p) {
    return square((p.chunk - chunk_.position[chunk]) / kChunkWidth) +
           square((p.history - history_.position[history]) / kHistoryWidth) +
           square((p.kv - kv_.position[kv]) / kKvWidth) + square((p.ratio - ratio) / kRatioWidth) +
           (p.has_prefill == (chunk_.value[chunk] > 0) ? 0 : kOtherKernel);
  };
  double nearest = std::numeric_limits<double>::infinity();
  for (const Point& p : points) nearest = std::min(nearest, distance(p));
  double de = 0, dd = 0;
  for (const Point& p : points) {
    const double far = distance(p) - nearest;
    if (far > kFar) continue;
    const double w = std::exp(-far) * p.w;
    de += w * p.d * p.e;
    dd += w * p.d * p.d;
  }
  return dd > 0 ? std::clamp(de / dd, kLow, kHigh) : 0;
}

double SkewTable::alpha(std::int64_t decodes, std::int64_t chunk, std::int64_t history,
                        std::int64_t sum, std::int64_t max) {
  if (cells_.empty() || decodes < 1) return 0;
  const std::size_t n = decodes_.nearest(decodes), c = chunk_.nearest(chunk),
                    h = history_.nearest(history), k = kv_.nearest(max);
  const auto level = static_cast<std::size_t>(level_of(decodes, sum, max));
  double& cell =
      cells_[(((n * chunk_.value.size() + c) * history_.value.size() + h) * kv_.value.size() + k) *
                 kLevels +
             level];
  if (std::isnan(cell)) cell = fit(n, c, h, k, static_cast<int>(level));
  return cell;
}

std::int64_t SkewTable::iterations(std::int64_t decodes, std::int64_t sum, std::int64_t max) const {
  std::int64_t most = std::int64_t{1} << 40;
  if (cells_.empty() || decodes < 1) return most;
  const std::size_t k = kv_.nearest(max);
  if (k < kv_.bound.size()) most = kv_.bound[k] - max;
  // mean/max = (s + k n) / (n (m + k)) passes (2 b + 1)/40 at k = ((2b+1) n m - 40 s) / (n (39 -
  // 2b)).
  const std::int64_t edge = 2 * level_of(decodes, sum, max) + 1;
  if (edge < 40) {
    const std::int64_t over = edge * decodes * max - 40 * sum, per = decodes * (40 - edge);
    most = std::min(most, (over + per - 1) / per);
  }
  return std::max<std::int64_t>(most, 1);
}

}  // namespace kvsim
