#pragma once
// Merging of tokens within a layer and across layers. Rows are tokens [tokens][dim] of f32 of one
// kv head. A cosine with a zero vector is 0.
#include <cstdint>
#include <span>

namespace kvsim::kernels {

// out[t] = cos(x[t], x[t + 1]), t = 0 .. tokens - 2 (KVMerger arXiv:2407.08454 merges runs of
// similar neighbours). Bound: 1e-5 absolute.
struct NeighbourSimilarity {
  std::int32_t tokens = 0, dim = 0;
  std::span<const float> x;
  std::span<float> out;
};

// For each token the kept one of largest cosine, of equal ones the first: cluster = its place in
// `kept`, similarity = the cosine. Below `threshold`: cluster -1 (D2O arXiv:2406.13035 discards
// those). A kept token belongs to itself with similarity 1. Nothing kept: -1 and 0.
struct NearestKept {
  std::int32_t tokens = 0, dim = 0;
  float threshold = -1;
  std::span<const float> x;
  std::span<const std::int32_t> kept;  // ascending token indices
  std::span<std::int32_t> cluster;     // [tokens]
  std::span<float> similarity;         // [tokens]
};

// out[c] = sum of weight * x over the tokens of cluster c, over the sum of their weights; a cluster
// of no weight gives 0. Weights: 1 = mean (CaM), exp(similarity) (D2O), a Gaussian kernel
// (KVMerger), attention scores. Bound: relative L2 2e-5 per row.
struct WeightedMerge {
  std::int32_t tokens = 0, dim = 0, clusters = 0;
  std::span<const float> x;
  std::span<const std::int32_t> cluster;  // [tokens], -1 = dropped
  std::span<const float> weight;          // [tokens], >= 0
  std::span<float> out;                   // [clusters][dim]
};

// One direction for the rows a and b of neighbouring layers (MiniCache arXiv:2405.14366):
//   direction = (sin((1 - at) w) a/|a| + sin(at w) b/|b|) / sin w,  w = angle of a and b
// and what restores each: a ~ length_a * direction. Where sin w is below 1e-3, (1 - at) a/|a| + at
// b/|b| instead; the result is normalised. `angle` (0 .. pi) tells which tokens to keep apart. A
// zero row gives the other's direction and angle 0. Bound: relative L2 2e-5 for w <= pi - 0.05
// (beyond it the direction is ill-conditioned).
struct LayerMerge {
  std::int32_t tokens = 0, dim = 0;
  float at = 0.5F;  // 0 = a, 1 = b
  std::span<const float> a, b;
  std::span<float> direction;           // [tokens][dim]
  std::span<float> length_a, length_b;  // [tokens]
  std::span<float> angle;               // [tokens]
};

namespace reference {
void similarity(const NeighbourSimilarity&);
void assign(const NearestKept&);
void merge(const WeightedMerge&);
void merge_layers(const LayerMerge&);
}  // namespace reference

class Threads;
namespace cpu {
void similarity(const NeighbourSimilarity&, Threads&);
void assign(const NearestKept&, Threads&);
void merge(const WeightedMerge&, Threads&);
void merge_layers(const LayerMerge&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
