// LeCaR: draws LRU or LFU as the expert of each eviction, by weights that regret moves.
#include <cmath>

#include "policies/eviction/rank_buckets.h"

namespace kvsim {
namespace {

enum class Place : std::uint8_t { none, resident, dropped_by_lru, dropped_by_lfu };
struct LecarNode : RankNode {  // links of the LFU buckets, then of a ghost list
  Place place = Place::none;
  std::int64_t dropped = 0;
};

class Lecar final : public ListPolicy<LecarNode> {
 public:
  struct Params {
    double learning_rate = 0.45;
    double discount = 0.005;
    static constexpr Rows kFields{
        field("learning_rate", &Params::learning_rate, between(0.0, 10.0),
              "of the multiplicative weights"),
        field("discount", &Params::discount, between(1e-9, 1.0),
              "what is left of a regret after as many accesses as the capacity")};
  };
  Lecar(Params p, const Context& c)
      : ListPolicy(c),
        learning_rate_(p.learning_rate),
        discount_(std::pow(p.discount, 1.0 / static_cast<double>(capacity_))),
        lfu_(nodes_),
        random_(c.random) {
    recency_.cover(nodes_.size());
  }
  void on_hit(const Access& a) override {
    recency_.move_newest(lru_, a.id);
    lfu_.remove(a.id);
    lfu_.push(a.id, nodes_[a.id].rank + 1);
  }
  void on_miss(const Access& a) override {
    LecarNode& n = node(a.id);
    if (n.place == Place::none) return;
    const bool by_lru = n.place == Place::dropped_by_lru;
    nodes_.remove(by_lru ? lru_ghosts_ : lfu_ghosts_, a.id);
    n.place = Place::none;
    const double regret = std::pow(discount_, static_cast<double>(a.tick - n.dropped));
    double blamed = by_lru ? lru_weight_ : 1 - lru_weight_;
    const double other = 1 - blamed;
    blamed *= std::exp(-learning_rate_ * regret);
    blamed /= blamed + other;
    lru_weight_ = by_lru ? blamed : 1 - blamed;
  }
  void on_insert(const Access& a) override {
    node(a.id).place = Place::resident;
    recency_.cover(nodes_.size());
    recency_.push_newest(lru_, a.id);
    lfu_.push(a.id, 1);
  }
  void on_remove(ObjectId id) override {
    recency_.remove(lru_, id);
    lfu_.remove(id);
    nodes_[id].place = Place::none;
  }
  ObjectId evict(const Access& incoming) override {
    ObjectId by_lru = lru_.oldest;
    while (by_lru != kNoObject && pinned(by_lru)) by_lru = recency_[by_lru].newer;
    if (by_lru == kNoObject) return kNoObject;
    const ObjectId by_lfu = lfu_.first([this](ObjectId o) { return !pinned(o); });
    if (by_lru == by_lfu) {  // nobody's fault
      on_remove(by_lru);
      return by_lru;
    }
    const bool lru = static_cast<double>(random_.below(100)) / 100 < lru_weight_;
    const ObjectId id = lru ? by_lru : by_lfu;
    on_remove(id);
    nodes_[id].dropped = incoming.tick;
    remember(id, lru ? lru_ghosts_ : lfu_ghosts_,
             lru ? Place::dropped_by_lru : Place::dropped_by_lfu);
    return id;
  }

 private:
  void remember(ObjectId id, List& ghosts, Place place) {
    nodes_[id].place = place;
    nodes_.push_newest(ghosts, id);
    while (ghosts.size > capacity_ / 2) nodes_[nodes_.pop_oldest(ghosts)].place = Place::none;
  }
  double learning_rate_, discount_;
  double lru_weight_ = 0.5;  // LFU has the rest
  Lists<ListLink> recency_;
  UncountedList lru_;
  RankBuckets<LecarNode> lfu_;
  List lru_ghosts_, lfu_ghosts_;
  Rng random_;
};

const Register<Lecar> kSelf{"lecar", "learns whether LRU or LFU errs less",
                            "Vietri et al., HotStorage 2018"};

}  // namespace
}  // namespace kvsim
