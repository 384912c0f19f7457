// Most recently used: the best of the simple orders for loops longer than the cache.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

class Mru final : public ListPolicy<ListLink> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Mru(Params, const Context& c) : ListPolicy(c) {}
  void on_hit(const Access& a) override { nodes_.move_newest(order_, a.id); }
  void on_insert(const Access& a) override {
    node(a.id);
    nodes_.push_newest(order_, a.id);
  }
  void on_remove(ObjectId id) override { nodes_.remove(order_, id); }
  ObjectId evict(const Access&) override {
    ObjectId id = order_.newest;
    while (id != kNoObject && pinned(id)) id = nodes_[id].older;
    if (id != kNoObject) nodes_.remove(order_, id);
    return id;
  }

 private:
  UncountedList order_;
};

const Register<Mru> kSelf{"mru", "most recently used", "textbook"};

}  // namespace
}  // namespace kvsim
