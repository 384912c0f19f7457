// Requests that call tools, by the memory that they will take over time (LAMPS): the area under a
// request's KV, token by token while it decodes, and while each tool runs the least of keeping it
// there, computing it again and copying it out and back. Lengths and pauses are predicted when it
// begins to wait; whoever waits too long goes before all others. Nobody who runs is displaced; when
// blocks are short, the one with the most to take goes.
#include <algorithm>
#include <vector>

#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class Lamps final : public Scheduler {
 public:
  struct Params {
    double error = 0, pause_error = 0;
    Duration starve_after{std::chrono::seconds(10)};
    static constexpr Rows kFields{
        field(
            "error", &Params::error, between(0.0, 10.0),
            "output lengths are believed wrong by a lognormal factor: deviation of its logarithm; "
            "0 = known"),
        field("pause_error", &Params::pause_error, between(0.0, 10.0), "the same of pauses"),
        field("starve_after", &Params::starve_after, any,
              "waiting this long goes before all others; 0 = never")};
  };
  Lamps(Params p, const Context& c)
      : params_(p),
        guess_(c.seed, p.error),
        pauses_(c.seed, "scheduler/pause-guess"),
        steps_(c.steps),
        rank_(c.rank) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving,
            .ranks_running = true,
            .moves = params_.starve_after > Duration{0}};
  }

  Standing standing(const SchedulerRequest& r, Time now) override {
    if (r.running) return {1, area(r)};
    const Job& j = jobs_[r.slot];
    const bool starves =
        params_.starve_after > Duration{0} && now - j.waits_since >= params_.starve_after;
    return {starves ? 0 : 1, starves ? to_seconds(j.waits_since - Time{}) : j.area};
  }
  void arrived(const SchedulerRequest& r, Time now) override { wait(r, now); }
  void preempted(const SchedulerRequest& r, Time now) override { wait(r, now); }

 private:
  struct Job {
    double area = 0;
    Time waits_since{};
  };
  void wait(const SchedulerRequest& r, Time now) {
    if (r.slot >= jobs_.size()) jobs_.resize(r.slot + 1);
    jobs_[r.slot] = {area(r), now};
  }
  // Tokens times seconds of one that decodes `output` tokens on top of `context`.
  [[nodiscard]] double decoding(double context, double output) const {
    const double token = to_seconds(steps_->decode(static_cast<std::int64_t>(context + output)));
    return token * output * (context + output / 2);
  }
  [[nodiscard]] double area(const SchedulerRequest& r) const {
    auto context = static_cast<double>(r.known());
    double sum = to_seconds(steps_->prefill(std::min(r.computed, r.known()), r.known())) * context;
    auto output = static_cast<double>(guess_.left(r));
    for (std::size_t i = 0; i < r.calls.size(); ++i) {
      sum += decoding(context, output);
      context += output;
      const auto tokens = static_cast<std::int64_t>(context);
      double pause = to_seconds(r.calls[i].pause);
      if (params_.pause_error > 0)
        pause *= pauses_.at(r.index).at(r.calls.size() - i).lognormal(0.0, params_.pause_error);
      double least = std::min(pause, to_seconds(steps_->prefill(0, tokens)));
      if (const auto copy = rank_->host_copy(tokens))
        least = std::min(least, 2 * to_seconds(*copy));
      sum += least * context;
      context += static_cast<double>(r.calls[i].returns);
      output = static_cast<double>(i + 1 < r.calls.size() ? r.calls[i + 1].after : r.last_output);
    }
    return sum + decoding(context, output);
  }

  Params params_;
  LengthGuess guess_;
  Rng pauses_;
  const StepEstimator* steps_;
  SchedulerRank* rank_;
  std::vector<Job> jobs_;  // by slot
};

const Register<Lamps> kSelf{"lamps", "the least KV memory over time first, tool calls included",
                            "Shahout et al., LAMPS, 2024, arXiv:2410.18248"};

}  // namespace
}  // namespace kvsim
