// The real traces, where they are at hand: figures of their description, computed by somebody else.
#include <chrono>

#include "tests/traces/trace_fixture.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

using std::chrono::seconds;
using test::open_trace;

TEST(RealTraces, MooncakeConversation) {
  KVSIM_SHARED_FILE(path, "traces/mooncake_conversation.jsonl.gz");
  const TraceInfo i = trace_info(*open_trace("mooncake", path));
  EXPECT_EQ(i.requests, 12031U);
  EXPECT_NEAR(to_seconds(i.span), 3537, 1);
  EXPECT_NEAR(i.rate, 3.40, 0.005);
  EXPECT_NEAR(i.gap_cv, 3.03, 0.005);
  EXPECT_NEAR(i.input.mean, 12035.1, 0.05);
  EXPECT_EQ(i.input.p50, 6909);
  EXPECT_EQ(i.input.p99, 85401);
  EXPECT_EQ(i.input.max, 126195);
  EXPECT_NEAR(i.output.mean, 342.6, 0.05);
  EXPECT_EQ(i.output.p50, 350);
  EXPECT_EQ(i.output.p99, 1120);
  EXPECT_EQ(i.output.max, 2000);
  EXPECT_EQ(i.segments, 288'500U);
  EXPECT_EQ(i.distinct_segments, 182'790U);
  EXPECT_EQ(i.hit_segments, 105'710U);
  EXPECT_NEAR(i.token_hit_share(), 0.373624, 5e-7);
  EXPECT_EQ(i.requests_with_hit, 12030U);
}

// Written back, the Mooncake trace has the ids it had: they are numbered by first appearance.
TEST(RealTraces, MooncakeRoundTrip) {
  KVSIM_SHARED_FILE(path, "traces/mooncake_conversation.jsonl.gz");
  const test::TempFile copy("", ".zst");
  const auto source = open_trace("mooncake", path);
  EXPECT_EQ(write_trace(*source, "mooncake", copy.path()), 12031U);
  const auto a = open_trace("mooncake", path), b = open_trace("mooncake", copy.path());
  Request x, y;
  while (a->next_arrival()) {
    ASSERT_TRUE(b->next_arrival());
    a->pop(x);
    b->pop(y);
    ASSERT_EQ(x.arrival, y.arrival);
    ASSERT_EQ(x.output_tokens, y.output_tokens);
    ASSERT_EQ(x.segments.size(), y.segments.size());
    for (std::size_t i = 0; i < x.segments.size(); ++i)
      ASSERT_EQ(x.segments[i].key, y.segments[i].key);
  }
  EXPECT_FALSE(b->next_arrival());
}

TEST(RealTraces, ValidationWorkloadWithTokenIds) {
  KVSIM_SHARED_FILE(path, "validation/rtxpro6000-llama-3.1-8b/workload.jsonl.gz");
  const auto source = open_trace("token-ids", path);
  const auto all = test::drain(*source);
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
  const TraceInfo i = trace_info(*open_trace("azure", path));
  EXPECT_EQ(i.requests, 19366U);
  EXPECT_NEAR(to_seconds(i.span), 3501.722, 0.0005);
  EXPECT_NEAR(i.rate, 5.530, 0.001);
  EXPECT_NEAR(i.gap_cv, 1.094, 0.0005);
  EXPECT_NEAR(i.input.mean, 1154.70, 0.005);
  EXPECT_NEAR(i.output.mean, 211.13, 0.005);
  EXPECT_EQ(i.input.p50, 1020);
  EXPECT_EQ(i.input.p99, 4142);
  EXPECT_EQ(i.output.p50, 129);
  EXPECT_EQ(i.output.p99, 601);
  EXPECT_EQ(i.hit_segments, 0U);
}

TEST(RealTraces, ArxivLengthsWithDrawnArrivals) {
  KVSIM_SHARED_FILE(path, "traces/arxiv_summarization_lengths.csv.gz");
  const TraceInfo i = trace_info(*open_trace("vidur", path, {{"rate", "2 /s"}}));
  EXPECT_EQ(i.requests, 28257U);
  EXPECT_NEAR(i.input.mean, 2588.08, 0.005);
  EXPECT_NEAR(i.output.mean, 291.43, 0.005);
  EXPECT_EQ(i.input.p50, 2730);
  EXPECT_EQ(i.output.max, 4056);
  EXPECT_NEAR(i.rate, 2.0, 5 * 2.0 / std::sqrt(28257));  // five standard errors
  EXPECT_NEAR(i.gap_cv, 1.0, 0.03);
}

struct Lmcache {
  const char* file;
  std::uint64_t rows, segments, distinct;
  double hit, tokens, requests;
};

TEST(RealTraces, LmcacheAgentsInBlocksOf64) {
  const Lmcache cases[] = {
      {"traces/lmcache_magagent_b256B.jsonl.gz", 746, 23'958, 3'899, 0.837257, 0.838545, 0.893},
      {"traces/lmcache_miniswe_b256B.jsonl.gz", 402, 37'984, 2'766, 0.927180, 0.931808, 0.953}};
  for (const Lmcache& c : cases) {
    KVSIM_SHARED_FILE(path, c.file);
    const TraceInfo i =
        trace_info(*open_trace("mooncake", path, {{"hash_block", "64"}, {"zero_lengths", "skip"}}));
    EXPECT_EQ(i.requests + i.skipped.records, c.rows);  // 53 prompts of the first are empty
    EXPECT_EQ(i.segments, c.segments);
    EXPECT_EQ(i.distinct_segments, c.distinct);
    EXPECT_NEAR(i.segment_hit_share(), c.hit, 5e-7);
    EXPECT_NEAR(i.token_hit_share(), c.tokens, 5e-7);
    EXPECT_NEAR(static_cast<double>(i.requests_with_hit) / static_cast<double>(c.rows), c.requests,
                5e-4);
  }
}

TEST(RealTraces, AgenticSessionsAsAClosedLoop) {
  KVSIM_SHARED_FILE(path, "traces/agentic_claude_code_sessions.jsonl.gz");
  const auto source = open_trace("agentic-sessions", path, {{"concurrency", "4"}});
  const TraceInfo i = trace_info(*source, seconds(10));
  EXPECT_EQ(i.requests, 31'944U);
  EXPECT_EQ(i.sessions, 494U);
  EXPECT_NEAR(i.input.mean, 117'074.7, 0.05);
  EXPECT_NEAR(i.output.mean, 440.6, 0.05);
  // Full blocks and the partial tails, which have a key of their own and never hit.
  EXPECT_GE(i.segments, 58'419'067U);
  EXPECT_LE(i.segments, 58'419'067U + 31'944U);
  EXPECT_NEAR(i.token_hit_share(), 0.961835,
              0.002);  // the description's is in file order, sub-agents in place
}

TEST(RealTraces, AgenticOpenLoop) {
  KVSIM_SHARED_FILE(path, "traces/agentic_claude_code_b512_openloop.jsonl.gz");
  const TraceInfo i = trace_info(*open_trace("mooncake", path, {{"zero_lengths", "one"}}));
  EXPECT_EQ(i.requests, 29'888U);
  EXPECT_EQ(i.segments, 6'775'963U);
  EXPECT_EQ(i.distinct_segments, 288'750U);
  EXPECT_NEAR(i.segment_hit_share(), 0.957386, 5e-7);
  EXPECT_NEAR(i.token_hit_share(), 0.959500, 5e-7);
  EXPECT_NEAR(i.request_hit_share(), 0.9819, 5e-5);
}

TEST(RealTraces, ServeGenMeetsThePublishedRate) {
  KVSIM_SHARED_FILE(path, "traces/servegen_deepseek-r1.jsonl.gz");
  const TraceInfo i = trace_info(*open_trace("servegen", path, {{"duration", "1 d"}}));
  EXPECT_NEAR(static_cast<double>(i.requests), 1'383'669,
              200);  // rate x 600 s summed; only fractions are left to chance
  EXPECT_NEAR(i.input.mean, 1268.2, 0.01 * 1268.2);
  EXPECT_NEAR(i.output.mean, 1527.4, 0.01 * 1527.4);
  EXPECT_EQ(i.tenants, 73U);
}

}  // namespace
}  // namespace kvsim
