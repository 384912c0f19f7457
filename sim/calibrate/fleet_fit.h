#pragma once
// Fits one set of numbers to many measured deployments: the accelerator's efficiencies and the
// latency of its link, none per deployment. The engine's host times stay as its preset says: they
// belong to the engine.
//
// Minimised: sum of Huber(log(replayed / measured)) over rows and figures (mean TTFT, ITL, E2E
// weigh 1, their 99th percentiles 0.3), plus ((value - usual) / spread)^2 of every number, a
// measured figure counting as known to 5 %. The second term holds numbers that these deployments
// hardly touch; the Huber loss (threshold 10 %) keeps one odd row from dominating.
// Levenberg-Marquardt with differences for the slopes (Marquardt 1963, doi:10.1137/0111030): a
// replay is too dear for a search without slopes. Deterministic, whatever the number of threads.
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "sim/calibrate/fleet_case.h"

namespace kvsim {

struct FleetNumber {
  const char* name;
  const char* unit;
  bool on_log;  // deviations are factors, `spread` of the logarithm
  double usual, spread, high;
  double (*read)(const FleetParameters&);
  void (*write)(FleetParameters&, double);
};
std::span<const FleetNumber> fleet_numbers();

// Rows in `cases` that `used` says yes to (empty = all) decide. Starts from `start`; what is not in
// fleet_numbers() stays as it is there.
struct FleetFit {
  FleetParameters parameters;
  double loss = 0;
};
FleetFit fit_fleet(std::vector<FleetCase>& cases, const FleetParameters& start,
                   const std::vector<bool>& used = {}, int threads = 1);

std::vector<FleetFigures> replay_all(std::vector<FleetCase>& cases, const FleetParameters&,
                                     int threads = 1);

// Start of every fit: the usual values, so that the catalogue's present content does not matter.
FleetParameters usual_parameters(FleetParameters base);

}  // namespace kvsim
