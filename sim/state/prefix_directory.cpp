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
  Entry& entry = entries_[key];
  entry.seen = std::max(entry.seen, static_cast<std::uint32_t>(seen));
  if (!options_.holders) return;
  const Holder holder{instance, static_cast<std::int32_t>(leading)};
  if (options_.batched) {
    changes_.push_back({key, holder});
  } else {
    apply(entry, holder);
  }
}

void PrefixDirectory::apply(Entry& entry, const Holder& holder) {
  if (entry.holders == kNone) {
    if (holder.blocks == 0) return;
    if (free_lists_.empty()) {
      free_lists_.push_back(static_cast<std::uint32_t>(lists_.size()));
      lists_.emplace_back();
    }
    entry.holders = free_lists_.back();
    free_lists_.pop_back();
  }
  std::vector<Holder>& all = lists_[entry.holders];
  const auto at = std::lower_bound(all.begin(), all.end(), holder.instance, before);
  const bool is_there = at != all.end() && at->instance == holder.instance;
  if (is_there && holder.blocks > 0) {
    at->blocks = holder.blocks;
  } else if (holder.blocks > 0) {
    all.insert(at, holder);
  } else if (is_there) {
    all.erase(at);
    if (!all.empty()) return;
    free_lists_.push_back(entry.holders);
    entry.holders = kNone;
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
      const Change& c = changes_.front();
      apply(entries_[c.key], c.holder);
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
    const auto found = entries_.find(c.key);
    if (found == entries_.end() || found->second.holders == kNone) break;
    const std::vector<Holder>& holders = lists_[found->second.holders];
    if (begin == 0) {
      for (const Holder& h : holders) {
        if (h.blocks >= blocks) going_on_.push_back(static_cast<std::uint32_t>(out.size()));
        out.push_back({h.instance, std::min(h.blocks, static_cast<std::int32_t>(blocks))});
      }
    } else {
      narrow(holders, blocks, out);
    }
    if (going_on_.empty()) break;
    begin = c.end;
  }
}

std::int64_t PrefixDirectory::seen_blocks(std::span<const ContentChunk> content, std::int64_t from,
                                          std::int64_t most) const {
  return seen_blocks_of(content, from, most, [this](std::uint64_t key) {
    const auto at = entries_.find(key);
    return at == entries_.end() ? std::int64_t{0} : std::int64_t{at->second.seen};
  });
}

}  // namespace kvsim
