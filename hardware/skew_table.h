#pragma once
// How far between "all decodes at the mean context" and "all at the longest" an uneven batch costs:
//   t = t(mean) + alpha (t(max) - t(mean))
// learned from measured batches (skew.csv). alpha is piecewise constant over cells: number of
// decodes, prefill chunk, its history and the longest context to the nearest measured value (by
// ratio), mean/max in steps of 1/20. A cell's alpha is a least-squares fit of t over the rows near
// its centre, weighted by a Gaussian of the distance and by 1/t^2 (so relative errors count);
// computed on first use, then remembered.
#include <cstdint>
#include <string>
#include <vector>

namespace kvsim {

struct SkewRow {
  std::int64_t decodes = 0, chunk = 0, history = 0, kv_max = 0;
  double kv_mean = 0;
  double t_mean = 0, t_max = 0, t_skew = 0;  // any one unit of time
};
std::vector<SkewRow> read_skew(const std::string& path);  // throws InputError

class SkewTable {
 public:
  explicit SkewTable(std::vector<SkewRow>);  // none: alpha is 0 everywhere

  // Contexts: their sum and their maximum; requires decodes >= 1, sum <= decodes * max.
  double alpha(std::int64_t decodes, std::int64_t chunk, std::int64_t history, std::int64_t sum,
               std::int64_t max);
  // In how many further iterations (each adds 1 to every context) alpha stays the same: >= 1.
  // Decode-only batches.
  [[nodiscard]] std::int64_t iterations(std::int64_t decodes, std::int64_t sum,
                                        std::int64_t max) const;

 private:
  // Sorted distinct values; a value belongs to the nearest by ratio. 0 is nearest to 0 only, if it
  // is there.
  struct Axis {
    std::vector<std::int64_t> value;
    std::vector<double> position;     // log2; 0 lies one octave below the smallest positive value
    std::vector<std::int64_t> bound;  // bound[i]: first value that belongs to i + 1
    void build(std::vector<std::int64_t> values);
    [[nodiscard]] std::size_t nearest(std::int64_t v) const;
  };
  struct Point {
    double chunk, history, kv, ratio;  // positions
    double d, e, w;                    // t_max - t_mean, t_skew - t_mean, weight
    bool has_prefill;
  };
  [[nodiscard]] double fit(std::size_t n, std::size_t chunk, std::size_t history, std::size_t kv,
                           int level) const;

  Axis decodes_, chunk_, history_, kv_;
  std::vector<std::vector<Point>> points_;  // by decodes
  std::vector<double> cells_;               // NaN = not yet computed
};

}  // namespace kvsim
