#include "kernels/harness/bench.h"

#include <limits>
#include <memory>

#include "kernels/bandwidth.h"
#include "kernels/threads.h"

namespace kvsim::kernels {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// What writes as much as a tenth of what it reads is measured against copies, the rest against
// reads.
bool is_copy(const Operation::Traffic& t) { return t.bytes_written * 10 >= t.bytes_read; }

// What a row is measured beside: nothing when empty.
struct Beside {
  MemoryProbe* memory = nullptr;
  double flops = 0;
};

// A device with a clock of its own: what the host does meanwhile does not matter.
Timing time_device(Bound& bound, const Operation& op, const BenchOptions& o) {
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

// On a CPU, in turn with the probe, so that what slows the machine slows both.
void time_cpu(Bound& bound, const Operation& op, const NamedTarget& t, const BenchOptions& o,
              MemoryProbe* memory, BenchRow& row) {
  const bool copies = is_copy(op.traffic());
  std::vector<std::function<void(std::int64_t)>> calls{
      [&](std::int64_t i) { bound.run(i % op.copies()); }};
  if (memory != nullptr && copies) {
    calls.emplace_back([&](std::int64_t i) { memory->copy_non_temporal(2 * i); });
    calls.emplace_back([&](std::int64_t i) { memory->copy_plain(2 * i + 1); });
  } else if (memory != nullptr) {
    calls.emplace_back([&](std::int64_t i) { memory->read(i); });
  }
  const std::vector<Timing> times =
      time_in_turn({.threads = t.target.cpu->count(), .calls = o.calls, .budget = o.budget}, calls);
  row.timing = times.front();
  if (memory != nullptr)
    row.memory_rate = (copies ? memory->bytes_copied() : memory->bytes_read()) / times[1].median;
  if (memory != nullptr && copies) row.plain_copy_rate = memory->bytes_copied() / times[2].median;
}

BenchRow time_row(const std::string& name, const Tree& shape, const NamedTarget& target,
                  const BenchOptions& options, const Beside& beside) {
  const std::int64_t footprint =
      options.footprint > 0 ? options.footprint : static_cast<std::int64_t>(bytes_beyond_caches());
  const auto op = make_operation(name, shape, {.seed = 1, .footprint = footprint});
  if (target.target.cpu != nullptr) force_isa(target.isa);
  BenchRow row;
  row.operation = name;
  row.shape = shape_text(shape);
  row.target = target.name;
  const auto bound = op->bind(target.target, row.skipped_why);
  if (!bound) return row;
  row.memory_rate = row.plain_copy_rate = kNone;
  if (target.target.cpu != nullptr)
    time_cpu(*bound, *op, target, options, beside.memory, row);
  else
    row.timing = time_device(*bound, *op, options);
  const Operation::Traffic traffic = op->traffic();
  const double s = row.timing.median;
  row.read_rate = traffic.bytes_read / s;
  row.byte_rate = (traffic.bytes_read + traffic.bytes_written) / s;
  row.flop_rate = traffic.flops / s;
  row.of_bandwidth = (is_copy(traffic) ? row.byte_rate : row.read_rate) / row.memory_rate;
  row.of_plain_copy = row.byte_rate / row.plain_copy_rate;
  row.of_peak = beside.flops > 0 && traffic.flops > 0 ? row.flop_rate / beside.flops : kNone;
  return row;
}

}  // namespace

MachineRates machine_rates(const NamedTarget& t, double budget) {
  if (t.target.cpu == nullptr) return {};
  force_isa(t.isa);
  const ProbeRules rules{.bytes = bytes_beyond_caches(), .calls = 9, .budget = budget};
  const CopyRates copies = probe_copy(*t.target.cpu, rules);
  return {probe_read(*t.target.cpu, rules).median, copies.non_temporal.median,
          probe_fma(*t.target.cpu, rules).median, copies.memcpy.median, copies.plain.median};
}

BenchRow time_operation(const std::string& name, const Tree& shape, const NamedTarget& target,
                        const BenchOptions& options) {
  return time_row(name, shape, target, options, {});
}

BenchReport bench_kernels(const BenchOptions& options, const std::vector<NamedTarget>& targets,
                          const std::function<void(const std::string&)>& progress) {
  BenchReport report;
  std::vector<std::unique_ptr<MemoryProbe>> memory;
  for (const NamedTarget& t : targets) {
    if (progress) progress(t.name + ": what the machine can do");
    report.machines.emplace_back(t.name, machine_rates(t, options.budget));
    memory.push_back(t.target.cpu == nullptr
                         ? nullptr
                         : std::make_unique<MemoryProbe>(*t.target.cpu, bytes_beyond_caches()));
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
        report.rows.push_back(time_row(name, shape, targets[t], options,
                                       {memory[t].get(), report.machines[t].second.flops}));
    }
  }
  force_isa(Isa::best);
  return report;
}

}  // namespace kvsim::kernels
