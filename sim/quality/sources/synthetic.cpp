// Attention tensors from a documented process with what caches of language models are known to
// show. Per KV head, before rotation, the key of token t is
//
//   content   centre of its cluster + noise             slow half of the rotary pairs
//   weight    -ln(rank of t), ranks drawn once          heavy hitters: attention ~ rank^-zipf
//   sink      a constant for the first tokens
//   place     a constant in the fastest quarter of the pairs: rotated, their products decay with
//             distance
//   offset    large constants in a few channels (what makes keys hard to quantise per token)
//
// and a query asks for a cluster, which stays the same with probability `persistence`, for heavy
// tokens, for sinks (as much as gives them their share of the attention) and for near tokens.
// Retrieval heads ask sharply, and for each needle once; lazy layers ask for sinks and near tokens
// only.
#include <algorithm>
#include <cmath>

#include "sim/base/random.h"
#include "sim/quality/source.h"

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
constexpr float kSinkKey = 4;         // numbers in the reserved channels
constexpr float kWeightKey = 0.5F;    // per ln(rank)
constexpr std::int64_t kSamples = 8;  // queries of a head that set its sinks

class Synthetic final : public Source {
 public:
  struct Params {
    std::int64_t layers = 4;
    std::optional<std::int64_t> q_heads{}, kv_heads{}, dim{};
    std::int64_t sinks = 4;
    Ratio sink_mass{0.45};
    std::int64_t sinkless_layers = 1;
    double recency = 3;
    std::int64_t clusters = 32;
    double zipf = 0.7, focus = 3;
    Ratio persistence{0.9};
    std::int64_t outlier_channels = 3;
    double outlier_scale = 20;
    Ratio retrieval_heads{0.2}, lazy_layers{0.25};
    std::int64_t needles = 8;
    Ratio needle_mass{0.5};
    bool rope = true;
    double theta = 500000;
    static constexpr Rows kFields{
        field("layers", &Params::layers, between<std::int64_t>(1, 128), "that are drawn"),
        field("q_heads", &Params::q_heads, between<std::int64_t>(1, 1024),
              "query heads; default: of the scenario's model (at most four KV heads of it), or 8"),
        field("kv_heads", &Params::kv_heads, between<std::int64_t>(1, 256),
              "KV heads; default: likewise, or 2"),
        field("dim", &Params::dim, between<std::int64_t>(32, 1024),
              "of a head; default: likewise, or 64"),
        field("sinks", &Params::sinks, between<std::int64_t>(0, 64),
              "first tokens that draw attention"),
        field("sink_mass", &Params::sink_mass, between(Ratio{0}, Ratio{0.95}),
              "of the attention, on sinks; the mean over heads"),
        field("sinkless_layers", &Params::sinkless_layers, between<std::int64_t>(0, 128),
              "first layers, without sinks"),
        field("recency", &Params::recency, between(0.0, 20.0),
              "logit of the newest token over far ones, in nats"),
        field("clusters", &Params::clusters, between<std::int64_t>(1, 4096), "of keys"),
        field("zipf", &Params::zipf, between(0.0, 3.0),
              "exponent of the tokens' weights: heavy hitters"),
        field("focus", &Params::focus, between(0.0, 20.0),
              "logit of the cluster that is asked for, in nats; twice that in retrieval heads"),
        field("persistence", &Params::persistence, between(Ratio{0}, Ratio{1}),
              "probability that the next query asks for the same cluster"),
        field("outlier_channels", &Params::outlier_channels, between<std::int64_t>(0, 4),
              "of keys"),
        field("outlier_scale", &Params::outlier_scale, between(0.0, 1000.0),
              "their size over that of other channels"),
        field("retrieval_heads", &Params::retrieval_heads, between(Ratio{0}, Ratio{1}),
              "share of KV heads that look far, and for needles"),
        field("lazy_layers", &Params::lazy_layers, between(Ratio{0}, Ratio{1}),
              "share of layers with sinks and near tokens only"),
        field("needles", &Params::needles, between<std::int64_t>(0, 4096),
              "tokens of the prompt that a later query asks for"),
        field("needle_mass", &Params::needle_mass, between(Ratio{0.01}, Ratio{0.99}),
              "attention that such a query gives it"),
        field("rope", &Params::rope, any,
              "keys and queries are rotated as a whole; else only what tells distances"),
        field("theta", &Params::theta, between(10.0, 1e9), "base of the rotary frequencies")};
  };

  Synthetic(Params p, const Context& c) : p_(std::move(p)), context_(c) {
    const std::int64_t like_kv = c.like ? std::min<std::int64_t>(c.like->kv_heads, 4) : 2;
    const std::int64_t group = c.like ? c.like->group() : 4;
    shape_.layers = p_.layers;
    shape_.kv_heads = p_.kv_heads.value_or(like_kv);
    shape_.q_heads = p_.q_heads.value_or(shape_.kv_heads * group);
    shape_.k_dim = p_.dim.value_or(c.like ? std::max<std::int64_t>(c.like->k_dim, 32) : 64);
    shape_.v_dim = p_.dim.value_or(c.like ? c.like->v_dim : 64);
    if (shape_.k_dim % 2 != 0)
      throw InputError("quality.source.dim: a rotary head has an even number of channels");
    if (shape_.q_heads % shape_.kv_heads != 0)
      throw InputError("quality.source.q_heads: not a multiple of kv_heads");
    if (const std::int64_t numbers = shape_.layers * (prompt() + steps()) *
                                     (shape_.q_heads + 2 * shape_.kv_heads) * shape_.k_dim;
        numbers > std::int64_t{1} << 29)
      throw InputError("quality.source: more than 2 GiB of tensors",
                       "fewer layers, heads, or tokens (quality.prompt, quality.steps)");
  }
  [[nodiscard]] token::KvShape shape() const override { return shape_; }
  [[nodiscard]] std::int32_t prompt() const override {
    return static_cast<std::int32_t>(context_.prompt > 0 ? context_.prompt : 512);
  }
  [[nodiscard]] std::int32_t steps() const override {
    return static_cast<std::int32_t>(context_.steps > 0 ? context_.steps : 32);
  }
  [[nodiscard]] std::int32_t sequences() const override {
    return static_cast<std::int32_t>(context_.sequences);
  }
  [[nodiscard]] Sequence sequence(std::int32_t index, const Compute&) const override;

 private:
  Params p_;
  Context context_;
  token::KvShape shape_;
};

// One KV head and its query heads.
class HeadMaker {
 public:
  HeadMaker(const Synthetic::Params& p, Sequence& s, std::int32_t layer, std::int32_t head, Rng rng)
      : p_(p),
        s_(s),
        layer_(size(layer)),
        head_(size(head)),
        dim_(size(s.shape.k_dim)),
        pairs_(dim_ / 2),
        rng_(rng) {
    const auto lazy_from = static_cast<std::int64_t>(
        std::llround(p.lazy_layers.value * static_cast<double>(s.shape.layers)));
    // The last layers but one are the lazy ones, as far as there are so many.
    is_lazy_ = layer > 0 && layer + 1 < s.shape.layers && s.shape.layers - 1 - layer <= lazy_from;
    std::uint8_t& seeks = s.seeks[size(layer * s.shape.kv_heads + head)];
    if (is_lazy_) seeks = 0;
    is_retrieval_ = seeks != 0;
    has_sinks_ = p.sinks > 0 && layer >= p.sinkless_layers && p.sink_mass.value > 0;
    root_ = std::sqrt(static_cast<double>(dim_));
    for (std::size_t i = 0; i < pairs_; ++i)
      frequencies_.push_back(
          std::pow(p.theta, -static_cast<double>(i) / static_cast<double>(pairs_)));
    // Reserved: the slowest pairs.
    sink_ = dim_ - 1, weight_ = dim_ - 2;
    for (std::int64_t i = 0; i < p.outlier_channels; ++i) offsets_.push_back(pairs_ - 1 - size(i));
    for (std::size_t i = pairs_ / 2; i < pairs_; ++i)
      for (const std::size_t d : {i, i + pairs_})
        if (d != sink_ && d != weight_ &&
            std::find(offsets_.begin(), offsets_.end(), d) == offsets_.end())
          content_.push_back(d);
  }

  void make() {
    draw_tokens();
    for (std::int64_t g = 0; g < s_.shape.group(); ++g) draw_queries(size(g));
    turn(s_.keys[layer_], s_.shape.kv_heads, head_);
    for (std::int64_t g = 0; g < s_.shape.group(); ++g)
      turn(s_.queries[layer_], s_.shape.q_heads, head_ * size(s_.shape.group()) + size(g));
  }

 private:
  [[nodiscard]] std::size_t tokens() const { return size(s_.tokens()); }
  [[nodiscard]] float* key(std::size_t t) {
    return &s_.keys[layer_][(t * size(s_.shape.kv_heads) + head_) * dim_];
  }
  [[nodiscard]] float* query(std::size_t t, std::size_t g) {
    return &s_.queries[layer_]
                      [(t * size(s_.shape.q_heads) + head_ * size(s_.shape.group()) + g) * dim_];
  }
  // A direction of the content channels, of about the length of a key there.
  std::vector<double> direction() {
    std::vector<double> c(content_.size());
    for (double& x : c) x = rng_.normal();
    return c;
  }

  void draw_tokens() {
    const std::size_t n = tokens(), v_dim = size(s_.shape.v_dim);
    std::vector<std::vector<double>> means;
    for (std::int64_t c = 0; c < p_.clusters; ++c) {
      centres_.push_back(direction());
      std::vector<double> mean(v_dim);
      for (double& x : mean) x = rng_.normal();
      means.push_back(std::move(mean));
    }
    rank_.resize(n);
    for (std::size_t t = 0; t < n; ++t) rank_[t] = static_cast<double>(t + 1);
    for (std::size_t t = n; t > 1; --t) std::swap(rank_[t - 1], rank_[rng_.below(t)]);
    for (std::size_t t = 0; t < n; ++t) {
      const auto cluster = static_cast<std::size_t>(rng_.below(size(p_.clusters)));
      float* k = key(t);
      for (std::size_t d = 0; d < dim_; ++d) k[d] = static_cast<float>(0.5 * rng_.normal());
      for (std::size_t i = 0; i < content_.size(); ++i)
        k[content_[i]] += static_cast<float>(centres_[cluster][i]);
      for (std::size_t i = 0; i < pairs_ / 4; ++i) k[i] = 1, k[i + pairs_] = 0;
      for (const std::size_t d : offsets_) k[d] += static_cast<float>(p_.outlier_scale);
      const bool is_sink = t < size(p_.sinks);
      k[sink_] = is_sink ? kSinkKey : 0;
      k[weight_] = -kWeightKey * static_cast<float>(std::log(rank_[t]));
      float* v = &s_.values[layer_][(t * size(s_.shape.kv_heads) + head_) * v_dim];
      for (std::size_t d = 0; d < v_dim; ++d)
        v[d] = static_cast<float>((0.5 * means[cluster][d] + rng_.normal()) * (is_sink ? 0.1 : 1));
    }
    for (const Needle& needle : s_.needles) {
      needles_.push_back(direction());
      float* k = key(size(needle.position));
      for (std::size_t i = 0; i < content_.size(); ++i)
        k[content_[i]] = static_cast<float>(needles_.back()[i]);
    }
  }

  // Content channels that give tokens near `centre` this logit.
  void ask(float* q, const std::vector<double>& centre, double logit) const {
    double length = 0;
    for (const double x : centre) length += x * x;
    for (std::size_t i = 0; i < content_.size(); ++i)
      q[content_[i]] = static_cast<float>(logit * root_ * centre[i] / length);
  }
  [[nodiscard]] std::size_t zipf_cluster() {
    // Inverse of the cumulative sum of 1 / rank.
    double all = 0;
    for (std::int64_t c = 1; c <= p_.clusters; ++c) all += 1 / static_cast<double>(c);
    double u = rng_.uniform() * all;
    for (std::int64_t c = 1; c < p_.clusters; ++c)
      if ((u -= 1 / static_cast<double>(c)) < 0) return size(c - 1);
    return size(p_.clusters - 1);
  }

  void draw_queries(std::size_t g) {
    const double focus = is_lazy_ ? 0 : is_retrieval_ ? 2 * p_.focus : p_.focus;
    const double near = is_retrieval_ ? p_.recency / 2 : p_.recency;
    const double heavy = is_lazy_ ? p_.zipf / 3 : p_.zipf;
    const double fast = static_cast<double>(pairs_ / 4);
    std::size_t cluster = zipf_cluster();
    for (std::size_t t = 0; t < tokens(); ++t) {
      if (rng_.uniform() >= p_.persistence.value) cluster = zipf_cluster();
      float* q = query(t, g);
      for (std::size_t d = 0; d < dim_; ++d) q[d] = static_cast<float>(0.1 * rng_.normal());
      ask(q, centres_[cluster], focus);
      for (std::size_t i = 0; i < pairs_ / 4; ++i)
        q[i] = static_cast<float>(near * root_ / fast), q[i + pairs_] = 0;
      for (const std::size_t d : offsets_) q[d] = 0;
      q[sink_] = 0;
      q[weight_] = static_cast<float>(heavy * root_ / double{kWeightKey});
    }
    if (has_sinks_) ask_for_sinks(g);
    for (std::size_t i = 0; i < s_.needles.size() && is_retrieval_; ++i) ask_for_needle(i, g);
  }
  // ln of the sum of exp of the logits that query t gives to tokens [from, to).
  [[nodiscard]] double weight_of(std::size_t t, std::size_t g, std::size_t from, std::size_t to) {
    double sum = 0;
    for (std::size_t s = from; s < to; ++s) sum += std::exp(logit(t, g, s));
    return std::log(std::max(sum, 1e-300));
  }
  // As it will be once both are rotated.
  [[nodiscard]] double logit(std::size_t t, std::size_t g, std::size_t s) {
    const float *q = query(t, g), *k = key(s);
    const auto apart = static_cast<double>(t - s);
    const std::size_t turned = p_.rope ? pairs_ : pairs_ / 4;
    double sum = 0;
    for (std::size_t i = 0; i < pairs_; ++i) {
      const double a = double{q[i]}, b = double{q[i + pairs_]};
      const double c = double{k[i]}, d = double{k[i + pairs_]};
      if (i >= turned) {
        sum += a * c + b * d;
        continue;
      }
      const double angle = apart * frequencies_[i];
      sum += (a * c + b * d) * std::cos(angle) + (b * c - a * d) * std::sin(angle);
    }
    return sum / root_;
  }
  // Asks so much that the needle gets its share: what it asks draws others a little too.
  void ask_for_needle(std::size_t i, std::size_t g) {
    const Needle& n = s_.needles[i];
    const auto t = size(s_.prompt + n.step), at = size(n.position);
    float* q = query(t, g);
    for (const std::size_t d : content_) q[d] = 0;
    std::vector<double> rest(t + 1), own(t + 1);
    for (std::size_t s = 0; s <= t; ++s) rest[s] = logit(t, g, s);
    ask(q, needles_[i], 1);
    for (std::size_t s = 0; s <= t; ++s) own[s] = logit(t, g, s) - rest[s];
    double low = 0, high = 100;
    for (int step = 0; step < 40; ++step) {
      const double asked = (low + high) / 2, most = rest[at] + asked * own[at];
      double sum = 0;
      for (std::size_t s = 0; s <= t; ++s) sum += std::exp(rest[s] + asked * own[s] - most);
      (1 / sum < p_.needle_mass.value ? low : high) = asked;
    }
    ask(q, needles_[i], low);
  }
  void ask_for_sinks(std::size_t g) {
    // Heads differ in how much they look there.
    const double share = std::min(
        0.98, p_.sink_mass.value * (is_retrieval_ ? 0.5 : 1) * (0.7 + 0.6 * rng_.uniform()));
    const auto n = static_cast<std::int64_t>(tokens());
    double wanted = std::log(share / (1 - share));
    std::int64_t count = 0;
    double apart = 0;  // of the others' and the sinks' own sums of weights, in nats
    for (std::int64_t t = n - 1; t > p_.sinks && count < kSamples; ++count) {
      apart += weight_of(size(t), g, size(p_.sinks), size(t + 1)) -
               weight_of(size(t), g, 0, size(p_.sinks));
      t -= std::max<std::int64_t>(1, n / 16);
    }
    if (count == 0) return;
    wanted += apart / static_cast<double>(count);
    for (std::size_t t = 0; t < tokens(); ++t)
      query(t, g)[sink_] = static_cast<float>(wanted * root_ / double{kSinkKey});
  }

  // Rotary halves: pair i is (i, i + dim / 2). Without rope only the pairs that tell distances.
  void turn(std::vector<float>& rows, std::int64_t heads, std::size_t head) {
    const std::size_t last = p_.rope ? pairs_ : pairs_ / 4;
    for (std::size_t i = 0; i < last; ++i) {
      const double f = frequencies_[i];
      for (std::size_t t = 0; t < tokens(); ++t) {
        float* x = &rows[(t * size(heads) + head) * dim_];
        const double angle = f * static_cast<double>(t), c = std::cos(angle), s = std::sin(angle);
        const double a = double{x[i]}, b = double{x[i + pairs_]};
        x[i] = static_cast<float>(a * c - b * s);
        x[i + pairs_] = static_cast<float>(a * s + b * c);
      }
    }
  }

  const Synthetic::Params& p_;
  Sequence& s_;
  std::size_t layer_, head_, dim_, pairs_;
  Rng rng_;
  bool is_lazy_ = false, is_retrieval_ = false, has_sinks_ = false;
  double root_ = 1;
  std::size_t sink_ = 0, weight_ = 0;
  std::vector<std::size_t> offsets_, content_;
  std::vector<std::vector<double>> centres_, needles_;
  std::vector<double> rank_, frequencies_;
};

Sequence Synthetic::sequence(std::int32_t index, const Compute& compute) const {
  Sequence s;
  s.shape = shape_;
  s.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape_.k_dim)));
  if (p_.rope) s.rope = token::RopeShape{kernels::RopePairs::halves, p_.theta};
  s.prompt = prompt();
  s.steps = steps();
  const Rng root = Rng(context_.seed, "quality/synthetic").at(size(index));
  // Needles lie between the sinks and the newest tokens, and are asked for one after the other.
  Rng place = root.at(0);
  const std::int64_t first = p_.sinks, last = s.prompt - s.prompt / 8;
  for (std::int64_t i = 0; i < p_.needles && last > first; ++i) {
    const auto at = first + static_cast<std::int64_t>(place.below(size(last - first)));
    const bool is_new = std::none_of(s.needles.begin(), s.needles.end(),
                                     [&](const Needle& n) { return n.position == at; });
    if (is_new && i < s.steps)
      s.needles.push_back(
          {static_cast<std::int32_t>(at),
           static_cast<std::int32_t>(i * s.steps / std::min<std::int64_t>(p_.needles, s.steps))});
  }
  const auto heads = size(shape_.heads());
  const auto seeking =
      static_cast<std::size_t>(std::ceil(p_.retrieval_heads.value * static_cast<double>(heads)));
  s.seeks.assign(heads, 0);
  std::fill_n(s.seeks.begin(), seeking, std::uint8_t{1});
  Rng kinds = root.at(1);
  for (std::size_t i = heads; i > 1; --i) std::swap(s.seeks[i - 1], s.seeks[kinds.below(i)]);
  const auto tokens = size(s.tokens());
  for (std::int64_t l = 0; l < shape_.layers; ++l) {
    s.keys.emplace_back(tokens * size(shape_.kv_heads * shape_.k_dim));
    s.values.emplace_back(tokens * size(shape_.kv_heads * shape_.v_dim));
    s.queries.emplace_back(tokens * size(shape_.q_heads * shape_.k_dim));
  }
  compute.threads().run([&](int thread) {
    const auto [from, to] = compute.threads().part(shape_.heads(), thread);
    for (std::int64_t i = from; i < to; ++i)
      HeadMaker(p_, s, static_cast<std::int32_t>(i / shape_.kv_heads),
                static_cast<std::int32_t>(i % shape_.kv_heads), root.at(size(i + 2)))
          .make();
  });
  return s;
}

const Register<Synthetic> kSelf{
    "synthetic",
    "a documented process: sinks, near tokens, heavy hitters, clusters, outlier channels",
    "arXiv:2309.17453 (sinks), 2306.14048 (heavy hitters), 2402.02750 (outlier channels), "
    "2404.15574 "
    "(retrieval heads)"};

}  // namespace

}  // namespace kvsim::quality
