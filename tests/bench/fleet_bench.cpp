// Fleets, with their answers asserted: kvsim_fleet_bench [width|scale [ROUTER]|one ROUTER N R]...
//   width  the same load on each of 1 and of 64 instances: time per iteration, by router
//   one    the same for R requests on N instances, once (to be profiled)
//   scale  1,000 instances serve 1,000,000 requests that share prefixes
#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "sim/base/huge_pages.h"
#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

// Processor time of this process: a busy machine takes longer, not more of it.
double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Fleet {
  int instances = 1;
  std::string router;
  std::int64_t requests = 0;
  double rate = 0;  // requests/s of all
};

struct Measured {
  double seconds = 0;
  std::int64_t iterations = 0;
};

Measured run(const Fleet& f) {
  const std::string text = fmt::format(
      "name: fleet\nmodel: llama-3.1-8b\ndeployment: {{hardware: h100-sxm, replicas: {}}}\nrouter: "
      "{{policy: {}}}\nworkload:\n  generate:\n    arrivals: {{process: poisson, rate: {} /s}}\n"
      "    prompt: {{law: lognormal, mean: 512, cv: 1}}\n    output: {{law: lognormal, mean: 128, "
      "cv: 1}}\n    prefixes: {{count: {}, zipf: 0.9, tokens: {{law: uniform, min: 200, max: "
      "2000}}}}\n    requests: {}\nrecord: {{sample_every: 0 s}}\n",
      f.instances, f.router, f.rate, 20 * f.instances, f.requests);
  Diagnostics d;
  BuiltRun built = build_run(read_scenario(parse_yaml(text, "fleet", d), "", {}, d), true, d);
  d.throw_if_any();
  const double began = processor_seconds();
  const SimulateResult r = simulate(built, {});
  Measured m{processor_seconds() - began, 0};
  std::int64_t finished = 0;
  for (const RequestOutcome& o : r.outcome.requests) finished += o.outcome == Outcome::finished;
  for (const RankTotals& t : r.outcome.ranks) m.iterations += t.iterations;
  if (finished != f.requests) {
    fmt::print(stderr, "{} of {} requests finished\n", finished, f.requests);
    std::exit(3);
  }
  return m;
}

void width() {
  for (const char* router : {"round-robin", "least-requests", "prefix-aware", "prefix-events",
                             "kv-cost", "prefix-approximate"}) {
    double each[2] = {1e300, 1e300};  // best of five, in turns
    for (int i = 0; i < 5; ++i) {
      for (const int wide : {0, 1}) {
        const int n = wide == 0 ? 1 : 64;
        const Measured m = run({n, router, wide == 0 ? 20'000 : 128'000, 8.0 * n});
        each[wide] = std::min(each[wide], 1e9 * m.seconds / static_cast<double>(m.iterations));
      }
    }
    fmt::print("width  {:<20} {:>8.1f} ns/iteration on 1, {:>8.1f} on 64: {:.2f}\n", router,
               each[0], each[1], each[1] / each[0]);
  }
}

void one(const std::string& router, int instances, std::int64_t requests) {
  const Measured m = run({instances, router, requests, 8.0 * instances});
  fmt::print("one    {:<20} {} on {}: {:.1f} ns/iteration, {} iterations\n", router, requests,
             instances, 1e9 * m.seconds / static_cast<double>(m.iterations), m.iterations);
}

void scale(const std::string& router) {
  const Measured m = run({1000, router, 1'000'000, 8000});
  fmt::print(
      "scale  {:<20} 1000 instances, 1000000 requests, {} iterations: {:.1f} s, {:.0f} MiB\n",
      router, m.iterations, m.seconds, peak_mib());
}

}  // namespace
}  // namespace kvsim

int main(int argc, char** argv) {
  kvsim::prefer_huge_pages();  // as the program does
  std::vector<std::string> wanted(argv + 1, argv + argc);
  if (wanted.empty()) wanted = {"width", "scale", "least-requests", "scale", "prefix-aware"};
  try {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] == "width") kvsim::width();
      if (wanted[i] == "one" && i + 3 < wanted.size())
        kvsim::one(wanted[i + 1], std::stoi(wanted[i + 2]), std::stoll(wanted[i + 3]));
      if (wanted[i] == "scale")
        kvsim::scale(i + 1 < wanted.size() ? wanted[i + 1] : "least-requests");
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  }
  return 0;
}
