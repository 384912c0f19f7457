#include "kernels/low_rank.h"

#include <Eigen/SVD>
#include <algorithm>

namespace kvsim::kernels {

std::vector<float> fit_basis(std::span<const float> x, std::int32_t tokens, std::int32_t dim,
                             std::int32_t stride, std::int32_t rank) {
  Eigen::MatrixXd rows(tokens, dim);
  for (Eigen::Index t = 0; t < tokens; ++t)
    for (Eigen::Index d = 0; d < dim; ++d)
      rows(t, d) = double{x[static_cast<std::size_t>(t * stride + d)]};
  std::vector<float> basis(static_cast<std::size_t>(rank) * static_cast<std::size_t>(dim));
  if (tokens == 0 || dim == 0) return basis;
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(rows, Eigen::ComputeThinV);
  const Eigen::Index found = std::min<Eigen::Index>(rank, svd.matrixV().cols());
  for (Eigen::Index r = 0; r < found; ++r) {
    Eigen::VectorXd v = svd.matrixV().col(r);
    Eigen::Index largest = 0;
    v.cwiseAbs().maxCoeff(&largest);
    if (v(largest) < 0) v = -v;
    for (Eigen::Index d = 0; d < dim; ++d)
      basis[static_cast<std::size_t>(r * dim + d)] = static_cast<float>(v(d));
  }
  return basis;
}

}  // namespace kvsim::kernels
