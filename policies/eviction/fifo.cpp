// First in, first out.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

class Fifo final : public ListPolicy<ListLink> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Fifo(Params, const Context& c) : ListPolicy(c) {}
  void on_hit(const Access&) override {}
  void on_insert(const Access& a) override {
    node(a.id);
    nodes_.push_newest(queue_, a.id);
  }
  void on_remove(ObjectId id) override { nodes_.remove(queue_, id); }
  ObjectId evict(const Access&) override {
    const ObjectId id = oldest_free(queue_);
    if (id != kNoObject) nodes_.remove(queue_, id);
    return id;
  }

 private:
  UncountedList queue_;
};

const Register<Fifo> kSelf{"fifo", "first in, first out", "textbook"};

}  // namespace
}  // namespace kvsim
