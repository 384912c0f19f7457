// kvsim validate: a measured deployment, replayed and compared
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "sim/base/diagnostics.h"
#include "sim/base/tree.h"
#include "sim/cli/command.h"
#include "sim/run/validation.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("case", po::value<std::vector<std::string>>(), "folders with a case.yaml (also without the option's name)")(
      "set", po::value<std::vector<std::string>>()->composing(), "PATH=VALUE overrides one value; may be repeated")(
      "json", "print the comparison as JSON")("tolerance", po::value<double>(), "exit with 3 when a difference exceeds this many percent");
  p.add("case", -1);
}

void print_table(const Comparison& c) {
  fmt::print("{}\n{:<12}{:<10}{:>14}{:>14}{:>14}\n", c.name, "metric", "statistic", "simulated", "measured", "difference");
  for (const Comparison::Row& r : c.rows)
    fmt::print("{:<12}{:<10}{:>11.2f} ms{:>11.2f} ms{:>12.2f} %\n", r.metric, r.statistic, r.simulated_ms, r.measured_ms, r.difference_percent);
  fmt::print("largest difference {:.2f} %\n", c.largest_difference_percent);
}

std::string json(const Comparison& c) {
  std::string out = fmt::format("{{\"case\": {}, \"rows\": [", json_string(c.name));
  bool first = true;
  for (const Comparison::Row& r : c.rows) {
    out += fmt::format("{}\n  {{\"metric\": {}, \"statistic\": {}, \"simulated\": {}, \"measured\": {}, \"difference_percent\": {}}}", first ? "" : ",",
                       json_string(r.metric), json_string(r.statistic), r.simulated_ms, r.measured_ms, r.difference_percent);
    first = false;
  }
  return out + fmt::format("\n], \"largest_difference_percent\": {}}}", c.largest_difference_percent);
}

int run(const po::variables_map& v) {
  const auto cases = list_option(v, "case");
  if (cases.empty()) throw InputError("kvsim validate: no case given", "kvsim validate --help shows an example");
  double largest = 0;
  for (const std::string& folder : cases) {
    const Comparison c = validate_case(folder, list_option(v, "set"));
    if (v.count("json") > 0) {
      fmt::print("{}\n", json(c));
    } else {
      print_table(c);
    }
    largest = std::max(largest, c.largest_difference_percent);
  }
  return v.count("tolerance") > 0 && largest > v["tolerance"].as<double>() ? 3 : 0;
}

}  // namespace

extern const Command kValidateCommand{"validate",
                                      "replay measured deployments and compare",
                                      "CASE...",
                                      "  kvsim validate ../shared/validation/rtxpro6000-llama-3.1-8b\n"
                                      "  kvsim validate DIR --set engine.overhead=\"2 ms\" --json",
                                      declare,
                                      run};

}  // namespace kvsim
