#include "sim/engine/adapters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim {

Adapters::Adapters(const AdapterRules& r) : rules_(r), rng_(r.seed, "adapters") {
  double sum = 0;
  for (std::int64_t i = 1; i <= r.adapters; ++i)
    cumulative_.push_back(sum += std::pow(static_cast<double>(i), -r.zipf));
}

std::uint32_t Adapters::of(const Request& r) const {
  if (rules_.names.empty() && r.adapter.empty()) return of(r.index, r.session);
  if (r.adapter.empty()) return 0;
  const auto at = std::find(rules_.names.begin(), rules_.names.end(), r.adapter);
  if (at != rules_.names.end()) return static_cast<std::uint32_t>(at - rules_.names.begin()) + 1;
  if (rules_.names.empty())
    throw InputError(fmt::format("engine.lora: request {} of the trace names adapter '{}', but "
                                 "adapters are drawn",
                                 r.index, r.adapter),
                     "list those of the trace in engine.lora.names");
  throw InputError(fmt::format("engine.lora.names: request {} of the trace names adapter '{}'",
                               r.index, r.adapter),
                   name_hint(r.adapter, rules_.names));
}

std::uint32_t Adapters::of(std::uint64_t index, std::uint64_t session) const {
  Rng rng = session > 0 ? rng_.at(0).at(session) : rng_.at(1).at(index);
  if (rng.uniform() >= rules_.share) return 0;
  const double x = rng.uniform() * cumulative_.back();
  const auto at = std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, x);
  return static_cast<std::uint32_t>(at - cumulative_.begin()) + 1;
}

void Adapters::set_apart(std::vector<Segment>& segments, std::uint32_t adapter) {
  if (adapter == 0) return;
  for (Segment& s : segments) s.key = hash_combine(s.key, 0x6c6f7261ULL + adapter);
}

AdapterSlots::AdapterSlots(const AdapterRules& r)
    : rules_(r),
      users_(static_cast<std::size_t>(r.adapters) + 1, 0),
      used_(static_cast<std::size_t>(r.adapters) + 1, 0) {}

void AdapterSlots::join(std::uint32_t adapter) {
  if (adapter == 0) return;
  KVSIM_CHECK(admits(adapter), "adapter {} joins a batch with {} others", adapter, in_use_);
  if (users_[adapter]++ == 0) ++in_use_;
  if (std::exchange(used_[adapter], ++tick_) > 0) return;
  ++loads_;
  load_ns_ += rules_.load_ns;
  resident_.push_back(adapter);
  if (std::ssize(resident_) <= rules_.slots) return;
  const auto older = [&](std::uint32_t a, std::uint32_t b) {
    const bool free_a = users_[a] == 0, free_b = users_[b] == 0;
    return free_a != free_b ? free_a : used_[a] < used_[b];
  };
  const auto oldest = std::min_element(resident_.begin(), resident_.end(), older);
  used_[*oldest] = 0;
  resident_.erase(oldest);
}

void AdapterSlots::clear() {
  KVSIM_CHECK(in_use_ == 0, "{} adapters are in use on a lost GPU", in_use_);
  std::fill(used_.begin(), used_.end(), 0);
  resident_.clear();
}

void AdapterSlots::leave(std::uint32_t adapter) {
  if (adapter == 0) return;
  used_[adapter] = ++tick_;
  if (--users_[adapter] == 0) --in_use_;
}

std::int64_t AdapterSlots::take_load_ns() { return std::exchange(load_ns_, 0); }

std::int64_t AdapterSlots::step_ns(std::int64_t tokens) const {
  if (tokens == 0) return 0;
  const auto arithmetic =
      static_cast<std::int64_t>(std::ceil(rules_.token_ns * static_cast<double>(tokens)));
  return rules_.fixed_ns + std::max(rules_.adapter_ns * in_use_, arithmetic);
}

}  // namespace kvsim
