#include "kernels/low_rank.h"

#include <Eigen/Eigenvalues>
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
  // The right singular vectors, as eigenvectors of the Gram matrix: what is lost of the smallest
  // singular values lies below the input's single precision, and Eigen's SVD takes four times as
  // long to compile and, at a thousand columns, several times as long to run.
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(dim, dim);
  gram.selfadjointView<Eigen::Lower>().rankUpdate(rows.transpose());
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram);
  const Eigen::Index found = std::min<Eigen::Index>(rank, std::min<Eigen::Index>(tokens, dim));
  for (Eigen::Index r = 0; r < found; ++r) {
    Eigen::VectorXd v = solver.eigenvectors().col(dim - 1 - r);
    Eigen::Index largest = 0;
    v.cwiseAbs().maxCoeff(&largest);
    if (v(largest) < 0) v = -v;
    for (Eigen::Index d = 0; d < dim; ++d)
      basis[static_cast<std::size_t>(r * dim + d)] = static_cast<float>(v(d));
  }
  return basis;
}

}  // namespace kvsim::kernels
