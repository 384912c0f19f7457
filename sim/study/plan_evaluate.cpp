// One evaluation: runs of a candidate at a level until its objectives are decided.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"
#include "sim/base/stats.h"
#include "sim/run/simulate.h"
#include "sim/study/confidence.h"
#include "sim/study/plan_parts.h"
#include "sim/study/trial.h"

namespace kvsim {

namespace {

using Requests = std::vector<RequestOutcome>;

// What a plan tells of a run besides its objectives; drive life is that of the shortest-lived tier.
constexpr const char* kFigures[] = {"price_per_hour",
                                    "price_gpu_per_hour",
                                    "price_dram_per_hour",
                                    "price_ssd_per_hour",
                                    "price_replacement_per_hour",
                                    "price_electricity_per_hour",
                                    "cost_per_million_tokens",
                                    "cost_per_million_output_tokens",
                                    "power",
                                    "energy",
                                    "idle_energy",
                                    "energy_per_million_tokens",
                                    "energy_per_million_output_tokens",
                                    "gpus",
                                    "busy_share",
                                    "request_throughput",
                                    "output_throughput",
                                    "prefix_hit_rate",
                                    "total_hit_rate"};

double ms_between(Time from, Time to) { return to_seconds(to - from) * 1e3; }

// The request's own value of a metric, ms; empty when it has none.
std::optional<double> value_of(const RequestOutcome& r, const std::string& name) {
  if (r.outcome != Outcome::finished || r.first_token == kNever) return std::nullopt;
  const double e2e = ms_between(r.arrival, r.last_token);
  if (name == "ttft_ms") return ms_between(r.arrival, r.first_token);
  if (name == "queue_ms") return ms_between(r.arrival, r.scheduled);
  if (name == "e2el_ms") return e2e;
  if (name == "normalized_latency_ms" && r.output_tokens >= 1)
    return e2e / static_cast<double>(r.output_tokens);
  if (name == "tpot_ms" && r.output_tokens >= 2)
    return ms_between(r.first_token, r.last_token) / static_cast<double>(r.output_tokens - 1);
  return std::nullopt;
}

double quantile(std::vector<double>& v, double q) {
  const double rank = q * static_cast<double>(v.size() - 1);
  const auto low = static_cast<std::size_t>(rank);
  const auto at = v.begin() + static_cast<std::ptrdiff_t>(low);
  std::nth_element(v.begin(), at, v.end());
  if (low + 1 == v.size()) return *at;
  const double above = *std::min_element(at + 1, v.end());
  return *at + (rank - static_cast<double>(low)) * (above - *at);
}

double mean_of(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

// Statistics that blocks of requests say something about; not the extremes.
std::function<double(std::vector<double>&)> statistic_of(const std::string& name) {
  for (const auto& [statistic, q] :
       {std::pair{"median", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}})
    if (name == statistic) return [q = q](std::vector<double>& v) { return quantile(v, q); };
  if (name == "mean") return [](std::vector<double>& v) { return mean_of(v); };
  return {};
}

// The interval of an objective from one run's requests, or nothing where they do not have it.
std::optional<ConfidenceInterval> from_requests(const PlanObjective& o, const Requests& requests,
                                                const Slo& slo, double confidence) {
  const std::size_t dot = o.metric.find('.');
  const std::string name = o.metric.substr(0, dot);
  std::vector<double> values;
  if (o.metric == "slo_attainment" || o.metric == "request_goodput") {
    for (const RequestOutcome& r : requests) values.push_back(meets(r, slo) ? 1 : 0);
    if (values.empty()) return std::nullopt;
    return block_bootstrap(values, confidence, [](std::vector<double>& v) { return mean_of(v); });
  }
  const auto statistic = statistic_of(dot == std::string::npos ? "" : o.metric.substr(dot + 1));
  if (!statistic) return std::nullopt;
  for (const RequestOutcome& r : requests)
    if (const auto v = value_of(r, name)) values.push_back(*v);
  if (values.empty()) return std::nullopt;
  return block_bootstrap(values, confidence, statistic);
}

void judge(PlanFinding& f, const PlanObjective& o) {
  const double best = o.at_most ? f.low : f.high, worst = o.at_most ? f.high : f.low;
  const auto meets_limit = [&](double v) { return o.at_most ? v <= o.limit : v >= o.limit; };
  f.verdict = meets_limit(worst)  ? PlanVerdict::met
              : meets_limit(best) ? PlanVerdict::undecided
                                  : PlanVerdict::missed;
}

// One repetition as numbers.
struct Repetition {
  std::vector<double> values;  // by objective, failures last
  std::vector<std::optional<ConfidenceInterval>> intervals;
  std::map<std::string, double> figures;
  std::string event_digest;
};

class Evaluator {
 public:
  Evaluator(const PlanFile& plan, const PlanCandidate& c, std::size_t level)
      : spec_(plan.spec),
        base_(plan.base),
        c_(c),
        level_(level),
        objectives_(all_objectives(spec_)) {}

  // Repetition k of every candidate has the same seed and the same change of rate.
  [[nodiscard]] TrialInput input(int k) const {
    TrialInput in;
    in.sets = sets_at(spec_, c_, level_);
    in.seed = c_.seed + static_cast<std::uint64_t>(k);
    for (const PlanObjective& o : objectives_) in.quality |= is_of_quality(o.metric);
    if (spec_.jitter.value > 0) {
      Rng rng = Rng(c_.seed, "plan-jitter").at(static_cast<std::uint64_t>(k));
      const double rate = plan_rate(spec_, level_).value_or(c_.rate_scale);
      in.sets.push_back(fmt::format("workload.rate_scale={}",
                                    rate * (1 + spec_.jitter.value * (2 * rng.uniform() - 1))));
    }
    return in;
  }

  Repetition run(int k, bool by_requests) const {
    TrialInput in = input(k);
    in.keep_requests = by_requests;
    const TrialResult t = run_trial(base_, in);
    if (!t.error.empty()) throw InputError(fmt::format("{}\n  in the run of {}", t.error, title()));
    Repetition r;
    r.event_digest = t.event_digest;
    const bool none = metric_value(t.metrics, "completed").value_or(0) == 0;
    for (const PlanObjective& o : objectives_) {
      const auto value = metric_value(t.metrics, o.metric);
      if (!value && !none) unknown(o, t.metrics);
      r.values.push_back(value.value_or(o.at_most ? HUGE_VAL : 0));
    }
    const double injected = metric_value(t.metrics, "injected").value_or(0);
    if (injected > 0) r.values.back() /= injected;  // failures as a share
    if (by_requests) add_intervals(r, t.requests);
    for (const char* name : kFigures)
      if (const auto v = metric_value(t.metrics, name)) r.figures[name] = *v;
    add_life(r.figures, t.metrics);
    return r;
  }

  PlanEvaluation evaluate() const {
    PlanEvaluation e;
    e.level = level_;
    std::vector<Repetition> all;
    const bool replay = c_.replay && !c_.seeds_matter;
    const int most = replay ? 1 : spec_.seeds.max;
    const int looks = replay ? 1 : spec_.seeds.max - spec_.seeds.min + 1;
    for (int k = 0; k < most; ++k) {
      all.push_back(run(k, replay));
      if (!replay && k + 1 < spec_.seeds.min) continue;
      e.findings = replay ? findings_of(all[0]) : findings_of(all, looks);
      if (is_decided(e.findings)) break;
    }
    e.runs = e.repetitions = static_cast<int>(all.size());
    e.event_digest = all[0].event_digest;
    for (const Repetition& r : all)
      for (const auto& [name, v] : r.figures)
        e.figures[name] += v / static_cast<double>(all.size());
    e.met = std::ranges::all_of(e.findings,
                                [](const PlanFinding& f) { return f.verdict == PlanVerdict::met; });
    e.worth = worth(e);
    return e;
  }

 private:
  [[nodiscard]] std::string title() const {
    std::string name;
    for (const std::string& o : c_.options) name += (name.empty() ? "" : ", ") + o;
    for (const std::string& s : sets_at(spec_, c_, level_)) name += "\n    --set '" + s + "'";
    return name;
  }

  [[noreturn]] static void unknown(const PlanObjective& o, const std::vector<Metric>& metrics) {
    std::vector<std::string> names;
    for (const Metric& m : metrics)
      if (m.scope == "run" && m.statistic != "count")
        names.push_back(m.statistic == "value" ? m.name : m.name + "." + m.statistic);
    throw InputError(fmt::format("objectives: '{}': a run has no metric '{}'", o.text, o.metric),
                     name_hint(o.metric, names));
  }

  static void add_life(std::map<std::string, double>& figures, const std::vector<Metric>& metrics) {
    for (const Metric& m : metrics) {
      if (m.scope != "run" || !m.name.starts_with("tier_") || !m.name.ends_with("_drive_life"))
        continue;
      const auto [at, is_new] = figures.try_emplace("drive_life", m.value);
      if (!is_new) at->second = std::min(at->second, m.value);
    }
  }

  void add_intervals(Repetition& r, const Requests& requests) const {
    Diagnostics d;
    const Slo slo = slo_of(load_scenario(base_, c_.sets, d).value);
    for (std::size_t i = 0; i + 1 < objectives_.size(); ++i) {
      r.intervals.push_back(from_requests(objectives_[i], requests, slo, spec_.confidence.value));
      auto& interval = r.intervals.back();
      if (!interval) continue;
      if (objectives_[i].metric == "request_goodput" && r.values[i] > 0) {
        const double per_share = r.values[i] / interval->value;
        interval->low *= per_share, interval->high *= per_share;
      }
      interval->value = r.values[i];
    }
    r.intervals.emplace_back();
  }

  std::vector<PlanFinding> findings_of(const Repetition& r) const {
    std::vector<PlanFinding> findings;
    for (std::size_t i = 0; i < objectives_.size(); ++i) {
      PlanFinding f{r.values[i], r.values[i], r.values[i], false, {}};
      if (r.intervals[i]) f = {r.values[i], r.intervals[i]->low, r.intervals[i]->high, true, {}};
      judge(f, objectives_[i]);
      findings.push_back(f);
    }
    return findings;
  }

  // Every look at the data takes its part of the error that is allowed (Bonferroni).
  std::vector<PlanFinding> findings_of(const std::vector<Repetition>& all, int looks) const {
    std::vector<PlanFinding> findings;
    const double confidence = 1 - (1 - spec_.confidence.value) / looks;
    for (std::size_t i = 0; i < objectives_.size(); ++i) {
      std::vector<double> values;
      for (const Repetition& r : all) values.push_back(r.values[i]);
      PlanFinding f{mean_of(values), values[0], values[0], true, {}};
      if (std::ranges::all_of(values, [](double v) { return std::isfinite(v); })) {
        const ConfidenceInterval interval = mean_interval(values, confidence);
        f.low = interval.low, f.high = interval.high;
      } else {
        f.low = f.high = f.value;
      }
      judge(f, objectives_[i]);
      findings.push_back(f);
    }
    return findings;
  }

  // One objective that is missed settles it.
  static bool is_decided(const std::vector<PlanFinding>& findings) {
    bool open = false;
    for (const PlanFinding& f : findings) {
      if (f.verdict == PlanVerdict::missed) return true;
      open = open || f.verdict == PlanVerdict::undecided;
    }
    return !open;
  }

  [[nodiscard]] PlanWorth worth(const PlanEvaluation& e) const {
    const auto figure = [&](const char* name) {
      const auto found = e.figures.find(name);
      return found == e.figures.end() ? HUGE_VAL : found->second;
    };
    const double price = figure("price_per_hour");
    if (const auto rate = plan_rate(spec_, level_)) return {-*rate, price};
    if (spec_.minimise == PlanCost::replicas)
      return {static_cast<double>(*plan_replicas(spec_, level_)), price};
    if (spec_.minimise == PlanCost::energy) return {figure("energy_per_million_tokens"), price};
    return {price, 0};
  }

  const PlanSpec& spec_;
  const std::string& base_;
  const PlanCandidate& c_;
  std::size_t level_;
  std::vector<PlanObjective> objectives_;
};

}  // namespace

std::vector<PlanObjective> all_objectives(const PlanSpec& spec) {
  std::vector<PlanObjective> all = spec.objectives;
  all.push_back({fmt::format("failures <= {:g} %", spec.failures.value * 100), "failed", true,
                 spec.failures.value});
  return all;
}

double margin_of(const PlanFinding& f, const PlanObjective& o) {
  const double worst = o.at_most ? f.high : f.low;
  if (o.limit == 0) return worst <= 0 ? 0 : -HUGE_VAL;
  return (o.at_most ? o.limit - worst : worst - o.limit) / std::abs(o.limit);
}

PlanEvaluation evaluate(const PlanFile& plan, const std::vector<PlanCandidate>& candidates,
                        std::size_t candidate, std::size_t level) {
  PlanEvaluation e = Evaluator(plan, candidates[candidate], level).evaluate();
  e.candidate = candidate;
  return e;
}

bool seed_changes(const PlanFile& plan, const PlanCandidate& c, const PlanEvaluation& e) {
  return Evaluator(plan, c, e.level).run(1, false).event_digest != e.event_digest;
}

}  // namespace kvsim
