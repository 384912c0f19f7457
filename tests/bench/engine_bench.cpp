// Speed of the engine, with its answers asserted: kvsim_bench [a|b|c|t]...
//   a  the Mooncake conversation trace (or, without it, as many generated requests) on 8 instances,
//      default recording
//   b  1,000,000 generated chat requests on 64 instances, default recording
//   c  one instance, a batch of 256, decode only
//   t  reading that trace, compressed, and nothing else (without it: nothing)
// Prints requests/s, iterations/s, peak memory; `./dev bench engine` adds instructions per
// iteration (callgrind over --once).
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/base/huge_pages.h"
#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"
#include "traces/trace_source.h"

namespace kvsim {
namespace {

struct Case {
  const char* name;
  std::string scenario;
  std::uint64_t requests;
  std::int64_t output_tokens;  // 0 = not checked
};

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

void run_case(const Case& c, int repeats) {
  double best = 1e300;
  std::int64_t iterations = 0, prompt = 0, output = 0;
  std::uint64_t digest = 0;
  for (int i = 0; i < repeats; ++i) {
    Diagnostics d;
    const LoadedScenario loaded = read_scenario(parse_yaml(c.scenario, c.name, d), "", {}, d);
    BuiltRun run = build_run(loaded, true, d);
    d.throw_if_any();
    SimulateOptions options;
    options.database =
        (std::filesystem::temp_directory_path() / fmt::format("kvsim_bench_{}.db", getpid()))
            .string();
    const SimulateResult r = simulate(run, options);
    std::filesystem::remove(options.database);
    iterations = prompt = output = 0;
    for (const RankTotals& t : r.outcome.ranks) iterations += t.iterations;
    for (const RequestOutcome& o : r.outcome.requests)
      prompt += o.prompt_tokens, output += o.output_tokens;
    if (r.outcome.injected != c.requests || r.outcome.requests.size() != c.requests ||
        (c.output_tokens > 0 && output != c.output_tokens) ||
        (digest != 0 && digest != r.outcome.digest)) {
      fmt::print(stderr, "case {}: wrong answer: {} requests in, {} out, {} output tokens\n",
                 c.name, r.outcome.injected, r.outcome.requests.size(), output);
      std::exit(3);
    }
    digest = r.outcome.digest;
    best = std::min(best, r.wall_seconds);
  }
  fmt::print(
      "{:<2} {:>9} requests {:>11} iterations {:>8.3f} s {:>9.0f} requests/s {:>12.0f} "
      "iterations/s {:>7.2f} ns/token "
      "({:.1f} per output token) {:>6.0f} MiB\n",
      c.name, c.requests, iterations, best, static_cast<double>(c.requests) / best,
      static_cast<double>(iterations) / best, best * 1e9 / static_cast<double>(prompt + output),
      best * 1e9 / static_cast<double>(output), peak_mib());
}

Case mooncake(const std::string& trace) {
  return {"a",
          "name: a\nmodel: llama-3.1-8b\ndeployment: {hardware: h100-sxm, replicas: 8}\nrouter: "
          "least-loaded\n"
          "workload: {trace: {file: " +
              trace + ", format: mooncake}}\n",
          12031, 4122048};
}

Case generated(const char* name, int replicas, int requests, int rate) {
  return {name,
          fmt::format("name: {}\nmodel: llama-3.1-8b\ndeployment: {{hardware: h100-sxm, replicas: "
                      "{}}}\nrouter: least-loaded\n"
                      "workload:\n  generate:\n    arrivals: {{process: poisson, rate: {} /s}}\n"
                      "    prompt: {{law: lognormal, mean: 1024, cv: 1}}\n    output: {{law: "
                      "lognormal, mean: 256, cv: 1}}\n"
                      "    requests: {}\n",
                      name, replicas, rate, requests),
          static_cast<std::uint64_t>(requests), 0};
}

Case decode_only() {
  return {"c",
          "name: c\nmodel: llama-3.1-8b\ndeployment: {hardware: h200}\nengine: {max_running: 256, "
          "max_batched_tokens: 8192, kv_blocks: 200000}\n"
          "workload:\n  generate:\n    arrivals: {process: all-at-once}\n    prompt: {law: "
          "constant, value: 16}\n"
          "    output: {law: constant, value: 8000}\n    requests: 10240\n",  // 40 waves
          10240, 10240 * 8000};
}

void read_trace(const std::string& trace) {
  double best = 1e300;
  for (int i = 0; i < 5; ++i) {
    const auto before = std::chrono::steady_clock::now();
    TraceSource::Context where;
    where.path = trace;
    const auto source = Registry::instance().make<TraceSource>("mooncake", Tree::map(), where);
    Request r;
    std::size_t blocks = 0;
    while (source->next_arrival()) {
      source->pop(r);
      blocks += r.segments.size();
    }
    if (blocks != 288'500) {
      fmt::print(stderr, "case t: wrong answer: {} blocks\n", blocks);
      std::exit(3);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
    best = std::min(best, took.count());
  }
  fmt::print("t      12031 requests read, 288500 blocks {:>8.1f} ms\n", 1e3 * best);
}

}  // namespace
}  // namespace kvsim

int main(int argc, char** argv) {
  kvsim::prefer_huge_pages();  // as the program does
  const std::string shared =
      std::string(KVSIM_SOURCE_DIR) + "/../shared/traces/mooncake_conversation.jsonl.gz";
  std::vector<std::string> wanted(argv + 1, argv + argc);
  const bool once = std::erase(wanted, "--once") > 0;  // for instruction counts
  if (wanted.empty()) wanted = {"a", "b", "c", "t"};
  try {
    for (const std::string& w : wanted) {
      if (w == "a")
        kvsim::run_case(std::filesystem::exists(shared) ? kvsim::mooncake(shared)
                                                        : kvsim::generated("a", 8, 12031, 60),
                        once ? 1 : 5);
      if (w == "b") kvsim::run_case(kvsim::generated("b", 64, 1'000'000, 400), 1);
      if (w == "c") kvsim::run_case(kvsim::decode_only(), once ? 1 : 5);
      if (w == "t" && std::filesystem::exists(shared)) kvsim::read_trace(shared);
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  }
  return 0;
}
