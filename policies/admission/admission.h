#pragma once
// Whether a request is taken in at all, asked once when it reaches a rank: the contract of every
// admission control. Who is refused leaves at once, as rejected; who is taken in is served.
#include <cstdint>
#include <optional>

#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/state/step_estimator.h"

namespace kvsim {

// What is known of it and of the rank when it comes.
struct AdmissionQuestion {
  std::int64_t prompt = 0;
  std::int32_t priority = 0;
  std::uint32_t tenant = 0;
  Duration waited{};                      // since it arrived at the server
  std::int64_t waiting = 0, running = 0;  // requests
  std::int64_t waiting_tokens = 0;        // known tokens to be computed before it: of all that wait
                                          // or are being computed, cached prefixes not taken off
  Duration backlog{};                     // predicted time for these, each request alone
  Duration admission_gap{};  // mean of the last 32 admissions, up to now; 0 = there were fewer
};

class Admission {
 public:
  using Contract = Admission;
  static constexpr const char* kKind = "admission";
  struct Context {
    std::optional<Duration> ttft, tpot, e2e;  // objectives of the scenario
    const StepEstimator* steps = nullptr;     // null when only parameters are read
  };
  virtual ~Admission() = default;
  // Why it is refused, a static text; null: it is taken in.
  virtual const char* refuse(const AdmissionQuestion&) = 0;
};

}  // namespace kvsim
