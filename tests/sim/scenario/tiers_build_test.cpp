// From a scenario's tiers to stores and the ways to them, on machines of the catalogue.
#include "models/geometry.h"
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

BuiltRun build(const std::string& text) {
  const test::BrokenFolder folder(text);
  Diagnostics d;
  BuiltRun run = build_run(load_scenario(folder.file("s.yaml"), {}, d), false, d);
  d.throw_if_any();
  return run;
}

// Two instances of 4 GPUs on one node, two on another.
const std::string kHead =
    "model: llama-3.1-70b\n"
    "deployment: {hardware: dgx-h100, replicas: 4, parallel: {tensor: 4}}\n"
    "workload: {generate: {requests: 5}}\n";

TEST(TiersBuild, APoolPlacedLocallyIsAStoreForEachNode) {
  const BuiltRun run = build(kHead +
                             "cache: {tiers: [{name: gpu}, {name: remote, capacity: 1 TiB, "
                             "placement: local, replicate: {after: 2, copies: 3}}]}\n");
  const TierSystem& t = *run.tiers;
  ASSERT_EQ(t.stores.size(), 2U);
  EXPECT_EQ(t.stores[1].node, 1);
  EXPECT_TRUE(t.offload.tiers[0].pooled);
  EXPECT_EQ(t.offload.tiers[0].replicate_after, 2);
  EXPECT_EQ(t.offload.tiers[0].most_copies, 3);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const TierWay& way = t.ranks[rank].front();
    const std::size_t own = rank / 2;
    EXPECT_EQ(way.store, own);
    ASSERT_EQ(way.pool.size(), 2U);
    for (std::size_t n = 0; n < 2; ++n) {
      bool network = false;
      for (const FlowNetwork::Use& u : way.pool[n].uses)
        network = network || t.links[u.link.index].name.find("nic") != std::string::npos;
      EXPECT_EQ(network, n != own) << "rank " << rank << " node " << n;
    }
    EXPECT_GT(way.pool[1 - own].latency, way.pool[own].latency);
  }
}

TEST(TiersBuild, ANodeTakesItsPartOfAPlacedPoolOnly) {
  const std::string faults =
      "faults: [{kind: node, target: 1, at: 1 s}, {kind: tier, name: remote, target: 1, at: 1 s}, "
      "{kind: directory, name: remote, at: 1 s}]\n";
  const auto stores = [&](const std::string& tier) {
    std::vector<std::vector<std::uint32_t>> out;
    const BuiltRun run =
        build(kHead + "cache: {tiers: [{name: gpu}, {name: remote, capacity: 1 TiB" + tier +
              "}]}\n" + (tier.empty() ? "faults: [{kind: node, target: 1, at: 1 s}]\n" : faults));
    for (const FaultPlan& f : run.faults)
      out.push_back(f.kind == FaultKind::node ? f.stores : f.targets);
    return out;
  };
  using Stores = std::vector<std::vector<std::uint32_t>>;
  EXPECT_EQ(stores(", placement: local"), (Stores{{1}, {1}, {0, 1}}));
  EXPECT_EQ(stores(""), (Stores{{}}));
}

// With one adapter down its GPUs' way to the other node leads over another one; no way is left to
// a memory whose only link is down.
TEST(TiersBuild, DetoursAvoidLinksThatAreDown) {
  const std::string tiers =
      "cache: {tiers: [{name: gpu}, {name: remote, capacity: 1 TiB, placement: local}]}\n";
  const BuiltRun run = build(kHead + tiers + "faults: [{kind: link, name: n0.nic0, at: 1 s}]\n");
  const FaultPlan& fault = run.faults.front();
  ASSERT_EQ(fault.detours.size(), 4U);
  const auto passes = [&](const TransferPath& path) {
    return std::any_of(path.uses.begin(), path.uses.end(), [&](const FlowNetwork::Use& u) {
      return run.tiers->links[u.link.index].name.find("n0.nic0") != std::string::npos;
    });
  };
  EXPECT_TRUE(passes(run.tiers->ranks[0][0].pool[1]));
  EXPECT_FALSE(passes(fault.detours[0][0].pool[1]));
  EXPECT_FALSE(fault.detours[0][0].pool[1].uses.empty());
  const BuiltRun slow =
      build(kHead + tiers + "faults: [{kind: link, name: n0.nic0, left: 10 %, at: 1 s}]\n");
  EXPECT_TRUE(slow.faults.front().detours.empty());
  const BuiltRun none = build(kHead + tiers + "faults: [{kind: link, name: n0.dram, at: 1 s}]\n");
  EXPECT_EQ(none.faults.front().detours[0][0].in.uses.size(),
            none.tiers->ranks[0][0].in.uses.size());
}

// 4 GPUs each convert their share: bf16 is read and fp8 written, or the other way round.
TEST(TiersBuild, AnotherPrecisionCostsMemoryBandwidth) {
  const auto convert = [](const std::string& more) {
    const BuiltRun run =
        build(kHead + "cache: {dtype: bf16, tiers: [{name: gpu}, {name: cpu, capacity: 100 GiB" +
              more + "}]}\n");
    return run.tiers->ranks[0][0].in.convert;
  };
  EXPECT_EQ(convert(""), 0);
  EXPECT_EQ(convert(", dtype: bf16"), 0);
  EXPECT_DOUBLE_EQ(convert(", dtype: fp8, convert: 1 TB/s"), 3.0 / 1e12 / 4 * 1e9);
  const BuiltRun run = build(kHead);
  EXPECT_DOUBLE_EQ(convert(", dtype: fp8"),
                   3.0 / (run.device.bandwidth.value * run.device.efficiency.memory) / 4 * 1e9);
}

// Between memory and drives the host converts.
TEST(TiersBuild, AStagedTierIsConvertedByTheHost) {
  const BuiltRun run = build(
      "model: llama-2-7b\ndeployment: {hardware: {base: dgx-h100, storage: [{device: pm9a3, count: "
      "2}]}}\nworkload: {generate: {requests: 5}}\n"
      "cache: {dtype: bf16, tiers: [{name: gpu}, {name: cpu, capacity: 100 GiB}, {name: ssd, "
      "capacity: 1 TiB, dtype: fp8}]}\n");
  EXPECT_EQ(run.tiers->ranks[0][0].in.convert, 0);
  EXPECT_DOUBLE_EQ(run.tiers->ranks[0][1].out.convert,
                   3.0 / run.node.memory_link.bandwidth.value * 1e9);
}

// HCache on multi-head attention: hidden states are half of the KV, so stored layers weigh between
// half and all of it, and no load can choose another split.
TEST(TiersBuild, HiddenStatesTakeTheirOwnRoom) {
  const std::string tiers =
      "model: {base: llama-2-7b, max_context: 16384}\ndeployment: {hardware: hcache-4xa100}\n"
      "workload: {generate: {requests: 5}}\n"
      "cache: {dtype: fp16, tiers: [{name: gpu}, {name: ssd, capacity: 1 TB}], offload: "
      "{chunk_tokens: 64, restore: ";
  const BuiltRun kv = build(tiers + "break-even}}\n"), hidden = build(tiers + "hidden}}\n");
  const OffloadConfig& o = hidden.tiers->offload;
  EXPECT_FALSE(kv.tiers->offload.stored.fixed());
  ASSERT_TRUE(o.stored.fixed());
  const std::int64_t layers = o.layers, kv_layers = layers - o.stored.recompute - o.stored.hidden;
  EXPECT_EQ(o.tiers[0].chunk_bytes,
            64 * (o.stored.hidden * o.hidden_token_bytes + kv_layers * o.kv_token_bytes) / layers);
  EXPECT_LT(o.tiers[0].chunk_bytes, kv.tiers->offload.tiers[0].chunk_bytes);
  EXPECT_GT(hidden.tiers->stores[0].options.capacity, kv.tiers->stores[0].options.capacity);
}

}  // namespace
}  // namespace kvsim
