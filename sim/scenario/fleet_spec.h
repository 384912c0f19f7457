#pragma once
// The parts of a scenario about a fleet and those who use it: autoscaling (deployment.autoscaling),
// objectives (slo), and tenants with objectives and quotas of their own.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/fields.h"
#include "sim/scenario/policy_rules.h"

namespace kvsim {

enum class DrainMode : std::uint8_t { finish, migrate };
constexpr auto enum_names(DrainMode) {
  return std::array{std::pair{DrainMode::finish, "finish"},
                    std::pair{DrainMode::migrate, "migrate"}};
}

// What holds whatever the rule. `every` and `down_cooldown` are the defaults of Kubernetes'
// HorizontalPodAutoscaler (15 s between looks, five minutes before replicas go); the two parts of
// the start-up are round numbers, to be replaced by one's own.
struct AutoscalingRules {
  int min = 1;
  std::optional<int> initial;
  Duration every = std::chrono::seconds(15);
  Duration startup = std::chrono::seconds(30);
  Bandwidth load_bandwidth{2e9};
  Duration up_cooldown{0}, down_cooldown = std::chrono::minutes(5);
  DrainMode drain = DrainMode::finish;
  static constexpr Rows kFields{
      field("min", &AutoscalingRules::min, between(0, 4096),
            "fewest instances; the most are deployment.replicas. With 0 the first request starts "
            "one"),
      field("initial", &AutoscalingRules::initial, between(0, 4096),
            "instances that are up when the run begins; default: min"),
      field("every", &AutoscalingRules::every,
            between<Duration>(std::chrono::milliseconds(1), std::chrono::hours(24)),
            "the policy is asked this often"),
      field("startup", &AutoscalingRules::startup,
            between<Duration>(Duration{0}, std::chrono::hours(24)),
            "from the decision until an instance takes requests, loading its weights apart"),
      field("load_bandwidth", &AutoscalingRules::load_bandwidth, any,
            "at which an instance loads its weights, all of its GPUs together"),
      field("up_cooldown", &AutoscalingRules::up_cooldown,
            between<Duration>(Duration{0}, std::chrono::hours(24)),
            "after instances were added, no more are for this long"),
      field("down_cooldown", &AutoscalingRules::down_cooldown,
            between<Duration>(Duration{0}, std::chrono::hours(24)),
            "after instances were added or taken away, none is taken away for this long"),
      field("drain", &AutoscalingRules::drain, any,
            "an instance that is to stop takes no new requests; finish: it serves those it has; "
            "migrate: those that wait go elsewhere at once, those that decode one by one, with "
            "their KV")};
};

using AutoscalingSpec = PolicyAndRules<"scaler", "queue-length", AutoscalingRules>;

// Memory that instances lend each other; what holds whatever the rule. A second and a tenth are
// round numbers, a chunk is 64 blocks of 16 tokens.
struct LendingRules {
  Duration every = std::chrono::seconds(1);
  Ratio keep{0.1};
  std::int64_t chunk = 1024;
  static constexpr Rows kFields{
      field("every", &LendingRules::every,
            between<Duration>(std::chrono::milliseconds(1), std::chrono::hours(1)),
            "the policy is asked this often"),
      field("keep", &LendingRules::keep, between(Ratio{0}, Ratio{1}),
            "share of its KV memory that an instance does not lend"),
      field("chunk", &LendingRules::chunk, between<std::int64_t>(1, std::int64_t{1} << 30),
            "tokens: KV of a running request moves in pieces of at least so many")};
};

using LendingSpec = PolicyAndRules<"lending", "greedy", LendingRules>;

struct SloSpec {
  std::optional<Duration> ttft, tpot, e2e;
  static constexpr Rows kFields{
      field("ttft", &SloSpec::ttft, any, "most time to the first token"),
      field("tpot", &SloSpec::tpot, any, "most time per output token after the first"),
      field("e2e", &SloSpec::e2e, any, "most time to the last token")};
};

enum class OverQuota : std::uint8_t { reject, delay };
constexpr auto enum_names(OverQuota) {
  return std::array{std::pair{OverQuota::reject, "reject"}, std::pair{OverQuota::delay, "delay"}};
}

// What becomes of a request that is over its tenant's quota, whatever the quota counts.
struct QuotaRules {
  OverQuota over = OverQuota::reject;
  static constexpr Rows kFields{
      field("over", &QuotaRules::over, any,
            "a request over the quota is rejected, or delayed until it is not (in order)")};
};

using QuotaSpec = PolicyAndRules<"quota", "limits", QuotaRules>;

// Tenants that are treated alike; a quota is each tenant's own.
struct TenantClassSpec {
  std::string name;
  std::vector<std::int64_t> ids;
  std::optional<SloSpec> slo;
  std::optional<QuotaSpec> quota;
  static constexpr Rows kFields{
      field("name", &TenantClassSpec::name, any, "of the class; scope class:NAME of its metrics"),
      field("ids", &TenantClassSpec::ids, between<std::int64_t>(0, 0xffffffffLL),
            "tenants, as the trace or workload.generate.tenants numbers them; empty: all that no "
            "other class names"),
      field("slo", &TenantClassSpec::slo, any, "its own objectives; default: slo"),
      field("quota", &TenantClassSpec::quota, any,
            "what each of its tenants may use, in front of the router")};
};

}  // namespace kvsim
