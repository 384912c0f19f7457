// Whether the trials of a study can run: before the first of them does.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "sim/run/build.h"
#include "sim/study/study_plan.h"

namespace kvsim {
namespace {

constexpr int kProbeRequests = 50;  // enough that every metric appears

// An override and the place in the study file that it comes from.
struct Override {
  std::string text;
  Place place;
  std::string key;  // "axes.0.values.2"
};

class Checker {
 public:
  Checker(const LoadedStudy& study, const StudyPlan& plan, Diagnostics& d)
      : study_(&study), plan_(&plan), diagnostics_(&d) {}

  std::string run() {
    const std::vector<Override> first = overrides(plan_->axes().size(), 0);
    const std::size_t before = diagnostics_->all().size();
    std::string text = check(first, {}, true, false);
    const bool is_base_good = diagnostics_->all().size() == before;
    for (std::size_t axis = 0; axis < plan_->axes().size(); ++axis)
      for (std::size_t level = 1; level < levels(axis); ++level)
        check(overrides(axis, level), axis, reads_trace(axis), !is_base_good);
    if (is_base_good) check_metrics();
    return text;
  }

 private:
  // A range that is not cut is checked at both ends.
  [[nodiscard]] std::size_t levels(std::size_t axis) const {
    return std::max<std::size_t>(plan_->axes()[axis].levels(), 2 - has_levels(axis));
  }
  [[nodiscard]] std::size_t has_levels(std::size_t axis) const {
    return plan_->axes()[axis].levels() > 0 ? 1 : 0;
  }
  [[nodiscard]] bool reads_trace(std::size_t axis) const {
    const auto& paths = plan_->axes()[axis].paths();
    return std::ranges::any_of(paths, [](const auto& p) { return p.starts_with("workload"); });
  }

  // Those of every trial, then each axis at its first value, but `moved` at `level`.
  [[nodiscard]] std::vector<Override> overrides(std::size_t moved, std::size_t level) const {
    std::vector<Override> all;
    const auto& sets = plan_->spec().set;
    const Tree* set = study_->tree.find("set");
    for (std::size_t i = 0; i < sets.size(); ++i)
      all.push_back({sets[i], set->items()[i].place(), fmt::format("set.{}", i)});
    for (std::size_t a = 0; a < plan_->axes().size(); ++a) {
      const Axis& axis = plan_->axes()[a];
      const std::size_t l = a == moved ? level : 0;
      const bool listed = has_levels(a) != 0;
      const auto values = listed ? axis.at_level(l) : axis.at(static_cast<double>(l));
      for (std::size_t p = 0; p < axis.paths().size(); ++p)
        all.push_back({axis.paths()[p] + "=" + values[p], listed ? axis.place_of(l) : axis.place(),
                       fmt::format("axes.{}", a)});
    }
    return all;
  }

  // Reports what is wrong with the scenario under `all`; of an axis that is moved (`axis`) what the
  // moved values cause. `only_own`: leaves out what does not name them.
  std::string check(const std::vector<Override>& all, std::optional<std::size_t> axis,
                    bool with_trace, bool only_own) {
    std::vector<std::string> sets;
    for (const Override& o : all) sets.push_back(o.text);
    Diagnostics found;
    std::string text;
    try {
      const LoadedScenario loaded = load_scenario(plan_->base_path(), sets, found);
      const BuiltRun run = build_run(loaded, with_trace, found);
      if (found.empty()) text = to_yaml(run.resolved);
    } catch (const InputError& e) {
      for (const Diagnostic& one : e.all()) found.add(one.place, one.path, one.message, one.hint);
    }
    const std::string own = axis ? fmt::format("axes.{}", *axis) : "";
    for (const Diagnostic& one : found.all()) {
      const auto from = std::ranges::find_if(all, [&](const Override& o) {
        return one.place.file && *one.place.file == "--set " + o.text;
      });
      if (from != all.end() && (own.empty() || from->key == own)) {
        diagnostics_->add(from->place, from->key, one.path + ": " + one.message, one.hint);
      } else if (own.empty()) {
        const bool has_place = one.place.file != nullptr;
        diagnostics_->add(has_place ? one.place : study_->tree.find("base")->place(),
                          has_place ? one.path : "base", one.message, one.hint);
      } else if (!only_own && from == all.end()) {
        const auto moved = std::ranges::find(all, own, &Override::key);
        diagnostics_->add(
            moved->place, own,
            fmt::format("with {} the scenario is wrong: {}", moved->text, to_string(one)));
      }
    }
    return text;
  }

  void check_metrics() {
    const StudySpec& spec = plan_->spec();
    if (spec.objectives.empty() && spec.constraints.empty()) return;
    TrialInput input = plan_->input(0);
    input.sets.push_back(fmt::format("workload.limit={}", kProbeRequests));
    const TrialResult probe = run_trial(plan_->base_path(), input);
    if (!probe.error.empty()) return;  // what only a run can find is the trial's own error
    std::vector<std::string> names;
    for (const Metric& m : probe.metrics)
      if (m.scope == "run")
        names.push_back(m.statistic == "value" ? m.name : m.name + "." + m.statistic);
    const auto look = [&](const char* list, std::size_t i, const std::string& metric) {
      if (metric_value(probe.metrics, metric)) return;
      const Tree& at = study_->tree.find(list)->items()[i];
      const Tree* name = at.find("metric");
      std::vector<std::string> near;  // of one metric, its statistics
      for (const std::string& n : names)
        if (n.starts_with(metric + ".")) near.push_back(n);
      diagnostics_->add(name == nullptr ? at.place() : name->place(),
                        fmt::format("{}.{}.metric", list, i),
                        fmt::format("the scenario has no metric '{}'", metric),
                        name_hint(metric, near.empty() ? names : near));
    };
    for (std::size_t i = 0; i < spec.objectives.size(); ++i)
      look("objectives", i, spec.objectives[i].metric);
    for (std::size_t i = 0; i < spec.constraints.size(); ++i)
      look("constraints", i, spec.constraints[i].metric);
  }

  const LoadedStudy* study_;
  const StudyPlan* plan_;
  Diagnostics* diagnostics_;
};

}  // namespace

PreparedStudy prepare_study(const std::string& path) {
  Diagnostics d;
  LoadedStudy study = load_study(path, d);
  StudyPlan plan(study, d);
  std::string scenario;
  if (plan.points() > 0 && !study.base_path.empty()) scenario = Checker(study, plan, d).run();
  d.throw_if_any();
  return {std::move(study), std::move(plan), std::move(scenario)};
}

}  // namespace kvsim
