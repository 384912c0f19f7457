// Samples over simulated time, at most kMostPoints a curve.
#include <fmt/format.h>

#include <algorithm>

#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

constexpr std::size_t kMostPoints = 500;

// One instant, or several put together: levels are means, amounts are sums.
struct Sample {
  double at_s = 0;
  std::vector<double> levels, amounts;
};

// Neighbours put together until kMostPoints are left.
std::vector<Sample> thinned(const std::vector<Sample>& all) {
  const std::size_t group = (all.size() + kMostPoints - 1) / kMostPoints;
  if (group <= 1) return all;
  std::vector<Sample> out;
  for (std::size_t i = 0; i < all.size(); i += group) {
    const std::size_t end = std::min(i + group, all.size());
    Sample sum = all[i];
    for (std::size_t j = i + 1; j < end; ++j) {
      sum.at_s = all[j].at_s;
      for (std::size_t k = 0; k < sum.levels.size(); ++k) sum.levels[k] += all[j].levels[k];
      for (std::size_t k = 0; k < sum.amounts.size(); ++k) sum.amounts[k] += all[j].amounts[k];
    }
    for (double& level : sum.levels) level /= static_cast<double>(end - i);
    out.push_back(std::move(sum));
  }
  return out;
}

// Rows of `sql`: at_ns, then `levels` columns of levels, then amounts.
std::vector<Sample> samples(const Run& run, const std::string& sql, int levels) {
  std::vector<Sample> all;
  run.each(sql, [&](const Statement& s) {
    Sample& sample = all.emplace_back();
    sample.at_s = s.real(0) / 1e9;
    for (int i = 1; i < s.columns(); ++i)
      (i <= levels ? sample.levels : sample.amounts).push_back(real_or_none(s, i));
  });
  return thinned(all);
}

Series level(const std::string& name, const std::vector<Sample>& all, std::size_t which,
             std::size_t color, bool is_dashed) {
  Series s{name, {}, {}, {}, {}, color, is_dashed};
  for (const Sample& sample : all) {
    s.x.push_back(sample.at_s);
    s.y.push_back(sample.levels[which]);
  }
  return s;
}

// Amount a second since the sample before (the run begins at 0).
Series rate(const std::string& name, const std::vector<Sample>& all, std::size_t which,
            std::size_t color, bool is_dashed) {
  Series s{name, {}, {}, {}, {}, color, is_dashed};
  double before = 0;
  for (const Sample& sample : all) {
    const double span = sample.at_s - before;
    before = sample.at_s;
    if (!(span > 0)) continue;
    s.x.push_back(sample.at_s);
    s.y.push_back(sample.amounts[which] / span);
  }
  return s;
}

Chart over_time(std::string id, std::string title, std::string text, std::string unit) {
  Chart c;
  c.id = std::move(id);
  c.title = std::move(title);
  c.text = std::move(text);
  c.x.title = "simulated time, s";
  c.x.least = 0;
  c.y.title = std::move(unit);
  c.y.least = 0;
  return c;
}

// Counts that hold until the next event: drawn as steps, from 0 to the end of the run. Of very many
// events only every so many are drawn.
struct Steps {
  std::vector<double> at_s, up, idle;
  double end_s = 0;
};

Steps fleet_steps(const Run& run) {
  Steps all;
  run.each(
      "SELECT s.at_ns / 1e9, up, starting + draining, r.simulated_ns / 1e9, row_number() OVER "
      "(PARTITION BY at_ns ORDER BY s.rowid DESC) FROM scale_event s JOIN run r USING (run_id) "
      "WHERE s.run_id = ?1 ORDER BY s.rowid",
      [&](const Statement& s) {
        all.end_s = s.real(3);
        if (s.integer(4) > 1) return;  // the last of an instant holds
        all.at_s.push_back(s.real(0));
        all.up.push_back(s.real(1));
        all.idle.push_back(s.real(2));
      });
  return all;
}

Series steps(const std::string& name, const Steps& all, const std::vector<double>& count,
             std::size_t color, bool is_dashed) {
  Series s{name, {}, {}, {}, {}, color, is_dashed};
  const std::size_t group = 1 + all.at_s.size() * 2 / kMostPoints;
  for (std::size_t i = 0; i < all.at_s.size(); i += group) {
    if (!s.x.empty()) {
      s.x.push_back(all.at_s[i]);
      s.y.push_back(s.y.back());
    }
    s.x.push_back(all.at_s[i]);
    s.y.push_back(count[i]);
  }
  s.x.push_back(std::max(all.end_s, s.x.back()));
  s.y.push_back(s.y.back());
  return s;
}

// Of runs whose fleets scale.
std::optional<Chart> fleet_chart(const Source& source) {
  Chart c = over_time("fleet-timeline", "Instances of the fleet",
                      "Those that take requests; of a run alone also those that load their model "
                      "or empty themselves, paid for as well.",
                      "instances");
  const bool is_alone = source.runs().size() == 1;
  for (const Run& run : source.runs()) {
    const Steps all = fleet_steps(run);
    if (all.at_s.empty()) continue;
    c.series.push_back(steps(is_alone ? "serving" : run.label, all, all.up, run.color, false));
    if (is_alone) c.series.push_back(steps("starting or draining", all, all.idle, 1, true));
  }
  return c.series.empty() ? std::nullopt : std::optional(std::move(c));
}

}  // namespace

std::optional<Section> timeline_section(const Source& source) {
  Chart queue = over_time("queue-timeline", "Running and waiting requests",
                          "Sums over all instances.", "requests");
  Chart kv = over_time("kv-timeline", "KV blocks of the GPUs",
                       "Share of the KV blocks of all instances that requests hold, and that are "
                       "free but still matched by prefixes.",
                       "KV blocks, %");
  Chart tokens = over_time("throughput-timeline", "Throughput",
                           "Prompt tokens computed (hits are not) and output tokens, over the "
                           "time between samples.",
                           "tokens/s");
  kv.y.most = 100;
  const bool is_alone = source.runs().size() == 1;
  for (const Run& run : source.runs()) {
    const std::vector<Sample> all = samples(
        run,
        "WITH total AS (SELECT at_ns, sum(running) AS running, sum(waiting) AS waiting, 100.0 * "
        "sum(used_blocks) / nullif(sum(total_blocks), 0) AS held, 100.0 * sum(cached_blocks) / "
        "nullif(sum(total_blocks), 0) AS cached, sum(prompt_tokens) AS prompt, sum(output_tokens) "
        "AS output FROM instance_sample WHERE run_id = ?1 GROUP BY at_ns) SELECT at_ns, running, "
        "waiting, held, cached, prompt - lag(prompt, 1, 0) OVER (ORDER BY at_ns), output - "
        "lag(output, 1, 0) OVER (ORDER BY at_ns) FROM total ORDER BY at_ns",
        4);
    if (all.size() < 2) continue;
    const auto name = [&](const char* what) {
      return is_alone ? std::string(what) : fmt::format("{}: {}", run.label, what);
    };
    // A run alone tells its curves apart by colour, several by dashes.
    const std::size_t second = is_alone ? 1 : run.color;
    queue.series.push_back(level(name("running"), all, 0, run.color, false));
    queue.series.push_back(level(name("waiting"), all, 1, second, !is_alone));
    kv.series.push_back(level(name("held"), all, 2, run.color, false));
    kv.series.push_back(level(name("cached"), all, 3, second, !is_alone));
    tokens.series.push_back(rate(name("prompt"), all, 0, run.color, false));
    tokens.series.push_back(rate(name("output"), all, 1, second, !is_alone));
  }
  Section section{"timeline",
                  "Over time",
                  fmt::format("From the samples that a run takes at regular instants "
                              "(record.sample_every); neighbours are averaged into at most {} "
                              "points.",
                              kMostPoints),
                  {}};
  if (!queue.series.empty())
    for (Chart* c : {&queue, &kv, &tokens}) section.parts.emplace_back(std::move(*c));
  if (auto fleet = fleet_chart(source)) section.parts.emplace_back(std::move(*fleet));
  return section.parts.empty() ? std::nullopt : std::optional(std::move(section));
}

namespace {

struct TierName {
  std::int64_t tier;
  std::string name;
};

std::vector<TierName> tiers_of(const Run& run) {
  std::vector<TierName> names;
  run.each(
      "SELECT tier, substr(min(name), 1, 60) FROM tier WHERE run_id = ?1 GROUP BY tier "
      "ORDER BY tier LIMIT 16",
      [&](const Statement& s) {
        names.push_back({s.integer(0), std::string(s.text(1))});
      });
  return names;
}

Table tier_table(const Source& source) {
  Table t{"tiers",
          "Tiers below the GPU",
          "Hit rate: prompt tokens loaded from the tier over prompt tokens of all requests. Moved "
          "to a tier and read from it, whoever asked. Life of a drive: at this run's rate of "
          "writing.",
          {"run", "tier", "stores", "capacity", "peak use", "hit tokens", "hit rate", "read",
           "written", "evicted chunks", "lost to faults, chunks", "drive life, years"},
          {}};
  for (const Run& run : source.runs()) {
    run.each(
        "SELECT substr(min(t.name), 1, 60), count(*), sum(1.0 * capacity_chunks * chunk_bytes), "
        "1.0 * sum(peak_chunks) / nullif(sum(capacity_chunks), 0), "
        "(SELECT sum(tokens) FROM tier_hit h WHERE h.run_id = ?1 AND h.tier = t.tier), "
        "(SELECT sum(prompt_tokens) FROM request WHERE run_id = ?1), "
        "sum(read_bytes), sum(written_bytes), sum(evicted_chunks), sum(lost_chunks), "
        "min(drive_life_years) FROM tier t WHERE t.run_id = ?1 GROUP BY t.tier ORDER BY t.tier "
        "LIMIT 16",
        [&](const Statement& s) {
          const double hits = s.type(4) == Statement::Type::null ? 0 : s.real(4);
          t.rows.push_back({text_cell(run.label), text_cell(std::string(s.text(0))),
                            count_cell(s.real(1)), bytes_cell(s.real(2)),
                            percent_cell(real_or_none(s, 3)), count_cell(hits),
                            percent_cell(hits / real_or_none(s, 5)), bytes_cell(s.real(6)),
                            bytes_cell(s.real(7)), count_cell(s.real(8)), count_cell(s.real(9)),
                            number_cell(real_or_none(s, 10), 2)});
        });
  }
  return t;
}

// Curves of each tier of each run: share in use, and traffic.
void tier_curves(const Source& source, Section& section) {
  Chart use = over_time("tier-use", "Use of the tiers", "Chunks that lie in all stores of a tier.",
                        "capacity in use, %");
  use.y.most = 100;
  Chart traffic = over_time("tier-traffic", "Traffic of the tiers",
                            "Bytes read from a tier and written to it between samples.", "GB/s");
  std::size_t color = 0;
  for (const Run& run : source.runs()) {
    for (const TierName& tier : tiers_of(run)) {
      const std::string name =
          source.runs().size() == 1 ? tier.name : fmt::format("{}: {}", run.label, tier.name);
      std::vector<Sample> all = samples(
          run,
          fmt::format(
              "WITH total AS (SELECT at_ns, sum(resident_chunks) AS chunks, sum(read_bytes) AS r, "
              "sum(written_bytes) AS w FROM tier_sample WHERE run_id = ?1 AND tier = {0} GROUP BY "
              "at_ns) SELECT at_ns, 100.0 * chunks / nullif((SELECT sum(capacity_chunks) FROM tier "
              "WHERE run_id = ?1 AND tier = {0}), 0), (r - lag(r, 1, 0) OVER (ORDER BY at_ns)) / "
              "1e9, (w - lag(w, 1, 0) OVER (ORDER BY at_ns)) / 1e9 FROM total ORDER BY at_ns",
              tier.tier),
          1);
      if (all.size() < 2) continue;
      use.series.push_back(level(name, all, 0, color, false));
      traffic.series.push_back(rate(name + " read", all, 0, color, false));
      traffic.series.push_back(rate(name + " written", all, 1, color, true));
      ++color;
    }
  }
  if (use.series.empty()) return;
  section.parts.emplace_back(std::move(use));
  section.parts.emplace_back(std::move(traffic));
}

constexpr int kMostLinks = 40;

Table link_table(const Source& source) {
  Table t{"links",
          "Links of the machine",
          fmt::format("One row a direction, the {} busiest of each run. Busy: share of the "
                      "simulated time with at least one transfer; used: bytes over what the link "
                      "could have carried; more than one transfer at once means that they queue.",
                      kMostLinks),
          {"run", "link", "bandwidth, GB/s", "bytes", "busy", "used", "transfers at once, mean",
           "transfers at once, most"},
          {}};
  for (const Run& run : source.runs()) {
    run.each(
        fmt::format(
            "SELECT substr(l.name, 1, 100), bandwidth_bytes_per_s, bytes, 1.0 * busy_ns / "
            "nullif(r.simulated_ns, 0), mean_flows, peak_flows, r.simulated_ns / 1e9 FROM link l "
            "JOIN run r USING (run_id) WHERE l.run_id = ?1 AND bytes > 0 ORDER BY busy_ns DESC, "
            "link LIMIT {}",
            kMostLinks),
        [&](const Statement& s) {
          // A drive's time is a link of bandwidth 1: its bytes are not bytes.
          const double bandwidth = s.real(1);
          const bool is_time = bandwidth <= 1;
          t.rows.push_back(
              {text_cell(run.label), text_cell(std::string(s.text(0))),
               is_time ? text_cell("–") : number_cell(bandwidth / 1e9, 1),
               is_time ? text_cell("–") : bytes_cell(s.real(2)), percent_cell(real_or_none(s, 3)),
               is_time ? text_cell("–") : percent_cell(s.real(2) / bandwidth / real_or_none(s, 6)),
               number_cell(s.real(4), 2), count_cell(s.real(5))});
        });
  }
  return t;
}

Table transfer_table(const Source& source) {
  Table t{"transfers",
          "Transfers of KV",
          "Of runs that record them (record.transfers: all). Tier 0 is the GPU.",
          {"run", "kind", "from tier", "to tier", "transfers", "bytes", "mean, ms", "longest, ms",
           "failed"},
          {}};
  for (const Run& run : source.runs())
    run.each(
        "SELECT kind, from_tier, to_tier, count(*), sum(1.0 * bytes), avg(end_ns - start_ns) / "
        "1e6, "
        "max(end_ns - start_ns) / 1e6, sum(failed) FROM transfer WHERE run_id = ?1 GROUP BY kind, "
        "from_tier, to_tier ORDER BY 5 DESC LIMIT 100",
        [&](const Statement& s) {
          t.rows.push_back({text_cell(run.label), text_cell(words(std::string(s.text(0)))),
                            count_cell(s.real(1)), count_cell(s.real(2)), count_cell(s.real(3)),
                            bytes_cell(s.real(4)), number_cell(s.real(5), 3),
                            number_cell(s.real(6), 3), count_cell(s.real(7))});
        });
  return t;
}

}  // namespace

std::optional<Section> tier_section(const Source& source) {
  Section section{"tiers", "Tiers and transfers", "", {}};
  if (Table t = tier_table(source); !t.rows.empty()) section.parts.emplace_back(std::move(t));
  tier_curves(source, section);
  if (Table t = link_table(source); !t.rows.empty()) section.parts.emplace_back(std::move(t));
  if (Table t = transfer_table(source); !t.rows.empty()) section.parts.emplace_back(std::move(t));
  return section.parts.empty() ? std::nullopt : std::optional(std::move(section));
}

}  // namespace kvsim::report
