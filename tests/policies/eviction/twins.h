#pragma once
// Eviction policies once more, as plainly as their rules read
// (../shared/peers/libcachesim/README.md): vectors searched from end to end, the oldest first.
// Each counts misses of a cache of C objects of size 1.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace kvsim::twins {

using Key = std::uint64_t;
using Queue = std::vector<Key>;  // oldest first

inline bool has(const Queue& q, Key k) { return std::find(q.begin(), q.end(), k) != q.end(); }
inline bool take(Queue& q, Key k) {
  const auto it = std::find(q.begin(), q.end(), k);
  if (it == q.end()) return false;
  q.erase(it);
  return true;
}
inline Key pop(Queue& q) {
  const Key k = q.front();
  q.erase(q.begin());
  return k;
}
inline std::size_t part(std::size_t c, double ratio) {
  return static_cast<std::size_t>(static_cast<double>(c) * ratio);
}

class Twin {
 public:
  explicit Twin(std::size_t capacity) : c_(capacity) {}
  virtual ~Twin() = default;
  // Whether it hit; `next` is the position of the next access to it.
  virtual bool access(Key, std::int64_t next) = 0;

 protected:
  std::size_t c_;
};

using Make = std::function<std::unique_ptr<Twin>(std::size_t capacity)>;
class Fifo final : public Twin {
 public:
  using Twin::Twin;
  bool access(Key k, std::int64_t) override {
    if (has(q_, k)) return true;
    if (q_.size() == c_) pop(q_);
    q_.push_back(k);
    return false;
  }

 private:
  Queue q_;
};

class Recency final : public Twin {  // LRU, or MRU
 public:
  Recency(std::size_t c, bool newest) : Twin(c), newest_(newest) {}
  bool access(Key k, std::int64_t) override {
    const bool hit = take(q_, k);
    if (!hit && q_.size() == c_) q_.erase(newest_ ? q_.end() - 1 : q_.begin());
    q_.push_back(k);
    return hit;
  }

 private:
  bool newest_;
  Queue q_;
};

class Lfu final : public Twin {
 public:
  using Twin::Twin;
  bool access(Key k, std::int64_t) override {
    const bool hit = count_.count(k) > 0;
    if (!hit && count_.size() == c_) {
      Key victim = count_.begin()->first;
      for (const auto& [key, e] : count_)
        if (e < count_[victim]) victim = key;
      count_.erase(victim);
    }
    auto& e = count_[k];
    e = {e.first + 1, ++time_};
    return hit;
  }

 private:
  std::map<Key, std::pair<int, int>> count_;  // and when it was reached
  int time_ = 0;
};

class Gdsf final : public Twin {
 public:
  using Twin::Twin;
  bool access(Key k, std::int64_t) override {
    const bool hit = all_.count(k) > 0;
    if (!hit && all_.size() == c_) {
      Key victim = all_.begin()->first;
      for (const auto& [key, e] : all_)
        if (std::pair(e.priority, e.time) < std::pair(all_[victim].priority, all_[victim].time))
          victim = key;
      level_ = all_[victim].priority;
      all_.erase(victim);
    }
    Entry& e = all_[k];
    e = {e.count + 1, level_ + (e.count + 1) * 1e6, ++time_};
    return hit;
  }

 private:
  struct Entry {
    int count = 0;
    double priority = 0;
    int time = 0;
  };
  std::map<Key, Entry> all_;
  double level_ = 0;
  int time_ = 0;
};

class Clock final : public Twin {
 public:
  Clock(std::size_t c, int most) : Twin(c), most_(most) {}
  bool access(Key k, std::int64_t) override {
    if (has(q_, k)) {
      hits_[k] = std::min(hits_[k] + 1, most_);
      return true;
    }
    while (q_.size() == c_) {
      const Key old = pop(q_);
      if (hits_[old]-- > 0) q_.push_back(old);
    }
    hits_[k] = 0;
    q_.push_back(k);
    return false;
  }

 private:
  int most_;
  Queue q_;
  std::map<Key, int> hits_;
};

class Sieve final : public Twin {
 public:
  using Twin::Twin;
  bool access(Key k, std::int64_t) override {
    if (has(q_, k)) {
      visited_[k] = true;
      return true;
    }
    if (q_.size() == c_) {
      std::size_t at = hand_ < q_.size() ? hand_ : 0;
      while (visited_[q_[at]]) {
        visited_[q_[at]] = false;
        at = (at + 1) % q_.size();
      }
      hand_ = at + 1 < q_.size() ? at : q_.size();  // the neighbour moves into this place
      if (hand_ == q_.size()) hand_ = static_cast<std::size_t>(-1);
      q_.erase(q_.begin() + static_cast<std::ptrdiff_t>(at));
    }
    visited_[k] = false;
    q_.push_back(k);
    return false;
  }

 private:
  Queue q_;
  std::map<Key, bool> visited_;
  std::size_t hand_ = static_cast<std::size_t>(-1);  // none
};

class TwoQ final : public Twin {
 public:
  using Twin::Twin;
  bool access(Key k, std::int64_t) override {
    const std::size_t in_most = part(c_, 0.25), out_most = part(c_, 0.5);
    if (has(in_, k)) return true;
    const bool returns = take(out_, k);
    if (take(main_, k)) {
      main_.push_back(k);
      return true;
    }
    if (in_most == 0) return false;
    while (in_.size() + main_.size() + 1 > c_) {
      if (in_.size() <= in_most) {
        pop(main_);
        continue;
      }
      const Key old = pop(in_);
      if (out_most == 0) continue;
      if (out_.size() == out_most) pop(out_);
      out_.push_back(old);
    }
    if (returns && main_.size() == c_ - in_most) pop(main_);
    (returns ? main_ : in_).push_back(k);
    return false;
  }

 private:
  Queue in_, out_, main_;
};

class S3Fifo final : public Twin {
 public:
  S3Fifo(std::size_t c, int threshold) : Twin(c), threshold_(threshold) {}
  bool access(Key k, std::int64_t) override {
    const std::size_t small_most = part(c_, 0.1);
    if (has(small_, k)) return ++hits_[k], true;
    const bool returns = take(ghost_, k);
    if (has(main_, k)) return ++hits_[k], true;
    if (small_most < 2) return false;
    while (small_.size() + main_.size() + 1 > c_) {
      if (main_.size() > c_ - small_most || small_.empty())
        evict_main();
      else
        evict_small();
    }
    hits_[k] = 0;
    (returns ? main_ : small_).push_back(k);
    return false;
  }

 private:
  void evict_small() {
    while (!small_.empty()) {
      const Key old = pop(small_);
      if (hits_[old] < threshold_) {
        if (ghost_.size() == part(c_, 0.9)) pop(ghost_);
        ghost_.push_back(old);
        return;
      }
      hits_[old] = 0;
      main_.push_back(old);
    }
  }
  void evict_main() {
    while (true) {
      const Key old = pop(main_);
      if (hits_[old] == 0) return;
      hits_[old] = std::min(hits_[old], 3) - 1;
      main_.push_back(old);
    }
  }
  int threshold_;
  Queue small_, main_, ghost_;
  std::map<Key, int> hits_;
};

class Arc final : public Twin {
 public:
  using Twin::Twin;
  bool access(Key k, std::int64_t) override {
    if (take(t1_, k) || take(t2_, k)) return t2_.push_back(k), true;
    const auto c = static_cast<double>(c_);
    const auto b1 = static_cast<double>(b1_.size()), b2 = static_cast<double>(b2_.size());
    const bool in_b1 = take(b1_, k), in_b2 = take(b2_, k);
    if (in_b1) p_ = std::min(p_ + std::max(b2 / b1, 1.0), c);
    if (in_b2) p_ = std::max(p_ - std::max(b1 / b2, 1.0), 0.0);
    if (t1_.size() + t2_.size() == c_) make_room(in_b1, in_b2);
    (in_b1 || in_b2 ? t2_ : t1_).push_back(k);
    return false;
  }

 private:
  void make_room(bool in_b1, bool in_b2) {
    if (in_b1 || in_b2) return replace(in_b2);
    if (t1_.size() + b1_.size() + 1 > c_) {
      if (b1_.empty()) return static_cast<void>(pop(t1_));
      pop(b1_);
    } else if (t1_.size() + t2_.size() + b1_.size() + b2_.size() >= 2 * c_ && !b2_.empty()) {
      pop(b2_);
    }
    replace(false);
  }
  void replace(bool in_b2) {
    const auto n = static_cast<double>(t1_.size());
    if ((n > 0 && (n > p_ || (n == p_ && in_b2))) || t2_.empty())
      b1_.push_back(pop(t1_));
    else
      b2_.push_back(pop(t2_));
  }
  double p_ = 0;
  Queue t1_, t2_, b1_, b2_;
};

// Segments of which each gives its tail to the one below.
class Ladder {
 public:
  explicit Ladder(std::vector<std::size_t> most) : most_(std::move(most)), s_(most_.size()) {}
  [[nodiscard]] std::size_t size() const {
    std::size_t n = 0;
    for (const Queue& q : s_) n += q.size();
    return n;
  }
  [[nodiscard]] std::size_t lowest_most() const { return most_[0]; }
  bool hit(Key k) {
    for (std::size_t i = 0; i < s_.size(); ++i) {
      if (!take(s_[i], k)) continue;
      const std::size_t to = std::min(i + 1, s_.size() - 1);
      s_[to].push_back(k);
      while (s_[to].size() > most_[to]) shed(to);
      return true;
    }
    return false;
  }
  void insert(Key k) {
    for (std::size_t i = 0; i < s_.size(); ++i)
      if (s_[i].size() < most_[i]) return s_[i].push_back(k);
    s_[0].push_back(k);
  }
  Queue& lowest() {
    for (Queue& q : s_)
      if (!q.empty()) return q;
    return s_[0];
  }

 private:
  void shed(std::size_t i) {
    if (i == 0) return static_cast<void>(pop(lowest()));
    s_[i - 1].push_back(pop(s_[i]));
    while (s_[i - 1].size() > most_[i - 1]) shed(i - 1);
  }
  std::vector<std::size_t> most_;
  std::vector<Queue> s_;
};

class Slru final : public Twin {
 public:
  explicit Slru(std::size_t c) : Twin(c), s_({c / 4, c / 4, c / 4, c / 4}) {}
  bool access(Key k, std::int64_t) override {
    if (s_.hit(k)) return true;
    if (c_ < 4) return false;
    while (s_.size() + 1 > c_) pop(s_.lowest());
    s_.insert(k);
    return false;
  }

 private:
  Ladder s_;
};

class WTinyLfu final : public Twin {
 public:
  explicit WTinyLfu(std::size_t c)
      : Twin(c),
        window_most_(part(c, 0.01)),
        main_most_(c - window_most_),
        main_({part(main_most_, 1.0 / 5), part(main_most_, 4.0 / 5)}),
        counters_(std::max<std::size_t>(
            20, static_cast<std::size_t>(std::ceil(-std::log(0.001) / 0.480453013918201 *
                                                   static_cast<double>(main_most_))))) {}
  bool access(Key k, std::int64_t) override {
    if (take(window_, k)) return window_.push_back(k), true;
    if (main_.hit(k)) {
      add(k);
      if (++hits_ < 32 * main_most_) return true;
      hits_ = 0;
      for (auto& n : counters_) n /= 2;
      return true;
    }
    if (window_most_ == 0 || main_.lowest_most() == 0) return false;
    while (window_.size() + main_.size() + 1 > c_) evict();
    window_.push_back(k);
    add(k);
    return false;
  }

 private:
  void evict() {
    while (!window_.empty()) {
      const Key candidate = pop(window_);
      const bool room = main_.size() < main_most_;
      const bool wins = room || least(candidate) > least(main_.lowest().front());
      if (wins && !room) pop(main_.lowest());
      if (wins) main_.insert(candidate);
      add(candidate);
      if (!wins) return;
    }
    pop(main_.lowest());
  }
  // XXH64 of eight bytes by its specification.
  static std::uint32_t hash(Key k, std::uint64_t seed) {
    const std::uint64_t p[] = {0,
                               0x9E3779B185EBCA87ULL,
                               0xC2B2AE3D27D4EB4FULL,
                               0x165667B19E3779F9ULL,
                               0x85EBCA77C2B2AE63ULL,
                               0x27D4EB2F165667C5ULL};
    const auto turn = [](std::uint64_t x, int n) { return x << n | x >> (64 - n); };
    std::uint64_t h = seed + p[5] + 8;
    h ^= turn(k * p[2], 31) * p[1];
    h = turn(h, 27) * p[1] + p[4];
    h ^= h >> 33;
    h *= p[2];
    h ^= h >> 29;
    h *= p[3];
    return static_cast<std::uint32_t>(h ^ h >> 32);
  }
  std::vector<std::size_t> places(Key k) const {
    std::vector<std::size_t> all;
    const std::uint32_t a = hash(k, 0x12345678), b = hash(k, 0x12344321);
    for (std::uint32_t i = 0; i < 10; ++i)
      all.push_back(std::uint32_t{a + i * b} % counters_.size());
    return all;
  }
  void add(Key k) {
    for (const std::size_t i : places(k)) ++counters_[i];
  }
  std::uint32_t least(Key k) const {
    std::uint32_t n = ~0U;
    for (const std::size_t i : places(k)) n = std::min(n, counters_[i]);
    return n;
  }
  std::size_t window_most_, main_most_;
  Queue window_;
  Ladder main_;
  std::vector<std::uint32_t> counters_;
  std::size_t hits_ = 0;
};

// For capacities of 200 and more, where Q has room for two.
class Lirs final : public Twin {
 public:
  explicit Lirs(std::size_t c) : Twin(c), q_most_(std::max<std::size_t>(1, part(c, 0.01))) {}
  bool access(Key k, std::int64_t) override {
    const bool hit = lir_[k] || has(q_, k);
    if (hit)
      on_hit(k);
    else if (c_ > q_most_)
      on_miss(k);
    while (s_.size() > 2 * c_ && !gone_.empty()) take(s_, pop(gone_));
    return hit;
  }

 private:
  void on_hit(Key k) {
    const bool known = take(s_, k), was_lir = lir_[k];
    if (known) {
      s_.push_back(k);
      if (was_lir) return prune();
      take(q_, k);
      while (lirs_ == c_ - q_most_) demote();
      lir_[k] = true;
      ++lirs_;
      return;
    }
    take(q_, k);
    q_.push_back(k);
    while (lirs_ == c_ - q_most_) demote();
    s_.push_back(k);
  }
  void on_miss(Key k) {
    const bool known = take(s_, k);
    if (known) s_.push_back(k);
    if (known) take(gone_, k);
    const bool full = lirs_ == c_ - q_most_;
    if (known && full) demote();
    if (!known && full && q_.size() == q_most_) drop();
    if (!known) s_.push_back(k);
    if (known || !full) {
      lir_[k] = true;
      ++lirs_;
    } else {
      q_.push_back(k);
    }
  }
  void drop() {
    const Key out = pop(q_);
    if (has(s_, out)) gone_.push_back(out);
  }
  void demote() {
    const Key bottom = pop(s_);
    lir_[bottom] = false;
    --lirs_;
    while (q_.size() >= q_most_) drop();
    q_.push_back(bottom);
    prune();
  }
  void prune() {
    while (s_.size() > 1 && !lir_[s_.front()]) take(gone_, pop(s_));
  }
  std::size_t q_most_, lirs_ = 0;
  Queue s_, q_, gone_;
  std::map<Key, bool> lir_;
};

class Belady final : public Twin {
 public:
  Belady(std::size_t c, bool bypass) : Twin(c), bypass_(bypass) {}
  bool access(Key k, std::int64_t next) override {
    const bool hit = next_.count(k) > 0;
    if (!hit && next_.size() == c_) {
      Key victim = next_.begin()->first;
      for (const auto& [key, n] : next_)
        if (n > next_[victim]) victim = key;
      if (bypass_ && next >= next_[victim]) return false;
      next_.erase(victim);
    }
    next_[k] = next;
    return hit;
  }

 private:
  bool bypass_;
  std::map<Key, std::int64_t> next_;
};

template <class T, class... A>
Make make(A... a) {
  return [=](std::size_t c) { return std::make_unique<T>(c, a...); };
}

// By the name and parameters of the policy, such as "s3-fifo:threshold=1".
inline const std::map<std::string, Make>& twins() {
  static const std::map<std::string, Make> all{{"fifo", make<Fifo>()},
                                               {"lru", make<Recency>(false)},
                                               {"mru", make<Recency>(true)},
                                               {"lfu", make<Lfu>()},
                                               {"gdsf", make<Gdsf>()},
                                               {"clock", make<Clock>(1)},
                                               {"clock:bits=2", make<Clock>(3)},
                                               {"sieve", make<Sieve>()},
                                               {"2q", make<TwoQ>()},
                                               {"s3-fifo", make<S3Fifo>(2)},
                                               {"s3-fifo:threshold=1", make<S3Fifo>(1)},
                                               {"arc", make<Arc>()},
                                               {"slru", make<Slru>()},
                                               {"w-tinylfu", make<WTinyLfu>()},
                                               {"lirs", make<Lirs>()},
                                               {"belady", make<Belady>(false)},
                                               {"belady:bypass=true", make<Belady>(true)}};
  return all;
}

}  // namespace kvsim::twins
