// kvsim validate: a measured deployment, replayed and compared
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "sim/base/diagnostics.h"
#include "sim/base/tree.h"
#include "sim/cli/command.h"
#include "sim/cli/text_table.h"
#include "sim/run/validation.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("case", po::value<std::vector<std::string>>(),
                  "folders with a case.yaml (also without the option's name)")(
      "set", po::value<std::vector<std::string>>()->composing(),
      "PATH=VALUE overrides one value; may be repeated")("json", "print the comparison as JSON")(
      "tolerance", po::value<double>(), "exit with 3 when a difference exceeds this many percent");
  p.add("case", -1);
}

void print_table(const Comparison& c) {
  TextTable table({"metric", "statistic", ">simulated", ">measured", ">difference"});
  for (const Comparison::Row& r : c.rows)
    table.row({r.metric, r.statistic, fmt::format("{:.2f} ms", r.simulated_ms),
               fmt::format("{:.2f} ms", r.measured_ms),
               fmt::format("{:+.2f} %", r.difference_percent)});
  fmt::print("{}\n{}", c.name, table.text());
  fmt::print("largest difference {:.2f} %\n", c.largest_difference_percent);
}

void print_table(const Parity& p) {
  TextTable table({"quantity", ">compared", ">different", ">largest difference"});
  for (const Parity::Row& r : p.rows)
    table.row({r.quantity, fmt::format("{}", r.compared), fmt::format("{}", r.different),
               r.largest_s > 0 ? fmt::format("{:.3f} ns", r.largest_s * 1e9) : ""});
  fmt::print("{}\n{}", p.name, table.text());
  for (const Parity::Row& r : p.rows)
    if (r.different > 0) fmt::print("first difference of {}: {}\n", r.quantity, r.first);
  fmt::print("{}\n",
             p.is_exact() ? "the same: every integer, and every time within 1 ns" : "not the same");
}

std::string json(const Parity& p) {
  std::string out =
      fmt::format("{{\"case\": {}, \"exact\": {}, \"rows\": [", json_string(p.name), p.is_exact());
  bool first = true;
  for (const Parity::Row& r : p.rows) {
    out += fmt::format(
        "{}\n  {{\"quantity\": {}, \"compared\": {}, \"different\": {}, "
        "\"largest_difference_s\": {}}}",
        first ? "" : ",", json_string(r.quantity), r.compared, r.different, r.largest_s);
    first = false;
  }
  return out + "\n]}";
}

std::string json(const Comparison& c) {
  std::string out = fmt::format("{{\"case\": {}, \"rows\": [", json_string(c.name));
  bool first = true;
  for (const Comparison::Row& r : c.rows) {
    out += fmt::format(
        "{}\n  {{\"metric\": {}, \"statistic\": {}, \"simulated\": {}, \"measured\": {}, "
        "\"difference_percent\": {}}}",
        first ? "" : ",", json_string(r.metric), json_string(r.statistic), r.simulated_ms,
        r.measured_ms, r.difference_percent);
    first = false;
  }
  return out +
         fmt::format("\n], \"largest_difference_percent\": {}}}", c.largest_difference_percent);
}

int run(const po::variables_map& v) {
  const auto cases = list_option(v, "case");
  if (cases.empty())
    throw InputError("kvsim validate: no case given", "kvsim validate --help shows an example");
  double largest = 0;
  bool exact = true;
  for (const std::string& folder : cases) {
    const Comparison c = validate_case(folder, list_option(v, "set"));
    if (c.parity) {
      exact = exact && c.parity->is_exact();
      v.count("json") > 0 ? fmt::print("{}\n", json(*c.parity)) : print_table(*c.parity);
      continue;
    }
    if (v.count("json") > 0) {
      fmt::print("{}\n", json(c));
    } else {
      print_table(c);
    }
    largest = std::max(largest, c.largest_difference_percent);
  }
  if (!exact) return 3;
  return v.count("tolerance") > 0 && largest > v["tolerance"].as<double>() ? 3 : 0;
}

}  // namespace

extern const Command kValidateCommand{
    "validate",
    "replay measured deployments and compare",
    "CASE...",
    "  kvsim validate DIR                                 DIR holds case.yaml and what it names\n"
    "  kvsim validate DIR --tolerance 10                  exits with 3 beyond 10 %\n"
    "  kvsim validate scenarios/peers/vidur-vllm.yaml      another simulator's run: exits with 3 "
    "unless\n"
    "                                                     all is the same\n"
    "  kvsim validate DIR --set engine.overhead=\"2 ms\" --json",
    declare,
    run};

}  // namespace kvsim
