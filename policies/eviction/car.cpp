// CAR: ARC's adaptation over two clocks, so that a hit only sets a bit.
#include <algorithm>

#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

enum class Place : std::uint8_t { none, t1, t2, b1, b2, returning };
struct CarNode : ListLink {
  Place place = Place::none;
  bool referenced = false;
};

class Car final : public ListPolicy<CarNode> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Car(Params, const Context& c) : ListPolicy(c) {}
  void on_hit(const Access& a) override { nodes_[a.id].referenced = true; }
  // The paper adapts after the replacement; as the victim is chosen later here, evict() uses the
  // target of before.
  void on_miss(const Access& a) override {
    CarNode& n = node(a.id);
    next_target_ = target_;
    const auto most = static_cast<double>(capacity_);
    if (n.place == Place::b1) {
      next_target_ = std::min(target_ + ratio(b2_, b1_), most);
      nodes_.remove(b1_, a.id);
      n.place = Place::returning;
    } else if (n.place == Place::b2) {
      next_target_ = std::max(target_ - ratio(b1_, b2_), 0.0);
      nodes_.remove(b2_, a.id);
      n.place = Place::returning;
    } else {
      n.place = Place::none;
    }
  }
  void on_insert(const Access& a) override {
    target_ = next_target_;
    CarNode& n = node(a.id);
    const bool returns = n.place == Place::returning;
    n.place = returns ? Place::t2 : Place::t1;
    n.referenced = false;
    nodes_.push_newest(returns ? t2_ : t1_, a.id);
  }
  void on_remove(ObjectId id) override {
    nodes_.remove(nodes_[id].place == Place::t1 ? t1_ : t2_, id);
    nodes_[id].place = Place::none;
  }
  ObjectId evict(const Access& incoming) override {
    const ObjectId id = replace();
    if (id == kNoObject || node(incoming.id).place == Place::returning) return id;
    if (t1_.size + b1_.size >= capacity_ && b1_.size > 0)
      forget(b1_);
    else if (t1_.size + t2_.size + b1_.size + b2_.size >= 2 * capacity_ && b2_.size > 0)
      forget(b2_);
    return id;
  }

 private:
  static double ratio(const List& other, const List& hit) {
    return std::max(1.0, static_cast<double>(other.size) / static_cast<double>(hit.size));
  }
  void forget(List& ghosts) { nodes_[nodes_.pop_oldest(ghosts)].place = Place::none; }
  // Referenced objects of either clock go to the young end of T2; ends because each turn clears a
  // bit.
  ObjectId replace() {
    while (true) {
      const bool from_t1 = static_cast<double>(t1_.size) >= std::max(1.0, target_);
      ObjectId id = oldest_free(from_t1 ? t1_ : t2_);
      if (id == kNoObject) id = oldest_free(from_t1 ? t2_ : t1_);
      if (id == kNoObject) return id;
      CarNode& n = nodes_[id];
      const bool was_t1 = n.place == Place::t1;
      on_remove(id);
      if (!n.referenced) {
        n.place = was_t1 ? Place::b1 : Place::b2;
        nodes_.push_newest(was_t1 ? b1_ : b2_, id);
        return id;
      }
      n.referenced = false;
      n.place = Place::t2;
      nodes_.push_newest(t2_, id);
    }
  }
  double target_ = 0, next_target_ = 0;  // of |T1|
  List t1_, t2_, b1_, b2_;
};

const Register<Car> kSelf{"car", "ARC over two clocks", "Bansal and Modha, FAST 2004"};

}  // namespace
}  // namespace kvsim
