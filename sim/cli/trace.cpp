// kvsim trace: statistics, conversion, synthesis and miss-ratio curve of a trace
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "sim/base/diagnostics.h"
#include "sim/cache/oracle_general.h"
#include "sim/cli/command.h"
#include "sim/cli/text_table.h"
#include "sim/cli/trace_guess.h"
#include "sim/cli/trace_mrc.h"
#include "sim/cli/trace_report.h"
#include "sim/record/render.h"
#include "sim/run/build.h"
#include "sim/scenario/yaml.h"
#include "traces/trace_tools.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("action", po::value<std::string>(),
                  "info, convert, generate or mrc (also without the option's name)")(
      "file", po::value<std::string>(),
      "the trace; for generate a YAML file (also without the option's name)")(
      "format", po::value<std::string>(),
      "format of the trace (default: seen from its first line)")(
      "set", po::value<std::vector<std::string>>()->composing(),
      "KEY=VALUE sets a parameter of the format, or of the file to generate from")(
      "lenient", "skip and count broken records")("limit", po::value<std::int64_t>(),
                                                  "stop after this many requests")(
      "rate-scale", po::value<double>(), "arrivals come this many times as fast")(
      "seed", po::value<std::uint64_t>(), "of random draws (default 0, or the scenario's)")(
      "block-tokens", po::value<std::int64_t>(),
      "tokens of a block, for token-ids (default 16) and for writing mooncake (default 512)")(
      "output,o", po::value<std::string>(),
      "convert, generate: file to write; .gz and .zst are compressed")(
      "to", po::value<std::string>(),
      "convert, generate: mooncake, azure, vidur or oracle-general (default: mooncake, or the "
      "file's name)")("json", "info, mrc: print as JSON");
  declare_mrc(o);
  p.add("action", 1).add("file", 1);
}

template <class T>
T positive(const po::variables_map& v, const char* name, T otherwise) {
  const T value = option_or(v, name, otherwise);
  if (!(value > 0) || !std::isfinite(static_cast<double>(value)))
    throw InputError(fmt::format("kvsim trace: --{} must be above 0", name));
  return value;
}

TraceSource::Context context_of(const po::variables_map& v) {
  TraceSource::Context c;
  c.block_tokens = positive<std::int64_t>(v, "block-tokens", 16);
  c.lenient = v.count("lenient") > 0;
  c.seed = option_or<std::uint64_t>(v, "seed", 0);
  c.rate_scale = positive<double>(v, "rate-scale", 1.0);
  if (v.count("limit") > 0) c.limit = positive<std::int64_t>(v, "limit", 1);
  return c;
}

struct Opened {
  std::string format;
  bool guessed = false;
  std::unique_ptr<TraceSource> source;
};

// "a.b=c" of each --set put under `prefix` of a scenario, so that one rule reads all overrides.
std::vector<std::string> prefixed(const po::variables_map& v, const std::string& prefix) {
  std::vector<std::string> all;
  for (const std::string& s : list_option(v, "set")) all.push_back(prefix + s);
  return all;
}

bool holds_oracle_general(const po::variables_map& v, const std::string& file) {
  return v.count("format") > 0 ? v["format"].as<std::string>() == kOracleGeneral
                               : is_oracle_general(file);
}

// "--to", else what the name says.
std::string target_format(const po::variables_map& v, const std::string& path) {
  const std::vector<std::string> valid{"mooncake", "azure", "vidur", kOracleGeneral};
  if (v.count("to") > 0) {
    const std::string to = v["to"].as<std::string>();
    for (const std::string& name : valid)
      if (to == name) return to;
    throw InputError("kvsim trace: cannot write format '" + to + "'", name_hint(to, valid));
  }
  if (is_oracle_general(path)) return kOracleGeneral;
  if (path.find(".csv") != std::string::npos)
    throw InputError("kvsim trace: two formats are CSV", "say --to azure or --to vidur");
  return "mooncake";
}

// A trace is opened as a scenario opens it: same keys, same messages.
Opened open(const po::variables_map& v, const std::string& file) {
  if (holds_oracle_general(v, file))
    throw InputError(file + ": oracleGeneral traces name objects, no tokens",
                     "kvsim cache and kvsim trace mrc read them");
  Opened out;
  out.guessed = v.count("format") == 0;
  out.format = out.guessed ? guess_trace_format(file) : v["format"].as<std::string>();
  Tree trace = Tree::map(), workload = Tree::map(), scenario = Tree::map();
  trace.set("file", Tree::scalar(file, {}, true));
  trace.set("format", Tree::scalar(out.format));
  if (v.count("lenient") > 0) trace.set("lenient", Tree::scalar("true"));
  workload.set("trace", std::move(trace));
  scenario.set("workload", std::move(workload));
  Diagnostics d;
  const LoadedScenario loaded =
      read_scenario(std::move(scenario), "", prefixed(v, "workload.trace."), d);
  d.throw_if_any();
  TraceSource::Context context = context_of(v);
  context.raw_ids =
      v.count("output") > 0 && target_format(v, v["output"].as<std::string>()) == kOracleGeneral;
  out.source = build_trace(loaded.value.workload, context, "", d);
  d.throw_if_any();
  return out;
}

int run_info(const po::variables_map& v, const std::string& file) {
  const Opened opened = open(v, file);
  const TraceInfo info = trace_info(*opened.source);
  if (v.count("json") > 0)
    fmt::print("{}", trace_info_json(file, opened.format, info));
  else
    fmt::print("{}", trace_info_text(file, opened.format, opened.guessed, info));
  return 0;
}

int write(const po::variables_map& v, TraceSource& source) {
  if (v.count("output") == 0)
    throw InputError("kvsim trace: no file to write", "add -o FILE, such as -o trace.jsonl.gz");
  const std::string path = v["output"].as<std::string>();
  WriteOptions options;
  options.block_tokens = positive<std::int64_t>(v, "block-tokens", options.block_tokens);
  const std::string format = target_format(v, path);
  if (format == kOracleGeneral) {
    const std::uint64_t n = write_oracle_general(load_stream(source), path);
    fmt::print("{}: {} block accesses as {}\n", path, grouped(n), format);
  } else {
    const std::uint64_t n = write_trace(source, format, path, options);
    fmt::print("{}: {} requests as {}\n", path, grouped(n), format);
  }
  if (const auto skipped = source.skipped(); skipped.records > 0)
    fmt::print(stderr, "warning: {} records left out; first: {}\n", skipped.records,
               printable(skipped.first_reason));
  return 0;
}

int run_convert(const po::variables_map& v, const std::string& file) {
  if (v.count("output") > 0) {
    std::error_code ec;
    if (std::filesystem::equivalent(file, v["output"].as<std::string>(), ec))
      throw InputError("kvsim trace: the output is the input", "write another file");
  }
  const Opened opened = open(v, file);
  return write(v, *opened.source);
}

// A scenario with workload.generate, or such a mapping alone.
int run_generate(const po::variables_map& v, const std::string& file) {
  Diagnostics d;
  Tree tree = load_yaml(file, d);
  d.throw_if_any();
  const bool scenario = tree.find("workload") != nullptr || tree.find("kvsim") != nullptr ||
                        tree.find("include") != nullptr;
  std::vector<std::string> overrides = prefixed(v, scenario ? "" : "workload.generate.");
  if (!scenario) {
    Tree workload = Tree::map(tree.place()), root = Tree::map(tree.place());
    workload.set("generate", std::move(tree));
    root.set("workload", std::move(workload));
    tree = std::move(root);
  }
  const std::string folder = std::filesystem::path(file).parent_path().string();
  const LoadedScenario loaded = read_scenario(std::move(tree), folder, overrides, d);
  d.throw_if_any();
  if (loaded.value.workload.generate.is_null())
    throw InputError(file + ": its workload is a trace, nothing to generate",
                     "kvsim trace convert writes a trace in another format");
  TraceSource::Context c = context_of(v);
  if (v.count("seed") == 0) c.seed = loaded.value.seed;
  if (v.count("limit") == 0) c.limit = loaded.value.workload.limit;
  if (v.count("rate-scale") == 0) c.rate_scale = loaded.value.workload.rate_scale.value;
  const auto source = build_trace(loaded.value.workload, c, loaded.base_dir, d);
  d.throw_if_any();
  return write(v, *source);
}

int run_mrc(const po::variables_map& v, const std::string& file) {
  const MrcOptions options = mrc_options(v);
  LruCurve lru(options.sampling);
  if (holds_oracle_general(v, file)) {
    read_oracle_general(file, context_of(v).limit, lru);
  } else {
    const Opened opened = open(v, file);
    read_prompt_segments(*opened.source, lru);
  }
  fmt::print("{}", mrc_text(lru.curve(), options));
  return 0;
}

using Action = int (*)(const po::variables_map&, const std::string&);

// Messages of readers speak of keys of a scenario: say how they are given here.
int explained(Action action, const po::variables_map& v, const std::string& file) {
  try {
    return action(v, file);
  } catch (const InputError& e) {
    std::vector<Diagnostic> all = e.all();
    std::string& hint = all.back().hint;
    if (hint.find("leniently") != std::string::npos)
      hint += "; here: --lenient";
    else if (hint.find(": ") != std::string::npos && hint.find("--") == std::string::npos &&
             hint.find("valid:") == std::string::npos)
      hint += "; here: --set KEY=VALUE";
    throw InputError(std::move(all));
  }
}

int run(const po::variables_map& v) {
  const std::pair<const char*, Action> kActions[] = {
      {"info", run_info}, {"convert", run_convert}, {"generate", run_generate}, {"mrc", run_mrc}};
  std::vector<std::string> names;
  for (const auto& [name, action] : kActions) names.emplace_back(name);
  if (v.count("action") == 0) throw InputError("kvsim trace: say what to do", name_hint("", names));
  const std::string wanted = v["action"].as<std::string>();
  for (const auto& [name, action] : kActions) {
    if (wanted != name) continue;
    if (v.count("file") == 0)
      throw InputError("kvsim trace " + wanted + ": no file given",
                       "kvsim trace --help shows examples");
    return explained(action, v, v["file"].as<std::string>());
  }
  throw InputError("kvsim trace: unknown action '" + wanted + "'", name_hint(wanted, names));
}

}  // namespace

extern const Command kTraceCommand{
    "trace",
    "statistics, conversion, synthesis and miss-ratio curve of a trace",
    "info|convert|generate|mrc FILE",
    "  kvsim trace info traces/samples/chat.jsonl           requests, lengths, rate, shared "
    "content\n"
    "  kvsim trace info t.csv --format vidur --set rate=\"2 /s\"\n"
    "  kvsim trace convert t.csv -o t.jsonl.gz --to mooncake\n"
    "  kvsim trace generate scenarios/multi-turn.yaml -o chat.jsonl --set "
    "workload.generate.requests=500\n"
    "  kvsim trace convert t.jsonl -o t.oracleGeneral.zst   for libCacheSim\n"
    "  kvsim trace mrc traces/samples/chat.jsonl            LRU miss ratio by capacity\n"
    "  kvsim trace mrc huge.oracleGeneral.zst --sampled 0.01",
    declare,
    run};

}  // namespace kvsim
