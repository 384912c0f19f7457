#pragma once
// `kvsim calibrate fleet`: replays or fits a table of measured deployments and says how far off it
// is.
#include <array>
#include <string>
#include <vector>

#include "sim/calibrate/fleet_fit.h"

namespace kvsim {

struct FleetReport {
  std::string file, device;
  FleetParameters parameters;
  bool is_fitted = false;
  double loss = 0;
  std::vector<FleetRow> rows;
  std::vector<FleetFigures> simulated;
  // Each row predicted by a fit to the others: without the row, and without any row of its model
  // (the stricter one: nothing of that model was seen). Empty unless fitted.
  std::vector<FleetFigures> row_left_out, model_left_out;
};

// Without `fit`: what the catalogue and the preset predict. Throws InputError.
FleetReport calibrate_fleet(const std::string& file, const FleetOptions&, bool fit, int threads);

// Median over rows of |simulated / measured - 1| in percent, by figure of kFleetFigures.
std::array<double, kFleetFigures.size()> median_errors(const std::vector<FleetRow>&,
                                                       const std::vector<FleetFigures>&);

std::string fleet_table(const FleetReport&);
// The catalogue file of the device with the fitted efficiencies and link latency in place of its
// own.
std::string fitted_device_file(const FleetReport&);

}  // namespace kvsim
