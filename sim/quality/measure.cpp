#include "sim/quality/measure.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
constexpr float kUndefined = std::numeric_limits<float>::quiet_NaN();

struct Row {
  Measure measure;
  const char *text, *unit;
};
constexpr Row kRows[] = {
    {Measure::out_err, "|o - o'| / |o| of attention's output, per query head", "ratio"},
    {Measure::mass, "share of the full attention that lies on tokens still read", "ratio"},
    {Measure::recall, "share of the k most attended tokens that are still read", "ratio"},
    {Measure::needle_survival, "share of planted tokens still read when their query comes",
     "ratio"},
    {Measure::attn_kl, "KL divergence of the policy's attention row from the full one", "nats"},
    {Measure::rel_mse_keys, "|k - k'|^2 / |k|^2 over the keys held", "ratio"},
    {Measure::rel_mse_values, "|v - v'|^2 / |v|^2 over the values held", "ratio"},
    {Measure::perplexity, "exp of the mean negative log likelihood of the text", ""},
    {Measure::agreement, "share of greedy tokens equal to those of the whole cache", "ratio"},
    {Measure::first_difference, "greedy tokens before the first that differs", "tokens"}};
const Row& row_of(Measure m) { return kRows[static_cast<std::size_t>(m)]; }

double squares(std::span<const float> v) {
  double sum = 0;
  for (const float x : v) sum += double{x} * double{x};
  return sum;
}
double difference(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = double{a[i]} - double{b[i]};
    sum += d * d;
  }
  return sum;
}

// One sequence under one policy.
class Meter {
 public:
  Meter(const Sequence& s, const FullAttention& full, const std::vector<Measure>& wanted)
      : s_(s), full_(full) {
    for (const Measure m : wanted) {
      if (!is_proxy(m)) continue;
      const bool stored = m == Measure::rel_mse_keys || m == Measure::rel_mse_values ||
                          m == Measure::needle_survival;
      Grid g{static_cast<std::int32_t>(s.shape.layers),
             static_cast<std::int32_t>(stored ? s.shape.kv_heads : s.shape.q_heads),
             s.steps,
             {}};
      g.values.assign(size(g.layers) * size(g.heads) * size(g.steps), kUndefined);
      grids_.emplace(m, std::move(g));
    }
    present_.resize(size(full.columns));
  }
  [[nodiscard]] bool has(Measure m) const { return grids_.contains(m); }
  void set_step(std::int32_t step) { step_ = step; }

  void see(std::int32_t layer, std::int32_t head, const token::HeadView& v) {
    std::fill(present_.begin(), present_.end(), std::uint8_t{0});
    for (std::size_t i = 0; i < v.positions.size(); ++i)
      if (v.read[i] != 0) present_[size(v.positions[i])] = 1;
    for (std::int64_t g = 0; g < s_.shape.group(); ++g) {
      const auto q_head = static_cast<std::int32_t>(head * s_.shape.group() + g);
      const std::size_t row = size(step_) * size(s_.shape.q_heads) + size(q_head);
      const auto weights = std::span(full_.weights[size(layer)])
                               .subspan(row * size(full_.columns), size(full_.columns));
      if (has(Measure::mass)) put(Measure::mass, layer, q_head, mass(weights));
      if (has(Measure::recall)) put(Measure::recall, layer, q_head, recall(layer, row));
      if (has(Measure::attn_kl))
        put(Measure::attn_kl, layer, q_head,
            divergence(weights, v,
                       v.weights.subspan(size(g) * v.positions.size(), v.positions.size())));
    }
    if (has(Measure::needle_survival)) see_needles(layer, head);
    const auto dims = [&](std::int64_t d) { return size(d); };
    if (has(Measure::rel_mse_keys))
      put(Measure::rel_mse_keys, layer, head,
          relative(v, v.keys, s_.keys[size(layer)], head, dims(s_.shape.k_dim)));
    if (has(Measure::rel_mse_values))
      put(Measure::rel_mse_values, layer, head,
          relative(v, v.values, s_.values[size(layer)], head, dims(s_.shape.v_dim)));
  }

  void see_output(std::int32_t layer, std::span<const float> out) {
    if (!has(Measure::out_err)) return;
    const std::size_t dim = size(s_.shape.v_dim);
    for (std::int32_t h = 0; h < static_cast<std::int32_t>(s_.shape.q_heads); ++h) {
      const std::size_t row = size(step_) * size(s_.shape.q_heads) + size(h);
      const auto full = std::span(full_.outputs[size(layer)]).subspan(row * dim, dim);
      const double length = squares(full);
      if (length > 0)
        put(Measure::out_err, layer, h,
            std::sqrt(difference(full, out.subspan(size(h) * dim, dim)) / length));
    }
  }
  [[nodiscard]] std::map<Measure, Grid> take() { return std::move(grids_); }

 private:
  void put(Measure m, std::int32_t layer, std::int32_t head, double value) {
    grids_.at(m).at(layer, head, step_) = static_cast<float>(value);
  }
  [[nodiscard]] double mass(std::span<const float> weights) const {
    double sum = 0;
    for (std::size_t t = 0; t < weights.size(); ++t)
      if (present_[t] != 0) sum += double{weights[t]};
    return std::min(sum, 1.0);
  }
  [[nodiscard]] double recall(std::int32_t layer, std::size_t row) const {
    const auto best =
        std::span(full_.best[size(layer)]).subspan(row * size(full_.top), size(full_.top));
    const std::int32_t visible = std::min(full_.top, s_.prompt + step_ + 1);
    double found = 0, all = 0;
    for (const std::int32_t t : best) {
      if (t < 0 || t > s_.prompt + step_) continue;
      ++all;
      found += present_[size(t)] != 0 ? 1 : 0;
    }
    return all > 0 ? found / std::min<double>(all, visible) : 1;
  }
  // Of the policy's row from the full one, finite since the full row is nowhere 0 in exact
  // arithmetic. A token that stands for all that left is compared with all of their attention.
  [[nodiscard]] static double divergence(std::span<const float> full, const token::HeadView& v,
                                         std::span<const float> own) {
    constexpr double kLeast = 1e-30;  // f32 underflows below
    double sum = 0, seen = 0, full_seen = 0;
    for (std::size_t i = 0; i < own.size(); ++i) {
      const double p = double{full[size(v.positions[i])]}, q = double{own[i]};
      seen += q, full_seen += p;
      if (q > 0) sum += q * std::log(q / std::max(p, kLeast));
    }
    if (const double rest = 1 - seen; v.gone > 0 && rest > 1e-6)
      sum += rest * std::log(rest / std::max(1 - full_seen, kLeast));
    return std::max(sum, 0.0);
  }
  void see_needles(std::int32_t layer, std::int32_t head) {
    if (!s_.seeks.empty() && s_.seeks[size(layer * s_.shape.kv_heads + head)] == 0) return;
    double found = 0, asked = 0;
    for (const Needle& n : s_.needles) {
      if (n.step != step_) continue;
      ++asked;
      found += present_[size(n.position)] != 0 ? 1 : 0;
    }
    if (asked > 0) put(Measure::needle_survival, layer, head, found / asked);
  }
  [[nodiscard]] double relative(const token::HeadView& v, std::span<const float> held,
                                const std::vector<float>& exact, std::int32_t head,
                                std::size_t dim) const {
    double lost = 0, all = 0;
    for (std::size_t i = 0; i < v.positions.size(); ++i) {
      const std::size_t from = (size(v.positions[i]) * size(s_.shape.kv_heads) + size(head)) * dim;
      const auto was = std::span(exact).subspan(from, dim);
      lost += difference(was, held.subspan(i * dim, dim));
      all += squares(was);
    }
    return all > 0 ? lost / all : double{kUndefined};
  }

  const Sequence& s_;
  const FullAttention& full_;
  std::map<Measure, Grid> grids_;
  std::vector<std::uint8_t> present_;
  std::int32_t step_ = 0;
};

// Linear between neighbours, as the percentiles of runs.
double percentile(std::vector<float>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return double{sorted[low]} +
         (double{sorted[high]} - double{sorted[low]}) * (at - static_cast<double>(low));
}

}  // namespace

const char* measure_text(Measure m) { return row_of(m).text; }
const char* measure_unit(Measure m) { return row_of(m).unit; }
bool is_proxy(Measure m) { return m < Measure::perplexity; }
bool small_is_bad(Measure m) {
  return m == Measure::mass || m == Measure::recall || m == Measure::needle_survival ||
         m == Measure::agreement || m == Measure::first_difference;
}

PolicyOnTensors measure_on(const Sequence& s, const FullAttention& full,
                           const token::TokenPolicies& policies, const std::vector<Measure>& wanted,
                           std::uint64_t seed, const Compute& compute) {
  Meter meter(s, full, wanted);
  token::TokenCache::Options options = s.options(seed);
  options.vulkan = compute.device();
  options.weights = meter.has(Measure::attn_kl);
  options.observe = [&](std::int32_t layer, std::int32_t head, const token::HeadView& v) {
    meter.see(layer, head, v);
  };
  token::TokenCache cache(policies, options, compute.threads());
  cache.begin(s.prompt, s.classes);
  for (std::int64_t l = 0; l < s.shape.layers; ++l)
    cache.prompt(static_cast<std::int32_t>(l), s.prompt_tensors(l));
  cache.seal();
  PolicyOnTensors result;
  std::vector<float> out(size(s.shape.q_heads * s.shape.v_dim));
  for (std::int32_t i = 0; i < s.steps; ++i) {
    meter.set_step(i);
    for (std::int64_t l = 0; l < s.shape.layers; ++l) {
      const auto layer = static_cast<std::int32_t>(l);
      cache.attend(layer, s.step_tensors(l, i), out);
      meter.see_output(layer, out);
    }
  }
  result.read_tokens = cache.read_tokens();
  result.kept_tokens = cache.kept_tokens();
  result.kv_bytes = cache.stored().total();
  result.grids = meter.take();
  return result;
}

void summarize(Measure m, const std::vector<const Grid*>& grids, const Detail& detail,
               std::vector<Value>& out) {
  if (grids.empty()) return;
  const Grid& first = *grids.front();
  const auto add = [&](std::int32_t layer, std::int32_t head, std::int32_t step) {
    std::vector<float> all;
    for (const Grid* g : grids)
      for (std::int32_t l = layer < 0 ? 0 : layer; l < (layer < 0 ? g->layers : layer + 1); ++l)
        for (std::int32_t h = head < 0 ? 0 : head; h < (head < 0 ? g->heads : head + 1); ++h)
          for (std::int32_t s = step < 0 ? 0 : step; s < (step < 0 ? g->steps : step + 1); ++s) {
            const float v =
                g->values[(size(l) * size(g->heads) + size(h)) * size(g->steps) + size(s)];
            if (!std::isnan(v)) all.push_back(v);
          }
    if (all.empty()) return;
    double sum = 0;
    for (const float v : all) sum += double{v};
    std::sort(all.begin(), all.end());
    out.push_back({m, "mean", layer, head, step, sum / static_cast<double>(all.size())});
    out.push_back({m, small_is_bad(m) ? "p1" : "p99", layer, head, step,
                   percentile(all, small_is_bad(m) ? 0.01 : 0.99)});
  };
  add(-1, -1, -1);
  for (std::int32_t l = 0; l < first.layers && (detail.layers || detail.heads); ++l) {
    if (detail.layers) add(l, -1, -1);
    for (std::int32_t h = 0; h < first.heads && detail.heads; ++h) add(l, h, -1);
  }
  for (std::int32_t s = 0; s < first.steps && detail.steps; ++s) add(-1, -1, s);
}

}  // namespace kvsim::quality
