#include "tests/policies/eviction/twins.h"

#include <gtest/gtest.h>

#include "sim/cache/replay.h"

namespace kvsim::twins {
namespace {

// Popular objects, scans and loops mixed.
BlockStream stream_of(std::uint64_t seed, std::size_t accesses, std::uint64_t objects) {
  Rng random(seed, "stream");
  BlockStream s;
  std::map<Key, ObjectId> ids;
  const auto access = [&](Key k) {
    const auto [it, is_new] = ids.emplace(k, static_cast<ObjectId>(ids.size()));
    if (is_new) s.objects.add(k, kNoObject);
    s.access.push_back(it->second);
  };
  Key fresh = 1'000'000;
  while (s.access.size() < accesses) {
    const std::uint64_t kind = random.below(8);
    const std::uint64_t length = random.below(objects);
    for (std::uint64_t i = 0; i < length; ++i) {
      if (kind < 6)  // roughly Zipf(1)
        access(static_cast<Key>(std::pow(static_cast<double>(objects), random.uniform())));
      else
        access(kind == 6 ? fresh++ : 10'000 + i);
    }
  }
  s.begin.push_back(s.access.size());
  s.request.push_back({});
  return s;
}

Tree params_of(const std::string& name) {
  Tree params = Tree::map();
  const std::size_t colon = name.find(':'), equals = name.find('=');
  if (colon != std::string::npos)
    params.set(name.substr(colon + 1, equals - colon - 1), Tree::scalar(name.substr(equals + 1)));
  return params;
}

void compare(const BlockStream& s, const std::string& name, std::size_t capacity) {
  const std::vector<std::int64_t> next = next_uses(s);
  const auto twin = twins().at(name)(capacity);
  std::uint64_t misses = 0;
  for (std::size_t i = 0; i < s.access.size(); ++i)
    misses += twin->access(s.objects.key[s.access[i]], next[i]) ? 0 : 1;
  Replay replay(s);
  replay.start(name.substr(0, name.find(':')), params_of(name),
               static_cast<std::int64_t>(capacity));
  ASSERT_EQ(replay.run().misses(), misses) << name << ", capacity " << capacity;
}

constexpr std::size_t kCapacities[] = {1,  2,  3,   4,   5,   7,   10,  19, 20,
                                       33, 50, 100, 101, 150, 200, 203, 333};

class EvictionTwin : public testing::TestWithParam<std::string> {};

TEST_P(EvictionTwin, MissesAreThoseOfTheRules) {
  const bool lirs = GetParam() == "lirs";
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const BlockStream s = stream_of(seed, 12'000, lirs ? 900 : 60 + 150 * seed);
    for (const std::size_t c : kCapacities)
      if (!lirs || c >= 200) compare(s, GetParam(), c);
    if (lirs) compare(s, GetParam(), 700);
  }
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& [name, make] : twins()) all.push_back(name);
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, EvictionTwin, testing::ValuesIn(names()), [](const auto& tested) {
  std::string name = tested.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace kvsim::twins
