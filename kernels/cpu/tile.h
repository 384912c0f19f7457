#pragma once
// Arithmetic on a group of up to 64 tokens of one kv head, the unit in which the attention twins
// walk a cache: four tiles are worked on together, row by row, and meanwhile the lines of the next
// pass are fetched. One core's memory rate is limited by the lines it has in flight, and four pages
// read together keep more in flight than one. weigh() takes scores in log2 units: its callers
// multiply queries by scale * log2(e).
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/element.h"

namespace kvsim::kernels::cpu {

inline constexpr int kGroupTiles = 4;
inline constexpr int kGroupTokens = 64;

// Memory to bring near while passes compute. The processor's own prefetchers follow a stream per
// page of 4 KiB, and one stream alone does not keep enough lines in flight: long runs and scattered
// pieces are fetched side by side, at most four at a time.
class Prefetcher {
 public:
  using Lanes = std::array<const std::byte*, 4>;

  // Forgets what was planned; what is planned now is for so many passes.
  void clear(int passes) { rounds_ = round_ = 0, at_ = end_ = 0, passes_left_ = passes; }
  // `bytes` from each of four places.
  void plan(const Lanes& from, std::size_t bytes) { add(from, kLine, bytes); }
  void plan(const std::byte* begin, std::size_t bytes) {
    const std::size_t streams = bytes >= 4 * kPage ? 4 : bytes >= 2 * kPage ? 2 : 1;
    const std::size_t length = (bytes + streams - 1) / streams;
    Lanes from{};
    for (std::size_t i = 0; i < from.size(); ++i)
      from[i] = begin + i % streams * length + i / streams * kLine;
    add(from, from.size() / streams * kLine, length);
  }
  // The next pass makes `steps` calls of step() and fetches its share of what is left.
  void start(int steps) {
    if (at_ == end_) next_round();
    std::size_t bursts = (end_ - at_) / stride_;
    for (std::size_t r = round_; r < rounds_; ++r) bursts += planned_[r].end / planned_[r].stride;
    const std::int64_t due = static_cast<std::int64_t>(bursts) * kUnit;
    const std::int64_t shares = std::int64_t{steps} * std::max(1, passes_left_--);
    per_step_ = shares <= 0 ? 0 : static_cast<int>((due + shares - 1) / shares);
    due_ = kUnit - 1;
  }
  // Between the arithmetic, a burst of four lines now and then: few instructions for each, as they
  // take turns with multiply-adds that fill the core. Inline, all of it: a call would cost the loop
  // its registers.
  [[gnu::always_inline]] void step() {
    for (due_ += per_step_; due_ >= kUnit && at_ != end_; due_ -= kUnit) {
      __builtin_prefetch(from_[0] + at_, 0, 3);
      __builtin_prefetch(from_[1] + at_, 0, 3);
      __builtin_prefetch(from_[2] + at_, 0, 3);
      __builtin_prefetch(from_[3] + at_, 0, 3);
      at_ += stride_;
      if (at_ == end_) next_round();
    }
  }

 private:
  // Lines from[i], from[i] + stride .. from[i] + end - stride.
  struct Round {
    Lanes from{};
    std::size_t stride = 0, end = 0;
  };
  static constexpr std::size_t kLine = 64, kPage = 4096;
  static constexpr int kUnit = 1 << 12;  // a burst, in per_step_ and due_
  // Keys, their scales tile by tile, values, their scales and zeros.
  static constexpr std::size_t kRounds = 4 + kGroupTiles;

  void add(const Lanes& from, std::size_t stride, std::size_t bytes) {
    planned_[rounds_++] = {from, stride, (bytes + stride - 1) / stride * stride};
  }
  [[gnu::always_inline]] void next_round() {
    if (round_ == rounds_) return;
    const Round& next = planned_[round_++];
    from_ = next.from;
    stride_ = next.stride;
    end_ = next.end;
    at_ = 0;
  }

  std::array<Round, kRounds> planned_{};
  std::size_t rounds_ = 0, round_ = 0;
  int passes_left_ = 0, per_step_ = 0, due_ = 0;
  Lanes from_{};  // the round being fetched
  std::size_t at_ = 0, end_ = 0, stride_ = kLine;
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
