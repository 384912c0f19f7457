#pragma once
// Total order of everything that happens: (time, phase, sequence number). A binary heap of PODs
// (style.md 3g).
#include <algorithm>
#include <cstdint>
#include <vector>

#include "sim/base/time.h"

namespace kvsim {

// What happens first within one instant. The only place of this rule is Event::Later.
// Requests leave a lost instance when all iterations that end now have, and before anybody plans:
// those who take them over see them in the plan of this instant, whether it was foreseen or not.
enum class Phase : std::uint8_t { completion, arrival, control, evacuation, schedule, sample };

enum class EventKind : std::uint8_t {
  step_end,
  arrival,
  visible,
  balance,
  evacuate,  // what was planned on a lost instance starts, or its requests leave
  schedule,
  sample,
  reset,
  transfer,  // the next end of a transfer, or change of its rate
  answer,    // a request set aside may have its answer
  fault,     // something breaks
  repair,    // and works again
  publish,   // what a pool's prefix caches hold goes to its router
  tool,      // a tool returns
  migrate,   // a pool's router may ask for live requests to be moved
  scale,     // how many instances should serve is asked
  started,   // an instance has loaded its model
  drained,   // a draining instance may be empty
  move,      // its live requests leave
  gateway,   // requests that were held back may go on
  grant,     // there is room for requests whose KV will be pushed
  roles,     // instances may change between prompts and tokens
  switched,  // one has
  lend       // instances may lend memory
};

struct Event {
  Time at{};
  Phase phase{};
  EventKind kind{};
  std::uint32_t target = 0;      // group, or request slot
  std::uint32_t generation = 0;  // a stale one is ignored
  std::uint64_t sequence = 0;    // order of scheduling breaks what ties remain

  [[nodiscard]] bool is_by_group() const {
    return kind == EventKind::step_end || kind == EventKind::evacuate;
  }
  // A type, so that the heap compares without a call for each.
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      if (a.at != b.at) return a.at > b.at;
      if (a.phase != b.phase) return a.phase > b.phase;
      // Ends of iterations and evacuations in the order of their groups: when they were put into
      // the queue depends on how many iterations were skipped, and must not matter.
      const bool ends_a = a.is_by_group(), ends_b = b.is_by_group();
      if (ends_a != ends_b) return ends_b;
      if (ends_a && a.target != b.target) return a.target > b.target;
      return a.sequence > b.sequence;
    }
  };
};

class EventQueue {
 public:
  void push(Event e) {
    e.sequence = next_++;
    heap_.push_back(e);
    std::push_heap(heap_.begin(), heap_.end(), Event::Later());
  }
  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }
  [[nodiscard]] const Event& top() const { return heap_.front(); }
  Event pop() {
    std::pop_heap(heap_.begin(), heap_.end(), Event::Later());
    const Event e = heap_.back();
    heap_.pop_back();
    return e;
  }

 private:
  std::vector<Event> heap_;
  std::uint64_t next_ = 0;
};

}  // namespace kvsim
