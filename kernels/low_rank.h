#pragma once
// Low-rank keys and values: coordinates in a basis fitted beforehand (Palu arXiv:2407.21118, ASVD).
// Heads are taken in groups of neighbours: one basis per head (group of 1), per group of heads
// (Palu's G-LRD), or one for all.
#include <cstdint>
#include <span>
#include <vector>

namespace kvsim::kernels {

// Shapes: x [tokens][groups][dim], dim = heads of a group * head dim, so that x is the usual
// [tokens][heads][head dim]; bases [groups][rank][dim], rows orthonormal; y [tokens][groups][rank].
// project: y = basis x.  reconstruct: x = basis^T y. Bound: relative L2 2e-5 per row.
struct Projection {
  std::int32_t tokens = 0, groups = 1, dim = 0, rank = 0;
  std::span<const float> bases;
  std::span<const float> in;
  std::span<float> out;
};

// The `rank` right singular vectors of x [tokens][dim] with the largest singular values, strongest
// first, each with its largest component positive: the basis of least squared error. Offline,
// double. Beyond min(tokens, dim) vectors: zeros. `stride` = numbers between rows of x.
std::vector<float> fit_basis(std::span<const float> x, std::int32_t tokens, std::int32_t dim,
                             std::int32_t stride, std::int32_t rank);

namespace reference {
void project(const Projection&);
void reconstruct(const Projection&);
}  // namespace reference

class Threads;
namespace cpu {
void project(const Projection&, Threads&);
void reconstruct(const Projection&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
