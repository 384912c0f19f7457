#include "sim/state/prefix_directory.h"
#include "sim/state/seen_blocks.h"

#include <algorithm>

namespace kvsim {
namespace {
bool before(const PrefixDirectory::Holder& h, std::uint32_t instance) {
  return h.instance < instance;
}
}  // namespace

void PrefixDirectory::changed(std::uint32_t instance, std::uint64_t key, std::int64_t leading,
                              std::int64_t seen) {
  std::int64_t& ever = seen_[key];
  ever = std::max(ever, seen);
  if (!options_.holders) return;
  const Change c{key, {instance, static_cast<std::int32_t>(leading)}};
  if (options_.batched) {
    changes_.push_back(c);
  } else {
    apply(c);
  }
}

void PrefixDirectory::apply(const Change& c) {
  const auto found = holders_.find(c.key);
  if (found == holders_.end()) {
    if (c.holder.blocks > 0) holders_[c.key].push_back(c.holder);
    return;
  }
  std::vector<Holder>& all = found->second;
  const auto at = std::lower_bound(all.begin(), all.end(), c.holder.instance, before);
  if (at != all.end() && at->instance == c.holder.instance) {
    at->blocks = c.holder.blocks;
    if (c.holder.blocks == 0) all.erase(at);
    if (all.empty()) holders_.erase(found);
  } else if (c.holder.blocks > 0) {
    all.insert(at, c.holder);
  }
}

void PrefixDirectory::publish(Time now) {
  if (changes_.size() == sealed_) return;
  batches_.push_back({now + options_.lag, changes_.size() - sealed_});
  sealed_ = changes_.size();
}

// Those who had everything so far and have something of a chunk of `blocks`.
void PrefixDirectory::narrow(const std::vector<Holder>& holders, std::int64_t blocks,
                             std::vector<Holder>& out) {
  std::size_t kept = 0;
  auto at = holders.begin();
  for (const std::uint32_t place : going_on_) {
    const std::uint32_t instance = out[place].instance;
    at = going_on_.size() * 8 < holders.size()
             ? std::lower_bound(at, holders.end(), instance, before)
             : std::find_if(at, holders.end(),
                            [&](const Holder& h) { return h.instance >= instance; });
    if (at == holders.end()) break;
    if (at->instance != instance) continue;
    out[place].blocks +=
        static_cast<std::int32_t>(std::min(blocks, static_cast<std::int64_t>(at->blocks)));
    if (at->blocks >= blocks) going_on_[kept++] = place;
  }
  going_on_.resize(kept);
}

void PrefixDirectory::match(std::span<const ContentChunk> content, std::int64_t most, Time now,
                            std::vector<Holder>& out) {
  while (!batches_.empty() && batches_.front().visible <= now) {
    for (std::size_t i = 0; i < batches_.front().changes; ++i) {
      apply(changes_.front());
      changes_.pop_front();
    }
    sealed_ -= batches_.front().changes;
    batches_.pop_front();
  }
  out.clear();
  going_on_.clear();
  std::int64_t begin = 0;
  for (const ContentChunk& c : content) {
    const std::int64_t blocks = std::min(c.end, most) - begin;
    if (begin >= most) break;
    if (blocks == 0) continue;
    const auto found = holders_.find(c.key);
    if (found == holders_.end()) break;
    if (begin == 0) {
      for (const Holder& h : found->second) {
        if (h.blocks >= blocks) going_on_.push_back(static_cast<std::uint32_t>(out.size()));
        out.push_back({h.instance, std::min(h.blocks, static_cast<std::int32_t>(blocks))});
      }
    } else {
      narrow(found->second, blocks, out);
    }
    if (going_on_.empty()) break;
    begin = c.end;
  }
}

std::int64_t PrefixDirectory::seen_blocks(std::span<const ContentChunk> content, std::int64_t from,
                                          std::int64_t most) const {
  return seen_blocks_of(content, from, most, [this](std::uint64_t key) {
    const auto at = seen_.find(key);
    return at == seen_.end() ? std::int64_t{0} : std::int64_t{at->second};
  });
}

}  // namespace kvsim
