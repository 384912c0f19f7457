// What a preset says of the cache: it goes under the scenario's, and leaves the engine's keys
// alone.
#include <gtest/gtest.h>

#include "sim/scenario/scenario.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

Scenario read(const std::string& text) {
  Diagnostics d;
  const LoadedScenario loaded = read_scenario(
      parse_yaml(text + "\nworkload: {generate: {requests: 1}}\n", "test", d), ".", {}, d);
  for (const Diagnostic& one : d.all()) ADD_FAILURE() << to_string(one);
  return loaded.value;
}

TEST(PresetCache, IsADefault) {
  const Scenario s = read("engine: {preset: orca, kv_blocks: 700, preemption: swap}");
  EXPECT_EQ(s.engine.kv_blocks, 700);
  EXPECT_EQ(s.engine.preemption.mode, PreemptionMode::swap);
  EXPECT_EQ(s.cache.prefix.index, PrefixIndex::none);
  EXPECT_EQ(s.cache.memory.name, "reserved");
}

TEST(PresetCache, GivesWayToTheScenarios) {
  const Scenario s =
      read("engine: {preset: orca}\ncache: {prefix: {index: hash}, memory: {manager: paged}}");
  EXPECT_EQ(s.cache.prefix.index, PrefixIndex::hash);
  EXPECT_EQ(s.cache.memory.name, "paged");
}

}  // namespace
}  // namespace kvsim
