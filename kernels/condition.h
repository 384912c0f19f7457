#pragma once
// What is done to keys and values before a codec, so that it loses less: outliers kept apart,
// rotation, scaling of channels, codebooks fitted to the data. Matrices are [tokens][dims] of f32.
#include <cstdint>
#include <span>
#include <vector>

namespace kvsim::kernels {

// Numbers kept exactly (to f16) beside the codes; ascending index = token * dims + dim.
struct Outliers {
  std::vector<std::int32_t> index;
  std::vector<std::uint16_t> value;  // f16
};
// Takes out the `fraction` of largest magnitude of the whole matrix (rounded to nearest; of equal
// ones the lower index goes first) or everything above `threshold` in magnitude; the places left
// get the mean of what remains in their row, so that they do not stretch the group's range
// (KVQuant arXiv:2401.18079, GEAR arXiv:2403.05527).
Outliers take_outliers(std::span<float> matrix, std::int32_t dims, double fraction);
Outliers take_outliers_above(std::span<float> matrix, std::int32_t dims, float threshold);
void put_outliers(const Outliers&, std::span<float> matrix);

// Channel factors that move the difficulty from keys to queries (SmoothQuant arXiv:2211.10438):
// max|key_j|^alpha / max|query_j|^(1 - alpha); 1 where either is 0. Keys are divided, queries
// multiplied, so that their product stays.
std::vector<float> smoothing_factors(std::span<const float> keys, std::span<const float> queries,
                                     std::int32_t dims, double alpha);

// `levels` ascending centroids of least squared error (Lloyd's algorithm from quantiles, double, at
// most 100 rounds; weights empty = 1 each: KVQuant weights by Fisher information).
std::vector<float> fit_codebook(std::span<const float> values, std::span<const float> weights,
                                int levels);

// Every block of `block` (a power of two that divides the row) numbers times the Walsh-Hadamard
// matrix / sqrt(block); its own inverse (QuaRot arXiv:2404.00456). Relative error 1e-6 per row.
struct Rotation {
  std::int32_t rows = 0, dims = 0, block = 0;
  std::span<float> matrix;  // in place
};
// matrix[row][j] *= factors[j].
struct ChannelScaling {
  std::int32_t rows = 0, dims = 0;
  std::span<const float> factors;
  std::span<float> matrix;  // in place
};

namespace reference {
void rotate(const Rotation&);
void scale_channels(const ChannelScaling&);
}  // namespace reference

class Threads;
namespace cpu {
void rotate(const Rotation&, Threads&);
void scale_channels(const ChannelScaling&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
