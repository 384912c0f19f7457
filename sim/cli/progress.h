#pragma once
// A line on a terminal that says how far a run is; silent when stderr is none.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "sim/base/time.h"

namespace kvsim {

class ProgressLine {
 public:
  explicit ProgressLine(std::optional<std::uint64_t> total)
      : total_(total), shown_(isatty(STDERR_FILENO) == 1) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  // Redraws at most ten times a second.
  void update(Time simulated, std::uint64_t completed);
  void clear();

 private:
  std::optional<std::uint64_t> total_;
  bool shown_, drawn_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), last_{};
};

}  // namespace kvsim
