#include "kernels/condition.h"

#include <cmath>
#include <vector>

namespace kvsim::kernels::reference {

// Entry (i, j) of the Walsh-Hadamard matrix is -1 to the number of bits that i and j share.
void rotate(const Rotation& a) {
  const auto block = static_cast<std::size_t>(a.block);
  if (block == 0) return;
  for (std::size_t first = 0; first < a.matrix.size(); first += block) {
    const std::vector<double> x(a.matrix.begin() + static_cast<std::ptrdiff_t>(first),
                                a.matrix.begin() + static_cast<std::ptrdiff_t>(first + block));
    for (std::size_t i = 0; i < block; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < block; ++j)
        sum += (__builtin_popcountll(i & j) % 2 == 0 ? 1 : -1) * x[j];
      a.matrix[first + i] = static_cast<float>(sum / std::sqrt(static_cast<double>(block)));
    }
  }
}

void scale_channels(const ChannelScaling& a) {
  for (std::size_t i = 0; i < a.matrix.size(); ++i)
    a.matrix[i] *= a.factors[i % static_cast<std::size_t>(a.dims)];
}

}  // namespace kvsim::kernels::reference
