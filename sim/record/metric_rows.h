#pragma once
// The rows of one scope while metrics.cpp and its parts put them together.
#include <string>
#include <utility>
#include <vector>

#include "sim/base/stats.h"
#include "sim/record/metrics.h"

namespace kvsim {

// Collects rows of one scope; ratios of nothing are left out.
class MetricRows {
 public:
  MetricRows(std::vector<Metric>& out, std::string scope) : out_(&out), scope_(std::move(scope)) {}
  void value(const std::string& name, double v, const char* unit) { add(name, "value", v, unit); }
  void count(const std::string& name, std::int64_t v, const char* unit = "count") {
    add(name, "value", static_cast<double>(v), unit);
  }
  void ratio(const std::string& name, double above, double below, const char* unit) {
    if (below > 0) value(name, above / below, unit);
  }
  void summary(const std::string& name, const Summary& s, const char* unit) {
    add(name, "count", static_cast<double>(s.count), "count");
    if (s.count == 0) return;
    for (const auto& [statistic, v] : {std::pair{"mean", s.mean},
                                       {"std", s.std},
                                       {"min", s.min},
                                       {"median", s.p50},
                                       {"p90", s.p90},
                                       {"p95", s.p95},
                                       {"p99", s.p99},
                                       {"max", s.max}})
      add(name, statistic, v, unit);
  }

 private:
  void add(const std::string& name, const char* statistic, double v, const char* unit) {
    out_->push_back({scope_, name, statistic, v, unit});
  }
  std::vector<Metric>* out_;
  std::string scope_;
};

// Of a fleet (metrics_fleet.cpp): how even the load is, instances that come and go, what quotas
// held back, KV between instances, and what decisions of routers cost.
void balance_rows(MetricRows& rows, const RunOutcome& run);
void scaling_rows(MetricRows& rows, const RunOutcome& run);
void lending_rows(MetricRows& rows, const RunOutcome& run);
void quota_rows(MetricRows& rows, const std::vector<RequestOutcome>& requests);
void peer_rows(MetricRows& rows, const RunOutcome& run);
void regret_rows(MetricRows& rows, const RunOutcome& run);

}  // namespace kvsim
