// Where tokens lie: what every placement must keep, ALISA's phases by formula, its search against
// all that it could have chosen, and a run against the sum of its steps.
#include <gtest/gtest.h>

#include <cmath>

#include "policies/placement/placement.h"
#include "sim/run/placed_forms.h"
#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

TokenPlacement::Context context() {
  TokenPlacement::Context c;
  c.room = 160;
  c.host_room = 100'000;
  c.step = 2000;
  c.attend = 3;
  c.link = 60;
  c.pass = 1;
  c.project = 90;
  c.forward = 700;
  return c;
}

std::unique_ptr<TokenPlacement> alisa(const std::vector<std::pair<std::string, std::string>>& given,
                                      const TokenPlacement::Context& c = context()) {
  Tree t = Tree::map();
  for (const auto& [key, value] : given) t.set(key, Tree::scalar(value));
  return Registry::instance().make<TokenPlacement>("alisa", t, c);
}

TEST(Placements, KeepEveryTokenSomewhere) {
  for (const std::string& name : Registry::instance().names("placement")) {
    auto p = Registry::instance().make<TokenPlacement>(name, Tree::map(), context());
    std::int64_t last = 0;
    for (const std::int64_t b : p->bends(100)) {
      EXPECT_GT(b, last) << name;
      last = b;
    }
    for (std::int64_t g = 0; g < 600; ++g) {
      const PlacedTokens t = p->at(100, g);
      const auto n = static_cast<double>(100 + g);
      EXPECT_LE(t.gpu + t.host, n + 1e-9) << name;
      EXPECT_TRUE(!p->places() || t.gpu <= 160) << name;
      EXPECT_LE(t.fetched, t.host + 1e-9) << name;
      EXPECT_LE(t.recomputed, n - t.gpu - t.host + 1e-9) << name;
      EXPECT_LE(t.read, n + 1) << name;
    }
    EXPECT_FALSE(p->describe(100).empty()) << name;
  }
}

// 100 tokens in, room for 160: from the 60th on the oldest leave. After 300 tokens 240 of 400 are
// off the GPU, a step attends to 80, of which 40 lie among 360.
TEST(Alisa, PhasesByHand) {
  auto p = alisa({{"third", "200"}, {"given_up", "25 %"}, {"recompute", "projections"}});
  const PlacedTokens first = p->at(100, 60);
  EXPECT_EQ(first.gpu, 160);
  EXPECT_EQ(first.fetched + first.stored + first.recomputed, 0);
  EXPECT_DOUBLE_EQ(first.read, 0.2 * 160 + 1);
  const PlacedTokens second = p->at(100, 199);
  EXPECT_EQ(second.host, 139);
  EXPECT_EQ(second.recomputed, 0);
  const PlacedTokens third = p->at(100, 300);
  EXPECT_EQ(third.host, 180);
  EXPECT_DOUBLE_EQ(third.fetched, 0.75 * 40 * 240 / 360);
  EXPECT_DOUBLE_EQ(third.recomputed, 0.25 * 40 * 240 / 360);
  EXPECT_EQ(third.stored, 1);
  EXPECT_EQ(p->recompute_ns(), 90);
}

double total(TokenPlacement& p, const TokenPlacement::Context& c, std::int64_t output) {
  double sum = 0;
  for (std::int64_t g = 0; g < output; ++g) {
    const PlacedTokens t = p.at(100, g);
    const double moved = t.fetched + t.stored, share = p.host_share();
    const double link = moved * c.link * share;
    const double computing = c.step + t.read * (c.attend + 2 * c.pass) +
                             t.recomputed * p.recompute_ns() + (share < 1 ? moved * c.pass : 0);
    sum += p.overlaps() ? std::max(computing, link) : computing + link;
  }
  return sum;
}

// Outputs of 64 tokens, of which the search samples every one; no other switch or share is better.
TEST(Alisa, NoOtherPhasesAreFaster) {
  int gave_up = 0;
  for (const bool overlap : {true, false}) {
    for (const double link : {60.0, 600.0, 6000.0}) {
      TokenPlacement::Context c = context();
      c.room = 64;
      c.link = link;
      c.step = 100;
      const std::vector<std::pair<std::string, std::string>> given{
          {"recompute", "projections"}, {"output", "64"}, {"overlap", overlap ? "true" : "false"}};
      auto best = alisa(given, c);
      const double least = total(*best, c, 64);
      for (int share = 0; share <= 32; ++share) {
        for (int third = 0; third < 64; third += 2) {
          auto more = given;
          more.emplace_back("third", std::to_string(third));
          more.emplace_back("given_up", std::to_string(share / 32.0));
          ASSERT_GE(total(*alisa(more, c), c, 64), least * (1 - 1e-12)) << share << " " << third;
        }
      }
      gave_up += best->at(100, 63).recomputed > 0;
    }
  }
  EXPECT_GT(gave_up, 0);  // the search has something to find
  EXPECT_LT(gave_up, 6);
}

TEST(Alisa, SaysWhenHostMemoryIsTooSmall) {
  TokenPlacement::Context c = context();
  c.host_room = 50;
  EXPECT_THROW((void)alisa({{"recompute", "never"}}, c)->at(100, 0), InputError);
  EXPECT_GT(alisa({}, c)->at(100, 511).recomputed, 0);  // it gives up what has no room
}

// Four sequences in lock step: the run takes as long as its prompts and the sum of the steps.
TEST(Alisa, ARunIsTheSumOfItsSteps) {
  const TokenPlacement::Context c = context();
  auto twin = alisa({}, c);
  PlacedForms::Rates rates;
  rates.link = c.link;
  rates.pass = c.pass;
  PlacedForms forms(alisa({}, c), 10, 16, 1, 1000, rates);
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = 40;
  e.max_batched_tokens = 4096;
  e.max_running = 4;
  e.async_scheduling = false;
  e.prefix_caching = false;
  e.forms = &forms;
  test::LinearCost cost(8000, 0, 3);
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) requests.push_back(test::request(0, 100, 501));
  const RunOutcome out = test::simulate(e, requests, cost);
  double sum = 8000;
  for (std::int64_t g = 0; g < 500; ++g) {
    const PlacedTokens t = twin->at(100, g);
    const double moved = t.fetched + t.stored, link = 4 * moved * c.link / 2;
    const double computing =
        8000 + 4 * (t.read * (3 + 2 * c.pass) + t.recomputed * c.forward + moved * c.pass);
    sum += g < 60 ? computing : computing + link;  // one layer: nothing to overlap with
  }
  const auto took = static_cast<double>(to_ns(out.requests[3].last_token - Time{}));
  EXPECT_NEAR(took, sum, 0.01 * sum);
  EXPECT_LE(out.ranks[0].peak_blocks, 40);
  EXPECT_EQ(out.ranks[0].preemptions, 0);
}

}  // namespace
}  // namespace kvsim
