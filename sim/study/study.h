#pragma once
// A study file as a value: a scenario, the axes along which it is varied, and what is looked for.
// Field texts are the user's manual (`kvsim show study`).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

enum class Scale : std::uint8_t { linear, log };
constexpr auto enum_names(Scale) {
  return std::array{std::pair{Scale::linear, "linear"}, std::pair{Scale::log, "log"}};
}

struct RangeSpec {
  Tree from, to;
  std::optional<std::int64_t> steps;
  Scale scale = Scale::linear;
  static constexpr Rows kFields{
      field("from", &RangeSpec::from, any, "first value, with its unit"),
      field("to", &RangeSpec::to, any, "last value, with its unit"),
      field("steps", &RangeSpec::steps, between<std::int64_t>(2, 10'000),
            "values of a grid, both ends among them"),
      field("scale", &RangeSpec::scale, any, "log: equal factors instead of equal differences")};
};

struct AxisSpec {
  std::string name;
  Tree path;
  std::vector<Tree> values;
  std::optional<RangeSpec> range;
  static constexpr Rows kFields{
      field("name", &AxisSpec::name, any, "in tables; default: the end of the path"),
      field("path", &AxisSpec::path, any,
            "what is varied, as in --set: cache.tiers.1.capacity; a list of paths moves together"),
      field("values", &AxisSpec::values, any,
            "what it takes; with several paths each value is a list of as many"),
      field("range", &AxisSpec::range, any,
            "quantities from .. to, in place of values; several paths take the same quantity. Ends "
            "written as whole numbers give whole numbers (write 1.0 for others)")};
};

struct MorrisSpec {
  std::int64_t trajectories = 10;
  int levels = 4;
  static constexpr Rows kFields{
      field("trajectories", &MorrisSpec::trajectories, between<std::int64_t>(2, 100'000),
            "walks of axes + 1 points"),
      field("levels", &MorrisSpec::levels, between(2, 1000), "of each axis; even")};
};

// `design: grid`, or a mapping with one of the others.
struct DesignSpec {
  std::optional<std::int64_t> latin_hypercube, sobol, saltelli;
  std::optional<MorrisSpec> morris;
  std::uint64_t seed = 0;
  static constexpr Rows kFields{
      field("latin-hypercube", &DesignSpec::latin_hypercube, between<std::int64_t>(1, 1'000'000),
            "so many points, each axis evenly covered, combined at random"),
      field("sobol", &DesignSpec::sobol, between<std::int64_t>(1, 1'000'000),
            "so many points of the Sobol sequence, best a power of two"),
      field("saltelli", &DesignSpec::saltelli, between<std::int64_t>(2, 100'000),
            "so many rows of axes + 2 points, for Sobol indices: which share of an objective's "
            "variance is due to which axis"),
      field("morris", &DesignSpec::morris, any,
            "walks along the axes, for Morris indices: which axis matters, at the fewest runs"),
      field("seed", &DesignSpec::seed, any, "of latin-hypercube and morris")};
  [[nodiscard]] std::string kind() const;  // "grid" when none is given
};
template <>
struct Codec<DesignSpec> {
  static bool read(const Tree&, DesignSpec&, Reader&);
  static Tree write(const DesignSpec&);
  static TypeInfo info();
};

// A list of seeds, or {first, count}.
struct SeedSpec {
  std::vector<std::uint64_t> list;  // empty: the scenario's own
};
template <>
struct Codec<SeedSpec> {
  static bool read(const Tree&, SeedSpec&, Reader&);
  static Tree write(const SeedSpec&);
  static TypeInfo info();
};

enum class Goal : std::uint8_t { min, max };
constexpr auto enum_names(Goal) {
  return std::array{std::pair{Goal::min, "min"}, std::pair{Goal::max, "max"}};
}

struct ObjectiveSpec {
  std::string metric;
  Goal goal = Goal::min;
  static constexpr Rows kFields{
      field("metric", &ObjectiveSpec::metric, any,
            "name.statistic, such as ttft_ms.p99; a bare name where there is one value, such as "
            "request_goodput (kvsim query DB @metrics lists them)"),
      field("goal", &ObjectiveSpec::goal, any, "which way is better")};
};

struct ConstraintSpec {
  std::string metric;
  std::optional<double> at_most, at_least;
  static constexpr Rows kFields{
      field("metric", &ConstraintSpec::metric, any, "as of an objective"),
      field("at_most", &ConstraintSpec::at_most, any, "in the metric's unit"),
      field("at_least", &ConstraintSpec::at_least, any, "in the metric's unit")};
};

enum class KeepMetrics : std::uint8_t { all, goals };
constexpr auto enum_names(KeepMetrics) {
  return std::array{std::pair{KeepMetrics::all, "all"}, std::pair{KeepMetrics::goals, "goals"}};
}

struct StudySpec {
  int version = 1;
  std::string name = "unnamed", base;
  std::vector<std::string> set;
  std::vector<AxisSpec> axes;
  DesignSpec design;
  SeedSpec seeds;
  std::vector<ObjectiveSpec> objectives;
  std::vector<ConstraintSpec> constraints;
  KeepMetrics keep = KeepMetrics::all;
  static constexpr Rows kFields{
      field("kvsim-study", &StudySpec::version, between(1, 1), "version of this file format"),
      field("name", &StudySpec::name, any, "names the result file"),
      field("base", &StudySpec::base, any, "scenario file that is varied; relative to this one"),
      field("set", &StudySpec::set, any, "PATH=VALUE, for every trial"),
      field("axes", &StudySpec::axes, any, "what is varied"),
      field("design", &StudySpec::design, any,
            "which combinations are run: grid (all of them), or a mapping"),
      field("seeds", &StudySpec::seeds, any,
            "each combination is run with each seed: a list, or {first: 1, count: 5}; default: "
            "once, with the scenario's seed"),
      field("objectives", &StudySpec::objectives, any,
            "what is wanted; with several, show marks the Pareto front"),
      field("constraints", &StudySpec::constraints, any, "what a good combination keeps"),
      field("keep", &StudySpec::keep, any,
            "metrics stored for each trial: all, or only those of objectives and constraints")};
};
KVSIM_FIELDS_ELSEWHERE(StudySpec)

// A study with the tree it was read from: the places of its values.
struct LoadedStudy {
  StudySpec value;
  Tree tree;
  std::string base_path;  // of the scenario, from the working directory; empty: it is not there
};

// Mistakes go to Diagnostics, all at once.
LoadedStudy load_study(const std::string& path, Diagnostics&);
// The same of a tree; base_path stays empty, and nobody looks whether the base is there.
LoadedStudy read_study(Tree, Diagnostics&);

}  // namespace kvsim
