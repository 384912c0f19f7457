// Micro-batches through pipeline stages: against a flow shop played out job by job, and against the
// roofline that they are priced with.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

DeviceSpec device() {
  DeviceSpec d;
  d.name = "round";
  d.bandwidth = Bandwidth{1e12};
  d.compute = {{"bf16", FlopRate{1e14}}};
  return d;
}
std::unique_ptr<CostModel> make(const char* law, const ModelWork& m, const DeviceSpec& d,
                                const LinkSpec& link, int stages, int micro_batches = -1) {
  Parallel p;
  p.pipeline = stages;
  Tree params = Tree::map();
  if (micro_batches >= 0) params.set("micro_batches", Tree::scalar(std::to_string(micro_batches)));
  return Registry::instance().make<CostModel>(law, params, {&m, &d, &link, p, {}});
}
LinkSpec link() {
  LinkSpec l;
  l.bandwidth = Bandwidth{1e11};
  return l;
}

// Jobs in order through stages: each stage takes a job when it has it and is free.
double flow_shop(const std::vector<double>& jobs, int stages) {
  std::vector<double> free(static_cast<std::size_t>(stages), 0);
  for (const double t : jobs) {
    double at = 0;
    for (double& stage : free) stage = at = std::max(at, stage) + t / stages;
  }
  return free.back();
}

TEST(Pipelined, OneBatchIsTheRoofline) {
  const FakeModel model;
  const DeviceSpec d = device();
  const LinkSpec l = link();
  const auto one = make("pipelined", model, d, l, 4, 1),
             roofline = make("roofline", model, d, l, 4);
  const StepShape s = decodes(8, 16000, 3000);
  EXPECT_NEAR(static_cast<double>(to_ns(one->mixed_step(s))),
              static_cast<double>(to_ns(roofline->mixed_step(s))), 1);
  const std::vector<PrefillPiece> pieces{{300, 50, true}, {200, 0, false}};
  StepShape mixed = s;
  mixed.prefills = pieces;
  EXPECT_NEAR(static_cast<double>(to_ns(one->mixed_step(mixed))),
              static_cast<double>(to_ns(roofline->mixed_step(mixed))), 1);
}

TEST(Pipelined, DecodesByFlowShop) {
  const FakeModel model;
  const DeviceSpec d = device();
  const LinkSpec l = link();
  const auto roofline = make("roofline", model, d, l, 4);
  for (const int m : {1, 2, 4, 8}) {
    const auto law = make("pipelined", model, d, l, 4, m);
    const StepShape whole = decodes(16, 64000, 4000);
    const StepShape part = decodes(16 / m, 64000 / m, 4000);
    const auto t = static_cast<double>(to_ns(roofline->mixed_step(part)));
    const double twin = flow_shop(std::vector<double>(static_cast<std::size_t>(m), t), 4);
    EXPECT_NEAR(static_cast<double>(to_ns(law->mixed_step(whole))), twin, 4) << m;
    double parts = 0, bubble = 0;
    for (const CostModel::Part& p : law->explain(whole))
      (p.name == "bubble" ? bubble : parts) += p.ns;
    EXPECT_NEAR(parts + bubble, twin, 8) << m;
    EXPECT_NEAR(bubble / (parts + bubble), 3.0 / (m + 3), 1e-3) << m;
  }
}

// The pieces of a prompt follow each other; what is cut off is history of the next.
TEST(Pipelined, PromptsByFlowShop) {
  const FakeModel model;
  const DeviceSpec d = device();
  const LinkSpec l = link();
  const auto roofline = make("roofline", model, d, l, 2),
             law = make("pipelined", model, d, l, 2, 4);
  const PrefillPiece prompt{4000, 100, true};
  StepShape s;
  s.prefills = {&prompt, 1};
  std::vector<double> jobs;
  for (std::int64_t i = 0; i < 4; ++i) {
    const PrefillPiece piece{1000, 100 + 1000 * i, i == 3};
    StepShape one;
    one.prefills = {&piece, 1};
    jobs.push_back(static_cast<double>(to_ns(roofline->mixed_step(one))));
  }
  // The last is the longest, so the formula is exact.
  EXPECT_NEAR(static_cast<double>(to_ns(law->mixed_step(s))), flow_shop(jobs, 2), 4);
  EXPECT_LT(to_ns(law->mixed_step(s)), to_ns(roofline->mixed_step(s)));
}

TEST(Pipelined, BestIsNoSlowerThanAnyCut) {
  const FakeModel model;
  const DeviceSpec d = device();
  const LinkSpec l = link();
  const auto best = make("pipelined", model, d, l, 4);
  const std::vector<PrefillPiece> pieces{{700, 50, true}, {2000, 0, false}};
  StepShape s = decodes(12, 24000, 2500);
  s.prefills = pieces;
  for (const int m : {1, 2, 3, 4})
    EXPECT_LE(to_ns(best->mixed_step(s)),
              to_ns(make("pipelined", model, d, l, 4, m)->mixed_step(s)));
}

TEST(Pipelined, DecodeLineIsItsOwnPrice) {
  const FakeModel model;
  const DeviceSpec d = device();
  const LinkSpec l = link();
  const auto law = make("pipelined", model, d, l, 4);
  for (std::int64_t n = 1; n < 40; ++n) {
    StepShape s = decodes(n, 3000 * n, 5000);
    const DecodeLine line = law->decode_line(s);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(line.at(s), law->mixed_step(s)) << n;
      s.decode_context_sum += n;
      ++s.decode_context_max;
    }
  }
}

TEST(Pipelined, NeedsStages) {
  const FakeModel model;
  const DeviceSpec d = device();
  const LinkSpec l = link();
  EXPECT_THROW(make("pipelined", model, d, l, 1), InputError);
}

}  // namespace
}  // namespace kvsim
