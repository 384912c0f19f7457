#pragma once
// Arithmetic on a group of up to 64 tokens of one kv head, the unit in which the attention twins
// walk a cache: four tiles are worked on together, row by row, and meanwhile the lines of the next
// pass are fetched. One core's memory rate is limited by the lines it has in flight, and four pages
// read together keep more in flight than one. Scores are in log2 units: callers multiply queries by
// scale * log2(e).
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/element.h"

namespace kvsim::kernels::cpu {

inline constexpr int kGroupTiles = 4;
inline constexpr int kGroupTokens = 64;

// Memory to bring near while passes compute, walked once in the given order: sequential runs let
// the processor's own prefetchers help.
class Prefetcher {
 public:
  // Forgets what was planned.
  void clear() {
    parts_ = part_ = 0;
    at_ = end_ = nullptr;
  }
  void plan(const std::byte* begin, std::size_t bytes) {
    if (parts_ > 0 && planned_[last()].end == begin) {
      planned_[last()].end += bytes;
    } else {
      ++parts_;
      planned_[last()] = {begin, begin + bytes};
    }
  }
  // The next pass makes `steps` calls of step() and fetches at least 1 / `passes_left` of what is
  // left.
  void start(int steps, int passes_left) {
    if (at_ == end_) next_part();
    std::ptrdiff_t lines = (end_ - at_) / kLine;
    for (int p = part_; p < parts_; ++p) lines += lines_of(planned_[static_cast<std::size_t>(p)]);
    const std::ptrdiff_t shares = std::ptrdiff_t{steps} * passes_left;
    per_step_ = shares <= 0 ? 0 : static_cast<int>((lines * kUnit + shares - 1) / shares);
    due_ = kUnit - 1;
  }
  // A line or two each time, between the arithmetic: lines asked for in bursts wait for each other.
  void step() {
    for (due_ += per_step_; due_ >= kUnit && at_ != end_; due_ -= kUnit) {
      __builtin_prefetch(at_, 0, 2);
      at_ += kLine;
      if (at_ == end_) next_part();
    }
  }

 private:
  struct Part {
    const std::byte *begin = nullptr, *end = nullptr;
  };
  static constexpr std::ptrdiff_t kLine = 64;
  static constexpr int kUnit = 1 << 12;  // a line, in per_step_ and due_
  static constexpr std::size_t kParts = 5 * kGroupTiles;  // keys, values and their scales
  static std::ptrdiff_t lines_of(const Part& p) { return (p.end - p.begin + kLine - 1) / kLine; }
  [[nodiscard]] std::size_t last() const { return static_cast<std::size_t>(parts_ - 1); }
  void next_part() {
    if (part_ == parts_) return;
    const Part& p = planned_[static_cast<std::size_t>(part_++)];
    at_ = p.begin;
    end_ = at_ + lines_of(p) * kLine;
  }

  std::array<Part, kParts> planned_{};
  int parts_ = 0, part_ = 0, per_step_ = 0, due_ = 0;
  const std::byte *at_ = nullptr, *end_ = nullptr;  // the part being fetched
};

// Keys of a group: tiles of [k_dim][16 tokens]. `tiles` of them hold tokens; the other pointers
// repeat one of these, so that they can be read.
struct KeyTiles {
  std::array<const std::byte*, kGroupTiles> tile{};
  Element element = Element::f32;  // f32, f16 or bf16
  int k_dim = 0;
};

// Values of a group: per tile, 16 rows of v_dim; only rows first .. last - 1 are read.
struct ValueTiles {
  std::array<const std::byte*, kGroupTiles> tile{};
  std::array<int, kGroupTiles> first{}, last{};
  int tiles = 0;
  Element element = Element::f32;
  int v_dim = 0;
};

// Running softmax of a row over the groups seen so far. Weights are taken relative to a reference
// that follows the largest score only when that has moved far away: floats have room for that, and
// most groups then need neither a reduction nor a correction of earlier sums.
struct Running {
  float reference = 0;                       // -infinity before the first token
  float factor = 1;                          // what the last group multiplied earlier sums by
  alignas(64) std::array<float, 16> sums{};  // of exp2(score - reference); their total counts
  [[nodiscard]] float sum() const {
    float total = 0;
    for (const float s : sums) total += s;
    return total;
  }
};

// scores[r][t] = q[r] . key[t]; q [rows][k_dim], scores [rows][64], 64-byte aligned.
void score(const KeyTiles&, const float* q, int rows, float* scores, Prefetcher&);
// Turns scores into weights exp2(score - reference) and moves `running` on. Row r sees token t when
// bit t of visible[r * visible_step] is set; others get weight 0.
void weigh(float* scores, int rows, const std::uint64_t* visible, int visible_step,
           Running* running);
// out[r] = out[r] * factor + sum_t weights[r][t] * value[t]; out [rows][v_dim].
void accumulate(const ValueTiles&, const float* weights, int rows, const Running* running,
                float* out, Prefetcher&);

}  // namespace kvsim::kernels::cpu
