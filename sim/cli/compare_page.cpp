#include "sim/cli/compare_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/tree.h"
#include "sim/cli/text_table.h"

namespace kvsim {
namespace {

constexpr std::size_t kMostParams = 20;
constexpr double kFewStretches = 20;

// Four digits, as many decimals as they need.
std::string number(double v, bool with_sign = false) {
  const double size = std::abs(v);
  const int decimals = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 || size == 0 ? 2 : 4;
  const std::string text = fmt::format("{:.{}f}", v, decimals);
  return with_sign && v > 0 ? "+" + text : text;
}

// With its sign, fewer decimals for what is more than doubled.
std::string percent(double share) {
  return fmt::format("{:+.{}f}", share * 100,
                     std::abs(share) < 1    ? 2
                     : std::abs(share) < 10 ? 1
                                            : 0);
}

double scale_of(const CompareRow& r) { return r.unit == "ratio" ? 100 : 1; }

std::string label_of(const CompareRow& r) {
  static const std::pair<const char*, const char*> kLabels[] = {
      {"ttft_ms", "TTFT"}, {"tpot_ms", "TPOT"}, {"e2el_ms", "E2E latency"}};
  if (r.name == "output_throughput") return "output tokens/s";
  std::string text = r.name;
  for (const auto& [name, label] : kLabels)
    if (r.name == name) text = fmt::format("{} {}", label, r.statistic);
  if (r.name.ends_with("_per_million_tokens")) return r.unit + " per million tokens";
  return fmt::format("{}, {}", text, r.unit == "ratio" ? "%" : r.unit);
}

std::vector<std::string> cells(const std::string& label, const CompareRow& r) {
  const double scale = scale_of(r);
  std::vector<std::string> out{label, number(r.a * scale), number(r.b * scale),
                               number((r.b - r.a) * scale, true)};
  out.push_back(r.difference ? fmt::format("{} .. {}", number(r.difference->low * scale, true),
                                           number(r.difference->high * scale, true))
                             : "-");
  out.push_back(r.a > 0 ? percent(r.b / r.a - 1) + " %" : "-");
  if (r.relative)
    out.back() += fmt::format(" ({} .. {})", percent(r.relative->low), percent(r.relative->high));
  return out;
}

std::string seeds_text(const std::vector<std::uint64_t>& seeds) {
  return seeds.size() == 1 ? fmt::format("seed {}", seeds.front())
                           : fmt::format("seeds {} to {}", seeds.front(), seeds.back());
}

std::string method_text(const CompareResult& r) {
  const std::string same = r.options.is_paired ? ", the same requests on both sides" : "";
  const std::string closed =
      r.is_closed_loop ? " (paired by session and turn, for later turns follow answers)" : "";
  if (r.method == CompareMethod::seeds)
    return (r.options.is_paired
                ? seeds_text(r.seeds_a)
                : fmt::format("{} in A, {} in B", seeds_text(r.seeds_a), seeds_text(r.seeds_b))) +
           same + closed + "; intervals over seeds";
  if (r.method == CompareMethod::same) return "both sides came out the same";
  std::string text = r.seeds_change_nothing ? "one run a side, for the seed changes nothing here"
                                            : std::string("one run a side");
  text += same;
  text += closed;
  text += fmt::format(
      "; intervals from blocks of {:.0f} requests on average, {:.0f} stretches that know little of "
      "each other",
      r.block_requests, std::floor(r.stretches));
  text += "; they speak for more requests of this workload, not for another draw of it";
  if (r.stretches < kFewStretches)
    text +=
        "; so few that the intervals may be too narrow: compare longer runs, or scenarios over "
        "seeds";
  return text;
}

// "engine.graph_sizes" of engine.graph_sizes.17, "" of what is no element of a list of values.
std::string list_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  const bool is_element = dot != std::string::npos && dot + 1 < path.size() &&
                          path.find_first_not_of("0123456789", dot + 1) == std::string::npos;
  return is_element ? path.substr(0, dot) : "";
}

void add_params(std::string& out, const CompareResult& r) {
  if (r.params.empty()) {
    out += "\nno parameter differs\n";
    return;
  }
  TextTable table({"parameter", "A", "B"});
  const auto counted = [](std::size_t n) {
    return n == 0 ? std::string("-") : fmt::format("({} values)", n);
  };
  std::size_t rows = 0, shown = 0;
  for (std::size_t i = 0; i < r.params.size() && rows < kMostParams; ++rows) {
    const std::string list = list_of(r.params[i].path);
    std::size_t end = i + 1, in_a = 0, in_b = 0;
    while (!list.empty() && end < r.params.size() && list_of(r.params[end].path) == list) ++end;
    for (std::size_t k = i; k < end; ++k)
      in_a += !r.params[k].a.empty(), in_b += !r.params[k].b.empty();
    const auto shown_value = [](const std::string& v) { return v.empty() ? "-" : v; };
    if (end - i > 1)
      table.row({list, counted(in_a), counted(in_b)});
    else
      table.row({r.params[i].path, shown_value(r.params[i].a), shown_value(r.params[i].b)});
    shown += end - i;
    i = end;
  }
  out += "\n" + table.text();
  if (shown < r.params.size())
    out += fmt::format("and {} more (--json has all)\n", r.params.size() - shown);
}

std::vector<std::string> heading(const CompareResult& r, const std::string& first) {
  const std::string interval = fmt::format(">{:g} % CI", r.options.confidence * 100);
  return {first, ">A", ">B", ">B - A", interval, ">relative"};
}

void add_parts(std::string& out, const CompareResult& r) {
  const CompareRow& whole = headline(r);
  TextTable parts(heading(r, fmt::format("where mean {} goes, ms", latency_text(r.options.by))));
  for (const CompareRow& p : r.parts) parts.row(cells("  " + p.name, p));
  parts.row(cells("  sum", whole));
  out += "\n" + parts.text();
  TextTable tokens(heading(r, "prompt tokens a request"));
  for (const CompareRow& p : r.tokens) tokens.row(cells("  " + p.name, p));
  if (!tokens.empty()) out += "\n" + tokens.text();
}

void add_changes(std::string& out, const CompareResult& r) {
  for (const auto& [title, list] :
       {std::pair{"gained most", &r.changes.gained_most}, {"lost most", &r.changes.lost_most}}) {
    if (list->empty()) continue;
    TextTable table({title, ">prompt", ">A, ms", ">B, ms", ">B - A", "mostly", "prompt tokens"});
    for (const RequestChange& c : *list)
      table.row(
          {fmt::format("  request {}", c.index), fmt::format("{}", c.prompt_tokens), number(c.a_ms),
           number(c.b_ms), number(c.b_ms - c.a_ms, true),
           fmt::format("{} {} ms", c.interval.name, number(c.interval.value, true)),
           c.tokens.value != 0 ? fmt::format("{} {:+.0f}", c.tokens.name, c.tokens.value) : "-"});
    out += "\n" + table.text();
  }
}

std::string json_estimate(const std::optional<Estimate>& e) {
  return e ? fmt::format("{{\"value\": {}, \"low\": {}, \"high\": {}}}", e->value, e->low, e->high)
           : "null";
}

std::string json_rows(const std::vector<CompareRow>& rows) {
  std::string out = "[";
  for (const CompareRow& r : rows)
    out += fmt::format(
        "{}\n    {{\"name\": {}, \"statistic\": {}, \"unit\": {}, \"a\": {}, \"b\": {}, "
        "\"difference\": {}, \"relative\": {}}}",
        out.size() > 1 ? "," : "", json_string(r.name), json_string(r.statistic),
        json_string(r.unit), r.a, r.b, json_estimate(r.difference), json_estimate(r.relative));
  return out + "]";
}

std::string json_changes(const std::vector<RequestChange>& all) {
  std::string out = "[";
  for (const RequestChange& c : all)
    out += fmt::format(
        "{}\n    {{\"request\": {}, \"prompt_tokens\": {}, \"a_ms\": {}, \"b_ms\": {}, "
        "\"interval\": {}, \"interval_ms\": {}, \"fate\": {}, \"fate_tokens\": {}}}",
        out.size() > 1 ? "," : "", c.index, c.prompt_tokens, c.a_ms, c.b_ms,
        json_string(c.interval.name), c.interval.value, json_string(c.tokens.name), c.tokens.value);
  return out + "]";
}

}  // namespace

std::string compare_text(const CompareResult& r) {
  std::string out = fmt::format("A  {}\nB  {}\n", r.label_a, r.label_b);
  out += wrapped(method_text(r)) + "\n";
  add_params(out, r);
  if (r.method != CompareMethod::same) {
    TextTable table(heading(r, ""));
    for (const CompareRow& row : r.rows) table.row(cells(label_of(row), row));
    out += "\n" + table.text();
    add_parts(out, r);
    add_changes(out, r);
  }
  return out + "\n" + wrapped(verdict(r)) + "\n";
}

std::string compare_json(const CompareResult& r) {
  constexpr const char* kMethods[] = {"same", "seeds", "blocks"};
  std::string params;
  for (const ParamChange& p : r.params)
    params +=
        fmt::format("{}\n    {{\"path\": {}, \"a\": {}, \"b\": {}}}", params.empty() ? "" : ",",
                    json_string(p.path), json_string(p.a), json_string(p.b));
  std::string out = fmt::format(
      "{{\"a\": {}, \"b\": {}, \"method\": \"{}\", \"paired\": {}, \"confidence\": {}, \"by\": "
      "\"{}\",\n  \"seeds\": {}, \"block_requests\": {}, \"stretches\": {}, \"requests_a\": {}, "
      "\"requests_b\": {},\n  \"finished_both\": {}, \"finished_only_a\": {}, \"finished_only_b\": "
      "{},\n  \"params\": [{}],\n",
      json_string(r.label_a), json_string(r.label_b), kMethods[static_cast<std::size_t>(r.method)],
      r.options.is_paired, r.options.confidence, latency_metric(r.options.by), r.seeds_a.size(),
      r.block_requests, r.stretches, r.requests_a, r.requests_b, r.finished_both, r.only_a,
      r.only_b, params);
  out += fmt::format("  \"rows\": {},\n  \"parts\": {},\n  \"prompt_tokens\": {},\n",
                     json_rows(r.rows), json_rows(r.parts), json_rows(r.tokens));
  out += fmt::format(
      "  \"gained\": {}, \"lost\": {}, \"same\": {},\n  \"gained_most\": {},\n  \"lost_most\": "
      "{},\n  \"verdict\": {}}}\n",
      r.changes.gained, r.changes.lost, r.changes.same, json_changes(r.changes.gained_most),
      json_changes(r.changes.lost_most), json_string(verdict(r)));
  return out;
}

std::string paired_csv(const ComparedRuns& runs) {
  const Pairing pairing = pair_requests(runs.a, runs.b);
  std::string out = "request,session,turn,arrival_s,prompt_tokens,outcome_a,outcome_b";
  for (const auto& [latency, name] : enum_names(Latency{}))
    out += fmt::format(",{0}_a,{0}_b,{0}_difference", latency_metric(latency));
  out += ",hit_tokens_a,hit_tokens_b";
  for (const auto& [kind, name] : enum_names(Interval{}))
    out += fmt::format(",ttft_{}_difference_ns", name);
  for (const auto& [cause, name] : enum_names(MissCause{}))
    out += fmt::format(",miss_{}_difference_tokens", name);
  out += "\n";
  const auto outcome = [](const RequestOutcome& r) {
    return enum_names(Outcome{})[static_cast<std::size_t>(r.outcome)].second;
  };
  for (const auto& [a, b] : pairing.pairs) {
    out +=
        fmt::format("{},{},{},{:.9f},{},{},{}", a->index, a->session, a->turn,
                    to_seconds(a->arrival - kTimeZero), a->prompt_tokens, outcome(*a), outcome(*b));
    for (const auto& [latency, name] : enum_names(Latency{})) {
      const auto x = latency_ms(*a, latency), y = latency_ms(*b, latency);
      out += "," + (x ? fmt::format("{}", *x) : "") + "," + (y ? fmt::format("{}", *y) : "") + "," +
             (x && y ? fmt::format("{}", *y - *x) : "");
    }
    out += fmt::format(",{},{}", a->hit_tokens, b->hit_tokens);
    for (std::size_t k = 0; k < kIntervals; ++k)
      out += fmt::format(",{}", b->ttft_ns[k] - a->ttft_ns[k]);
    for (std::size_t k = 0; k < kMissCauses; ++k)
      out += fmt::format(",{}", b->miss_tokens[k] - a->miss_tokens[k]);
    out += "\n";
  }
  return out;
}

}  // namespace kvsim
