#pragma once
// Measures policies on a source: every policy at every budget, the whole cache first. What the
// store holds is not measured again. Same inputs: same results, on any number of threads.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/quality/fit.h"
#include "sim/quality/spec.h"
#include "sim/quality/store.h"

namespace kvsim::quality {

struct Question {
  QualitySpec spec;
  std::vector<NamedPolicies> policies;
  std::string base_dir;
  std::uint64_t seed = 1;
  std::optional<token::KvShape> like;  // a model's heads
};

// What is wrong with a spec goes to the reader: the source's parameters, policies for its heads,
// measures that it cannot give. `policies` of the spec become those of the question.
Question read_question(const QualitySpec&, const std::string& base_dir, std::uint64_t seed,
                       std::optional<token::KvShape> like, Reader&);

struct MeasureOptions {
  int threads = 1;
  kernels::vulkan::Device* vulkan = nullptr;
  std::string device = "cpu";    // as stored: results of devices differ within their bounds
  std::filesystem::path folder{};  // of the store; empty: nothing is kept
  std::function<void(const std::string&)> progress{};  // may be empty
};

struct PointResult {
  std::string policy;            // label; "full" = the whole cache
  std::optional<double> budget;  // share that was asked for
  std::string parameters;        // that the budget led to: "size 102"
  double read_bytes = 0;         // of a step, by arithmetic
  Measured measured;
  bool was_kept = false;  // came from the store
};
struct QualityResult {
  std::string source;  // kind and what it names
  token::KvShape shape;
  std::int32_t prompt = 0, steps = 0, sequences = 0;
  double full_bytes = 0;       // of one sequence at its end
  double full_read_bytes = 0;  // of its last step
  std::vector<PointResult> points;
  std::vector<std::string> notes;  // budgets that a policy cannot reach
};
QualityResult measure_quality(const Question&, const MeasureOptions&);

// Of all layers, heads and steps: "mean", or "value" where there is but one. Empty when unknown.
std::optional<double> total_of(const Measured&, Measure, const std::string& statistic = "");

}  // namespace kvsim::quality
