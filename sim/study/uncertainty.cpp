#include "sim/study/uncertainty.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <map>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"
#include "sim/base/stats.h"
#include "sim/base/units.h"
#include "sim/run/simulate.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"
#include "sim/study/compare_runs.h"
#include "sim/study/parallel.h"
#include "sim/study/trial.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHeadline[] = {"ttft_ms.mean",           "ttft_ms.median",  "ttft_ms.p99",
                                     "tpot_ms.mean",           "tpot_ms.median",  "tpot_ms.p99",
                                     "e2el_ms.mean",           "e2el_ms.median",  "e2el_ms.p99",
                                     "request_throughput",     "request_goodput", "slo_attainment",
                                     "cost_per_million_tokens"};

// An efficiency of the device, which a scenario may replace in `cost`.
struct Rate {
  const char* name;
  double Efficiency::*member;
  double least;
  bool is_prefill;
};
constexpr Rate kRates[] = {{"gemm", &Efficiency::gemm, 0.01, true},
                           {"attention", &Efficiency::attention, 0.01, true},
                           {"memory", &Efficiency::memory, 0.01, false},
                           {"kv_memory", &Efficiency::kv_memory, 0.01, false},
                           {"expert_memory", &Efficiency::expert_memory, 0.01, false},
                           {"sampler", &Efficiency::sampler, 0.001, false}};

struct HostTime {
  const char* name;
  Duration EngineSpec::*member;
  bool is_prefill;
};
constexpr HostTime kHostTimes[] = {
    {"overhead", &EngineSpec::overhead, true},
    {"layer_overhead", &EngineSpec::layer_overhead, true},
    {"graph_overhead", &EngineSpec::graph_overhead, false},
    {"graph_layer_overhead", &EngineSpec::graph_layer_overhead, false}};

std::string scaled_ns(Duration d, double factor) {
  return fmt::format("{:.0f} ns", static_cast<double>(to_ns(d)) * factor);
}

// Overrides that make the run as slow as the residuals say.
class Slowdown {
 public:
  explicit Slowdown(const BuiltRun& run) : engine_(run.scenario.engine) {
    for (const auto& [path, value] : flat_params(run.resolved))
      if (path.starts_with("cost.")) cost_[path.substr(5)] = value;
    for (const Rate& r : kRates) {
      double& rate = rates_[r.name] = run.device.efficiency.*r.member;
      if (const auto given = cost_.find(r.name); given != cost_.end())
        rate = parse_double(given->second).value_or(rate);
    }
    std::string ignored;
    launch_ = run.device.efficiency.launch;
    if (const auto given = cost_.find("launch"); given != cost_.end())
      launch_ = Duration{parse_count(Dimension::time, given->second, ignored).value_or(0)};
  }

  [[nodiscard]] std::vector<std::string> sets(const ResidualRow& row) const {
    auto cost = cost_;
    for (const Rate& r : kRates) {
      const double factor = r.is_prefill ? row.ttft : row.itl;
      cost[r.name] = fmt::format("{}", std::clamp(rates_.at(r.name) / factor, r.least, 1.0));
    }
    cost["launch"] = scaled_ns(launch_, row.itl);
    std::string text;
    for (const auto& [key, value] : cost)
      text += fmt::format("{}{}: {}", text.empty() ? "cost={" : ", ", key, value);
    std::vector<std::string> out{text + "}"};
    for (const HostTime& h : kHostTimes)
      out.push_back(fmt::format("engine.{}={}", h.name,
                                scaled_ns(engine_.*h.member, h.is_prefill ? row.ttft : row.itl)));
    return out;
  }

 private:
  EngineSpec engine_;
  std::map<std::string, std::string> cost_;
  std::map<std::string, double> rates_;
  Duration launch_{};
};

// Everything a trial needs.
struct Prepared {
  std::string scenario;
  std::vector<std::string> sets;
  std::uint64_t seed = 0;
  std::optional<Slowdown> slowdown;
};

void check_ranges(const std::string& scenario, const std::vector<std::string>& sets,
                  const std::vector<ParamRange>& ranges, Diagnostics& d) {
  for (const ParamRange& r : ranges)
    for (const double end : {0.0, 1.0}) {
      std::vector<std::string> with = sets;
      with.push_back(r.path + "=" + value_at(r, end));
      Diagnostics of_end;
      const LoadedScenario loaded = load_scenario(scenario, with, of_end);
      if (of_end.empty()) build_run(loaded, false, of_end);
      for (const Diagnostic& x : of_end.all()) d.add(x.place, x.path, x.message, x.hint);
      if (!of_end.empty()) break;
    }
}

TrialResult run_one(const Prepared& base, const UncertaintyResult& result,
                    const UncertaintyOptions& options, std::size_t i) {
  TrialInput input;
  input.sets = base.sets;
  if (base.slowdown) {
    const auto& rows = result.residuals->rows;
    const auto slow = base.slowdown->sets(rows[i % rows.size()]);
    input.sets.insert(input.sets.end(), slow.begin(), slow.end());
  }
  Rng rng = Rng(base.seed, "uncertainty").at(i);
  for (const ParamRange& r : options.ranges)
    input.sets.push_back(r.path + "=" + value_at(r, rng.uniform()));
  if (options.vary_seed) input.seed = base.seed + i;
  return run_trial(base.scenario, input);
}

std::vector<UncertaintyRow> rows_of(const TrialResult& given,
                                    const std::vector<TrialResult>& trials) {
  std::vector<UncertaintyRow> rows;
  for (const std::string key : kHeadline) {
    const auto as_given = metric_value(given.metrics, key);
    if (!as_given) continue;
    std::vector<double> values;
    for (const TrialResult& t : trials)
      if (const auto v = metric_value(t.metrics, key)) values.push_back(*v);
    if (values.empty()) continue;
    std::ranges::sort(values);
    const std::size_t dot = key.find('.');
    UncertaintyRow row;
    row.name = key.substr(0, dot);
    row.statistic = dot == std::string::npos ? "value" : key.substr(dot + 1);
    for (const Metric& m : given.metrics)
      if (m.scope == "run" && m.name == row.name && m.statistic == row.statistic) row.unit = m.unit;
    row.as_given = *as_given;
    row.p5 = percentile_sorted(values, 0.05);
    row.p50 = percentile_sorted(values, 0.5);
    row.p95 = percentile_sorted(values, 0.95);
    rows.push_back(row);
  }
  return rows;
}

// A number and what follows it.
std::optional<std::pair<double, std::string>> split_quantity(const std::string& text) {
  const std::size_t end = text.find_first_not_of("+-.0123456789eE");
  std::string number = text.substr(0, end), unit;
  if (end != std::string::npos) unit = text.substr(end);
  while (!number.empty() && number.back() == ' ') number.pop_back();
  if (const std::size_t first = unit.find_first_not_of(' '); first != std::string::npos)
    unit.erase(0, first);
  const auto value = parse_double(number);
  return value ? std::optional(std::pair{*value, unit}) : std::nullopt;
}

}  // namespace

std::optional<Residuals> load_residuals(const std::string& cost, Diagnostics& d) {
  const fs::path file =
      fs::path(catalog_folder(CatalogKind::device)).parent_path() / "residuals" / (cost + ".yaml");
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  const Tree tree = load_yaml(file.string(), d);
  Residuals out;
  Reader reader(d);
  read_fields(out, tree, reader);
  if (out.rows.empty() || out.source.empty())
    d.add(tree.place(), "rows", "residuals need rows and a source");
  return out;
}

ParamRange parse_range(const std::string& text) {
  const auto refuse = [&](const char* what) {
    return InputError(fmt::format("--range {}: {}", text, what),
                      "write PATH=LOW..HIGH, such as engine.overhead=100..300 us");
  };
  const std::size_t equals = text.find('='), dots = text.find("..", equals);
  if (equals == std::string::npos || equals == 0 || dots == std::string::npos)
    throw refuse("not a range");
  ParamRange r;
  r.path = text.substr(0, equals);
  const std::string low_text = text.substr(equals + 1, dots - equals - 1),
                    high_text = text.substr(dots + 2);
  const auto low = split_quantity(low_text), high = split_quantity(high_text);
  if (!low || !high) throw refuse("an end is no number");
  if (!low->second.empty() && low->second != high->second)
    throw refuse("the ends have different units");
  if (!(low->first < high->first)) throw refuse("LOW must be less than HIGH");
  r.low = low->first, r.high = high->first, r.unit = high->second;
  r.is_whole = r.unit.empty() && parse_int(low_text) && parse_int(high_text);
  return r;
}

std::string value_at(const ParamRange& r, double share) {
  if (r.is_whole) {
    const double drawn = std::floor(r.low + share * (r.high - r.low + 1));
    return fmt::format("{:.0f}", std::min(drawn, r.high));
  }
  return fmt::format("{}{}{}", r.low + share * (r.high - r.low), r.unit.empty() ? "" : " ", r.unit);
}

UncertaintyResult run_uncertain(const std::string& scenario, const std::vector<std::string>& sets,
                                const UncertaintyOptions& options) {
  if (options.trials < 20 || options.trials > 100'000)
    throw InputError("--uncertainty: expected 20 to 100000 trials");
  Diagnostics d;
  const LoadedScenario loaded = load_scenario(scenario, sets, d);
  const BuiltRun run = build_run(loaded, true, d);
  if (d.empty()) check_ranges(scenario, sets, options.ranges, d);
  UncertaintyResult result;
  result.cost = run.scenario.cost.name, result.device = run.device.name;
  if (options.vary_calibration) result.residuals = load_residuals(result.cost, d);
  d.throw_if_any();
  Prepared base{scenario, sets, run.scenario.seed, std::nullopt};
  if (result.residuals) base.slowdown.emplace(run);
  const TrialResult given = run_trial(scenario, {sets, std::nullopt, false});
  if (!given.error.empty()) throw InputError(given.error);
  std::vector<TrialResult> trials(options.trials);
  std::atomic<std::size_t> done{0};
  run_parallel(trials.size(), options.threads, [&](std::size_t i) {
    trials[i] = run_one(base, result, options, i);
    if (options.progress) options.progress(++done, trials.size());
  });
  result.scenario = run.scenario.name;
  result.trials = options.trials;
  result.ranges = options.ranges;
  bool is_any_different = false;
  for (const TrialResult& t : trials) {
    is_any_different = is_any_different || t.event_digest != given.event_digest;
    if (t.error.empty()) continue;
    if (result.failed++ == 0) result.first_error = t.error;
  }
  if (result.failed == trials.size())
    throw InputError("every trial failed; the first: " + result.first_error);
  if (!is_any_different)
    throw InputError(
        fmt::format("nothing varies: the seed changes nothing in this scenario, and the errors of "
                    "the cost model {} are not known",
                    result.cost),
        "give --range PATH=LOW..HIGH for what you are not sure of");
  result.is_seed_varied = options.vary_seed;
  result.rows = rows_of(given, trials);
  return result;
}

}  // namespace kvsim
