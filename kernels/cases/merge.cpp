// Merges within a layer and across layers, as operations of one shape.
#include "kernels/merge.h"

#include <functional>
#include <numbers>
#include <numeric>

#include "kernels/cases/plain_case.h"

namespace kvsim::kernels {
namespace {

struct MergeShape {
  std::int32_t tokens = 1024;
  std::int32_t dim = 128;
  std::int32_t kept = 256;
  static constexpr Rows kFields{
      field("tokens", &MergeShape::tokens, between(0, 1'000'000), "rows, tokens of one kv head"),
      field("dim", &MergeShape::dim, between(1, 65536), "numbers of a row"),
      field("kept", &MergeShape::kept, at_least(0),
            "kept tokens, clusters (unused by "
            "neighbour-similarity and merge-layers)")};
};

class MergeCase : public PlainCase<float> {
 public:
  using Params = MergeShape;
  MergeCase(Params p, const Context& c, const char* stream)
      : p_(p), n_(static_cast<std::size_t>(p.tokens) * static_cast<std::size_t>(p.dim)) {
    if (p.kept > p.tokens) throw InputError("kept must not exceed tokens");
    count_ = copies_within(c.footprint, n_ * 4);
    x_ = Copies<float>(n_, count_);
    Rng rng(c.seed, stream);
    // Neighbours resemble each other, as keys of neighbouring tokens do.
    const auto x = x_[0];
    draw_normals(rng, x);
    for (std::size_t i = static_cast<std::size_t>(p.dim); i < n_; ++i)
      x[i] = 0.8F * x[i - static_cast<std::size_t>(p.dim)] + 0.6F * x[i];
    x_.repeat_first(count_);
    for (std::int32_t i = 0; i < p.kept; ++i)
      kept_.push_back(static_cast<std::int32_t>(std::int64_t{i} * p.tokens / p.kept));
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      MergeShape p{pick(r, {0, 1, 2, 17, 100}), pick(r, {2, 16, 100, 128}), 0};
      p.kept = static_cast<std::int32_t>(r.below(static_cast<std::uint64_t>(p.tokens) + 1));
      return p;
    };
    return shapes_of<MergeShape>(purpose, rng, count, odd,
                                 {MergeShape{4096}, MergeShape{32768, 128, 512}});
  }

 protected:
  MergeShape p_;
  std::size_t n_;
  std::int64_t count_ = 1;
  Copies<float> x_;
  std::vector<std::int32_t> kept_;
};

class NeighbourCase final : public MergeCase {
 public:
  NeighbourCase(Params p, const Context& c) : MergeCase(p, c, "neighbours") {
    const auto pairs = static_cast<std::size_t>(std::max(0, p.tokens - 1));
    set_output(pairs, count_, pairs, 1e-5);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {4.0 * static_cast<double>(n_), 4.0 * p_.tokens, 4.0 * static_cast<double>(n_)};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const NeighbourSimilarity a{p_.tokens, p_.dim, x_[copy], out_[copy]};
    where.run(a, cpu::similarity, reference::similarity);
  }
};

// The output is the similarities; of tokens with two kept ones equally near either is right.
class AssignCase final : public MergeCase {
 public:
  AssignCase(Params p, const Context& c) : MergeCase(p, c, "assign") {
    const auto tokens = static_cast<std::size_t>(p.tokens);
    cluster_.resize(tokens);
    set_output(tokens, count_, tokens, 1e-5);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {4.0 * static_cast<double>(n_), 8.0 * p_.tokens,
            2.0 * static_cast<double>(n_) * p_.kept};
  }
  void poison() override {
    PlainCase::poison();
    std::fill(cluster_.begin(), cluster_.end(), -9);
  }
  void reference() override {
    PlainCase::reference();
    want_cluster_ = cluster_;
  }
  [[nodiscard]] Difference difference() const override {
    Difference d = PlainCase::difference();
    const auto different = static_cast<double>(std::inner_product(
        cluster_.begin(), cluster_.end(), want_cluster_.begin(), 0, std::plus<>{},
        [](std::int32_t a, std::int32_t b) { return a != b ? 1 : 0; }));
    // Near ties: at most one in a thousand, and one.
    d.of_bound = std::max(d.of_bound, different / (1 + p_.tokens / 1000.0));
    if (different > 0)
      d.text += fmt::format(", {} of {} clusters differ", different, cluster_.size());
    return d;
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const NearestKept a{p_.tokens, p_.dim, -1, x_[copy], kept_, cluster_, out_[copy]};
    where.run(a, cpu::assign, reference::assign);
  }
  std::vector<std::int32_t> cluster_, want_cluster_;
};

class MergeTokensCase final : public MergeCase {
 public:
  MergeTokensCase(Params p, const Context& c) : MergeCase(p, c, "merge") {
    Rng rng(c.seed, "merge/clusters");
    for (std::int32_t t = 0; t < p.tokens; ++t) {
      cluster_.push_back(
          static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(p.kept) + 1)) - 1);
      weight_.push_back(static_cast<float>(rng.uniform()));
    }
    const auto dim = static_cast<std::size_t>(p.dim);
    set_output(static_cast<std::size_t>(p.kept) * dim, count_, dim, 2e-5);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {4.0 * static_cast<double>(n_), 4.0 * p_.kept * p_.dim, 2.0 * static_cast<double>(n_)};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const WeightedMerge a{p_.tokens, p_.dim, p_.kept, x_[copy], cluster_, weight_, out_[copy]};
    where.run(a, cpu::merge, reference::merge);
  }
  std::vector<std::int32_t> cluster_;
  std::vector<float> weight_;
};

class MergeLayersCase final : public MergeCase {
 public:
  MergeLayersCase(Params p, const Context& c) : MergeCase(p, c, "layers") {
    Rng rng(c.seed, "layers/second");
    other_ = Copies<float>(n_, count_);
    draw_normals(rng, other_[0]);
    for (std::size_t i = 0; i < n_; ++i) other_[0][i] = 2 * x_[0][i] + other_[0][i];
    other_.repeat_first(count_);
    for (auto& side : sides_) side.resize(static_cast<std::size_t>(p.tokens));
    set_output(n_, count_, static_cast<std::size_t>(p.dim), 2e-5);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {8.0 * static_cast<double>(n_), 4.0 * static_cast<double>(n_) + 12.0 * p_.tokens,
            14.0 * static_cast<double>(n_)};
  }
  void poison() override {
    PlainCase::poison();
    for (auto& side : sides_) std::fill(side.begin(), side.end(), NAN);
  }
  void reference() override {
    PlainCase::reference();
    want_sides_ = sides_;
  }
  // Directions and lengths relative to themselves, angles in radians. Between nearly opposite rows
  // an error in the last place grows by 1 / sin(angle), whatever computes it.
  [[nodiscard]] Difference difference() const override {
    double worst = 0;
    const auto dim = static_cast<std::size_t>(p_.dim);
    for (std::size_t t = 0; t < want_sides_[2].size(); ++t) {
      const double angle = want_sides_[2][t];
      const double direction = worst_relative_l2(out_[0].subspan(t * dim, dim),
                                                 std::span(want_).subspan(t * dim, dim), dim);
      worst = std::max(worst, direction * (angle > std::numbers::pi / 2 ? std::sin(angle) : 1));
      const double turned = std::abs(static_cast<double>(sides_[2][t]) - angle);
      worst = std::max(worst, std::isnan(turned) ? INFINITY : turned);
    }
    for (const std::size_t side : {0U, 1U})
      worst = std::max(worst, worst_relative_l2(sides_[side], want_sides_[side], 1));
    return {worst / 2e-5, fmt::format("off by {:.1e} of 2e-05", worst)};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const LayerMerge a{p_.tokens,  p_.dim,    0.5F,      x_[copy], other_[copy],
                       out_[copy], sides_[0], sides_[1], sides_[2]};
    where.run(a, cpu::merge_layers, reference::merge_layers);
  }
  Copies<float> other_;
  std::array<std::vector<float>, 3> sides_, want_sides_;  // lengths of both, angle
};

const Register<NeighbourCase> kNeighbours{"neighbour-similarity", "cos(x[t], x[t + 1])",
                                          "arXiv:2407.08454 (KVMerger)"};
const Register<AssignCase> kAssign{"assign-nearest", "the kept token of largest cosine",
                                   "arXiv:2406.13035 (D2O)"};
const Register<MergeTokensCase> kMerge{"merge-tokens",
                                       "sum of weight * x over each cluster, over its weights",
                                       "arXiv:2406.13035 (D2O), arXiv:2407.08454 (KVMerger)"};
const Register<MergeLayersCase> kLayers{"merge-layers",
                                        "spherical interpolation of the rows of two layers",
                                        "arXiv:2405.14366 (MiniCache)"};

}  // namespace
}  // namespace kvsim::kernels
