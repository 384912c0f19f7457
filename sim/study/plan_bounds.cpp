#include "sim/study/plan_bounds.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_set>

#include "hardware/roofline.h"
#include "sim/base/stats.h"
#include "sim/run/simulate.h"

namespace kvsim {

namespace {

// Rates that arithmetic and KV traffic cannot exceed on one rank.
struct Ceiling {
  double gemm = 0, attention = 0, kv_bandwidth = 0;
};

Ceiling ceiling_of(const BuiltRun& run) {
  const DeviceSpec& d = run.device;
  double best = 0;
  for (const auto& [precision, rate] : d.compute) best = std::max(best, rate.value);
  if (run.scenario.cost.name != "roofline") return {best, best, d.bandwidth.value};
  const Tree& params = run.scenario.cost.params;  // some may stand in for the device's figures
  const auto text = [&](const char* key) {
    const Tree* t = params.find(key);
    return t != nullptr && t->is_scalar() ? t->text() : std::string();
  };
  const auto share = [&](const char* key, double of_device) {
    return parse_double(text(key)).value_or(of_device);
  };
  const std::string precision = text("compute").empty() ? "auto" : text("compute");
  return {peak_rate(d, precision, run.work->facts().weight_bits) * share("gemm", d.efficiency.gemm),
          peak_rate(d, "auto", 16) * share("attention", d.efficiency.attention),
          d.bandwidth.value * share("kv_memory", d.efficiency.kv_memory)};
}

// Seconds of a rank for the arithmetic of an iteration, and for the KV that its decodes read.
double least_seconds(const ModelWork& model, const StepShape& shape, const Ceiling& c,
                     std::vector<Work>& scratch) {
  model.step(shape, scratch);
  double seconds = 0;
  for (const Work& w : scratch) {
    if (w.op == Operator::attention_decode)
      seconds += std::max(w.flops / c.attention, w.kv_bytes / c.kv_bandwidth);
    else
      seconds += w.flops / (w.op == Operator::attention_prefill ? c.attention : c.gemm);
  }
  return seconds;
}

StepShape decodes_of(const PlanRequest& q, std::int64_t n, const ModelWork::Facts& facts) {
  StepShape s;
  s.decodes = s.padded_decodes = n;
  s.decode_context_sum = n * q.prompt + n * (n + 1) / 2;
  s.decode_context_max = q.prompt + n;
  for (std::size_t i = 0; i < kMaxWindows; ++i)  // the first token sees the fewest
    s.decode_window_sum[i] = n * std::min(q.prompt + 1, facts.windows[i]);
  return s;
}

// A request alone: seconds of its prefill and of its first decode, at the run's own prices; then
// the least that it takes from a rank when it shares iterations with others.
struct Alone {
  double ttft = 0, tpot = 0;
  double prefill_work = 0, decode_work = 0;
};

std::vector<Alone> price_alone(BuiltRun& run, const PlanWorkload& workload) {
  const Ceiling c = ceiling_of(run);
  std::vector<Work> scratch;
  std::vector<Alone> all;
  all.reserve(workload.requests.size());
  for (const PlanRequest& q : workload.requests) {
    const PrefillPiece piece{q.fresh, q.prompt - q.fresh, true};
    StepShape prefill;
    prefill.prefills = {&piece, 1};
    Alone a;
    a.ttft = to_seconds(run.cost->mixed_step(prefill));
    a.prefill_work = least_seconds(*run.work, prefill, c, scratch);
    if (q.output > 1) {
      const StepShape one = decodes_of(q, 1, run.work->facts());
      a.tpot = to_seconds(run.cost->decode_line(one).at(one));
      a.decode_work =
          least_seconds(*run.work, decodes_of(q, q.output - 1, run.work->facts()), c, scratch);
    }
    all.push_back(a);
  }
  return all;
}

std::optional<double> statistic_of(std::vector<double> values, const std::string& name) {
  if (values.empty()) return std::nullopt;
  const Summary s = summarize(std::move(values));
  for (const auto& [statistic, v] : {std::pair{"mean", s.mean},
                                     {"min", s.min},
                                     {"median", s.p50},
                                     {"p90", s.p90},
                                     {"p95", s.p95},
                                     {"p99", s.p99},
                                     {"max", s.max}})
    if (name == statistic) return v;
  return std::nullopt;
}

// Values of one request in ms; a missing one does not count (TPOT of a single token).
std::optional<double> best_of(const PlanObjective& o, const std::vector<Alone>& alone,
                              const PlanWorkload& workload, const Slo& slo) {
  const std::size_t dot = o.metric.find('.');
  const std::string name = o.metric.substr(0, dot);
  const auto seconds = [](const std::optional<Duration>& limit) {
    return limit ? to_seconds(*limit) : HUGE_VAL;
  };
  std::vector<double> values;
  double good = 0;
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const Alone& a = alone[i];
    const double e2e = a.ttft + a.tpot * static_cast<double>(workload.requests[i].output - 1);
    if (name == "ttft_ms") values.push_back(a.ttft * 1e3);
    if (name == "tpot_ms" && workload.requests[i].output > 1) values.push_back(a.tpot * 1e3);
    if (name == "e2el_ms") values.push_back(e2e * 1e3);
    good += a.ttft <= seconds(slo.ttft) && a.tpot <= seconds(slo.tpot) && e2e <= seconds(slo.e2e);
  }
  if (name == "slo_attainment" && !alone.empty()) return good / static_cast<double>(alone.size());
  if (dot == std::string::npos || !o.at_most) return std::nullopt;
  return statistic_of(std::move(values), o.metric.substr(dot + 1));
}

// By when a token is due, for all requests but a share.
struct Due {
  std::optional<double> seconds;
  double late = 0;
};

std::optional<double> late_share(const std::string& statistic) {
  for (const auto& [name, share] :
       {std::pair{"median", 0.5}, {"p90", 0.1}, {"p95", 0.05}, {"p99", 0.01}, {"max", 0.0}})
    if (statistic == name) return share;
  return std::nullopt;
}

Due due_of(const std::string& name, const std::optional<Duration>& slo, const PlanSpec& spec) {
  Due due;
  for (const PlanObjective& o : spec.objectives) {
    const std::size_t dot = o.metric.find('.');
    if (o.metric.substr(0, dot) == name && dot != std::string::npos && o.at_most)
      if (const auto share = late_share(o.metric.substr(dot + 1)); share && !due.seconds)
        due = {o.limit / 1e3, *share};
  }
  if (due.seconds || !slo) return due;
  for (const PlanObjective& o : spec.objectives)
    if (o.metric == "slo_attainment" && !o.at_most) due = {to_seconds(*slo), 1 - o.limit};
  return due;
}

// Their sum without the `late` largest.
double sum_without(std::vector<double>& values, std::size_t late) {
  if (values.size() <= late) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(late), values.end(),
                   std::greater<>());
  double sum = 0;
  for (std::size_t i = late; i < values.size(); ++i) sum += values[i];
  return sum;
}

// Windows between every two of so many instants, each with every horizon of tokens.
constexpr std::size_t kInstants = 24;
constexpr std::int64_t kHorizons[] = {0, 64, 256, 1024};

void add_windows(std::vector<PlanWindow>& out, const PlanWorkload& w,
                 const std::vector<double>& prefill, const std::vector<double>& decode,
                 const Due& ttft, const Due& tpot, double failures, bool memory) {
  const std::size_t n = w.requests.size();
  const std::size_t parts = std::min(kInstants, n);
  const auto allowed = [&](const Due& due) {
    return static_cast<std::size_t>(std::ceil(due.late * static_cast<double>(n))) + 1;
  };
  const std::size_t failed = static_cast<std::size_t>(std::ceil(failures * static_cast<double>(n)));
  std::vector<double> values;
  for (const std::int64_t horizon : kHorizons) {
    if (horizon > 0 && !tpot.seconds) break;
    const std::size_t late = allowed(ttft) + failed + (horizon > 0 ? allowed(tpot) : 0);
    const double slack = *ttft.seconds + static_cast<double>(horizon) * tpot.seconds.value_or(0);
    for (std::size_t i = 0; i < parts; ++i)
      for (std::size_t j = i + 1; j <= parts; ++j) {
        const std::size_t from = i * n / parts, to = j * n / parts;
        values.clear();
        for (std::size_t k = from; k < to; ++k)
          values.push_back(prefill[k] + (w.requests[k].output - 1 <= horizon ? decode[k] : 0));
        const double work = sum_without(values, late);
        if (work > 0)
          out.push_back(
              {w.requests[to - 1].arrival - w.requests[from].arrival, slack, work, memory});
      }
  }
}

}  // namespace

PlanWorkload read_workload(TraceSource& source, bool prefix_cache) {
  PlanWorkload w;
  std::unordered_set<std::uint64_t> seen;
  Request q;
  std::vector<std::uint64_t> open;
  while (true) {
    const auto at = source.next_arrival();
    if (!at) {  // a source that waits for answers goes on when it has them
      const std::vector<std::uint64_t> waiting = std::exchange(open, {});
      if (waiting.empty()) break;
      const Time last =
          w.requests.empty() ? Time{} : Time{from_ns_ceil(w.requests.back().arrival * 1e9)};
      for (const std::uint64_t index : waiting) source.finished(index, last);
      if (source.next_arrival()) w.closed = true;
      continue;
    }
    source.pop(q);
    open.push_back(q.index);
    std::int64_t found = 0;
    bool chained = prefix_cache;
    for (const Segment& s : q.segments) {
      chained = !seen.insert(s.key).second && chained;
      if (chained) found += s.tokens;
    }
    const std::int64_t fresh = std::max<std::int64_t>(q.prompt_tokens - found, 1);
    w.requests.push_back({to_seconds(q.arrival - Time{}), q.prompt_tokens, q.output_tokens, fresh});
    w.tokens += q.prompt_tokens + q.output_tokens;
  }
  return w;
}

PlanBounds::PlanBounds(BuiltRun& run, const PlanWorkload& workload, const PlanSpec& spec,
                       double rate)
    : best_(spec.objectives.size()), rate_(rate), jitter_(spec.jitter.value) {
  if (run.cost->offload() != nullptr || workload.closed || workload.requests.empty()) return;
  const std::vector<Alone> alone = price_alone(run, workload);
  const Slo slo = slo_of(run.scenario);
  for (std::size_t i = 0; i < best_.size(); ++i)
    best_[i] = best_of(spec.objectives[i], alone, workload, slo);
  const Due ttft = due_of("ttft_ms", slo.ttft, spec), tpot = due_of("tpot_ms", slo.tpot, spec);
  if (!ttft.seconds) return;
  const double ranks = run.parallel.data;
  const double places = static_cast<double>(run.engine.kv_blocks * run.engine.block_tokens) * ranks;
  std::vector<double> prefill, decode, nothing(alone.size()), held;
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const PlanRequest& q = workload.requests[i];
    const auto more = static_cast<double>(q.output - 1);
    prefill.push_back(alone[i].prefill_work / ranks);
    decode.push_back(alone[i].decode_work / ranks);
    held.push_back((static_cast<double>(q.fresh) + more / 2) * more * alone[i].tpot / places);
  }
  add_windows(windows_, workload, prefill, decode, ttft, tpot, spec.failures.value, false);
  // A token holds its place unless layers forget it, or it is compressed.
  if (tpot.seconds && run.engine.hybrid.full > 0 && run.engine.forms == nullptr)
    add_windows(windows_, workload, nothing, held, ttft, tpot, spec.failures.value, true);
}

PlanBounds::Replicas PlanBounds::replicas(double rate) const {
  const double stretch = rate_ / rate / (1 - jitter_);
  Replicas r;
  for (const PlanWindow& w : windows_) {
    const double busy = w.work / (w.span * stretch + w.slack);
    if (busy > r.busy) r.busy = busy, r.memory = w.memory;
  }
  r.least = static_cast<int>(std::ceil(r.busy * (1 - 1e-9)));
  return r;
}

std::optional<std::size_t> PlanBounds::refuted(std::span<const PlanObjective> all) const {
  for (std::size_t i = 0; i < all.size(); ++i)
    if (best_[i] && (all[i].at_most ? *best_[i] > all[i].limit : *best_[i] < all[i].limit))
      return i;
  return std::nullopt;
}

}  // namespace kvsim
