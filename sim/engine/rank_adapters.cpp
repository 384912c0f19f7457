// LoRA adapters in the plans of a rank (adapters.h).
#include <utility>

#include "sim/engine/rank.h"

namespace kvsim {

// Where all slots are in use, who asks for another adapter is passed over (vLLM's max_loras).
bool Rank::has_adapter_slot(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  if (adapters_->admits(s.adapter)) return true;
  if (!std::exchange(s.passed_over, true)) ++totals_.adapters.passed_over;
  return false;
}

// What adapters add to the iteration. Who decodes in it is still in the group.
void Rank::plan_adapters(Plan& out) {
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
    const Sequence& s = sequences_[group_.slot_at(i)];
    if (s.adapter > 0 && !s.starved && !out.holds_decodes) tokens += 1 + s.drafts;
  }
  for (const PlannedPrefill& p : out.prefills)
    if (sequences_[p.slot].adapter > 0) tokens += p.piece.tokens;
  out.adapter_ns = adapters_->take_load_ns() + adapters_->step_ns(tokens);
  totals_.adapters.loads = adapters_->loads();
}

}  // namespace kvsim
