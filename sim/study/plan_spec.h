#pragma once
// A capacity plan as a file: a base scenario, what may be chosen, what must hold, what is minimised
// or maximised. Field texts are the manual (`kvsim plan --keys`).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

// "ttft.p99 <= 2 s": a metric of the scope `run`, and what it may be at most or at least. Short
// names: ttft, tpot, itl, e2e, queue (with a statistic), goodput, attainment, throughput.
struct PlanObjective {
  std::string text;    // as written
  std::string metric;  // "ttft_ms.p99", as metric_value() takes it
  bool at_most = true;
  double limit = 0;  // in the unit of the metric
};
template <>
struct Codec<PlanObjective> {
  static bool read(const Tree&, PlanObjective&, Reader&);
  static Tree write(const PlanObjective&);
  static TypeInfo info();
};

struct ReplicaRange {
  int min = 1, max = 16;
  static constexpr Rows kFields{field("min", &ReplicaRange::min, between(1, 4096), "fewest"),
                                field("max", &ReplicaRange::max, between(1, 4096), "most")};
};

struct RateRange {
  Ratio min{0.5}, max{2.0}, tolerance{0.02};
  static constexpr Rows kFields{
      field("min", &RateRange::min, between(Ratio{1e-6}, Ratio{1e6}),
            "lowest workload.rate_scale of interest"),
      field("max", &RateRange::max, between(Ratio{1e-6}, Ratio{1e6}), "highest"),
      field("tolerance", &RateRange::tolerance, between(Ratio{0.001}, Ratio{0.5}),
            "the answer is this close below the highest rate")};
};

struct SeedRange {
  int min = 3, max = 10;
  static constexpr Rows kFields{
      field("min", &SeedRange::min, between(2, 1000), "runs before anything is decided"),
      field("max", &SeedRange::max, between(2, 1000),
            "after so many, undecided counts as not met")};
};

enum class PlanCost : std::uint8_t { price, energy, replicas };
constexpr auto enum_names(PlanCost) {
  return std::array{std::pair{PlanCost::price, "price"}, std::pair{PlanCost::energy, "energy"},
                    std::pair{PlanCost::replicas, "replicas"}};
}
enum class PlanGain : std::uint8_t { rate };
constexpr auto enum_names(PlanGain) { return std::array{std::pair{PlanGain::rate, "rate"}}; }

struct PlanSpec {
  int kvsim = 1;
  std::string name = "plan";
  std::string base;
  Tree set, choices;
  std::optional<ReplicaRange> replicas;
  std::optional<RateRange> rate;
  std::vector<PlanObjective> objectives;
  Ratio confidence{0.95}, failures{0.0};
  std::optional<PlanCost> minimise;
  std::optional<PlanGain> maximise;
  std::optional<Price> budget;
  SeedRange seeds;
  Ratio jitter{0.0};
  int batch = 4;
  static constexpr Rows kFields{
      field("kvsim", &PlanSpec::kvsim, between(1, 1), "version of this file format"),
      field("name", &PlanSpec::name, any, "of the plan"),
      field("base", &PlanSpec::base, any, "scenario file; relative to this one"),
      field("set", &PlanSpec::set, any, "PATH: VALUE, over the scenario, for every candidate"),
      field("choices", &PlanSpec::choices, any,
            "what may be chosen, every combination a candidate: PATH: [VALUE, ...] for one value "
            "of the scenario, or NAME: {OPTION: {PATH: VALUE, ...}, ...} for several at once"),
      field("replicas", &PlanSpec::replicas, any, "instances that a candidate may have"),
      field("rate", &PlanSpec::rate, any, "rates of arrival that are tried, to maximise: rate"),
      field("objectives", &PlanSpec::objectives, any,
            "what must hold, such as 'ttft.p99 <= 2 s' or 'attainment >= 99 %'"),
      field("confidence", &PlanSpec::confidence, between(Ratio{0.5}, Ratio{0.999}),
            "one-sided, with which each objective holds"),
      field("failures", &PlanSpec::failures, between(Ratio{0}, Ratio{1}),
            "share of the requests that may be rejected or timed out"),
      field("minimise", &PlanSpec::minimise, any,
            "price (USD/h), energy (kWh per million tokens) or replicas"),
      field("maximise", &PlanSpec::maximise, any, "rate of arrival, with fixed replicas"),
      field("budget", &PlanSpec::budget, any, "candidates of a higher rent are left out"),
      field("seeds", &PlanSpec::seeds, any, "repetitions where the seed changes the run"),
      field("jitter", &PlanSpec::jitter, between(Ratio{0}, Ratio{0.5}),
            "each repetition comes this much faster or slower at most, for replayed traces; 0 = "
            "confidence from blocks of requests of one run"),
      field(
          "batch", &PlanSpec::batch, between(1, 256),
          "evaluations begun together; the answer does not depend on it, the number of runs may")};
};

// One value of a choice: what it sets in the scenario.
struct PlanOption {
  std::string name;
  std::vector<std::pair<std::string, Tree>> sets;  // path and value
};
struct PlanChoice {
  std::string name;
  std::vector<PlanOption> options;
};

struct PlanFile {
  PlanSpec spec;
  std::string file, base;  // paths
  std::vector<std::pair<std::string, Tree>> sets;
  std::vector<PlanChoice> choices;
};

// Reads a plan; `sets` ("path=value") come over its own `set`. Throws InputError with every mistake
// that can be seen without the scenario.
PlanFile load_plan(const std::string& path, const std::vector<std::string>& sets);

}  // namespace kvsim
