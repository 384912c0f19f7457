#pragma once
// A measured deployment (design.md section 7): case.yaml, its workload, and what the real engine
// did.
#include <optional>
#include <string>
#include <vector>

#include "sim/run/peer_parity.h"

namespace kvsim {

struct Comparison {
  struct Row {
    std::string metric, statistic;  // ttft | tpot | e2e_latency; mean | median | p90 | p95 | p99
    double simulated_ms = 0, measured_ms = 0, difference_percent = 0;
  };
  std::string name;
  std::vector<Row> rows;
  double largest_difference_percent = 0;  // in size
  std::optional<Parity> parity;           // with another simulator, in place of rows
};

// `folder` holds case.yaml (or is a scenario file itself). Throws InputError.
Comparison validate_case(const std::string& folder, const std::vector<std::string>& overrides);

}  // namespace kvsim
