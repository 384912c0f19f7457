#include "sim/study/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "sim/base/diagnostics.h"
#include "sim/study/parallel.h"
#include "sim/study/plan_parts.h"

namespace kvsim {

namespace {

using Pair = std::pair<std::size_t, std::size_t>;  // candidate, level

// Worths closer than this share are equal: sums of the same rents in another order.
constexpr double kSame = 1e-9;

bool is_below(const PlanWorth& a, const PlanWorth& b) {
  const double scale = std::max(std::abs(a.first), std::abs(b.first));
  if (std::abs(a.first - b.first) > kSame * scale) return a.first < b.first;
  return a.second < b.second - kSame * std::abs(b.second);
}

class Search {
 public:
  Search(const PlanFile& plan, const PlanOptions& options) : options_(options) {
    out_.plan = plan;
    out_.levels = plan_levels(plan.spec);
    out_.candidates = plan_candidates(out_.plan, options.threads);
    states_.resize(out_.candidates.size());
    for (std::size_t c = 0; c < states_.size(); ++c) {
      const PlanCandidate& candidate = out_.candidates[c];
      out_.pairs += candidate.levels;
      states_[c].low = candidate.bound;
      states_[c].high = candidate.levels;
    }
    if (out_.pairs == 0) none_fits();
  }

  PlanResult run() {
    do {
      while (step()) {
      }
      choose();
    } while (out_.answer && !is_confirmed(*out_.answer));
    if (out_.answer) look_below(*out_.answer);
    if (options_.exhaustive) run_all();
    check_bounds();
    add_notes();
    std::ranges::sort(out_.evaluations, {},
                      [](const PlanEvaluation& e) { return Pair(e.candidate, e.level); });
    return std::move(out_);
  }

 private:
  // Levels below `low` are known to fail (or refuted), `high` is known to do, if found.
  struct State {
    std::size_t low = 0, high = 0;
    bool found = false;
    std::size_t failed = 0;                  // evaluations since the start
    std::map<std::size_t, PlanWorth> least;  // by level
  };

  [[nodiscard]] const PlanSpec& spec() const { return out_.plan.spec; }

  [[noreturn]] void none_fits() const {
    std::map<std::string, std::size_t> reasons;
    for (const PlanCandidate& c : out_.candidates) ++reasons[c.infeasible];
    std::string text =
        fmt::format("{}: none of the {} candidates can run", out_.plan.file, states_.size());
    std::size_t told = 0;
    for (const auto& [reason, n] : reasons)
      if (++told <= 8) text += fmt::format("\n    {} x {}", n, reason);
    throw InputError(text, "widen the choices, replicas or budget");
  }

  const PlanWorth& least(std::size_t c, std::size_t level) {
    auto& known = states_[c].least;
    const auto [at, is_new] = known.try_emplace(level);
    if (is_new) at->second = least_worth(out_.plan, out_.candidates[c], level);
    return at->second;
  }

  // What the candidate would be worth if twice the work of its bound were enough.
  const PlanWorth& promise(std::size_t c) {
    const PlanCandidate& candidate = out_.candidates[c];
    const double replicas = 2 * candidate.busy - plan_replicas(spec(), 0).value_or(0);
    const std::size_t level =
        spec().replicas && replicas > 0 ? static_cast<std::size_t>(replicas) : candidate.bound;
    return least(c, std::clamp(level, candidate.bound, candidate.levels - 1));
  }

  // Worth of the second best candidate found so far: what costs as much is left.
  [[nodiscard]] std::optional<PlanWorth> threshold() const {
    std::vector<PlanWorth> found;
    for (std::size_t c = 0; c < states_.size(); ++c)
      if (states_[c].found) found.push_back(out_.find(c, states_[c].high)->worth);
    if (found.size() < 2) return std::nullopt;
    std::ranges::sort(found, is_below);
    return found[1];
  }

  // Levels of c from `low` that may still beat the threshold: their number, from the cheap end.
  std::size_t open_levels(std::size_t c, const std::optional<PlanWorth>& limit) {
    const State& s = states_[c];
    if (s.low >= s.high) return 0;
    const std::size_t all = s.high - s.low;
    if (!limit) return all;
    std::size_t open = 0, closed = all + 1;  // the least worth grows with the level
    while (closed - open > 1) {
      const std::size_t middle = (open + closed) / 2;
      (is_below(least(c, s.low + middle - 1), *limit) ? open : closed) = middle;
    }
    return open;
  }

  std::size_t next_level(std::size_t c, std::size_t open, bool limited) const {
    const State& s = states_[c];
    if (s.found) return s.low + (open - 1) / 2;  // between failing and doing
    if (limited) return s.low + open - 1;        // settles it if it fails
    const std::size_t step = (std::size_t{1} << std::min<std::size_t>(s.failed, 20)) - 1;
    return s.low + std::min(step, open - 1);
  }

  // Evaluates the next levels of the cheapest candidates that are open; false when none is.
  bool step() {
    const std::optional<PlanWorth> limit = threshold();
    struct Open {
      std::size_t candidate, levels;
      PlanWorth promise;
    };
    std::vector<Open> open;
    for (std::size_t c = 0; c < states_.size(); ++c)
      if (const std::size_t n = open_levels(c, limit); n > 0) open.push_back({c, n, promise(c)});
    if (open.empty()) return false;
    // Where the analytic bound promises most first: a good answer early spares the others runs.
    std::ranges::stable_sort(open, is_below, [](const Open& o) { return o.promise; });
    open.resize(std::min(open.size(), static_cast<std::size_t>(spec().batch)));
    std::vector<Pair> pairs;
    for (const Open& o : open)
      pairs.emplace_back(o.candidate, next_level(o.candidate, o.levels, limit.has_value()));
    for (const PlanEvaluation& e : evaluate_all(pairs)) learn(e);
    return true;
  }

  void learn(const PlanEvaluation& e) {
    State& s = states_[e.candidate];
    if (e.met) {
      s.high = e.level;
      s.found = true;
    } else {
      s.low = std::max(s.low, e.level + 1);
      ++s.failed;
    }
  }

  // Those not known yet, in parallel; all in the order of `pairs`.
  std::vector<PlanEvaluation> evaluate_all(const std::vector<Pair>& pairs, bool in_search = true) {
    std::vector<PlanEvaluation> fresh(pairs.size());
    run_parallel(pairs.size(), options_.threads, [&](std::size_t i) {
      fresh[i] = evaluate(out_.plan, out_.candidates, pairs[i].first, pairs[i].second);
      fresh[i].in_search = in_search;
      if (options_.progress) report(in_search);
    });
    for (const PlanEvaluation& e : fresh) {
      (in_search ? out_.runs : out_.exhaustive->runs) += e.runs;
      out_.evaluations.push_back(e);
    }
    return fresh;
  }

  void report(bool in_search) {
    const std::scoped_lock lock(progress_);
    options_.progress(++done_, in_search ? 0 : out_.pairs);
  }

  void choose() {
    std::vector<std::size_t> found;
    for (std::size_t c = 0; c < states_.size(); ++c) {
      out_.candidates[c].found.reset();
      if (!states_[c].found) continue;
      out_.candidates[c].found = states_[c].high;
      found.push_back(c);
    }
    std::ranges::stable_sort(found, is_below, [&](std::size_t c) { return out_.at(c).worth; });
    out_.answer = found.empty() ? std::nullopt : std::optional(found[0]);
    out_.alternative = found.size() < 2 ? std::nullopt : std::optional(found[1]);
  }

  // A replayed run is judged by its own requests. Where another seed makes another run, that is
  // not enough: the level is judged again by repetitions, and a failure reopens the candidate.
  bool is_confirmed(std::size_t c) {
    PlanCandidate& candidate = out_.candidates[c];
    if (!candidate.replay || candidate.seeds_matter) return true;
    const std::size_t level = *candidate.found;
    ++out_.runs;
    if (!seed_changes(out_.plan, candidate, *out_.find(c, level))) return true;
    candidate.seeds_matter = true;
    std::erase_if(out_.evaluations, [&](const PlanEvaluation& e) { return e.candidate == c; });
    State& s = states_[c];
    s.low = candidate.bound, s.high = candidate.levels, s.found = false;
    learn(evaluate_all({{c, level}})[0]);
    return false;
  }

  // One level cheaper than the answer: it shows what binds, and that the bound is not the reason.
  void look_below(std::size_t c) {
    const std::size_t level = *out_.candidates[c].found;
    if (level > 0 && out_.find(c, level - 1) == nullptr) evaluate_all({{c, level - 1}});
  }

  void run_all() {
    out_.exhaustive.emplace();
    std::vector<Pair> rest;
    for (std::size_t c = 0; c < states_.size(); ++c)
      for (std::size_t level = 0; level < out_.candidates[c].levels; ++level)
        if (out_.find(c, level) == nullptr) rest.emplace_back(c, level);
    evaluate_all(rest, false);
    compare_all();
  }

  void compare_all() {
    PlanExhaustive& x = *out_.exhaustive;
    std::optional<PlanWorth> best;
    if (out_.answer) best = out_.at(*out_.answer).worth;
    std::map<std::size_t, std::size_t> first_met;
    for (const PlanEvaluation& e : out_.evaluations) {
      if (!e.met) continue;
      const auto [at, is_new] = first_met.try_emplace(e.candidate, e.level);
      at->second = std::min(at->second, e.level);
      if (best && !is_below(e.worth, *best)) continue;
      x.agrees = false;
      x.remarks.push_back(fmt::format("{} is better than the answer of the search",
                                      name_of_pair(e.candidate, e.level)));
    }
    for (const auto& [c, level] : first_met)
      if (!out_.candidates[c].found) out_.candidates[c].found = level;
    std::size_t broken = 0;
    for (const PlanEvaluation& e : out_.evaluations) {
      const auto at = first_met.find(e.candidate);
      if (!e.met && at != first_met.end() && e.level > at->second && ++broken <= 5)
        x.remarks.push_back(fmt::format("{} fails although {} does",
                                        name_of_pair(e.candidate, e.level),
                                        name_of_pair(e.candidate, at->second)));
    }
    if (broken > 5) x.remarks.push_back(fmt::format("and {} more of these", broken - 5));
  }

  [[nodiscard]] std::string name_of_pair(std::size_t c, std::size_t level) const {
    std::string name;
    for (const std::string& o : out_.candidates[c].options) name += o + ", ";
    if (const auto n = plan_replicas(spec(), level)) return name + fmt::format("{} replicas", *n);
    if (const auto rate = plan_rate(spec(), level))
      return name + fmt::format("rate x {:.4g}", *rate);
    return name.empty() ? "the base" : name.substr(0, name.size() - 2);
  }

  // No run may be better than what nothing can beat.
  void check_bounds() {
    for (const PlanEvaluation& e : out_.evaluations) {
      const PlanCandidate& c = out_.candidates[e.candidate];
      if (e.met && e.level < c.bound) out_.bound_holds = false;
      for (std::size_t i = 0; i < c.best.size(); ++i) {
        if (!c.best[i]) continue;
        const double v = e.findings[i].value, slack = 1e-6 * std::abs(*c.best[i]);
        const bool good =
            spec().objectives[i].at_most ? v >= *c.best[i] - slack : v <= *c.best[i] + slack;
        out_.bound_holds = out_.bound_holds && good;
      }
    }
  }

  void add_notes() {
    bool replays = false, draws = false;
    for (const PlanCandidate& c : out_.candidates) {
      if (c.levels == 0) continue;
      (c.replay && !c.seeds_matter ? replays : draws) = true;
    }
    if (replays)
      out_.notes.push_back(fmt::format(
          "the workload is a replayed trace{}: confidence comes from blocks of its requests "
          "(bootstrap), not from repetitions; `jitter: 3 %` repeats it at other rates",
          out_.answer ? " and the seed changes nothing in the answer's run" : ""));
    if (draws)
      out_.notes.push_back(fmt::format(
          "confidence of means over {} to {} repetitions, the same seeds for every candidate; "
          "they stop when every objective is decided",
          spec().seeds.min, spec().seeds.max));
    if (!out_.bound_holds)
      out_.notes.push_back("a run is better than its analytic bound: one of the two is wrong");
  }

  const PlanOptions& options_;
  PlanResult out_;
  std::vector<State> states_;
  std::mutex progress_;
  std::size_t done_ = 0;  // evaluations
};

}  // namespace

const PlanEvaluation* PlanResult::find(std::size_t candidate, std::size_t level) const {
  const auto found = std::ranges::find_if(evaluations, [&](const PlanEvaluation& e) {
    return e.candidate == candidate && e.level == level;
  });
  return found == evaluations.end() ? nullptr : &*found;
}

const PlanEvaluation& PlanResult::at(std::size_t candidate) const {
  return *find(candidate, *candidates[candidate].found);
}

PlanResult run_plan(const PlanFile& plan, const PlanOptions& options) {
  return Search(plan, options).run();
}

}  // namespace kvsim
