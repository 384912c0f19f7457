#include "sim/run/build_faults.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/run/build_tiers.h"
#include "sim/run/pool_tiers.h"

namespace kvsim {
namespace {

FaultKind kind_of(FaultTarget t) {
  switch (t) {
    case FaultTarget::instance:
      return FaultKind::instance;
    case FaultTarget::node:
      return FaultKind::node;
    case FaultTarget::tier:
      return FaultKind::tier;
    case FaultTarget::link:
      return FaultKind::link;
    case FaultTarget::directory:
      return FaultKind::directory;
  }
  return FaultKind::instance;
}

class FaultBuilder {
 public:
  FaultBuilder(const BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), list_(scenario.find("faults")), d_(d) {}

  std::vector<FaultPlan> build() {
    const auto& specs = run_.scenario.faults;
    for (number_ = 0; number_ < specs.size(); ++number_) add(specs[number_]);
    return std::move(out_);
  }

 private:
  void error(const char* key, const std::string& message, const std::string& hint = {}) {
    Place place = list_ == nullptr ? Place{} : list_->place();
    if (list_ != nullptr && list_->is_list() && number_ < list_->items().size()) {
      const Tree& item = list_->items()[number_];
      const Tree* at = item.find(key);
      place = at == nullptr ? item.place() : at->place();
    }
    d_.add(place, fmt::format("faults.{}.{}", number_, key), message, hint);
  }

  void add(const FaultSpec& spec) {
    FaultPlan p;
    p.kind = kind_of(spec.kind);
    p.at = Time{spec.at};
    p.down = spec.down;
    p.mean_between = spec.mean_between;
    p.left = spec.left.value;
    p.forgets = !spec.keeps_data;
    p.stream = hash_combine(run_.scenario.seed, number_);
    if (spec.mean_between > Duration{0} && spec.down == Duration{0})
      error("down", "a fault that comes again must end", "give it a duration, such as down: 60 s");
    switch (p.kind) {
      case FaultKind::instance:
        p.name = fmt::format("instance {}", spec.target);
        if (spec.target >= instances_of(run_))
          error("target",
                fmt::format("there are {} instances, counted from 0", instances_of(run_)));
        p.targets = {static_cast<std::uint32_t>(spec.target)};
        break;
      case FaultKind::node:
        node(spec, p);
        break;
      case FaultKind::tier:
      case FaultKind::directory:
        tier(spec, p);
        break;
      case FaultKind::link:
        link(spec, p);
        break;
    }
    out_.push_back(std::move(p));
  }

  void node(const FaultSpec& spec, FaultPlan& p) {
    p.name = fmt::format("node {}", spec.target);
    const std::vector<int> nodes = instance_nodes(run_);
    for (std::uint32_t i = 0; i < nodes.size(); ++i)
      if (nodes[i] == spec.target) p.targets.push_back(i);
    if (p.targets.empty())
      error(
          "target", fmt::format("no instance runs on node {}", spec.target),
          fmt::format("{} instances fit on a node; nodes count from 0", instances_per_node(run_)));
    if (!run_.tiers) return;
    for (std::uint32_t s = 0; s < run_.tiers->stores.size(); ++s)
      if (run_.tiers->stores[s].node == spec.target && lies_there(s)) p.stores.push_back(s);
  }

  // Not in a pool that is spread over all nodes.
  [[nodiscard]] bool lies_there(std::uint32_t store) const {
    const TierConfig& t = run_.tiers->offload.tiers[run_.tiers->stores[store].tier];
    return t.kind != TierKind::remote || t.pooled;
  }

  void tier(const FaultSpec& spec, FaultPlan& p) {
    p.name = fmt::format("{} {}", spec.name, spec.target);
    std::vector<std::uint32_t> stores;
    if (run_.tiers)
      for (std::uint32_t s = 0; s < run_.tiers->stores.size(); ++s)
        if (run_.tiers->offload.tiers[run_.tiers->stores[s].tier].name == spec.name)
          stores.push_back(s);
    if (stores.empty()) {
      error("name", fmt::format("there is no tier '{}' below the GPU", spec.name),
            "name one of cache.tiers");
    } else if (static_cast<std::size_t>(spec.target) >= stores.size()) {
      error("target", fmt::format("the tier has {} stores, counted from 0", stores.size()));
    } else {
      p.targets = {stores[static_cast<std::size_t>(spec.target)]};
      const bool pool = run_.tiers->offload.tiers[run_.tiers->stores[stores.front()].tier].pooled;
      if (pool && p.kind == FaultKind::directory) p.targets = stores;  // they share it
    }
  }

  void link(const FaultSpec& spec, FaultPlan& p) {
    p.name = spec.name;
    if (run_.tiers && !spec.name.empty())
      for (std::uint32_t l = 0; l < run_.tiers->links.size(); ++l)
        if (run_.tiers->links[l].name.find(spec.name) != std::string::npos) p.targets.push_back(l);
    if (p.targets.empty())
      error("name", fmt::format("no link's name contains '{}'", spec.name),
            run_.tiers && !run_.tiers->links.empty()
                ? "links are named like " + run_.tiers->links.front().name
                : "links are simulated when cache.tiers has tiers below the GPU, or KV is swapped");
    else if (p.left == 0 && run_.pools.empty())
      p.detours = detours(run_, scenario_, p.targets);
  }

  const BuiltRun& run_;
  const Tree& scenario_;
  const Tree* list_;
  Diagnostics& d_;
  std::vector<FaultPlan> out_;
  std::size_t number_ = 0;
};

}  // namespace

std::vector<FaultPlan> build_faults(const BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  return FaultBuilder(run, scenario, d).build();
}

void measure_faults(RunOutcome& run, const Slo& slo) {
  constexpr Duration kBefore = std::chrono::seconds(60), kWindow = std::chrono::seconds(10),
                     kStep = std::chrono::seconds(1);
  if (run.faults.empty()) return;
  std::vector<Time> good;
  for (const RequestOutcome& r : run.requests)
    if (meets(r, slo)) good.push_back(r.last_token);
  std::sort(good.begin(), good.end());
  const auto rate = [&](Time from, Time to) {
    const auto n = std::lower_bound(good.begin(), good.end(), to) -
                   std::lower_bound(good.begin(), good.end(), from);
    return to > from ? static_cast<double>(n) / to_seconds(to - from) : 0.0;
  };
  for (FaultRecord& f : run.faults) {
    f.goodput_before = rate(f.at - Time{} > kBefore ? f.at - kBefore : Time{}, f.at);
    f.goodput_least = f.goodput_before;
    bool fell = false;
    for (Time t = f.at; t + kWindow <= run.end; t += kStep) {
      const double now = rate(t, t + kWindow);
      f.goodput_least = std::min(f.goodput_least, now);
      if (now < 0.95 * f.goodput_before) {
        fell = true;
      } else if (fell && (f.end == kNever || t >= f.end)) {
        f.recovery = t + kWindow - f.at;
        break;
      }
    }
  }
}

}  // namespace kvsim
