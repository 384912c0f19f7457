// The Mooncake conversation trace through an engine with room for everything and no time to speak
// of: the hits are those of an unbounded cache (105,710 of 288,500 blocks,
// ../shared/traces/README.md), to the token.
#include <gtest/gtest.h>

#include <filesystem>
#include <unordered_set>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

TEST(MooncakePrefix, UnboundedCacheHitsExactly) {
  const std::string path =
      std::string(KVSIM_SOURCE_DIR) + "/../shared/traces/mooncake_conversation.jsonl.gz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  TraceSource::Context context;
  context.path = path;
  const auto open = [&] {
    return Registry::instance().make<TraceSource>("mooncake", Tree::map(), context);
  };

  // Request by request: leading 512-token ids seen before, cut to whole engine blocks below the
  // last token.
  constexpr std::int64_t kBlock = 16;
  std::vector<std::int64_t> expected;
  std::int64_t references = 0, seen_references = 0;
  std::unordered_set<std::uint64_t> seen;
  const auto trace = open();
  Request r;
  while (trace->next_arrival()) {
    trace->pop(r);
    std::int64_t covered = 0;
    bool leading = true;
    for (const Segment& s : r.segments) {
      leading = leading && seen.contains(s.key);
      if (leading) covered += s.tokens;
      seen_references += leading ? 1 : 0;
      ++references;
    }
    for (const Segment& s : r.segments) seen.insert(s.key);
    expected.push_back(std::min(covered, r.prompt_tokens - 1) / kBlock * kBlock);
  }
  EXPECT_EQ(references, 288'500);
  EXPECT_EQ(seen_references, 105'710);

  EngineConfig e;
  e.kv_blocks = 100'000'000;
  e.max_batched_tokens = 1'000'000'000;
  e.max_running = 1'000'000;
  test::LinearCost cost(1, 0, 0);
  const auto again = open();
  std::vector<InstanceSpec> specs;
  specs.push_back({e, 1, false, false, &cost});
  World world(std::move(specs),
              Registry::instance().make<Router>("round-robin", Tree::map(), {1, Rng(1, "r")}),
              *again, {});
  RunOutcome out = world.run();
  ASSERT_EQ(out.requests.size(), expected.size());
  for (const RequestOutcome& o : out.requests) {
    ASSERT_EQ(o.hit_tokens, expected[o.index]) << "request " << o.index;
    ASSERT_EQ(o.miss_tokens[static_cast<std::size_t>(MissCause::evicted_capacity)], 0);
  }
}

}  // namespace
}  // namespace kvsim
