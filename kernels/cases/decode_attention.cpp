// Decode attention as an operation of the harness.
#include <fmt/format.h>

#include <cmath>

#include "kernels/cases/attention_case.h"

namespace kvsim::kernels {
namespace {

class DecodeCase final : public AttentionCase<DecodeAttention> {
 public:
  struct Params {
    std::int32_t context = 4096;
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
    std::int32_t shared = 0;
    double peak = 0;
    double key_size = 1;
    double value_size = 1;
    static constexpr Rows kFields{
        field("context", &Params::context, between(0, 4'000'000), "tokens of a sequence"),
        field("batch", &Params::batch, between(1, 65536), "sequences"),
        field("varied", &Params::varied, any, "sequences of 0 to `context` tokens"),
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
        field("shared", &Params::shared, at_least(0), "tokens of a prefix of all sequences"),
        field("peak", &Params::peak, between(0.0, 100.0),
              "score of one token that every query is aimed at; 0: queries at random"),
        field("key_size", &Params::key_size, between(1e-6, 1e6),
              "deviation of keys; queries have the inverse"),
        field("value_size", &Params::value_size, between(1e-6, 1e6), "deviation of values")};
  };

  DecodeCase(Params p, const Context& c)
      : params_(p), inputs_(inputs_shape(p, c), Rng(c.seed, "decode-attention")) {
    const std::size_t rows = inputs_.shape().lengths.size() * static_cast<std::size_t>(p.q_heads);
    q_.resize(rows * static_cast<std::size_t>(p.k_dim));
    out_.resize(rows * static_cast<std::size_t>(p.v_dim));
    Rng rng(c.seed, "decode-attention/queries");
    draw_normals(rng, q_, 1 / p.key_size);
    if (p.peak > 0) aim_queries(rng);
    if (p.shared > 0) shared_.push_back({0, p.batch, p.shared});
  }

  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    if (purpose != Purpose::check) return fixed_shapes(purpose);
    std::vector<Tree> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(write_fields(odd_shape(i, rng.at(i))));
    return all;
  }

  [[nodiscard]] Traffic traffic() const override {
    const auto& lengths = inputs_.shape().lengths;
    double read = 0, pairs = 0;
    for (const std::int32_t length : lengths) {
      const std::int32_t seen =
          params_.window > 0 ? std::min(length, params_.window + params_.sinks) : length;
      read += seen - params_.shared;
      pairs += seen;
    }
    read += params_.shared;
    return {read * inputs_.shape().format.bytes_per_token() + static_cast<double>(q_.size()) * 4,
            static_cast<double>(out_.size()) * 4,
            2 * pairs * params_.q_heads * (params_.k_dim + params_.v_dim)};
  }

 private:
  [[nodiscard]] const KvInputs& inputs() const override { return inputs_; }
  DecodeAttention arguments(std::int64_t copy) override {
    return {.cache = inputs_.cache(),
            .table = inputs_.table(copy),
            .q_heads = params_.q_heads,
            .scale = static_cast<float>(1 / std::sqrt(params_.k_dim)),
            .visible = {params_.window, params_.sinks},
            .shared = shared_,
            .q = q_,
            .out = out_};
  }

  static KvInputsShape inputs_shape(const Params& p, const Context& c) {
    if (p.q_heads % p.kv_heads != 0)
      throw InputError("q_heads must be a multiple of kv_heads",
                       fmt::format("such as {}", p.kv_heads * 4));
    if (p.shared > 0 && (p.window > 0 || p.shared % p.page_tokens != 0))
      throw InputError("shared tokens fill whole pages and go without a window");
    KvInputsShape shape{.format = {p.element, p.kv_heads, p.k_dim, p.v_dim, p.page_tokens,
                                   p.group_tokens, p.key_order, p.mla},
                        .lengths = {},
                        .is_shuffled = p.shuffled,
                        .prefix_tokens = p.shared,
                        .key_size = p.key_size,
                        .value_size = p.mla ? p.key_size : p.value_size,
                        .footprint = c.footprint};
    if (p.shared > p.context) throw InputError("shared tokens must not exceed the context");
    Rng rng(c.seed, "decode-attention/lengths");
    for (int s = 0; s < p.batch; ++s) {
      const auto room = static_cast<std::uint64_t>(p.context - p.shared) + 1;
      shape.lengths.push_back(p.varied ? p.shared + static_cast<std::int32_t>(rng.below(room))
                                       : p.context);
    }
    return shape;
  }

  // Every query gets most of its weight from one token that it sees.
  void aim_queries(Rng& rng) {
    const auto k_dim = static_cast<std::size_t>(params_.k_dim);
    for (std::size_t row = 0; row < q_.size() / k_dim; ++row) {
      const std::size_t sequence = row / static_cast<std::size_t>(params_.q_heads);
      const int head = static_cast<int>(row % static_cast<std::size_t>(params_.q_heads));
      const std::int32_t length = inputs_.shape().lengths[sequence];
      if (length == 0) continue;
      const std::int32_t reach = params_.window > 0 ? std::min(params_.window, length) : length;
      const auto token =
          length - 1 - static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(reach)));
      inputs_.aim(std::span(q_).subspan(row * k_dim, k_dim), sequence,
                  head / (params_.q_heads / params_.kv_heads), token,
                  params_.peak * std::sqrt(params_.k_dim));
    }
  }

  static Params odd_shape(std::size_t index, Rng rng);
  static std::vector<Tree> fixed_shapes(Purpose);

  Params params_;
  KvInputs inputs_;
  std::vector<SharedPrefix> shared_;
};

DecodeCase::Params DecodeCase::odd_shape(std::size_t index, Rng rng) {
  const auto pick = [&](auto... choices) {
    const std::array all{choices...};
    return all[rng.below(all.size())];
  };
  Params p;
  // The first 24 shapes go through all elements in both orders of keys, without and with MLA.
  p.element = enum_names(Element{})[index % 6].first;
  p.key_order = index / 6 % 2 == 0 ? KeyOrder::dim_major : KeyOrder::chunk_major;
  p.context = pick(1, 3, 16, 17, 64, 65, 100, 200, 333, 700);
  p.batch = pick(1, 1, 2, 5);
  p.varied = rng.below(2) == 0;
  p.kv_heads = pick(1, 2, 3);
  p.q_heads = p.kv_heads * pick(1, 1, 2, 3, 4, 4, 5, 7, 8, 12);
  p.k_dim = pick(16, 64, 80, 96, 128, 128, 192, 256);
  p.v_dim = rng.below(2) == 0 ? p.k_dim : pick(16, 64, 80, 112, 128);
  if (p.key_order == KeyOrder::chunk_major) p.k_dim = (p.k_dim + 63) / 64 * 64;
  p.group_tokens = pick(16, 32, 64);
  p.page_tokens = is_quantised(p.element) ? p.group_tokens * pick(1, 2, 3) : pick(16, 32, 64, 128);
  p.shuffled = rng.below(2) == 0;
  if (index / 12 % 5 == 1) {  // MLA, smaller than DeepSeek's 576 and 512
    p.mla = true;
    p.kv_heads = 1;
    p.q_heads = pick(4, 16, 20);
    p.k_dim = 192;
    p.v_dim = pick(128, 160, 192);
  }
  if (rng.below(3) == 0) {
    p.window = pick(1, 7, 16, 60, 150);
    p.sinks = pick(0, 1, 4, 16, 40);
  } else if (rng.below(3) == 0) {
    p.shared = p.context / p.page_tokens * p.page_tokens;
  }
  p.peak = pick(0.0, 0.0, 5.0, 12.0, 25.0);
  if (rng.below(3) == 0) {
    p.key_size = pick(0.01, 100.0);
    p.value_size = pick(0.01, 300.0);
  }
  return p;
}

std::vector<Tree> DecodeCase::fixed_shapes(Purpose purpose) {
  std::vector<Tree> all;
  const auto add = [&](auto&& change) {
    Params p;
    p.page_tokens = 1024;  // one head's tokens lie together
    change(p);
    all.push_back(write_fields(p));
  };
  for (const std::int32_t context : {1024, 4096, 16384, 32768})
    for (const Element element : {Element::f16, Element::i8, Element::i4})
      for (const bool shuffled : {false, true})
        add([&](Params& p) {
          p.context = context;
          p.element = element;
          p.shuffled = shuffled;
          if (shuffled) p.page_tokens = is_quantised(element) ? 64 : 16;
        });
  for (const Element element : {Element::f32, Element::bf16, Element::i2})
    add([&](Params& p) { p.element = element; });
  for (const int batch : {4, 16})
    add([&](Params& p) {
      p.batch = batch;
      p.page_tokens = 16;
      p.shuffled = true;
    });
  if (purpose == Purpose::calibrate) return all;
  add([](Params& p) { p.q_heads = p.kv_heads; });
  add([](Params& p) { p.kv_heads = 1; });
  add([](Params& p) {
    p.mla = true, p.kv_heads = 1, p.q_heads = 16, p.k_dim = 576, p.v_dim = 512;
    p.page_tokens = 64;
  });
  add([](Params& p) { p.context = 32768, p.window = 4096, p.sinks = 4; });
  add([](Params& p) { p.batch = 16, p.shared = 3072; });
  add([](Params& p) { p.key_order = KeyOrder::chunk_major; });
  return all;
}

const Register<DecodeCase> kSelf{
    "decode-attention",
    "out[s][h] = sum_t softmax_t(scale * q[s][h] . key[t]) * value[t], one query per sequence",
    "arXiv:2309.06180 (pages), arXiv:2205.14135 (online softmax)"};

}  // namespace
}  // namespace kvsim::kernels
