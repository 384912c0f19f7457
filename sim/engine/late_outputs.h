#pragma once
// Running requests whose output others may hit publish what they generate whenever somebody is
// admitted beside them. Most of it nobody ever looks for before the request is over: then it is
// enough to publish it once, at its end. Here stands who does so, by the keys of what they
// generate, and whoever looks for content says so first: those who have some of it catch up, and
// publish in time from then on. What anybody finds is the same either way.
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>

#include "sim/state/kv_pool.h"

namespace kvsim {

class LateOutputs {
 public:
  class Owner {
   public:
    // Publishes what it would have by now, and from now on in time. Once a request at most.
    virtual void publish_in_time(std::uint32_t slot) = 0;

   protected:
    ~Owner() = default;
  };

  // A request that generates these chunks runs. False: somebody else who has one of them does, and
  // the order in which they publish matters.
  bool enter(std::span<const ContentChunk>, Owner&, std::uint32_t slot);
  void leave(std::span<const ContentChunk>, const Owner&, std::uint32_t slot);
  // Somebody is about to look for this content.
  void look(std::span<const ContentChunk> content) {
    if (!entries_.empty()) find(content);
  }

 private:
  struct Entry {
    Owner* late = nullptr;  // null: nobody is late with it
    std::uint32_t slot = 0;
    std::uint32_t running = 0;  // requests that generate it
  };
  void find(std::span<const ContentChunk>);

  boost::unordered_flat_map<std::uint64_t, Entry> entries_;
};

}  // namespace kvsim
