// Least frequently used while in the cache; among equals the one that reached its count first.
#include "policies/eviction/rank_buckets.h"

namespace kvsim {
namespace {

class Lfu final : public ListPolicy<RankNode> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Lfu(Params, const Context& c) : ListPolicy(c), order_(nodes_) {}
  void on_hit(const Access& a) override {
    order_.remove(a.id);
    order_.push(a.id, nodes_[a.id].rank + 1);
  }
  void on_insert(const Access& a) override {
    node(a.id);
    order_.push(a.id, 1);
  }
  void on_remove(ObjectId id) override { order_.remove(id); }
  ObjectId evict(const Access&) override {
    const ObjectId id = order_.first([this](ObjectId o) { return !pinned(o); });
    if (id != kNoObject) order_.remove(id);
    return id;
  }

 private:
  RankBuckets<RankNode> order_;
};

const Register<Lfu> kSelf{"lfu", "least frequently used, counted while in the cache", "textbook"};

}  // namespace
}  // namespace kvsim
