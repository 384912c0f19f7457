#include "sim/study/compare_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/base/units.h"
#include "sim/run/simulate.h"
#include "sim/study/trial.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_database(const std::string& path) {
  if (!is_file(path)) return false;  // a pipe would lose what is read here
  std::ifstream in(path, std::ios::binary);
  std::string head(16, '\0');
  in.read(head.data(), 16);
  return head.starts_with("SQLite format 3");
}

SideSource source_of(const CompareSide& side, const char* name, Diagnostics& d) {
  SideSource s;
  s.label = side.source;
  s.path = side.source;
  s.sets = side.sets;
  const std::size_t colon = side.source.rfind(':');
  if (!is_file(s.path) && colon != std::string::npos) {
    if (const auto run = parse_int(side.source.substr(colon + 1))) {
      s.path = side.source.substr(0, colon);
      s.run_id = *run;
    }
  }
  s.is_recorded =
      s.run_id.has_value() || is_database(s.path) || (!is_file(s.path) && s.path.ends_with(".db"));
  if (s.is_recorded) {
    if (!s.sets.empty())
      d.add({}, "", fmt::format("side {}: {} is a result, which --set cannot change", name, s.path),
            "give the scenario it came from");
    return s;
  }
  const LoadedScenario loaded = load_scenario(s.path, s.sets, d);
  const BuiltRun run = build_run(loaded, true, d);
  s.seed = run.scenario.seed;
  s.slo = slo_of(run.scenario);
  s.params = flat_params(run.resolved);
  for (const std::string& set : s.sets) s.label += " " + set;
  return s;
}

bool is_all_same(const RecordedRun& a, const RecordedRun& b, const Pairing& pairing) {
  if (!a.event_digest.empty() && a.event_digest == b.event_digest) return true;
  return std::ranges::all_of(pairing.pairs, [](const Pair& p) {
    return p.a->outcome == p.b->outcome && p.a->arrival == p.b->arrival &&
           p.a->first_token == p.b->first_token && p.a->last_token == p.b->last_token &&
           p.a->ttft_ns == p.b->ttft_ns && p.a->after_ns == p.b->after_ns &&
           p.a->hit_tokens == p.b->hit_tokens && p.a->tier_tokens == p.b->tier_tokens &&
           p.a->miss_tokens == p.b->miss_tokens;
  });
}

}  // namespace

std::pair<SideSource, SideSource> open_sides(const CompareSide& a, const CompareSide& b) {
  Diagnostics d;
  std::pair<SideSource, SideSource> sides{source_of(a, "A", d), {}};
  // A mistake in a file that both sides share is told once.
  const bool is_repeated = !d.empty() && a.source == b.source && a.sets == b.sets;
  if (!is_repeated) {
    Diagnostics of_b;
    sides.second = source_of(b, "B", of_b);
    for (const Diagnostic& x : of_b.all()) {
      const bool is_known = std::ranges::any_of(
          d.all(), [&](const Diagnostic& y) { return to_string(x) == to_string(y); });
      if (!is_known) d.add(x.place, x.path, x.message, x.hint);
    }
  }
  d.throw_if_any();
  return sides;
}

RecordedRun run_side(const SideSource& side, std::optional<std::uint64_t> seed) {
  if (side.is_recorded) return load_run(side.path, side.run_id);
  TrialInput input;
  input.sets = side.sets;
  input.seed = seed.value_or(side.seed);
  input.keep_requests = true;
  TrialResult trial = run_trial(side.path, input);
  if (!trial.error.empty())
    throw InputError(fmt::format("{} with seed {}: {}", side.label, *input.seed, trial.error));
  RecordedRun run;
  run.name = side.label;
  run.scenario_digest = std::move(trial.scenario_digest);
  run.event_digest = std::move(trial.event_digest);
  run.seed = *input.seed;
  run.slo = side.slo;
  run.params = side.params;
  run.metrics = std::move(trial.metrics);
  run.requests = std::move(trial.requests);
  return run;
}

PairFigures figures_of(const RecordedRun& a, const RecordedRun& b, const Pairing* pairing,
                       Latency by) {
  PairFigures f;
  const Sample sa = pairing != nullptr ? finished_sides(*pairing, false) : finished_of(a);
  const Sample sb = pairing != nullptr ? finished_sides(*pairing, true) : finished_of(b);
  f.a = side_figures(sa, a);
  f.b = side_figures(sb, b);
  f.parts_a = mean_parts(sa, by), f.parts_b = mean_parts(sb, by);
  Sample all_a, all_b;
  if (pairing != nullptr) {
    for (const Pair& p : pairing->pairs) all_a.push_back(p.a), all_b.push_back(p.b);
  } else {
    all_a = all_of(a), all_b = all_of(b);
  }
  f.tokens_a = mean_prompt_tokens(all_a), f.tokens_b = mean_prompt_tokens(all_b);
  f.requests_a = a.requests.size(), f.requests_b = b.requests.size();
  if (pairing == nullptr) return f;
  f.finished_both = sa.size();
  for (const Pair& p : pairing->pairs) {
    const bool in_a = latency_ms(*p.a, Latency::e2e).has_value();
    const bool in_b = latency_ms(*p.b, Latency::e2e).has_value();
    f.only_a += in_a && !in_b, f.only_b += in_b && !in_a;
  }
  f.alone_a = pairing->alone_a, f.alone_b = pairing->alone_b;
  f.is_closed_loop = pairing->is_closed_loop;
  f.is_same = is_all_same(a, b, *pairing);
  return f;
}

}  // namespace kvsim
