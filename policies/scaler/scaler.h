#pragma once
// How many instances of a fleet should serve: the contract of every autoscaling rule. It is asked
// at regular instants and answers a number; bounds, cool-down, start-up and draining belong to the
// engine.
#include <cstdint>
#include <optional>

#include "sim/base/registry.h"
#include "sim/base/time.h"

namespace kvsim {

// The fleet when the rule is asked.
struct FleetView {
  Time now{};
  std::int64_t up = 0, starting = 0;  // instances that take requests, and that soon will
  // Requests that wait in queues, those for which no instance was up included; requests in all
  // that have come in and are not over.
  std::int64_t waiting = 0, in_flight = 0;
  double kv_usage = 0;  // KV blocks held by requests / blocks, of instances up (Traits::memory)
  // Since the last time: first tokens, those of them that came after the objective, and the time
  // to first token that 90 % of them did not exceed.
  std::int64_t first_tokens = 0, late = 0;
  Duration ttft{};
  [[nodiscard]] std::int64_t serving() const { return up + starting; }
};

class Scaler {
 public:
  using Contract = Scaler;
  static constexpr const char* kKind = "scaler";
  struct Context {
    std::optional<Duration> ttft{};  // objective of the scenario
  };
  struct Traits {
    bool memory = false;             // reads kv_usage
    std::optional<Duration> ttft{};  // `late` counts against it; default: the scenario's
  };
  virtual ~Scaler() = default;
  [[nodiscard]] virtual Traits traits() const { return {}; }
  // Instances that should serve; the engine keeps it within its bounds.
  virtual std::int64_t wanted(const FleetView&) = 0;
};

}  // namespace kvsim
