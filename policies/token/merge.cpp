#include "policies/token/merge.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/merge.h"
#include "policies/token/plan.h"

namespace kvsim::token {

namespace {

struct Assignment {
  std::vector<std::int32_t> cluster;  // of `targets`, -1 = dropped
  std::vector<float> similarity;
};

// The most similar of `targets` for every slot.
Assignment nearest(const Head& h, std::span<const std::int32_t> targets,
                   kernels::Threads& threads) {
  Assignment a{std::vector<std::int32_t>(h.slots(), -1), std::vector<float>(h.slots(), 0.0F)};
  if (targets.empty()) return a;
  kernels::NearestKept k;
  k.tokens = static_cast<std::int32_t>(h.slots());
  k.dim = static_cast<std::int32_t>(h.k_dim);
  k.x = h.keys;
  k.kept = targets;
  k.cluster = a.cluster;
  k.similarity = a.similarity;
  kernels::cpu::assign(k, threads);
  return a;
}

// The best kept slot of the run of similar neighbours that a slot lies in.
Assignment pivots(const MergeSpec& m, const Head& h, std::span<const std::int32_t> kept,
                  std::span<const float> scores, kernels::Threads& threads) {
  Assignment a{std::vector<std::int32_t>(h.slots(), -1), std::vector<float>(h.slots(), 0.0F)};
  if (h.slots() < 2) return a;
  std::vector<float> next(h.slots() - 1);
  kernels::NeighbourSimilarity s;
  s.tokens = static_cast<std::int32_t>(h.slots());
  s.dim = static_cast<std::int32_t>(h.k_dim);
  s.x = h.keys;
  s.out = next;
  kernels::cpu::similarity(s, threads);
  std::vector<std::int32_t> place(h.slots(), -1);
  for (std::size_t i = 0; i < kept.size(); ++i)
    place[static_cast<std::size_t>(kept[i])] = static_cast<std::int32_t>(i);
  for (std::size_t first = 0; first < h.slots();) {
    std::size_t end = first + 1;
    while (end < h.slots() && double{next[end - 1]} > m.gate) ++end;
    std::int32_t pivot = -1;
    for (std::size_t t = first; t < end; ++t)
      if (place[t] >= 0 &&
          (pivot < 0 ||
           scores[t] > scores[static_cast<std::size_t>(kept[static_cast<std::size_t>(pivot)])]))
        pivot = place[t];
    for (std::size_t t = first; t < end; ++t) a.cluster[t] = pivot;
    first = end;
  }
  return a;
}

double squared_distance(const Head& h, std::size_t a, std::size_t b) {
  double sum = 0;
  for (std::size_t d = 0; d < h.k_dim; ++d) {
    const double x = double{h.keys[a * h.k_dim + d]} - double{h.keys[b * h.k_dim + d]};
    sum += x * x;
  }
  return sum;
}

// Weights of what is merged; a target's own is that of something identical to it.
std::vector<float> weights_of(const MergeSpec& m, const Head& h, const Assignment& a,
                              std::span<const std::int32_t> targets) {
  std::vector<float> w(h.slots(), 0.0F);
  const auto target = [&](std::size_t t) {
    return static_cast<std::size_t>(targets[static_cast<std::size_t>(a.cluster[t])]);
  };
  double width = 0, pairs = 0;
  for (std::size_t t = 0; t < h.slots(); ++t)
    if (a.cluster[t] >= 0 && target(t) != t) {
      width += squared_distance(h, t, target(t));
      pairs += 1;
    }
  width = pairs > 0 ? width / pairs : 1;
  for (std::size_t t = 0; t < h.slots(); ++t) {
    if (a.cluster[t] < 0) continue;
    const bool own = target(t) == t;
    switch (m.weight) {
      case MergeWeight::similarity:
        w[t] = std::exp(own ? 1.0F : a.similarity[t]);
        break;
      case MergeWeight::gaussian:
        w[t] = own ? 1.0F
                   : static_cast<float>(
                         std::exp(-squared_distance(h, t, target(t)) / (2 * width + 1e-30)));
        break;
      case MergeWeight::count:
      case MergeWeight::bernoulli:
        w[t] = h.merged[t];
        break;
    }
  }
  return w;
}

// Only slots that take something in change.
void merge_rows(std::vector<float>& rows, std::size_t dim, const Assignment& a,
                const std::vector<float>& weights, std::span<const std::int32_t> targets,
                kernels::Threads& threads) {
  std::vector<float> out(targets.size() * dim);
  kernels::WeightedMerge m;
  m.tokens = static_cast<std::int32_t>(a.cluster.size());
  m.dim = static_cast<std::int32_t>(dim);
  m.clusters = static_cast<std::int32_t>(targets.size());
  m.x = rows;
  m.cluster = a.cluster;
  m.weight = weights;
  m.out = out;
  kernels::cpu::merge(m, threads);
  std::vector<int> members(targets.size(), 0);
  for (const std::int32_t c : a.cluster)
    if (c >= 0) ++members[static_cast<std::size_t>(c)];
  for (std::size_t i = 0; i < targets.size(); ++i)
    if (members[i] > 1)
      std::copy_n(
          out.begin() + static_cast<std::ptrdiff_t>(i * dim), dim,
          rows.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(targets[i]) * dim));
}

// A value goes, over their number, to the next kept slots, with the chance that its own attention
// has against their mean (CaM).
void spread_values(const MergeSpec& m, Head& h, std::span<const std::int32_t> kept,
                   std::span<const float> scores, Rng rng) {
  std::vector<bool> stays(h.slots(), false);
  for (const std::int32_t k : kept) stays[static_cast<std::size_t>(k)] = true;
  for (std::size_t t = 0; t < h.slots(); ++t) {
    if (stays[t]) continue;
    const auto after = std::lower_bound(kept.begin(), kept.end(), static_cast<std::int32_t>(t));
    const auto count = std::min<std::ptrdiff_t>(m.span, kept.end() - after);
    if (count == 0) continue;
    double mean = 0;
    for (auto k = after; k != after + count; ++k)
      mean += double{scores[static_cast<std::size_t>(*k)]} / static_cast<double>(count);
    const double chance = std::clamp(double{scores[t]} / std::max(mean, 1e-30), 0.0, 1.0);
    if (rng.at(static_cast<std::uint64_t>(h.positions[t])).uniform() >= chance) continue;
    for (auto k = after; k != after + count; ++k)
      for (std::size_t d = 0; d < h.v_dim; ++d)
        h.value(static_cast<std::size_t>(*k))[d] += h.value(t)[d] / static_cast<float>(count);
  }
}

void count_in(const MergeSpec& m, Head& h, const Assignment& a,
              std::span<const std::int32_t> targets) {
  for (std::size_t t = 0; t < h.slots(); ++t) {
    if (a.cluster[t] < 0) continue;
    const auto to = static_cast<std::size_t>(targets[static_cast<std::size_t>(a.cluster[t])]);
    if (to == t) continue;
    h.merged[to] += h.merged[t];
    if (m.counted) h.counts[to] += h.counts[t];
  }
}

}  // namespace

void choose_leftovers(const MergeSpec& m, Head& h, std::span<const std::int32_t> kept,
                      std::span<const float> scores, std::int64_t protected_recent) {
  if (m.target != MergeTarget::residual) return;
  if (std::count(h.leftover.begin(), h.leftover.end(), 1) > 0) return;
  const auto n =
      static_cast<std::int64_t>(std::llround(m.slots.value * static_cast<double>(kept.size())));
  std::vector<std::int32_t> order;
  for (const std::int32_t k : kept)
    if (k < static_cast<std::int32_t>(h.slots()) - protected_recent) order.push_back(k);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return scores[static_cast<std::size_t>(a)] < scores[static_cast<std::size_t>(b)];
  });
  for (std::int64_t i = 0; i < std::min<std::int64_t>(n, std::ssize(order)); ++i)
    h.leftover[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = 1;
}

void merge_evicted(const MergeSpec& m, Head& h, std::span<const std::int32_t> kept,
                   std::span<const float> scores, double& gate, Rng rng,
                   kernels::Threads& threads) {
  if (kept.size() == h.slots() || kept.empty()) return;
  if (m.target == MergeTarget::next) return spread_values(m, h, kept, scores, rng);
  std::vector<std::int32_t> targets(kept.begin(), kept.end());
  if (m.target == MergeTarget::residual)
    std::erase_if(targets,
                  [&](std::int32_t k) { return h.leftover[static_cast<std::size_t>(k)] == 0; });
  if (targets.empty()) return;
  Assignment a = m.target == MergeTarget::pivot ? pivots(m, h, kept, scores, threads)
                                                : nearest(h, targets, threads);
  std::vector<bool> stays(h.slots(), false);
  for (const std::int32_t k : kept) stays[static_cast<std::size_t>(k)] = true;
  if (m.target != MergeTarget::pivot) {
    double mean = 0, leaving = 0;
    for (std::size_t t = 0; t < h.slots(); ++t)
      if (!stays[t]) mean += double{a.similarity[t]}, leaving += 1;
    mean /= std::max(1.0, leaving);
    if (m.moving_gate) gate = gate < -1 ? mean : (gate + mean) / 2;
    const double least = m.moving_gate ? gate : m.gate;
    for (std::size_t t = 0; t < h.slots(); ++t)
      if (!stays[t] && double{a.similarity[t]} < least) a.cluster[t] = -1;
  }
  // A kept slot takes in, it does not go anywhere.
  std::vector<std::int32_t> place(h.slots(), -1);
  for (std::size_t i = 0; i < targets.size(); ++i)
    place[static_cast<std::size_t>(targets[i])] = static_cast<std::int32_t>(i);
  for (std::size_t t = 0; t < h.slots(); ++t)
    if (stays[t]) a.cluster[t] = place[t];
  const std::vector<float> weights = weights_of(m, h, a, targets);
  if (m.keys) merge_rows(h.keys, h.k_dim, a, weights, targets, threads);
  merge_rows(h.values, h.v_dim, a, weights, targets, threads);
  count_in(m, h, a, targets);
}

void merge_runs(const MergeSpec& m, Head& h) {
  Head runs;
  runs.k_dim = h.k_dim;
  runs.v_dim = h.v_dim;
  for (std::size_t t = 0; t < h.slots(); ++t)
    append_to_run(m, runs, static_cast<std::int64_t>(t), h.key(t), h.value(t));
  h = std::move(runs);
}

void append_to_run(const MergeSpec& m, Head& h, std::int64_t token, std::span<const float> key,
                   std::span<const float> value) {
  const auto slots = merged_slots(m, token + 1);
  if (slots > std::ssize(h.positions)) {
    h.append(static_cast<std::int32_t>(token), key, value, TokenClass::plain);
    return;
  }
  const std::size_t last = h.slots() - 1;
  h.merged[last] += 1;
  if (m.counted) h.counts[last] += 1;
  h.positions[last] = static_cast<std::int32_t>(token);
  const float share = 1 / h.merged[last];
  for (std::size_t d = 0; d < h.k_dim && m.keys; ++d)
    h.key(last)[d] += (key[d] - h.key(last)[d]) * share;
  for (std::size_t d = 0; d < h.v_dim; ++d)
    h.value(last)[d] += (value[d] - h.value(last)[d]) * share;
}

namespace {

// One of keys and values.
void merge_layer_rows(const MergeSpec& m, std::vector<float>& lower, std::vector<float>& upper,
                      std::size_t dim, std::size_t from, double& limit, std::int64_t& apart,
                      kernels::Threads& threads) {
  const std::size_t n = lower.size() / dim - from;
  if (n == 0) return;
  std::vector<float> direction(n * dim), length_a(n), length_b(n), angle(n);
  const std::span<float> a = std::span(lower).subspan(from * dim);
  const std::span<float> b = std::span(upper).subspan(from * dim);
  kernels::LayerMerge op;
  op.tokens = static_cast<std::int32_t>(n);
  op.dim = static_cast<std::int32_t>(dim);
  op.at = static_cast<float>(m.at);
  op.a = a;
  op.b = b;
  op.direction = direction;
  op.length_a = length_a;
  op.length_b = length_b;
  op.angle = angle;
  kernels::cpu::merge_layers(op, threads);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t x, std::size_t y) { return angle[x] > angle[y]; });
  std::vector<bool> alone(n, false);
  if (limit < 0) {
    const auto count =
        static_cast<std::size_t>(std::llround(m.apart.value * static_cast<double>(n)));
    for (std::size_t i = 0; i < count; ++i) alone[order[i]] = true;
    limit = count < n ? double{angle[order[count]]} : 0;
  } else {
    for (std::size_t t = 0; t < n; ++t) alone[t] = double{angle[t]} > limit;
  }
  for (std::size_t t = 0; t < n; ++t) {
    if (alone[t]) {
      ++apart;
      continue;
    }
    for (std::size_t d = 0; d < dim; ++d) {
      a[t * dim + d] = length_a[t] * direction[t * dim + d];
      b[t * dim + d] = length_b[t] * direction[t * dim + d];
    }
  }
}

}  // namespace

void merge_layer_pair(const MergeSpec& m, Head& lower, Head& upper, std::size_t from,
                      LayerAngles& angles, kernels::Threads& threads) {
  merge_layer_rows(m, lower.keys, upper.keys, lower.k_dim, from, angles.keys, angles.apart_keys,
                   threads);
  merge_layer_rows(m, lower.values, upper.values, lower.v_dim, from, angles.values,
                   angles.apart_values, threads);
}

std::vector<std::int64_t> choose_sources(const MergeSpec& m, std::span<const Head> heads,
                                         std::int64_t layers) {
  const std::size_t per_layer = heads.size() / static_cast<std::size_t>(layers);
  std::vector<std::vector<double>> mean;  // of a layer's keys and values over its tokens
  for (std::int64_t l = 0; l < layers; ++l) {
    std::vector<double> all;
    for (std::size_t h = 0; h < per_layer; ++h) {
      const Head& head = heads[static_cast<std::size_t>(l) * per_layer + h];
      for (const auto* rows : {&head.keys, &head.values}) {
        const std::size_t dim = rows == &head.keys ? head.k_dim : head.v_dim;
        std::vector<double> sum(dim, 0.0);
        for (std::size_t i = 0; i < rows->size(); ++i) sum[i % dim] += double{(*rows)[i]};
        for (double& s : sum)
          all.push_back(s / std::max<double>(1, static_cast<double>(head.slots())));
      }
    }
    mean.push_back(std::move(all));
  }
  struct Pair {
    double distance;
    std::int64_t lower, upper;
  };
  std::vector<Pair> pairs;
  for (std::int64_t u = 1; u < layers; ++u)
    for (std::int64_t l = 0; l < u; ++l) {
      double sum = 0;
      const auto &a = mean[static_cast<std::size_t>(l)], &b = mean[static_cast<std::size_t>(u)];
      for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
      pairs.push_back({sum, l, u});
    }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.distance > b.distance; });
  std::vector<std::int64_t> source(static_cast<std::size_t>(layers));
  std::iota(source.begin(), source.end(), std::int64_t{0});
  std::vector<bool> read(source.size(), false);
  std::int64_t left = layers - owned_layers(m, layers);
  for (const Pair& p : pairs) {
    const auto u = static_cast<std::size_t>(p.upper), l = static_cast<std::size_t>(p.lower);
    if (left == 0) break;
    if (source[u] != p.upper || source[l] != p.lower || read[u]) continue;
    source[u] = p.lower;
    read[l] = true;
    --left;
  }
  // Every pair had a reader in it: the highest layers that nobody reads give theirs up.
  for (std::int64_t u = layers - 1; u > 0 && left > 0; --u) {
    const auto at = static_cast<std::size_t>(u);
    if (source[at] != u || read[at]) continue;
    source[at] = 0;
    --left;
  }
  return source;
}

}  // namespace kvsim::token
