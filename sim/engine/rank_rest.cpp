// KV outside the batch: whole requests that rest on the GPU or in host memory until they go on.
// What rests on the GPU is the first to go when those who run need blocks, the last to rest first.
#include <algorithm>
#include <utility>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

// It has left the batch, and holds what it computed.
void Rank::rest(std::uint32_t slot) {
  KVSIM_CHECK(!config_.memory.contiguous && !memory_.maps(), "slot {} rests in a region", slot);
  sequences_[slot].rest = Sequence::Rest::gpu;
  resting_.push_back(slot);
}

// A copy beside the iterations; its blocks are free when that has ended. False: no room there.
bool Rank::send_to_host(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  const std::int64_t blocks = kv_blocks(s, s.computed);
  if (!host_ || blocks == 0 || !make_host_room(slot, blocks)) return false;
  std::erase(resting_, slot);
  s.rest = Sequence::Rest::leaving;
  const std::int64_t copied = std::exchange(s.host_copy, 0);
  s.host_room = blocks;
  host_->take(blocks - copied);
  host_->move(slot, false, blocks - copied, now);
  return true;
}

void Rank::copy_ended(std::uint32_t slot, bool in, Time at) {
  Sequence& s = sequences_[slot];
  pool_.set_now(at);
  looks_again_ = true;
  batch_full_ = false;
  if (!in) {
    s.rest = Sequence::Rest::host;
    memory_.leave(s, s.hold.blocks());
    pool_.release(s.hold);
    return;
  }
  s.fetch = Sequence::Fetch::ready;
  keep_copy(slot);
  rest(slot);
  publish(s, s.computed / config_.block_tokens);
}

// It waits for its turn from now on.
void Rank::make_ready(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  if (s.rest == Sequence::Rest::leaving) {  // it stays
    host_->abandon(slot, now);
    forget_host(slot);
    rest(slot);
  }
  if (s.rest != Sequence::Rest::gpu) return;
  s.fetch = Sequence::Fetch::ready;
  load_reserve_ += kv_blocks(s, s.known()) - s.hold.blocks();
}

// It goes back into the batch with what it holds.
void Rank::end_rest(Sequence& s, std::uint32_t slot) {
  KVSIM_CHECK(s.rest == Sequence::Rest::gpu, "slot {} is admitted without its KV", slot);
  s.rest = Sequence::Rest::none;
  std::erase(resting_, slot);
}

// Its KV is given up, wherever it is.
void Rank::drop_rest(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  batch_full_ = false;
  looks_again_ = true;
  std::erase(resting_, slot);
  if (s.fetch != Sequence::Fetch::none) load_reserve_ -= kv_blocks(s, s.known()) - s.hold.blocks();
  if (s.rest != Sequence::Rest::host) {
    memory_.leave(s, s.hold.blocks());
    pool_.release(s.hold);
  }
  if (s.host_room + s.host_copy > 0) forget_host(slot);
  s.fetch = Sequence::Fetch::none;
  s.rest = Sequence::Rest::none;
  s.outcome.recomputed_tokens += std::exchange(s.computed, 0);
}

// The last to rest whose tool still runs, else the last. False: nobody rests on the GPU.
bool Rank::reclaim_rest() {
  if (resting_.empty()) return false;
  std::uint32_t slot = resting_.back();
  for (const std::uint32_t r : resting_)
    if (sequences_[r].state == Sequence::State::paused) slot = r;
  ++totals_.tools_reclaimed;
  drop_rest(slot);
  return true;
}

// KV is on its way, after which somebody may find room.
bool Rank::is_fetching() const {
  return (host_ && host_->moving()) ||
         std::any_of(skipped_.begin(), skipped_.end(),
                     [this](std::uint32_t slot) { return loading(slot); });
}

// Blocks for all that is in host memory are taken at once; what is still cached need not travel.
Rank::Verdict Rank::admit_from_host(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  const std::int64_t blocks = kv_blocks(s, s.computed);
  const KvPool::Hit hit = pool_.look_up(s.content, s.computed / config_.block_tokens);
  const std::int64_t fresh = blocks - hit.blocks;
  const std::int64_t must_fit = admits_whole() ? kv_blocks(s, s.known()) - hit.blocks : fresh;
  if (must_fit + hit.queued + watermark() + load_reserve_ > pool_.free()) return blocked(s, now);
  end_waits(s, now);
  s.hold.owner = {s.outcome.session, s.outcome.tenant, s.priority};
  if (hit.blocks > 0) pool_.take_hit(s.hold, s.content);
  pool_.take(s.hold, fresh);
  s.fetch = Sequence::Fetch::loading;
  s.rest = Sequence::Rest::coming;
  load_reserve_ += kv_blocks(s, s.known()) - s.hold.blocks();
  host_->move(slot, true, fresh, now);
  return set_aside(s, TierKind::cpu, now);
}

std::optional<Duration> Rank::host_copy(std::int64_t tokens) const {
  if (!host_) return std::nullopt;
  return host_->idle_time(config_.blocks_for(tokens));
}

}  // namespace kvsim
