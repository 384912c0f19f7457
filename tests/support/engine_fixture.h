#pragma once
// A trace held in memory, a cost model with a closed formula, and a world built of them.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hardware/cost_model.h"
#include "sim/engine/world.h"

namespace kvsim::test {

class ListTrace final : public TraceSource {
 public:
  explicit ListTrace(std::vector<Request> requests) : requests_(std::move(requests)) {
    for (std::size_t i = 0; i < requests_.size(); ++i) requests_[i].index = i;
  }
  std::optional<Time> next_arrival() override {
    return next_ < requests_.size() ? std::optional(requests_[next_].arrival) : std::nullopt;
  }
  void pop(Request& out) override { out = requests_[next_++]; }

 private:
  std::vector<Request> requests_;
  std::size_t next_ = 0;
};

// base + per_token * tokens + per_context * (context read), all in ns; window sums count like
// contexts, shared prefixes once.
class LinearCost final : public CostModel {
 public:
  LinearCost(std::int64_t base, std::int64_t per_token, std::int64_t per_context)
      : base_(base), per_token_(per_token), per_context_(per_context) {}
  Duration mixed_step(const StepShape& s) override {
    std::int64_t ns =
        base_ + per_token_ * s.tokens() + per_context_ * (s.decode_context_sum - saved(s));
    for (const auto w : s.decode_window_sum) ns += per_context_ * w;
    for (const PrefillPiece& p : s.prefills) ns += per_context_ * p.history;
    return Duration{ns};
  }
  DecodeLine decode_line(const StepShape& s) override {
    DecodeLine l;
    l.base = (base_ + per_token_ * (s.decodes + s.draft_tokens) - per_context_ * saved(s))
             << DecodeLine::kShift;
    l.per_context = per_context_ << DecodeLine::kShift;
    for (auto& w : l.per_window) w = per_context_ << DecodeLine::kShift;
    l.iterations = 1 + s.decode_context_sum % 7;  // cells end anywhere
    return l;
  }
  std::vector<Part> explain(const StepShape&) override { return {}; }

 private:
  static std::int64_t saved(const StepShape& s) {
    return s.decode_shared_sum - s.decode_shared_read;
  }
  std::int64_t base_, per_token_, per_context_;
};

inline Request request(std::int64_t arrival_ns, std::int64_t prompt, std::int64_t output,
                       std::vector<Segment> segments = {}) {
  static std::uint64_t unique = 1'000'000;
  Request r;
  r.arrival = Time{Duration{arrival_ns}};
  r.prompt_tokens = prompt;
  r.output_tokens = output;
  if (segments.empty()) segments = {{++unique, prompt}};
  r.segments = std::move(segments);
  return r;
}

inline MakeScheduler make_scheduler(
    const std::string& name, const std::vector<std::pair<std::string, std::string>>& given = {}) {
  Tree params = Tree::map();
  for (const auto& [key, value] : given) params.set(key, Tree::scalar(value));
  return [name, params](const Scheduler::Context& c) {
    return Registry::instance().make<Scheduler>(name, params, c);
  };
}

inline RunOutcome simulate(const EngineConfig& engine, std::vector<Request> requests,
                           CostModel& cost, World::Options options = {}, int data_parallel = 1,
                           bool lockstep = false, int instances = 1) {
  ListTrace trace(std::move(requests));
  std::vector<InstanceSpec> specs;
  for (int i = 0; i < instances; ++i)
    specs.push_back({engine, data_parallel, lockstep, false, &cost});
  auto router = Registry::instance().make<Router>(
      "round-robin", Tree::map(), {static_cast<std::size_t>(instances), Rng(1, "r")});
  options.check_often = true;
  World world(std::move(specs), std::move(router), trace, std::move(options));
  RunOutcome out = world.run();
  std::sort(out.requests.begin(), out.requests.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  return out;
}

}  // namespace kvsim::test
