#include "traces/trace_tools.h"

#include <algorithm>
#include <cmath>

#include "traces/key_table.h"

namespace kvsim {

void for_each_request(TraceSource& source, Duration service,
                      FunctionRef<void(const Request&)> use) {
  using Running = std::pair<Time, std::uint64_t>;
  std::vector<Running> running;  // earliest end first
  const auto later_first = [](const Running& a, const Running& b) { return a > b; };
  Request r;
  while (true) {
    const auto next = source.next_arrival();
    if (!running.empty() && (!next || running.front().first <= *next)) {
      std::pop_heap(running.begin(), running.end(), later_first);
      const auto [at, index] = running.back();
      running.pop_back();
      source.finished(index, at);
      continue;
    }
    if (!next) return;
    source.pop(r);
    use(r);
    running.emplace_back(r.arrival + service, r.index);
    std::push_heap(running.begin(), running.end(), later_first);
  }
}

namespace {

LengthStats stats_of(std::vector<std::int64_t>& lengths) {
  LengthStats s;
  if (lengths.empty()) return s;
  std::sort(lengths.begin(), lengths.end());
  double sum = 0;
  for (const std::int64_t n : lengths) sum += static_cast<double>(n);
  const auto rank = [&](double q) {
    const auto k = static_cast<std::size_t>(std::ceil(q * static_cast<double>(lengths.size())));
    return lengths[std::max<std::size_t>(k, 1) - 1];
  };
  s.mean = sum / static_cast<double>(lengths.size());
  s.p50 = rank(0.50);
  s.p90 = rank(0.90);
  s.p99 = rank(0.99);
  s.max = lengths.back();
  return s;
}

// Calls use(key, prompt tokens in it) for the segments that hold prompt tokens.
template <class Use>
void each_prompt_segment(const Request& r, Use use) {
  std::int64_t left = r.prompt_tokens;
  for (const Segment& s : r.segments) {
    if (left <= 0) return;
    use(s.key, std::min(s.tokens, left));
    left -= s.tokens;
  }
}

// Keys seen so far: 1 = in a prompt, 0 = in outputs only.
void count_hits(const Request& r, KeyTable& seen, TraceInfo& info) {
  bool leading = true;
  const std::uint64_t before = info.hit_segments;
  each_prompt_segment(r, [&](std::uint64_t key, std::int64_t tokens) {
    ++info.segments;
    std::uint64_t* known = leading ? seen.find(key) : nullptr;
    leading = known != nullptr;
    std::uint64_t& in_prompt = known != nullptr ? *known : seen.insert(key, 0).value;
    if (in_prompt == 0) ++info.distinct_segments;
    in_prompt = 1;
    if (!leading) return;
    ++info.hit_segments;
    info.hit_tokens += tokens;
  });
  std::int64_t end = 0;
  for (const Segment& s : r.segments) {
    if (end >= r.prompt_tokens) seen.insert(s.key, 0);
    end += s.tokens;
  }
  if (info.hit_segments > before) ++info.requests_with_hit;
}

// Running mean and squared deviations (Welford).
struct Moments {
  std::uint64_t n = 0;
  double mean = 0, squares = 0;
  void add(double x) {
    ++n;
    const double d = x - mean;
    mean += d / static_cast<double>(n);
    squares += d * (x - mean);
  }
  [[nodiscard]] double cv() const {
    return n == 0 || mean == 0 ? 0 : std::sqrt(squares / static_cast<double>(n)) / mean;
  }
};

}  // namespace

TraceInfo trace_info(TraceSource& source, Duration service) {
  TraceInfo info;
  std::vector<std::int64_t> inputs, outputs;
  KeyTable seen, sessions, tenants;
  Moments gaps;
  Time first{}, last{};
  for_each_request(source, service, [&](const Request& r) {
    if (info.requests++ == 0)
      first = r.arrival;
    else
      gaps.add(to_seconds(r.arrival - last));
    last = r.arrival;
    inputs.push_back(r.prompt_tokens);
    outputs.push_back(r.output_tokens);
    info.prompt_tokens += r.prompt_tokens;
    info.output_tokens += r.output_tokens;
    if (r.session != 0) sessions.insert(r.session, 0);
    tenants.insert(r.tenant, 0);
    count_hits(r, seen, info);
  });
  info.span = last - first;
  if (info.span.count() > 0) info.rate = static_cast<double>(info.requests) / to_seconds(info.span);
  info.gap_cv = gaps.cv();
  info.input = stats_of(inputs);
  info.output = stats_of(outputs);
  info.sessions = sessions.size();
  info.tenants = tenants.size();
  info.skipped = source.skipped();
  return info;
}

}  // namespace kvsim
