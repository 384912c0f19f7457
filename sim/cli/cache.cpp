// kvsim cache: block accesses of a trace through eviction policies, without timing
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>

#include "policies/eviction/eviction.h"
#include "sim/base/diagnostics.h"
#include "sim/cache/oracle_general.h"
#include "sim/cache/replay.h"
#include "sim/cli/cache_database.h"
#include "sim/cli/cache_prefix.h"
#include "sim/cli/command.h"
#include "sim/cli/describe.h"
#include "sim/cli/text_table.h"
#include "sim/cli/trace_guess.h"
#include "sim/record/render.h"
#include "sim/run/build.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace {

using PolicyChoice = Choice<"eviction", "policy">;

// What a file says; options are put into the same shape, so that one rule reads both.
struct CacheStudy {
  std::int64_t kvsim = 1;
  Tree trace = Tree::map();
  std::vector<PolicyChoice> policies;
  std::vector<std::string> capacities;
  std::int64_t block_tokens = 0;
  std::int64_t limit = 0;
  std::uint64_t seed = 0;
  bool prefix = false, tail_first = false;
  std::int64_t queue = 0;
  static constexpr Rows kFields{
      field("kvsim", &CacheStudy::kvsim, between(std::int64_t{1}, std::int64_t{1}),
            "version of the file format"),
      field("trace", &CacheStudy::trace, any, "file, format and its parameters, as in a scenario"),
      field("policies", &CacheStudy::policies, any, "names, or mappings with parameters"),
      field("capacities", &CacheStudy::capacities, any,
            "blocks, or a share of the distinct blocks such as 10%"),
      field("block_tokens", &CacheStudy::block_tokens,
            between(std::int64_t{0}, std::int64_t{1} << 20),
            "tokens of a block; 0 takes the trace's own"),
      field("limit", &CacheStudy::limit, between(std::int64_t{0}, std::int64_t{1} << 40),
            "requests to read; 0 reads all"),
      field("seed", &CacheStudy::seed, any, "of policies that draw"),
      field("prefix", &CacheStudy::prefix, any,
            "a request hits its leading run of blocks only; the optimum stands beside"),
      field("tail_first", &CacheStudy::tail_first, any,
            "prefix: blocks of a request are touched from the last to the first"),
      field("queue", &CacheStudy::queue, between(std::int64_t{0}, std::int64_t{1} << 20),
            "prefix: requests that wait when one is served (for look-ahead)")};
};

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("file", po::value<std::string>(),
                  "YAML with the keys kvsim: 1, trace: {file, format}, policies, capacities, "
                  "block_tokens, limit, seed (also without the option's name)")(
      "trace", po::value<std::string>(), "the trace, instead of a file with all of it")(
      "format", po::value<std::string>(),
      "format of the trace (default: seen from its first line)")(
      "policy", po::value<std::vector<std::string>>()->composing(),
      "NAME[:KEY=VALUE,...][,NAME...]: kvsim list eviction shows names and parameters; all takes "
      "every policy")("capacity", po::value<std::vector<std::string>>()->composing(),
                      "BLOCKS[,BLOCKS...], or a share of the distinct blocks such as 10%")(
      "block", po::value<std::int64_t>(), "tokens of a block (default: the trace's own blocks)")(
      "limit", po::value<std::int64_t>(), "stop after this many requests")(
      "seed", po::value<std::uint64_t>(), "of policies that draw (default 0)")(
      "set", po::value<std::vector<std::string>>()->composing(),
      "KEY=VALUE sets a parameter of the trace's format, such as zero_lengths=one")(
      "lenient", "skip and count broken records")(
      "prefix", "hits are leading runs; shows the optimum and the causes of misses")(
      "tail-first", "with --prefix: blocks are touched from the last to the first")(
      "queue", po::value<std::int64_t>(),
      "with --prefix: requests that wait when one is served, known to look-ahead")(
      "output,o", po::value<std::string>(),
      "also write the counts into a database, for kvsim report and kvsim query")(
      "csv", "print as CSV")("json", "print as JSON")(
      "markdown", "with --prefix: print as a table of policies and capacities");
  p.add("file", 1);
}

Place option_place(const char* option) {
  return {std::make_shared<const std::string>(option), 0, 0};
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t end = std::min(text.find(at, from), text.size());
    parts.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return parts;
}

// "lru,s3-fifo:threshold=1,small=5 %,arc": a part with '=' and without ':' goes on with the policy
// before it.
Tree policies_of(const std::vector<std::string>& given) {
  const Place place = option_place("--policy");
  Tree all = Tree::list(place);
  for (const std::string& text : given) {
    for (const std::string& part : split(text, ',')) {
      const std::size_t colon = part.find(':');
      const std::size_t equals = part.find('=');
      const bool goes_on = equals != std::string::npos && colon == std::string::npos;
      if (!goes_on && part == "all") {
        for (const std::string& name : Registry::instance().names(EvictionPolicy::kKind))
          all.push(Tree::scalar(name, place));
        continue;
      }
      if (!goes_on || all.items().empty()) {
        Tree policy = Tree::map(place);
        policy.set("policy", Tree::scalar(part.substr(0, colon), place), place);
        all.push(std::move(policy));
        if (colon == std::string::npos) continue;
      }
      const std::string parameter = goes_on ? part : part.substr(colon + 1);
      const std::size_t at = parameter.find('=');
      Tree& policy = all.items().back();
      policy.set(parameter.substr(0, at),
                 Tree::scalar(at == std::string::npos ? "" : parameter.substr(at + 1), place),
                 place);
    }
  }
  return all;
}

// Options over what the file says.
Tree study_tree(const po::variables_map& v, Diagnostics& d) {
  Tree t = Tree::map();
  if (v.count("file") > 0) t = load_yaml(v["file"].as<std::string>(), d);
  if (!t.is_map()) return t;
  Tree trace = Tree::map();
  if (v.count("trace") > 0) {
    std::filesystem::path path = v["trace"].as<std::string>();
    if (v.count("file") > 0) path = std::filesystem::absolute(path);  // else from the file's folder
    trace.set("file", Tree::scalar(path.string(), option_place("--trace"), true));
  }
  if (v.count("format") > 0)
    trace.set("format", Tree::scalar(v["format"].as<std::string>(), option_place("--format")));
  if (v.count("lenient") > 0) trace.set("lenient", Tree::scalar("true"));
  if (!trace.entries().empty())
    t.set("trace",
          Tree::merged(t.find("trace") != nullptr ? *t.find("trace") : Tree::map(), trace));
  if (v.count("policy") > 0) t.set("policies", policies_of(list_option(v, "policy")));
  if (v.count("capacity") > 0) {
    Tree all = Tree::list(option_place("--capacity"));
    for (const std::string& text : list_option(v, "capacity"))
      for (const std::string& part : split(text, ','))
        all.push(Tree::scalar(part, option_place("--capacity")));
    t.set("capacities", std::move(all));
  }
  const auto whole = [&](const char* option, const char* key, const auto& value) {
    t.set(key, Tree::scalar(fmt::format("{}", value), option_place(option)));
  };
  if (v.count("block") > 0) whole("--block", "block_tokens", v["block"].as<std::int64_t>());
  if (v.count("limit") > 0) whole("--limit", "limit", v["limit"].as<std::int64_t>());
  if (v.count("prefix") > 0) t.set("prefix", Tree::scalar("true"));
  if (v.count("tail-first") > 0) t.set("tail_first", Tree::scalar("true"));
  if (v.count("queue") > 0) whole("--queue", "queue", v["queue"].as<std::int64_t>());
  if (v.count("seed") > 0) whole("--seed", "seed", v["seed"].as<std::uint64_t>());
  return t;
}

// Blocks, or a negative share: -0.1 for "10%".
struct Capacity {
  std::int64_t blocks = 0;
  double share = 0;
  [[nodiscard]] std::int64_t of(std::size_t distinct) const {
    if (blocks > 0) return blocks;
    // The small term undoes the rounding of products such as 0.3 x 182790.
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(std::floor(share * static_cast<double>(distinct) + 1e-6)));
  }
};

bool read_capacity(const std::string& text, Capacity& out) {
  const std::size_t digits = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, digits);
  std::string unit = digits == std::string::npos ? "" : text.substr(digits);
  std::erase(unit, ' ');
  if (number.empty() || number.size() > 15 || std::count(number.begin(), number.end(), '.') > 1 ||
      number == ".")
    return false;
  const double value = std::stod(number);
  if (unit == "%") {
    out.share = value / 100;
    return value > 0 && value <= 100;
  }
  if (!unit.empty() || number.find('.') != std::string::npos || value < 1) return false;
  out.blocks = std::stoll(number);
  return true;
}

struct Loaded {
  CacheStudy study;
  std::vector<Capacity> capacities;
  std::string file, format;
  std::unique_ptr<TraceSource> source;  // none for oracleGeneral
};

void open_trace(Loaded& l, const po::variables_map& v, const std::string& folder, Diagnostics& d) {
  Tree& trace = l.study.trace;
  const Tree* file = trace.find("file");
  if (file == nullptr || !file->is_scalar()) {
    d.add(trace.place(), "trace.file", "no trace is given",
          "add --trace FILE, or trace: {file: ...}");
    return;
  }
  l.file = (std::filesystem::path(folder) / file->text()).string();
  if (trace.find("format") == nullptr)
    trace.set("format", Tree::scalar(is_oracle_general(l.file) ? kOracleGeneral
                                                               : guess_trace_format(l.file)));
  l.format = trace.find("format")->text();
  if (l.format == kOracleGeneral) return;  // names objects, no tokens: not a format of scenarios
  Tree workload = Tree::map(), scenario = Tree::map();
  workload.set("trace", trace);
  scenario.set("workload", std::move(workload));
  std::vector<std::string> overrides;
  for (const std::string& s : list_option(v, "set")) overrides.push_back("workload.trace." + s);
  const LoadedScenario loaded = read_scenario(std::move(scenario), folder, overrides, d);
  if (!d.empty()) return;
  TraceSource::Context c;
  if (l.study.block_tokens > 0) c.block_tokens = l.study.block_tokens;
  c.limit = l.study.limit;
  c.seed = l.study.seed;
  c.raw_ids = true;
  l.source = build_trace(loaded.value.workload, c, folder, d);
}

// Everything that is wrong, at once.
Loaded load(const po::variables_map& v) {
  Diagnostics d;
  Loaded l;
  const Tree tree = study_tree(v, d);
  d.throw_if_any();
  Reader reader(d);
  read_fields(l.study, tree, reader);
  const std::vector<std::string> names = Registry::instance().names(EvictionPolicy::kKind);
  if (tree.find("policies") == nullptr)
    d.add(tree.place(), "policies", "no policy is given",
          "add --policy NAME[,NAME...]; " + name_hint("", names));
  if (tree.find("capacities") == nullptr)
    d.add(tree.place(), "capacities", "no capacity is given",
          "add --capacity BLOCKS[,...], such as 1000,10%");
  const Tree* given = tree.find("capacities");
  for (std::size_t i = 0; i < l.study.capacities.size(); ++i) {
    if (read_capacity(l.study.capacities[i], l.capacities.emplace_back())) continue;
    d.add(given->items()[i].place(), "capacities", "'" + l.study.capacities[i] + "' is no capacity",
          "blocks, at least 1, or a share of the distinct blocks above 0 and up to 100 %: 1000 or "
          "10%");
  }
  const std::string folder =
      v.count("file") > 0
          ? std::filesystem::path(v["file"].as<std::string>()).parent_path().string()
          : "";
  try {
    open_trace(l, v, folder, d);
  } catch (const InputError& e) {
    for (const Diagnostic& one : e.all()) d.add(one.place, one.path, one.message, one.hint);
  }
  d.throw_if_any();
  return l;
}

struct Row {
  std::string policy;
  std::int64_t capacity = 0;
  ReplayCounts counts;
  double seconds = 0;
  [[nodiscard]] double per_second() const {
    return seconds > 0 ? static_cast<double>(counts.accesses) / seconds : 0;
  }
};

// "s3-fifo:threshold=1" with the parameters that differ from their defaults.
std::string label(const PolicyChoice& c) {
  std::string out = c.name;
  const PluginInfo* info = Registry::instance().find(EvictionPolicy::kKind, c.name);
  for (const Tree::Entry& e : c.params.entries())
    for (const FieldInfo& f : info->fields)
      if (f.name == e.key && e.value.text() != f.default_text)
        out += fmt::format("{}{}={}", out == c.name ? ':' : ',', e.key, e.value.text());
  return out;
}

std::vector<Row> replay_all(const Loaded& l, const BlockStream& stream) {
  using Clock = std::chrono::steady_clock;
  std::vector<Row> rows;
  Replay replay(stream, l.study.seed);
  for (const PolicyChoice& p : l.study.policies) {
    for (const Capacity& c : l.capacities) {
      Row row{label(p), c.of(stream.objects.size()), {}, 0};
      replay.start(p.name, p.params, row.capacity);
      const Clock::time_point begin = Clock::now();
      row.counts = replay.run();
      row.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

void print_json(const Loaded& l, const BlockStream& stream, const std::vector<Row>& rows) {
  fmt::print("{{\"trace\": {}, \"format\": {}, \"requests\": {}, \"blocks\": {}, \"rows\": [",
             json_string(printable(l.file)), json_string(l.format), stream.requests(),
             stream.objects.size());
  for (const Row& r : rows)
    fmt::print(
        "{}\n {{\"policy\": {}, \"capacity\": {}, \"accesses\": {}, \"hits\": {}, \"misses\": {}, "
        "\"miss_ratio\": {}, \"accesses_per_second\": {:.0f}}}",
        &r == rows.data() ? "" : ",", json_string(r.policy), r.capacity, r.counts.accesses,
        r.counts.hits, r.counts.misses(), r.counts.miss_ratio(), r.per_second());
  fmt::print("\n]}}\n");
}

void print_table(const Loaded& l, const BlockStream& stream, const std::vector<Row>& rows) {
  fmt::print("{}: {} requests, {} accesses to {} distinct blocks\n", printable(l.file),
             grouped(stream.requests()), grouped(stream.access.size()),
             grouped(stream.objects.size()));
  TextTable t({"policy", ">capacity", ">hits", ">misses", ">miss ratio", ">accesses/s"});
  for (const Row& r : rows)
    t.row({r.policy, grouped(static_cast<std::uint64_t>(r.capacity)), grouped(r.counts.hits),
           grouped(r.counts.misses()), fmt::format("{:.6f}", r.counts.miss_ratio()),
           short_count(r.per_second())});
  fmt::print("{}", t.text());
}

BlockStream stream_of(const Loaded& l) {
  if (!l.source) return load_oracle_general(l.file, static_cast<std::uint64_t>(l.study.limit));
  StreamOptions options;
  options.block_tokens = l.study.block_tokens;
  return load_stream(*l.source, options);
}

void print_prefix(const Loaded& l, const BlockStream& stream, const po::variables_map& v) {
  std::vector<PrefixPolicy> policies;
  std::vector<std::int64_t> capacities;
  for (const PolicyChoice& p : l.study.policies) policies.push_back({label(p), p.name, p.params});
  for (const Capacity& c : l.capacities) capacities.push_back(c.of(stream.objects.size()));
  const std::vector<PrefixRow> rows = replay_prefixes(stream, {l.study.tail_first, l.study.queue},
                                                      l.study.seed, policies, capacities);
  if (v.count("output") > 0) {
    std::vector<PolicyCount> counts;
    for (const PrefixRow& r : rows)
      counts.push_back({r.policy, r.capacity, r.classes.accesses(), r.classes.hits});
    write_policy_counts(v["output"].as<std::string>(), l.file, true, counts);
  }
  if (v.count("json") > 0)
    fmt::print(
        "{{\"trace\": {}, \"format\": {}, \"requests\": {}, \"blocks\": {}, \"rows\": [{}\n]}}\n",
        json_string(printable(l.file)), json_string(l.format), stream.requests(),
        stream.objects.size(), prefix_rows_json(rows));
  else if (v.count("csv") > 0)
    fmt::print("{}", prefix_rows_csv(rows));
  else if (v.count("markdown") > 0)
    fmt::print("{}", prefix_rows_markdown(rows));
  else
    fmt::print(
        "{}: {} requests, {} accesses to {} distinct blocks\n"
        "hits are leading runs; misses by the policy, by capacity, or compulsory\n{}",
        printable(l.file), grouped(stream.requests()), grouped(stream.access.size()),
        grouped(stream.objects.size()), prefix_rows_text(rows));
}

void check_options(const po::variables_map& v, const CacheStudy& study) {
  if (v.count("csv") + v.count("json") + v.count("markdown") > 1)
    throw InputError("kvsim cache: --csv, --json and --markdown exclude each other");
  if (!study.prefix && (study.tail_first || study.queue > 0 || v.count("markdown") > 0))
    throw InputError("kvsim cache: --tail-first, --queue and --markdown are of prefix caches",
                     "add --prefix");
}

int run(const po::variables_map& v) {
  const Loaded l = load(v);
  check_options(v, l.study);
  const BlockStream stream = stream_of(l);
  const auto warn = [&] {
    if (!l.source) return;
    if (const auto skipped = l.source->skipped(); skipped.records > 0)
      fmt::print(stderr, "warning: {} records left out; first: {}\n", skipped.records,
                 printable(skipped.first_reason));
  };
  if (l.study.prefix) {
    print_prefix(l, stream, v);
    warn();
    return 0;
  }
  const std::vector<Row> rows = replay_all(l, stream);
  if (v.count("output") > 0) {
    std::vector<PolicyCount> counts;
    for (const Row& r : rows)
      counts.push_back({r.policy, r.capacity, r.counts.accesses, r.counts.hits});
    write_policy_counts(v["output"].as<std::string>(), l.file, false, counts);
  }
  if (v.count("json") > 0) {
    print_json(l, stream, rows);
  } else if (v.count("csv") > 0) {
    fmt::print("policy,capacity,accesses,hits,misses,miss_ratio,accesses_per_second\n");
    for (const Row& r : rows)
      fmt::print("\"{}\",{},{},{},{},{},{:.0f}\n", r.policy, r.capacity, r.counts.accesses,
                 r.counts.hits, r.counts.misses(), r.counts.miss_ratio(), r.per_second());
  } else {
    print_table(l, stream, rows);
  }
  warn();
  return 0;
}

}  // namespace

extern const Command kCacheCommand{
    "cache",
    "block accesses of a trace through eviction policies, without timing",
    "[F | --trace FILE --policy NAME[,...] --capacity BLOCKS[,...]]",
    "  kvsim cache --trace traces/samples/chat.jsonl --policy lru,s3-fifo,arc --capacity 100,10%\n"
    "  kvsim cache --trace t.jsonl --policy \"s3-fifo:threshold=1,small=5 %,lru\" --capacity 1000 "
    "--json\n"
    "  kvsim cache --trace t.jsonl --policy belady,belady:bypass=true --capacity 1%,10% --block "
    "64\n"
    "  kvsim cache --trace t.jsonl --prefix --policy leaf-lru,lru --capacity 1%,10%   with the "
    "optimum\n"
    "  kvsim cache --trace t.jsonl --prefix --policy all --capacity 1%,10% -o p.db   for a "
    "report\n"
    "  kvsim cache study.yaml\n"
    "every access counts, the first of a block included; accesses/s is of the replay alone",
    declare,
    run};

}  // namespace kvsim
