#include "kernels/harness/bench.h"

#include <cmath>
#include <limits>

#include "kernels/bandwidth.h"
#include "kernels/threads.h"

namespace kvsim::kernels {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Timing time_bound(Bound& bound, const Operation& op, const NamedTarget& t, const BenchOptions& o) {
  if (t.target.cpu != nullptr)
    return time_calls({.threads = t.target.cpu->count(), .calls = o.calls, .budget = o.budget},
                      [&](std::int64_t i) { bound.run(i % op.copies()); });
  // A device with a clock of its own: what the host does meanwhile does not matter.
  std::vector<double> seconds;
  bound.run(0);
  double spent = 0;
  for (std::int64_t i = 0; i < o.calls && spent < o.budget; ++i) {
    bound.run(i % op.copies());
    seconds.push_back(bound.device_seconds());
    spent += seconds.back();
  }
  return summarise(std::move(seconds), 0);
}

void fill_rates(BenchRow& row, const Operation::Traffic& traffic, const MachineRates& machine) {
  const double s = row.timing.median;
  const double bytes = traffic.bytes_read + traffic.bytes_written;
  row.read_rate = traffic.bytes_read / s;
  row.byte_rate = bytes / s;
  row.flop_rate = traffic.flops / s;
  const bool writes = traffic.bytes_written * 10 >= traffic.bytes_read;
  const double ceiling = writes ? machine.copy : machine.read;
  row.of_bandwidth = ceiling > 0 ? (writes ? row.byte_rate : row.read_rate) / ceiling : kNone;
  row.of_peak = machine.flops > 0 && traffic.flops > 0 ? row.flop_rate / machine.flops : kNone;
}

}  // namespace

MachineRates machine_rates(const NamedTarget& t, double budget) {
  if (t.target.cpu == nullptr) return {};
  force_isa(t.isa);
  const ProbeRules rules{.bytes = std::size_t{512} << 20, .calls = 9, .budget = budget};
  const CopyRates copies = probe_copy(*t.target.cpu, rules);
  return {probe_read(*t.target.cpu, rules).median, copies.non_temporal.median,
          probe_fma(*t.target.cpu, rules).median, copies.memcpy.median};
}

BenchRow time_operation(const std::string& name, const Tree& shape, const NamedTarget& target,
                        const BenchOptions& options, const MachineRates& machine) {
  const auto op = make_operation(name, shape, {.seed = 1, .footprint = options.footprint});
  if (target.target.cpu != nullptr) force_isa(target.isa);
  BenchRow row;
  row.operation = name;
  row.shape = shape_text(shape);
  row.target = target.name;
  if (const auto bound = op->bind(target.target, row.skipped_why)) {
    row.timing = time_bound(*bound, *op, target, options);
    fill_rates(row, op->traffic(), machine);
  }
  return row;
}

BenchReport bench_kernels(const BenchOptions& options, const std::vector<NamedTarget>& targets,
                          const std::function<void(const std::string&)>& progress) {
  BenchReport report;
  for (const NamedTarget& t : targets) {
    if (progress) progress(t.name + ": what the machine can do");
    report.machines.emplace_back(t.name, machine_rates(t, options.budget));
  }
  std::vector<std::string> names = options.operations;
  if (names.empty()) names = Registry::instance().names(Operation::kKind);
  for (const std::string& name : names) {
    std::vector<Tree> shapes = options.shapes;
    if (shapes.empty())
      shapes = make_operation(name, Tree::map(), {})
                   ->shapes(Operation::Purpose::bench, Rng(0, "kernels/bench"), 0);
    for (const Tree& shape : shapes) {
      if (progress) progress(name + " " + shape_text(shape));
      for (std::size_t t = 0; t < targets.size(); ++t)
        report.rows.push_back(
            time_operation(name, shape, targets[t], options, report.machines[t].second));
    }
  }
  force_isa(Isa::best);
  return report;
}

}  // namespace kvsim::kernels
