#include "sim/study/study_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsim {

StudyPlan::StudyPlan(const LoadedStudy& study, Diagnostics& d)
    : spec_(study.value), base_path_(study.base_path) {
  Reader r(d);
  const bool is_grid = spec_.design.kind() == "grid";
  const std::size_t before = d.all().size();
  if (const Tree* list = study.tree.find("axes"); list != nullptr && list->is_list()) {
    for (std::size_t i = 0; i < list->items().size(); ++i) {
      const Tree& at = list->items()[i];
      Diagnostics known;  // load_study() reported them
      Reader quiet(known);
      AxisSpec spec;
      if (!Codec<AxisSpec>::read(at, spec, quiet) || !at.is_map()) continue;
      const Reader::Scope scope(r, fmt::format("axes.{}", i));
      axes_.emplace_back(spec, at, is_grid, r);
      for (std::size_t other = 0; other + 1 < axes_.size(); ++other)
        for (const std::string& path : axes_.back().paths())
          if (std::ranges::find(axes_[other].paths(), path) != axes_[other].paths().end())
            r.error(at, fmt::format("'{}' is varied by two axes", path));
    }
  }
  if (d.all().size() == before && axes_.size() == spec_.axes.size()) lay_out(study.tree, r);
}

void StudyPlan::lay_out(const Tree& study, Reader& r) {
  const DesignSpec& design = spec_.design;
  const std::size_t k = axes_.size();
  const std::string kind = design.kind();
  const std::size_t most = kind == "saltelli" ? kSobolDimensions / 2
                           : kind == "sobol"  ? kSobolDimensions
                                              : kMostTrials;
  const Tree* at = study.find(kind == "grid" ? "axes" : "design");
  if (k > most)
    return r.error(*at, fmt::format("{} axes, but design {} has at most {}", k, kind, most));
  // In doubles, so that a product too large for the machine is still too large.
  double points = 1;
  if (kind == "grid")
    for (const Axis& axis : axes_) points *= static_cast<double>(axis.levels());
  else if (design.morris)
    points = static_cast<double>(design.morris->trajectories) * static_cast<double>(k + 1);
  else if (design.saltelli)
    points = static_cast<double>(*design.saltelli) * static_cast<double>(k + 2);
  else
    points = static_cast<double>(design.sobol ? *design.sobol : *design.latin_hypercube);
  const double trials = points * static_cast<double>(seeds_per_point());
  if (trials > static_cast<double>(kMostTrials))
    return r.error(*at, fmt::format("{:.0f} trials, at most {} are allowed", trials, kMostTrials),
                   "fewer values or seeds, or design: {latin-hypercube: 1000}");
  points_ = static_cast<std::size_t>(points);
  if (design.latin_hypercube) unit_ = latin_hypercube(points_, k, design.seed);
  if (design.sobol) unit_ = sobol_points(points_, k);
  if (design.saltelli) unit_ = saltelli_points(static_cast<std::size_t>(*design.saltelli), k);
  if (design.morris)
    unit_ = morris_points(static_cast<std::size_t>(design.morris->trajectories),
                          design.morris->levels, k, design.seed);
}

std::optional<std::uint64_t> StudyPlan::seed_of(std::size_t trial) const {
  if (spec_.seeds.list.empty()) return std::nullopt;
  return spec_.seeds.list[trial % spec_.seeds.list.size()];
}

std::vector<TrialParam> StudyPlan::params(std::size_t point) const {
  std::vector<TrialParam> all;
  std::size_t rest = point, block = points_;  // a grid: the last axis moves fastest
  for (std::size_t i = 0; i < axes_.size(); ++i) {
    const Axis& axis = axes_[i];
    std::vector<std::string> values;
    if (unit_.empty()) {
      block /= axis.levels();
      values = axis.at_level(rest / block);
      rest %= block;
    } else {
      values = axis.at(unit_[point][i]);
    }
    for (std::size_t p = 0; p < axis.paths().size(); ++p)
      all.push_back({i, axis.paths()[p], std::move(values[p])});
  }
  return all;
}

TrialInput StudyPlan::input(std::size_t trial) const {
  TrialInput input;
  input.sets = spec_.set;
  for (const TrialParam& p : params(point_of(trial))) input.sets.push_back(p.path + "=" + p.value);
  input.seed = seed_of(trial);
  for (const ObjectiveSpec& o : spec_.objectives) input.quality |= is_of_quality(o.metric);
  for (const ConstraintSpec& c : spec_.constraints) input.quality |= is_of_quality(c.metric);
  return input;
}

}  // namespace kvsim
