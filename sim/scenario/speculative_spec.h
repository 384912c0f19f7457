#pragma once
// `engine.speculative`: tokens drafted ahead and verified together (sim/engine/speculation.h).
#include <cstdint>
#include <optional>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/time.h"

namespace kvsim {

// `acceptance: 0.7`, or a list by position whose last value holds for all further ones. For trees a
// position may be a list by branch.
struct Acceptance {
  std::vector<std::vector<double>> chances{{0.7}};
};
template <>
struct Codec<Acceptance> {
  static bool read(const Tree&, Acceptance&, Reader&);
  static Tree write(const Acceptance&);
  static TypeInfo info();
};

struct SpeculativeSpec {
  std::int64_t tokens = 4;
  Acceptance acceptance;
  Tree draft;
  std::optional<Duration> draft_time;
  double proposes = 1;
  std::int64_t most_running = 0;
  std::vector<std::int64_t> tree;
  static constexpr Rows kFields{
      field("tokens", &SpeculativeSpec::tokens, between<std::int64_t>(1, 64),
            "drafts of a sequence and iteration; each takes a KV place"),
      field(
          "acceptance", &SpeculativeSpec::acceptance, any,
          "chance that a draft is right when those before it are: a number, or a list by position "
          "whose last value holds for all further ones. Of a tree, a position is a list by branch "
          "(one of them is right at most), or a number: each branch's when those beside it are "
          "wrong"),
      field("draft", &SpeculativeSpec::draft, any,
            "model that drafts, as the key `model`; it shares the GPUs and the memory for KV. "
            "Without one drafts are looked up (n-grams) or come from heads of the model"),
      field("draft_time", &SpeculativeSpec::draft_time, any,
            "without a draft model: GPU time of one draft token of the whole batch; default 0"),
      field("proposes", &SpeculativeSpec::proposes, between(0.0, 1.0),
            "chance that there is a draft at all; below 1 for look-ups that may find nothing"),
      field("most_running", &SpeculativeSpec::most_running,
            between<std::int64_t>(0, std::int64_t{1} << 20),
            "nothing is drafted while more requests run in a rank; 0 = no limit"),
      field("tree", &SpeculativeSpec::tree, between<std::int64_t>(1, 64),
            "drafts are a tree, in place of tokens: every draft of a level goes on in so many of "
            "the next (SpecInfer, Medusa); [4, 2] is 4 + 8 drafts")};
};

}  // namespace kvsim
