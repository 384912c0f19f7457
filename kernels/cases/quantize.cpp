// Codecs of matrices, both ways, as operations of one shape.
#include "kernels/quantize.h"

#include "kernels/cases/plain_case.h"

namespace kvsim::kernels {
namespace {

struct CodecShape {
  std::int32_t tokens = 1024;
  std::int32_t dims = 128;
  CodeWidth width = CodeWidth::bits4;
  Grain grain = Grain::token;
  std::int32_t group = 0;
  bool symmetric = false;
  bool codebook = false;
  static constexpr Rows kFields{
      field("tokens", &CodecShape::tokens, between(0, 4'000'000), "rows"),
      field("dims", &CodecShape::dims, between(0, 65536), "numbers of a row"),
      field("width", &CodecShape::width, any, "bits of a code, or three levels"),
      field("grain", &CodecShape::grain, any, "along what numbers share a scale"),
      field("group", &CodecShape::group, at_least(0), "numbers that share a scale; 0: all"),
      field("symmetric", &CodecShape::symmetric, any, "no zero: codes around 0"),
      field("codebook", &CodecShape::codebook, any, "uneven steps (up to 4 bits)")};

  [[nodiscard]] Codec codec(std::span<const float> book) const {
    Codec c{width, grain, group, symmetric, tokens, dims, {}};
    if (codebook) c.codebook = book.first(static_cast<std::size_t>(c.levels()));
    return c;
  }
};

// Ascending, so are its first n; steps grow away from 0.
constexpr std::array<float, 16> kBook{-1,   -0.5F, -0.2F, 0, 0.2F, 0.5F, 1,    1.6F,
                                      2.3F, 3.1F,  4,     5, 6.1F, 7.3F, 8.6F, 10};

std::vector<Tree> codec_shapes(Operation::Purpose purpose, const Rng& rng, std::size_t count) {
  const auto odd = [](Rng& r) {
    CodecShape p;
    p.tokens = pick(r, {0, 1, 2, 17, 70});
    p.dims = pick(r, {0, 1, 5, 16, 100, 128});
    p.width = enum_names(CodeWidth{})[r.below(5)].first;
    p.grain = pick(r, {Grain::token, Grain::channel});
    p.group = pick(r, {0, 1, 7, 32, 64});
    p.symmetric = r.below(2) == 0;
    p.codebook = p.width != CodeWidth::bits8 && r.below(3) == 0;
    return p;
  };
  CodecShape i8, per_channel, i3, ternary;
  i8.width = CodeWidth::bits8;
  per_channel.grain = Grain::channel, per_channel.group = 64;
  i3.width = CodeWidth::bits3, i3.codebook = true;
  ternary.width = CodeWidth::ternary, ternary.group = 32;
  return shapes_of<CodecShape>(purpose, rng, count, odd,
                               {CodecShape{}, i8, per_channel, i3, ternary});
}

// What both directions need: numbers and their codes by the reference.
struct CodecInputs {
  CodecShape shape;
  std::int64_t count = 1;
  Copies<float> x;
  Copies<std::byte> codes;
  std::vector<std::uint16_t> scales, zeros;

  CodecInputs(const CodecShape& s, const Operation::Context& c) : shape(s) {
    const Codec codec = s.codec(kBook);
    if (s.codebook && s.width == CodeWidth::bits8)
      throw InputError("a codebook has at most 16 entries", "width: 4, 3, 2 or ternary");
    const std::size_t n = static_cast<std::size_t>(s.tokens) * static_cast<std::size_t>(s.dims);
    count = copies_within(c.footprint, n * 4);
    x = Copies<float>(n, count);
    Rng rng(c.seed, "codec");
    draw_normals(rng, x[0]);
    x.repeat_first(count);
    codes = Copies<std::byte>(codec.code_bytes(), count);
    scales.resize(codec.groups());
    zeros.resize(s.symmetric ? 0 : codec.groups());
    reference::quantize(codec, x[0], {codes[0], scales, zeros});
    codes.repeat_first(count);
  }
  [[nodiscard]] double stored_bytes() const {
    return static_cast<double>(codes[0].size() + 2 * (scales.size() + zeros.size()));
  }
};

class QuantizeCase final : public PlainCase<std::byte> {
 public:
  using Params = CodecShape;
  QuantizeCase(Params p, const Context& c) : inputs_(p, c) {
    scales_.resize(inputs_.scales.size());
    zeros_.resize(inputs_.zeros.size());
    set_output(inputs_.codes[0].size(), inputs_.count);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    return codec_shapes(purpose, rng, count);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {4.0 * static_cast<double>(inputs_.x[0].size()), inputs_.stored_bytes(),
            6.0 * static_cast<double>(inputs_.x[0].size())};
  }
  void poison() override {
    PlainCase::poison();
    std::fill(scales_.begin(), scales_.end(), std::uint16_t{0x7e00});
    std::fill(zeros_.begin(), zeros_.end(), std::uint16_t{0x7e00});
  }
  // Scales and zeros are the same bits; a number half-way between two codes may take either.
  [[nodiscard]] Difference difference() const override {
    if (scales_ != inputs_.scales || zeros_ != inputs_.zeros)
      return {INFINITY, "scales or zeros differ"};
    const Codec codec = inputs_.shape.codec(kBook);
    const auto x = inputs_.x[0];
    std::vector<float> got(x.size()), want(x.size());
    reference::dequantize(codec, {out_[0], scales_, zeros_}, got);
    reference::dequantize(codec, {want_, scales_, zeros_}, want);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (got[i] == want[i]) continue;
      const double step = std::abs(double{got[i]} - double{want[i]});
      const double off = std::abs(std::abs(double{x[i]} - double{got[i]}) -
                                  std::abs(double{x[i]} - double{want[i]}));
      worst = std::max(worst, off / (1e-3 * step));
    }
    return {worst, fmt::format("{:.1e} of 1e-3 steps off a tie", worst * 1e-3)};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const Codec codec = inputs_.shape.codec(kBook);
    const Quantized out{out_[copy], scales_, zeros_};
    if (where.vulkan != nullptr)
      where.vulkan->add(vulkan::Quantization{codec, inputs_.x[copy], out});
    else if (where.threads != nullptr)
      cpu::quantize(codec, inputs_.x[copy], out, *where.threads);
    else
      reference::quantize(codec, inputs_.x[copy], out);
  }

  CodecInputs inputs_;
  std::vector<std::uint16_t> scales_, zeros_;
};

class DequantizeCase final : public PlainCase<float> {
 public:
  using Params = CodecShape;
  DequantizeCase(Params p, const Context& c) : inputs_(p, c) {
    set_output(inputs_.x[0].size(), inputs_.count, static_cast<std::size_t>(p.dims), 1e-6);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    return codec_shapes(purpose, rng, count);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {inputs_.stored_bytes(), 4.0 * static_cast<double>(inputs_.x[0].size()),
            2.0 * static_cast<double>(inputs_.x[0].size())};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const Codec codec = inputs_.shape.codec(kBook);
    const ConstQuantized in{inputs_.codes[copy], inputs_.scales, inputs_.zeros};
    if (where.vulkan != nullptr)
      where.vulkan->add(vulkan::Dequantization{codec, in, out_[copy]});
    else if (where.threads != nullptr)
      cpu::dequantize(codec, in, out_[copy], *where.threads);
    else
      reference::dequantize(codec, in, out_[copy]);
  }

  CodecInputs inputs_;
};

const Register<QuantizeCase> kQuantize{
    "quantize", "code = nearest entry to (x - zero) / scale, per token, channel or group",
    "arXiv:2402.02750 (KIVI), arXiv:2401.18079 (KVQuant)"};
const Register<DequantizeCase> kDequantize{"dequantize", "x = zero + scale * entry of the code",
                                           "arXiv:2402.02750 (KIVI), arXiv:2401.18079 (KVQuant)"};

}  // namespace
}  // namespace kvsim::kernels
