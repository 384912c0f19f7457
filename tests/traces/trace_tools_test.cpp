// Compression, statistics and conversion, against sums by hand and naive twins.
#include "traces/trace_tools.h"

#include "sim/base/diagnostics.h"
#include "tests/traces/trace_fixture.h"
#include "traces/byte_source.h"
#include "traces/generator.h"
#include "traces/line_reader.h"

namespace kvsim {
namespace {

using namespace std::chrono_literals;
using test::drain;
using test::open_trace;
using test::TempFile;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string compressed(const std::string& text, const std::string& suffix) {
  const TempFile file("", suffix);
  ByteSink sink(file.path());
  sink.write(text.data(), text.size());
  sink.close();
  return read_file(file.path());
}

std::vector<std::string> lines_of(const std::string& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  std::string_view line;
  while (reader.next(line)) lines.emplace_back(line);
  return lines;
}

TEST(LineReader, EveryCodingGivesTheSameLines) {
  std::string text;
  std::vector<std::string> expected;
  for (int i = 0; i < 100'000; ++i) {
    expected.push_back("line " + std::to_string(i) +
                       std::string(static_cast<std::size_t>(i % 37), 'x'));
    text += expected.back() + (i % 3 == 0 ? "\r\n" : "\n");
  }
  for (const std::string suffix : {"", ".gz", ".zst"}) {
    const std::string half = compressed(text.substr(0, text.size() / 2), suffix) +
                             compressed(text.substr(text.size() / 2), suffix);
    EXPECT_EQ(lines_of(TempFile(compressed(text, suffix)).path()), expected) << suffix;
    EXPECT_EQ(lines_of(TempFile(half).path()), expected) << suffix << " in two members";
  }
}

TEST(LineReader, LineLongerThanTheBuffer) {
  const std::string big(3 << 20, 'y');
  EXPECT_EQ(lines_of(TempFile("a\n" + big + "\n\n  \nb").path()),
            (std::vector<std::string>{"a", big, "b"}));
}

TEST(LineReader, CutOffCompressionIsAnError) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i * 7919) + "\n";
  for (const std::string suffix : {".gz", ".zst"}) {
    std::string packed = compressed(text, suffix);
    packed.resize(packed.size() - 20);
    EXPECT_THROW(lines_of(TempFile(packed).path()), InputError) << suffix;
  }
}

TEST(JsonListReader, SplitsElementsAcrossBuffers) {
  std::string text = "[";
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    expected.push_back("{\"a\": \"]}\\\\\\\"" +
                       std::string(static_cast<std::size_t>(i % 500), 'z') + "\", \"b\": [{}, [" +
                       std::to_string(i) + "]]}");
    text += (i > 0 ? " ,\n" : "") + expected.back();
  }
  text += "]";
  const TempFile file(text);
  JsonListReader reader(file.path());
  std::string_view element;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(reader.next(element));
    ASSERT_EQ(element, expected[i]);
    ASSERT_EQ(reader.place().line, static_cast<int>(i + 1));
  }
  EXPECT_FALSE(reader.next(element));
}

constexpr const char* kFour =
    "{\"timestamp\":0,\"input_length\":130,\"output_length\":10,\"hash_ids\":[0,1,2]}\n"
    "{\"timestamp\":1000,\"input_length\":128,\"output_length\":20,\"hash_ids\":[0,1],\"session_"
    "id\":\"s0\"}\n"
    "{\"timestamp\":3000,\"input_length\":100,\"output_length\":30,\"hash_ids\":[3,4]}\n"
    "{\"timestamp\":4000,\"input_length\":192,\"output_length\":40,\"hash_ids\":[0,5,6],\"session_"
    "id\":\"s0\"}\n";

TEST(TraceInfo, ByHand) {
  const TempFile file(kFour);
  const TraceInfo i = trace_info(*open_trace("mooncake", file.path(), {{"hash_block", "64"}}));
  EXPECT_EQ(i.requests, 4U);
  EXPECT_EQ(i.span, 4s);
  EXPECT_DOUBLE_EQ(i.rate, 1.0);
  EXPECT_NEAR(i.gap_cv, std::sqrt(2.0 / 9) / (4.0 / 3), 1e-12);  // gaps 1, 2, 1 s
  EXPECT_DOUBLE_EQ(i.input.mean, 137.5);
  EXPECT_EQ(i.input.p50, 128);
  EXPECT_EQ(i.input.p90, 192);
  EXPECT_EQ(i.output.p50, 20);
  EXPECT_EQ(i.sessions, 1U);
  EXPECT_EQ(i.segments, 10U);
  EXPECT_EQ(i.distinct_segments, 7U);
  EXPECT_EQ(i.hit_segments, 3U);
  EXPECT_EQ(i.hit_tokens, 3 * 64);
  EXPECT_EQ(i.requests_with_hit, 2U);
}

TEST(WriteTrace, MooncakeGivesBackWhatItRead) {
  const TempFile file(kFour);
  std::string text;
  WriteOptions options;
  options.block_tokens = 64;
  const auto source = open_trace("mooncake", file.path(), {{"hash_block", "64"}});
  EXPECT_EQ(write_mooncake(
                *source, [&](std::string_view t) { text += t; }, options),
            4U);
  EXPECT_EQ(text, kFour);
}

// Sharing survives: hits at the blocks of the written file are those of whole blocks in the source.
TEST(WriteTrace, GeneratedSessionsKeepTheirSharingAndTheirTimes) {
  GeneratorParams p;
  p.prefixes.count = 3;
  p.prefixes.tokens.value = 640;
  p.prompt.value = 64;
  p.output.value = 64;
  p.sessions.turns.value = 3;
  p.requests = 300;
  const TraceInfo direct = trace_info(*make_generator(p, {}));
  for (const char* suffix : {".jsonl", ".gz", ".zst"}) {
    const TempFile file("", suffix);
    WriteOptions options;
    options.block_tokens = 64;
    options.whole_ms = false;
    EXPECT_EQ(write_trace(*make_generator(p, {}), "mooncake", file.path(), options), 300U);
    const TraceInfo back = trace_info(*open_trace("mooncake", file.path(), {{"hash_block", "64"}}));
    EXPECT_EQ(back.span, direct.span);
    EXPECT_EQ(back.sessions, direct.sessions);
    EXPECT_EQ(back.prompt_tokens, direct.prompt_tokens);
    // Outputs are no part of the format: the block of an answer becomes known when a later prompt
    // holds it.
    EXPECT_LT(back.hit_tokens, direct.hit_tokens);
    EXPECT_GT(back.hit_tokens, direct.hit_tokens / 2);
  }
}

TEST(WriteTrace, VidurAndAzureRoundTrip) {
  GeneratorParams p;
  p.prompt.law = LengthKind::lognormal;
  p.prompt.mean = 300;
  p.requests = 500;
  const auto wanted = drain(*make_generator(p, {}));
  for (const char* format : {"vidur", "azure"}) {
    const TempFile file("", ".gz");
    write_trace(*make_generator(p, {}), format, file.path());
    const auto got = drain(*open_trace(format, file.path()));
    ASSERT_EQ(got.size(), wanted.size());
    const bool relative =
        std::string(format) == "azure";  // times count from the first row, in 100 ns
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].prompt_tokens, wanted[i].prompt_tokens);
      EXPECT_EQ(got[i].output_tokens, wanted[i].output_tokens);
      const Duration offset = relative ? wanted[0].arrival - kTimeZero : 0ns;
      EXPECT_NEAR(static_cast<double>(to_ns(got[i].arrival)),
                  static_cast<double>(to_ns(wanted[i].arrival - offset)), relative ? 100 : 0);
    }
  }
}

TEST(WriteTrace, UnknownFormatNamesTheKnownOnes) {
  try {
    write_trace(*make_generator({}, {}), "moonkake", "/nowhere");
    FAIL();
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean 'mooncake'? valid: azure, mooncake, vidur"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace kvsim
