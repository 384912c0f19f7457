// What every quota must keep: a request that it can ever let in is served when those over it are
// held back, in the order of its tenant; the same on both paths. What it refuses for good it never
// lets in.
#include <gtest/gtest.h>

#include <map>

#include "tests/support/fleet_fixture.h"
#include "tests/support/variant.h"

namespace kvsim {
namespace {

using test::Variant;

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const std::string& name : Registry::instance().names("quota")) all.push_back({name, {}});
  for (const Variant& more :
       std::vector<Variant>{{"limits", {{"tokens_per_minute", "200000000000"}, {"burst", "150"}}},
                            {"limits", {{"requests", "1"}}},
                            {"limits", {{"kv_share", "2 %"}, {"requests", "3"}}},
                            {"window", {{"tokens", "150"}, {"window", "1 ms"}}}})
    all.push_back(more);
  return all;
}

class Quotas : public testing::TestWithParam<Variant> {};

TEST_P(Quotas, HoldBackInOrderAndServeTheRest) {
  Tree params = Tree::map();
  for (const auto& [key, value] : GetParam().params) params.set(key, Tree::scalar(value));
  const Quota::Context context{10'000};
  const MakeQuota make = [&] {
    return Registry::instance().make<Quota>(GetParam().name, params, context);
  };
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "quota-conformance");
    const auto up_to = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
    test::Fleet f;
    f.engine.kv_blocks = 10'000;
    f.instances = 1 + rng.below(3);
    f.quotas = {{{0, 1}, make, true}};
    std::vector<Request> requests;
    std::int64_t at = 0;
    for (int i = 0; i < 40; ++i) {
      at += static_cast<std::int64_t>(rng.exponential(2000));
      const std::int64_t prompt = 1 + up_to(120), output = 1 + up_to(60);
      requests.push_back(test::request(at, prompt, output));
      requests.back().tenant = static_cast<std::uint32_t>(rng.below(3));
    }
    test::LinearCost cost(100, 3, 1);
    const RunOutcome fast = f.run(requests, cost), exact = f.run(requests, cost, true);
    const std::string name = test::text_of(GetParam()) + " seed " + std::to_string(seed);
    ASSERT_EQ(fast.digest, exact.digest) << name;
    ASSERT_EQ(fast.requests.size(), requests.size()) << name;
    std::map<std::uint32_t, std::int64_t> last;
    for (const RequestOutcome& r : fast.requests) {
      const bool never =
          r.tenant != 2 && make()->never(r.prompt_tokens + r.output_tokens) != nullptr;
      ASSERT_EQ(r.outcome, never ? Outcome::rejected : Outcome::finished)
          << name << " " << r.reason;
      ASSERT_TRUE(r.tenant != 2 || r.held_ns == 0) << name;
      if (never) continue;
      const std::int64_t in = to_ns(r.arrival) + r.held_ns;
      ASSERT_GE(in, last[r.tenant]) << name;
      last[r.tenant] = in;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Quotas, testing::ValuesIn(variants()),
                         [](const auto& v) { return test::test_name_of(v.param); });

}  // namespace
}  // namespace kvsim
