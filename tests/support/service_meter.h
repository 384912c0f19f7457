#pragma once
// A scheduler around another that keeps account of the service each tenant is given, and of how far
// the service of two tenants drifts apart while both have requests that wait.
#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim::test {

class ServiceMeter final : public Scheduler {
 public:
  struct Account {
    double input_weight = 1, output_weight = 2;
    double widest = 0;  // largest |service of a - service of b| over an interval of both waiting
  };
  ServiceMeter(std::unique_ptr<Scheduler> inner, Account& account)
      : inner_(std::move(inner)), account_(account) {}
  [[nodiscard]] Traits traits() const override {
    Traits t = inner_->traits();
    t.hears_tokens = true;
    return t;
  }
  void prepare(std::span<const SchedulerRequest> waiting, Time now) override {
    measure();
    inner_->prepare(waiting, now);
  }
  Standing standing(const SchedulerRequest& r, Time now) override {
    return inner_->standing(r, now);
  }
  bool displaces(const SchedulerRequest& w, const SchedulerRequest& r, Time now) override {
    return inner_->displaces(w, r, now);
  }
  void arrived(const SchedulerRequest& r, Time now) override {
    measure();
    if (r.tenant >= service_.size()) service_.resize(r.tenant + 1), waiting_.resize(r.tenant + 1);
    charged_[r.slot] = false;
    begin_wait(r.tenant);
    inner_->arrived(r, now);
  }
  void admitted(const SchedulerRequest& r, Time now) override {
    if (!std::exchange(charged_[r.slot], true))
      service_[r.tenant] += account_.input_weight * static_cast<double>(r.prompt);
    measure();
    --waiting_[r.tenant];
    waits_[r.slot] = false;
    inner_->admitted(r, now);
  }
  void served(const SchedulerRequest& r, std::int64_t tokens) override {
    service_[r.tenant] += account_.output_weight * static_cast<double>(tokens);
    inner_->served(r, tokens);
  }
  void preempted(const SchedulerRequest& r, Time now) override {
    begin_wait(r.tenant);
    waits_[r.slot] = true;
    inner_->preempted(r, now);
  }
  void left(const SchedulerRequest& r) override {
    if (waits_[r.slot]) --waiting_[r.tenant];
    waits_[r.slot] = false;
    inner_->left(r);
  }

 private:
  struct Range {
    double low = 0, high = 0;
  };
  void begin_wait(std::uint32_t tenant) {
    if (waiting_[tenant]++ > 0) return;
    for (std::uint32_t other = 0; other < service_.size(); ++other) {
      const double d = service_[tenant] - service_[other];
      ranges_[{tenant, other}] = {d, d};
      ranges_[{other, tenant}] = {-d, -d};
    }
  }
  void measure() {
    for (std::uint32_t a = 0; a < service_.size(); ++a) {
      for (std::uint32_t b = 0; b < a; ++b) {
        if (waiting_[a] == 0 || waiting_[b] == 0) continue;
        Range& r = ranges_[{a, b}];
        const double d = service_[a] - service_[b];
        r.low = std::min(r.low, d);
        r.high = std::max(r.high, d);
        account_.widest = std::max(account_.widest, r.high - r.low);
      }
    }
  }

  std::unique_ptr<Scheduler> inner_;
  Account& account_;
  std::vector<double> service_;
  std::vector<std::int64_t> waiting_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Range> ranges_;
  std::map<std::uint32_t, bool> charged_, waits_;
};

}  // namespace kvsim::test
