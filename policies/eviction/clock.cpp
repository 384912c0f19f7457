// CLOCK as FIFO with reinsertion: the oldest object is passed over as often as it was hit, at most
// 2^bits - 1 times.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

struct ClockNode : ListLink {
  std::uint8_t hits = 0;
};

class Clock final : public ListPolicy<ClockNode> {
 public:
  struct Params {
    int bits = 1;
    static constexpr Rows kFields{
        field("bits", &Params::bits, between(1, 8),
              "width of the counter of hits: 1 is CLOCK, 2 is CLOCK-2bit")};
  };
  Clock(Params p, const Context& c)
      : ListPolicy(c), most_(static_cast<std::uint8_t>((1 << p.bits) - 1)) {}
  void on_hit(const Access& a) override {
    std::uint8_t& hits = nodes_[a.id].hits;
    if (hits < most_) ++hits;
  }
  void on_insert(const Access& a) override {
    node(a.id).hits = 0;
    nodes_.push_newest(queue_, a.id);
  }
  void on_remove(ObjectId id) override { nodes_.remove(queue_, id); }
  ObjectId evict(const Access&) override {
    ObjectId id;
    while ((id = oldest_free(queue_)) != kNoObject && nodes_[id].hits > 0) {
      --nodes_[id].hits;
      nodes_.move_newest(queue_, id);
    }
    if (id != kNoObject) nodes_.remove(queue_, id);
    return id;
  }

 private:
  std::uint8_t most_;
  UncountedList queue_;
};

const Register<Clock> kSelf{"clock", "second chances by a counter of hits",
                            "Corbato 1968; counters as in libCacheSim"};

}  // namespace
}  // namespace kvsim
