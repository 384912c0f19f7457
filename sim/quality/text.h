#pragma once
// A model's text under a policy: how likely the given text stays, and what it would write.
#include <cstdint>
#include <vector>

#include "sim/quality/source.h"

namespace kvsim::quality {

struct TextResult {
  double nll = 0;                       // sum of -ln p of the scored tokens
  std::int64_t scored = 0;              // tokens after the prompt, but for begin tokens
  std::vector<std::int32_t> generated;  // greedy
};

// Of the whole cache, in one pass.
TextResult read_in_full(const TextModel&, std::int32_t index, const Sequence&, const Compute&);
// The prompt attends in full, then every token under the policy: of the text (its likelihood), and
// of what it writes itself, `generate` tokens, each the likeliest.
TextResult read_under(const TextModel&, std::int32_t index, const Sequence&,
                      const token::TokenPolicies&, bool likelihood, std::int64_t generate,
                      std::uint64_t seed, const Compute&);

}  // namespace kvsim::quality
