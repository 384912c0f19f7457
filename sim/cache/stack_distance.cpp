#include "sim/cache/stack_distance.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/hash.h"

namespace kvsim {

std::size_t StackDistance::touch(std::uint64_t key) {
  if (next_ == tree_.size()) renumber();
  const auto [at, is_new] = last_.insert(key, next_);
  std::size_t distance = 0;
  if (is_new) {
    ++live_;
  } else {
    KVSIM_CHECK(at != 0, "touches a key that was forgotten");
    distance = live_ - sum(at) + 1;
    add(at, -1);
    at = next_;
  }
  add(next_++, 1);
  return distance;
}

void StackDistance::forget(std::uint64_t key) {
  std::uint64_t* at = last_.find(key);
  KVSIM_CHECK(at != nullptr && *at != 0, "forgets a key that is not there");
  add(*at, -1);
  *at = 0;
  --live_;
}

void StackDistance::add(std::size_t position, std::int64_t delta) {
  for (std::size_t i = position; i < tree_.size(); i += i & (~i + 1)) tree_[i] += delta;
}

std::size_t StackDistance::sum(std::size_t position) const {
  std::int64_t n = 0;
  for (std::size_t i = position; i > 0; i -= i & (~i + 1)) n += tree_[i];
  return static_cast<std::size_t>(n);
}

void StackDistance::renumber() {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> live;  // old position, key
  live.reserve(live_);
  last_.each([&](std::uint64_t key, std::uint64_t& position) {
    if (position != 0) live.emplace_back(position, key);
  });
  std::sort(live.begin(), live.end());
  tree_.assign(std::max<std::size_t>(1024, 3 * live.size()), 0);
  next_ = 1;
  last_ = KeyTable();
  for (const auto& [old, key] : live) {
    last_.insert(key, next_);
    add(next_++, 1);
  }
}

namespace {

// Exact curves have a bucket for each distance; sampled ones 256 for each doubling of it (0.4 %).
constexpr int kFineBits = 8;

std::size_t bucket_of(std::uint64_t distance, bool exact) {
  if (exact || distance < 1U << (kFineBits + 1)) return static_cast<std::size_t>(distance);
  const int shift = static_cast<int>(std::bit_width(distance)) - kFineBits - 1;
  return (static_cast<std::size_t>(shift) << kFineBits) +
         static_cast<std::size_t>(distance >> shift);
}

}  // namespace

double MissRatioCurve::miss_ratio(std::uint64_t capacity) const {
  if (accesses == 0 || capacity == 0 || hits.empty()) return accesses == 0 ? 0 : 1;
  // Whole buckets: those before the one that capacity + 1 falls into.
  const std::size_t k = std::min(bucket_of(capacity + 1, exact) - 1, hits.size() - 1);
  return std::clamp(1.0 - hits[k] / static_cast<double>(accesses), 0.0, 1.0);
}

LruCurve::LruCurve(Sampling sampling)
    : sampling_(sampling), threshold_(std::ldexp(sampling.rate, 64)) {
  KVSIM_CHECK(sampling.rate > 0 && sampling.rate <= 1, "rate {}", sampling.rate);
}

void LruCurve::access(std::uint64_t key) {
  ++accesses_;
  const std::uint64_t hash = mix64(key);
  if (static_cast<double>(hash) < threshold_ || !sampling_.on()) follow(hash);
}

void LruCurve::follow(std::uint64_t hash) {
  const double inverse = std::ldexp(1 / threshold_, 64);
  const std::size_t distance = stack_.touch(hash);
  sampled_ += inverse;
  if (distance > 0) {
    const double scaled = static_cast<double>(distance - 1) * inverse;
    const std::size_t k = bucket_of(1 + static_cast<std::uint64_t>(scaled), !sampling_.on());
    if (weight_.size() <= k) weight_.resize(k + 1);
    weight_[k] += inverse;
  } else if (sampling_.most > 0) {
    heap_.push_back(hash);
    std::push_heap(heap_.begin(), heap_.end());
    if (heap_.size() <= sampling_.most) return;
    // No hash at or above the threshold is followed, so equal ones (as doubles) leave together.
    threshold_ = static_cast<double>(heap_.front());
    while (!heap_.empty() && static_cast<double>(heap_.front()) >= threshold_) {
      std::pop_heap(heap_.begin(), heap_.end());
      stack_.forget(heap_.back());
      heap_.pop_back();
    }
  }
}

MissRatioCurve LruCurve::curve() const {
  MissRatioCurve c;
  c.accesses = accesses_;
  c.exact = !sampling_.on();
  c.rate = c.exact ? 1 : std::ldexp(threshold_, -64);
  c.distinct = static_cast<std::uint64_t>(static_cast<double>(stack_.distinct()) / c.rate);
  c.hits = weight_;
  if (c.exact) c.hits.resize(stack_.distinct() + 1);
  if (c.hits.size() < 2) c.hits.resize(2);
  c.hits[1] += static_cast<double>(accesses_) - sampled_;
  for (std::size_t k = 1; k < c.hits.size(); ++k) c.hits[k] += c.hits[k - 1];
  return c;
}

}  // namespace kvsim
