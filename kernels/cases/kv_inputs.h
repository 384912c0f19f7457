#pragma once
// Random numbers and paged caches for the operations: pages, tables and the memory they lie in.
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/arena.h"
#include "kernels/kv_cache.h"
#include "sim/base/random.h"

namespace kvsim::kernels {

// Normal numbers; what follows the first 262,147 repeats them (a prime: rows stay different),
// because drawing a large matrix takes longer than timing it.
void draw_normals(Rng&, std::span<float> out, double deviation = 1);

struct KvInputsShape {
  KvFormat format;
  std::vector<std::int32_t> lengths;
  bool is_shuffled = false;             // pages of all copies mixed
  std::int32_t prefix_tokens = 0;       // that all sequences share (same pages)
  double key_size = 1, value_size = 1;  // standard deviations
  std::int64_t footprint = 0;  // bytes that all copies fill together; 0 = one copy, for checks
};

class KvInputs {
 public:
  // Unused slots are filled with NaN (codes: 255). For checks all numbers are independent; to fill
  // a footprint head pages repeat a few drawn ones, because drawing a gigabyte takes minutes.
  KvInputs(KvInputsShape, const Rng&);

  [[nodiscard]] std::int64_t copies() const { return copies_; }
  [[nodiscard]] KvCache cache() const { return {shape_.format, pages_.bytes()}; }
  [[nodiscard]] BlockTable table(std::int64_t copy) const;
  [[nodiscard]] const KvInputsShape& shape() const { return shape_; }
  // A query whose score with a stored key of copy 0 is `score` (before the scale).
  void aim(std::span<float> q, std::size_t sequence, int kv_head, std::int32_t token,
           double score) const;

 private:
  void place_pages(const Rng&);
  void fill(const Rng&);
  // `tokens` valid ones from the start.
  void draw_head_page(std::byte* page, int head, int tokens, Rng) const;

  KvInputsShape shape_;
  std::int64_t copies_ = 1;
  std::int32_t max_pages_ = 1;
  std::vector<std::int32_t> table_;  // [copy][sequence][max_pages]
  std::vector<int> used_;            // [page] tokens in it
  Arena pages_;
};

// Relative L2 of the worst of consecutive vectors of `size` numbers; infinity when a number is not
// finite where the reference is, 0 / 0 counts as 0.
double worst_relative_l2(std::span<const float> got, std::span<const float> want, std::size_t size);

}  // namespace kvsim::kernels
