// Closed loops from files: who waits for whom, and what is shared.
#include <map>

#include "tests/traces/trace_fixture.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

using namespace std::chrono_literals;
using test::drain;
using test::open_trace;
using test::TempFile;

constexpr const char* kAgents =
    "{\"id\": \"a\", \"block_size\": 64, \"requests\": ["
    "{\"t\": 0, \"type\": \"n\", \"in\": 130, \"out\": 5, \"api_time\": 4, \"think_time\": 0, "
    "\"runs\": [[1, 2]]},"
    // two sub-agents that began 1 s after the answer at 4 s, and ended at 15 s and 25 s
    "{\"t\": 15, \"type\": \"subagent\", \"duration_ms\": 10000, \"requests\": ["
    "{\"t\": 0, \"type\": \"n\", \"in\": 64, \"out\": 1, \"runs\": [[10, 1]]},"
    "{\"t\": 4, \"type\": \"n\", \"in\": 128, \"out\": 1, \"think_time\": 2, \"runs\": [[10, "
    "2]]}]},"
    "{\"t\": 25, \"type\": \"subagent\", \"duration_ms\": 20000, \"requests\": ["
    "{\"t\": 0, \"type\": \"n\", \"in\": 70, \"out\": 1, \"runs\": [[20, 1]]}]},"
    "{\"t\": 28, \"type\": \"n\", \"in\": 200, \"out\": 5, \"think_time\": 24, \"runs\": [[1, 2], "
    "[7, 1]]}]}\n";

TEST(AgenticSessions, SubAgentsRunSideBySideWhileTheParentWaits) {
  const TempFile file(kAgents);
  const auto r = drain(*open_trace("agentic-sessions", file.path(), {{"concurrency", "1"}}), 10s);
  ASSERT_EQ(r.size(), 5U);
  const auto at = [&](std::size_t i) { return r[i].arrival - kTimeZero; };
  EXPECT_EQ(at(0), 0s);
  EXPECT_EQ(at(1), 11s);
  EXPECT_EQ(at(2), 11s);
  EXPECT_EQ(r[1].prompt_tokens + r[2].prompt_tokens, 64 + 70);
  EXPECT_EQ(at(3), 23s);  // 11 + 10 + 2
  EXPECT_EQ(r[3].prompt_tokens, 128);
  EXPECT_EQ(at(4), 36s);  // the last sub-agent is over at 33; the parent waited 3 s more
  EXPECT_EQ(r[4].prompt_tokens, 200);
  ASSERT_EQ(r[0].segments.size(), 3U);
  EXPECT_EQ(r[0].segments[2].tokens, 2);
  EXPECT_EQ(r[4].segments[1].key, r[0].segments[1].key);
  EXPECT_NE(r[4].segments[2].key, r[0].segments[2].key);
}

TEST(AgenticSessions, IdsAreLocalAndSessionsBeginAtTheRate) {
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += "{\"id\": \"s" + std::to_string(i) +
            "\", \"block_size\": 64, \"requests\": [{\"t\": 0, \"type\": \"n\", \"in\": 64, "
            "\"out\": 5, \"runs\": [[1, "
            "1]]}]}\n";
  const TempFile file(text);
  const TraceInfo i =
      trace_info(*open_trace("agentic-sessions", file.path(), {{"session_rate", "0.5 /s"}}));
  EXPECT_EQ(i.sessions, 200U);
  EXPECT_EQ(i.hit_segments, 0U);
  EXPECT_NEAR(to_seconds(i.span), 398, 5 * 2 * std::sqrt(200.0));
}

TEST(AgenticSessions, ConcurrencyStartsTheNextWhenOneEnds) {
  std::string text;
  for (int i = 0; i < 6; ++i)
    text += "{\"id\": \"s" + std::to_string(i) +
            "\", \"block_size\": 64, \"requests\": [{\"t\": 0, \"type\": \"n\", \"in\": 64, "
            "\"out\": 5, \"runs\": [[1, "
            "1]]}]}\n";
  const TempFile file(text);
  const auto r = drain(*open_trace("agentic-sessions", file.path(), {{"concurrency", "2"}}), 3s);
  ASSERT_EQ(r.size(), 6U);
  for (std::size_t i = 0; i < 6; ++i)
    EXPECT_EQ(r[i].arrival - kTimeZero, 3s * static_cast<int>(i / 2));
}

constexpr const char* kChats =
    "[ {\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"12345678\"}, "
    "{\"from\": \"gpt\", "
    "\"value\": \"1234\"},"
    " {\"from\": \"human\", \"value\": \"a]\\\"}{\"}, {\"from\": \"gpt\", \"value\": \"\"}]},\n"
    "{\"id\": \"y\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"hello\"}]},\n"
    "{\"conversations\": [{\"from\": \"human\", \"value\": \"12345678\"}, {\"from\": \"gpt\", "
    "\"value\": "
    "\"\xc3\xa9\xc3\xa9x\"}]} ]\n";

TEST(ShareGpt, TurnsCarryHistoryAndWaitForAnswers) {
  const TempFile file(kChats);
  const auto source = open_trace("sharegpt", file.path(), {{"concurrency", "1"}});
  const auto r = drain(*source, 2s);
  ASSERT_EQ(r.size(), 3U);
  EXPECT_EQ(r[0].prompt_tokens, 2);
  EXPECT_EQ(r[0].output_tokens, 1);
  EXPECT_EQ(r[1].prompt_tokens, 2 + 1 + 2);  // 5 bytes are two tokens
  EXPECT_EQ(r[1].output_tokens, 1);          // an empty answer counts as one token
  EXPECT_EQ(r[1].arrival - r[0].arrival, 2s);
  EXPECT_EQ(r[1].session, r[0].session);
  EXPECT_EQ(r[1].segments[1].key, r[0].segments[1].key);
  EXPECT_EQ(r[2].output_tokens, 2);                       // 5 bytes in UTF-8
  EXPECT_EQ(r[2].segments[0].key, r[0].segments[0].key);  // same text, same content
  EXPECT_EQ(source->skipped().records, 1U);               // no message before the answer
}

TEST(ShareGpt, IndependentRequestsArriveAtTheRate) {
  const TempFile file(kChats);
  const auto source =
      open_trace("sharegpt", file.path(), {{"independent", "true"}, {"session_rate", "1 /s"}});
  Request r;
  int n = 0;
  for (; source->next_arrival(); ++n) source->pop(r);  // nothing is ever finished
  EXPECT_EQ(n, 3);
}

TEST(QwenBailian, HashesAreChainedAndChatsFollowTheirParents) {
  const TempFile file(
      "{\"chat_id\": 1, \"parent_chat_id\": -1, \"timestamp\": 0.5, \"input_length\": 40, "
      "\"output_length\": 3, "
      "\"type\": \"text\", \"turn\": 1, \"hash_ids\": [7, 8, 9]}\n"
      "{\"chat_id\": 2, \"parent_chat_id\": 1, \"timestamp\": 1.5, \"input_length\": 40, "
      "\"output_length\": 3, "
      "\"type\": \"text\", \"turn\": 2, \"hash_ids\": [7, 8]}\n"
      "{\"chat_id\": 3, \"parent_chat_id\": 99, \"timestamp\": 1.5, \"input_length\": 16, "
      "\"output_length\": 3, "
      "\"type\": \"text\", \"turn\": 4, \"hash_ids\": [8]}\n");
  const auto r = drain(*open_trace("qwen-bailian", file.path()));
  ASSERT_EQ(r.size(), 3U);
  EXPECT_EQ(r[1].segments[1].key, r[0].segments[1].key);
  ASSERT_EQ(r[1].segments.size(), 3U);  // the tail without a hash is its own
  EXPECT_EQ(r[1].segments[2].tokens, 8);
  EXPECT_NE(r[2].segments[0].key,
            r[0].segments[1].key);  // block 8 behind another prefix is other content
  EXPECT_EQ(r[1].session, r[0].session);
  EXPECT_NE(r[2].session, r[0].session);
  EXPECT_EQ(r[1].turn, 1U);
}

constexpr const char* kClients =
    "{\"client\": 4, \"rates\": [[0, 0.5, 1, \"Gamma\", 1, 2], [600, 2, 3, \"Weibull\", 0.5, 1]],"
    " \"lengths\": {\"0\": {\"input_tokens\": {\"10\": 0.5, \"20\": 0.5}, \"output_tokens\": "
    "{\"5\": 1.0}},"
    " \"600\": {\"input_tokens\": {\"100\": 1.0}, \"output_tokens\": {\"0\": 1.0}}}}\n"
    "{\"client\": 9, \"rates\": [[600, 1, 1, \"Gamma\", 1, 1]],"
    " \"lengths\": {\"0\": {\"text_tokens\": {\"7\": 1.0}, \"image_tokens\": {\"100\": 1.0}, "
    "\"image_count\": {\"2\": "
    "1.0}, \"output_tokens\": {\"6\": 1.0}}}}\n";

TEST(ServeGen, DrawsWindowsInOrderWithTheirLengths) {
  const TempFile file(kClients);
  const auto r = drain(*open_trace("servegen", file.path()));
  ASSERT_EQ(r.size(), 300U + 1200U + 600U);  // rate x 600 s, exactly when it is whole
  std::map<std::int64_t, int> inputs;
  for (std::size_t i = 0; i < r.size(); ++i) {
    EXPECT_TRUE(i == 0 || r[i].arrival >= r[i - 1].arrival);
    ++inputs[r[i].prompt_tokens];
    EXPECT_EQ(r[i].prompt_tokens == 100, r[i].tenant == 0 && r[i].arrival - kTimeZero >= 600s);
  }
  EXPECT_EQ(inputs[10] + inputs[20], 300);
  EXPECT_NEAR(inputs[10], 150, 5 * std::sqrt(75.0));
  EXPECT_EQ(inputs[100], 1200);
  EXPECT_EQ(inputs[207], 600);
}

TEST(ServeGen, StartDurationAndClients) {
  const TempFile file(kClients);
  const auto r = drain(*open_trace("servegen", file.path(),
                                   {{"start", "10 min"}, {"duration", "5 min"}, {"clients", "1"}}));
  EXPECT_NEAR(static_cast<double>(r.size()), 600, 200);
  EXPECT_LT(r.back().arrival - kTimeZero, 300s);
}

}  // namespace
}  // namespace kvsim
