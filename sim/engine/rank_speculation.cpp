// Speculative decoding: places for drafts, and how far each sequence gets (speculation.h).
// Sequences advance by different numbers of tokens, so iterations are planned one by one, sequence
// by sequence.
#include "sim/engine/speculation.h"

#include <algorithm>
#include <utility>

#include "sim/engine/rank.h"

namespace kvsim {

// Its next token, and drafts as far as the model's context and the whole pool reach.
std::int64_t Rank::decode_tokens(std::uint32_t slot) const {
  if (config_.speculation == nullptr) return 1;
  const Sequence& s = sequences_[slot];
  const std::int64_t computed = group_.computed(slot);
  std::int64_t room = pool_.total() * config_.block_tokens - computed - 1;
  if (config_.max_model_len > 0) room = std::min(room, config_.max_model_len - 2 - computed);
  const std::int64_t drafts =
      config_.speculation->drafts(s.outcome.index, computed + 1 - s.prompt, running());
  return 1 + std::clamp<std::int64_t>(drafts, 0, std::max<std::int64_t>(room, 0));
}

// The blocks for them are taken; they stay with the sequence when drafts are wrong.
void Rank::book_drafts(std::uint32_t slot, std::int64_t tokens) {
  if (config_.speculation == nullptr) return;
  Sequence& s = sequences_[slot];
  s.drafts = tokens - 1;
  s.reserved = std::max(s.reserved, kv_blocks(s, group_.computed(slot) + tokens));
}

// Blocks that decodes need for the next iteration.
std::int64_t Rank::due_blocks() const {
  if (config_.speculation == nullptr) return group_.due();
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i)
    blocks += decode_need(group_.slot_at(i), decode_tokens(group_.slot_at(i)));
  return blocks;
}

// Every decoding sequence advances by its token and the drafts that are right.
void Rank::verify_drafts(Plan& out) {
  for (const std::uint32_t slot : running_) {
    if (!group_.contains(slot)) continue;
    Sequence& s = sequences_[slot];
    const std::int64_t computed = group_.remove(slot), last = s.prompt + s.output - 1;
    const std::int64_t drafts = std::exchange(s.drafts, 0), sampled = computed + 1 - s.prompt;
    // What comes behind the last token is thrown away.
    const std::int64_t right = std::min(
        config_.speculation->accepted(s.outcome.index, sampled, drafts), last - computed - 1);
    out.drafted += drafts;
    out.accepted += right;
    out.draft_steps = std::max(out.draft_steps, drafts);
    totals_.speculation.verifications += drafts > 0 ? 1 : 0;
    if (computed + 1 + right == last) {
      out.finishing.push_back(slot);
    } else {
      group_.add(slot, computed + 1 + right, last, s.reserved * config_.block_tokens);
    }
  }
  totals_.speculation.drafted += out.drafted;
  totals_.speculation.accepted += out.accepted;
  out.shape.draft_tokens = out.drafted;
  if (out.prefills.empty())  // graphs are captured for numbers of tokens
    out.shape.padded_decodes = config_.padded(out.shape.decodes + out.drafted) - out.drafted;
}

}  // namespace kvsim
