#pragma once
// A run of another simulator, compared value by value: not how close, but whether the same.
#include <cstdint>
#include <string>
#include <vector>

#include "sim/run/build.h"
#include "sim/state/outcome.h"

namespace kvsim {

struct Parity {
  struct Row {
    std::string quantity;
    std::int64_t compared = 0, different = 0;
    double largest_s = 0;  // of times: largest difference; 1e-9 and less is the same
    std::string first;     // where the first difference is
  };
  std::string name;
  std::vector<Row> rows;
  [[nodiscard]] bool is_exact() const;
};

// `folder` holds requests.csv[.gz] and batches.csv[.gz] as Vidur writes them (the latter may end
// before the run does). `outcome` is the same scenario's with its requests and iterations. Throws
// InputError.
Parity compare_with_vidur(const std::string& folder, const RunOutcome& outcome);

}  // namespace kvsim
