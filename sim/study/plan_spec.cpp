#include "sim/study/plan_spec.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "sim/scenario/yaml.h"
#include "sim/study/plan.h"

namespace kvsim {

namespace {

constexpr std::size_t kMostCombinations = 100'000;

std::string full_name(const std::string& metric) {
  static const std::map<std::string, std::string> kShort{{"ttft", "ttft_ms"},
                                                         {"tpot", "tpot_ms"},
                                                         {"itl", "itl_ms"},
                                                         {"e2e", "e2el_ms"},
                                                         {"e2el", "e2el_ms"},
                                                         {"queue", "queue_ms"},
                                                         {"goodput", "request_goodput"},
                                                         {"attainment", "slo_attainment"},
                                                         {"throughput", "request_throughput"}};
  const std::size_t dot = metric.find('.');
  const auto found = kShort.find(metric.substr(0, dot));
  if (found == kShort.end()) return metric;
  return found->second + (dot == std::string::npos ? "" : metric.substr(dot));
}

// What a metric's limit is written in, by its name (sim/record/metrics.h).
Dimension dimension_of(const std::string& metric) {
  const std::string name = metric.substr(0, metric.find('.'));
  if (name.ends_with("_ms")) return Dimension::time;
  if (name == "request_goodput" || name == "request_throughput") return Dimension::rate;
  if (name.starts_with("price_")) return Dimension::price;
  if (name.starts_with("slo_attainment") || name.ends_with("_rate") || name.ends_with("_ratio") ||
      name.ends_with("_share") || name.ends_with("_usage"))
    return Dimension::ratio;
  return Dimension::none;
}

bool is_distribution(const std::string& metric) {
  return metric.substr(0, metric.find('.')).ends_with("_ms") && metric != "iteration_mean_ms";
}

std::string trimmed(std::string_view s) {
  while (s.starts_with(' ')) s.remove_prefix(1);
  while (s.ends_with(' ')) s.remove_suffix(1);
  return std::string(s);
}

constexpr const char* kObjectiveHint =
    "for example 'ttft.p99 <= 2 s', 'tpot.mean <= 50 ms', 'attainment >= 99 %', 'goodput >= 4 /s'";

// A path such as a.b.0.c, as --set takes it.
bool is_path(const std::string& key) {
  return !key.empty() && key.front() != '.' && key.back() != '.' &&
         key.find("..") == std::string::npos && key.find_first_of("= ") == std::string::npos;
}

using Sets = std::vector<std::pair<std::string, Tree>>;

Sets read_sets(const Tree& t, Reader& r) {
  Sets sets;
  if (t.is_null()) return sets;
  if (!t.is_map()) return r.error(t, "expected a map of PATH: VALUE"), sets;
  for (const Tree::Entry& e : t.entries()) {
    if (!is_path(e.key))
      r.error_at(e.key_place, e.key, "is no path of the scenario",
                 "for example deployment.parallel.tensor");
    sets.emplace_back(e.key, e.value);
  }
  return sets;
}

std::string short_text(const Tree& value) {
  return value.is_scalar() ? value.text() : to_json(value);
}

PlanChoice read_choice(const Tree::Entry& e, Reader& r) {
  const Reader::Scope scope(r, e.key);
  PlanChoice choice{e.key, {}};
  if (e.value.is_list()) {
    if (!is_path(e.key))
      r.error(e.value, "a list chooses values of one path of the scenario",
              "for several values at once give a map of OPTION: {PATH: VALUE, ...}");
    for (const Tree& value : e.value.items())
      choice.options.push_back({short_text(value), {{e.key, value}}});
  } else if (e.value.is_map()) {
    for (const Tree::Entry& option : e.value.entries()) {
      const Reader::Scope inner(r, option.key);
      choice.options.push_back({option.key, read_sets(option.value, r)});
    }
  } else {
    r.error(e.value, "expected a list of values, or a map of OPTION: {PATH: VALUE, ...}");
    return choice;
  }
  if (choice.options.empty()) r.error(e.value, "offers nothing to choose");
  std::set<std::string> names;
  for (const PlanOption& o : choice.options)
    if (!names.insert(o.name).second) r.error(e.value, fmt::format("offers '{}' twice", o.name));
  return choice;
}

void check_goal(const PlanSpec& s, const Tree& t, Reader& r) {
  const auto error = [&](const char* key, const std::string& message, const char* hint) {
    const Tree* at = t.find(key);
    r.error_at(at != nullptr ? at->place() : t.place(), key, message, hint);
  };
  if (s.base.empty()) error("base", "names no scenario", "add base: scenario.yaml");
  if (s.objectives.empty())
    error("objectives", "none is given: what must the answer meet?", kObjectiveHint);
  const bool told = t.find("minimise") != nullptr || t.find("maximise") != nullptr;
  if (s.minimise.has_value() == s.maximise.has_value() && (s.minimise || !told))
    error("minimise", s.minimise ? "stands beside maximise" : "neither this nor maximise is given",
          "keep one: minimise: price | energy | replicas, or maximise: rate");
  if (s.maximise && s.replicas)
    error("replicas", "the highest rate is that of fixed replicas",
          "make them a choice: choices: {deployment.replicas: [2, 4, 8]}");
  if (s.maximise && !s.rate) error("rate", "is not given", "add rate: {min: 0.5, max: 4}");
  if (!s.maximise && s.rate) error("rate", "is only for maximise: rate", "remove it");
  if (s.minimise == PlanCost::replicas && !s.replicas)
    error("replicas", "is not given, but is to be minimised", "add replicas: {min: 1, max: 16}");
  if (s.replicas && s.replicas->min > s.replicas->max)
    error("replicas", "min is above max", "swap the two");
  if (s.rate && s.rate->min > s.rate->max) error("rate", "min is above max", "swap the two");
  if (s.seeds.min > s.seeds.max) error("seeds", "min is above max", "swap the two");
  if (!s.replicas && !s.rate && s.choices.is_null())
    error("choices", "nothing is to be chosen",
          "add choices, replicas: {min: 1, max: 16}, or rate: {min: 0.5, max: 4}");
}

}  // namespace

std::string metric_text(const std::string& metric, double v) {
  const std::string name = metric.substr(0, metric.find('.'));
  if (!std::isfinite(v)) return "-";
  if (name.ends_with("_ms"))
    return v >= 1000 ? fmt::format("{:.2f} s", v / 1000) : fmt::format("{:.1f} ms", v);
  if (name == "failed" || name.starts_with("slo_attainment") || name.ends_with("_rate") ||
      name.ends_with("_share") || name.ends_with("_usage") || name.ends_with("_ratio"))
    return fmt::format("{:.2f} %", v * 100);
  if (name.starts_with("request_")) return fmt::format("{:.3f} /s", v);
  return fmt::format("{:.4g}", v);
}

bool Codec<PlanObjective>::read(const Tree& t, PlanObjective& out, Reader& r) {
  if (!detail::expect_scalar(t, r, "METRIC <= LIMIT or METRIC >= LIMIT")) return false;
  const std::string& text = t.text();
  std::size_t at = text.find("<=");
  out.at_most = at != std::string::npos;
  if (!out.at_most) at = text.find(">=");
  if (at == std::string::npos || trimmed(text.substr(0, at)).empty()) {
    r.error(t, fmt::format("read '{}', expected METRIC <= LIMIT or METRIC >= LIMIT", text),
            kObjectiveHint);
    return false;
  }
  out.text = text;
  out.metric = full_name(trimmed(text.substr(0, at)));
  const Dimension d = dimension_of(out.metric);
  if (is_distribution(out.metric) && out.metric.find('.') == std::string::npos) {
    r.error(t, fmt::format("'{}' names no statistic", trimmed(text.substr(0, at))),
            fmt::format("mean, median, p90, p95, p99 or max: {}.p99", trimmed(text.substr(0, at))));
    return false;
  }
  std::string error;
  const auto value = parse_quantity(d, trimmed(text.substr(at + 2)), error);
  if (!value) return r.error(t, error, kObjectiveHint), false;
  if (d == Dimension::ratio && *value > 1) {
    r.error(t, fmt::format("a share of {} is above one", trimmed(text.substr(at + 2))),
            fmt::format("write {} %", *value));
    return false;
  }
  out.limit = d == Dimension::time ? *value / 1e6 : *value;  // metrics of time are in ms
  return true;
}

Tree Codec<PlanObjective>::write(const PlanObjective& o) { return Tree::scalar(o.text); }

TypeInfo Codec<PlanObjective>::info() {
  return detail::scalar_type("objective such as ttft.p99 <= 2 s");
}

PlanFile load_plan(const std::string& path, const std::vector<std::string>& sets) {
  Diagnostics d;
  PlanFile plan;
  plan.file = path;
  const Tree tree = load_yaml(path, d);
  d.throw_if_any();
  Reader r(d);
  read_fields(plan.spec, tree, r);
  if (tree.is_map()) check_goal(plan.spec, tree, r);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  plan.base = (folder / plan.spec.base).lexically_normal().string();
  {
    const Reader::Scope scope(r, "set");
    plan.sets = read_sets(plan.spec.set, r);
  }
  for (const std::string& text : sets) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || !is_path(text.substr(0, equals)))
      throw InputError(fmt::format("--set {}: expected PATH=VALUE", text),
                       "for example --set engine.max_running=64");
    plan.sets.emplace_back(text.substr(0, equals),
                           parse_yaml(text.substr(equals + 1), "--set " + text, d));
  }
  if (!plan.spec.choices.is_null()) {
    const Reader::Scope scope(r, "choices");
    if (!plan.spec.choices.is_map()) {
      r.error(plan.spec.choices, "expected a map of choices");
    } else {
      std::size_t combinations = 1;
      for (const Tree::Entry& e : plan.spec.choices.entries()) {
        plan.choices.push_back(read_choice(e, r));
        combinations *= std::max<std::size_t>(plan.choices.back().options.size(), 1);
        if (combinations > kMostCombinations) {
          r.error(plan.spec.choices, "more than 100,000 combinations");
          break;
        }
      }
    }
  }
  d.throw_if_any();
  return plan;
}

}  // namespace kvsim
