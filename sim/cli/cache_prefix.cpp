#include "sim/cli/cache_prefix.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/cli/text_table.h"
#include "sim/record/render.h"

namespace kvsim {

std::vector<PrefixRow> replay_prefixes(const BlockStream& stream,
                                       const PrefixReplayOptions& options, std::uint64_t seed,
                                       const std::vector<PrefixPolicy>& policies,
                                       const std::vector<std::int64_t>& capacities) {
  std::vector<PrefixRow> rows;
  PrefixReplay replay(stream, options, seed);
  const PrefixHits ceiling = prefix_ceiling(stream);
  for (const std::int64_t c : capacities) {
    const PrefixHits best = prefix_optimum(stream, c);
    rows.push_back({"optimum", c, classify_misses(stream, best, best, ceiling)});
    for (const PrefixPolicy& p : policies) {
      replay.start(p.name, p.params, c);
      rows.push_back({p.label, c, classify_misses(stream, replay.run(), best, ceiling)});
    }
  }
  return rows;
}

namespace {

double hit_ratio(const MissClasses& m) {
  return m.accesses() == 0 ? 0 : static_cast<double>(m.hits) / static_cast<double>(m.accesses());
}

}  // namespace

std::string prefix_rows_text(const std::vector<PrefixRow>& rows) {
  // Misses by whose fault they are; see MissClasses.
  TextTable t({"policy", ">capacity", ">hits", ">hit ratio", ">of possible", ">by policy",
               ">by capacity", ">compulsory"});
  for (const PrefixRow& r : rows)
    t.row({r.policy, grouped(static_cast<std::uint64_t>(r.capacity)), grouped(r.classes.hits),
           fmt::format("{:.6f}", hit_ratio(r.classes)),
           fmt::format("{:.1f} %", 100 * r.classes.attained()), grouped(r.classes.policy),
           grouped(r.classes.capacity), grouped(r.classes.compulsory)});
  return t.text();
}

std::string prefix_rows_csv(const std::vector<PrefixRow>& rows) {
  std::string out =
      "policy,capacity,accesses,hits,hit_ratio,of_possible,policy_misses,capacity_misses,"
      "compulsory_misses,hits_beyond_optimum\n";
  for (const PrefixRow& r : rows)
    out += fmt::format("\"{}\",{},{},{},{},{},{},{},{},{}\n", r.policy, r.capacity,
                       r.classes.accesses(), r.classes.hits, hit_ratio(r.classes),
                       r.classes.attained(), r.classes.policy, r.classes.capacity,
                       r.classes.compulsory, r.classes.beyond);
  return out;
}

std::string prefix_rows_json(const std::vector<PrefixRow>& rows) {
  std::string out;
  for (const PrefixRow& r : rows)
    out += fmt::format(
        "{}\n {{\"policy\": {}, \"capacity\": {}, \"accesses\": {}, \"hits\": {}, \"hit_ratio\": "
        "{}, \"of_possible\": {}, \"policy_misses\": {}, \"capacity_misses\": {}, "
        "\"compulsory_misses\": {}, \"hits_beyond_optimum\": {}}}",
        &r == rows.data() ? "" : ",", json_string(r.policy), r.capacity, r.classes.accesses(),
        r.classes.hits, hit_ratio(r.classes), r.classes.attained(), r.classes.policy,
        r.classes.capacity, r.classes.compulsory, r.classes.beyond);
  return out;
}

std::string prefix_rows_markdown(const std::vector<PrefixRow>& rows) {
  std::vector<std::string> columns{"policy"}, policies;
  for (const PrefixRow& r : rows) {
    const std::string capacity = ">" + grouped(static_cast<std::uint64_t>(r.capacity));
    if (std::find(columns.begin(), columns.end(), capacity) == columns.end())
      columns.push_back(capacity);
    if (std::find(policies.begin(), policies.end(), r.policy) == policies.end())
      policies.push_back(r.policy);
  }
  MarkdownTable t(std::move(columns));
  for (const std::string& p : policies) {
    std::vector<std::string> cells{p};
    for (const PrefixRow& r : rows)
      if (r.policy == p) cells.push_back(fmt::format("{:.2f}", 100 * hit_ratio(r.classes)));
    t.row(std::move(cells));
  }
  return t.text();
}

}  // namespace kvsim
