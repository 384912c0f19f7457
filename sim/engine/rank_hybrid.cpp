// Hybrid memory in one rank: where sequences can be taken up again (hybrid.h, and the rules of
// engine-semantics section 5: a hit is as long as every kind of layer can support).
#include <limits>

#include "sim/engine/rank.h"

namespace kvsim {

Rank::Found Rank::find(std::span<const ContentChunk> content, std::int64_t most) {
  if (late_outputs_ != nullptr) late_outputs_->look(content);
  Found f;
  f.hit = pool_.look_up(content, most);
  f.blocks = f.hit.blocks;
  if (!config_.hybrid.on) return f;
  const std::int64_t there = config_.hybrid.full > 0 ? f.hit.blocks : most;
  f.blocks = snapshots_ ? snapshots_->find(content, there) : 0;
  if (f.blocks < f.hit.blocks) {
    f.useless = f.hit.blocks - f.blocks;
    f.hit = pool_.look_up(content, f.blocks);
  }
  return f;
}

// Before its last token, and where what is known to others ends: there the next one that parts
// from it begins. Gives the tokens up to the first of them, from where it is computed.
std::int64_t Rank::want_snapshots(Sequence& s, const Found& front, std::int64_t from) const {
  const SnapshotRules& r = config_.snapshots;
  if (r.slots > 0) {
    s.snapshot_last = (s.known() - 1) / r.align * r.align;
    s.snapshot_junction = (front.blocks + front.useless) * config_.block_tokens / r.align * r.align;
  }
  return until_snapshot(s, from);
}

// Tokens of a piece that begins after `from` tokens and must end where a state is to be saved.
std::int64_t Rank::until_snapshot(const Sequence& s, std::int64_t from) const {
  const SnapshotRules& r = config_.snapshots;
  std::int64_t next = std::numeric_limits<std::int64_t>::max();
  if (!r.cuts) return next;
  for (const std::int64_t at : {s.snapshot_last, s.snapshot_junction})
    if (at > from) next = std::min(next, at);
  if (r.every > 0) next = std::min(next, (from / r.every + 1) * r.every);
  return next - from;
}

// A piece of tokens (from, to] has been computed.
void Rank::save_snapshots(const Sequence& s, std::int64_t from, std::int64_t to, Time now) {
  const SnapshotRules& r = config_.snapshots;
  if (r.cuts) from = to - 1;
  const auto save = [&](std::int64_t at) {
    if (at > from && at <= to)
      snapshots_->save(s.content, at / config_.block_tokens, s.hold.owner, now);
  };
  for (std::int64_t at = r.every > 0 ? (from / r.every + 1) * r.every : to + 1; at <= to;
       at += r.every)
    save(at);
  for (const std::int64_t at : {s.snapshot_junction, s.snapshot_last})
    if (r.every == 0 || at % r.every != 0) save(at);
}

void Rank::save_output_snapshot(const Sequence& s, Time now) {
  const SnapshotRules& r = config_.snapshots;
  const std::int64_t at = s.computed / r.align * r.align;
  if (r.outputs && at > s.snapshot_last)
    snapshots_->save(s.content, at / config_.block_tokens, s.hold.owner, now);
}

void Rank::reset_cache() {
  if (pool_.reset() && snapshots_) snapshots_->clear();
}

}  // namespace kvsim
