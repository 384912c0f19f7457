// Prefill attention as an operation of the harness.
#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "kernels/cases/attention_case.h"

namespace kvsim::kernels {
namespace {

constexpr std::int32_t kMaskBlock = 64;

class PrefillCase final : public AttentionCase<PrefillAttention> {
 public:
  struct Params {
    std::int32_t queries = 1024;
    std::int32_t cached = 0;
    int batch = 1;
    bool varied = false;
    Element element = Element::f16;
    KeyOrder key_order = KeyOrder::dim_major;
    int q_heads = 32;
    int kv_heads = 8;
    int k_dim = 128;
    int v_dim = 128;
    bool mla = false;
    int page_tokens = 64;
    int group_tokens = 64;
    bool shuffled = false;
    std::int32_t window = 0;
    std::int32_t sinks = 0;
    double density = 1;
    double key_size = 1;
    double value_size = 1;
    static constexpr Rows kFields{
        field("queries", &Params::queries, between(0, 1'000'000), "new tokens of a sequence"),
        field("cached", &Params::cached, between(0, 4'000'000), "tokens before them"),
        field("batch", &Params::batch, between(1, 4096), "sequences"),
        field("varied", &Params::varied, any, "0 to `queries` and 0 to `cached` tokens"),
        field("element", &Params::element, any, "how the cache stores a number"),
        field("key_order", &Params::key_order, any, "order of a tile of keys"),
        field("q_heads", &Params::q_heads, between(1, 4096), "query heads"),
        field("kv_heads", &Params::kv_heads, between(1, 1024), "heads of the cache"),
        field("k_dim", &Params::k_dim, between(16, 1024), "numbers of a key"),
        field("v_dim", &Params::v_dim, between(16, 1024), "numbers of a value"),
        field("mla", &Params::mla, any, "values are the keys' first v_dim numbers"),
        field("page_tokens", &Params::page_tokens, between(16, 1024), "tokens of a page"),
        field("group_tokens", &Params::group_tokens, between(16, 1024),
              "tokens that share the scales of quantised keys"),
        field("shuffled", &Params::shuffled, any, "pages in random order"),
        field("window", &Params::window, at_least(0), "tokens seen besides the sinks; 0: all"),
        field("sinks", &Params::sinks, at_least(0), "first tokens that stay in sight"),
        field("density", &Params::density, between(0.0, 1.0),
              "share of the blocks of 64 x 64 that are computed; 1: no mask"),
        field("key_size", &Params::key_size, between(1e-6, 1e6),
              "deviation of keys; queries have the inverse"),
        field("value_size", &Params::value_size, between(1e-6, 1e6), "deviation of values")};
  };

  PrefillCase(Params p, const Context& c)
      : params_(p), inputs_(inputs_shape(p, c, starts_), Rng(c.seed, "prefill-attention")) {
    const std::size_t rows =
        static_cast<std::size_t>(starts_.back()) * static_cast<std::size_t>(p.q_heads);
    q_.resize(rows * static_cast<std::size_t>(p.k_dim));
    out_.resize(rows * static_cast<std::size_t>(p.v_dim));
    Rng rng(c.seed, "prefill-attention/queries");
    draw_normals(rng, q_, 2 / p.key_size);
    if (p.density < 1) draw_mask(rng);
  }

  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    if (purpose != Purpose::check) return fixed_shapes();
    std::vector<Tree> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(write_fields(odd_shape(i, rng.at(i))));
    return all;
  }

  [[nodiscard]] Traffic traffic() const override {
    double pairs = 0, read = 0;
    for (std::size_t s = 0; s + 1 < starts_.size(); ++s) {
      const std::int32_t length = inputs_.shape().lengths[s];
      const std::int32_t count = starts_[s + 1] - starts_[s];
      if (count > 0) read += std::min(length, seen(length - 1) + count - 1);
      for (std::int32_t i = 0; i < count; ++i) pairs += seen(length - count + i);
    }
    const double rows = params_.q_heads * (params_.k_dim + params_.v_dim);
    return {read * inputs_.shape().format.bytes_per_token() + static_cast<double>(q_.size()) * 4,
            static_cast<double>(out_.size()) * 4, 2 * pairs * rows * params_.density};
  }

 private:
  [[nodiscard]] const KvInputs& inputs() const override { return inputs_; }
  PrefillAttention arguments(std::int64_t copy) override {
    return {.cache = inputs_.cache(),
            .table = inputs_.table(copy),
            .q_heads = params_.q_heads,
            .scale = static_cast<float>(1 / std::sqrt(params_.k_dim)),
            .visible = {params_.window, params_.sinks},
            .starts = starts_,
            .mask = mask_,
            .mask_words = mask_words_,
            .q = q_,
            .out = out_};
  }

  // Tokens that a query at `position` sees, mask aside.
  [[nodiscard]] std::int32_t seen(std::int32_t position) const {
    if (params_.window == 0) return position + 1;
    return std::min(position + 1,
                    params_.window + std::clamp(position + 1 - params_.window, 0, params_.sinks));
  }

  static KvInputsShape inputs_shape(const Params& p, const Context& c,
                                    std::vector<std::int32_t>& starts) {
    if (p.q_heads % p.kv_heads != 0)
      throw InputError("q_heads must be a multiple of kv_heads",
                       fmt::format("such as {}", p.kv_heads * 4));
    KvInputsShape shape{.format = {p.element, p.kv_heads, p.k_dim, p.v_dim, p.page_tokens,
                                   p.group_tokens, p.key_order, p.mla},
                        .lengths = {},
                        .is_shuffled = p.shuffled,
                        .prefix_tokens = 0,
                        .key_size = p.key_size,
                        .value_size = p.mla ? p.key_size : p.value_size,
                        .footprint = c.footprint};
    Rng rng(c.seed, "prefill-attention/lengths");
    const auto draw = [&](std::int32_t most) {
      if (!p.varied) return most;
      return static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(most) + 1));
    };
    starts = {0};
    for (int s = 0; s < p.batch; ++s) {
      const std::int32_t queries = draw(p.queries);
      starts.push_back(starts.back() + queries);
      shape.lengths.push_back(draw(p.cached) + queries);
    }
    return shape;
  }

  // Blocks at random; the diagonal always, as methods do.
  void draw_mask(Rng& rng) {
    const std::vector<std::int32_t>& lengths = inputs_.shape().lengths;
    const std::int32_t longest = *std::max_element(lengths.begin(), lengths.end());
    mask_words_ = (longest + kMaskBlock * 64 - 1) / (kMaskBlock * 64);
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const std::int32_t count = starts_[s + 1] - starts_[s];
      for (std::int32_t first = 0; first < count; first += kMaskBlock) {
        const std::size_t row = mask_.size();
        mask_.resize(row + static_cast<std::size_t>(mask_words_));
        const auto set = [&](std::int32_t block) {
          mask_[row + static_cast<std::size_t>(block / 64)] |= std::uint64_t{1} << (block % 64);
        };
        for (std::int32_t block = 0; block < mask_words_ * 64; ++block)
          if (rng.uniform() < params_.density) set(block);
        for (std::int32_t i = first; i < std::min(count, first + kMaskBlock); ++i)
          if (params_.density > 0) set((lengths[s] - count + i) / kMaskBlock);
      }
    }
  }

  static Params odd_shape(std::size_t index, Rng rng);
  static std::vector<Tree> fixed_shapes();

  Params params_;
  std::vector<std::int32_t> starts_;
  KvInputs inputs_;
  std::vector<std::uint64_t> mask_;
  std::int32_t mask_words_ = 0;
};

PrefillCase::Params PrefillCase::odd_shape(std::size_t index, Rng rng) {
  const auto pick = [&](auto... choices) {
    const std::array all{choices...};
    return all[rng.below(all.size())];
  };
  Params p;
  // As decode_attention.cpp does.
  p.element = enum_names(Element{})[index % 6].first;
  p.key_order = index / 6 % 2 == 0 ? KeyOrder::dim_major : KeyOrder::chunk_major;
  p.queries = pick(1, 2, 17, 63, 64, 65, 130);
  p.cached = pick(0, 0, 1, 16, 50, 64, 200);
  p.batch = pick(1, 1, 3);
  p.varied = rng.below(2) == 0;
  p.kv_heads = pick(1, 2);
  p.q_heads = p.kv_heads * pick(1, 2, 3, 4, 5);
  p.k_dim = pick(16, 64, 80, 128);
  p.v_dim = rng.below(2) == 0 ? p.k_dim : pick(16, 64, 112);
  if (p.key_order == KeyOrder::chunk_major) p.k_dim = (p.k_dim + 63) / 64 * 64;
  p.group_tokens = pick(16, 32, 64);
  p.page_tokens = is_quantised(p.element) ? p.group_tokens * pick(1, 3) : pick(16, 32, 128);
  p.shuffled = rng.below(2) == 0;
  if (index / 12 % 5 == 1) {
    p.mla = true;
    p.kv_heads = 1;
    p.q_heads = 4;
    p.k_dim = 192;
    p.v_dim = pick(128, 160);
  }
  if (rng.below(3) == 0) {
    p.window = pick(1, 7, 16, 60, 150);
    p.sinks = pick(0, 1, 4, 16, 40);
  }
  p.density = pick(1.0, 1.0, 0.5, 0.1, 0.0);
  if (rng.below(3) == 0) {
    p.key_size = pick(0.01, 100.0);
    p.value_size = pick(0.01, 300.0);
  }
  return p;
}

std::vector<Tree> PrefillCase::fixed_shapes() {
  std::vector<Tree> all;
  const auto add = [&](auto&& change) {
    Params p;
    change(p);
    all.push_back(write_fields(p));
  };
  // Fewer heads than a model has: time goes with their number, and calls shall stay short.
  for (const std::int32_t queries : {256, 1024, 2048})
    add([&](Params& p) { p.queries = queries, p.kv_heads = 2, p.q_heads = 8; });
  for (const std::int32_t cached : {4096, 16384})
    add([&](Params& p) { p.queries = 256, p.cached = cached, p.kv_heads = 2, p.q_heads = 8; });
  for (const Element element : {Element::f32, Element::bf16, Element::i8, Element::i4})
    add([&](Params& p) {
      p.queries = 256, p.cached = 4096, p.kv_heads = 2, p.q_heads = 8;
      p.element = element;
    });
  add([](Params& p) {
    p.queries = 256, p.cached = 16384, p.kv_heads = 2, p.q_heads = 8, p.density = 0.1;
  });
  return all;
}

const Register<PrefillCase> kSelf{
    "prefill-attention",
    "out[i][h] = sum_t softmax_t(scale * q[i][h] . key[t]) * value[t] over tokens t up to i's",
    "arXiv:2205.14135 (blocks), arXiv:2407.02490 (block-sparse masks)"};

}  // namespace
}  // namespace kvsim::kernels
