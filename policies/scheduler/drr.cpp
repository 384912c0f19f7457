// Deficit round robin over tenants: each turn of a tenant adds a quantum of tokens to its credit;
// its oldest requests are admitted while the credit covers their cost. Who waits for nothing keeps
// no credit.
#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class Drr final : public Scheduler {
 public:
  struct Params {
    std::int64_t quantum = 1024;
    double output_weight = 1;
    std::vector<double> weights;
    double error = 0;
    static constexpr Rows kFields{
        field("quantum", &Params::quantum, between<std::int64_t>(1, 1 << 30),
              "tokens of credit a turn"),
        field("output_weight", &Params::output_weight, between(0.0, 1e6),
              "cost of a predicted output token; of a prompt token it is 1"),
        field("weights", &Params::weights, between(1e-6, 1e6),
              "of the quantum of tenant 0, 1, ...; those beyond the list have 1"),
        field("error", &Params::error, between(0.0, 10.0),
              "of the prediction: deviation of the logarithm of its factor; 0 = known")};
  };
  Drr(Params p, const Context& c) : params_(std::move(p)), guess_(c.seed, params_.error) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .charges = true};
  }
  // The number of tenants' turns until its tenant's oldest request is covered.
  Standing standing(const SchedulerRequest& r, Time) override {
    return {turns_until(r.tenant, tenants_[r.tenant].waiting.begin()->cost), 0};
  }

  void arrived(const SchedulerRequest& r, Time) override {
    if (r.tenant >= tenants_.size()) tenants_.resize(r.tenant + 1);
    wait(r, static_cast<double>(r.prompt) +
                params_.output_weight * static_cast<double>(guess_.output(r)));
  }
  // It has been paid for.
  void preempted(const SchedulerRequest& r, Time) override { wait(r, 0); }
  void admitted(const SchedulerRequest& r, Time) override {
    Tenant& t = tenants_[r.tenant];
    const auto it = find(r);
    pass_turns(turns_until(r.tenant, it->cost), r.tenant);
    t.credit -= it->cost;
    t.waiting.erase(it);
    if (t.waiting.empty()) leave_ring(r.tenant);
  }
  void left(const SchedulerRequest& r) override {
    Tenant& t = tenants_[r.tenant];
    const auto it = find(r);
    if (it == t.waiting.end()) return;
    t.waiting.erase(it);
    if (t.waiting.empty()) leave_ring(r.tenant);
  }

 private:
  struct Job {
    Time arrival{};
    std::uint64_t index = 0;
    double cost = 0;
    friend bool operator<(const Job& a, const Job& b) {
      return a.arrival != b.arrival ? a.arrival < b.arrival : a.index < b.index;
    }
  };
  struct Tenant {
    double credit = 0;
    std::set<Job> waiting;
  };
  std::set<Job>::iterator find(const SchedulerRequest& r) {
    return tenants_[r.tenant].waiting.find({r.arrival, r.index, 0});
  }
  [[nodiscard]] double quantum(std::uint32_t tenant) const {
    const double weight = tenant < params_.weights.size() ? params_.weights[tenant] : 1;
    return static_cast<double>(params_.quantum) * weight;
  }
  // A newcomer to the ring has its turn after all others.
  void wait(const SchedulerRequest& r, double cost) {
    Tenant& t = tenants_[r.tenant];
    if (t.waiting.empty()) {
      ring_.insert(ring_.begin() + static_cast<std::ptrdiff_t>(at_), r.tenant);
      if (ring_.size() > 1) ++at_;
    }
    t.waiting.insert({r.arrival, r.index, cost});
  }
  // The turn under way is number 0; turn k belongs to the k-th tenant after it in the ring.
  [[nodiscard]] std::int64_t position(std::uint32_t tenant) const {
    const auto n = ring_.size();
    const auto i =
        static_cast<std::size_t>(std::find(ring_.begin(), ring_.end(), tenant) - ring_.begin());
    const std::size_t after = (i + n - at_) % n;
    if (!has_turn_) return static_cast<std::int64_t>(after) + 1;
    return static_cast<std::int64_t>(after == 0 ? n : after);
  }
  [[nodiscard]] bool is_its_turn(std::uint32_t tenant) const {
    return has_turn_ && ring_[at_] == tenant;
  }
  [[nodiscard]] std::int64_t turns_until(std::uint32_t tenant, double cost) const {
    const double lacks = cost - tenants_[tenant].credit;
    if (lacks <= 0 && is_its_turn(tenant)) return 0;
    const auto quanta = static_cast<std::int64_t>(std::ceil(lacks / quantum(tenant)));
    return (std::max<std::int64_t>(1, quanta) - 1) * static_cast<std::int64_t>(ring_.size()) +
           position(tenant);
  }
  void pass_turns(std::int64_t turns, std::uint32_t to) {
    if (turns == 0) return;
    const auto n = static_cast<std::int64_t>(ring_.size());
    for (const std::uint32_t tenant : ring_) {
      const std::int64_t first = position(tenant);
      if (first <= turns)
        tenants_[tenant].credit += quantum(tenant) * static_cast<double>((turns - first) / n + 1);
    }
    at_ = static_cast<std::size_t>(std::find(ring_.begin(), ring_.end(), to) - ring_.begin());
    has_turn_ = true;
  }
  void leave_ring(std::uint32_t tenant) {
    tenants_[tenant].credit = 0;
    const auto i =
        static_cast<std::size_t>(std::find(ring_.begin(), ring_.end(), tenant) - ring_.begin());
    ring_.erase(ring_.begin() + static_cast<std::ptrdiff_t>(i));
    if (i == at_) has_turn_ = false;
    if (i < at_) --at_;
    if (at_ >= ring_.size()) at_ = 0;
  }

  Params params_;
  LengthGuess guess_;
  std::vector<Tenant> tenants_;
  std::vector<std::uint32_t> ring_;  // tenants with waiting requests
  std::size_t at_ = 0;               // whose turn it is, or whose is next
  bool has_turn_ = false;
};

const Register<Drr> kSelf{"drr", "tenants in turn, by credits of tokens",
                          "Shreedhar and Varghese, SIGCOMM 1995, doi:10.1145/217391.217453"};

}  // namespace
}  // namespace kvsim
