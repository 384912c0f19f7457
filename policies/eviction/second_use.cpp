// Admission by reuse: once the cache is full, a block is kept only when it was asked for before (in
// a window of accesses); leaves by last use go.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct Seen {
  std::int64_t asked = -1;  // tick of the latest access
  bool again = false;       // the one before was within the window
};

class SecondUse final : public LeafColumns<Seen> {
 public:
  struct Params {
    std::int64_t window = 20;
    static constexpr Rows kFields{
        field("window", &Params::window, between<std::int64_t>(1, 1'000'000'000),
              "a use is remembered for this many times the capacity, in accesses")};
  };
  SecondUse(Params p, const Context& c) : LeafColumns(c), window_(p.window * c.capacity) {}

  void on_miss(const Access& a) override { ask(a); }
  bool admits(const Access& a) override {
    const ObjectId p = objects_->parent[a.id];
    if (p != kNoObject && !resident(p)) return false;  // could not be hit
    return at(a.id).again || !full_;
  }

 private:
  void ask(const Access& a) {
    Seen& s = at(a.id);
    s.again = s.asked >= 0 && a.tick - s.asked <= window_;
    s.asked = a.tick;
  }
  void note(const Access& a, bool hit) override {
    if (hit) ask(a);
  }
  [[nodiscard]] Rank rank(ObjectId id) const override {
    return {static_cast<double>(at(id).asked), 0};
  }
  void left(ObjectId) override { full_ = true; }
  std::int64_t window_;
  bool full_ = false;
};

const Register<SecondUse> kSelf{
    "second-use", "leaves by last use; a full cache keeps only what is asked for again",
    "admission of stored KV at its second use; after TinyLFU's doorkeeper, Einziger et al. 2017"};

}  // namespace
}  // namespace kvsim
