#pragma once
// Attention times of one layer on one rank, measured on batches of one prefill chunk and equal
// decodes (attention.csv: prefill_chunk, kv_prefill, n_decode, kv_decode, time_us).
//
// Batches with a prefill are interpolated linearly over all four axes, decode-only batches over
// two. The two do not mix: attention kernels split long contexts over the device only when every
// query is one token, so a chunk of 16 tokens beside decodes may double their time; below the
// smallest chunk the line of the two smallest is continued.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hardware/interpolation.h"
#include "sim/base/work.h"

namespace kvsim {

// Several prefill pieces seen as one.
struct PrefillPoint {
  double tokens = 0, history = 0;
};
// Exact for one piece. Several: all tokens in one chunk, behind the history that keeps the number
// of query-key pairs, sum of p (h + p/2). Where even no history gives too many pairs (short prompts
// side by side do not look at each other), the chunk without history that has as many pairs.
PrefillPoint combine(std::span<const PrefillPiece>);

class AttentionTable {
 public:
  explicit AttentionTable(const std::string& path);  // throws InputError

  // ns of a batch with a prefill: chunk tokens > 0, its history, n decodes of equal length kv (n =
  // 0: kv is ignored).
  [[nodiscard]] double mixed(double chunk, double history, double n, double kv) const {
    return mixed_.at(chunk, n, history, n > 0 ? kv : 0.0);
  }

  // Decode-only batches of n sequences: ns as a line in kv, constant inside a cell between two
  // lengths of the table.
  struct Decode {
    std::size_t low = 0, high = 0;  // rows of the table around n
    double weight = 0;              // of the high row; beyond 1 behind the last
    bool behind = false;
  };
  [[nodiscard]] Decode decode(std::int64_t n) const;
  [[nodiscard]] LineSegment decode_line(const Decode&, std::size_t cell) const;
  // Ascending lengths; cell_of(lengths, kv) names the cell.
  [[nodiscard]] const std::vector<double>& lengths() const { return lengths_; }

 private:
  [[nodiscard]] double knot(const Decode&, std::size_t i) const;

  // chunk, decodes, history, kv: in this order every slice of a table made of several grids spans
  // its own axes.
  Nested<Nested<Nested<Curve>>> mixed_;
  std::vector<double> counts_, lengths_;     // decode-only axes
  std::vector<std::vector<double>> decode_;  // [count][length]
};

}  // namespace kvsim
