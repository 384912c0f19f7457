// SIEVE: a hand sweeps from old to new, spares what was visited since, and objects never move.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

struct SieveNode : ListLink {
  bool visited = false;
};

class Sieve final : public ListPolicy<SieveNode> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Sieve(Params, const Context& c) : ListPolicy(c) {}
  void on_hit(const Access& a) override { nodes_[a.id].visited = true; }
  void on_insert(const Access& a) override {
    node(a.id).visited = false;
    nodes_.push_newest(queue_, a.id);
  }
  void on_remove(ObjectId id) override {
    if (hand_ == id) hand_ = nodes_[id].newer;  // none after the newest: then from the oldest
    nodes_.remove(queue_, id);
  }
  ObjectId evict(const Access&) override {
    ObjectId id = hand_ == kNoObject ? queue_.oldest : hand_;
    for (std::int64_t in_a_row = 0; id != kNoObject;) {
      const bool skip = pinned(id);
      if (skip && ++in_a_row >= queue_.size) return kNoObject;
      if (!skip) {
        if (!nodes_[id].visited) break;
        nodes_[id].visited = false;
        in_a_row = 0;
      }
      id = nodes_[id].newer == kNoObject ? queue_.oldest : nodes_[id].newer;
    }
    if (id == kNoObject) return id;
    hand_ = nodes_[id].newer;
    nodes_.remove(queue_, id);
    return id;
  }

 private:
  List queue_;
  ObjectId hand_ = kNoObject;
};

const Register<Sieve> kSelf{"sieve", "a sweeping hand spares what was visited since it came by",
                            "Zhang et al., NSDI 2024"};

}  // namespace
}  // namespace kvsim
