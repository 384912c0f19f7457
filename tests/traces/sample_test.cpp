// The sample that ships is what its recipe in traces/README.md gives.
#include "tests/traces/trace_fixture.h"
#include "traces/generator.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

using namespace std::chrono_literals;

LengthParams lognormal(double median, double sigma, std::int64_t min, std::int64_t max) {
  LengthParams p;
  p.law = LengthKind::lognormal;
  p.median = median;
  p.sigma = sigma;
  p.min = min;
  p.max = max;
  return p;
}

LengthParams between_lengths(LengthKind law, std::int64_t min, std::int64_t max,
                             double exponent = 1) {
  LengthParams p;
  p.law = law;
  p.min = min;
  p.max = max;
  p.exponent = exponent;
  return p;
}

TEST(Sample, ChatFollowsFromItsRecipe) {
  GeneratorParams p;
  p.requests = 400;
  p.arrivals.process = ArrivalKind::gamma;
  p.arrivals.rate = Rate{0.6};
  p.arrivals.cv = 1.1;
  p.prompt = lognormal(1500, 1, 16, 16384);
  p.output = lognormal(200, 0.8, 8, 1500);
  p.sessions.turns = between_lengths(LengthKind::zipf, 1, 8, 1.2);
  p.sessions.message = lognormal(300, 1, 8, 4096);
  p.sessions.think_time = 20s;
  p.sessions.max_context = Tokens{32768};
  p.prefixes.count = 6;
  p.prefixes.tokens = between_lengths(LengthKind::uniform, 512, 3072);
  p.prefixes.share = Ratio{0.7};
  TraceSource::Context context;
  context.seed = 42;
  WriteOptions options;
  options.service = 5s;
  std::string text;
  write_mooncake(
      *make_generator(p, context), [&](std::string_view t) { text += t; }, options);

  std::ifstream in(std::string(KVSIM_SOURCE_DIR) + "/traces/samples/chat.jsonl", std::ios::binary);
  const std::string shipped{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(shipped, text);
  EXPECT_LE(shipped.size(), 60'000U);
  const TraceInfo i = trace_info(
      *test::open_trace("mooncake", std::string(KVSIM_SOURCE_DIR) + "/traces/samples/chat.jsonl"));
  EXPECT_EQ(i.requests, 400U);
}

}  // namespace
}  // namespace kvsim
