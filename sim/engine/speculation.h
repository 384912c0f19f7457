#pragma once
// Speculative decoding: a cheap proposer drafts some tokens for every decoding sequence, the model
// verifies them all in one iteration and keeps those before the first wrong one, and one token of
// its own (Leviathan et al. 2023, arXiv:2211.17192; engines: a draft model, EAGLE, or an n-gram
// look-up in the prompt).
//
// Whether the j-th draft is right is drawn per (request, output position, j): policies under
// comparison see the same luck, whoever shares the batch. A draft is right with probability
// acceptance[j], given that those before it were; with one value a, k drafts give
// (1 - a^(k+1)) / (1 - a) tokens an iteration on average.
//
// Drafts may be a tree (SpecInfer, arXiv:2305.09781; Medusa, arXiv:2401.10774): all of them are
// verified, one of each level at most is right, and acceptance[j] is that of level j as a whole.
// Of levels 1 to d, 1 + sum over l of acceptance[1] x ... x acceptance[l] tokens come on average.
#include <cstdint>
#include <memory>
#include <vector>

#include "hardware/cost_model.h"
#include "sim/base/random.h"

namespace kvsim {

struct SpeculationRules {
  std::int64_t tokens = 4;           // drafts of a sequence and iteration
  std::vector<std::int64_t> levels;  // of a tree, drafts by level, `tokens` in all; none: a chain
  std::vector<double> acceptance;    // by position; the last holds for those after it; never empty
  double proposes = 1;            // chance that there is a draft at all (look-ups may find nothing)
  std::int64_t most_running = 0;  // no drafts while more requests run; 0 = always
  Duration draft_time{};  // GPU time of one draft token, or level of a tree, of the whole batch
  std::uint64_t seed = 0;
};

class Speculation {
 public:
  explicit Speculation(SpeculationRules);
  // Drafts come from a model, priced by `cost`; it computes prompts too, and a token a step.
  Speculation(SpeculationRules, std::unique_ptr<ModelWork> model, std::unique_ptr<CostModel> cost);
  ~Speculation();

  // Drafts for a request that has sampled so many tokens, in a rank that runs so many.
  [[nodiscard]] std::int64_t drafts(std::uint64_t request, std::int64_t sampled,
                                    std::int64_t running) const;
  // How many of the first `drafts` of these are right, one after the other.
  [[nodiscard]] std::int64_t accepted(std::uint64_t request, std::int64_t sampled,
                                      std::int64_t drafts) const;
  // Tokens of a sequence and iteration, expected.
  [[nodiscard]] double expected_tokens(std::int64_t drafts) const;
  // GPU time of the proposer in an iteration of this shape whose most drafts of a sequence are
  // `drafts`.
  [[nodiscard]] std::int64_t draft_ns(const StepShape&, std::int64_t drafts) const;
  [[nodiscard]] const SpeculationRules& rules() const { return rules_; }

 private:
  [[nodiscard]] double acceptance(std::int64_t position) const;
  // Drafts that follow each other: whole levels of a tree.
  [[nodiscard]] std::int64_t depth(std::int64_t drafts) const;
  [[nodiscard]] Rng luck(std::uint64_t request, std::int64_t sampled) const;

  SpeculationRules rules_;
  Rng rng_;
  std::unique_ptr<ModelWork> model_;
  std::unique_ptr<CostModel> cost_;  // may be null
};

}  // namespace kvsim
