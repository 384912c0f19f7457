// Images in requests: drawn, written and read again.
#include "sim/base/diagnostics.h"
#include "tests/traces/trace_fixture.h"
#include "traces/generator.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

GeneratorParams params() {
  GeneratorParams p;
  p.requests = 200;
  p.arrivals.rate = Rate{1};
  p.prompt = SessionParams::constant(50);
  p.output = SessionParams::constant(4);
  p.images.count = SessionParams::constant(2);
  p.images.tokens = SessionParams::constant(30);
  p.images.distinct = 10;
  return p;
}

std::vector<Request> draw(const GeneratorParams& p) {
  TraceSource::Context c;
  c.seed = 3;
  return test::drain(*make_generator(p, c));
}

TEST(Images, ComeBeforeTheTextAndAddToIt) {
  std::vector<std::uint64_t> hashes;
  for (const Request& r : draw(params())) {
    ASSERT_EQ(r.images.size(), 2U);
    EXPECT_EQ(r.prompt_tokens, 50 + 2 * 30);
    EXPECT_EQ(r.images[0].first, 0);
    EXPECT_EQ(r.images[1].first, 30);
    std::int64_t covered = 0;
    for (const Segment& s : r.segments) covered += s.tokens;
    EXPECT_EQ(covered, r.prompt_tokens + r.output_tokens);
    for (const Image& i : r.images) hashes.push_back(i.hash);
  }
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
  EXPECT_EQ(hashes.size(), 10U);
}

// Prompts that begin with the same image share its tokens, and no others.
TEST(Images, EqualOnesAreEqualContent) {
  GeneratorParams p = params();
  p.images.count = SessionParams::constant(1);
  const std::vector<Request> all = draw(p);
  for (const Request& a : all)
    for (const Request& b : all)
      EXPECT_EQ(a.images[0].hash == b.images[0].hash, a.segments[0].key == b.segments[0].key);
}

TEST(Images, StayInTheHistoryOfASession) {
  GeneratorParams p = params();
  p.sessions.turns = SessionParams::constant(3);
  for (const Request& r : draw(p)) {
    ASSERT_EQ(r.images.size(), 2 * (r.turn + 1U));
    EXPECT_EQ(r.prompt_tokens, (r.turn + 1) * 110 + r.turn * 4);
    EXPECT_EQ(r.images.back().first, r.turn * 114 + 30);
  }
}

TEST(Images, SharesAndOthersUnchanged) {
  GeneratorParams p = params();
  p.images.share = Ratio{0.5};
  const std::vector<Request> some = draw(p);
  const auto with =
      std::count_if(some.begin(), some.end(), [](const Request& r) { return !r.images.empty(); });
  EXPECT_NEAR(static_cast<double>(with), 100, 35);
  p.images.count.reset();
  const std::vector<Request> none = draw(p);
  for (std::size_t i = 0; i < none.size(); ++i) EXPECT_EQ(none[i].arrival, some[i].arrival);
}

TEST(Images, AreWrittenAndReadAgain) {
  TraceSource::Context c;
  c.seed = 3;
  std::string text;
  WriteOptions options;
  options.block_tokens = 16;
  write_mooncake(
      *make_generator(params(), c), [&](std::string_view t) { text += t; }, options);
  const test::TempFile file(text, ".jsonl");
  const std::vector<Request> given = draw(params()),
                             read = test::drain(*test::open_trace("mooncake", file.path(),
                                                                  {{"hash_block", "16"}}));
  ASSERT_EQ(read.size(), given.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    ASSERT_EQ(read[i].images.size(), given[i].images.size());
    for (std::size_t k = 0; k < read[i].images.size(); ++k) {
      EXPECT_EQ(read[i].images[k].first, given[i].images[k].first);
      EXPECT_EQ(read[i].images[k].tokens, given[i].images[k].tokens);
      EXPECT_EQ(read[i].images[k].hash == read[0].images[0].hash,
                given[i].images[k].hash == given[0].images[0].hash);
    }
  }
}

TEST(Images, MistakesInATraceAreSaid) {
  const std::pair<const char*, const char*> wrong[] = {
      {"[7, 0]", "expected three an image"},
      {"[7, 90, 20]", "of a prompt of 100"},
      {"[7, 0, 20, 8, 10, 20]", "follow each other"},
      {"[7, 0, 0]", "of a prompt of 100"}};
  for (const auto& [images, message] : wrong) {
    const test::TempFile file(
        std::string(
            "{\"timestamp\": 0, \"input_length\": 100, \"output_length\": 5, \"images\": ") +
            images + "}\n",
        ".jsonl");
    try {
      test::drain(*test::open_trace("mooncake", file.path()));
      ADD_FAILURE() << images;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace kvsim
