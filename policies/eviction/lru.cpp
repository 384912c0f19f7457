// Least recently used.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

class Lru final : public ListPolicy<ListLink> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Lru(Params, const Context& c) : ListPolicy(c) {}
  void on_hit(const Access& a) override { nodes_.move_newest(order_, a.id); }
  void on_release(const Access& a) override { nodes_.move_newest(order_, a.id); }
  void on_insert(const Access& a) override {
    node(a.id);
    nodes_.push_newest(order_, a.id);
  }
  void on_remove(ObjectId id) override { nodes_.remove(order_, id); }
  ObjectId evict(const Access&) override {
    const ObjectId id = oldest_free(order_);
    if (id != kNoObject) nodes_.remove(order_, id);
    return id;
  }

 private:
  UncountedList order_;
};

const Register<Lru> kSelf{"lru", "least recently used", "textbook"};

}  // namespace
}  // namespace kvsim
