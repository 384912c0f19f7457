// kvsim kernels: the real kernels, compared with their references and timed on this machine
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "kernels/harness/bench.h"
#include "kernels/harness/check.h"
#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/kernel_targets.h"
#include "sim/cli/kernels_calibrate.h"
#include "sim/cli/text_table.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace {

using namespace std::string_view_literals;

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("what", po::value<std::string>(),
                  "check, bench, calibrate or loop (also without the option's name)")(
      "operation", po::value<std::vector<std::string>>(),
      "operations, see kvsim list kernel (likewise); none = all")(
      "device", po::value<std::vector<std::string>>(),
      "cpu, vulkan, or part of a Vulkan device's name; may be given more than once; none = all")(
      "isa", po::value<std::vector<std::string>>(),
      "instruction set of the CPU: best, avx512, avx2, portable")(
      "threads", po::value<std::vector<int>>(), "of the CPU; may be given more than once")(
      "shape", po::value<std::vector<std::string>>(),
      "a map of the operation's parameters instead of drawn or listed shapes, such as "
      "'{context: 4096, element: i4}'")("cases", po::value<std::size_t>()->default_value(60),
                                        "check: shapes drawn per operation")(
      "seed", po::value<std::uint64_t>()->default_value(1), "check: of the shapes and inputs")(
      "calls", po::value<std::int64_t>()->default_value(21), "bench: calls wanted per row")(
      "budget", po::value<double>()->default_value(2), "bench: seconds per row at most")(
      "validation",
      "with Vulkan's validation layer (also KVSIM_VULKAN_VALIDATION=1 in the environment); check "
      "fails when it says anything")("json", "check and bench: machine-readable")(
      "scenario", po::value<std::string>(),
      "calibrate: measure what this scenario's model needs instead of usual shapes; loop: the "
      "model")(
      "output,o", po::value<std::string>(),
      "calibrate: the profile goes here; else to the user's cache folder, where scenarios with "
      "cost.device find it")("batch", po::value<std::int64_t>()->default_value(4),
                             "loop: sequences")("context",
                                                po::value<std::int64_t>()->default_value(512),
                                                "loop: tokens of each at the start")(
      "steps", po::value<std::int64_t>()->default_value(24), "loop: iterations");
  p.add("what", 1).add("operation", -1);
}

std::vector<Tree> shapes_of(const po::variables_map& v) {
  std::vector<Tree> shapes;
  Diagnostics d;
  for (const std::string& text : list_option(v, "shape")) {
    shapes.push_back(parse_yaml(text, "--shape", d));
    d.throw_if_any();
    if (!shapes.back().is_map())
      throw InputError("--shape: expected a map such as '{context: 4096}'");
  }
  if (!shapes.empty() && list_option(v, "operation").size() != 1)
    throw InputError("--shape needs exactly one operation",
                     "kvsim kernels bench decode-attention --shape '{context: 4096}'");
  return shapes;
}

KernelTargetOptions target_options(const po::variables_map& v) {
  KernelTargetOptions o;
  o.devices = list_option(v, "device");
  o.isas = list_option(v, "isa");
  o.threads = option_or(v, "threads", std::vector<int>{});
  const char* validation = std::getenv("KVSIM_VULKAN_VALIDATION");
  o.validation = v.count("validation") > 0 || (validation != nullptr && validation == "1"sv);
  return o;
}

void print_json(const Tree& t) { fmt::print("{}\n", to_json(t, true)); }
Tree number(double value) {
  return std::isfinite(value) ? Tree::scalar(fmt::format("{:.6g}", value)) : Tree();
}

Tree check_json(const kernels::CheckRow& r) {
  Tree t = Tree::map();
  t.set("operation", Tree::scalar(r.operation, {}, true));
  t.set("target", Tree::scalar(r.target, {}, true));
  t.set("passed", Tree::scalar(std::to_string(r.passed)));
  t.set("failed", Tree::scalar(std::to_string(r.failed)));
  t.set("skipped", Tree::scalar(std::to_string(r.skipped)));
  t.set("worst_of_bound", number(r.worst));
  t.set("worst", Tree::scalar(r.worst_text, {}, true));
  t.set("worst_shape", Tree::scalar(r.worst_shape, {}, true));
  return t;
}

int run_check(const po::variables_map& v) {
  kernels::CheckOptions options;
  options.operations = list_option(v, "operation");
  options.shapes = shapes_of(v);
  options.cases = v["cases"].as<std::size_t>();
  options.seed = v["seed"].as<std::uint64_t>();
  if (options.cases < 1 || options.cases > 100000)
    throw InputError("--cases: expected 1 to 100000");
  const KernelTargets targets(target_options(v), true);
  const auto rows = kernels::check_kernels(options, targets.all(), kernel_progress);
  end_kernel_progress();
  const std::vector<std::string> messages = targets.messages();
  bool is_good = messages.empty();
  // Operations stand above their devices: side by side they leave no room for the last column.
  TextTable table({"operation, on", ">passed", ">failed", ">skipped", ">worst/bound", "worst"});
  std::string operation;
  Tree json = Tree::list();
  for (const kernels::CheckRow& r : rows) {
    is_good = is_good && r.failed == 0;
    json.push(check_json(r));
    if (r.operation != operation) table.row({operation = r.operation});
    table.row({"  " + r.target, std::to_string(r.passed), std::to_string(r.failed),
               std::to_string(r.skipped), fmt::format("{:.2g}", r.worst),
               r.passed + r.failed > 0 ? r.worst_text : "skipped: " + r.skipped_why});
  }
  if (v.count("json") > 0) {
    print_json(json);
  } else {
    fmt::print("{}", table.text());
    for (const kernels::CheckRow& r : rows)
      for (const std::string& f : r.failures)
        fmt::print("FAILED {} on {}: {}\n", r.operation, r.target, f);
  }
  for (const std::string& s : targets.skipped()) fmt::print(stderr, "skipped: {}\n", s);
  for (const std::string& m : messages) fmt::print(stderr, "validation: {}\n", m);
  return is_good ? 0 : 3;
}

Tree bench_json(const kernels::BenchRow& r) {
  Tree t = Tree::map();
  t.set("operation", Tree::scalar(r.operation, {}, true));
  t.set("shape", Tree::scalar(r.shape, {}, true));
  t.set("target", Tree::scalar(r.target, {}, true));
  if (!r.skipped_why.empty()) {
    t.set("skipped", Tree::scalar(r.skipped_why, {}, true));
    return t;
  }
  t.set("median_s", number(r.timing.median));
  t.set("p5_s", number(r.timing.p5));
  t.set("p95_s", number(r.timing.p95));
  t.set("calls", Tree::scalar(std::to_string(r.timing.calls)));
  t.set("rejected", Tree::scalar(std::to_string(r.timing.rejected)));
  t.set("read_bytes_per_s", number(r.read_rate));
  t.set("bytes_per_s", number(r.byte_rate));
  t.set("flops_per_s", number(r.flop_rate));
  t.set("memory_bytes_per_s", number(r.memory_rate));
  t.set("of_bandwidth", number(r.of_bandwidth));
  t.set("plain_copy_bytes_per_s", number(r.plain_copy_rate));
  t.set("of_plain_copy", number(r.of_plain_copy));
  t.set("of_peak", number(r.of_peak));
  return t;
}

std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.0f} %", 100 * share) : "-";
}

// Rows of one operation on one target.
using BenchRows = std::vector<const kernels::BenchRow*>;

std::vector<BenchRows> grouped_rows(const std::vector<kernels::BenchRow>& rows) {
  std::vector<BenchRows> groups;
  for (const kernels::BenchRow& r : rows) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const BenchRows& g) {
      return g.front()->operation == r.operation && g.front()->target == r.target;
    });
    if (group == groups.end())
      groups.push_back({&r});
    else
      group->push_back(&r);
  }
  return groups;
}

void print_bench_rows(const BenchRows& rows) {
  // What most rows have stands above them, what differs beside them: 20 fields are no table.
  std::vector<Tree> shapes;
  for (const kernels::BenchRow* r : rows) {
    Diagnostics d;
    shapes.push_back(parse_yaml(r->shape, "shape", d));
    d.throw_if_any();
  }
  Tree usual = Tree::map();
  const Tree first = shapes.front();  // shapes lose entries below
  for (const Tree::Entry& e : first.entries()) {
    const auto have = [&](const std::string& value) {
      return std::count_if(shapes.begin(), shapes.end(), [&](const Tree& shape) {
        const Tree* own = shape.find(e.key);
        return own != nullptr && own->text() == value;
      });
    };
    const auto most = std::find_if(shapes.begin(), shapes.end(), [&](const Tree& shape) {
      const Tree* own = shape.find(e.key);
      return own != nullptr && 2 * have(own->text()) > std::ssize(shapes);
    });
    if (most == shapes.end()) continue;
    const Tree& set = usual.set(e.key, *most->find(e.key));
    for (Tree& shape : shapes)
      if (const Tree* own = shape.find(e.key); own != nullptr && own->text() == set.text())
        shape.erase(e.key);
  }
  fmt::print("\n{}\n", wrapped(fmt::format("{} on {}, {}", rows.front()->operation,
                                           rows.front()->target, kernels::shape_text(usual)),
                               kTerminalWidth, 2));
  TextTable table({">us", ">p5", ">p95", ">calls", ">dropped", ">GB/s", ">memory", ">of it",
                   ">of plain", ">GFLOP/s", ">of peak", rows.size() > 1 ? "otherwise" : ""});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const kernels::BenchRow& r = *rows[i];
    const std::string shape = shapes[i].entries().empty() ? "" : kernels::shape_text(shapes[i]);
    if (!r.skipped_why.empty()) {
      table.row(
          {"-", "", "", "", "", "", "", "", "", "", "", shape + " skipped: " + r.skipped_why});
      continue;
    }
    table.row({fmt::format("{:.1f}", 1e6 * r.timing.median),
               fmt::format("{:.1f}", 1e6 * r.timing.p5), fmt::format("{:.1f}", 1e6 * r.timing.p95),
               std::to_string(r.timing.calls), std::to_string(r.timing.rejected),
               fmt::format("{:.2f}", r.byte_rate / 1e9),
               std::isfinite(r.memory_rate) ? fmt::format("{:.2f}", r.memory_rate / 1e9) : "-",
               percent(r.of_bandwidth), percent(r.of_plain_copy),
               fmt::format("{:.1f}", r.flop_rate / 1e9), percent(r.of_peak), shape});
  }
  fmt::print("{}", table.text());
}

void print_bench(const kernels::BenchReport& report) {
  for (const auto& [name, m] : report.machines)
    if (m.read > 0)
      fmt::print(
          "{}: reads {:.1f} GB/s, copies {:.1f} GB/s (read + written; memcpy {:.1f}, plain stores "
          "{:.1f}), {:.0f} GFLOP/s in f32\n",
          name, m.read / 1e9, m.copy / 1e9, m.memcpy / 1e9, m.plain_copy / 1e9, m.flops / 1e9);
  for (const BenchRows& rows : grouped_rows(report.rows)) print_bench_rows(rows);
}

int run_bench(const po::variables_map& v) {
  kernels::BenchOptions options;
  options.operations = list_option(v, "operation");
  options.shapes = shapes_of(v);
  options.calls = v["calls"].as<std::int64_t>();
  options.budget = v["budget"].as<double>();
  if (options.calls < 1 || options.calls > 100000)
    throw InputError("--calls: expected 1 to 100000");
  if (!(options.budget > 0) || options.budget > 600)
    throw InputError("--budget: expected more than 0 and at most 600 seconds");
  const KernelTargets targets(target_options(v), false);
  const kernels::BenchReport report =
      kernels::bench_kernels(options, targets.all(), kernel_progress);
  end_kernel_progress();
  if (v.count("json") > 0) {
    Tree json = Tree::list();
    for (const kernels::BenchRow& r : report.rows) json.push(bench_json(r));
    print_json(json);
  } else {
    print_bench(report);
  }
  for (const std::string& s : targets.skipped()) fmt::print(stderr, "skipped: {}\n", s);
  return 0;
}

int run(const po::variables_map& v) {
  const std::string what = option_or(v, "what", std::string{});
  if (what == "check") return run_check(v);
  if (what == "bench") return run_bench(v);
  if (what == "calibrate") return run_kernel_calibrate(v);
  if (what == "loop") return run_kernel_loop_verb(v);
  throw InputError(fmt::format("kvsim kernels: unknown action '{}'", what),
                   "valid: check, bench, calibrate, loop");
}

}  // namespace

extern const Command kKernelsCommand{
    "kernels",
    "real kernels on this machine's CPU and Vulkan devices: compared with references, timed",
    "check | bench [OPERATION...], calibrate, loop",
    "  kvsim kernels check                                   every twin on every device\n"
    "  kvsim kernels check decode-attention --isa avx2 --cases 500\n"
    "  kvsim kernels bench decode-attention --device cpu --threads 1 --threads 2\n"
    "  kvsim kernels bench decode-attention --shape '{context: 4096, element: i4}'\n"
    "  kvsim kernels calibrate -o cpu.yaml                   this CPU as hardware of scenarios\n"
    "  kvsim kernels loop --scenario scenarios/examples/this-machine.yaml",
    declare,
    run};

}  // namespace kvsim
