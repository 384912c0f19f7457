#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "sim/run/economics.h"
#include "sim/study/parallel.h"
#include "sim/study/plan_bounds.h"
#include "sim/study/plan_parts.h"

namespace kvsim {

std::size_t plan_levels(const PlanSpec& s) {
  if (s.replicas) return static_cast<std::size_t>(s.replicas->max - s.replicas->min + 1);
  if (!s.rate) return 1;
  const double steps =
      std::log(s.rate->max.value / s.rate->min.value) / std::log1p(s.rate->tolerance.value);
  return static_cast<std::size_t>(std::ceil(steps - 1e-9)) + 1;
}

std::optional<int> plan_replicas(const PlanSpec& s, std::size_t level) {
  if (!s.replicas) return std::nullopt;
  return s.replicas->min + static_cast<int>(level);
}

// From the highest down, in equal ratios, the last at the lowest.
std::optional<double> plan_rate(const PlanSpec& s, std::size_t level) {
  if (!s.rate) return std::nullopt;
  const std::size_t levels = plan_levels(s);
  if (levels == 1) return s.rate->max.value;
  const double share = static_cast<double>(level) / static_cast<double>(levels - 1);
  return s.rate->max.value * std::pow(s.rate->min.value / s.rate->max.value, share);
}

std::vector<std::string> sets_at(const PlanSpec& s, const PlanCandidate& c, std::size_t level) {
  std::vector<std::string> sets = c.sets;
  if (const auto n = plan_replicas(s, level))
    sets.push_back(fmt::format("deployment.replicas={}", *n));
  if (const auto rate = plan_rate(s, level))
    sets.push_back(fmt::format("workload.rate_scale={}", *rate));
  return sets;
}

namespace {

std::string set_text(const std::pair<std::string, Tree>& set) {
  const Tree& value = set.second;
  const bool plain = value.is_scalar() && !value.quoted() && value.text() != "null";
  return set.first + "=" + (plain ? value.text() : to_json(value));
}

std::vector<PlanCandidate> combinations(const PlanFile& plan) {
  std::vector<PlanCandidate> all(1);
  for (const auto& set : plan.sets) all[0].sets.push_back(set_text(set));
  for (const PlanChoice& choice : plan.choices) {
    std::vector<PlanCandidate> next;
    for (const PlanCandidate& c : all)
      for (const PlanOption& option : choice.options) {
        next.push_back(c);
        next.back().options.push_back(option.name);
        for (const auto& set : option.sets) next.back().sets.push_back(set_text(set));
      }
    all = std::move(next);
  }
  return all;
}

// A mistake in a value that the plan sets is shown where the plan says it.
std::map<std::string, Place> places_of(const PlanFile& plan) {
  std::map<std::string, Place> places;
  const auto add = [&](const std::pair<std::string, Tree>& set) {
    places.emplace("--set " + set_text(set), set.second.place());
  };
  for (const auto& set : plan.sets) add(set);
  for (const PlanChoice& c : plan.choices)
    for (const PlanOption& o : c.options)
      for (const auto& set : o.sets) add(set);
  return places;
}

LoadedScenario load_level(const PlanFile& plan, const PlanCandidate& c, std::size_t level,
                          Diagnostics& d) {
  return load_scenario(plan.base, sets_at(plan.spec, c, level), d);
}

// Scenario, model and hardware of every candidate; all mistakes at once, each once.
std::vector<LoadedScenario> load_all(const PlanFile& plan,
                                     const std::vector<PlanCandidate>& candidates) {
  const std::map<std::string, Place> places = places_of(plan);
  Diagnostics mistakes;
  std::set<std::string> told;
  std::vector<LoadedScenario> loaded;
  for (const PlanCandidate& c : candidates) {
    Diagnostics d;
    loaded.push_back(load_level(plan, c, 0, d));
    const LoadedScenario& s = loaded.back();
    if (d.empty()) {
      build_model(s.value.model, s.base_dir, "model", d);
      build_hardware(s.value.deployment.hardware, s.base_dir, "deployment.hardware", d);
    }
    for (Diagnostic one : d.all()) {
      const auto place = one.place.file ? places.find(*one.place.file) : places.end();
      if (place != places.end()) one.place = place->second;
      if (told.insert(to_string(one)).second)
        mistakes.add(one.place, one.path, one.message, one.hint);
    }
  }
  mistakes.throw_if_any();
  return loaded;
}

// Requests of a scenario, as every seed that may be run draws them.
using Workloads = std::vector<PlanWorkload>;

std::string workload_key(const LoadedScenario& s) {
  return to_yaml(write_fields(s.value.workload)) +
         fmt::format("{} {} {}", s.value.engine.block_tokens, s.value.seed,
                     s.value.cache.prefix.index == PrefixIndex::none);
}

Workloads read_workloads(const LoadedScenario& s, const PlanSpec& spec) {
  const bool draws = !s.value.workload.generate.is_null();
  Workloads all;
  for (int k = 0; k < (draws ? spec.seeds.max : 1); ++k) {
    Diagnostics d;
    TraceSource::Context c;
    c.block_tokens = s.value.engine.block_tokens;
    c.seed = s.value.seed + static_cast<std::uint64_t>(k);
    c.rate_scale = s.value.workload.rate_scale.value;
    c.limit = s.value.workload.limit;
    const auto source = build_trace(s.value.workload, c, s.base_dir, d);
    d.throw_if_any();
    all.push_back(read_workload(*source, s.value.cache.prefix.index != PrefixIndex::none));
  }
  return all;
}

std::string first_message(const Diagnostics& d) {
  const Diagnostic& one = d.all().front();
  return (one.path.empty() ? "" : one.path + ": ") + one.message;
}

// Levels from 0 that a machine of the catalogue can hold; the reason when there is none.
std::size_t levels_that_fit(const PlanFile& plan, const PlanCandidate& c, std::string& reason) {
  const auto fits = [&](std::size_t level) {
    Diagnostics d;
    build_run(load_level(plan, c, level, d), false, d);
    if (!d.empty() && level == 0) reason = first_message(d);
    return d.empty();
  };
  const std::size_t all = plan_levels(plan.spec);
  if (fits(all - 1)) return all;
  if (!fits(0)) return 0;
  std::size_t good = 0, bad = all - 1;
  while (bad - good > 1) {
    const std::size_t middle = (good + bad) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return bad;
}

// Most favourable of all seeds.
void add_bounds(const PlanFile& plan, PlanCandidate& c, BuiltRun& run, const Workloads& workloads) {
  const PlanSpec& spec = plan.spec;
  std::vector<PlanBounds> bounds;
  for (const PlanWorkload& w : workloads) bounds.emplace_back(run, w, spec, c.rate_scale);
  c.best.assign(spec.objectives.size(), std::nullopt);
  for (std::size_t i = 0; i < c.best.size(); ++i)
    for (const PlanBounds& b : bounds)
      if (const auto v = b.best(i))
        c.best[i] = !c.best[i]                   ? *v
                    : spec.objectives[i].at_most ? std::min(*c.best[i], *v)
                                                 : std::max(*c.best[i], *v);
  const auto replicas = [&](std::size_t level) {  // at its rate
    const double rate = plan_rate(spec, level).value_or(c.rate_scale);
    std::optional<PlanBounds::Replicas> least;
    for (const PlanBounds& b : bounds)
      if (const auto r = b.replicas(rate); !least || r.busy < least->busy) least = r;
    return least.value_or(PlanBounds::Replicas{});
  };
  const PlanBounds::Replicas least = replicas(0);
  c.busy = least.busy;
  c.memory_bound = least.memory;
  const auto has = [&](std::size_t level) {
    return plan_replicas(spec, level).value_or(run.scenario.deployment.replicas);
  };
  while (c.bound < c.levels && replicas(c.bound).least > has(c.bound)) ++c.bound;
  if (!bounds.empty() && std::ranges::all_of(bounds, [&](const PlanBounds& b) {
        return b.refuted(spec.objectives).has_value();
      })) {
    const std::size_t which = *bounds.front().refuted(spec.objectives);
    const std::string& metric = spec.objectives[which].metric;
    c.infeasible = fmt::format("bound: {} can at best be {}", metric,
                               metric_text(metric, c.best[which].value_or(0)));
    c.bound = c.levels;
  } else if (c.bound == c.levels) {
    c.infeasible = fmt::format("bound: {:.2f} instances would be busy, {} are allowed", c.busy,
                               has(c.levels - 1));
  }
}

// Of the base, or of what fits of it: model, bounds, budget.
void describe(const PlanFile& plan, PlanCandidate& c, const LoadedScenario& s,
              const Workloads& workloads) {
  c.seed = s.value.seed;
  c.rate_scale = s.value.workload.rate_scale.value;
  c.replay = s.value.workload.trace.has_value() && plan.spec.jitter.value == 0;
  for (const PlanWorkload& w : workloads) {
    if (w.requests.empty()) continue;
    const double span = w.requests.back().arrival - w.requests.front().arrival;
    const auto tokens = static_cast<double>(w.tokens);
    if (c.tokens == 0 || span * c.tokens < c.span * tokens) c.span = span, c.tokens = tokens;
    c.requests = static_cast<double>(w.requests.size());
  }
  c.levels = levels_that_fit(plan, c, c.infeasible);
  c.best.assign(plan.spec.objectives.size(), std::nullopt);
  if (c.levels == 0) return;
  Diagnostics d;
  BuiltRun run = build_run(s, false, d);
  c.device = run.device.name;
  c.gpus = run.parallel.gpus();
  if (const auto budget = plan.spec.budget) {
    const auto rent = [&](std::size_t level) {
      Diagnostics ignored;
      return bill_of(build_run(load_level(plan, c, level, ignored), false, ignored)).least_price();
    };
    while (c.levels > 0 && rent(c.levels - 1) > budget->value) --c.levels;
    if (c.levels == 0)
      c.infeasible = fmt::format("rent of {:.2f} USD/h is over the budget", rent(0));
    if (c.levels == 0) return;
  }
  add_bounds(plan, c, run, workloads);
}

}  // namespace

std::vector<PlanCandidate> plan_candidates(const PlanFile& plan, int threads) {
  std::vector<PlanCandidate> all = combinations(plan);
  const std::vector<LoadedScenario> loaded = load_all(plan, all);
  std::map<std::string, std::size_t> kinds;  // key -> a candidate that has it
  std::vector<std::size_t> first, kind_of;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto [at, is_new] = kinds.try_emplace(workload_key(loaded[i]), first.size());
    if (is_new) first.push_back(i);
    kind_of.push_back(at->second);
  }
  std::vector<Workloads> workloads(first.size());
  run_parallel(first.size(), threads,
               [&](std::size_t k) { workloads[k] = read_workloads(loaded[first[k]], plan.spec); });
  run_parallel(all.size(), threads,
               [&](std::size_t i) { describe(plan, all[i], loaded[i], workloads[kind_of[i]]); });
  return all;
}

PlanWorth least_worth(const PlanFile& plan, const PlanCandidate& c, std::size_t level) {
  const PlanSpec& s = plan.spec;
  Diagnostics d;
  const Bill bill = bill_of(build_run(load_level(plan, c, level, d), false, d));
  const double price = bill.least_price();
  if (const auto rate = plan_rate(s, level)) return {-*rate, price};
  if (s.minimise == PlanCost::replicas)
    return {static_cast<double>(*plan_replicas(s, level)), price};
  if (s.minimise == PlanCost::price) return {price, 0};
  const double seconds = c.span / (1 + s.jitter.value);
  return {bill.idle_watts() * seconds / 3.6e6 / (c.tokens / 1e6), price};
}

}  // namespace kvsim
