#pragma once
// Capacity planning: the cheapest candidate (or the highest rate) that meets every objective with a
// confidence, found with few runs.
//
// A candidate is one combination of the choices. On its ladder of levels (replicas from few to
// many, or rates from high to low) objectives are met from some level on, and what is minimised
// only grows; `exhaustive` runs every level of every candidate and confirms both. The search
// bisects ladders, cheapest candidate first, from the analytic bound (plan_bounds.h) up; a
// candidate whose rent alone reaches that of the second best found is left, and one run at its
// highest level below that settles it when it fails. Every candidate faces the same requests, and
// repetition k has the same seed in all of them. The result does not depend on the number of
// threads.
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sim/study/plan_spec.h"

namespace kvsim {

enum class PlanVerdict : std::uint8_t { met, missed, undecided };

struct PlanFinding {  // of one objective
  double value = 0, low = 0, high = 0;
  bool interval = false;  // low and high are known; otherwise the value alone decides
  PlanVerdict verdict = PlanVerdict::missed;
};

// What is minimised, then what decides between equals.
struct PlanWorth {
  double first = 0, second = 0;
  auto operator<=>(const PlanWorth&) const = default;
};

struct PlanEvaluation {
  std::size_t candidate = 0, level = 0;
  int runs = 0, repetitions = 0;      // 1 = judged by blocks of its requests
  std::vector<PlanFinding> findings;  // by objective; last: the share of failures
  bool met = false;                   // every verdict
  PlanWorth worth;
  std::map<std::string, double> figures;  // means of metrics of the scope `run`
  std::string event_digest;               // of the first repetition
  bool in_search = true;                  // false: only --exhaustive asked for it
};

struct PlanCandidate {
  std::vector<std::string> options;  // by choice
  std::vector<std::string> sets;     // "path=value"
  std::string infeasible;            // why it cannot be, or empty
  std::string device;
  int gpus = 0;            // of an instance
  std::size_t levels = 0;  // that fit (machine, budget)
  std::size_t bound = 0;   // first level that the bounds allow; `levels` = none
  double busy = 0;  // instances that the work keeps busy at least, at rate_scale; 0 = unknown
  bool memory_bound = false;
  std::vector<std::optional<double>> best;  // PlanBounds::best by objective
  bool replay = true;                       // one run judged by blocks of requests
  bool seeds_matter = false;                // seen: another seed gave other events
  std::uint64_t seed = 0;
  double rate_scale = 1;
  double span = 0;  // of arrivals, s, at that rate
  double requests = 0, tokens = 0;
  std::optional<std::size_t> found;  // least level seen to meet everything
};

struct PlanExhaustive {
  int runs = 0;  // beyond those of the search
  bool agrees = true;
  std::vector<std::string> remarks;  // ladders that go up and down, better answers
};

struct PlanResult {
  PlanFile plan;
  std::vector<PlanCandidate> candidates;
  std::vector<PlanEvaluation> evaluations;         // by candidate and level
  std::optional<std::size_t> answer, alternative;  // candidates
  std::size_t levels = 1;
  int runs = 0;             // of the search
  std::size_t pairs = 0;    // candidates times levels that could be evaluated
  bool bound_holds = true;  // no evaluation is better than its analytic bound
  std::vector<std::string> notes;
  std::optional<PlanExhaustive> exhaustive;

  [[nodiscard]] const PlanEvaluation* find(std::size_t candidate, std::size_t level) const;
  [[nodiscard]] const PlanEvaluation& at(std::size_t candidate) const;  // its found level
};

// The ladder: levels of replicas, of rates, or one.
std::size_t plan_levels(const PlanSpec&);
std::optional<int> plan_replicas(const PlanSpec&, std::size_t level);
std::optional<double> plan_rate(const PlanSpec&, std::size_t level);
std::vector<std::string> sets_at(const PlanSpec&, const PlanCandidate&, std::size_t level);
// Of the limit: 0.1 = a tenth better than it at the unfavourable end of the interval.
double margin_of(const PlanFinding&, const PlanObjective&);
// A value of a metric with its unit: "12.3 s", "99.1 %".
std::string metric_text(const std::string& metric, double value);
// The objectives, and behind them that of failures.
std::vector<PlanObjective> all_objectives(const PlanSpec&);

struct PlanOptions {
  int threads = 1;
  bool exhaustive = false;
  // Evaluations done, and how many there will be (0 = not known); by one thread at a time.
  std::function<void(std::size_t done, std::size_t all)> progress;
};

// Throws InputError for mistakes of the plan and its scenarios, and when no candidate can run.
PlanResult run_plan(const PlanFile&, const PlanOptions&);

}  // namespace kvsim
