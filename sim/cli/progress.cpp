#include "sim/cli/progress.h"

#include <fmt/format.h>

#include <cstdio>

namespace kvsim {

void ProgressLine::update(Time simulated, std::uint64_t completed) {
  const auto now = std::chrono::steady_clock::now();
  if (!shown_ || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(completed) / seconds : 0;
  std::string line = fmt::format("simulated {:.1f} s, {} requests, {:.0f} requests/s",
                                 to_seconds(simulated.time_since_epoch()), completed, rate);
  if (total_ && rate > 0 && *total_ > completed)
    line += fmt::format(", {:.0f} s left", static_cast<double>(*total_ - completed) / rate);
  fmt::print(stderr, "\r\033[K{}", line);
  std::fflush(stderr);
}

void ProgressLine::clear() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
  drawn_ = false;
}

}  // namespace kvsim
