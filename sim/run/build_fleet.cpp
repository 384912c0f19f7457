#include "sim/run/build_fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "models/geometry.h"

namespace kvsim {
namespace {

class FleetBuilder {
 public:
  FleetBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), d_(d) {}

  void build() {
    int from = 0;
    for (const BuiltRun* part : parts_of(run_)) {
      if (part->scenario.deployment.autoscaling) scale(*part, from);
      from += places_of(*part);
    }
    check_classes();
    if (!d_.empty()) return;
    const auto& classes = run_.scenario.tenants;
    if (std::none_of(classes.begin(), classes.end(), [](const auto& c) { return c.quota; })) return;
    // Classes without a quota too: what is said of the rest is not said of them.
    for (std::size_t i = 0; i < classes.size(); ++i) limit(i, classes[i]);
  }

 private:
  void error(std::vector<std::string> path, const std::string& message,
             const std::string& hint = {}) {
    const Tree* t = &scenario_;
    Place place = t->place();
    std::string text;
    for (const std::string& key : path) {
      text += (text.empty() ? "" : ".") + key;
      if (t == nullptr) continue;
      const bool is_number = !key.empty() && key.find_first_not_of("0123456789") == key.npos;
      const auto n = is_number ? std::stoul(key) : 0;
      if (t->is_list())
        t = n < t->items().size() ? &t->items()[n] : nullptr;
      else
        t = t->find(key);
      if (t != nullptr && t->place().file) place = t->place();
    }
    d_.add(place, text, message, hint);
  }
  void scaling_error(const char* key, const std::string& message, const std::string& hint = {}) {
    std::vector<std::string> path{"deployment"};
    path.emplace_back(run_.pools.empty() ? "autoscaling" : "pools");
    if (key != nullptr && run_.pools.empty()) path.emplace_back(key);
    const bool names = key != nullptr && !run_.pools.empty();
    error(std::move(path), (names ? std::string("autoscaling.") + key + ": " : "") + message, hint);
  }

  // Of a pool, or of all instances.
  void scale(const BuiltRun& part, int from) {
    const AutoscalingSpec& spec = *part.scenario.deployment.autoscaling;
    const AutoscalingRules& rules = spec.rules;
    const int most = part.scenario.deployment.replicas;
    const int initial = rules.initial.value_or(rules.min);
    if (rules.min > most)
      scaling_error("min", fmt::format("{} instances, but there are at most {}", rules.min, most),
                    "raise replicas");
    if (initial > most || initial < rules.min)
      scaling_error("initial", fmt::format("{} is not between {} and {}", initial, rules.min, most),
                    "between min and replicas");
    if (rules.load_bandwidth.value <= 0)
      scaling_error("load_bandwidth", "weights would never be loaded", "such as 2 GB/s");
    if (run_.scenario.economics.billing == Billing::node)
      error({"economics", "billing"}, "instances that start and stop are paid for by the GPU",
            "set billing: gpu, or remove deployment.autoscaling");
    ScalingPlan plan;
    try {
      plan.rule = Registry::instance().make<Scaler>(spec.policy.name, spec.policy.params,
                                                    {run_.scenario.slo.ttft});
    } catch (const InputError& e) {
      for (const Diagnostic& one : e.all()) scaling_error(nullptr, one.message, one.hint);
      return;
    }
    if (!d_.empty()) return;
    plan.from = static_cast<std::uint32_t>(from);
    plan.count = static_cast<std::uint32_t>(most);
    plan.least = rules.min;
    plan.first = initial;
    plan.every = rules.every;
    plan.start = rules.startup + load_time(part);
    plan.up_cooldown = rules.up_cooldown;
    plan.down_cooldown = rules.down_cooldown;
    plan.migrates = rules.drain == DrainMode::migrate;
    plan.ttft = run_.scenario.slo.ttft;
    run_.scaling.push_back(std::move(plan));
  }

  void check_classes() {
    std::set<std::string> names;
    std::set<std::int64_t> ids;
    int rest = 0;
    const auto& classes = run_.scenario.tenants;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      const TenantClassSpec& c = classes[i];
      const auto at = [&](const char* key) {
        return std::vector<std::string>{"tenants", std::to_string(i), key};
      };
      if (c.name.empty()) error(at("name"), "the class has no name", "such as name: interactive");
      if (!c.name.empty() && !names.insert(c.name).second)
        error(at("name"), fmt::format("there is a class '{}' already", c.name));
      if (c.ids.empty() && ++rest > 1)
        error(at("ids"), "two classes without ids: which takes the rest?", "give one of them ids");
      for (const std::int64_t id : c.ids)
        if (!ids.insert(id).second)
          error(at("ids"), fmt::format("tenant {} is in two classes", id), "name it once");
    }
  }

  void limit(std::size_t i, const TenantClassSpec& c) {
    QuotaPlan plan;
    for (const std::int64_t id : c.ids) plan.tenants.push_back(static_cast<std::uint32_t>(id));
    if (c.quota) {
      double tokens = 0;
      for (const BuiltRun* part : parts_of(run_))
        tokens += static_cast<double>(part->engine.kv_blocks * part->engine.block_tokens) *
                  part->parallel.data * part->scenario.deployment.replicas;
      const Quota::Context context{static_cast<std::int64_t>(tokens)};
      plan.delays = c.quota->rules.over == OverQuota::delay;
      plan.make = [policy = c.quota->policy, context] {
        return Registry::instance().make<Quota>(policy.name, policy.params, context);
      };
      try {
        plan.make();
      } catch (const InputError& e) {
        for (const Diagnostic& one : e.all())
          error({"tenants", std::to_string(i), "quota"}, one.message, one.hint);
      }
    }
    run_.quotas.push_back(std::move(plan));
  }

  BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
};

}  // namespace

void build_fleet(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  FleetBuilder(run, scenario, d).build();
}

std::vector<SloClass> classes_of(const Scenario& s) {
  std::vector<SloClass> all;
  for (const TenantClassSpec& c : s.tenants) {
    SloClass one;
    one.name = c.name;
    for (const std::int64_t id : c.ids) one.tenants.push_back(static_cast<std::uint32_t>(id));
    const SloSpec limits = c.slo.value_or(s.slo);
    one.slo = {limits.ttft, limits.tpot, limits.e2e};
    all.push_back(std::move(one));
  }
  return all;
}

Duration load_time(const BuiltRun& run) {
  const AutoscalingRules& rules = run.scenario.deployment.autoscaling->rules;
  double bytes = 0;
  for (int stage = 0; stage < run.parallel.pipeline; ++stage)
    bytes += to_double(stage_weight_bytes(run.model, run.parallel, run.precision, stage)) *
             run.parallel.tensor * run.parallel.data;
  return from_ns_ceil(1e9 * bytes / rules.load_bandwidth.value);
}

}  // namespace kvsim
