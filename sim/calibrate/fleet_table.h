#pragma once
// Measured deployments as a table of summary figures: one row is a deployment, its load as
// designed, and what the engine's clients saw (docs of the columns: hardware/README.md). Times are
// ms.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/tree.h"

namespace kvsim {

struct FleetFigures {
  double ttft_mean = 0, ttft_p90 = 0, ttft_p99 = 0, itl_mean = 0, e2e_mean = 0, e2e_p90 = 0,
         e2e_p99 = 0;
};
struct FleetFigure {
  const char* name;
  double FleetFigures::*member;
};
inline constexpr std::array<FleetFigure, 7> kFleetFigures{{{"ttft mean", &FleetFigures::ttft_mean},
                                                           {"ttft p99", &FleetFigures::ttft_p99},
                                                           {"itl mean", &FleetFigures::itl_mean},
                                                           {"e2e mean", &FleetFigures::e2e_mean},
                                                           {"e2e p99", &FleetFigures::e2e_p99},
                                                           {"ttft p90", &FleetFigures::ttft_p90},
                                                           {"e2e p90", &FleetFigures::e2e_p90}}};

struct FleetRow {
  Place place;  // file and line
  std::string name, model /* id in the catalogue */, weights /* precision */;
  int tensor = 1, data = 1;
  std::int64_t max_batched_tokens = 0, max_running = 0, kv_blocks = 0;
  double rate_first = 0, rate_last = 0;                    // requests/s of the two halves
  double duration = 0;                                     // s, both halves
  std::int64_t shared_prefix = 0, prompt = 0, output = 0;  // tokens, designed means
  FleetFigures measured;

  // Tokens an answer had: as designed, unless the row's own figures say otherwise. E2E = TTFT +
  // gaps, so 1 + (E2E - TTFT) / ITL is the mean number of tokens; beyond kOutputTolerance of the
  // design the load was another one (a base model that ends early) and this number is taken.
  static constexpr double kOutputTolerance = 0.1;
  [[nodiscard]] std::int64_t answered() const;
  [[nodiscard]] bool is_output_implied() const { return answered() != output; }
};

// The rows measured on the accelerator `device` (an id such as h100-sxm; the column gpu holds its
// beginning, H100); other rows are passed over. Throws InputError with file and line of every
// mistake, and when no row is left.
std::vector<FleetRow> read_fleet(const std::string& path, const std::string& device);

// Catalogue id of a published model's name: the name in lower case, without what marks tuning or
// precision (-instruct..., -chat..., -fp8..., -hf), when it is an id or begins exactly one.
// "" when there is none.
std::string catalog_model(const std::string& published);

}  // namespace kvsim
