// Our own: of the leaves the one with the fewest hits to come per access for which it would occupy
// its place goes; a newcomer that promises less than all of them is not kept.
//
// How long a block stays away is learned online, by class: how often it was used, how long it
// stayed away the last time and whether it ended a prompt, remembered after it has left the cache
// too. With S(a) the share of a class that stays away longer than a accesses, a block of age a is
// worth
//   max over h of  P(a < return <= a + h) / E[min(return, a + h) - a],
// hits per access of occupancy when it is dropped unless it is back after h: Gittins' index of a
// job of unknown length, which needs no threshold or horizon and tells a block that will be back
// soon from one that is due never or late. Among LHD's relatives (Beckmann et al., NSDI 2018) it is
// the one that chooses the horizon, works on the leaves of a prefix tree and refuses newcomers.
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "policies/eviction/eviction.h"

namespace kvsim {
namespace {

// Ages in half octaves of accesses: 1, 2, 3, 4, 6, 8, 12 ...
constexpr std::size_t kBins = 64;

std::size_t bin_of(std::int64_t age) {
  if (age <= 1) return 0;
  const auto a = static_cast<std::uint64_t>(age);
  const auto octave = static_cast<std::size_t>(std::bit_width(a)) - 1;
  return std::min(2 * octave - 1 + (a >> (octave - 1) & 1), kBins - 1);
}

double bin_start(std::size_t bin) {
  if (bin == 0) return 1;
  return std::ldexp(bin % 2 == 1 ? 1.0 : 1.5, static_cast<int>((bin + 1) / 2));
}

// The blocks of one class: touched so often, of which so many came back at this age.
class Returns {
 public:
  void touched(double n) { touches_ += n; }
  void returned(std::int64_t age) { returned_[bin_of(age)] += 1; }
  [[nodiscard]] double index(std::int64_t age) const { return index_[bin_of(age)]; }

  void refresh() {
    double away = touches_;  // longer than the start of bin a
    for (std::size_t a = 0; a < kBins; ++a) {
      double left = away, hits = 0, time = 0, best = 0;
      for (std::size_t b = a; b < kBins; ++b) {
        hits += returned_[b];
        time += (left - returned_[b] / 2) * (bin_start(b + 1) - bin_start(b));
        left -= returned_[b];
        best = std::max(best, hits / time);
      }
      index_[a] = best;
      away -= returned_[a];
    }
  }

 private:
  // Before anything is known half of 16 touches came back, at ages evenly spread over the bins:
  // then the younger a block the better.
  static constexpr double kPrior = 16;
  static constexpr std::array<double, kBins> spread() {
    std::array<double, kBins> all{};
    for (double& x : all) x = kPrior / 2 / kBins;
    return all;
  }
  double touches_ = kPrior;
  std::array<double, kBins> returned_ = spread();
  std::array<double, kBins> index_{};
};

class Gittins final : public EvictionPolicy {
 public:
  struct Params {
    std::int64_t sample = 32;
    std::int64_t refresh = 4096;
    static constexpr Rows kFields{
        field("sample", &Params::sample, between<std::int64_t>(1, 1 << 20),
              "leaves drawn and compared for one eviction"),
        field(
            "refresh", &Params::refresh, between<std::int64_t>(1, 1 << 30),
            "accesses after which the indices are computed anew (at first after an eighth of those "
            "seen)")};
  };
  Gittins(Params p, const Context& c) : EvictionPolicy(c), params_(p), random_(c.random) {
    refresh();
  }

  void on_hit(const Access& a) override { use(a); }
  void on_miss(const Access& a) override { use(a); }
  bool admits(const Access& a) override {
    const ObjectId p = objects_->parent[a.id];
    if (p != kNoObject && !nodes_[p].resident) return false;  // could not be hit
    if (residents_ < capacity_) return true;
    chosen_ = choose(a.tick);
    return chosen_ == kNoObject || index(nodes_[chosen_], kind_of(nodes_[chosen_]), a.tick) <=
                                       index(nodes_[a.id], kEither, a.tick);
  }
  ObjectId evict(const Access& incoming) override {
    ObjectId victim = std::exchange(chosen_, kNoObject);
    if (victim == kNoObject || !is_leaf(victim) || pinned(victim)) victim = choose(incoming.tick);
    if (victim != kNoObject) on_remove(victim);
    return victim;
  }
  void on_insert(const Access& a) override {
    nodes_[a.id].resident = true;
    ++residents_;
    const ObjectId p = objects_->parent[a.id];
    if (p != kNoObject && nodes_[p].children++ == 0 && nodes_[p].resident) remove_leaf(p);
    if (nodes_[a.id].children == 0) add_leaf(a.id);
  }
  // The node before it has as many children as it had.
  void on_split(const Access& upper, ObjectId) override {
    use(upper);
    nodes_[upper.id].resident = true;
    nodes_[upper.id].children = 1;
    ++residents_;
  }
  void on_remove(ObjectId id) override {
    nodes_[id].resident = false;
    --residents_;
    if (nodes_[id].children == 0) remove_leaf(id);
    const ObjectId p = objects_->parent[id];
    if (p != kNoObject && --nodes_[p].children == 0 && nodes_[p].resident) add_leaf(p);
  }

 private:
  struct Node {
    std::int64_t tick = 0;       // of its last use
    std::uint32_t place = 0;     // among the leaves
    std::uint32_t children = 0;  // resident ones
    std::uint8_t uses = 0;       // up to kUses
    std::uint8_t gap = 0;        // between the last two uses, in groups of bins; 0 = used once
    bool resident = false;
    bool continued = false;  // a block after it was asked for since its last use
  };
  static constexpr std::uint8_t kUses = 4;
  static constexpr std::size_t kGapBins = 8, kGaps = 1 + kBins / kGapBins;

  // The last block of a prompt is seldom asked for again (it is partial, or what follows differs),
  // so ends are classes of their own. Of a newcomer it is not known yet: there the mixture counts.
  enum Kind : std::size_t { kEnd, kContinued, kEither, kKinds };
  static Kind kind_of(const Node& n) { return n.continued ? kContinued : kEnd; }
  [[nodiscard]] static std::size_t class_of(const Node& n, Kind kind) {
    return ((n.uses - 1U) * kGaps + n.gap) * kKinds + kind;
  }
  [[nodiscard]] double index(const Node& n, Kind kind, std::int64_t now) const {
    return classes_[class_of(n, kind)].index(now - n.tick);
  }
  void use(const Access& a) {
    if (nodes_.size() < objects_->size()) nodes_.resize(objects_->size());
    if (++since_refresh_ >= due_) refresh();
    const ObjectId p = objects_->parent[a.id];
    if (p != kNoObject && nodes_[p].uses > 0 && !nodes_[p].continued) {
      classes_[class_of(nodes_[p], kEnd)].touched(-1);
      nodes_[p].continued = true;
      classes_[class_of(nodes_[p], kContinued)].touched(1);
    }
    Node& n = nodes_[a.id];
    if (n.uses > 0) {
      const std::int64_t gap = a.tick - n.tick;
      for (const Kind k : {kind_of(n), kEither}) classes_[class_of(n, k)].returned(gap);
      n.gap = static_cast<std::uint8_t>(1 + bin_of(gap) / kGapBins);
    }
    n.uses = std::min<std::uint8_t>(kUses, static_cast<std::uint8_t>(n.uses + 1));
    n.tick = a.tick;
    n.continued = false;
    for (const Kind k : {kEnd, kEither}) classes_[class_of(n, k)].touched(1);
  }
  void refresh() {
    uses_ += since_refresh_;
    since_refresh_ = 0;
    due_ = std::min(params_.refresh, std::max<std::int64_t>(64, uses_ / 8));
    for (Returns& c : classes_) c.refresh();
  }
  [[nodiscard]] bool is_leaf(ObjectId id) const {
    return nodes_[id].resident && nodes_[id].children == 0;
  }
  // Of a sample of leaves the one worth least, the longest unused among equals; of all leaves when
  // the sample is pinned.
  ObjectId choose(std::int64_t now) {
    const std::size_t leaves = leaves_.size(), sample = static_cast<std::size_t>(params_.sample);
    ObjectId best = kNoObject;
    double least = 0;
    const auto look = [&](ObjectId id) {
      if (pinned(id)) return;
      const double x = index(nodes_[id], kind_of(nodes_[id]), now);
      if (best != kNoObject && (x > least || (x == least && nodes_[id].tick >= nodes_[best].tick)))
        return;
      best = id;
      least = x;
    };
    if (leaves > sample)
      for (std::size_t k = 0; k < sample; ++k) look(leaves_[random_.below(leaves)]);
    if (best == kNoObject)
      for (const ObjectId id : leaves_) look(id);
    return best;
  }
  void add_leaf(ObjectId id) {
    nodes_[id].place = static_cast<std::uint32_t>(leaves_.size());
    leaves_.push_back(id);
  }
  void remove_leaf(ObjectId id) {
    const std::uint32_t at = nodes_[id].place;
    leaves_[at] = leaves_.back();
    nodes_[leaves_[at]].place = at;
    leaves_.pop_back();
  }

  Params params_;
  Rng random_;
  std::array<Returns, kUses * kGaps * kKinds> classes_;
  std::vector<Node> nodes_;
  std::vector<ObjectId> leaves_;
  std::int64_t uses_ = 0, since_refresh_ = 0, due_ = 0;
  std::int64_t residents_ = 0;
  ObjectId chosen_ = kNoObject;  // by admits, for the eviction that follows
};

const Register<Gittins> kSelf{
    "gittins",
    "of the leaves of the prefix tree, fewest hits to come per access of occupancy (learned); "
    "refuses newcomers that promise less",
    "kvsim; index of Gittins 1979, hit density of Beckmann et al., LHD, NSDI 2018"};

}  // namespace
}  // namespace kvsim
