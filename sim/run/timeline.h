#pragma once
// A run as a Chrome Trace Event file, which ui.perfetto.dev and chrome://tracing open: an instance
// is a process; its iterations are slices, its requests and transfers of KV nested asynchronous
// slices, its queues and KV use counters. Format: "Trace Event Format" of the Catapult project.
#include <cstddef>
#include <ostream>
#include <string>

#include "sim/base/time.h"
#include "sim/state/outcome.h"

namespace kvsim {

// Viewers hold a file in memory, several hundred bytes an event.
inline constexpr std::size_t kMostTimelineEvents = 2'000'000;

struct TimelineSummary {
  std::size_t events = 0;
  bool is_cut = false;
  Time cut_at{};  // what begins later was left out
};

// `outcome` needs requests, iterations and transfers (SimulateOptions::keep_timeline). Written in
// the order of beginnings, at most `most_events` besides names. Times in the file are microseconds.
TimelineSummary write_timeline(const RunOutcome& outcome, const std::string& run_name,
                               std::ostream& out, std::size_t most_events = kMostTimelineEvents);

}  // namespace kvsim
