#pragma once
// Random requests whose prompts share prefixes, for tests of many small cases.
#include <algorithm>
#include <vector>

#include "sim/base/hash.h"
#include "sim/base/random.h"
#include "tests/support/engine_fixture.h"

namespace kvsim::test {

// Mostly short, some long; contents branch three ways, so that prefixes meet.
inline Request draw_request(Rng& rng, std::int64_t at) {
  const auto prompt = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 120 : 30));
  const auto output = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 150 : 20));
  std::vector<Segment> segments;
  std::uint64_t key = 5;
  const std::int64_t until = rng.below(2) == 0 ? prompt + output : prompt;
  for (std::int64_t covered = 0; covered < until;) {
    key = hash_combine(key, rng.below(3));
    const auto whole = 1 + static_cast<std::int64_t>(key % 40);
    const std::int64_t t = std::min(until - covered, whole);
    if (t < whole) key = hash_combine(key, 1000 + static_cast<std::uint64_t>(t));
    segments.push_back({key, t});
    covered += t;
  }
  return request(at, prompt, output, segments);
}

}  // namespace kvsim::test
