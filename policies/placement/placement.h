#pragma once
// Where the KV of a sequence's tokens lies while it decodes among others of its kind (a block of
// offline inference, whose sequences start together and share the GPU's memory evenly): the
// contract. Counts are of one sequence in one step, over all layers; times of the same, the share
// of a sequence where the block shares something.
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/registry.h"

namespace kvsim {

struct PlacedTokens {
  double gpu = 0, host = 0;        // that have KV there
  double read = 0;                 // that attention reads
  double fetched = 0, stored = 0;  // that come and go over the host link
  double recomputed = 0;           // of those read, whose keys and values are computed again
};

class TokenPlacement {
 public:
  using Contract = TokenPlacement;
  static constexpr const char* kKind = "placement";
  struct Context {
    std::int64_t room = 0;       // tokens whose KV the GPU holds
    std::int64_t host_room = 0;  // the same of host memory, uncompressed
    // ns: a step that attends to nothing, the block's evenly; attention over one token; one token's
    // KV over the host link, through the GPU's memory once; its keys and values from the layers'
    // inputs; all of the model for it.
    double step = 0, attend = 0, link = 0, pass = 0, project = 0, forward = 0;
  };
  virtual ~TokenPlacement() = default;
  // False: all of it stays on the GPU, nothing else is asked.
  [[nodiscard]] virtual bool places() const = 0;
  // The step after so many generated tokens.
  [[nodiscard]] virtual PlacedTokens at(std::int64_t prompt, std::int64_t generated) = 0;
  // Generated tokens at which something begins to grow otherwise, ascending, all above 0.
  [[nodiscard]] virtual std::vector<std::int64_t> bends(std::int64_t prompt) = 0;
  // Of a token in host memory: bytes over those on the GPU. Below 1 it passes the GPU's memory once
  // more.
  [[nodiscard]] virtual double host_share() const { return 1; }
  // Of each token recomputed, ns.
  [[nodiscard]] virtual double recompute_ns() const { return 0; }
  // What is fetched comes while the layer before computes.
  [[nodiscard]] virtual bool overlaps() const { return true; }
  // What was decided for prompts of this length, one line.
  [[nodiscard]] virtual std::string describe(std::int64_t prompt) = 0;
};

}  // namespace kvsim
