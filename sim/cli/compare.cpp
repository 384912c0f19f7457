// kvsim compare: what changes when something changes
#include "sim/study/compare.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/compare_page.h"
#include "sim/cli/text_table.h"
#include "sim/study/compare_coverage.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  const auto sets = [] { return po::value<std::vector<std::string>>()->composing(); };
  o.add_options()("side", po::value<std::vector<std::string>>(),
                  "scenarios, or results as DB or DB:RUN (also without the option's name)")(
      "set", sets(), "PATH=VALUE on both sides; may be repeated")(
      "set-a", sets(), "PATH=VALUE on side A only")("set-b", sets(), "PATH=VALUE on side B only")(
      "by", po::value<std::string>()->default_value("ttft"),
      "latency of the verdict: ttft, tpot or e2e")(
      "seeds", po::value<std::size_t>()->default_value(CompareOptions{}.seeds),
      "of scenarios; 1 = one run, intervals from blocks of its requests")(
      "first-seed", po::value<std::uint64_t>(), "default: the seed of A's scenario")(
      "confidence", po::value<double>()->default_value(95), "of the intervals, in percent")(
      "unpaired", "the sides are two samples with seeds of their own, not the same requests")(
      "top", po::value<std::size_t>()->default_value(CompareOptions{}.top),
      "requests that changed most, either way")(
      "coverage", po::value<std::size_t>(),
      "repeat the comparison so often with new seeds, and count the intervals that hold the truth")(
      "truth-seeds", po::value<std::size_t>()->default_value(CoverageOptions{}.truth_seeds),
      "of --coverage: runs that the truth is the mean of")(
      "threads", po::value<int>()->default_value(0),
      "0 = all cores; the result does not depend on it")("json", "print as JSON")(
      "csv", "print the paired requests of the first seed as CSV");
  p.add("side", 2);
}

Latency latency_named(const std::string& text) {
  std::vector<std::string> names;
  for (const auto& [latency, name] : enum_names(Latency{})) {
    names.emplace_back(name);
    if (text == name) return latency;
  }
  throw InputError(fmt::format("--by: unknown latency '{}'", text), name_hint(text, names));
}

CompareOptions options_of(const po::variables_map& v) {
  CompareOptions options;
  options.by = latency_named(v["by"].as<std::string>());
  options.seeds = v["seeds"].as<std::size_t>();
  if (options.seeds > 100'000) throw InputError("--seeds: expected at most 100000");
  if (v.count("first-seed") > 0) options.first_seed = v["first-seed"].as<std::uint64_t>();
  options.confidence = v["confidence"].as<double>() / 100;
  options.is_paired = v.count("unpaired") == 0;
  options.top = v["top"].as<std::size_t>();
  options.threads = v["threads"].as<int>();
  if (options.threads < 0 || options.threads > 256)
    throw InputError("--threads: expected 0 to 256");
  if (options.threads == 0)
    options.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  return options;
}

std::pair<CompareSide, CompareSide> sides_of(const po::variables_map& v) {
  const auto sources = list_option(v, "side");
  const auto sets_a = list_option(v, "set-a"), sets_b = list_option(v, "set-b");
  if (sources.empty())
    throw InputError("kvsim compare: nothing to compare", "kvsim compare --help shows examples");
  if (sources.size() == 1 && sets_a.empty() && sets_b.empty())
    throw InputError("kvsim compare: one file needs a change on a side",
                     "add --set-b PATH=VALUE, or a second file");
  CompareSide a{sources[0], list_option(v, "set")}, b{sources.back(), list_option(v, "set")};
  a.sets.insert(a.sets.end(), sets_a.begin(), sets_a.end());
  b.sets.insert(b.sets.end(), sets_b.begin(), sets_b.end());
  return {a, b};
}

int run_coverage(const CompareSide& a, const CompareSide& b, const CompareOptions& options,
                 const po::variables_map& v) {
  CoverageOptions coverage;
  coverage.repetitions = v["coverage"].as<std::size_t>();
  coverage.truth_seeds = v["truth-seeds"].as<std::size_t>();
  const CoverageResult r = measure_coverage(a, b, options, coverage);
  TextTable table({"", ">truth, B - A", ">mean width of interval", ">holds the truth", ">clear"});
  for (const CoverageRow& row : r.rows)
    table.row(
        {fmt::format("{} {}, {}", row.name, row.statistic, row.unit),
         fmt::format("{:.4g}", row.truth), fmt::format("{:.4g}", row.mean_width),
         fmt::format("{} of {} ({:.1f} %)", row.held, r.repetitions,
                     100 * static_cast<double>(row.held) / static_cast<double>(r.repetitions)),
         fmt::format("{}", row.clear)});
  fmt::print(
      "{}truth: mean of {} other seeds; a level of {:g} % gives {} to {} of {} in 95 % of "
      "cases\n",
      table.text(), r.truth_seeds, options.confidence * 100, r.expected_low, r.expected_high,
      r.repetitions);
  return 0;
}

int run(const po::variables_map& v) {
  if (v.count("csv") > 0 && v.count("json") > 0)
    throw InputError("kvsim compare: --csv and --json exclude each other");
  const auto [a, b] = sides_of(v);
  const CompareOptions options = options_of(v);
  if (v.count("coverage") > 0) return run_coverage(a, b, options, v);
  if (v.count("csv") > 0) {
    fmt::print("{}", paired_csv(load_first_pair(a, b, options)));
    return 0;
  }
  CompareOptions shown = options;
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  if (is_terminal)
    shown.progress = [](std::size_t done, std::size_t total) {
      fmt::print(stderr, "\r{} of {} pairs of runs", done, total);
    };
  const CompareResult result = compare_sides(a, b, shown);
  if (is_terminal) fmt::print(stderr, "\r\033[K");
  fmt::print("{}", v.count("json") > 0 ? compare_json(result) : compare_text(result));
  return 0;
}

}  // namespace

extern const Command kCompareCommand{
    "compare",
    "paired what-if: differences with confidence intervals, and where they come from",
    "A [B]",
    "  kvsim compare scenarios/tight-memory.yaml --set-b engine.kv_blocks=1600\n"
    "  kvsim compare a.yaml b.yaml --seeds 30 --by e2e      two scenarios, the same requests\n"
    "  kvsim compare out/a.db out/b.db:2                    recorded runs\n"
    "  kvsim compare F --set-b engine.block_tokens=64 --csv > paired.csv\n"
    "  kvsim compare F --set-b engine.block_tokens=64 --coverage 200    are the intervals right?",
    declare,
    run};

}  // namespace kvsim
