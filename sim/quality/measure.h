#pragma once
// What a policy does to the attention of a sequence, and to a model's text.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "policies/token/spec.h"
#include "sim/quality/sequence.h"

namespace kvsim::quality {

enum class Measure : std::uint8_t {
  out_err,
  mass,
  recall,
  needle_survival,
  attn_kl,
  rel_mse_keys,
  rel_mse_values,
  perplexity,
  agreement,
  first_difference
};
constexpr auto enum_names(Measure) {
  return std::array{std::pair{Measure::out_err, "out_err"},
                    std::pair{Measure::mass, "mass"},
                    std::pair{Measure::recall, "recall"},
                    std::pair{Measure::needle_survival, "needle_survival"},
                    std::pair{Measure::attn_kl, "attn_kl"},
                    std::pair{Measure::rel_mse_keys, "rel_mse_keys"},
                    std::pair{Measure::rel_mse_values, "rel_mse_values"},
                    std::pair{Measure::perplexity, "perplexity"},
                    std::pair{Measure::agreement, "agreement"},
                    std::pair{Measure::first_difference, "first_difference"}};
}
// Definition in one sentence, and the unit.
const char* measure_text(Measure);
const char* measure_unit(Measure);
// Of tensors, not of text.
bool is_proxy(Measure);
// A share of something to be kept: small is bad.
bool small_is_bad(Measure);

// One number per layer, head and step of a sequence; NaN where it is not defined. Heads are query
// heads, or KV heads where a measure is of what is stored.
struct Grid {
  std::int32_t layers = 0, heads = 0, steps = 0;
  std::vector<float> values;  // [layer][head][step]
  [[nodiscard]] float& at(std::int32_t layer, std::int32_t head, std::int32_t step) {
    return values[(static_cast<std::size_t>(layer) * static_cast<std::size_t>(heads) +
                   static_cast<std::size_t>(head)) *
                      static_cast<std::size_t>(steps) +
                  static_cast<std::size_t>(step)];
  }
};

// Of one sequence under one policy. Bytes and tokens at its end.
struct PolicyOnTensors {
  std::map<Measure, Grid> grids;
  double kv_bytes = 0;     // stored, wherever
  double kept_tokens = 0;  // mean over layers and KV heads
  double read_tokens = 0;  // mean, in the last step
};
PolicyOnTensors measure_on(const Sequence&, const FullAttention&, const token::TokenPolicies&,
                           const std::vector<Measure>& wanted, std::uint64_t seed, const Compute&);

// One row of results: of all when layer, head and step are -1.
struct Value {
  Measure measure = Measure::out_err;
  std::string statistic;  // mean, p99, p1 (where small is bad), value
  std::int32_t layer = -1, head = -1, step = -1;
  double value = 0;
  bool operator==(const Value&) const = default;
};
struct Detail {
  bool layers = true, heads = false, steps = false;
};
// Means and tails over what is defined; grids of several sequences, alike in size.
void summarize(Measure, const std::vector<const Grid*>&, const Detail&, std::vector<Value>& out);

}  // namespace kvsim::quality
