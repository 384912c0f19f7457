#include "kernels/cases/plain_case.h"
#include "kernels/scores.h"

namespace kvsim::kernels {
namespace {

class KeyScoresCase final : public PlainCase<float> {
 public:
  struct Params {
    std::int32_t context = 1024;
    std::int32_t queries = 1;
    Element element = Element::f16;
    KeyOrder key_order = KeyOrder::dim_major;
    int q_heads = 32;
    int kv_heads = 8;
    int k_dim = 128;
    int page_tokens = 64;
    int group_tokens = 64;
    bool softmax = true;
    static constexpr Rows kFields{
        field("context", &Params::context, between(1, 4'000'000), "tokens in the cache"),
        field("queries", &Params::queries, between(0, 65536), "the last ones of the tokens"),
        field("element", &Params::element, any, "how the cache stores a number"),
        field("key_order", &Params::key_order, any, "order of a tile of keys"),
        field("q_heads", &Params::q_heads, between(1, 4096), "query heads"),
        field("kv_heads", &Params::kv_heads, between(1, 1024), "heads of the cache"),
        field("k_dim", &Params::k_dim, between(16, 1024), "numbers of a key"),
        field("page_tokens", &Params::page_tokens, between(16, 1024), "tokens of a page"),
        field("group_tokens", &Params::group_tokens, between(16, 1024),
              "tokens that share the scales of quantised keys"),
        field("softmax", &Params::softmax, any, "attention weights instead of plain products")};
  };

  KeyScoresCase(Params p, const Context& c) : p_(p), inputs_(inputs(p, c), Rng(c.seed, "keys")) {
    if (p.q_heads % p.kv_heads != 0)
      throw InputError("q_heads must be a multiple of kv_heads",
                       fmt::format("such as {}", p.kv_heads * 4));
    if (p.queries > p.context) throw InputError("queries must not exceed the context");
    const std::size_t rows =
        static_cast<std::size_t>(p.queries) * static_cast<std::size_t>(p.q_heads);
    q_.resize(rows * static_cast<std::size_t>(p.k_dim));
    Rng rng(c.seed, "key-scores");
    draw_normals(rng, q_);
    starts_ = {0, p.queries};
    const auto columns = static_cast<std::size_t>(p.context);
    set_output(rows * columns, inputs_.copies(), columns, is_quantised(p.element) ? 2e-4 : 2e-5);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      Params p;
      p.context = pick(r, {1, 15, 16, 17, 100, 333});
      p.queries = std::min(p.context, pick(r, {1, 1, 2, 7, 32}));
      p.element = enum_names(Element{})[r.below(6)].first;
      p.key_order = pick(r, {KeyOrder::dim_major, KeyOrder::chunk_major});
      p.kv_heads = pick(r, {1, 2, 3});
      p.q_heads = p.kv_heads * pick(r, {1, 3, 4, 7});
      p.k_dim = pick(r, {64, 128, 192});
      p.group_tokens = pick(r, {16, 32});
      p.page_tokens = p.group_tokens * pick(r, {1, 2});
      p.softmax = r.below(2) == 0;
      return p;
    };
    Params middle, long_context, observed;
    middle.context = 4096;
    long_context.context = 32768;
    observed.context = 4096, observed.queries = 32;
    return shapes_of<Params>(purpose, rng, count, odd, {middle, long_context, observed});
  }
  [[nodiscard]] Traffic traffic() const override {
    const KvFormat& f = inputs_.shape().format;
    const double pairs = double{1} * p_.queries * p_.q_heads * p_.context;
    // Values are not read; of quantised pages neither are their scales.
    const double key_bytes = p_.k_dim * (bits_of(f.element) / 8.0 +
                                         (is_quantised(f.element) ? 4.0 / f.group_tokens : 0));
    return {key_bytes * p_.kv_heads * p_.context, pairs * 4, 2 * pairs * p_.k_dim};
  }

 private:
  static KvInputsShape inputs(const Params& p, const Context& c) {
    return {.format = {p.element, p.kv_heads, p.k_dim, 16, p.page_tokens, p.group_tokens,
                       p.key_order, false},
            .lengths = {p.context},
            .footprint = c.footprint};
  }
  void call(std::int64_t copy, const Where& where) override {
    const KeyScores a{inputs_.cache(),
                      inputs_.table(copy),
                      p_.q_heads,
                      static_cast<float>(1 / std::sqrt(p_.k_dim)),
                      p_.softmax,
                      starts_,
                      q_,
                      p_.context,
                      out_[copy]};
    where.run(a, cpu::score_keys, reference::score_keys);
  }

  Params p_;
  KvInputs inputs_;
  std::vector<float> q_;
  std::vector<std::int32_t> starts_;
};

const Register<KeyScoresCase> kSelf{
    "key-scores", "out[query][h][t] = softmax_t(scale * q[query][h] . key[t]), or without softmax",
    "arXiv:2306.14048 (what H2O sums), arXiv:2404.14469"};

}  // namespace
}  // namespace kvsim::kernels
