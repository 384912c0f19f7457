// 2Q: a FIFO for newcomers, ids of those that left it, and an LRU for what came back.
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

enum class Place : std::uint8_t { none, in, main, out, returning };
struct TwoQNode : ListLink {
  Place place = Place::none;
};

class TwoQ final : public ListPolicy<TwoQNode> {
 public:
  struct Params {
    Ratio in{0.25};
    Ratio out{0.5};
    bool tiny = false;
    static constexpr Rows kFields{
        field("in", &Params::in, between(Ratio{0.0}, Ratio{1.0}),
              "share of the capacity for newcomers"),
        field("out", &Params::out, between(Ratio{0.0}, Ratio{10.0}),
              "remembered ids, as a share of the capacity"),
        field("tiny", &Params::tiny, any,
              "a capacity too small for newcomers still keeps one; false keeps nothing, as "
              "libCacheSim does")};
  };
  TwoQ(Params p, const Context& c)
      : ListPolicy(c), in_most_(share(p.in.value)), out_most_(share(p.out.value)) {
    if (p.tiny && in_most_ == 0) in_most_ = 1;
    main_most_ = capacity_ - in_most_;
  }
  void on_hit(const Access& a) override {
    if (nodes_[a.id].place == Place::main) nodes_.move_newest(main_, a.id);
  }
  void on_miss(const Access& a) override {
    TwoQNode& n = node(a.id);
    if (n.place == Place::out) nodes_.remove(out_, a.id);
    n.place = n.place == Place::out ? Place::returning : Place::none;
  }
  bool admits(const Access&) override { return in_most_ >= 1; }
  // Returning objects also have to find room in the main queue.
  [[nodiscard]] bool must_evict(const Access& a, std::int64_t resident) const override {
    return resident >= capacity_ ||
           (a.id < nodes_.size() && nodes_[a.id].place == Place::returning &&
            main_.size >= main_most_ && main_.size > 0);
  }
  void on_insert(const Access& a) override {
    TwoQNode& n = node(a.id);
    const bool returns = n.place == Place::returning;
    n.place = returns ? Place::main : Place::in;
    nodes_.push_newest(returns ? main_ : in_, a.id);
  }
  void on_remove(ObjectId id) override {
    nodes_.remove(nodes_[id].place == Place::in ? in_ : main_, id);
    nodes_[id].place = Place::none;
  }
  ObjectId evict(const Access&) override {
    const bool full = in_.size + main_.size >= capacity_;
    const bool from_in = full && in_.size > in_most_;
    ObjectId id = oldest_free(from_in ? in_ : main_);
    if (id == kNoObject) id = oldest_free(from_in ? main_ : in_);  // all pinned there
    if (id == kNoObject) return id;
    const bool was_in = nodes_[id].place == Place::in;
    on_remove(id);
    if (was_in) remember(id);
    return id;
  }

 private:
  [[nodiscard]] std::int64_t share(double ratio) const {
    return static_cast<std::int64_t>(static_cast<double>(capacity_) * ratio);
  }
  void remember(ObjectId id) {
    if (out_most_ < 1) return;
    while (out_.size >= out_most_) nodes_[nodes_.pop_oldest(out_)].place = Place::none;
    nodes_[id].place = Place::out;
    nodes_.push_newest(out_, id);
  }
  std::int64_t in_most_, out_most_, main_most_ = 0;
  List in_, main_, out_;
};

const Register<TwoQ> kSelf{"2q", "newcomers in a FIFO, what returns after it in an LRU",
                           "Johnson and Shasha, VLDB 1994 (full version)"};

}  // namespace
}  // namespace kvsim
