// The real traces, where they are at hand: figures of their description, computed by somebody else.
#include <chrono>

#include "tests/traces/trace_fixture.h"

namespace kvsim {
namespace {

using test::drain;
using test::open_trace;

TEST(RealTraces, MooncakeConversation) {
  KVSIM_SHARED_FILE(path, "traces/mooncake_conversation.jsonl.gz");
  const auto before = std::chrono::steady_clock::now();
  const auto source = open_trace("mooncake", path);
  Request r;
  std::size_t rows = 0, blocks = 0;
  while (source->next_arrival()) {
    source->pop(r);
    ++rows;
    blocks += r.segments.size();
  }
  const double ms = 1e3 * std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  EXPECT_EQ(rows, 12031U);
  EXPECT_EQ(blocks, 288500U);
  RecordProperty("milliseconds", std::to_string(ms));
  std::printf("mooncake: %zu rows in %.1f ms\n", rows, ms);
}

TEST(RealTraces, ValidationWorkloadWithTokenIds) {
  KVSIM_SHARED_FILE(path, "validation/rtxpro6000-llama-3.1-8b/workload.jsonl.gz");
  const auto source = open_trace("token-ids", path);
  const auto all = drain(*source);
  ASSERT_EQ(all.size(), 300U);
  std::int64_t prompt = 0;
  for (const Request& r : all) {
    prompt += r.prompt_tokens;
    std::int64_t covered = 0;
    for (const Segment& s : r.segments) covered += s.tokens;
    EXPECT_EQ(covered, r.prompt_tokens + r.output_tokens);
  }
  EXPECT_EQ(prompt, 257'239);  // validation/README.md
  EXPECT_EQ(to_ns(all[0].arrival), 46'926'808);
}

TEST(RealTraces, AzureConversation) {
  KVSIM_SHARED_FILE(path, "traces/azure_llm_2023_conv.csv.gz");
  const auto source = open_trace("azure", path);
  const auto all = drain(*source);
  ASSERT_EQ(all.size(), 19366U);
  EXPECT_NEAR(to_seconds(all.back().arrival - kTimeZero), 3501.722, 0.001);
}

}  // namespace
}  // namespace kvsim
