#include "sim/cli/trace_mrc.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "sim/base/diagnostics.h"
#include "sim/cache/oracle_general.h"
#include "sim/cli/text_table.h"
#include "traces/trace_tools.h"

namespace kvsim {

void declare_mrc(po::options_description& o) {
  o.add_options()("points", po::value<int>(),
                  "mrc: capacities, evenly spread over their logarithm (default 25)")(
      "capacity", po::value<std::string>(), "mrc: these capacities instead, such as 100,2000")(
      "sampled", po::value<double>(),
      "mrc: estimate from this share of the blocks, such as 0.01 (SHARDS)")(
      "samples", po::value<std::int64_t>(),
      "mrc: estimate from at most so many blocks, such as 8192 (SHARDS of fixed size)")(
      "csv", "mrc: print as CSV");
}

namespace {

std::vector<std::uint64_t> capacities_of(const std::string& list) {
  std::vector<std::uint64_t> all;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    std::uint64_t c = 0;
    const auto [stop, error] = std::from_chars(list.data() + at, list.data() + end, c);
    if (error != std::errc{} || stop != list.data() + end)
      throw InputError(
          "kvsim trace: --capacity: '" + list.substr(at, end - at) + "' is no number of blocks",
          "such as --capacity 100,2000");
    all.push_back(c);
    at = end + 1;
  }
  return all;
}

// Capacities whose logarithms are evenly spread, ends included.
std::vector<std::uint64_t> spread_capacities(std::uint64_t most, int points) {
  std::vector<std::uint64_t> all;
  for (int k = 0; k < points; ++k) {
    const double x = points == 1 ? 1 : static_cast<double>(k) / (points - 1);
    const auto c = static_cast<std::uint64_t>(std::llround(std::pow(static_cast<double>(most), x)));
    if (all.empty() || c > all.back()) all.push_back(c);
  }
  return all;
}

}  // namespace

MrcOptions mrc_options(const po::variables_map& v) {
  const auto refuse = [](const std::string& what, std::string hint = {}) {
    throw InputError("kvsim trace: " + what, std::move(hint));
  };
  MrcOptions o;
  o.points = option_or(v, "points", o.points);
  if (o.points <= 0) refuse("--points must be above 0");
  if (o.points > 100'000) refuse("--points must be at most 100000");
  if (v.count("capacity") > 0) o.capacities = capacities_of(v["capacity"].as<std::string>());
  o.sampling.rate = option_or(v, "sampled", 1.0);
  if (!(o.sampling.rate > 0 && o.sampling.rate <= 1))
    refuse("--sampled must be above 0 and at most 1");
  const auto most = option_or<std::int64_t>(v, "samples", 0);
  if (v.count("samples") > 0 && most < 2)
    refuse("--samples must be at least 2", "8192 gives errors of about 1 %");
  o.sampling.most = static_cast<std::size_t>(most);
  if (v.count("csv") > 0 && v.count("json") > 0) refuse("--csv and --json exclude each other");
  if (v.count("csv") > 0) o.form = MrcOptions::Form::csv;
  if (v.count("json") > 0) o.form = MrcOptions::Form::json;
  return o;
}

void read_prompt_segments(TraceSource& source, LruCurve& lru) {
  for_each_request(source, std::chrono::seconds(1), [&](const Request& r) {
    std::int64_t left = r.prompt_tokens;
    for (const Segment& s : r.segments) {
      if (left <= 0) return;
      lru.access(s.key);
      left -= s.tokens;
    }
  });
}

void read_oracle_general(const std::string& path, std::int64_t limit, LruCurve& lru) {
  OracleGeneralReader reader(path);
  OracleGeneralReader::Record record;
  for (std::int64_t n = 0; (limit == 0 || n < limit) && reader.next(record); ++n)
    lru.access(record.object);
}

std::string mrc_text(const MissRatioCurve& curve, const MrcOptions& options) {
  const std::vector<std::uint64_t> at =
      options.capacities.empty()
          ? spread_capacities(std::max<std::uint64_t>(1, curve.distinct), options.points)
          : options.capacities;
  std::string out;
  if (options.form == MrcOptions::Form::csv) {
    out = "capacity_segments,miss_ratio\n";
    for (const auto c : at) out += fmt::format("{},{}\n", c, curve.miss_ratio(c));
    return out;
  }
  if (options.form == MrcOptions::Form::json) {
    out = fmt::format(
        "{{\"policy\": \"lru\", \"accesses\": {}, \"distinct\": {}, \"exact\": {}, "
        "\"sampled\": {}, \"points\": [",
        curve.accesses, curve.distinct, curve.exact, curve.rate);
    for (std::size_t k = 0; k < at.size(); ++k)
      out += fmt::format("{}\n {{\"capacity\": {}, \"miss_ratio\": {}}}", k == 0 ? "" : ",", at[k],
                         curve.miss_ratio(at[k]));
    return out + "\n]}\n";
  }
  TextTable t({">capacity", ">miss ratio", ""});
  for (const auto c : at)
    t.row({grouped(c), fmt::format("{:.4f}", curve.miss_ratio(c)),
           std::string(static_cast<std::size_t>(curve.miss_ratio(c) * 60 + 0.5), '#')});
  out = fmt::format("LRU over the segments of prompts, {} accesses; capacity in segments\n",
                    grouped(curve.accesses));
  if (!curve.exact)
    out += fmt::format("estimated from {:.3g} % of the segments, about {} distinct in all\n",
                       100 * curve.rate, grouped(curve.distinct));
  return out + t.text();
}

}  // namespace kvsim
