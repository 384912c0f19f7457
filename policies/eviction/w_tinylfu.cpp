// W-TinyLFU: a small LRU window in front of a segmented LRU; what leaves the window enters the main
// cache only when the sketch has seen it more often than the main cache's victim.
#include "policies/eviction/segments.h"
#include "policies/eviction/sketch.h"

namespace kvsim {
namespace {

struct WindowNode : SegmentNode {
  bool in_window = false;
  FrequencySketch::Key key{};
};

class WTinyLfu final : public ListPolicy<WindowNode> {
 public:
  struct Params {
    Ratio window{0.01};
    std::int64_t sample = 32;
    bool tiny = false;
    static constexpr Rows kFields{
        field("window", &Params::window, between(Ratio{0.0}, Ratio{0.9}),
              "share of the capacity for newcomers"),
        field("sample", &Params::sample, between(std::int64_t{1}, std::int64_t{1'000'000}),
              "the sketch is halved after so many hits in the main cache per object of it"),
        field("tiny", &Params::tiny, any,
              "a capacity too small for a window, or for its segments, still keeps objects; false "
              "keeps nothing, as libCacheSim does below 1 / window objects")};
  };
  WTinyLfu(Params p, const Context& c)
      : ListPolicy(c),
        least_(p.tiny ? 1 : 0),
        window_most_(std::max(
            least_, static_cast<std::int64_t>(static_cast<double>(capacity_) * p.window.value))),
        main_most_(capacity_ - window_most_),
        main_(nodes_, {share(1), share(4)}),
        sketch_(main_most_),
        halve_after_(p.sample * std::max<std::int64_t>(main_most_, 1)) {
    hash_from(0);
  }
  void on_hit(const Access& a) override {
    WindowNode& n = nodes_[a.id];
    if (n.in_window) return nodes_.move_newest(window_, a.id);
    if (leaving_.forget(a.id))
      main_.insert(a.id);
    else
      main_.hit(a.id, leaving_, [this](ObjectId o) { return !pinned(o); });
    sketch_.add(n.key);
    if (++main_hits_ < halve_after_) return;
    main_hits_ = 0;
    sketch_.halve();
  }
  bool admits(const Access&) override { return window_most_ >= 1 && main_.lowest_most() >= 1; }
  [[nodiscard]] bool must_evict(const Access&, std::int64_t resident) const override {
    return resident >= capacity_ || contest_goes_on_;
  }
  void on_insert(const Access& a) override {
    if (const std::size_t known = nodes_.size(); a.id >= known) {
      nodes_.cover(objects_->size());
      hash_from(known);
    }
    WindowNode& n = nodes_[a.id];
    n.in_window = true;
    nodes_.push_newest(window_, a.id);
    sketch_.add(n.key);
  }
  void on_remove(ObjectId id) override {
    if (leaving_.forget(id)) return;
    if (nodes_[id].in_window)
      nodes_.remove(window_, id);
    else
      main_.remove(id);
    nodes_[id].in_window = false;
  }
  // Candidates of the window win against victims of the main cache until one loses.
  ObjectId evict(const Access&) override {
    contest_goes_on_ = false;
    if (const ObjectId id = shed(); id != kNoObject) return id;
    while (true) {
      const ObjectId candidate = oldest_free(window_);
      if (candidate != kNoObject && main_.size() < main_most_) {
        to_main(candidate);
        continue;
      }
      const ObjectId victim = main_.victim([this](ObjectId o) { return !pinned(o); });
      if (candidate == kNoObject) {
        if (victim != kNoObject) main_.remove(victim);
        return victim;
      }
      const FrequencySketch::Key key = nodes_[candidate].key;
      if (victim != kNoObject && sketch_.estimate(key) > sketch_.estimate(nodes_[victim].key)) {
        main_.remove(victim);
        to_main(candidate);
        contest_goes_on_ = true;
        return victim;
      }
      on_remove(candidate);
      sketch_.add(key);
      return candidate;
    }
  }
  [[nodiscard]] bool sheds() const override { return true; }
  ObjectId shed() override {
    return leaving_.take([this](ObjectId o) { return !pinned(o); });
  }

 private:
  [[nodiscard]] std::int64_t share(int fifths) const {
    return std::max(least_, static_cast<std::int64_t>(static_cast<double>(fifths) / 5 *
                                                      static_cast<double>(main_most_)));
  }
  void hash_from(std::size_t id) {
    for (; id < nodes_.size(); ++id)
      nodes_[static_cast<ObjectId>(id)].key = FrequencySketch::key_of(objects_->key[id]);
  }
  void to_main(ObjectId id) {
    nodes_.remove(window_, id);
    nodes_[id].in_window = false;
    main_.insert(id);
    sketch_.add(nodes_[id].key);
  }
  std::int64_t least_;  // objects of a window or a segment
  std::int64_t window_most_, main_most_;
  List window_;
  Segments<WindowNode> main_;
  FrequencySketch sketch_;
  std::int64_t halve_after_, main_hits_ = 0;
  bool contest_goes_on_ = false;
  Leaving leaving_;
};

const Register<WTinyLfu> kSelf{"w-tinylfu", "a window, then admission by a frequency sketch",
                               "Einziger, Friedman and Manes, ACM TOS 2017; sketch as libCacheSim"};

}  // namespace
}  // namespace kvsim
