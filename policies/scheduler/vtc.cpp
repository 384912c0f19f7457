// Virtual token counters: fair shares for tenants. A tenant's counter grows with the service that
// it is given (weighted prompt tokens at admission, weighted output tokens as they come); the
// waiting tenant with the least counter goes first. A tenant that comes back after a time without
// waiting requests is lifted to the least counter of those that wait, so that idle time earns
// nothing. While two tenants both wait, the service of one exceeds the other's by at most 2
// max(input_weight * longest prompt, output_weight * tokens that fit into the batch).
#include <algorithm>
#include <vector>

#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class Vtc final : public Scheduler {
 public:
  struct Params {
    double input_weight = 1, output_weight = 2;
    std::vector<double> weights;
    bool lift = true;
    bool predict = false;
    double error = 0, bound = 0;
    static constexpr Rows kFields{
        field("input_weight", &Params::input_weight, between(0.0, 1e6),
              "service of a prompt token"),
        field("output_weight", &Params::output_weight, between(0.0, 1e6),
              "service of an output token"),
        field("weights", &Params::weights, between(1e-6, 1e6),
              "shares of tenant 0, 1, ...: a counter grows by service / weight; those beyond the "
              "list have 1"),
        field("lift", &Params::lift, any,
              "false: least counter first without lifting; idle time is made up for"),
        field("predict", &Params::predict, any,
              "the whole predicted output is charged at admission, and put right as it comes"),
        field("error", &Params::error, between(0.0, 10.0),
              "of that prediction: deviation of the logarithm of its factor; 0 = known"),
        field("bound", &Params::bound, between(0.0, 1e12),
              "above 0: a waiting tenant displaces requests of one whose counter is larger by more "
              "than this")};
  };
  Vtc(Params p, const Context& c) : params_(std::move(p)), guess_(c.seed, params_.error) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving,
            .ranks_running = params_.bound > 0,
            .preempts = params_.bound > 0,
            .moves = true,
            .charges = true,
            .hears_tokens = true};
  }
  Standing standing(const SchedulerRequest& r, Time) override {
    return {0, counter(tenants_[r.tenant])};
  }
  bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running, Time) override {
    return counter(tenants_[waiting.tenant]) + params_.bound < counter(tenants_[running.tenant]);
  }

  void arrived(const SchedulerRequest& r, Time) override {
    if (r.tenant >= tenants_.size()) tenants_.resize(r.tenant + 1);
    if (r.slot >= jobs_.size()) jobs_.resize(r.slot + 1);
    for (; weighted_ < tenants_.size(); ++weighted_)
      if (weighted_ < params_.weights.size())
        tenants_[weighted_].weight = params_.weights[weighted_];
    jobs_[r.slot] = {};
    begin_wait(r);
  }
  void admitted(const SchedulerRequest& r, Time) override {
    end_wait(r);
    Job& j = jobs_[r.slot];
    if (std::exchange(j.charged, true)) return;
    Tenant& t = tenants_[r.tenant];
    t.input += r.prompt;
    if (params_.predict) j.ahead = guess_.output(r);
    t.output += j.ahead;
  }
  void served(const SchedulerRequest& r, std::int64_t tokens) override {
    Job& j = jobs_[r.slot];
    const std::int64_t paid = std::min(j.ahead, tokens);
    j.ahead -= paid;
    tenants_[r.tenant].output += tokens - paid;
  }
  void preempted(const SchedulerRequest& r, Time) override { begin_wait(r); }
  void left(const SchedulerRequest& r) override {
    if (jobs_[r.slot].waits) end_wait(r);
    tenants_[r.tenant].output -= std::exchange(jobs_[r.slot].ahead, 0);
  }

 private:
  // Whole numbers, so that it does not matter in what portions service is heard of.
  struct Tenant {
    std::int64_t input = 0, output = 0;  // tokens served
    std::int64_t waiting = 0;            // requests
    double weight = 1, lifted = 0;
  };
  struct Job {
    bool charged = false, waits = false;
    std::int64_t ahead = 0;  // output tokens that are paid for and have not come
  };
  [[nodiscard]] double counter(const Tenant& t) const {
    return t.lifted + (params_.input_weight * static_cast<double>(t.input) +
                       params_.output_weight * static_cast<double>(t.output)) /
                          t.weight;
  }
  void begin_wait(const SchedulerRequest& r) {
    jobs_[r.slot].waits = true;
    Tenant& t = tenants_[r.tenant];
    if (t.waiting++ > 0 || !params_.lift) return;
    // The least of those that wait; when nobody does, that of the last who did.
    const Tenant* level = has_last_ ? &tenants_[last_] : nullptr;
    bool somebody = false;
    for (const Tenant& other : tenants_) {
      if (&other == &t || other.waiting == 0) continue;
      if (!somebody || counter(other) < counter(*level)) level = &other;
      somebody = true;
    }
    if (level != nullptr) t.lifted += std::max(0.0, counter(*level) - counter(t));
  }
  void end_wait(const SchedulerRequest& r) {
    jobs_[r.slot].waits = false;
    if (--tenants_[r.tenant].waiting > 0) return;
    has_last_ = true;
    last_ = r.tenant;
  }

  Params params_;
  LengthGuess guess_;
  std::vector<Tenant> tenants_;
  std::vector<Job> jobs_;  // by slot
  std::size_t weighted_ = 0;
  bool has_last_ = false;
  std::uint32_t last_ = 0;  // tenant whose last waiting request was admitted last
};

const Register<Vtc> kSelf{"vtc", "fair shares for tenants by counters of the service given",
                          "Sheng et al., Fairness in Serving Large Language Models, OSDI 2024"};

}  // namespace
}  // namespace kvsim
