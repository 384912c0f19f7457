#include "hardware/roofline_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

namespace kvsim {

namespace {

std::vector<FitParameter> parameters(const Efficiency& e) {
  return {{"gemm", e.gemm, 0.01, 1, true},
          {"gemm_half_tokens", e.gemm_half_tokens, 0, 4096, false},
          {"attention", e.attention, 0.01, 1, true},
          {"attention_half_tokens", e.attention_half_tokens, 0, 65536, false},
          {"memory", e.memory, 0.01, 1, true},
          {"kv_memory", e.kv_memory, 0.01, 1, true},
          {"launch_ns", static_cast<double>(e.launch.count()), 0, 1e6, false},
          {"expert_memory", e.expert_memory, 0.01, 1, true},
          {"sampler", e.sampler, 0.001, 1, true}};
}

void assign(Efficiency& e, std::span<const double> v) {
  e.gemm = v[0];
  e.gemm_half_tokens = v[1];
  e.attention = v[2];
  e.attention_half_tokens = v[3];
  e.memory = v[4];
  e.kv_memory = v[5];
  e.launch = Duration{std::llround(v[6])};
  e.expert_memory = v[7];
  e.sampler = v[8];
}

Efficiency fit(Roofline law, std::span<const FitSample> samples, const std::string* without) {
  std::vector<FitParameter> p = parameters(law.efficiency);
  // Every group weighs the same, however many samples it has.
  std::map<std::string_view, double> weight;
  for (const FitSample& s : samples)
    if (without == nullptr || s.group != *without) weight[s.group] += 1;
  for (auto& [name, w] : weight) w = 1 / (w * static_cast<double>(weight.size()));
  coordinate_descent(
      [&](std::span<const double> v) {
        assign(law.efficiency, v);
        double sum = 0;
        for (const FitSample& s : samples) {
          const auto w = weight.find(s.group);
          if (w == weight.end()) continue;
          const double r = std::log(law.price(s.work, s.rows) / s.ns);
          sum += w->second * r * r;
        }
        return sum;
      },
      p);
  std::vector<double> v;
  for (const FitParameter& one : p) v.push_back(one.value);
  assign(law.efficiency, v);
  return law.efficiency;
}

double quantile(std::vector<double> v, double q) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<std::size_t>(q * static_cast<double>(v.size())))];
}

std::vector<double> errors(const Roofline& law, std::span<const FitSample> samples,
                           const std::string* only) {
  std::vector<double> all;
  for (const FitSample& s : samples)
    if (only == nullptr || s.group == *only)
      all.push_back(std::abs(law.price(s.work, s.rows) / s.ns - 1));
  return all;
}

}  // namespace

// Hooke and Jeeves 1961, doi:10.1145/321062.321069: one step along each parameter, then a leap
// along what the sweep changed, which follows valleys that lie across the axes. The leap starts
// over with wide steps four times.
double coordinate_descent(const std::function<double(std::span<const double>)>& loss,
                          std::vector<FitParameter>& parameters, int evaluations) {
  constexpr int kRounds = 4;
  std::vector<double> v, step(parameters.size());
  for (const FitParameter& p : parameters) v.push_back(std::clamp(p.value, p.low, p.high));
  const auto scale = [&](std::size_t i) {
    const FitParameter& p = parameters[i];
    return p.on_log ? 1.0 : std::max(std::abs(v[i]), 1e-3 * (p.high - p.low));
  };
  const auto moved = [&](std::size_t i, double by) {
    const FitParameter& p = parameters[i];
    return std::clamp(p.on_log ? v[i] * std::exp(by) : v[i] + by, p.low, p.high);
  };
  double best = loss(v);
  const auto accept = [&](const std::vector<double>& trial) {
    --evaluations;
    const double now = loss(trial);
    if (!(now < best)) return false;
    best = now;
    v = trial;
    return true;
  };
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < v.size(); ++i) step[i] = 0.2 * scale(i);
    for (bool moving = true; moving && evaluations > 0;) {
      moving = false;
      const std::vector<double> before = v;
      for (std::size_t i = 0; i < v.size(); ++i) {
        bool better = false;
        for (const double direction : {1.0, -1.0}) {
          std::vector<double> trial = v;
          trial[i] = moved(i, direction * step[i]);
          better = trial[i] != v[i] && accept(trial);
          if (better) break;
        }
        step[i] *= better ? 1.6 : 0.5;
        moving = moving || step[i] > 1e-4 * scale(i);
      }
      std::vector<double> leap = v;
      for (std::size_t i = 0; i < v.size(); ++i)
        leap[i] = std::clamp(2 * v[i] - before[i], parameters[i].low, parameters[i].high);
      if (leap != v) accept(leap);
    }
  }
  for (std::size_t i = 0; i < v.size(); ++i) parameters[i].value = v[i];
  return best;
}

FitReport fit_efficiency(Roofline law, std::span<const FitSample> samples) {
  if (samples.empty()) throw InputError("nothing to fit: no measured times");
  std::map<std::string, std::size_t> groups;
  for (const FitSample& s : samples) {
    if (!(s.ns > 0)) throw InputError("a measured time is not above 0", "drop the sample");
    ++groups[s.group];
  }
  const Roofline start = law;
  FitReport report;
  law.efficiency = report.efficiency = fit(start, samples, nullptr);
  const std::vector<double> all = errors(law, samples, nullptr);
  report.p50 = quantile(all, 0.5);
  report.p90 = quantile(all, 0.9);
  for (const auto& [name, n] : groups) {
    Roofline without = start;
    without.efficiency = fit(start, samples, &name);
    report.groups.push_back({name, n, quantile(errors(law, samples, &name), 0.5),
                             quantile(errors(without, samples, &name), 0.5)});
  }
  return report;
}

}  // namespace kvsim
