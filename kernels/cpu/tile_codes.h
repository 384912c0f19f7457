#pragma once
// Attention on the codes of a quantised cache (8, 4 and 2 bits) without turning them into floats.
// Queries times the keys' scales, and weights times the values' scales, are rounded to 16 bits
// relative to their largest, and 16-bit products are summed in 32 bits: two multiply-adds a lane.
// What rounding leaves is corrected for the middle code; queries whose rounding would still show
// are worked through in two pieces of 16 bits.
#include <vector>

#include "kernels/cpu/tile.h"
#include "kernels/cpu/walk.h"

namespace kvsim::kernels::cpu {

// Formats that are read in place: the others must be staged.
bool reads_codes_in_place(const KvFormat&);

struct CodeTiles {
  std::array<const std::byte*, kGroupTiles> keys{}, key_scales{};  // f16 scale[k_dim], zero[k_dim]
  std::array<const std::byte*, kGroupTiles> values{}, value_scales{};  // f16 scale[16]
  std::array<int, kGroupTiles> first{}, last{};  // rows of values that are read
  std::ptrdiff_t value_zeros = 0;                // bytes from a tile's value scales to its zeros
  int tiles = 0;
  Element element = Element::i8;
  int k_dim = 0, v_dim = 0;
  std::uint64_t visible = 0;
};

// Per thread; `rows` fixed by open().
struct CodeScratch {
  void open(int row_count, int k_dim);
  int rows = 0;
  std::vector<float> scales, zeros;             // [k_dim]
  std::vector<std::int16_t> query, query_rest;  // [rows][k_dim]
  std::vector<float> step, step_rest, bias;     // [rows]
  std::vector<std::int16_t> weights;            // [rows][64]
  std::vector<float> weight_step;               // [rows]
  std::vector<float> zero_sum;                  // [rows]: to be added to every number of out
};

// As score() of tile.h.
void score_codes(const CodeTiles&, const float* q, float* scores, CodeScratch&, Prefetcher&);
// As accumulate() of tile.h; moves scratch.zero_sum on too.
void accumulate_codes(const CodeTiles&, const float* weights, const Running*, float* out,
                      CodeScratch&, Prefetcher&);

}  // namespace kvsim::kernels::cpu
