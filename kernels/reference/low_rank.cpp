#include "kernels/low_rank.h"

namespace kvsim::kernels::reference {

namespace {
std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }
}  // namespace

void project(const Projection& a) {
  for (std::size_t row = 0; row < u(a.tokens) * u(a.groups); ++row)
    for (std::size_t r = 0; r < u(a.rank); ++r) {
      double sum = 0;
      for (std::size_t d = 0; d < u(a.dim); ++d)
        sum += double{a.in[row * u(a.dim) + d]} *
               double{a.bases[(row % u(a.groups) * u(a.rank) + r) * u(a.dim) + d]};
      a.out[row * u(a.rank) + r] = static_cast<float>(sum);
    }
}

void reconstruct(const Projection& a) {
  for (std::size_t row = 0; row < u(a.tokens) * u(a.groups); ++row)
    for (std::size_t d = 0; d < u(a.dim); ++d) {
      double sum = 0;
      for (std::size_t r = 0; r < u(a.rank); ++r)
        sum += double{a.in[row * u(a.rank) + r]} *
               double{a.bases[(row % u(a.groups) * u(a.rank) + r) * u(a.dim) + d]};
      a.out[row * u(a.dim) + d] = static_cast<float>(sum);
    }
}

}  // namespace kvsim::kernels::reference
