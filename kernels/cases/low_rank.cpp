// Rotation, projection and reconstruction: operations on rows by a fixed matrix.
#include "kernels/low_rank.h"

#include "kernels/cases/plain_case.h"
#include "kernels/condition.h"

namespace kvsim::kernels {
namespace {

struct LowRankShape {
  std::int32_t tokens = 512;
  std::int32_t groups = 2;
  std::int32_t dim = 512;
  std::int32_t rank = 128;
  static constexpr Rows kFields{
      field("tokens", &LowRankShape::tokens, between(0, 1'000'000), "rows"),
      field("groups", &LowRankShape::groups, between(1, 1024), "groups of heads, a basis each"),
      field("dim", &LowRankShape::dim, between(1, 65536), "heads of a group * head dim"),
      field("rank", &LowRankShape::rank, between(0, 65536), "coordinates of a group")};
};

template <bool kProject>
class ProjectionCase final : public PlainCase<float> {
 public:
  using Params = LowRankShape;
  ProjectionCase(Params p, const Context& c) : p_(p) {
    const auto groups = static_cast<std::size_t>(p.groups), rank = static_cast<std::size_t>(p.rank);
    const std::size_t rows = static_cast<std::size_t>(p.tokens) * groups;
    const auto dim = static_cast<std::size_t>(p.dim);
    const std::size_t n = rows * (kProject ? dim : rank);
    const std::int64_t copies = copies_within(c.footprint, rows * (dim + rank) * 4);
    in_ = Copies<float>(n, copies);
    Rng rng(c.seed, "low-rank");
    draw_normals(rng, in_[0]);
    in_.repeat_first(copies);
    bases_.resize(groups * rank * dim);
    draw_normals(rng, bases_, 1 / std::sqrt(p.dim));
    const std::size_t row = kProject ? rank : dim;
    set_output(rows * row, copies, row);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      return LowRankShape{pick(r, {0, 1, 3, 20}), pick(r, {1, 2, 5}), pick(r, {16, 33, 128, 300}),
                          pick(r, {8, 16, 31, 64})};
    };
    return shapes_of<LowRankShape>(purpose, rng, count, odd,
                                   {LowRankShape{4096}, LowRankShape{4096, 8, 128, 32}});
  }
  [[nodiscard]] Traffic traffic() const override {
    const double rows = static_cast<double>(p_.tokens) * p_.groups;
    const double bases = 4.0 * static_cast<double>(bases_.size());
    return {4 * rows * (kProject ? p_.dim : p_.rank) + bases,
            4 * rows * (kProject ? p_.rank : p_.dim), 2 * rows * p_.dim * p_.rank};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const Projection a{p_.tokens, p_.groups, p_.dim, p_.rank, bases_, in_[copy], out_[copy]};
    if constexpr (kProject)
      where.run(a, cpu::project, reference::project);
    else if (where.vulkan != nullptr)
      where.vulkan->add(vulkan::Reconstruction{a});
    else
      where.run_on_host(a, cpu::reconstruct, reference::reconstruct);
  }

  Params p_;
  Copies<float> in_;
  std::vector<float> bases_;
};

class RotateCase final : public PlainCase<float> {
 public:
  struct Params {
    std::int32_t rows = 1024;
    std::int32_t blocks = 1;
    std::int32_t block_log2 = 7;
    static constexpr Rows kFields{
        field("rows", &Params::rows, between(0, 1'000'000), "rows: tokens * heads"),
        field("blocks", &Params::blocks, between(1, 1024), "blocks of a row"),
        field("block_log2", &Params::block_log2, between(0, 14), "a block is 2^this numbers")};
  };
  RotateCase(Params p, const Context& c) : p_(p) {
    const auto dims = static_cast<std::size_t>(p.blocks) << p.block_log2;
    const std::size_t n = static_cast<std::size_t>(p.rows) * dims;
    const std::int64_t copies = copies_within(c.footprint, n * 4);
    start_.resize(n);
    Rng rng(c.seed, "rotate");
    draw_normals(rng, start_);
    set_output(n, copies, dims, 1e-6);
    std::copy(start_.begin(), start_.end(), out_[0].begin());
    out_.repeat_first(copies);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      return Params{pick(r, {0, 1, 5, 40}), pick(r, {1, 3}), pick(r, {0, 1, 2, 3, 4, 6, 7, 9})};
    };
    return shapes_of<Params>(purpose, rng, count, odd, {Params{8192}, Params{32768, 1, 6}});
  }
  [[nodiscard]] Traffic traffic() const override {
    const auto n = static_cast<double>(start_.size());
    return {4 * n, 4 * n, n * (p_.block_log2 + 1)};
  }
  // In place: what a twin begins with.
  void poison() override { std::copy(start_.begin(), start_.end(), out_[0].begin()); }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const Rotation a{p_.rows, p_.blocks << p_.block_log2, 1 << p_.block_log2, out_[copy]};
    where.run(a, cpu::rotate, reference::rotate);
  }

  Params p_;
  std::vector<float> start_;
};

const Register<ProjectionCase<true>> kProject{"project", "y = basis x, per group of heads",
                                              "arXiv:2407.21118 (Palu)"};
const Register<ProjectionCase<false>> kReconstruct{
    "reconstruct", "x = transposed basis y, per group of heads", "arXiv:2407.21118 (Palu)"};
const Register<RotateCase> kRotate{"rotate",
                                   "blocks of rows times a Walsh-Hadamard matrix, in place",
                                   "arXiv:2404.00456 (QuaRot)"};

}  // namespace
}  // namespace kvsim::kernels
