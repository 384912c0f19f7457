// Leaves by a plain order of time: first in, last in, or most recently used goes first.
#include <array>

#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

enum class Order { fifo, filo, mru };
constexpr auto enum_names(Order) {
  return std::array{std::pair{Order::fifo, "fifo"}, std::pair{Order::filo, "filo"},
                    std::pair{Order::mru, "mru"}};
}

class LeafOrder final : public LeafColumns<> {
 public:
  struct Params {
    Order order = Order::fifo;
    static constexpr Rows kFields{
        field("order", &Params::order, any,
              "which leaf goes first: fifo the oldest, filo the youngest, mru the last used")};
  };
  LeafOrder(Params p, const Context& c) : LeafColumns(c), order_(p.order) {}

 private:
  void note(const Access& a, bool hit) override {
    if (!hit || order_ == Order::mru) at(a.id).tick = static_cast<double>(a.tick);
  }
  void refresh(const Access& a) override {
    if (order_ == Order::mru) at(a.id).tick = static_cast<double>(a.tick);
  }
  // A rank of mru falls with a touch; the touch queues it anew.
  [[nodiscard]] Rank rank(ObjectId id) const override {
    return {order_ == Order::fifo ? at(id).tick : -at(id).tick, 0};
  }
  Order order_;
};

const Register<LeafOrder> kSelf{"leaf-order",
                                "of the leaves of the prefix tree, by creation or against recency",
                                "SGLang 0.5, radix eviction policies fifo, filo and mru"};

}  // namespace
}  // namespace kvsim
