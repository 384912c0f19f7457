// Page codecs, both ways, as operations of one shape.
#include <numeric>

#include "kernels/cases/plain_case.h"
#include "kernels/quantize.h"

namespace kvsim::kernels {
namespace {

struct PageCodecShape {
  std::int32_t context = 1024;
  Element plain = Element::f16;
  Element codes = Element::i4;
  KeyOrder key_order = KeyOrder::dim_major;
  int kv_heads = 8;
  int k_dim = 128;
  int v_dim = 128;
  int page_tokens = 64;
  int group_tokens = 64;
  double size = 1;
  static constexpr Rows kFields{
      field("context", &PageCodecShape::context, between(1, 4'000'000), "tokens"),
      field("plain", &PageCodecShape::plain, any, "element of the unquantised pages"),
      field("codes", &PageCodecShape::codes, any, "element of the quantised pages"),
      field("key_order", &PageCodecShape::key_order, any, "order of a tile of keys"),
      field("kv_heads", &PageCodecShape::kv_heads, between(1, 1024), "heads"),
      field("k_dim", &PageCodecShape::k_dim, between(16, 1024), "numbers of a key"),
      field("v_dim", &PageCodecShape::v_dim, between(16, 1024), "numbers of a value"),
      field("page_tokens", &PageCodecShape::page_tokens, between(16, 1024), "tokens of a page"),
      field("group_tokens", &PageCodecShape::group_tokens, between(16, 1024),
            "tokens that share the scales of keys"),
      field("size", &PageCodecShape::size, between(1e-3, 1e3), "deviation of the numbers")};

  [[nodiscard]] KvFormat format(Element e) const {
    return {e, kv_heads, k_dim, v_dim, page_tokens, group_tokens, key_order, false};
  }
};

std::vector<Tree> codec_shapes(Operation::Purpose purpose, const Rng& rng, std::size_t count) {
  const auto odd = [](Rng& r) {
    PageCodecShape p;
    p.context = pick(r, {1, 15, 16, 17, 100, 333, 333, 3000});  // the last one past the caches
    p.plain = pick(r, {Element::f32, Element::f16, Element::bf16});
    p.codes = pick(r, {Element::i8, Element::i4, Element::i2});
    p.key_order = pick(r, {KeyOrder::dim_major, KeyOrder::chunk_major});
    p.kv_heads = pick(r, {1, 2, 3});
    p.k_dim = pick(r, {64, 128, 192});
    p.v_dim = pick(r, {16, 48, 64, 128});
    p.group_tokens = pick(r, {16, 32, 64});
    p.page_tokens = p.group_tokens * pick(r, {1, 2});
    p.size = pick(r, {1.0, 1.0, 0.01, 300.0});
    return p;
  };
  PageCodecShape i8, i2;
  i8.codes = Element::i8, i2.codes = Element::i2;
  return shapes_of<PageCodecShape>(purpose, rng, count, odd, {i8, PageCodecShape{}, i2});
}

// Source pages drawn, target pages as output; each copy has pages of its own in both.
template <bool kQuantize>
class PageCodecCase final : public PlainCase<std::byte> {
 public:
  using Params = PageCodecShape;
  PageCodecCase(Params p, const Context& c) : p_(p), inputs_(source(p, c), Rng(c.seed, "pages")) {
    if (is_quantised(p.plain) || !is_quantised(p.codes))
      throw InputError("plain is f32, f16 or bf16, and codes is i8, i4 or i2");
    const BlockTable table = inputs_.table(0);
    pages_ = static_cast<std::size_t>(table.max_pages);
    to_.resize(pages_);
    std::iota(to_.begin(), to_.end(), 0);
    for (std::int32_t t = 0; t < p.context; t += p.page_tokens)
      tokens_.push_back(std::min(p.page_tokens, p.context - t));
    set_output(pages_ * target().page_bytes(), inputs_.copies());
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    return codec_shapes(purpose, rng, count);
  }
  [[nodiscard]] Traffic traffic() const override {
    const double numbers = static_cast<double>(p_.k_dim + p_.v_dim) * p_.kv_heads * p_.context;
    return {inputs_.shape().format.bytes_per_token() * p_.context,
            target().bytes_per_token() * p_.context, (kQuantize ? 6 : 2) * numbers};
  }
  // A number half-way between two codes may take either.
  [[nodiscard]] Difference difference() const override {
    const KvCache source = inputs_.cache(), got{target(), out_[0]}, want{target(), want_};
    double worst = 0;
    std::int64_t ties = 0;
    const auto compare = [&](float x, float a, float b) {
      if (a == b) return;
      ++ties;
      const double step = std::abs(double{a} - double{b});
      const double off =
          std::abs(std::abs(double{x} - double{a}) - std::abs(double{x} - double{b}));
      worst = kQuantize && off <= step ? std::max(worst, off / (1e-3 * step)) : INFINITY;
    };
    for (std::int32_t t = 0; t < p_.context; ++t)
      for (int h = 0; h < p_.kv_heads; ++h) {
        const std::int32_t page = t / p_.page_tokens, slot = t % p_.page_tokens;
        const std::int32_t from = inputs_.table(0).page_of(0, page);
        for (int d = 0; d < p_.k_dim; ++d)
          compare(source.key(from, h, slot, d), got.key(page, h, slot, d),
                  want.key(page, h, slot, d));
        for (int d = 0; d < p_.v_dim; ++d)
          compare(source.value(from, h, slot, d), got.value(page, h, slot, d),
                  want.value(page, h, slot, d));
      }
    return {worst, fmt::format("{} differ, {} ties", ties, worst <= 1 ? "all at" : "not only at")};
  }

 private:
  [[nodiscard]] KvFormat target() const { return p_.format(kQuantize ? p_.codes : p_.plain); }
  static KvInputsShape source(const Params& p, const Context& c) {
    return {.format = p.format(kQuantize ? p.plain : p.codes),
            .lengths = {p.context},
            .key_size = p.size,
            .value_size = p.size,
            .footprint = c.footprint};
  }
  void call(std::int64_t copy, const Where& where) override {
    const PageQuantization a{
        inputs_.cache(), target(), out_[copy], inputs_.table(copy).pages.first(pages_), to_,
        tokens_};
    if constexpr (kQuantize)
      where.run(a, cpu::quantize_pages, reference::quantize_pages);
    else
      where.run(a, cpu::dequantize_pages, reference::dequantize_pages);
  }

  Params p_;
  KvInputs inputs_;
  std::size_t pages_ = 0;
  std::vector<std::int32_t> to_, tokens_;
};

const Register<PageCodecCase<true>> kQuantize{
    "quantize-pages", "code = (x - minimum) / scale; keys per channel and group, values per token",
    "arXiv:2402.02750 (KIVI)"};
const Register<PageCodecCase<false>> kDequantize{"dequantize-pages", "x = zero + scale * code",
                                                 "arXiv:2402.02750 (KIVI)"};

}  // namespace
}  // namespace kvsim::kernels
