#pragma once
// Replays a measured deployment with the roofline cost model.
//
// The load is rebuilt from its description. Arrivals: Poisson in each half of the duration. Chats:
// a prefix of `shared_prefix` tokens common to a group and `prompt` tokens of their own; requests
// go round the chats. The measured mean prompt is only 5 % above the design, so prompts did not
// grow from turn to turn: a chat is taken to send its first prompt again, 5 % longer than designed,
// and finds it in the prefix cache but for the last block. The measurements say so too: at 10
// requests/s the 90th percentile of TTFT is the mean plus 0.4 iterations, the spread of the wait
// for the next iteration alone; uncached prompts would meet in one iteration every fifth time.
// Lengths are constant, for only their means are known. The number of chats is not known; 100 is
// one for all rows (80 to 130 fit equally well, 45, 200 and prompts that are always new clearly
// worse). It also says when a small cache loses a chat's prompt before it comes again.
#include <cstdint>
#include <vector>

#include "hardware/device.h"
#include "sim/calibrate/fleet_table.h"
#include "sim/run/build.h"

namespace kvsim {

// Everything the fit may move: shares of the accelerator's peaks, its link, the engine's host
// times.
struct FleetParameters {
  Efficiency efficiency;
  Duration link_latency{};                // of a message between the GPUs of an instance
  Duration overhead{}, layer_overhead{};  // of iterations with prefill
  Duration graph_overhead{}, graph_layer_overhead{};  // of decode iterations
  Duration front_end{};
};

struct FleetOptions {
  std::string device = "h100-sxm", preset = "vllm-0.15";
  double longest = 0;  // s of the load that are replayed, half of it from each stage; 0 = all
  std::uint64_t seed = 1;
  std::uint64_t chats = 100;  // that the requests go round; 0 = every request brings a new prompt
};

class FleetCase {
 public:
  // Throws InputError that names the row's file and line.
  FleetCase(const FleetRow&, const FleetOptions&);
  [[nodiscard]] const FleetRow& row() const { return row_; }
  // What the catalogue and the preset say now.
  [[nodiscard]] FleetParameters current() const;
  // Not safe on one case from two threads.
  FleetFigures replay(const FleetParameters&);

 private:
  void draw_requests(const FleetOptions&);
  FleetRow row_;
  BuiltRun run_;
  FleetParameters current_;
  std::vector<Request> requests_;
};

}  // namespace kvsim
