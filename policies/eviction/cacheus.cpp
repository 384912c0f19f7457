// CACHEUS: learns, like LeCaR, whether a scan-resistant LRU or a churn-resistant LFU errs less; its
// learning rate follows the hit rate.
//
// SR-LRU: newcomers (and what R sheds) in SR, reused objects in R, ids of those that left in H.
// CR-LFU: least frequent, the newest among equals; an object found in H goes on with its count.
#include <algorithm>
#include <cmath>

#include "policies/eviction/rank_buckets.h"

namespace kvsim {
namespace {

enum class Place : std::uint8_t { none, scan, reused, history };
enum class Blame : std::uint8_t { nobody, lru, lfu };
struct CacheusNode : ListLink {  // links of SR, R or H
  std::uint32_t old_count = 0;
  Place place = Place::none;
  Blame blame = Blame::nobody;  // whose ghost list holds it
  bool is_new = false, demoted = false;
};

class Cacheus final : public ListPolicy<CacheusNode> {
 public:
  struct Params {
    double learning_rate = 0.408;
    bool paper = false;
    static constexpr Rows kFields{
        field("learning_rate", &Params::learning_rate, between(0.001, 1.0),
              "to begin with; libCacheSim draws it, always the same"),
        field("paper", &Params::paper, any,
              "true: SR and R adapt their sizes and the hit rate is a fraction; false: halves that "
              "stay, and a hit rate rounded down, as libCacheSim does")};
  };
  Cacheus(Params p, const Context& c)
      : ListPolicy(c),
        paper_(p.paper),
        rate_(p.learning_rate),
        scan_most_(std::max<double>(1, static_cast<double>(capacity_ / 2))),
        reused_most_(static_cast<double>(capacity_ / 2)),
        lfu_(counts_),
        random_(c.random) {
    cover();
  }
  void on_hit(const Access& a) override {
    CacheusNode& n = nodes_[a.id];
    lfu_.remove(a.id);
    lfu_.push(a.id, counts_[a.id].rank + 1);
    ++hits_;
    if (n.place == Place::reused) {
      nodes_.move_newest(reused_, a.id);
    } else {
      move(a.id, Place::reused);
      while (static_cast<double>(reused_.size) > reused_most_ && reused_.size > 1) demote();
      if (paper_ && n.demoted) scan_is_too_large(n);
    }
    end_of_access();
  }
  void on_miss(const Access& a) override {
    CacheusNode& n = node(a.id);
    cover();
    if (n.blame == Blame::lru) lru_weight_ *= std::exp(-rate_);
    if (n.blame == Blame::lfu) lfu_weight_ *= std::exp(-rate_);
    lru_weight_ /= lru_weight_ + lfu_weight_;
    lfu_weight_ = 1 - lru_weight_;
    forget_blame(a.id);
    end_of_access();
  }
  [[nodiscard]] bool must_evict(const Access& a, std::int64_t resident) const override {
    return resident >= capacity_ || overflows(a.id);
  }
  void on_insert(const Access& a) override {
    CacheusNode& n = node(a.id);
    cover();
    const bool known = n.place == Place::history;
    lfu_.push(a.id, known ? n.old_count + 1 : 1);
    if (known) {
      while (reused_.size > 0 && static_cast<double>(reused_.size + 1) > reused_most_) demote();
      move(a.id, Place::reused);
      if (paper_ && n.is_new) scan_is_too_small(n);
    } else {
      move(a.id, Place::scan);
      n.is_new = true;
    }
  }
  void on_remove(ObjectId id) override {
    lfu_.remove(id);
    if (nodes_[id].demoted) --demoted_;
    move(id, Place::none);
    nodes_[id].is_new = nodes_[id].demoted = false;
  }
  ObjectId evict(const Access&) override {
    ObjectId by_lru = oldest_free(scan_);
    if (by_lru == kNoObject) by_lru = oldest_free(reused_);
    if (by_lru == kNoObject) return kNoObject;
    if (scan_.size + reused_.size < capacity_) {  // only SR is too large
      leave(by_lru);
      return by_lru;
    }
    const ObjectId by_lfu = lfu_.last_of_first([this](ObjectId o) { return !pinned(o); });
    const bool lru = static_cast<double>(random_.below(100)) / 100 < lru_weight_;
    const ObjectId id = lru ? by_lru : by_lfu;
    leave(id);
    if (by_lru != by_lfu) blame(id, lru ? Blame::lru : Blame::lfu);
    return id;
  }

 private:
  void cover() {
    counts_.cover(nodes_.size());
    ghosts_.cover(nodes_.size());
  }
  List& list(Place p) { return p == Place::scan ? scan_ : p == Place::reused ? reused_ : history_; }
  void move(ObjectId id, Place to) {
    CacheusNode& n = nodes_[id];
    if (n.place == Place::history && n.is_new && to != Place::history) --new_in_history_;
    if (n.place != Place::none) nodes_.remove(list(n.place), id);
    n.place = to;
    if (to != Place::none) nodes_.push_newest(list(to), id);
  }
  // Whether inserting it makes SR larger than it may be.
  [[nodiscard]] bool overflows(ObjectId id) const {
    const bool known = id < nodes_.size() && nodes_[id].place == Place::history;
    const bool grows = !known || static_cast<double>(reused_.size + 1) > reused_most_;
    return grows && scan_.size > 0 && static_cast<double>(scan_.size + 1) > scan_most_;
  }
  void demote() {
    const ObjectId id = reused_.oldest;
    move(id, Place::scan);
    if (!nodes_[id].demoted) ++demoted_;
    nodes_[id].demoted = true;
  }
  void leave(ObjectId id) {
    lfu_.remove(id);
    CacheusNode& n = nodes_[id];
    n.old_count = counts_[id].rank;
    if (n.demoted) --demoted_;
    n.demoted = false;
    move(id, Place::history);
    if (n.is_new) ++new_in_history_;
    while (history_.size >= capacity_ && history_.size > 1) {
      const ObjectId old = history_.oldest;
      move(old, Place::none);
      nodes_[old].is_new = false;
    }
  }
  void blame(ObjectId id, Blame whose) {
    forget_blame(id);
    List& ghosts = whose == Blame::lru ? lru_ghosts_ : lfu_ghosts_;
    if (capacity_ / 2 < 1) return;
    while (ghosts.size >= capacity_ / 2) nodes_[ghosts_.pop_oldest(ghosts)].blame = Blame::nobody;
    nodes_[id].blame = whose;
    ghosts_.push_newest(ghosts, id);
  }
  void forget_blame(ObjectId id) {
    Blame& whose = nodes_[id].blame;
    if (whose != Blame::nobody) ghosts_.remove(whose == Blame::lru ? lru_ghosts_ : lfu_ghosts_, id);
    whose = Blame::nobody;
  }
  void scan_is_too_large(CacheusNode& n) {
    const double by =
        std::max(1.0, std::round(static_cast<double>(new_in_history_) /
                                 static_cast<double>(std::max<std::int64_t>(demoted_, 1))));
    resize(scan_most_ - by);
    n.demoted = false;
    --demoted_;
  }
  void scan_is_too_small(CacheusNode& n) {
    const double by =
        std::max(1.0, std::round(static_cast<double>(demoted_) /
                                 static_cast<double>(std::max<std::int64_t>(new_in_history_, 1))));
    resize(scan_most_ + by);
    n.is_new = false;
  }
  void resize(double scan) {
    scan_most_ = std::max(1.0, std::min(scan, static_cast<double>(capacity_ - 1)));
    reused_most_ = static_cast<double>(capacity_) - scan_most_;
  }
  void end_of_access() {
    if (++accesses_ % capacity_ != 0) return;
    const double hit_rate = paper_ ? static_cast<double>(hits_) / static_cast<double>(capacity_)
                                   : static_cast<double>(hits_ / capacity_);
    const double more_hits = hit_rate - last_hit_rate_, more_rate = rate_ - last_rate_;
    last_hit_rate_ = hit_rate;
    last_rate_ = rate_;
    hits_ = 0;
    if (more_rate != 0) {
      const double change = std::abs(rate_ * more_rate);
      rate_ += more_hits / more_rate > 0 ? change : -change;
      if (rate_ <= 0.001) rate_ = 0.0001;
      if (paper_) rate_ = std::min(rate_, 1.0);
      stalled_ = 0;
    } else if (hit_rate == 0 || more_hits <= 0) {
      ++stalled_;
    } else if (stalled_ >= 10) {
      stalled_ = 0;
      rate_ = 0.001 + static_cast<double>(random_.below(1000)) / 1000;
    }
  }
  bool paper_;
  double rate_, last_rate_ = 0, last_hit_rate_ = 0;
  double lru_weight_ = 0.5, lfu_weight_ = 0.5;
  std::int64_t accesses_ = 0, hits_ = 0;
  int stalled_ = 0;
  double scan_most_, reused_most_;  // sizes of SR and R
  std::int64_t demoted_ = 0, new_in_history_ = 0;
  List scan_, reused_, history_;
  Lists<RankNode> counts_;
  RankBuckets<RankNode> lfu_;
  Lists<ListLink> ghosts_;
  List lru_ghosts_, lfu_ghosts_;
  Rng random_;
};

const Register<Cacheus> kSelf{"cacheus",
                              "learns between a scan-resistant LRU and a newest-first LFU",
                              "Rodriguez et al., FAST 2021"};

}  // namespace
}  // namespace kvsim
