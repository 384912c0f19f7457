#pragma once
// How long a request still takes, as a scheduler believes it: its output length is a guess, wrong
// by a lognormal factor of median 1 that belongs to the request (every policy and instance draws
// the same one). Error 0 is the oracle.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

#include "policies/scheduler/scheduler.h"
#include "sim/base/random.h"

namespace kvsim {

class LengthGuess {
 public:
  // `error`: deviation of the factor's logarithm.
  LengthGuess(std::uint64_t seed, double error)
      : random_(seed, "scheduler/length-guess"), error_(error) {}
  // Output tokens in all, at least one.
  [[nodiscard]] std::int64_t output(const SchedulerRequest& r) const {
    if (error_ == 0) return r.output;
    const double guess = static_cast<double>(r.output) * random_.at(r.index).lognormal(0.0, error_);
    return std::max<std::int64_t>(1, std::llround(std::min(guess, 1e12)));
  }
  // Output tokens still to come; one at least, however wrong the guess was.
  [[nodiscard]] std::int64_t left(const SchedulerRequest& r) const {
    return std::max<std::int64_t>(1, output(r) - r.sampled);
  }

 private:
  Rng random_;
  double error_;
};

enum class SizeBy : std::uint8_t { time, tokens, output };
constexpr auto enum_names(SizeBy) {
  return std::array{std::pair{SizeBy::time, "time"}, std::pair{SizeBy::tokens, "tokens"},
                    std::pair{SizeBy::output, "output"}};
}

// What is left of a request. Falls while the request decodes, and does not change while it waits
// unless the cache forgets what it had computed.
class JobSize {
 public:
  JobSize(SizeBy by, double error, const Scheduler::Context& c)
      : by_(by), guess_(c.seed, error), steps_(c.steps), rank_(c.rank) {}
  [[nodiscard]] double left(const SchedulerRequest& r) const {
    const std::int64_t output = guess_.left(r);
    if (by_ == SizeBy::output) return static_cast<double>(output);
    // A preempted request finds what the cache kept of its work.
    std::int64_t computed = r.computed;
    if (!r.running && r.was_admitted) computed = std::max(computed, rank_->hit_tokens(r.slot));
    const bool decodes = r.running && r.sampled > 0 && r.known() - computed <= 1;
    const std::int64_t prefill = decodes ? 0 : r.known() - computed;
    const std::int64_t steps = decodes ? output : output - 1;
    if (by_ == SizeBy::tokens) return static_cast<double>(prefill + steps);
    return to_seconds(steps_->prefill(r.known() - prefill, r.known())) +
           static_cast<double>(steps) * to_seconds(steps_->decode(r.prompt + guess_.output(r)));
  }

 private:
  SizeBy by_;
  LengthGuess guess_;
  const StepEstimator* steps_;
  SchedulerRank* rank_;
};

}  // namespace kvsim
