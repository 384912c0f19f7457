// Each reader of requests in the open, on small files: what comes out of what is written.
#include "sim/base/diagnostics.h"
#include "tests/traces/trace_fixture.h"

namespace kvsim {
namespace {

using test::drain;
using test::open_trace;
using test::TempFile;

std::vector<Request> read_all(const std::string& format, const std::string& text,
                              const test::Pairs& params = {},
                              const TraceSource::Context& context = {}) {
  const TempFile file(text);
  const auto source = open_trace(format, file.path(), params, context);
  return drain(*source);
}

TEST(Mooncake, BlocksBecomeSegmentsAndTheLastIsPartial) {
  const auto r = read_all(
      "mooncake",
      "{\"timestamp\": 0, \"input_length\": 1100, \"output_length\": 5, \"hash_ids\": [0, 1, 2]}\n"
      "{\"timestamp\": 27482, \"input_length\": 1024, \"output_length\": 7, \"hash_ids\": [0, 9]}");
  ASSERT_EQ(r.size(), 2U);
  ASSERT_EQ(r[0].segments.size(), 3U);
  EXPECT_EQ(r[0].segments[1].tokens, 512);
  EXPECT_EQ(r[0].segments[2].tokens, 1100 - 1024);
  EXPECT_EQ(r[1].segments[0].key, r[0].segments[0].key);
  EXPECT_NE(r[1].segments[1].key, r[0].segments[1].key);
  EXPECT_EQ(to_ns(r[1].arrival), 27'482'000'000);
  EXPECT_EQ(r[1].index, 1U);
}

TEST(Mooncake, DialectNamesSessionsAndBlockSize) {
  const auto r = read_all(
      "mooncake",
      "{\"created_time\": 1.5, \"input_tokens\": 70, \"output_tokens\": 5, \"hash_ids\": [4, 5], "
      "\"session_id\": \"a\"}\r\n"
      "\r\n{\"created_time\": 2, \"input_tokens\": 70, \"output_tokens\": 5, \"session_id\": "
      "\"a\", \"priority\": 3}\r\n",
      {{"hash_block", "64"}});
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(to_ns(r[0].arrival), 1'500'000);
  EXPECT_EQ(r[0].segments[1].tokens, 6);
  EXPECT_NE(r[0].session, 0U);
  EXPECT_EQ(r[1].session, r[0].session);
  EXPECT_EQ(r[1].turn, 1U);
  EXPECT_EQ(r[1].priority, 3);
  ASSERT_EQ(r[1].segments.size(), 1U);  // no hashes: content of its own
  EXPECT_EQ(r[1].segments[0].tokens, 70);
}

TEST(Readers, RateScaleAndLimit) {
  TraceSource::Context c;
  c.rate_scale = 2;
  c.limit = 2;
  const auto r = read_all(
      "vidur", "arrived_at,num_prefill_tokens,num_decode_tokens\n1,2,3\n5,2,3\n9,2,3\n", {}, c);
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(to_ns(r[1].arrival), 2'500'000'000);
}

TEST(Readers, LenientCountsWhatItLeavesOutAndMovesUp) {
  const TempFile file(
      "arrived_at,num_prefill_tokens,num_decode_tokens\n1,2,3\n2,x,3\n0.5,2,3\n-1,2,3\n");
  TraceSource::Context c;
  c.lenient = true;
  const auto source = open_trace("vidur", file.path(), {}, c);
  const auto r = drain(*source);
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(r[1].arrival, r[0].arrival);
  EXPECT_EQ(source->skipped().records, 2U);
  EXPECT_EQ(source->skipped().reordered, 1U);
  const std::string reason = source->skipped().first_reason;
  EXPECT_NE(reason.find(file.path() + ":3:"), std::string::npos) << reason;
  EXPECT_NE(reason.find("error: num_prefill_tokens: read 'x'"), std::string::npos) << reason;
}

TEST(Azure, SevenDecimalsRelativeToTheFirstRowAcrossMidnight) {
  const auto r = read_all("azure",
                          "\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-12-31 "
                          "23:59:59.9999999,374,44\r\n"
                          "2024-01-01 00:00:00.0000001,396,109");
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(to_ns(r[0].arrival), 0);
  EXPECT_EQ(to_ns(r[1].arrival), 200);
  EXPECT_EQ(r[1].prompt_tokens, 396);
  EXPECT_EQ(r[1].output_tokens, 109);
  EXPECT_NE(r[0].segments[0].key, r[1].segments[0].key);
}

TEST(BurstGpt, FailedRequestsAreLeftOutAndSessionsNumbered) {
  const TempFile file(
      "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log "
      "Type\n"
      "5,s1,1,ChatGPT,472,18,490,Conversation log\n45,s2,1,GPT-4,1087,0,1087,\"API, "
      "log\"\n118,s1,1,ChatGPT,417,276,693,Conversation log\n");
  const auto source = open_trace("burstgpt", file.path());
  const auto r = drain(*source);
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(source->skipped().records, 1U);
  EXPECT_EQ(to_ns(r[1].arrival), 113'000'000'000);
  EXPECT_EQ(r[1].session, r[0].session);
  EXPECT_EQ(r[1].turn, 1U);
}

TEST(Vidur, LengthsOnlyNeedARate) {
  const std::string text =
      "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n3772,54,3826,69.8\n10,5,15,"
      "2\n";
  EXPECT_THROW(read_all("vidur", text), InputError);
  const auto r = read_all("vidur", text, {{"rate", "2 /s"}});
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(to_ns(r[0].arrival), 0);
  EXPECT_GT(to_ns(r[1].arrival), 0);
}

TEST(Splitwise, Columns) {
  const auto r = read_all(
      "splitwise",
      "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
      "0,2,0,0.5,1,100,7\n");
  ASSERT_EQ(r.size(), 1U);
  EXPECT_EQ(r[0].prompt_tokens, 100);
  EXPECT_EQ(r[0].output_tokens, 7);
  EXPECT_EQ(to_ns(r[0].arrival), 500'000'000);
}

TEST(TokenIds, BlocksOverPromptAndOutput) {
  TraceSource::Context c;
  c.block_tokens = 2;
  const auto r = read_all("token-ids",
                          "{\"input_toks\": 3, \"output_toks\": 2, \"arrival_time_ns\": 5, "
                          "\"input_tok_ids\": [1, 2, 3], "
                          "\"output_tok_ids\": [4, 5]}\n"
                          "{\"input_toks\": 4, \"output_toks\": 2, \"arrival_time_ns\": 9, "
                          "\"input_tok_ids\": [1, 2, 3, 4]}\n",
                          {}, c);
  ASSERT_EQ(r.size(), 2U);
  ASSERT_EQ(r[0].segments.size(), 3U);
  EXPECT_EQ(r[0].segments[2].tokens, 1);
  ASSERT_EQ(r[1].segments.size(), 2U);
  EXPECT_EQ(r[1].segments[0].key, r[0].segments[0].key);
  EXPECT_EQ(r[1].segments[1].key,
            r[0].segments[1].key);  // the second block straddles prompt and output of the first
  EXPECT_EQ(to_ns(r[0].arrival), 5);
  EXPECT_EQ(r[0].session, 0U);
}

TEST(TokenIds, SubRequestsFollowTheAnswerAndTheTool) {
  const TempFile file(
      "{\"session_id\": \"s\", \"arrival_time_ns\": 100, \"sub_requests\": ["
      "{\"input_toks\": 2, \"output_toks\": 1, \"input_tok_ids\": [1, 2], \"output_tok_ids\": [3], "
      "\"tool_duration_ns\": 50},"
      "{\"input_toks\": 4, \"output_toks\": 1, \"input_tok_ids\": [1, 2, 3, 4], "
      "\"output_tok_ids\": [5], "
      "\"tool_duration_ns\": 0}]}\n"
      "{\"session_id\": \"t\", \"arrival_time_ns\": 120, \"sub_requests\": [{\"input_toks\": 2, "
      "\"output_toks\": "
      "1}]}\n");
  const auto source = open_trace("token-ids", file.path());
  const auto r = drain(*source, Duration{1000});
  ASSERT_EQ(r.size(), 3U);
  EXPECT_EQ(to_ns(r[0].arrival), 100);
  EXPECT_EQ(to_ns(r[1].arrival), 120);
  EXPECT_EQ(to_ns(r[2].arrival), 100 + 1000 + 50);
  EXPECT_EQ(r[2].turn, 1U);
  EXPECT_EQ(r[2].session, r[0].session);
  // The same as one request that calls its tool: one token comes back with the next prompt.
  const auto one =
      drain(*open_trace("token-ids", file.path(), {{"tools_inside", "true"}}), Duration{1000});
  ASSERT_EQ(one.size(), 2U);
  EXPECT_EQ(one[0].prompt_tokens, 2);
  EXPECT_EQ(one[0].output_tokens, 2);
  ASSERT_EQ(one[0].calls.size(), 1U);
  EXPECT_EQ(one[0].calls[0].after, 1);
  EXPECT_EQ(one[0].calls[0].returns, 1);
  EXPECT_EQ(to_ns(one[0].calls[0].pause), 50);
  EXPECT_TRUE(one[1].calls.empty());
}

}  // namespace
}  // namespace kvsim
