#pragma once
// `cache.placement`: from where a placement says tokens lie (policies/placement) to what the engine
// asks of KV that is not all on the GPU. Memory of the GPU is shared evenly by max_running
// sequences, in whole blocks; between two bends everything is taken to grow evenly.
#include <map>
#include <memory>

#include "policies/placement/placement.h"
#include "sim/engine/kv_form.h"
#include "sim/run/build.h"

namespace kvsim {

class PlacedForms final : public KvForms {
 public:
  // ns of one token's KV over the host link, and through the GPU's memory.
  struct Rates {
    double link = 0, pass = 0;
    std::int64_t link_latency_ns = 0;
  };
  PlacedForms(std::unique_ptr<TokenPlacement>, std::int64_t room_blocks, std::int64_t block_tokens,
              std::int64_t layers, std::int64_t token_bytes, const Rates&);
  const KvCurve& curve(std::int64_t prompt) override;
  // What finds no room on the GPU leaves as it is computed, and comes back for later pieces.
  PieceLoads piece(std::int64_t known, const PrefillPiece&, PrefillPiece& priced) override;

 private:
  [[nodiscard]] KvCurve draw(std::int64_t prompt);
  [[nodiscard]] KvPhase phase(std::int64_t prompt, std::int64_t from, std::int64_t until);
  [[nodiscard]] TokenLoads loads(std::int64_t prompt, std::int64_t generated);

  std::unique_ptr<TokenPlacement> placement_;
  std::int64_t room_, block_tokens_;
  Rates rates_;
  std::map<std::int64_t, KvCurve> curves_;  // by prompt; none moves
};

// Null for a placement that leaves all on the GPU, or with mistakes, which go to Diagnostics.
// Requires the engine's kv_blocks and max_running.
std::unique_ptr<PlacedForms> build_placed_forms(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
