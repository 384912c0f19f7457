#pragma once
// Fitting the roofline's efficiencies to measured times: coordinate descent on the mean squared
// logarithm of predicted over measured (a factor of two too slow weighs as much as one too fast),
// with leave-one-group-out errors.
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "hardware/roofline.h"

namespace kvsim {

// One free number. `on_log`: steps are factors instead of differences.
struct FitParameter {
  std::string name;
  double value = 0, low = 0, high = 1;
  bool on_log = false;
};
// Lowers loss(values) by direct search without derivatives; deterministic; any loss, such as
// a replay of measured deployments. Returns the loss. At most `evaluations` calls.
double coordinate_descent(const std::function<double(std::span<const double>)>& loss,
                          std::vector<FitParameter>&, int evaluations = 20000);

struct FitSample {
  Work work;
  Roofline::Rows rows;
  double ns = 0;      // measured
  std::string group;  // left out together (an operator, a model, a deployment)
};
struct FitReport {
  Efficiency efficiency;
  double p50 = 0, p90 = 0;  // absolute relative error on the samples
  struct Group {
    std::string name;
    std::size_t samples = 0;
    double p50 = 0;           // with the group in the fit
    double left_out_p50 = 0;  // predicted by a fit to all the others
  };
  std::vector<Group> groups;  // sorted by name
};
// Fits the nine numbers of law.efficiency, starting from them (which stay where no sample depends
// on them). Throws InputError without samples
// or with times <= 0.
FitReport fit_efficiency(Roofline law, std::span<const FitSample>);

}  // namespace kvsim
