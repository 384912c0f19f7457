#include "policies/token/pick.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/scores.h"

namespace kvsim::token {

std::vector<std::int32_t> best_of(std::span<const float> scores,
                                  std::span<const std::int32_t> candidates, std::int64_t k,
                                  kernels::Threads& threads) {
  const auto n = static_cast<std::int64_t>(candidates.size());
  if (k >= n) return {candidates.begin(), candidates.end()};
  if (k <= 0) return {};
  std::vector<float> row;
  for (const std::int32_t c : candidates) row.push_back(scores[static_cast<std::size_t>(c)]);
  std::vector<std::int32_t> out(static_cast<std::size_t>(k));
  kernels::TopK top;
  top.rows = 1;
  top.columns = static_cast<std::int32_t>(n);
  top.k = static_cast<std::int32_t>(k);
  top.in = row;
  top.out = out;
  kernels::cpu::top_k(top, threads);
  for (std::int32_t& i : out) i = candidates[static_cast<std::size_t>(i)];
  return out;
}

namespace {

class Picker {
 public:
  Picker(const PickQuestion& q, kernels::Threads& threads)
      : q_(q),
        s_(*q.select),
        n_(static_cast<std::int64_t>(q.head->slots())),
        threads_(threads),
        taken_(q.head->slots(), false) {}

  std::vector<std::int32_t> run() {
    protect();
    if (!q_.plan.protected_only) {
      take(best_of(q_.scores, open(is_spared()), left(), threads_));
      if (s_.stride > 0) take_runs();
      const auto share = [&](Ratio r) {
        return std::min(left(), static_cast<std::int64_t>(
                                    std::llround(r.value * static_cast<double>(q_.capacity))));
      };
      const std::int64_t drawn = share(s_.random), refined = share(s_.refine);
      take(best_of(q_.scores, open({}), left() - drawn - refined, threads_));
      if (refined > 0) take(best_of(refined_scores(), open({}), refined, threads_));
      if (drawn > 0) take(best_of(drawn_scores(), open({}), drawn, threads_));
    }
    std::vector<std::int32_t> out;
    for (std::int64_t t = 0; t < n_; ++t)
      if (taken_[static_cast<std::size_t>(t)]) out.push_back(static_cast<std::int32_t>(t));
    return out;
  }

 private:
  [[nodiscard]] std::int64_t left() const {
    return q_.capacity - std::count(taken_.begin(), taken_.end(), true);
  }
  [[nodiscard]] bool banned(std::size_t slot) const {
    return !q_.banned.empty() && q_.banned[slot] != 0;
  }
  void take(const std::vector<std::int32_t>& slots) {
    for (const std::int32_t s : slots) taken_[static_cast<std::size_t>(s)] = true;
  }
  // Sinks by position, the newest by slot; protected_only knows no capacity.
  void protect() {
    const bool only = q_.plan.protected_only;
    const std::int64_t most = only ? n_ : q_.capacity;
    const std::int64_t sinks = std::min(q_.plan.sinks, most);
    const std::int64_t recent = std::min(q_.plan.recent, most - sinks);
    std::int64_t count = 0;
    for (std::int64_t t = 0; t < n_; ++t) {
      const auto slot = static_cast<std::size_t>(t);
      if (banned(slot)) continue;
      const bool is_sink = q_.head->positions[slot] < sinks && count < sinks;
      const bool is_spare = only && spared(slot);
      if (is_sink || t >= n_ - recent || is_spare) taken_[slot] = true;
      count += is_sink ? 1 : 0;
    }
    for (std::size_t slot = 0; slot < taken_.size(); ++slot)
      if (q_.head->leftover[slot] != 0 && left() > 0) taken_[slot] = true;
  }
  [[nodiscard]] bool spared(std::size_t slot) const {
    const TokenClass c = q_.head->classes[slot];
    const bool separators = s_.protect == Protect::separators || q_.plan.separators;
    return (separators && c == TokenClass::separator) ||
           (s_.protect == Protect::text && c != TokenClass::image);
  }
  [[nodiscard]] std::vector<std::uint8_t> is_spared() const {
    std::vector<std::uint8_t> is(taken_.size());
    for (std::size_t slot = 0; slot < is.size(); ++slot) is[slot] = spared(slot) ? 1 : 0;
    return is;
  }
  // Slots that are not taken yet; `only` empty = all.
  [[nodiscard]] std::vector<std::int32_t> open(const std::vector<std::uint8_t>& only) const {
    std::vector<std::int32_t> out;
    for (std::size_t slot = 0; slot < taken_.size(); ++slot)
      if (!taken_[slot] && !banned(slot) && (only.empty() || only[slot] != 0))
        out.push_back(static_cast<std::int32_t>(slot));
    return out;
  }
  // The best of every run; when they are too many, the best of those.
  void take_runs() {
    const std::vector<std::int32_t> all = open({});
    std::vector<std::int32_t> winners;
    const auto stride = static_cast<std::size_t>(s_.stride);
    for (std::size_t at = 0; at < all.size(); at += stride) {
      const std::size_t end = std::min(at + stride, all.size());
      const auto best = best_of(q_.scores, std::span(all).subspan(at, end - at), 1, threads_);
      winners.insert(winners.end(), best.begin(), best.end());
    }
    take(best_of(q_.scores, winners, left(), threads_));
  }
  [[nodiscard]] std::vector<float> refined_scores() const {
    std::vector<float> out(q_.scores.begin(), q_.scores.end());
    const std::size_t dim = q_.head->v_dim;
    for (std::size_t slot = 0; slot < out.size(); ++slot) {
      double length = 0;
      for (std::size_t i = 0; i < dim; ++i)
        length += std::abs(double{q_.head->values[slot * dim + i]});
      out[slot] = static_cast<float>((double{out[slot]} + 1e-4) * length);
    }
    return out;
  }
  // Gumbel noise on log scores: the best k are a draw without replacement in their proportion.
  [[nodiscard]] std::vector<float> drawn_scores() const {
    std::vector<float> out(q_.scores.size());
    const float least = *std::min_element(q_.scores.begin(), q_.scores.end());
    for (std::size_t slot = 0; slot < out.size(); ++slot) {
      Rng rng = q_.rng.at(static_cast<std::uint64_t>(q_.head->positions[slot]));
      const double gumbel = -std::log(-std::log1p(-rng.uniform()) + 1e-12);
      out[slot] = static_cast<float>(
          std::log(std::max(0.0, double{q_.scores[slot]} - std::min(0.0, double{least})) + 1e-12) +
          gumbel);
    }
    return out;
  }

  const PickQuestion& q_;
  const SelectSpec& s_;
  std::int64_t n_;
  kernels::Threads& threads_;
  std::vector<bool> taken_;
};

struct Unit {
  double rank = 0, weight = 0;
  std::vector<std::int32_t> slots;
};

// Units with the slots that are not read anyway.
std::vector<Unit> units_of(TokenIndex& index, std::span<const std::uint8_t> always,
                           std::span<const float> queries, std::size_t k_dim) {
  std::vector<Unit> units(static_cast<std::size_t>(index.units()));
  const auto of = index.unit_of_slot();
  for (std::size_t slot = 0; slot < of.size(); ++slot)
    if (always[slot] == 0)
      units[static_cast<std::size_t>(of[slot])].slots.push_back(static_cast<std::int32_t>(slot));
  const std::size_t heads = queries.size() / k_dim;
  std::vector<float> row(units.size());
  for (std::size_t h = 0; h < heads; ++h) {
    index.rank(queries.subspan(h * k_dim, k_dim), row);
    for (std::size_t u = 0; u < units.size(); ++u)
      units[u].rank += double{row[u]} / static_cast<double>(heads);
  }
  return units;
}

// False for units that a threshold or a margin leaves out.
std::vector<bool> admitted(const RetrieveSpec& r, const std::vector<Unit>& units) {
  std::vector<bool> in(units.size(), true);
  double best = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const Unit& u : units)
    if (!u.slots.empty()) best = std::max(best, u.rank);
  const auto weight = [&](const Unit& u) {
    return u.slots.empty() ? 0 : static_cast<double>(u.slots.size()) * std::exp(u.rank - best);
  };
  for (const Unit& u : units) sum += weight(u);
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (r.margin > 0) in[i] = units[i].rank > best - r.margin;
    if (r.threshold > 0)
      in[i] = in[i] && weight(units[i]) / sum > r.threshold / static_cast<double>(units.size());
  }
  return in;
}

}  // namespace

std::vector<std::int32_t> pick_kept(const PickQuestion& q, kernels::Threads& threads) {
  return Picker(q, threads).run();
}

std::vector<std::int32_t> pick_read(const RetrieveSpec& r, TokenIndex& index, const Head& head,
                                    std::span<const float> queries, std::int64_t budget,
                                    kernels::Threads&) {
  const auto n = static_cast<std::int64_t>(head.slots());
  std::vector<std::uint8_t> read(head.slots(), 0);
  for (std::int64_t t = 0; t < n; ++t)
    read[static_cast<std::size_t>(t)] = index.takes_all() || budget >= n || t < r.sinks ||
                                                t >= n - std::max<std::int64_t>(1, r.recent)
                                            ? 1
                                            : 0;
  const bool gated = r.threshold > 0 || r.margin > 0;
  if (!index.takes_all() && (budget < n || gated)) {
    if (budget >= n)
      for (std::int64_t t = r.sinks; t < n - std::max<std::int64_t>(1, r.recent); ++t)
        read[static_cast<std::size_t>(t)] = 0;
    std::vector<Unit> units = units_of(index, read, queries, head.k_dim);
    const std::vector<bool> in = admitted(r, units);
    std::vector<std::size_t> order(units.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return units[a].rank > units[b].rank; });
    std::int64_t room = budget - std::count(read.begin(), read.end(), 1), taken = 0;
    for (const std::size_t u : order) {
      const auto size = static_cast<std::int64_t>(units[u].slots.size());
      const bool owed = taken < r.least_units;
      if (size == 0 || (!in[u] && !owed)) continue;
      if (size > room && !owed) break;
      for (const std::int32_t slot : units[u].slots) read[static_cast<std::size_t>(slot)] = 1;
      room -= size;
      ++taken;
    }
  }
  std::vector<std::int32_t> out;
  for (std::int64_t t = 0; t < n; ++t)
    if (read[static_cast<std::size_t>(t)] != 0) out.push_back(static_cast<std::int32_t>(t));
  return out;
}

}  // namespace kvsim::token
