// KV outside the batch: requests that rest on the GPU or in host memory until they go on. What
// rests on the GPU is the first to go when those who run need blocks, the last to rest first.
#include <algorithm>
#include <utility>

#include "sim/base/check.h"
#include "sim/engine/loans.h"
#include "sim/engine/rank.h"

namespace kvsim {

// It has left the batch, and holds what it computed.
void Rank::rest(std::uint32_t slot) {
  KVSIM_CHECK(!config_.memory.contiguous && !memory_.maps(), "slot {} rests in a region", slot);
  sequences_[slot].rest = Sequence::Rest::gpu;
  resting_.push_back(slot);
}

// A copy of the last `part` of its blocks, or of all that are left, beside the iterations; they are
// free when that has ended. False: no room there.
bool Rank::send_to_host(std::uint32_t slot, std::int64_t part, Time now) {
  Sequence& s = sequences_[slot];
  const std::int64_t there = s.host_room;
  const std::int64_t blocks = std::min(part, kv_blocks(s, s.computed) - there);
  if (!host_ || blocks == 0 || !make_host_room(slot, there + blocks)) return false;
  std::erase(resting_, slot);
  if (s.fetch == Sequence::Fetch::ready) load_reserve_ -= kv_blocks(s, s.known()) - s.hold.blocks();
  s.fetch = Sequence::Fetch::none;
  s.rest = Sequence::Rest::leaving;
  if (s.state == Sequence::State::waiting) leaving_.push_back({slot, blocks});
  const std::int64_t copied = std::exchange(s.host_copy, 0);
  s.host_room = there + blocks;
  host_->take(blocks - copied);
  host_->move(slot, false, blocks - copied, now);
  return true;
}

void Rank::copy_ended(std::uint32_t slot, bool in, Time at) {
  Sequence& s = sequences_[slot];
  pool_.set_now(at);
  looks_again_ = true;
  batch_full_ = false;
  if (!in) return leave_gpu(slot);
  s.fetch = Sequence::Fetch::ready;
  keep_copy(slot);
  rest(slot);
  publish(s, s.computed / config_.block_tokens);
}

// What was being copied is in host memory, or will be when others use its places.
void Rank::leave_gpu(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  const auto entry = std::find_if(leaving_.begin(), leaving_.end(),
                                  [slot](const Leaving& l) { return l.slot == slot; });
  if (entry != leaving_.end()) {
    const std::int64_t blocks = entry->blocks;
    leaving_.erase(entry);
    if (s.host_room == blocks && !s.returned) {  // else its end was there before
      ++s.outcome.swaps;
      ++totals_.swaps_out;
    }
    if (blocks < s.hold.blocks()) {
      shrink_hold(slot, blocks);
      return rest(slot);
    }
  }
  s.rest = Sequence::Rest::host;
  memory_.leave(s, s.hold.blocks());
  pool_.release(s.hold);
}

// It waits for its turn from now on.
void Rank::make_ready(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  if (s.rest == Sequence::Rest::leaving) {  // it stays
    std::erase_if(leaving_, [slot](const Leaving& l) { return l.slot == slot; });
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
  std::erase_if(leaving_, [slot](const Leaving& l) { return l.slot == slot; });
  if (s.fetch != Sequence::Fetch::none) load_reserve_ -= kv_blocks(s, s.known()) - s.hold.blocks();
  if (s.rest != Sequence::Rest::host) {
    memory_.leave(s, s.hold.blocks());
    pool_.release(s.hold);
  }
  if (s.host_room + s.host_copy > 0) forget_host(slot);
  s.fetch = Sequence::Fetch::none;
  s.rest = Sequence::Rest::none;
  s.outcome.recomputed_tokens += std::exchange(s.computed, 0);
  s.turned = false;
}

// `lack` more blocks are needed. Other instances may lend some; else the last to rest whose tool
// still runs gives up its KV, else the last, or who was preempted what is needed. False: nobody
// rests on the GPU.
bool Rank::reclaim_rest(std::int64_t lack) {
  if (loans_ != nullptr && move_out(lack, Loans::kAnybody) > 0) return true;
  const auto tool = std::find_if(resting_.rbegin(), resting_.rend(), [this](std::uint32_t r) {
    return sequences_[r].state == Sequence::State::paused;
  });
  if (tool == resting_.rend() && config_.pauses()) return take_from_paused(lack, planning_, {});
  if (resting_.empty()) return false;
  const std::uint32_t slot = tool != resting_.rend() ? *tool : resting_.back();
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

// Blocks that are missing to bring back what is in host memory, with `kept` free beside them; what
// is still cached need not travel.
std::int64_t Rank::fetch_lack(std::uint32_t slot, std::int64_t kept, KvPool::Hit& hit) {
  const Sequence& s = sequences_[slot];
  if (s.hold.blocks() == 0 && (s.curve == nullptr || shares(s)))
    hit = pool_.look_up(s.content, s.computed / config_.block_tokens);
  const std::int64_t here = s.hold.blocks() + hit.blocks;
  const std::int64_t must_fit = kv_blocks(s, admits_whole() ? s.known() : s.computed) - here;
  return must_fit + hit.queued + kept + load_reserve_ - pool_.free();
}

// Blocks for all of it are taken at once.
bool Rank::bring_back(std::uint32_t slot, Time now, std::int64_t kept) {
  Sequence& s = sequences_[slot];
  KvPool::Hit hit;
  if (host_->moves(slot) || fetch_lack(slot, kept, hit) > 0) return false;
  const std::int64_t fresh = kv_blocks(s, s.computed) - s.hold.blocks() - hit.blocks;
  end_waits(s, now);
  std::erase(resting_, slot);
  if (s.state == Sequence::State::waiting && s.lost && !s.returned) ++totals_.swaps_in;
  s.hold.owner = {s.outcome.session, s.outcome.tenant, s.priority};
  if (hit.blocks > 0) pool_.take_hit(s.hold, s.content);
  pool_.take(s.hold, fresh);
  s.fetch = Sequence::Fetch::loading;
  s.rest = Sequence::Rest::coming;
  load_reserve_ += kv_blocks(s, s.known()) - s.hold.blocks();
  host_->move(slot, true, fresh, now);
  return true;
}

Rank::Verdict Rank::admit_from_host(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  return bring_back(slot, now, watermark()) ? set_aside(s, TierKind::cpu, now) : blocked(s, now);
}

std::optional<Duration> Rank::host_copy(std::int64_t tokens) const {
  if (!host_) return std::nullopt;
  return host_->idle_time(config_.blocks_for(tokens));
}

}  // namespace kvsim
