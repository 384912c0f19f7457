#include "kernels/harness/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/diagnostics.h"

namespace kvsim::kernels {

namespace {

constexpr std::size_t kFailuresShown = 5;

void run_case(Operation& op, const std::string& shape, const NamedTarget& target, CheckRow& row) {
  std::string why;
  const std::unique_ptr<Bound> bound = op.bind(target.target, why);
  if (!bound) {
    if (row.skipped++ == 0) row.skipped_why = why;
    return;
  }
  op.poison();
  bound->run(0);
  bound->fetch();
  const Operation::Difference d = op.difference();
  const bool is_good = d.of_bound <= 1;  // false for NaN
  (is_good ? row.passed : row.failed) += 1;
  if (!is_good && row.failures.size() < kFailuresShown)
    row.failures.push_back(fmt::format("{}: {}", shape, d.text));
  if (d.of_bound > row.worst || row.worst_text.empty()) {
    row.worst = std::max(row.worst, d.of_bound);
    row.worst_text = d.text;
    row.worst_shape = shape;
  }
}

}  // namespace

std::unique_ptr<Operation> make_operation(const std::string& name, const Tree& shape,
                                          const Operation::Context& context) {
  const Registry& registry = Registry::instance();
  if (registry.find(Operation::kKind, name) == nullptr)
    throw InputError(fmt::format("unknown kernel '{}'", name),
                     name_hint(name, registry.names(Operation::kKind)));
  return registry.make<Operation>(name, shape, context);
}

std::string shape_text(const Tree& shape) {
  std::string text;
  for (const Tree::Entry& e : shape.entries())
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", e.key, e.value.text());
  return "{" + text + "}";
}

std::vector<CheckRow> check_kernels(const CheckOptions& options,
                                    const std::vector<NamedTarget>& targets,
                                    const std::function<void(const std::string&)>& progress) {
  std::vector<std::string> names = options.operations;
  if (names.empty()) names = Registry::instance().names(Operation::kKind);
  std::vector<CheckRow> rows;
  for (const std::string& name : names) {
    const auto sample = make_operation(name, Tree::map(), {});
    if (progress) progress(name);
    const Rng rng(options.seed, "kernels/check/" + name);
    const std::vector<Tree> shapes =
        options.shapes.empty() ? sample->shapes(Operation::Purpose::check, rng, options.cases)
                               : options.shapes;
    const std::size_t first = rows.size();
    for (const NamedTarget& t : targets) {
      rows.emplace_back();
      rows.back().operation = name;
      rows.back().target = t.name;
    }
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const auto op = make_operation(name, shapes[i], {.seed = options.seed + i});
      op->reference();
      for (std::size_t t = 0; t < targets.size(); ++t) {
        if (targets[t].target.cpu != nullptr) force_isa(targets[t].isa);
        run_case(*op, shape_text(shapes[i]), targets[t], rows[first + t]);
      }
    }
  }
  force_isa(Isa::best);
  return rows;
}

}  // namespace kvsim::kernels
