#include "sim/calibrate/fleet_case.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/hash.h"
#include "sim/base/stats.h"
#include "sim/run/simulate.h"

namespace kvsim {

namespace {

constexpr double kPromptGrowth =
    1.05;                             // measured over designed prompt (README of the measurements)
constexpr std::uint64_t kGroups = 9;  // of chats that share a prefix

class ListSource final : public TraceSource {
 public:
  explicit ListSource(const std::vector<Request>& all) : all_(all) {}
  std::optional<Time> next_arrival() override {
    return next_ < all_.size() ? std::optional(all_[next_].arrival) : std::nullopt;
  }
  void pop(Request& out) override { out = all_[next_++]; }
  [[nodiscard]] std::optional<std::uint64_t> total() const override { return all_.size(); }

 private:
  const std::vector<Request>& all_;
  std::size_t next_ = 0;
};

Tree scenario_of(const FleetRow& row, const FleetOptions& options) {
  const auto number = [](auto v) { return Tree::scalar(fmt::format("{}", v)); };
  Tree parallel = Tree::map(), deployment = Tree::map(), engine = Tree::map(), cost = Tree::map(),
       record = Tree::map(), workload = Tree::map(), t = Tree::map(row.place);
  parallel.set("tensor", number(row.tensor));
  parallel.set("data", number(row.data));
  deployment.set("hardware", Tree::scalar(options.device));
  deployment.set("parallel", std::move(parallel));
  engine.set("preset", Tree::scalar(options.preset));
  engine.set("max_batched_tokens", number(row.max_batched_tokens));
  engine.set("max_running", number(row.max_running));
  engine.set("kv_blocks", number(row.kv_blocks));
  cost.set("model", Tree::scalar("roofline"));
  record.set("sample_every", Tree::scalar("0"));
  workload.set("generate", Tree::map());  // replaced by draw_requests()
  t.set("name", Tree::scalar(row.name));
  t.set("model", Tree::scalar(row.model));
  t.set("weights", Tree::scalar(row.weights));
  t.set("deployment", std::move(deployment));
  t.set("engine", std::move(engine));
  t.set("cost", std::move(cost));
  t.set("record", std::move(record));
  t.set("workload", std::move(workload));
  return t;
}

}  // namespace

FleetCase::FleetCase(const FleetRow& row, const FleetOptions& options) : row_(row) {
  Diagnostics d;
  const LoadedScenario loaded = read_scenario(scenario_of(row, options), ".", {}, d);
  if (d.empty()) run_ = build_run(loaded, false, d);
  if (!d.empty()) {
    std::vector<Diagnostic> all = d.all();
    for (Diagnostic& one : all) {
      one.place = row.place;
      one.path = row.name + (one.path.empty() ? "" : "." + one.path);
    }
    throw InputError(std::move(all));
  }
  const EngineSpec& e = run_.scenario.engine;
  current_ = {run_.device.efficiency, run_.interconnect.latency, e.overhead, e.layer_overhead,
              e.graph_overhead,       e.graph_layer_overhead,    e.front_end};
  draw_requests(options);
}

FleetParameters FleetCase::current() const { return current_; }

void FleetCase::draw_requests(const FleetOptions& options) {
  const double all = options.longest > 0 ? std::min(options.longest, row_.duration) : row_.duration;
  const Rng gaps(options.seed, "fleet.arrivals");
  const auto prompt =
      std::llround(kPromptGrowth * static_cast<double>(row_.shared_prefix + row_.prompt));
  double at = 0, end = 0;
  std::uint64_t n = 0;
  for (const double rate : {row_.rate_first, row_.rate_last}) {
    at = end;  // a Poisson process has no memory
    end += all / 2;
    if (!(rate > 0)) continue;
    for (Rng rng = gaps.at(n);; rng = gaps.at(n)) {
      at += rng.exponential(1 / rate);
      if (at >= end) break;
      Request r;
      r.index = n++;
      r.arrival = Time{from_ns_ceil(at * 1e9)};
      r.prompt_tokens = prompt;
      r.output_tokens = row_.answered();
      const std::uint64_t chat = options.chats > 0 ? r.index % options.chats : r.index;
      const std::uint64_t group = hash_combine(hash_text("fleet.group"), chat % kGroups);
      const std::uint64_t own = hash_combine(group, chat);
      if (row_.shared_prefix > 0) r.segments.push_back({group, row_.shared_prefix});
      r.segments.push_back({own, prompt - row_.shared_prefix});
      requests_.push_back(std::move(r));
    }
  }
  if (requests_.empty())
    throw InputError(
        fmt::format("{}: case {} has no request in {} s", to_string(row_.place), row_.name, all),
        "raise its rates, or replay more of it");
}

FleetFigures FleetCase::replay(const FleetParameters& p) {
  run_.device.efficiency = p.efficiency;
  run_.interconnect.latency = p.link_latency;
  run_.cost = Registry::instance().make<CostModel>(
      "roofline", run_.scenario.cost.params,
      {run_.work.get(), &run_.device, &run_.interconnect, run_.parallel, run_.base_dir});
  run_.router =
      Registry::instance().make<Router>(run_.scenario.router.name, run_.scenario.router.params,
                                        {1, Rng(run_.scenario.seed, "router")});
  run_.trace = std::make_unique<ListSource>(requests_);
  run_.engine.overhead = p.overhead + p.layer_overhead * run_.model.layers;
  run_.engine.graph_overhead = p.graph_overhead + p.graph_layer_overhead * run_.model.layers;
  run_.engine.front_end = p.front_end;
  const SimulateResult result = simulate(run_, {});
  std::vector<double> ttft, e2e;
  for (const RequestOutcome& r : result.outcome.requests) {
    if (r.outcome != Outcome::finished)
      throw InputError(fmt::format("{}: case {}: a request was not served: {}",
                                   to_string(row_.place), row_.name, r.reason),
                       "kv_blocks and the model's context must hold prompt and output");
    ttft.push_back(static_cast<double>(to_ns(r.first_token - r.arrival)) * 1e-6);
    e2e.push_back(static_cast<double>(to_ns(r.last_token - r.arrival)) * 1e-6);
  }
  const Summary first = summarize(std::move(ttft)), last = summarize(std::move(e2e));
  return {first.mean, first.p90, first.p99, result.outcome.itl.mean_ns() * 1e-6,
          last.mean,  last.p90,  last.p99};
}

}  // namespace kvsim
