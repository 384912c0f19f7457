#include "sim/cache/bounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim {

namespace {

// A set of numbers below n with its maximum, as bitmaps of bitmaps.
class NumberSet {
 public:
  explicit NumberSet(std::size_t n) {
    do {
      n = n / 64 + 1;
      levels_.emplace_back(n);
    } while (n > 1);
  }
  void insert(std::size_t i) {
    for (auto& level : levels_) {
      level[i / 64] |= std::uint64_t{1} << i % 64;
      i /= 64;
    }
  }
  void erase(std::size_t i) {
    for (auto& level : levels_) {
      level[i / 64] &= ~(std::uint64_t{1} << i % 64);
      if (level[i / 64] != 0) return;
      i /= 64;
    }
  }
  [[nodiscard]] std::size_t max() const {  // of a set that is not empty
    std::size_t i = 0;
    for (auto level = levels_.rbegin(); level != levels_.rend(); ++level)
      i = i * 64 + 63 - static_cast<std::size_t>(std::countl_zero((*level)[i]));
    return i;
  }

 private:
  std::vector<std::vector<std::uint64_t>> levels_;
};

}  // namespace

void check_prefix_ids(const BlockStream& s) {
  for (std::size_t r = 0; r < s.requests(); ++r) {
    ObjectId before = kNoObject;
    for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; before = s.access[i++]) {
      if (s.objects.parent[s.access[i]] == before) continue;
      throw InputError(
          fmt::format("request {}, block {}: its id stood elsewhere before, so ids do not name "
                      "prefixes",
                      r, i - s.begin[r]),
          "prefix caches need ids that imply what comes before; without --prefix blocks are "
          "replayed one by one");
    }
  }
}

std::uint64_t flat_optimum(const BlockStream& s, std::int64_t capacity) {
  const std::size_t n = s.access.size();
  std::vector<std::size_t> next(n, n), latest(s.objects.size(), n);
  for (std::size_t i = n; i-- > 0;) {
    next[i] = latest[s.access[i]];
    latest[s.access[i]] = i;
  }
  NumberSet kept(n);  // accesses that will hit
  std::vector<std::uint8_t> is_kept(n, 0);
  std::uint64_t hits = 0;
  std::int64_t resident = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (is_kept[i] != 0) {
      ++hits;
      --resident;
      kept.erase(i);
    }
    if (next[i] == n) continue;
    is_kept[next[i]] = 1;
    kept.insert(next[i]);
    if (++resident <= capacity) continue;
    const std::size_t last = kept.max();
    kept.erase(last);
    is_kept[last] = 0;
    --resident;
  }
  return hits;
}

PrefixHits prefix_optimum(const BlockStream& s, std::int64_t capacity) {
  check_prefix_ids(s);
  const std::size_t n = s.requests();
  std::vector<std::uint32_t> next(s.access.size()), latest(s.objects.size(), ~0U);
  for (std::size_t r = n; r-- > 0;)
    for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; ++i) {
      next[i] = latest[s.access[i]];
      latest[s.access[i]] = static_cast<std::uint32_t>(r);
    }
  // All residents whose next use is request q lie on its path, so a count of them says which: the
  // deepest is the first to go.
  PrefixHits out;
  out.hits.assign(n, 0);
  NumberSet waiting(n);
  std::int64_t resident = 0;
  for (std::size_t r = 0; r < n; ++r) {
    if (out.hits[r] > 0) waiting.erase(r);
    resident -= out.hits[r];
    out.total += out.hits[r];
    for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; ++i) {
      if (next[i] == ~0U) continue;
      if (out.hits[next[i]]++ == 0) waiting.insert(next[i]);
      ++resident;
    }
    while (resident > capacity) {
      const std::size_t last = waiting.max();
      const std::int64_t gone = std::min<std::int64_t>(resident - capacity, out.hits[last]);
      out.hits[last] -= static_cast<std::uint32_t>(gone);
      resident -= gone;
      if (out.hits[last] == 0) waiting.erase(last);
    }
  }
  return out;
}

PrefixHits prefix_ceiling(const BlockStream& s) {
  PrefixHits out;
  ObjectId seen = 0;  // ids are dense in order of first appearance
  for (std::size_t r = 0; r < s.requests(); ++r) {
    const auto* first = s.access.data() + s.begin[r];
    const auto* end = s.access.data() + s.begin[r + 1];
    const auto hits = std::find_if(first, end, [&](ObjectId id) { return id >= seen; }) - first;
    for (const auto* p = first; p != end; ++p) seen = std::max(seen, *p + 1);
    out.hits.push_back(static_cast<std::uint32_t>(hits));
    out.total += static_cast<std::uint64_t>(hits);
  }
  return out;
}

MissClasses classify_misses(const BlockStream& s, const PrefixHits& policy,
                            const PrefixHits& optimum, const PrefixHits& ceiling) {
  KVSIM_CHECK(policy.hits.size() == s.requests() && optimum.hits.size() == s.requests() &&
                  ceiling.hits.size() == s.requests(),
              "hits of another stream than {} requests", s.requests());
  MissClasses m;
  for (std::size_t r = 0; r < s.requests(); ++r) {
    const std::uint64_t hits = policy.hits[r], best = optimum.hits[r], most = ceiling.hits[r];
    m.hits += hits;
    m.compulsory += s.begin[r + 1] - s.begin[r] - most;
    m.policy += best > hits ? best - hits : 0;
    m.capacity += most - std::max(hits, best);
    m.beyond += hits > best ? hits - best : 0;
    m.bound += best;
  }
  return m;
}

}  // namespace kvsim
