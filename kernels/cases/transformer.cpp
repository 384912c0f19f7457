// The parts of a transformer besides attention.
#include "kernels/transformer.h"

#include "kernels/cases/plain_case.h"

namespace kvsim::kernels {
namespace {

class LinearCase final : public PlainCase<float> {
 public:
  struct Params {
    std::int32_t rows = 1;
    std::int32_t in_dim = 1024;
    std::int32_t out_dim = 1024;
    bool half = true;
    static constexpr Rows kFields{
        field("rows", &Params::rows, between(0, 65536), "tokens; 1: a matrix-vector product"),
        field("in_dim", &Params::in_dim, between(0, 65536), "numbers of an input row"),
        field("out_dim", &Params::out_dim, between(0, 65536), "numbers of an output row"),
        field("half", &Params::half, any, "weights in f16 instead of f32")};
  };
  LinearCase(Params p, const Context& c) : p_(p) {
    const auto in = static_cast<std::size_t>(p.in_dim), out = static_cast<std::size_t>(p.out_dim);
    const std::int64_t copies = copies_within(c.footprint, in * out * (p.half ? 2 : 4));
    Rng rng(c.seed, "linear");
    std::vector<float> weight(in * out);
    draw_normals(rng, weight);
    if (p.half) {
      half_ = Copies<std::uint16_t>(weight.size(), copies);
      std::transform(weight.begin(), weight.end(), half_[0].begin(), to_f16);
      half_.repeat_first(copies);
    } else {
      full_ = Copies<float>(weight.size(), copies);
      std::copy(weight.begin(), weight.end(), full_[0].begin());
      full_.repeat_first(copies);
    }
    x_.resize(static_cast<std::size_t>(p.rows) * in);
    draw_normals(rng, x_);
    set_output(static_cast<std::size_t>(p.rows) * out, copies, out);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      return Params{pick(r, {0, 1, 2, 4, 5, 9}), pick(r, {0, 1, 16, 33, 172, 256}),
                    pick(r, {8, 30, 64, 129}), r.below(2) == 0};
    };
    return shapes_of<Params>(purpose, rng, count, odd,
                             {Params{1, 4096, 4096, true}, Params{1, 4096, 4096, false},
                              Params{32, 4096, 4096, true}, Params{256, 1024, 1024, false}});
  }
  [[nodiscard]] Traffic traffic() const override {
    const double rows = p_.rows, in = p_.in_dim, out = p_.out_dim;
    return {in * out * (p_.half ? 2 : 4) + 4 * rows * in, 4 * rows * out, 2 * rows * in * out};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    Linear a{p_.rows, p_.in_dim, p_.out_dim, {}, {}, x_, out_[copy]};
    if (p_.half)
      a.weight_f16 = half_[copy];
    else
      a.weight_f32 = full_[copy];
    where.run(a, cpu::linear, reference::linear);
  }

  Params p_;
  Copies<std::uint16_t> half_;
  Copies<float> full_;
  std::vector<float> x_;
};

enum class RowOperation : std::uint8_t { rms_norm, rope, silu_gate, log_softmax };

// Rows in, rows out (rope: in place).
template <RowOperation kOperation>
class RowsCase final : public PlainCase<float> {
 public:
  struct Params {
    std::int32_t rows = 64;
    std::int32_t heads = 32;
    std::int32_t dim = 128;
    static constexpr Rows kFields{
        field("rows", &Params::rows, between(0, 65536), "tokens"),
        field("heads", &Params::heads, between(1, 4096), "heads; a row has heads * dim numbers"),
        field("dim", &Params::dim, between(2, 65536), "numbers of a head, even")};
  };
  RowsCase(Params p, const Context& c) : p_(p), row_numbers_(p.heads * p.dim) {
    if (p.dim % 2 != 0) throw InputError("dim must be even");
    const auto row = static_cast<std::size_t>(row_numbers_);
    const std::size_t n = static_cast<std::size_t>(p.rows) * row;
    const std::int64_t copies = copies_within(c.footprint, n * 8);
    Rng rng(c.seed, "rows");
    x_ = Copies<float>(n, copies);
    draw_normals(rng, x_[0], 3);
    x_.repeat_first(copies);
    second_ = Copies<float>(kOperation == RowOperation::silu_gate ? n : row, 1);
    draw_normals(rng, second_[0]);
    for (std::int32_t r = 0; r < p.rows; ++r)
      positions_.push_back(static_cast<std::int32_t>(rng.below(131072)));
    set_output(n, copies, row, kOperation == RowOperation::log_softmax ? 1e-5 : 1e-6);
    if (kOperation == RowOperation::rope)
      for (std::int64_t i = 0; i < copies; ++i)
        std::copy(x_[i].begin(), x_[i].end(), out_[i].begin());
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      return Params{pick(r, {0, 1, 3, 9}), pick(r, {1, 2, 5}), pick(r, {2, 8, 30, 64, 128})};
    };
    return shapes_of<Params>(purpose, rng, count, odd, {Params{}, Params{1}, Params{2048}});
  }
  [[nodiscard]] Traffic traffic() const override {
    const double n = static_cast<double>(p_.rows) * row_numbers_;
    return {n * (kOperation == RowOperation::silu_gate ? 8 : 4), n * 4, n * 6};
  }
  void poison() override {
    if (kOperation == RowOperation::rope)
      std::copy(x_[0].begin(), x_[0].end(), out_[0].begin());
    else
      PlainCase::poison();
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const auto x = x_[copy], out = out_[copy];
    if constexpr (kOperation == RowOperation::rms_norm) {
      const RmsNorm a{p_.rows, row_numbers_, 1e-5F, x, second_[0], out};
      where.run(a, cpu::rms_norm, reference::rms_norm);
    } else if constexpr (kOperation == RowOperation::rope) {
      const Rope a{p_.rows, p_.heads, p_.dim, RopePairs::halves, 500000, positions_, out};
      where.run(a, cpu::rope, reference::rope);
    } else if constexpr (kOperation == RowOperation::silu_gate) {
      const SiluGate a{x, second_[0], out};
      where.run(a, cpu::silu_gate, reference::silu_gate);
    } else {
      const Softmax a{p_.rows, row_numbers_, true, x, out};
      where.run(a, cpu::softmax, reference::softmax);
    }
  }

  Params p_;
  std::int32_t row_numbers_;
  Copies<float> x_, second_;
  std::vector<std::int32_t> positions_;
};

const Register<LinearCase> kLinear{"linear", "out[m][n] = sum_k x[m][k] * weight[n][k]",
                                   "textbook"};
const Register<RowsCase<RowOperation::rms_norm>> kNorm{
    "rms-norm", "x / sqrt(mean(x^2) + epsilon) * weight", "arXiv:1910.07467"};
const Register<RowsCase<RowOperation::rope>> kRope{
    "rope", "pairs of a head turned by position * theta^(-2i / dim)", "arXiv:2104.09864"};
const Register<RowsCase<RowOperation::silu_gate>> kSilu{"silu-gate", "gate / (1 + exp(-gate)) * up",
                                                        "arXiv:2002.05202"};
const Register<RowsCase<RowOperation::log_softmax>> kSoftmax{"log-softmax",
                                                             "log(softmax(x)) per row", "textbook"};

}  // namespace
}  // namespace kvsim::kernels
