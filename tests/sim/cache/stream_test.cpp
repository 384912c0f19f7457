#include "sim/cache/stream.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "policies/eviction/eviction.h"
#include "sim/base/diagnostics.h"
#include "sim/cache/replay.h"

namespace kvsim {
namespace {

// Requests from memory, one nanosecond apart.
class Given final : public TraceSource {
 public:
  explicit Given(std::vector<Request> all) : all_(std::move(all)) {}
  std::optional<Time> next_arrival() override {
    if (next_ == all_.size()) return std::nullopt;
    return Time{Duration{static_cast<std::int64_t>(next_)}};
  }
  void pop(Request& out) override {
    out = all_[next_];
    out.index = next_;
    out.arrival = *next_arrival();
    ++next_;
  }

 private:
  std::vector<Request> all_;
  std::size_t next_ = 0;
};

Request request(std::int64_t prompt, std::vector<Segment> segments) {
  Request r;
  r.prompt_tokens = prompt;
  r.output_tokens = 10;
  r.segments = std::move(segments);
  return r;
}

TEST(BlockStream, OwnGrainTakesThePromptsSegments) {
  Given source({request(10, {{7, 4}, {8, 4}, {9, 4}, {10, 4}}), request(8, {{7, 4}, {11, 4}})});
  const BlockStream s = load_stream(source);
  EXPECT_EQ(s.access, (std::vector<ObjectId>{0, 1, 2, 0, 3}));
  EXPECT_EQ(s.begin, (std::vector<std::size_t>{0, 3, 5}));
  EXPECT_EQ(s.objects.key, (std::vector<std::uint64_t>{7, 8, 9, 11}));
  EXPECT_EQ(s.objects.parent, (std::vector<ObjectId>{kNoObject, 0, 1, 0}));
  EXPECT_EQ(s.objects.depth, (std::vector<std::uint32_t>{0, 1, 2, 1}));
  EXPECT_EQ(next_uses(s),
            (std::vector<std::int64_t>{3, kNoNextUse, kNoNextUse, kNoNextUse, kNoNextUse}));
}

TEST(BlockStream, AnotherGrainSharesWhatTheSegmentsShare) {
  // 8-token segments in blocks of 3: the second request shares the first segment, so the blocks
  // that end in it.
  const auto open = [] {
    return Given({request(16, {{7, 8}, {8, 8}}), request(16, {{7, 8}, {9, 8}})});
  };
  Given fine = open();
  StreamOptions options;
  options.block_tokens = 3;
  const BlockStream s = load_stream(fine, options);
  EXPECT_EQ(s.access, (std::vector<ObjectId>{0, 1, 2, 3, 4, 5, 0, 1, 6, 7, 8, 9}));
  // Blocks of two segments: named by the second.
  Given coarse = open();
  options.block_tokens = 16;
  EXPECT_EQ(load_stream(coarse, options).objects.key, (std::vector<std::uint64_t>{8, 9}));
  // The segments' own size: their keys.
  Given same = open();
  options.block_tokens = 8;
  EXPECT_EQ(load_stream(same, options).objects.key, (std::vector<std::uint64_t>{7, 8, 9}));
  options.block_tokens = -1;
  EXPECT_THROW(load_stream(same, options), InputError);
}

TEST(BlockStream, MooncakeConversation) {
  const std::string path =
      std::string(KVSIM_SOURCE_DIR) + "/../shared/traces/mooncake_conversation.jsonl.gz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  TraceSource::Context context;
  context.path = path;
  context.raw_ids = true;
  const auto source = Registry::instance().make<TraceSource>("mooncake", Tree::map(), context);
  const BlockStream s = load_stream(*source);
  EXPECT_EQ(s.requests(), 12'031U);
  EXPECT_EQ(s.access.size(), 288'500U);
  EXPECT_EQ(s.objects.size(), 182'790U);
  EXPECT_EQ(s.objects.key[0], 0U);  // the trace's first id
  Replay replay(s);
  replay.start("lru", Tree::map(), 18'279);
  EXPECT_EQ(replay.run().misses(), 208'177U);  // libCacheSim
}

}  // namespace
}  // namespace kvsim
