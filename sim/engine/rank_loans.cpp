// KV of its sequences that lies on other instances, whose memory it borrows (loans.h): the first
// blocks of a sequence, the last ones stay.
#include <algorithm>

#include "sim/engine/loans.h"
#include "sim/engine/rank.h"

namespace kvsim {

// Of the blocks of so many tokens, those that lie elsewhere.
std::int64_t Rank::borrowed(const Sequence& s, std::int64_t computed) const {
  const auto slot = static_cast<std::uint32_t>(&s - sequences_.data());
  return std::min(loans_->away(totals_.instance, slot), config_.blocks_for(computed));
}

// Full blocks that lie here. (What is planned is computed before they go.)
std::int64_t Rank::movable(std::uint32_t slot) const {
  const Sequence& s = sequences_[slot];
  if (s.draining) return 0;
  return std::max<std::int64_t>(
      0, computed(slot) / config_.block_tokens - loans_->away(totals_.instance, slot));
}

std::optional<std::uint32_t> Rank::most_movable() const {
  std::optional<std::uint32_t> best;
  std::int64_t most = 0;
  for (const std::uint32_t slot : running_) {
    const std::int64_t n = movable(slot);
    if (n > most) best = slot, most = n;
  }
  return best;
}

std::int64_t Rank::move_out(std::int64_t blocks, std::uint32_t creditor) {
  const auto slot = most_movable();
  if (!slot) return 0;
  const std::int64_t n = loans_->move_out(
      totals_.instance, *slot,
      std::min(movable(*slot), std::max(blocks, loans_->plan().chunk_blocks)), creditor);
  if (n == 0) return 0;
  // While it decodes its hold is behind the count of its blocks.
  if (!group_.contains(*slot)) sequences_[*slot].hold.blank -= n;
  KvPool::Hold gone;
  gone.blank = n;
  pool_.release(gone);
  batch_full_ = false;
  return n;
}

// A request that this instance alone could never hold takes what is free here, and `lack` blocks
// elsewhere, if there are as many.
bool Rank::borrow_for(std::uint32_t slot, std::int64_t lack) {
  const Sequence& s = sequences_[slot];
  return config_.blocks_for(s.prompt + s.output) > pool_.total() &&
         loans_->borrow_all(totals_.instance, slot, lack);
}

// Decodes of the next iteration read here only what lies here.
void Rank::lend_decodes(Plan& out) {
  if (loans_->borrowed(totals_.instance) == 0) return;
  out.shape.decode_context_max = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
    const std::uint32_t slot = group_.slot_at(i);
    const std::int64_t context = group_.computed(slot) + 1;
    const std::int64_t elsewhere = loans_->read(totals_.instance, slot, context, out);
    out.shape.decode_context_sum -= elsewhere;
    out.shape.decode_context_max = std::max(out.shape.decode_context_max, context - elsewhere);
  }
}

void Rank::lend_prompts(Plan& out) {
  if (loans_->borrowed(totals_.instance) == 0) return;
  for (std::size_t i = 0; i < out.prefills.size(); ++i)
    loans_->read(totals_.instance, out.prefills[i].slot, out.pieces[i], out);
}

void Rank::look(LendingView& v) const {
  v.running = running();
  v.most_running = config_.max_running;
  for (const std::uint32_t slot : running_) v.context += computed(slot);
  v.waiting = waiting();
  for (const std::uint32_t slot : waiting_)
    v.wanted += config_.blocks_for(sequences_[slot].known());
  v.blocks = pool_.total();
  v.free = pool_.free();
  v.lent = loans_->lent(totals_.instance).blank;
  v.borrowed = loans_->borrowed(totals_.instance);
  v.spare = v.waiting > 0 ? 0 : loans_->spare(totals_.instance);
  if (const auto slot = most_movable()) v.movable = movable(*slot);
}

}  // namespace kvsim
