#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "sim/base/stats.h"
#include "sim/record/metric_rows.h"

namespace kvsim {

// How evenly the instances worked: Jain's index (1 = evenly, 1/n = one of n did all) and the most
// over the mean, of the time in iterations and of requests served.
void balance_rows(MetricRows& rows, const RunOutcome& run) {
  std::map<std::uint32_t, std::pair<double, double>> loads;  // time, requests
  for (const RankTotals& r : run.ranks) loads[r.instance].first += static_cast<double>(r.busy_ns);
  for (const RequestOutcome& r : run.requests)
    if (r.outcome == Outcome::finished) ++loads[r.instance].second;
  if (loads.size() < 2) return;
  const auto n = static_cast<double>(loads.size());
  const auto add = [&](const char* name, auto get) {
    double sum = 0, squares = 0, most = 0;
    for (const auto& [instance, load] : loads) {
      const double x = get(load);
      sum += x, squares += x * x, most = std::max(most, x);
    }
    rows.ratio(fmt::format("{}_jain", name), sum * sum, n * squares, "ratio");
    rows.ratio(fmt::format("{}_max_over_mean", name), most * n, sum, "ratio");
  };
  add("load", [](const auto& l) { return l.first; });
  add("requests", [](const auto& l) { return l.second; });
}

// Instances of a fleet that scales; `busy_share` and the like are of all that there may be.
void scaling_rows(MetricRows& rows, const RunOutcome& run) {
  if (run.instance_ns.empty()) return;
  double ns = 0;
  for (const std::int64_t n : run.instance_ns) ns += static_cast<double>(n);
  std::int64_t ups = 0, downs = 0, most = 0;
  for (const ScaleEvent& e : run.scaling) {
    using Kind = ScaleEvent::Kind;
    ups += e.kind == Kind::start || e.kind == Kind::recall;
    downs += e.kind == Kind::drain || e.kind == Kind::cancel;
    most = std::max(most, e.up + e.starting + e.draining);
  }
  rows.ratio("instances_mean", ns, static_cast<double>(to_ns(run.end)), "count");
  rows.count("instances_most", most);
  rows.value("instance_hours", ns / 3.6e12, "h");
  rows.count("scale_ups", ups);
  rows.count("scale_downs", downs);
}

// KV memory that instances lent each other.
void lending_rows(MetricRows& rows, const RunOutcome& run) {
  const LendingTotals& t = run.lending;
  if (t.loans == 0) return;
  rows.count("loans", t.loans);
  rows.count("lent_blocks_most", t.peak_blocks);
  rows.count("remote_attention_tokens", t.remote_tokens, "tokens");
  rows.count("lending_copied_bytes", t.copied_bytes, "bytes");
  rows.count("lending_message_bytes", t.message_bytes, "bytes");
  rows.value("lending_wait_time", static_cast<double>(t.wait_ns) / 1e9, "s");
  rows.value("lending_served_time", static_cast<double>(t.served_ns) / 1e9, "s");
}

// Requests that quotas held back.
void quota_rows(MetricRows& rows, const std::vector<RequestOutcome>& requests) {
  std::vector<double> held;
  for (const RequestOutcome& r : requests)
    if (r.held_ns > 0) held.push_back(static_cast<double>(r.held_ns) / 1e6);
  if (held.empty()) return;
  rows.count("held_requests", static_cast<std::int64_t>(held.size()));
  rows.summary("held_ms", kvsim::summarize(std::move(held)), "ms");
}

// KV that went between instances.
void peer_rows(MetricRows& rows, const RunOutcome& run) {
  if (run.handovers == 0 && run.copies == 0) return;
  std::int64_t tokens = 0;
  std::vector<double> waits;
  for (const RequestOutcome& r : run.requests) {
    tokens += r.peer_tokens;
    if (r.handovers > 0 && r.outcome == Outcome::finished)
      waits.push_back(
          static_cast<double>(r.after_ns[static_cast<std::size_t>(Interval::handover)]) / 1e6);
  }
  rows.count("handovers", run.handovers);
  rows.count("prefix_copies", run.copies);
  if (run.role_switches > 0) rows.count("role_switches", run.role_switches);
  rows.count("peer_bytes", run.peer_bytes, "bytes");
  rows.count("peer_hit_tokens", tokens, "tokens");
  rows.summary("handover_ms", kvsim::summarize(std::move(waits)), "ms");
}

// What the routers' decisions cost beside the best (RecordSpec::decisions).
void regret_rows(MetricRows& rows, const RunOutcome& run) {
  if (run.decisions.empty()) return;
  std::vector<double> regret;
  double best = 0, wrong = 0, promised = 0;
  for (const DecisionRecord& d : run.decisions) {
    const std::int64_t ns = d.chosen.cost_ns - d.best_ns;
    regret.push_back(static_cast<double>(ns) / 1e6);
    best += ns == 0 ? 1 : 0;
    promised += static_cast<double>(d.chosen.promised_tokens);
    wrong += std::abs(static_cast<double>(d.chosen.promised_tokens - d.chosen.cached_tokens));
  }
  rows.summary("regret_ms", kvsim::summarize(std::move(regret)), "ms");
  rows.value("best_choice_rate", best / static_cast<double>(run.decisions.size()), "ratio");
  rows.ratio("index_error", wrong, promised, "ratio");
}

}  // namespace kvsim
