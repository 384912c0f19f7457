// ARC: recency (T1) against frequency (T2), balanced by hits in the ids each dropped (B1, B2).
#include <algorithm>

#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

enum class Place : std::uint8_t { none, t1, t2, b1, b2, back_from_b1, back_from_b2 };
struct ArcNode : ListLink {
  Place place = Place::none;
};

class Arc final : public ListPolicy<ArcNode> {
 public:
  struct Params {
    bool whole_steps = false;
    static constexpr Rows kFields{
        field("whole_steps", &Params::whole_steps, any,
              "the target moves by whole numbers, the quotient of the ghosts rounded down; false "
              "takes the real quotient, as libCacheSim does")};
  };
  Arc(Params p, const Context& c) : ListPolicy(c), whole_steps_(p.whole_steps) {}
  void on_hit(const Access& a) override {
    ArcNode& n = nodes_[a.id];
    if (n.place == Place::t2) return nodes_.move_newest(t2_, a.id);
    nodes_.remove(t1_, a.id);
    n.place = Place::t2;
    nodes_.push_newest(t2_, a.id);
  }
  void on_miss(const Access& a) override {
    ArcNode& n = node(a.id);
    const auto most = static_cast<double>(capacity_);
    if (n.place == Place::b1) {
      target_ = std::min(target_ + step(b2_, b1_), most);
      nodes_.remove(b1_, a.id);
      n.place = Place::back_from_b1;
    } else if (n.place == Place::b2) {
      target_ = std::max(target_ - step(b1_, b2_), 0.0);
      nodes_.remove(b2_, a.id);
      n.place = Place::back_from_b2;
    } else {
      n.place = Place::none;
    }
  }
  void on_insert(const Access& a) override {
    ArcNode& n = node(a.id);
    const bool fresh = n.place == Place::none;
    n.place = fresh ? Place::t1 : Place::t2;
    nodes_.push_newest(fresh ? t1_ : t2_, a.id);
  }
  void on_remove(ObjectId id) override {
    nodes_.remove(nodes_[id].place == Place::t1 ? t1_ : t2_, id);
    nodes_[id].place = Place::none;
  }
  ObjectId evict(const Access& incoming) override {
    const Place from = node(incoming.id).place;
    if (from != Place::none) return replace(from == Place::back_from_b2, true);
    if (t1_.size + b1_.size + 1 > capacity_) {
      if (b1_.size == 0) return replace_t1_without_ghost();
      forget(b1_);
    } else if (b2_.size > 0 && t1_.size + t2_.size + b1_.size + b2_.size >= 2 * capacity_) {
      forget(b2_);
    }
    return replace(false, true);
  }

 private:
  [[nodiscard]] double step(const List& other, const List& hit) const {
    const std::int64_t n = hit.size, m = other.size;
    const double quotient =
        whole_steps_ ? static_cast<double>(m / n) : static_cast<double>(m) / static_cast<double>(n);
    return std::max(quotient, 1.0);
  }
  void forget(List& ghosts) { nodes_[nodes_.pop_oldest(ghosts)].place = Place::none; }
  ObjectId replace(bool hit_in_b2, bool keep_ghost) {
    const auto size = static_cast<double>(t1_.size);
    const bool from_t1 =
        (t1_.size > 0 && (size > target_ || (size == target_ && hit_in_b2))) || t2_.size == 0;
    ObjectId id = oldest_free(from_t1 ? t1_ : t2_);
    if (id == kNoObject) id = oldest_free(from_t1 ? t2_ : t1_);  // all pinned there
    if (id == kNoObject) return id;
    const bool recent = nodes_[id].place == Place::t1;
    on_remove(id);
    if (keep_ghost) {
      nodes_[id].place = recent ? Place::b1 : Place::b2;
      nodes_.push_newest(recent ? b1_ : b2_, id);
    }
    return id;
  }
  ObjectId replace_t1_without_ghost() {
    const ObjectId id = oldest_free(t1_);
    if (id == kNoObject) return replace(false, false);
    on_remove(id);
    return id;
  }
  bool whole_steps_;
  double target_ = 0;  // of |T1|
  List t1_, t2_, b1_, b2_;
};

const Register<Arc> kSelf{"arc", "adapts between recency and frequency by hits in ghost lists",
                          "Megiddo and Modha, FAST 2003"};

}  // namespace
}  // namespace kvsim
