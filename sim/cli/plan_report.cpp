#include "sim/cli/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

constexpr std::size_t kShown = 12;  // candidates in the short table
constexpr std::size_t kLabel = 12;  // width of the words before the lines

std::string line(const std::string& label, const std::string& text) {
  return fmt::format("{:<{}}", label, kLabel) + wrapped(text, kTerminalWidth, kLabel) + "\n";
}

std::string short_name(const PlanObjective& o) {
  return o.text.substr(0, o.text.find_first_of("<> "));
}

std::string percent(double v) { return fmt::format("{:.1f} %", v * 100); }

class Report {
 public:
  explicit Report(const PlanResult& r)
      : r_(r), spec_(r.plan.spec), objectives_(all_objectives(spec_)) {}

  std::string text(const PlanReportOptions& options) const {
    std::string out = heading();
    if (r_.answer) {
      out += answer();
    } else {
      out += line("answer", "none: no candidate meets every objective") + nearest();
    }
    out += effort();
    for (const std::string& note : r_.notes) out += line("note", note);
    out += "\n" + candidates(options.all);
    if (options.all) out += "\n" + evaluations();
    return out;
  }

 private:
  [[nodiscard]] double figure(const PlanEvaluation& e, const char* name) const {
    const auto found = e.figures.find(name);
    return found == e.figures.end() ? NAN : found->second;
  }

  [[nodiscard]] std::string level_text(const PlanCandidate& c, std::size_t level) const {
    if (const auto n = plan_replicas(spec_, level))
      return fmt::format("{} replica{}", *n, *n == 1 ? "" : "s");
    const auto rate = plan_rate(spec_, level);
    if (!rate) return "as it stands";
    const double per_second = c.span > 0 ? c.requests / c.span * *rate / c.rate_scale : 0;
    return fmt::format("rate x {:.4g} ({:.4g} requests/s)", *rate, per_second);
  }

  [[nodiscard]] std::string options_text(const PlanCandidate& c) const {
    std::string text;
    for (std::size_t i = 0; i < c.options.size(); ++i)
      text += fmt::format("{}{} {}", i == 0 ? "" : ", ", r_.plan.choices[i].name, c.options[i]);
    return text.empty() ? "the base" : text;
  }

  [[nodiscard]] std::string goal_text() const {
    if (spec_.maximise) return "highest rate";
    if (spec_.minimise == PlanCost::energy) return "least energy per token";
    return spec_.minimise == PlanCost::replicas ? "fewest replicas" : "lowest price";
  }

  [[nodiscard]] std::string worth_text(const PlanEvaluation& e) const {
    if (spec_.minimise == PlanCost::energy)
      return fmt::format("{:.4f} kWh per million tokens, {:.2f} USD/h", e.worth.first,
                         e.worth.second);
    return fmt::format("{:.2f} USD/h", figure(e, "price_per_hour"));
  }

  std::string heading() const {
    std::string what;
    for (const PlanChoice& c : r_.plan.choices)
      what += fmt::format("{}{} {}", what.empty() ? "" : " x ", c.options.size(), c.name);
    if (spec_.replicas)
      what += fmt::format("{}{} to {} replicas", what.empty() ? "" : ", ", spec_.replicas->min,
                          spec_.replicas->max);
    if (spec_.rate)
      what += fmt::format("{}rates x {:g} to {:g}", what.empty() ? "" : ", ", spec_.rate->min.value,
                          spec_.rate->max.value);
    std::string must;
    for (const PlanObjective& o : objectives_) must += (must.empty() ? "" : ", ") + o.text;
    return wrapped(fmt::format("{}: {} of {} candidates ({})", spec_.name, goal_text(),
                               r_.candidates.size(), what),
                   kTerminalWidth, spec_.name.size() + 2) +
           "\n" +
           line("must hold", fmt::format("{}; each with {:g} % confidence", must,
                                         spec_.confidence.value * 100)) +
           "\n";
  }

  std::string objective_table(const PlanEvaluation& e) const {
    const PlanCandidate& c = r_.candidates[e.candidate];
    TextTable table({"objective", ">value", ">low", ">high", ">limit", ">margin", ">at best", ""});
    for (std::size_t i = 0; i < objectives_.size(); ++i) {
      const PlanObjective& o = objectives_[i];
      const PlanFinding& f = e.findings[i];
      const bool has_best = i < c.best.size() && c.best[i];
      const double margin = margin_of(f, o);
      table.row({short_name(o), metric_text(o.metric, f.value),
                 f.interval ? metric_text(o.metric, f.low) : "-",
                 f.interval ? metric_text(o.metric, f.high) : "-",
                 (o.at_most ? "<= " : ">= ") + metric_text(o.metric, o.limit),
                 std::isfinite(margin) && o.limit != 0 ? percent(margin) : "-",
                 has_best ? metric_text(o.metric, *c.best[i]) : "-",
                 f.verdict == PlanVerdict::met         ? ""
                 : f.verdict == PlanVerdict::undecided ? "undecided"
                                                       : "missed"});
    }
    return table.text(2);
  }

  // The objective with the least margin among those that an evaluation does not meet, or, when it
  // meets all, among all.
  [[nodiscard]] std::size_t tightest(const PlanEvaluation& e) const {
    std::size_t worst = objectives_.size();
    for (std::size_t i = 0; i < objectives_.size(); ++i) {
      const bool counts =
          e.met ? objectives_[i].limit != 0 : e.findings[i].verdict != PlanVerdict::met;
      if (counts &&
          (worst == objectives_.size() || margin_of(e.findings[i], objectives_[i]) <
                                              margin_of(e.findings[worst], objectives_[worst])))
        worst = i;
    }
    return worst == objectives_.size() ? 0 : worst;
  }

  [[nodiscard]] std::string miss_text(const PlanEvaluation& e) const {
    const std::size_t i = tightest(e);
    const PlanFinding& f = e.findings[i];
    const PlanObjective& o = objectives_[i];
    if (f.verdict == PlanVerdict::undecided)
      return fmt::format("{} {} is undecided ({} to {}, limit {})", short_name(o),
                         metric_text(o.metric, f.value), metric_text(o.metric, f.low),
                         metric_text(o.metric, f.high), metric_text(o.metric, o.limit));
    return fmt::format("{} is {}, limit {}", short_name(o), metric_text(o.metric, f.value),
                       metric_text(o.metric, o.limit));
  }

  std::string binding(const PlanEvaluation& e) const {
    const PlanCandidate& c = r_.candidates[e.candidate];
    const PlanEvaluation* below = e.level > 0 ? r_.find(e.candidate, e.level - 1) : nullptr;
    if (below != nullptr)
      return line("binding", fmt::format("at {}: {}", level_text(c, below->level),
                                         below->met ? "would do" : miss_text(*below)));
    const std::size_t i = tightest(e);
    return line("binding", fmt::format("{}, with the least margin: {}", short_name(objectives_[i]),
                                       percent(margin_of(e.findings[i], objectives_[i]))));
  }

  std::string money(const PlanEvaluation& e) const {
    std::string parts = fmt::format("GPUs {:.2f}", figure(e, "price_gpu_per_hour"));
    for (const auto& [name, label] : {std::pair{"price_dram_per_hour", "host memory of tiers"},
                                      {"price_ssd_per_hour", "drives"},
                                      {"price_replacement_per_hour", "worn drives"},
                                      {"price_electricity_per_hour", "electricity"}})
      if (e.figures.contains(name)) parts += fmt::format(", {} {:.2f}", label, figure(e, name));
    std::string out =
        line("price",
             fmt::format("{:.2f} USD/h ({}); {:.3f} USD per million tokens, {:.2f} per "
                         "million output tokens",
                         figure(e, "price_per_hour"), parts, figure(e, "cost_per_million_tokens"),
                         figure(e, "cost_per_million_output_tokens")));
    if (figure(e, "energy") > 0)
      out += line(
          "energy",
          fmt::format("{:.4f} kWh per million tokens, {:.3f} per million output tokens; {:.2f} kW "
                      "on average, {} of it idle GPUs",
                      figure(e, "energy_per_million_tokens"),
                      figure(e, "energy_per_million_output_tokens"), figure(e, "power") / 1000,
                      percent(figure(e, "idle_energy") / figure(e, "energy"))));
    if (e.figures.contains("drive_life"))
      out += line("drives", fmt::format("last {:.2f} years at this rate of writing",
                                        figure(e, "drive_life")));
    return out;
  }

  std::string bound(const PlanEvaluation& e) const {
    const PlanCandidate& c = r_.candidates[e.candidate];
    std::string text;
    if (plan_replicas(spec_, 0))
      text = c.busy > 0 ? fmt::format("at least {:.2f} replicas ({})", c.busy,
                                      c.memory_bound ? "memory for KV" : "arithmetic, KV traffic")
                        : "none on replicas";
    else if (plan_rate(spec_, 0))
      text = c.bound == 0 ? fmt::format("does not exclude {}", level_text(c, 0))
                          : fmt::format("at most {}", level_text(c, c.bound));
    if (text.empty()) return "";
    return line("bound",
                fmt::format("{}, by analysis; simulated: {}{}", text, level_text(c, e.level),
                            r_.bound_holds ? "" : " - A RUN BEATS ITS BOUND"));
  }

  std::string answer() const {
    const PlanEvaluation& e = r_.at(*r_.answer);
    const PlanCandidate& c = r_.candidates[e.candidate];
    std::string out = line(
        "answer", fmt::format("{}: {}, {:.0f} x {}, {}", options_text(c), level_text(c, e.level),
                              figure(e, "gpus"), c.device, worth_text(e)));
    out += "\n" + objective_table(e) + "\n";
    out += binding(e) + bound(e) + money(e);
    if (r_.alternative) {
      const PlanEvaluation& next = r_.at(*r_.alternative);
      const double more = figure(next, "price_per_hour") / figure(e, "price_per_hour") - 1;
      out += line("next", fmt::format("{}: {}, {} ({:+.1f} % price)",
                                      options_text(r_.candidates[next.candidate]),
                                      level_text(r_.candidates[next.candidate], next.level),
                                      worth_text(next), more * 100));
    } else {
      out += line("next", "no other candidate meets the objectives");
    }
    return out + command(e);
  }

  // The answer as a command, to look at it closer.
  std::string command(const PlanEvaluation& e) const {
    std::string out = fmt::format("{:<{}}kvsim run {}", "run it", kLabel, r_.plan.base);
    for (const std::string& set : sets_at(spec_, r_.candidates[e.candidate], e.level))
      out += fmt::format(" \\\n{:<{}}  --set '{}'", "", kLabel, set);
    return out + "\n";
  }

  // Without an answer: the evaluation that misses least.
  std::string nearest() const {
    const PlanEvaluation* best = nullptr;
    const auto margin = [&](const PlanEvaluation& e) {
      return margin_of(e.findings[tightest(e)], objectives_[tightest(e)]);
    };
    for (const PlanEvaluation& e : r_.evaluations)
      if (best == nullptr || margin(e) > margin(*best)) best = &e;
    if (best == nullptr) return line("", "the bounds refute every candidate: see the table");
    const PlanCandidate& c = r_.candidates[best->candidate];
    return line("nearest", fmt::format("{}, {}: {}", options_text(c), level_text(c, best->level),
                                       miss_text(*best)));
  }

  std::string effort() const {
    std::size_t done = 0;
    for (const PlanEvaluation& e : r_.evaluations) done += e.in_search;
    std::string text =
        fmt::format("{} runs for {} evaluations of the {} that an exhaustive search makes", r_.runs,
                    done, r_.pairs);
    std::string out = line("effort", text);
    if (!r_.exhaustive) return out;
    out += line("exhaustive", fmt::format("{} more runs: {}", r_.exhaustive->runs,
                                          r_.exhaustive->agrees ? "agrees" : "DISAGREES"));
    for (const std::string& remark : r_.exhaustive->remarks) out += line("", remark);
    return out;
  }

  // What is known of a candidate, for the last column; rank orders the table.
  struct Standing {
    int rank = 0;
    std::string text;
    const PlanEvaluation* shown = nullptr;
  };

  // The level below the one that was found is known to fail.
  [[nodiscard]] bool is_least(std::size_t i) const {
    const PlanCandidate& c = r_.candidates[i];
    return *c.found == c.bound || r_.find(i, *c.found - 1) != nullptr;
  }

  [[nodiscard]] Standing standing(std::size_t i) const {
    const PlanCandidate& c = r_.candidates[i];
    if (c.found) {
      const bool first = r_.answer == i, second = r_.alternative == i;
      return {first    ? 0
              : second ? 1
                       : 2,
              first         ? "the answer"
              : second      ? "next"
              : is_least(i) ? "meets all"
                            : "meets all; not refined: worse than the next",
              &r_.at(i)};
    }
    const PlanEvaluation* last = nullptr;
    for (const PlanEvaluation& e : r_.evaluations)
      if (e.candidate == i) last = &e;
    if (last != nullptr)
      return {
          last->level + 1 == c.levels ? 4 : 3,
          (last->level + 1 == c.levels ? "misses: " : "misses at this price: ") + miss_text(*last),
          last};
    if (!c.infeasible.empty()) return {6, "infeasible: " + c.infeasible, nullptr};
    return {5, "not run: dearer than the next", nullptr};
  }

  std::string candidates(bool all) const {
    std::vector<std::string> columns;
    for (const PlanChoice& c : r_.plan.choices) columns.push_back(c.name);
    columns.insert(columns.end(), {spec_.rate ? ">rate" : ">replicas", ">GPUs", ">USD/h", ">USD/M",
                                   ">kWh/M", "result"});
    TextTable table(std::move(columns));
    std::vector<std::pair<Standing, std::size_t>> order;
    for (std::size_t i = 0; i < r_.candidates.size(); ++i) order.emplace_back(standing(i), i);
    const auto worth = [](const Standing& s) {
      return s.shown != nullptr ? s.shown->worth : PlanWorth{};
    };
    std::ranges::stable_sort(order, [&](const auto& a, const auto& b) {
      if (a.first.rank != b.first.rank) return a.first.rank < b.first.rank;
      return worth(a.first) < worth(b.first);
    });
    const std::size_t shown = all ? order.size() : std::min(order.size(), kShown);
    for (std::size_t k = 0; k < shown; ++k)
      add_row(table, order[k].first, r_.candidates[order[k].second]);
    std::string out = table.text();
    if (shown < order.size()) out += fmt::format("and {} more: --all\n", order.size() - shown);
    return out;
  }

  void add_row(TextTable& table, const Standing& s, const PlanCandidate& c) const {
    std::vector<std::string> row = c.options;
    const auto number = [&](const char* name, int decimals) {
      const double v = s.shown != nullptr ? figure(*s.shown, name) : NAN;
      return std::isfinite(v) ? fmt::format("{:.{}f}", v, decimals) : std::string("-");
    };
    std::string level = "-";
    if (s.shown != nullptr) {
      if (const auto n = plan_replicas(spec_, s.shown->level)) level = std::to_string(*n);
      if (const auto rate = plan_rate(spec_, s.shown->level)) level = fmt::format("{:.3g}", *rate);
    }
    row.insert(row.end(), {level, number("gpus", 0), number("price_per_hour", 2),
                           number("cost_per_million_tokens", 3),
                           number("energy_per_million_tokens", 3), s.text});
    table.row(std::move(row));
  }

  std::string evaluations() const {
    std::vector<std::string> columns;
    for (const PlanChoice& c : r_.plan.choices) columns.push_back(c.name);
    columns.insert(columns.end(), {spec_.rate ? ">rate" : ">replicas", ">runs", ">USD/h"});
    for (const PlanObjective& o : spec_.objectives) columns.push_back(">" + short_name(o));
    columns.emplace_back("");
    TextTable table(std::move(columns));
    for (const PlanEvaluation& e : r_.evaluations) {
      std::vector<std::string> row = r_.candidates[e.candidate].options;
      const auto n = plan_replicas(spec_, e.level);
      const auto rate = plan_rate(spec_, e.level);
      row.push_back(n ? std::to_string(*n) : rate ? fmt::format("{:.3g}", *rate) : "-");
      row.push_back(std::to_string(e.runs));
      row.push_back(fmt::format("{:.2f}", figure(e, "price_per_hour")));
      for (std::size_t i = 0; i < spec_.objectives.size(); ++i)
        row.push_back(metric_text(objectives_[i].metric, e.findings[i].value));
      row.emplace_back(e.met ? "meets" : "misses " + short_name(objectives_[tightest(e)]));
      table.row(std::move(row));
    }
    return "every evaluation\n" + table.text();
  }

  const PlanResult& r_;
  const PlanSpec& spec_;
  std::vector<PlanObjective> objectives_;
};

}  // namespace

std::string plan_text(const PlanResult& r, const PlanReportOptions& options) {
  return Report(r).text(options);
}

}  // namespace kvsim
