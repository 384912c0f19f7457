#pragma once
// KV in a compressed form, as the engine sees it: how many blocks a sequence takes while its prompt
// is computed and while it decodes, what a decode step reads, and what it does besides. sim/run
// makes it from the scenario's token policies; without them the engine asks nothing of this.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "sim/base/work.h"

namespace kvsim {

// What a decode step of one sequence takes. Fixed point, kLoadOne to a token or a nanosecond: sums
// do not depend on their order.
inline constexpr std::int64_t kLoadOne = 1024;
enum class TokenLoad : std::uint8_t {
  context,  // tokens of the uncompressed cache that are read as fast as what it reads
  score,    // ns of the GPU: importance of tokens
  index,    // ranking units of tokens
  restore,  // rebuilding what is read, beyond the time that reading it takes
  merge,    // folding tokens into others
  encode,   // codes of new tokens
  fetch,    // ns of the host link
  far,      // ns of search and attention where the KV lies, off the GPU
  kept,     // tokens of the uncompressed cache that take as much memory, on and off the GPU
  full      // tokens that it has
};
inline constexpr std::size_t kTokenLoads = 10;
constexpr auto enum_names(TokenLoad) {
  return std::array{
      std::pair{TokenLoad::context, "context"}, std::pair{TokenLoad::score, "score"},
      std::pair{TokenLoad::index, "index"},     std::pair{TokenLoad::restore, "restore"},
      std::pair{TokenLoad::merge, "merge"},     std::pair{TokenLoad::encode, "encode"},
      std::pair{TokenLoad::fetch, "fetch"},     std::pair{TokenLoad::far, "far"},
      std::pair{TokenLoad::kept, "kept"},       std::pair{TokenLoad::full, "full"}};
}
using TokenLoads = std::array<std::int64_t, kTokenLoads>;

// From `from` generated tokens on, everything grows evenly.
struct KvPhase {
  std::int64_t from = 0;
  std::int64_t blocks = 0;              // held then
  std::int64_t period = 0, offset = 0;  // a block more every `period` steps; 0 = no more
  TokenLoads level{}, slope{};          // of the step at `from`, and by how much the next differs
  [[nodiscard]] std::int64_t blocks_at(std::int64_t generated) const {
    return blocks + (period > 0 ? (generated - from + offset) / period : 0);
  }
  [[nodiscard]] std::int64_t load(TokenLoad l, std::int64_t generated) const {
    const auto i = static_cast<std::size_t>(l);
    return level[i] + slope[i] * (generated - from);
  }
};

// Sequences with prompts of one length.
struct KvCurve {
  // While tokens are computed, so many of them take ceil((n token + min(n, buffered) buffer +
  // fixed) / block) blocks, at most `most`. Units of 1/1024 byte.
  std::int64_t token = 0, buffer = 0, buffered = 0, fixed = 0, block = 1;
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  // Hidden states: to project an earlier token again with a later piece of the prompt, kLoadOne to
  // a nanosecond.
  std::int64_t history = 0;
  std::vector<KvPhase> phases;  // while decoding; ascending, the first from 0

  [[nodiscard]] std::int64_t computing(std::int64_t n) const {
    const std::int64_t all = n == 0 ? 0 : n * token + std::min(n, buffered) * buffer + fixed;
    return std::min(most, (all + block - 1) / block);
  }
  [[nodiscard]] std::size_t phase_at(std::int64_t generated) const {
    std::size_t i = phases.size() - 1;
    while (phases[i].from > generated) --i;
    return i;
  }
  [[nodiscard]] std::int64_t decoding(std::int64_t generated) const {
    return phases[phase_at(generated)].blocks_at(generated);
  }
};

// What the prompts of an iteration do besides.
struct PieceLoads {
  std::int64_t gpu_ns = 0, link_ns = 0;
};

class KvForms {
 public:
  // What becomes of a prompt's blocks when it is computed: they stay what they are; or the sequence
  // goes on in blocks of its own, and they are given up, or left to the prefix cache.
  enum class Turn : std::uint8_t { in_place, own, left };

  virtual ~KvForms() = default;
  // Stays where it is as long as this lives.
  virtual const KvCurve& curve(std::int64_t prompt) = 0;
  // The same of a sequence that keeps hidden states; null: nobody does, or it would gain nothing.
  // Requires blocks that stay, which no other request uses.
  virtual const KvCurve* hidden(std::int64_t prompt) {
    (void)prompt;
    return nullptr;
  }
  // Of `known` tokens in all; `priced` (which comes as the piece itself) becomes the piece of
  // uncompressed attention that costs as much.
  virtual PieceLoads piece(std::int64_t known, const PrefillPiece&, PrefillPiece& priced) = 0;

  [[nodiscard]] Turn turn() const { return turn_; }
  // Of an uncompressed token on one tensor-parallel rank.
  [[nodiscard]] std::int64_t token_bytes() const { return token_bytes_; }
  // Time of an iteration whose model takes `gpu_ns`, with what its decodes (and prompts) do
  // besides.
  [[nodiscard]] std::int64_t time(std::int64_t gpu_ns, const TokenLoads&, const PieceLoads&,
                                  bool decodes) const;

 protected:
  Turn turn_ = Turn::in_place;
  std::int64_t step_ns_ = 0;  // of an iteration with decodes: kernels started, links woken
  bool ahead_ = false;        // the link works behind the layer before
  std::int64_t layers_ = 1;
  std::int64_t token_bytes_ = 0;
};

}  // namespace kvsim
