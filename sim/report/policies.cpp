// Policies: eviction of the tiers of runs, and replayed beside the optimum by `kvsim cache -o`;
// what token policies kept and cost.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "sim/record/render.h"
#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

constexpr std::size_t kMostCurves = kColors - 1;  // besides bounds; the table has all
constexpr std::size_t kMostCapacities = 40;

std::string param(const Run& run, const std::string& path) {
  std::string value;
  run.file->each(
      "SELECT substr(value, 1, 100) FROM param WHERE run_id = ?1 AND path = ?2",
      [&](Statement& s) {
        s.bind(1, run.id);
        s.bind(2, std::string_view(path));
      },
      [&](const Statement& s) { value = printable(s.text(0)); });
  return value;
}

// One row a tier of a run, the GPU first.
void policy_rows(const Run& run, Table& t) {
  for (int tier = 0; tier < 16; ++tier) {
    const std::string prefix = fmt::format("cache.tiers.{}.", tier);
    const std::string policy = param(run, prefix + "eviction.policy");
    if (policy.empty()) return;
    const std::string name = param(run, prefix + "name");
    const double hits = tier == 0 ? run.metric("prefix_hit_rate")
                                  : run.metric(fmt::format("tier_{}_hit_rate", name));
    const double evicted = tier == 0 ? run.metric("evicted_blocks")
                                     : run.metric(fmt::format("tier_{}_evicted_chunks", name));
    const double peak = tier == 0 ? run.metric("peak_kv_usage")
                                  : run.metric(fmt::format("tier_{}_peak_usage", name));
    t.rows.push_back(
        {text_cell(run.label), text_cell(name), text_cell(policy),
         tier == 0 ? text_cell("KV blocks") : text_cell(param(run, prefix + "capacity")),
         percent_cell(peak), percent_cell(hits), count_cell(evicted)});
  }
}

Table tier_policies(const Source& source) {
  Table t{"policies",
          "Eviction policy of each tier",
          "Hit rate: prompt tokens found in the tier over prompt tokens. On the GPU, cached blocks "
          "that were reused count as evicted.",
          {"run", "tier", "policy", "capacity", "peak use", "hit rate", "evicted blocks or chunks"},
          {}};
  for (const Run& run : source.runs()) policy_rows(run, t);
  return t;
}

// What token policies kept and read, and the time of what they did besides.
Table token_policies(const Source& source) {
  Table t{"token-policies",
          "Token policies",
          "Means over decode steps: bytes of KV a token of the sequence, how many times fewer than "
          "uncompressed, what a step reads of it. Times are of the work itself, some of which "
          "passes behind other work.",
          {"run", "KV a token", "reduction", "read a step"},
          {}};
  const std::array works{"score", "index", "restore", "merge",      "encode",
                         "fetch", "far",   "prompt",  "prompt_link"};
  const auto metric = [](const Run& run, const char* work) {
    return run.metric(fmt::format("token_policy_{}_time", work));
  };
  std::vector<const char*> shown;  // that took any time in any run
  for (const char* work : works)
    for (const Run& run : source.runs())
      if (metric(run, work) > 0 && (shown.empty() || shown.back() != work)) shown.push_back(work);
  for (const char* work : shown) t.columns.push_back(fmt::format("{}, s", words(work)));
  for (const Run& run : source.runs()) {
    const double reduction = run.metric("kv_reduction");
    if (!(reduction > 0)) continue;
    t.rows.push_back({text_cell(run.label), count_cell(run.metric("kv_bytes_per_token")),
                      number_cell(reduction, 2), percent_cell(run.metric("kv_read_share"))});
    for (const char* work : shown) t.rows.back().push_back(number_cell(metric(run, work), 3));
  }
  return t;
}

// Hit ratios of one replayed policy by capacity.
struct Replayed {
  std::string policy;
  bool is_bound = false;
  std::map<std::int64_t, double> ratios;
  [[nodiscard]] double mean() const {
    double sum = 0;
    for (const auto& [capacity, ratio] : ratios) sum += ratio;
    return ratios.empty() ? 0 : sum / static_cast<double>(ratios.size());
  }
};

// Bounds first, then the best.
std::vector<Replayed> replays_of(File& file, std::string& trace, std::string& hits_are) {
  std::vector<Replayed> all;
  file.each(
      "SELECT substr(policy, 1, 100), is_bound, capacity_blocks, 1.0 * hits / "
      "nullif(accesses, 0), substr(trace, 1, 300), hits_are FROM policy_replay ORDER BY "
      "policy, capacity_blocks LIMIT 5000",
      {}, [&](const Statement& s) {
        const std::string policy = printable(s.text(0));
        if (all.empty() || all.back().policy != policy)
          all.push_back({policy, s.integer(1) != 0, {}});
        all.back().ratios[s.integer(2)] = real_or_none(s, 3);
        trace = printable(s.text(4));
        hits_are = printable(s.text(5));
      });
  std::stable_sort(all.begin(), all.end(), [](const Replayed& a, const Replayed& b) {
    return std::pair(!a.is_bound, -a.mean()) < std::pair(!b.is_bound, -b.mean());
  });
  return all;
}

// The table and, for several capacities, the curves of one file.
void add_replays(File& file, std::size_t number, Section& section) {
  std::string trace, hits_are;
  const std::vector<Replayed> all = replays_of(file, trace, hits_are);
  std::map<std::int64_t, double> best;  // of the bounds, by capacity
  for (const Replayed& r : all)
    for (const auto& [capacity, ratio] : r.ratios) {
      if (best.size() == kMostCapacities && !best.contains(capacity)) continue;
      if (double& b = best[capacity]; r.is_bound) b = std::max(b, ratio);
    }
  Table t{fmt::format("replays-{}", number),
          "Policies beside the bound",
          fmt::format("{}: hits of {} over all accesses, without timing. A bound knows the whole "
                      "future. Of the bound: mean over the capacities of hits over the bound's.",
                      trace, hits_are),
          {"policy"},
          {}};
  for (const auto& [capacity, b] : best)
    t.columns.push_back(fmt::format("{} blocks", count_cell(static_cast<double>(capacity)).text));
  const bool has_bound = !all.empty() && all.front().is_bound;
  if (has_bound) t.columns.emplace_back("of the bound");
  Chart c;
  c.id = fmt::format("replay-curves-{}", number);
  c.title = "Hit ratio by capacity";
  c.text = fmt::format("{}. Bounds are dashed; at most {} policies, the best.", trace, kMostCurves);
  c.x.title = "capacity, blocks (log)";
  c.x.is_log = true;
  c.y.title = fmt::format("hits of {}, %", hits_are);
  c.y.least = 0;
  for (const Replayed& r : all) {
    std::vector<Cell>& row = t.rows.emplace_back();
    row.push_back(text_cell(r.is_bound ? r.policy + " (bound)" : r.policy));
    Series s{r.policy, {}, {}, {}, {}, c.series.size(), r.is_bound};
    double share = 0;
    for (const auto& [capacity, b] : best) {
      const auto at = r.ratios.find(capacity);
      row.push_back(percent_cell(at == r.ratios.end() ? kNone : at->second));
      if (at == r.ratios.end()) continue;
      s.x.push_back(static_cast<double>(capacity));
      s.y.push_back(100 * at->second);
      share += b > 0 ? at->second / b : 1;
    }
    if (has_bound) row.push_back(percent_cell(share / static_cast<double>(best.size())));
    if (c.series.size() <= kMostCurves) c.series.push_back(std::move(s));
  }
  section.parts.emplace_back(std::move(t));
  if (best.size() > 1) section.parts.emplace_back(std::move(c));
}

}  // namespace

std::optional<Section> policy_section(const Source& source) {
  Section section{"policies", "Policies", "", {}};
  if (Table t = tier_policies(source); !t.rows.empty()) section.parts.emplace_back(std::move(t));
  if (Table t = token_policies(source); !t.rows.empty()) section.parts.emplace_back(std::move(t));
  std::size_t number = 0;
  for (const auto& file : source.files())
    if (file->has_rows("policy_replay")) add_replays(*file, ++number, section);
  return section.parts.empty() ? std::nullopt : std::optional(std::move(section));
}

}  // namespace kvsim::report
