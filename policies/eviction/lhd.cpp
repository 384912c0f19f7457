// LHD: evicts, of a sample, the object whose expected hits per space and time left are fewest, from
// observed hits and evictions by age, in classes of objects by their last two ages.
#include <algorithm>
#include <array>
#include <limits>

#include "policies/eviction/residents.h"

namespace kvsim {
namespace {

class Lhd final : public EvictionPolicy {
 public:
  struct Params {
    int samples = 32;
    int early_samples = 8;
    int admissions = 8;
    std::int64_t interval = 1 << 20;
    static constexpr Rows kFields{
        field("samples", &Params::samples, between(1, 4096),
              "objects drawn per eviction, with repetition"),
        field("early_samples", &Params::early_samples, between(1, 4096),
              "the same in the first 50 intervals, as libCacheSim does; the paper has no such "
              "phase"),
        field("admissions", &Params::admissions, between(1, 4096),
              "newcomers that look poor and are candidates of each eviction as well"),
        field("interval", &Params::interval, between(std::int64_t{1000}, std::int64_t{1} << 40),
              "accesses between two updates of the densities")};
  };
  Lhd(Params p, const Context& c)
      : EvictionPolicy(c),
        p_(p),
        random_(c.random),
        left_(p.interval),
        poor_newcomers_(static_cast<std::size_t>(p.admissions), kNoObject),
        explorers_left_(capacity_ / 100) {
    for (std::size_t k = 0; k < kClasses; ++k) {  // until the first update: young and often hit
      classes_[k].hits.resize(kAges);
      classes_[k].evictions.resize(kAges);
      classes_[k].density.resize(kAges);
      for (std::size_t age = 0; age < kAges; ++age)
        classes_[k].density[age] =
            static_cast<float>(kClasses + k + 1) / static_cast<float>(age + 1);
    }
  }
  void on_hit(const Access& a) override {
    Tag& t = tags_[a.id];
    const std::size_t age = age_of(t);
    ++classes_[class_of(t)].hits[age];
    if (t.explorer) ++explorers_left_;
    t.age_before_last = t.last_age;
    t.last_age = static_cast<std::uint32_t>(age);
    touched(t);
    advance();
  }
  void on_insert(const Access& a) override {
    residents_.add(a.id, objects_->size());
    if (tags_.size() < objects_->size()) tags_.resize(objects_->size());
    Tag& t = tags_[a.id];
    t = Tag{};
    if (!touched(t) && density_of(t) < 0)
      poor_newcomers_[next_poor_++ % poor_newcomers_.size()] = a.id;
    advance();
  }
  void on_remove(ObjectId id) override {
    if (tags_[id].explorer) ++explorers_left_;
    residents_.remove(id);
  }
  ObjectId evict(const Access&) override {
    if (residents_.size() == 0) return kNoObject;
    ObjectId victim = kNoObject;
    float lowest = 0;
    const auto consider = [&](ObjectId id) {
      if (pinned(id)) return;
      const float d = density_of(tags_[id]);
      if (victim != kNoObject && d >= lowest) return;
      victim = id;
      lowest = d;
    };
    const int n = updates_ > kEarlyUpdates ? p_.samples : p_.early_samples;
    for (int i = 0; i < n; ++i) consider(residents_.draw(random_));
    for (const ObjectId id : poor_newcomers_)
      if (residents_.contains(id)) consider(id);
    if (victim == kNoObject)
      victim = residents_.any(random_, [this](ObjectId o) { return !pinned(o); });
    if (victim == kNoObject) return victim;
    ++classes_[class_of(tags_[victim])].evictions[age_of(tags_[victim])];
    on_remove(victim);
    return victim;
  }

 private:
  static constexpr std::size_t kClasses = 16, kAges = 20000;
  static constexpr int kEarlyUpdates = 50;
  struct Tag {
    std::int64_t touched = 0;
    std::uint32_t last_age = 0, age_before_last = kAges;
    bool explorer = false;
  };
  struct Class {
    std::vector<float> hits, evictions, density;  // by age
  };
  [[nodiscard]] std::size_t age_of(const Tag& t) const {
    return static_cast<std::size_t>(
        std::min<std::int64_t>((now_ - t.touched) >> shift_, kAges - 1));
  }
  // Log of how far the last two ages are below the greatest.
  static std::size_t class_of(const Tag& t) {
    std::uint64_t age = std::uint64_t{t.last_age} + t.age_before_last;
    if (age == 0) return kClasses - 1;
    std::size_t k = 0;
    for (; age < kAges && k < kClasses - 1; age <<= 1) ++k;
    return k;
  }
  [[nodiscard]] float density_of(const Tag& t) const {
    const std::size_t age = age_of(t);
    if (age == kAges - 1) return std::numeric_limits<float>::lowest();
    return classes_[class_of(t)].density[age] + (t.explorer ? 1.0F : 0.0F);
  }
  // Whether the draw wanted an explorer: a few objects are spared, to see what would become of
  // them.
  bool touched(Tag& t) {
    t.touched = now_;
    const bool explore = random_.below(32) == 0;
    t.explorer = explore && explorers_left_ > 0 && updates_ < kEarlyUpdates;
    if (t.explorer) --explorers_left_;
    return explore;
  }
  void advance() {
    ++now_;
    if (--left_ > 0) return;
    left_ = p_.interval;
    update();
    ++updates_;
  }
  void update() {
    for (Class& c : classes_)
      for (std::size_t a = 0; a < kAges; ++a) {
        c.hits[a] *= kDecay;
        c.evictions[a] *= kDecay;
      }
    rescale_ages();
    for (Class& c : classes_) {
      float events = c.hits[kAges - 1] + c.evictions[kAges - 1], hits = c.hits[kAges - 1];
      float lifetime = events;
      for (std::size_t a = kAges - 1; a-- > 0;) {
        hits += c.hits[a];
        events += c.hits[a] + c.evictions[a];
        lifetime += events;
        c.density[a] = events > 1e-5F ? hits / lifetime : 0;
      }
    }
  }
  // Twice early on: the unit of age follows the number of residents, so that few ages overflow.
  void rescale_ages() {
    average_ = average_ * kDecay + static_cast<float>(residents_.size());
    mass_ = mass_ * kDecay + 1;
    if (updates_ != 5 && updates_ != 25) return;
    const float unit = average_ / mass_ / (0.01F * kAges);
    int shift = 1;
    while (static_cast<float>(std::int64_t{1} << shift) < unit) ++shift;
    const int delta = shift - shift_;
    shift_ = shift;
    average_ *= 8;
    mass_ *= 8;
    for (Class& c : classes_) {
      rescale(c.hits, delta);
      rescale(c.evictions, delta);
    }
  }
  static void rescale(std::vector<float>& by_age, int delta) {
    std::vector<float> fresh(kAges, 0.0F);
    fresh[kAges - 1] = by_age[kAges - 1];
    for (std::size_t a = 0; a + 1 < kAges; ++a) {
      if (delta >= 0) {
        fresh[a >> delta] += by_age[a];
        continue;
      }
      const std::size_t parts = std::size_t{1} << -delta;
      for (std::size_t k = 0; k < parts; ++k)
        fresh[std::min(a * parts + k, kAges - 1)] += by_age[a] / static_cast<float>(parts);
    }
    by_age.swap(fresh);
  }

  static constexpr float kDecay = 0.9F;
  Params p_;
  Rng random_;
  Residents residents_;
  std::vector<Tag> tags_;
  std::array<Class, kClasses> classes_;
  std::int64_t now_ = 0, left_;  // accesses; until the next update
  int updates_ = 0;
  int shift_ = 10;  // age = accesses >> shift_
  float average_ = 0, mass_ = 0;
  std::vector<ObjectId> poor_newcomers_;
  std::size_t next_poor_ = 0;
  std::int64_t explorers_left_;
};

const Register<Lhd> kSelf{"lhd", "least hit density, by sampling",
                          "Beckmann, Chen and Cidon, NSDI 2018; constants as libCacheSim"};

}  // namespace
}  // namespace kvsim
