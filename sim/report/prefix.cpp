// Where prompt tokens came from: hits of each tier, and why the others were computed.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

// What a prompt token can be, in the order of the bars.
struct Origins {
  std::vector<std::string> names;                 // "hit: gpu", "hit: cpu", ..., "evicted capacity"
  std::vector<std::map<std::string, double>> of;  // tokens, one map a run
  void add(std::size_t run, const std::string& name, double tokens) {
    if (!(tokens > 0)) return;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    of[run][name] += tokens;
  }
};

Origins origins(const Source& source) {
  Origins all;
  all.of.resize(source.runs().size());
  const auto for_runs = [&](const auto& work) {
    for (std::size_t i = 0; i < source.runs().size(); ++i) work(i, source.runs()[i]);
  };
  for_runs([&](std::size_t i, const Run& run) {
    all.add(i, "hit: gpu", run.number("SELECT sum(hit_tokens) FROM request WHERE run_id = ?1"));
  });
  for_runs([&](std::size_t i, const Run& run) {
    run.each(
        "SELECT (SELECT substr(min(name), 1, 60) FROM tier t WHERE t.run_id = ?1 AND t.tier = "
        "h.tier), sum(tokens) FROM tier_hit h WHERE run_id = ?1 GROUP BY tier ORDER BY tier LIMIT "
        "16",
        [&](const Statement& s) {
          all.add(i, "hit: " + std::string(s.text(0)), real_or_none(s, 1));
        });
  });
  for_runs([&](std::size_t i, const Run& run) {
    std::vector<std::string> causes;
    std::string sums = "0";
    for (const std::string& column : run.file->columns("request"))
      if (column.starts_with("miss_") && column.ends_with("_tokens")) {
        causes.push_back(words(column.substr(5, column.size() - 12)));
        sums += fmt::format(", sum({})", quoted_name(column));
      }
    run.each(fmt::format("SELECT {} FROM request WHERE run_id = ?1", sums),
             [&](const Statement& s) {
               for (std::size_t k = 0; k < causes.size(); ++k)
                 all.add(i, causes[k], real_or_none(s, static_cast<int>(k) + 1));
             });
  });
  return all;
}

double total(const std::map<std::string, double>& tokens) {
  double sum = 0;
  for (const auto& [name, n] : tokens) sum += n;
  return sum;
}

double tokens_of(const std::map<std::string, double>& tokens, const std::string& name) {
  const auto at = tokens.find(name);
  return at == tokens.end() ? 0 : at->second;
}

}  // namespace

std::optional<Section> prefix_section(const Source& source) {
  const Origins all = origins(source);
  if (all.names.empty()) return std::nullopt;
  Chart c;
  c.id = "prompt-tokens";
  c.title = "Where prompt tokens came from";
  c.text = "Share of the prompt tokens looked up at first admissions.";
  c.kind = Chart::Kind::bars;
  c.is_stacked = true;
  c.x = {"prompt tokens, %", false, 0, 100, {}};
  c.y.title = "run";
  Table t{"misses",
          "Hits and causes of misses",
          "Tokens; share of the run's in brackets.",
          {"run"},
          {}};
  for (const std::string& name : all.names) {
    t.columns.push_back(name);
    c.series.push_back({name, {}, {}, {}, {}, c.series.size(), false});
  }
  for (std::size_t i = 0; i < source.runs().size(); ++i) {
    const double sum = total(all.of[i]);
    if (!(sum > 0)) continue;
    c.y.categories.push_back(source.runs()[i].label);
    std::vector<Cell>& row = t.rows.emplace_back();
    row.push_back(text_cell(source.runs()[i].label));
    for (std::size_t k = 0; k < all.names.size(); ++k) {
      const double tokens = tokens_of(all.of[i], all.names[k]);
      c.series[k].y.push_back(100 * tokens / sum);
      row.push_back(
          {fmt::format("{} ({})", count_cell(tokens).text, percent_cell(tokens / sum).text),
           tokens});
    }
  }
  return Section{
      "prefix",
      "Prefix cache: hits and misses",
      "Never seen: no request had brought this content before. Other instance: seen, but not here. "
      "Evicted capacity: it was cached here and its block was reused. Last block: the block of a "
      "prompt's last token is always computed. Not yet computed: another request is at it. Lost "
      "fault: lost with an instance, disk or node. Not worth loading: a tier has it, computing was "
      "thought better. Disabled: prefix caching is off.",
      {std::move(c), std::move(t)}};
}

}  // namespace kvsim::report
