// Greedy-Dual-Size-Frequency for objects of one size and cost: priority = L + count, where L is
// the priority of the last victim, so that old popularity is outgrown.
#include "policies/eviction/rank_buckets.h"

namespace kvsim {
namespace {

class Gdsf final : public ListPolicy<RankNode> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Gdsf(Params, const Context& c) : ListPolicy(c), order_(nodes_) {}
  void on_hit(const Access& a) override {
    order_.remove(a.id);
    order_.push(a.id, level_ + ++nodes_[a.id].count);
  }
  void on_insert(const Access& a) override {
    node(a.id).count = 1;
    order_.push(a.id, level_ + 1);
  }
  void on_remove(ObjectId id) override { order_.remove(id); }
  ObjectId evict(const Access&) override {
    const ObjectId id = order_.first([this](ObjectId o) { return !pinned(o); });
    if (id == kNoObject) return id;
    order_.remove(id);
    level_ = nodes_[id].rank;
    order_.forget_below(level_);
    return id;
  }

 private:
  RankBuckets<RankNode> order_;
  std::uint32_t level_ = 0;
};

const Register<Gdsf> kSelf{
    "gdsf", "frequency with ageing: the victim's priority is the floor of all later ones",
    "Cherkasova 1998, HPL-98-69R1; cost and size 1"};

}  // namespace
}  // namespace kvsim
