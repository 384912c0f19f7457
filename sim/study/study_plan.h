#pragma once
// The trials of a study: every point of its design, with every seed. Trials of a point follow each
// other.
#include <cstdint>
#include <string>
#include <vector>

#include "sim/study/axes.h"
#include "sim/study/design.h"
#include "sim/study/trial.h"

namespace kvsim {

inline constexpr std::size_t kMostTrials = 1'000'000;

// What a trial sets: one entry a path.
struct TrialParam {
  std::size_t axis;
  std::string path, value;
};

class StudyPlan {
 public:
  // Mistakes in axes and sizes go to Diagnostics. Reads no scenario.
  StudyPlan(const LoadedStudy&, Diagnostics&);

  [[nodiscard]] const StudySpec& spec() const { return spec_; }
  [[nodiscard]] const std::string& base_path() const { return base_path_; }
  [[nodiscard]] const std::vector<Axis>& axes() const { return axes_; }
  [[nodiscard]] std::size_t points() const { return points_; }
  [[nodiscard]] std::size_t trials() const { return points_ * seeds_per_point(); }
  [[nodiscard]] std::size_t seeds_per_point() const {
    return spec_.seeds.list.empty() ? 1 : spec_.seeds.list.size();
  }
  [[nodiscard]] std::size_t point_of(std::size_t trial) const { return trial / seeds_per_point(); }
  [[nodiscard]] std::optional<std::uint64_t> seed_of(std::size_t trial) const;
  [[nodiscard]] std::vector<TrialParam> params(std::size_t point) const;
  // For run_trial() on base_path().
  [[nodiscard]] TrialInput input(std::size_t trial) const;
  // Coordinates of the points of a design other than grid; empty for a grid.
  [[nodiscard]] const std::vector<UnitPoint>& unit_points() const { return unit_; }

 private:
  void lay_out(const Tree& study, Reader&);

  StudySpec spec_;
  std::string base_path_;
  std::vector<Axis> axes_;
  std::vector<UnitPoint> unit_;
  std::size_t points_ = 0;
};

// A study that can be run.
struct PreparedStudy {
  LoadedStudy study;
  StudyPlan plan;
  std::string scenario;  // of the first trial, resolved
};

// Reads a study file and builds (without running) its scenario at every value of every axis, the
// other axes at their first; looks for the metrics in a run of a few requests. Throws InputError
// with every mistake, at the place in the study file where the value stands.
PreparedStudy prepare_study(const std::string& path);

}  // namespace kvsim
