#pragma once
// What is to be measured: the mapping `quality` of a scenario or of a file for `kvsim quality`.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "policies/token/compose.h"
#include "sim/base/registry.h"
#include "sim/quality/measure.h"
#include "sim/quality/source.h"

namespace kvsim::quality {

// `h2o`, an item of a pipeline with a label of its own, or {label: NAME, pipeline: [items]}.
struct PolicySpec {
  std::string label;
  Tree pipeline;  // as cache.token_policies
};

enum class Grain : std::uint8_t { layer, head, step };
constexpr auto enum_names(Grain) {
  return std::array{std::pair{Grain::layer, "layer"}, std::pair{Grain::head, "head"},
                    std::pair{Grain::step, "step"}};
}

struct QualitySpec {
  Choice<"quality-source", "kind"> source{"synthetic"};
  std::vector<PolicySpec> policies{};
  std::vector<Ratio> budgets{};
  std::vector<Measure> measures{};
  std::vector<Grain> detail{Grain::layer};
  std::int64_t prompt = 0, steps = 0, sequences = 1, generate = 0, top = 16;
  static constexpr Rows kFields{
      field("source", &QualitySpec::source, any,
            "queries, keys and values: {kind: synthetic | transformer | tensors, ...}"),
      field("policies", &QualitySpec::policies, any,
            "token policies to compare (kvsim list token-policies); in a scenario: "
            "cache.token_policies instead"),
      field("budgets", &QualitySpec::budgets, between(Ratio{1e-4}, Ratio{1}),
            "shares of the whole cache's bytes that each policy is brought to; empty = as it is"),
      field("measures", &QualitySpec::measures, any, "empty = all that the source can give"),
      field("detail", &QualitySpec::detail, any,
            "besides the total: a row per layer, head or step"),
      field("prompt", &QualitySpec::prompt, between<std::int64_t>(0, 1 << 20),
            "tokens that attend in full before policies act; 0 = as the source finds fit"),
      field("steps", &QualitySpec::steps, between<std::int64_t>(0, 1 << 20),
            "decode steps under the policy, measured one by one; 0 = likewise"),
      field("sequences", &QualitySpec::sequences, between<std::int64_t>(1, 4096),
            "prompts; figures are over all of them"),
      field("generate", &QualitySpec::generate, between<std::int64_t>(0, 1 << 16),
            "greedy tokens after each prompt, compared with those of the whole cache (sources with "
            "a model)"),
      field("top", &QualitySpec::top, between<std::int64_t>(1, 4096),
            "most attended tokens of recall")};
};

// A file for `kvsim quality`.
struct QualityFile {
  int kvsim = 1;
  std::string name = "quality", text;
  std::uint64_t seed = 1;
  Tree model;
  QualitySpec quality;
  static constexpr Rows kFields{
      field("kvsim", &QualityFile::kvsim, between(1, 1), "version of this format"),
      field("name", &QualityFile::name, any, "of the result"),
      field("text", &QualityFile::text, any, "what it shows"),
      field("seed", &QualityFile::seed, any, "of the tensors and of what policies draw"),
      field("model", &QualityFile::model, any,
            "of the catalogue; gives synthetic tensors its heads"),
      field("quality", &QualityFile::quality, any, "what is measured")};
};

// A pipeline that passed all checks.
struct NamedPolicies {
  std::string label;
  token::TokenPolicies policies;
};
// Reads one pipeline for heads of this shape; mistakes, and rules that it breaks, go to the reader.
NamedPolicies resolve(const PolicySpec&, const token::KvShape&, Reader&);

}  // namespace kvsim::quality

namespace kvsim {
template <>
struct Codec<quality::PolicySpec> {
  static bool read(const Tree&, quality::PolicySpec&, Reader&);
  static Tree write(const quality::PolicySpec&);
  static TypeInfo info();
};
KVSIM_FIELDS_ELSEWHERE(quality::QualitySpec)
KVSIM_FIELDS_ELSEWHERE(quality::QualityFile)
}  // namespace kvsim
