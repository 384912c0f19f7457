#include "sim/engine/late_outputs.h"

#include <utility>

namespace kvsim {

bool LateOutputs::enter(std::span<const ContentChunk> keys, Owner& owner, std::uint32_t slot) {
  bool alone = true;
  for (const ContentChunk& c : keys) alone = entries_[c.key].running++ == 0 && alone;
  if (!alone) {
    find(keys);
    return false;
  }
  for (const ContentChunk& c : keys) {
    Entry& e = entries_[c.key];
    e.late = &owner;
    e.slot = slot;
  }
  return true;
}

void LateOutputs::leave(std::span<const ContentChunk> keys, const Owner& owner,
                        std::uint32_t slot) {
  for (const ContentChunk& c : keys) {
    const auto at = entries_.find(c.key);
    if (--at->second.running == 0) {
      entries_.erase(at);
    } else if (at->second.late == &owner && at->second.slot == slot) {
      at->second.late = nullptr;
    }
  }
}

void LateOutputs::find(std::span<const ContentChunk> content) {
  for (const ContentChunk& c : content) {
    const auto at = entries_.find(c.key);
    if (at == entries_.end()) continue;
    if (Owner* owner = std::exchange(at->second.late, nullptr))
      owner->publish_in_time(at->second.slot);
  }
}

}  // namespace kvsim
