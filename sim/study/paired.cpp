#include "sim/study/paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "sim/base/diagnostics.h"
#include "sim/base/stats.h"

namespace kvsim {
namespace {

__extension__ typedef __int128 Wide;

constexpr const char* kUnpairedHint =
    "a comparison pairs the same requests: give both sides one workload and seed; --unpaired "
    "compares them as two samples";

std::string seconds(Time t) { return fmt::format("{:.6f} s", to_seconds(t - kTimeZero)); }

// What makes the two requests different work; "" if nothing does. Tokens received count only where
// both finished.
std::string unlike(const RequestOutcome& a, const RequestOutcome& b) {
  if (a.prompt_tokens != b.prompt_tokens)
    return fmt::format("{} prompt tokens in A, {} in B", a.prompt_tokens, b.prompt_tokens);
  if (a.outcome == Outcome::finished && b.outcome == Outcome::finished &&
      a.output_tokens != b.output_tokens)
    return fmt::format("{} output tokens in A, {} in B", a.output_tokens, b.output_tokens);
  return "";
}

using SessionTurn = std::pair<std::uint64_t, std::uint32_t>;

// Sessions and turns name requests; those of no session follow no answer, and are counted.
std::map<SessionTurn, const RequestOutcome*> by_session(const RecordedRun& run) {
  std::map<SessionTurn, const RequestOutcome*> all;
  std::uint32_t alone = 0;
  for (const RequestOutcome& r : run.requests)
    if (!all.emplace(SessionTurn{r.session, r.session == 0 ? alone++ : r.turn}, &r).second)
      return {};
  return all;
}

// A run that ends after so many requests ends elsewhere in the sessions when answers come sooner,
// so a few requests may lack a partner.
constexpr double kMostAlone = 0.1;

Pairing by_turn(const RecordedRun& a, const RecordedRun& b, const std::string& otherwise) {
  const auto left = by_session(a), right = by_session(b);
  Pairing out;
  out.is_closed_loop = true;
  bool is_same = !left.empty() && !right.empty();
  for (const auto& [key, request] : left) {
    const auto found = right.find(key);
    if (found == right.end()) continue;
    is_same = is_same && unlike(*request, *found->second).empty() &&
              ((key.first != 0 && key.second > 0) || request->arrival == found->second->arrival);
    out.pairs.push_back({request, found->second});
  }
  out.alone_a = left.size() - out.pairs.size();
  out.alone_b = right.size() - out.pairs.size();
  const auto all = static_cast<double>(left.size() + right.size());
  if (!is_same || static_cast<double>(out.alone_a + out.alone_b) > kMostAlone * all)
    throw InputError("the two sides did not face the same requests: " + otherwise, kUnpairedHint);
  std::ranges::sort(out.pairs, {}, [](const Pair& p) { return p.a->index; });
  return out;
}

double mean_of(Wide sum, std::size_t n) {
  return n > 0 ? static_cast<double>(sum) / static_cast<double>(n) : 0;
}

struct Shown {
  const char* name;
  bool lower_is_better;
};
constexpr Shown kShown[] = {{"request_throughput", false},
                            {"output_throughput", false},
                            {"request_goodput", false},
                            {"slo_attainment", false},
                            {"prefix_hit_rate", false},
                            {"total_hit_rate", false},
                            {"preemptions", true},
                            {"price_per_hour", true},
                            {"cost_per_million_tokens", true},
                            {"energy_per_million_tokens", true}};

// Prompt tokens: found on the GPU, loaded from below, computed by cause.
using Fates = std::array<std::int64_t, 2 + kMissCauses>;
Fates fates_of(const RequestOutcome& r) {
  Fates f{};
  f[0] = r.hit_tokens;
  f[1] = r.tier_tokens.sum();
  std::ranges::copy(r.miss_tokens.all(), f.begin() + 2);
  return f;
}

template <class Value>
std::vector<Part> named_fates(const std::array<Value, 2 + kMissCauses>& f) {
  std::vector<Part> parts{{"hit", static_cast<double>(f[0])}, {"tier", static_cast<double>(f[1])}};
  for (const auto& [cause, name] : enum_names(MissCause{}))
    parts.push_back({name, static_cast<double>(f[2 + static_cast<std::size_t>(cause)])});
  return parts;
}

Part largest(const std::vector<Part>& a, const std::vector<Part>& b) {
  Part most;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double change = b[i].value - a[i].value;
    if (std::abs(change) > std::abs(most.value)) most = {a[i].name, change};
  }
  return most;
}

std::vector<Part> named_parts(const RequestOutcome& r, Latency latency) {
  std::vector<Part> parts;
  const auto values = latency_parts_ms(r, latency);
  for (const auto& [kind, name] : enum_names(Interval{}))
    parts.push_back({name, values[static_cast<std::size_t>(kind)]});
  return parts;
}

}  // namespace

const char* latency_text(Latency l) {
  return l == Latency::ttft ? "TTFT" : l == Latency::tpot ? "TPOT" : "E2E latency";
}

const char* latency_metric(Latency l) {
  return l == Latency::ttft ? "ttft_ms" : l == Latency::tpot ? "tpot_ms" : "e2el_ms";
}

std::optional<double> latency_ms(const RequestOutcome& r, Latency latency) {
  if (r.outcome != Outcome::finished || r.first_token == kNever) return std::nullopt;
  const auto ms = [](Duration d) { return static_cast<double>(to_ns(d)) / 1e6; };
  if (latency == Latency::ttft) return ms(r.first_token - r.arrival);
  if (latency == Latency::e2e) return ms(r.last_token - r.arrival);
  if (r.output_tokens < 2) return std::nullopt;
  return ms(r.last_token - r.first_token) / static_cast<double>(r.output_tokens - 1);
}

std::array<double, kIntervals> latency_parts_ms(const RequestOutcome& r, Latency latency) {
  std::array<double, kIntervals> parts{};
  for (std::size_t k = 0; k < kIntervals; ++k) {
    const std::int64_t ns = latency == Latency::ttft   ? r.ttft_ns[k]
                            : latency == Latency::tpot ? r.after_ns[k]
                                                       : r.ttft_ns[k] + r.after_ns[k];
    parts[k] = static_cast<double>(ns) / 1e6;
    if (latency == Latency::tpot && r.output_tokens > 1)
      parts[k] /= static_cast<double>(r.output_tokens - 1);
  }
  return parts;
}

Pairing pair_requests(const RecordedRun& a, const RecordedRun& b) {
  if (a.requests.empty() || b.requests.empty())
    throw InputError("there are no requests to compare");
  if (a.requests.size() != b.requests.size())
    return by_turn(a, b, fmt::format("{} in A, {} in B", a.requests.size(), b.requests.size()));
  Pairing out;
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    const RequestOutcome &x = a.requests[i], &y = b.requests[i];
    std::string what;
    if (x.index != y.index)
      what = fmt::format("request {} of A is not in B", x.index);
    else if (x.arrival != y.arrival)
      what = fmt::format("request {} arrives at {} in A, at {} in B", x.index, seconds(x.arrival),
                         seconds(y.arrival));
    else if (const std::string tokens = unlike(x, y); !tokens.empty())
      what = fmt::format("request {} has {}", x.index, tokens);
    if (!what.empty()) return by_turn(a, b, what);
    out.pairs.push_back({&x, &y});
  }
  return out;
}

Sample all_of(const RecordedRun& run) {
  Sample all;
  for (const RequestOutcome& r : run.requests) all.push_back(&r);
  return all;
}

Sample finished_sides(const Pairing& pairing, bool side_b) {
  Sample sample;
  for (const Pair& p : pairing.pairs)
    if (latency_ms(*p.a, Latency::e2e) && latency_ms(*p.b, Latency::e2e))
      sample.push_back(side_b ? p.b : p.a);
  return sample;
}

Sample finished_of(const RecordedRun& run) {
  Sample sample;
  for (const RequestOutcome& r : run.requests)
    if (latency_ms(r, Latency::e2e)) sample.push_back(&r);
  return sample;
}

std::vector<Figure> side_figures(const Sample& sample, const RecordedRun& run) {
  std::vector<Figure> out;
  for (const auto& [latency, short_name] : enum_names(Latency{})) {
    std::vector<double> values;
    for (const RequestOutcome* r : sample)
      if (const auto ms = latency_ms(*r, latency)) values.push_back(*ms);
    const Summary s = summarize(std::move(values));
    if (s.count == 0) continue;
    for (const auto& [statistic, value] :
         {std::pair{"mean", s.mean}, {"median", s.p50}, {"p90", s.p90}, {"p99", s.p99}})
      out.push_back({latency_metric(latency), statistic, "ms", true, value});
  }
  for (const Shown& shown : kShown)
    for (const Metric& m : run.metrics)
      if (m.name == shown.name && m.statistic == "value" && m.scope == "run")
        out.push_back({m.name, "value", m.unit, shown.lower_is_better, m.value});
  return out;
}

std::vector<Part> mean_parts(const Sample& sample, Latency latency) {
  std::array<Wide, kIntervals> ns{};
  std::array<double, kIntervals> per_token{};
  std::size_t n = 0;
  for (const RequestOutcome* r : sample) {
    if (!latency_ms(*r, latency)) continue;
    ++n;
    const auto parts = latency_parts_ms(*r, latency);
    for (std::size_t k = 0; k < kIntervals; ++k) {
      ns[k] += r->ttft_ns[k] + (latency == Latency::e2e ? r->after_ns[k] : 0);
      per_token[k] += parts[k];
    }
  }
  std::vector<Part> out;
  for (const auto& [kind, name] : enum_names(Interval{})) {
    const auto k = static_cast<std::size_t>(kind);
    out.push_back({name, latency != Latency::tpot ? mean_of(ns[k], n) / 1e6
                         : n > 0                  ? per_token[k] / static_cast<double>(n)
                                                  : 0});
  }
  return out;
}

std::vector<Part> mean_prompt_tokens(const Sample& requests) {
  std::array<Wide, 2 + kMissCauses> sum{};
  for (const RequestOutcome* r : requests) {
    const Fates one = fates_of(*r);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
  }
  std::vector<Part> parts = named_fates(sum);
  for (Part& p : parts) p.value /= std::max(1.0, static_cast<double>(requests.size()));
  return parts;
}

std::vector<ParamChange> changed_params(const RecordedRun& a, const RecordedRun& b) {
  std::unordered_map<std::string, const std::string*> left, right;
  for (const auto& [path, value] : a.params) left.emplace(path, &value);
  for (const auto& [path, value] : b.params) right.emplace(path, &value);
  std::vector<ParamChange> out;
  for (const auto& [path, value] : a.params) {
    const auto found = right.find(path);
    if (found == right.end())
      out.push_back({path, value, ""});
    else if (*found->second != value)
      out.push_back({path, value, *found->second});
  }
  for (const auto& [path, value] : b.params)
    if (!left.contains(path)) out.push_back({path, "", value});
  return out;
}

Changes changes_of(const Pairing& pairing, Latency latency, std::size_t top) {
  struct Difference {
    double ms;
    Pair pair;
  };
  std::vector<Difference> all;
  Changes out;
  for (const Pair& p : pairing.pairs) {
    const auto a = latency_ms(*p.a, latency), b = latency_ms(*p.b, latency);
    if (!a || !b) continue;
    all.push_back({*b - *a, p});
    const bool is_same = std::abs(*b - *a) <= kSameWithin * *a;
    ++(is_same ? out.same : *b < *a ? out.gained : out.lost);
  }
  if (all.empty()) return out;
  std::ranges::stable_sort(all, {}, &Difference::ms);
  std::vector<double> sorted;
  for (const Difference& d : all) sorted.push_back(d.ms);
  out.p5_ms = percentile_sorted(sorted, 0.05);
  out.p50_ms = percentile_sorted(sorted, 0.5);
  out.p95_ms = percentile_sorted(sorted, 0.95);
  const auto change = [&](const Difference& d) {
    return RequestChange{
        d.pair.a->index,
        d.pair.a->prompt_tokens,
        *latency_ms(*d.pair.a, latency),
        *latency_ms(*d.pair.b, latency),
        largest(named_parts(*d.pair.a, latency), named_parts(*d.pair.b, latency)),
        largest(named_fates(fates_of(*d.pair.a)), named_fates(fates_of(*d.pair.b)))};
  };
  for (std::size_t i = 0; i < top && i < all.size(); ++i) {
    if (all[i].ms < 0) out.gained_most.push_back(change(all[i]));
    const Difference& worst = all[all.size() - 1 - i];
    if (worst.ms > 0) out.lost_most.push_back(change(worst));
  }
  return out;
}

}  // namespace kvsim
