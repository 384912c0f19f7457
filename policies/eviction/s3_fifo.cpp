// S3-FIFO: a small queue where objects prove themselves, a main queue with reinsertion, and ids of
// those that failed.
#include <algorithm>

#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

enum class Place : std::uint8_t { none, small, main, ghost, returning };
struct S3Node : ListLink {
  Place place = Place::none;
  std::uint8_t hits = 0;  // since it entered its queue; 255 stands for more
};

class S3Fifo final : public ListPolicy<S3Node> {
 public:
  struct Params {
    Ratio small{0.1};
    Ratio ghost{0.9};
    int threshold = 2;
    bool tiny = false;
    static constexpr Rows kFields{
        field("small", &Params::small, between(Ratio{0.0}, Ratio{1.0}),
              "target share of the capacity for the small queue"),
        field("ghost", &Params::ghost, between(Ratio{0.0}, Ratio{10.0}),
              "remembered ids, as a share of the capacity"),
        field("threshold", &Params::threshold, between(1, 255),
              "hits in the small queue that earn a place in the main one: 2 as in libCacheSim, 1 "
              "is its QDLP"),
        field("tiny", &Params::tiny, any,
              "a small queue of none or one still takes newcomers; false keeps nothing then, as "
              "libCacheSim does")};
  };
  S3Fifo(Params p, const Context& c)
      : ListPolicy(c),
        small_most_(share(p.small.value)),
        ghost_most_(share(p.ghost.value)),
        threshold_(p.threshold),
        tiny_(p.tiny) {}
  void on_hit(const Access& a) override {
    std::uint8_t& hits = nodes_[a.id].hits;
    if (hits < 255) ++hits;
  }
  void on_miss(const Access& a) override {
    S3Node& n = node(a.id);
    if (n.place == Place::ghost) nodes_.remove(ghost_, a.id);
    n.place = n.place == Place::ghost ? Place::returning : Place::none;
  }
  bool admits(const Access& a) override {
    if (tiny_) return true;
    return small_most_ >= (nodes_[a.id].place == Place::returning ? 1 : 2);
  }
  void on_insert(const Access& a) override {
    S3Node& n = node(a.id);
    const bool returns = n.place == Place::returning;
    n.place = returns ? Place::main : Place::small;
    n.hits = 0;
    nodes_.push_newest(returns ? main_ : small_, a.id);
  }
  void on_remove(ObjectId id) override {
    nodes_.remove(nodes_[id].place == Place::small ? small_ : main_, id);
    nodes_[id].place = Place::none;
  }
  ObjectId evict(const Access&) override {
    while (true) {
      const bool main_first = main_.size > capacity_ - small_most_ || small_.size == 0;
      bool promoted = false;
      ObjectId id = main_first ? from_main() : from_small(promoted);
      if (id == kNoObject && promoted) continue;  // the small queue ran empty
      if (id == kNoObject) id = main_first ? from_small(promoted) : from_main();  // pins
      if (id != kNoObject || !promoted) return id;
    }
  }

 private:
  [[nodiscard]] std::int64_t share(double ratio) const {
    return static_cast<std::int64_t>(static_cast<double>(capacity_) * ratio);
  }
  ObjectId from_small(bool& promoted) {
    ObjectId id;
    while ((id = oldest_free(small_)) != kNoObject) {
      S3Node& n = nodes_[id];
      nodes_.remove(small_, id);
      if (n.hits < threshold_) {
        n.place = Place::none;
        remember(id);
        return id;
      }
      promoted = true;
      n.place = Place::main;
      n.hits = 0;
      nodes_.push_newest(main_, id);
    }
    return kNoObject;
  }
  ObjectId from_main() {
    ObjectId id;
    while ((id = oldest_free(main_)) != kNoObject && nodes_[id].hits > 0) {
      nodes_[id].hits = static_cast<std::uint8_t>(std::min<int>(nodes_[id].hits, 3) - 1);
      nodes_.move_newest(main_, id);
    }
    if (id != kNoObject) on_remove(id);
    return id;
  }
  void remember(ObjectId id) {
    if (ghost_most_ < 1) return;
    while (ghost_.size >= ghost_most_) nodes_[nodes_.pop_oldest(ghost_)].place = Place::none;
    nodes_[id].place = Place::ghost;
    nodes_.push_newest(ghost_, id);
  }
  std::int64_t small_most_, ghost_most_;
  int threshold_;
  bool tiny_;
  List small_, main_, ghost_;
};

const Register<S3Fifo> kSelf{"s3-fifo",
                             "a small FIFO on probation, a main FIFO with reinsertion, a ghost",
                             "Yang et al., SOSP 2023, doi:10.1145/3600006.3613147"};

}  // namespace
}  // namespace kvsim
