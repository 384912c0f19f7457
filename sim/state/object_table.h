#pragma once
// What an eviction policy may know of the objects of a cache: columns by dense id. The cache owns
// and grows the table; a policy holds a const pointer and keeps columns of its own beside it.
#include <cstdint>
#include <vector>

namespace kvsim {

using ObjectId = std::uint32_t;
inline constexpr ObjectId kNoObject = 0xffffffffU;

// One object is what a cache holds or drops as a whole: a KV block, a chunk of blocks, or a node of
// a radix tree. Ids name content, not places: an object that was evicted keeps its id, so that a
// policy may remember it.
struct ObjectTable {
  std::vector<std::uint64_t> key;       // content, chained from the start of the sequence
  std::vector<ObjectId> parent;         // what comes before it in the sequence, or kNoObject
  std::vector<std::uint32_t> depth;     // objects before it in the sequence
  std::vector<std::uint32_t> children;  // resident objects whose parent it is
  std::vector<std::uint32_t> pins;      // users right now; a pinned object is never evicted
  std::vector<std::uint32_t> queued;    // waiting requests that will use it, as far as is known

  [[nodiscard]] std::size_t size() const { return key.size(); }
  ObjectId add(std::uint64_t content, ObjectId before) {
    key.push_back(content);
    parent.push_back(before);
    depth.push_back(before == kNoObject ? 0 : depth[before] + 1);
    children.push_back(0);
    pins.push_back(0);
    queued.push_back(0);
    return static_cast<ObjectId>(key.size() - 1);
  }
};

}  // namespace kvsim
