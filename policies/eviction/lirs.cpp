// LIRS: keeps what has a short distance between its last two accesses (LIR); the few other
// residents (HIR) wait in a queue Q. The stack S orders ids by recency, non-residents included.
#include <algorithm>

#include "policies/eviction/leaving.h"
#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

enum class State : std::uint8_t { unknown, lir, hir, gone };  // gone: in S, not resident
struct LirsNode : ListLink {                                  // links of S
  State state = State::unknown;
  bool in_stack = false;
};

class Lirs final : public ListPolicy<LirsNode> {
 public:
  struct Params {
    Ratio hir{0.01};
    Ratio stack{2.0};
    bool paper = false;
    static constexpr Rows kFields{
        field("hir", &Params::hir, between(Ratio{0.0}, Ratio{1.0}),
              "share of the capacity for HIR objects (at least one object)"),
        field("stack", &Params::stack, between(Ratio{1.0}, Ratio{100.0}),
              "ids in the stack at most, as a multiple of the capacity; the paper has no bound"),
        field("paper", &Params::paper, any,
              "a hit in Q alone leaves the LIR objects as they are; false moves one to Q, as "
              "libCacheSim does")};
  };
  Lirs(Params p, const Context& c)
      : ListPolicy(c),
        hir_most_(std::max<std::int64_t>(
            1, static_cast<std::int64_t>(p.hir.value * static_cast<double>(capacity_)))),
        lir_most_(capacity_ - hir_most_),
        stack_most_(static_cast<std::int64_t>(p.stack.value * static_cast<double>(capacity_))),
        paper_(p.paper) {
    queue_nodes_.cover(nodes_.size());
  }
  void on_hit(const Access& a) override {
    if (leaving_.forget(a.id)) return insert(a.id);
    LirsNode& n = nodes_[a.id];
    if (n.state == State::lir) {
      nodes_.move_newest(stack_, a.id);
      prune();
    } else if (n.in_stack) {
      nodes_.move_newest(stack_, a.id);
      queue_nodes_.remove(queue_, a.id);
      make_lir(a.id);
    } else {
      hit_in_queue(a.id);
    }
    limit_stack();
  }
  bool admits(const Access&) override { return lir_most_ >= 1; }
  void on_insert(const Access& a) override {
    node(a.id);
    queue_nodes_.cover(nodes_.size());
    insert(a.id);
    limit_stack();
  }
  void on_remove(ObjectId id) override {
    if (leaving_.forget(id)) return;
    LirsNode& n = nodes_[id];
    if (n.state == State::hir) queue_nodes_.remove(queue_, id);
    if (n.state == State::lir) --lirs_;
    n.state = State::unknown;
    leave_stack(id);
    prune();
  }
  ObjectId evict(const Access&) override {
    if (const ObjectId id = shed(); id != kNoObject) return id;
    if (const ObjectId id = oldest_in_queue(); id != kNoObject) {
      drop(id);
      return id;
    }
    ObjectId id = stack_.oldest;  // pins only: all of Q is in use
    while (id != kNoObject && (nodes_[id].state != State::lir || pinned(id))) id = nodes_[id].newer;
    if (id != kNoObject) on_remove(id);
    return id;
  }
  [[nodiscard]] bool sheds() const override { return true; }
  ObjectId shed() override {
    return leaving_.take([this](ObjectId o) { return !pinned(o); });
  }

 private:
  void insert(ObjectId id) {
    LirsNode& n = nodes_[id];
    const bool known = n.state == State::gone;
    if (known) queue_nodes_.remove(gone_, id);
    if (known || lirs_ < lir_most_) {
      to_stack_top(id);
      return make_lir(id);
    }
    to_stack_top(id);
    n.state = State::hir;
    queue_nodes_.push_newest(queue_, id);
  }
  // Of an object on top of the stack that is in no queue.
  void make_lir(ObjectId id) {
    nodes_[id].state = State::hir;  // not the bottom LIR that is looked for
    while (lirs_ >= lir_most_) demote_bottom();
    nodes_[id].state = State::lir;
    ++lirs_;
  }
  void hit_in_queue(ObjectId id) {
    queue_nodes_.move_newest(queue_, id);
    while (!paper_ && lirs_ >= lir_most_) demote_bottom();
    to_stack_top(id);
    if (nodes_[id].state == State::hir) return;
    nodes_[id].state = State::gone;  // a queue of one: the demoted object took its place
    queue_nodes_.push_newest(gone_, id);
  }
  void demote_bottom() {
    ObjectId id = stack_.oldest;
    while (nodes_[id].state != State::lir) id = nodes_[id].newer;
    leave_stack(id);
    --lirs_;
    for (ObjectId out; queue_.size >= hir_most_ && (out = oldest_in_queue()) != kNoObject;) {
      drop(out);
      leaving_.add(out);
    }
    nodes_[id].state = State::hir;
    queue_nodes_.push_newest(queue_, id);
    prune();
  }
  // A resident of Q loses its residence; the stack may remember it.
  void drop(ObjectId id) {
    queue_nodes_.remove(queue_, id);
    LirsNode& n = nodes_[id];
    n.state = n.in_stack ? State::gone : State::unknown;
    if (n.in_stack) queue_nodes_.push_newest(gone_, id);
  }
  [[nodiscard]] ObjectId oldest_in_queue() const {
    ObjectId id = queue_.oldest;
    while (id != kNoObject && pinned(id)) id = queue_nodes_[id].newer;
    return id;
  }
  void to_stack_top(ObjectId id) {
    if (nodes_[id].in_stack) return nodes_.move_newest(stack_, id);
    nodes_[id].in_stack = true;
    nodes_.push_newest(stack_, id);
  }
  void leave_stack(ObjectId id) {
    LirsNode& n = nodes_[id];
    if (!n.in_stack) return;
    nodes_.remove(stack_, id);
    n.in_stack = false;
    if (n.state != State::gone) return;
    queue_nodes_.remove(gone_, id);
    n.state = State::unknown;
  }
  // The bottom of the stack is LIR, unless it is also the top.
  void prune() {
    while (stack_.oldest != stack_.newest && nodes_[stack_.oldest].state != State::lir)
      leave_stack(stack_.oldest);
  }
  void limit_stack() {
    while (stack_.size > stack_most_ && gone_.size > 0) leave_stack(gone_.oldest);
  }

  std::int64_t hir_most_, lir_most_, stack_most_;
  bool paper_;
  std::int64_t lirs_ = 0;
  List stack_;
  Lists<ListLink> queue_nodes_;
  List queue_, gone_;  // residents of Q; non-residents by when they left
  Leaving leaving_;
};

const Register<Lirs> kSelf{"lirs", "keeps what returns after the fewest others",
                           "Jiang and Zhang, SIGMETRICS 2002, doi:10.1145/511334.511340"};

}  // namespace
}  // namespace kvsim
