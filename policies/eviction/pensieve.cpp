// Pensieve: the block with the least recompute cost per time since its last use goes, whatever
// continues it. Cost grows with the position, so heads go before tails: right where a dropped head
// is recomputed alone (as Pensieve does), harmful where a hit is a leading run.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

struct Used : ListLink {
  std::int64_t tick = 0;
};

class Pensieve final : public ListPolicy<Used> {
 public:
  struct Params {
    double position_cost = 0.017;
    static constexpr Rows kFields{
        field("position_cost", &Params::position_cost, between(0.0, 1e6),
              "a block's cost grows by this share of the first's with each block before it "
              "(see pgdsf)")};
  };
  Pensieve(Params p, const Context& c) : ListPolicy(c), position_cost_(p.position_cost) {}

  void on_hit(const Access& a) override {
    nodes_.move_newest(of_depth(a.id), a.id);
    nodes_[a.id].tick = a.tick;
  }
  void on_insert(const Access& a) override {
    node(a.id).tick = a.tick;
    nodes_.push_newest(of_depth(a.id), a.id);
  }
  void on_remove(ObjectId id) override { nodes_.remove(of_depth(id), id); }
  // Of blocks at one depth the oldest has the least value, so one of each depth is compared.
  ObjectId evict(const Access& incoming) override {
    ObjectId victim = kNoObject;
    double least = 0;
    for (std::size_t d = 0; d < depths_.size(); ++d) {
      ObjectId id = depths_[d].oldest;
      while (id != kNoObject && pinned(id)) id = nodes_[id].newer;
      if (id == kNoObject) continue;
      const auto age = static_cast<double>(incoming.tick - nodes_[id].tick + 1);
      const double value = (1 + position_cost_ * static_cast<double>(d)) / age;
      if (victim != kNoObject && value >= least) continue;
      victim = id;
      least = value;
    }
    if (victim != kNoObject) on_remove(victim);
    return victim;
  }

 private:
  UncountedList& of_depth(ObjectId id) {
    const std::size_t d = objects_->depth[id];
    if (depths_.size() <= d) depths_.resize(d + 1);
    return depths_[d];
  }
  double position_cost_;
  std::vector<UncountedList> depths_;
};

const Register<Pensieve> kSelf{"pensieve", "least recompute cost(position) / time since last use",
                               "Yu et al., Pensieve, EuroSys 2025"};

}  // namespace
}  // namespace kvsim
