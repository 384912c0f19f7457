// Runs with token policies against the arithmetic of policies/token, and against what they must
// never do.
#include <gtest/gtest.h>

#include <cmath>

#include "models/geometry.h"
#include "policies/token/system.h"
#include "sim/run/build_tokens.h"
#include "sim/run/simulate.h"

namespace kvsim {
namespace {

using Sets = std::vector<std::string>;

std::string base() {
  return std::string(KVSIM_SOURCE_DIR) + "/scenarios/gallery/token-offline.yaml";
}

BuiltRun built(const Sets& sets) {
  Diagnostics d;
  BuiltRun run = build_run(load_scenario(base(), sets, d), true, d);
  d.throw_if_any();
  return run;
}

struct Result {
  SimulateResult result;
  [[nodiscard]] double value(const std::string& name,
                             const std::string& statistic = "value") const {
    for (const Metric& m : result.metrics)
      if (m.scope == "run" && m.name == name && m.statistic == statistic) return m.value;
    return NAN;
  }
  [[nodiscard]] const RankTotals& rank() const { return result.outcome.ranks.front(); }
};

Result simulated(const Sets& sets, bool exact = false) {
  BuiltRun run = built(sets);
  SimulateOptions options;
  options.exact_steps = exact;
  options.check_often = true;
  return {simulate(run, options)};
}

Sets with(Sets sets, const Sets& more) {
  sets.insert(sets.end(), more.begin(), more.end());
  return sets;
}

std::string policy(const std::string& list) { return "cache.token_policies=" + list; }

// Requests of one length, all at once.
Sets batch(int requests, int prompt, int output) {
  return {"workload.generate.requests=" + std::to_string(requests),
          "workload.generate.prompt={value: " + std::to_string(prompt) + "}",
          "workload.generate.output={value: " + std::to_string(output) + "}"};
}

std::string errors_of(const Sets& sets) {
  try {
    built(sets);
  } catch (const InputError& e) {
    std::string text;
    for (const Diagnostic& one : e.all()) text += one.path + ": " + one.message + "\n";
    return text;
  }
  return "";
}

// ---- every method

class EveryMethod : public testing::TestWithParam<std::string> {};

// With and without a prefix index, in memory that is short: all requests finish, no block is lost
// (checked by the engine), and both paths agree.
TEST_P(EveryMethod, RunsToTheEnd) {
  const Sets sets{
      policy("[" + GetParam() + "]"),
      "model=llama-3.1-8b",
      "cache.dtype=bf16",
      "deployment.hardware=workstation-nvme",
      "engine.kv_blocks=900",
      "engine.max_model_len=8192",
      "workload.generate.requests=20",
      "workload.generate.arrivals={process: poisson, rate: 6 /s}",
      "workload.generate.prompt={law: lognormal, median: 700, sigma: 1, min: 1, max: 5000}",
      "workload.generate.output={law: lognormal, median: 60, sigma: 1, min: 1, max: 500}",
      "workload.generate.prefixes={count: 3, share: 80 %, tokens: {law: uniform, min: 100, "
      "max: 900}}"};
  for (const char* index : {"none", "hash", "radix"}) {
    const Sets all = with(sets, {std::string("cache.prefix.index=") + index});
    const Result fast = simulated(all), exact = simulated(all, true);
    EXPECT_EQ(fast.value("completed"), 20) << index;
    EXPECT_EQ(fast.result.outcome.digest, exact.result.outcome.digest) << index;
    EXPECT_GT(fast.value("kv_reduction"), 0.5) << index;
  }
}

std::vector<std::string> every_name() {
  std::vector<std::string> names;
  for (const token::TokenSystem* s : token::token_systems()) names.push_back(s->info.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(TokenPolicies, EveryMethod, testing::ValuesIn(every_name()),
                         [](const auto& p) {
                           std::string name = p.param;
                           for (char& c : name)
                             if (c == '-' || c == '.') c = '_';
                           return name;
                         });

// ---- memory

TEST(TokenPoliciesRun, StreamingHoldsItsWindow) {
  const Sets one = with(batch(1, 3000, 900), {policy("[streaming-llm]")});
  EXPECT_EQ(simulated(one).rank().peak_blocks, (4 + 1024 + 15) / 16);
  // A method that looks at the whole prompt holds all of it first.
  const Sets snap = with(batch(1, 3000, 900), {policy("[snapkv]")});
  EXPECT_EQ(simulated(snap).rank().peak_blocks, (3000 + 15) / 16);
}

// What the decode steps held is the footprint's sum over them.
TEST(TokenPoliciesRun, KeepsWhatTheFootprintSays) {
  for (const char* name :
       {"h2o", "snapkv", "kivi", "int8", "quest", "dmc", "duoattention", "minikv", "scissorhands",
        "loopserve", "knorm", "palu", "streaming-llm"}) {
    const int prompt = 700, output = 600;
    const Sets sets = with(batch(1, prompt, output), {policy(std::string("[") + name + "]")});
    const BuiltRun run = built(sets);
    const token::FootprintModel& model = run.forms->footprint();
    double stored = 0, tokens = 0, read = 0;
    for (int g = 0; g + 1 < output; ++g) {
      const token::Footprint f = model.at(prompt, g);
      stored += f.stored.total();
      read += f.read_bytes;
      tokens += prompt + g;
    }
    const double bytes = to_double(kv_token_bytes(run.model, run.precision.kv));
    const Result r = simulated(sets);
    EXPECT_NEAR(r.value("kv_bytes_per_token") / (stored / tokens), 1, 0.02) << name;
    EXPECT_NEAR(r.value("kv_read_share") / ((read / bytes + output - 1) / tokens), 1, 0.02) << name;
  }
}

// Blocks of a sequence are those of its bytes, to the block, at every step.
TEST(TokenPoliciesRun, BlocksFollowTheBytes) {
  for (const char* name : {"h2o", "snapkv", "tova", "int8", "flexgen-int4", "streaming-llm"}) {
    const BuiltRun run = built({policy(std::string("[") + name + "]")});
    TokenForms& forms = *run.forms;
    const double block =
        forms.block_share() * 16 * to_double(kv_token_bytes(run.model, Dtype::fp16));
    for (const std::int64_t prompt : {1, 15, 16, 17, 900, 1100, 3000}) {
      const KvCurve& c = forms.curve(prompt);
      for (std::int64_t g = 0; g < 1500; g += 13) {
        const token::Footprint f = forms.footprint().at(prompt, g);
        const double pages = std::max(f.page_bytes, f.gpu_bytes) / block;
        EXPECT_NEAR(static_cast<double>(c.decoding(g)), std::ceil(pages - 1e-9), 1.01)
            << name << " prompt " << prompt << " + " << g;
      }
    }
  }
}

// As many more fit as their bytes are fewer.
TEST(TokenPoliciesRun, CapacityGrowsByTheFactor) {
  const BuiltRun plain = built({}), codes = built({policy("[flexgen-int4]")});
  const double factor = static_cast<double>(codes.engine.kv_blocks + 1) /
                        static_cast<double>(plain.engine.kv_blocks + 1);
  EXPECT_NEAR(factor, 16 / 4.5, 1e-3);  // 4 bits, and 32 for every 64 numbers
  const Sets load =
      with(batch(1500, 1024, 512), {"engine.kv_blocks=6000", "engine.max_running=400"});
  const auto running = [](const Result& r) {
    return r.value("output_throughput") * r.value("tpot_ms", "mean") / 1000;
  };
  const double more =
      running(simulated(with(load, {policy("[flexgen-int4]")}))) / running(simulated(load));
  EXPECT_NEAR(more, 16 / 4.5, 0.4);
}

// ---- time

// A decode step is faster by the bytes that it does not read.
TEST(TokenPoliciesRun, StepsTakeTheBytesTheyRead) {
  const Sets one =
      with(batch(1, 3000, 200), {"engine.layer_overhead=0 us", "engine.graph_layer_overhead=0 us"});
  const Result full = simulated(one), snap = simulated(with(one, {policy("[snapkv]")}));
  const BuiltRun run = built(one);
  const double bytes = to_double(kv_token_bytes(run.model, Dtype::fp16)) * (3000 - 1024);
  const double saved = bytes / (run.device.bandwidth.value * run.device.efficiency.kv_memory) * 1e3;
  EXPECT_NEAR(full.value("tpot_ms", "mean") - snap.value("tpot_ms", "mean"), saved, 0.02 * saved);
}

// What is fetched each step takes the host link; one layer ahead it hides behind computing.
TEST(TokenPoliciesRun, FetchesTakeTheLink) {
  const Sets one =
      with(batch(4, 1500, 40), {"deployment.hardware=workstation-nvme", "model=opt-6.7b"});
  const std::string all = "{retrieve: {index: {summary: all}, home: cpu-fetch, ahead: ";
  const Result serial = simulated(with(one, {policy("[" + all + "false}}]")}));
  const Result ahead = simulated(with(one, {policy("[" + all + "true}}]")}));
  const BuiltRun run = built(one);
  const double bytes = to_double(kv_token_bytes(run.model, Dtype::fp16)) * 4 * 1520;
  const double link = bytes / run.node.host_link.bandwidth.value * 1e3;
  EXPECT_GT(serial.value("tpot_ms", "mean"), link);
  EXPECT_GT(ahead.value("tpot_ms", "mean"), 0.95 * link);
  EXPECT_LT(ahead.value("tpot_ms", "mean"), serial.value("tpot_ms", "mean"));
}

// ---- sharing

Sets chats(const std::string& index) {
  return {"cache.prefix.index=" + index,
          "workload.generate.requests=40",
          "workload.generate.arrivals={process: poisson, rate: 1 /s}",
          "workload.generate.output={value: 20}",
          "workload.generate.prompt={value: 300}",
          "workload.generate.prefixes={count: 2, share: 100 %, tokens: {value: 1600}}"};
}

TEST(TokenPoliciesRun, PrefixesOfOneRequestServeNobodyElse) {
  const Sets sets = chats("hash");
  const double hits = simulated(sets).value("prefix_hit_rate");
  EXPECT_GT(hits, 0.7);
  const Result own = simulated(with(sets, {policy("[snapkv]")}));
  EXPECT_EQ(own.value("prefix_hit_rate"), 0);
  EXPECT_GT(own.value("miss_not_shareable"), 0.7 * own.value("total_input_tokens"));
  const Result kept = simulated(with(sets, {policy("[snapkv]"), "cache.prefix.keep_exact=true"}));
  EXPECT_EQ(kept.value("prefix_hit_rate"), hits);
  // What every token has a form of its own in is as good for others.
  EXPECT_EQ(simulated(with(sets, {policy("[kivi]")})).value("prefix_hit_rate"), hits);
}

// A sequence that is swapped out takes its compressed form along.
TEST(TokenPoliciesRun, SwapsTheCompressedForm) {
  const Sets sets = with(
      batch(40, 500, 700),
      {"engine.kv_blocks=1200", "engine.preemption.mode=swap", "deployment.hardware=dgx-a100"});
  const Result full = simulated(sets);
  const Result codes = simulated(with(sets, {policy("[int8]"), "engine.kv_blocks=600"}));
  ASSERT_GT(full.value("swaps_out"), 0);
  ASSERT_GT(codes.value("swaps_out"), 0);
  const double each = full.value("to_host_bytes") / full.value("swaps_out");
  EXPECT_NEAR(codes.value("to_host_bytes") / codes.value("swaps_out") / each, 8.125 / 16, 0.12);
}

// ---- what cannot be

TEST(TokenPoliciesRun, ConflictsAreErrorsWithPlaces) {
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(errors_of({policy("[ada-kv]"), "cache.block_lists=sequence"}),
      "block lists are per sequence");
  has(errors_of({policy("[snapkv]"), "model=gemma-2-9b"}), "keep no more of them");
  has(errors_of({policy("[snapkv]"), "model=jamba-v0.1"}), "state in place of tokens");
  has(errors_of({policy("[ada-kv]"), "model=deepseek-v2", "deployment.parallel.tensor=8",
                 "deployment.hardware=dgx-h100"}),
      "no KV heads");
  has(errors_of({policy("[snapkv]"), "cache.memory=virtual"}), "compressed KV lies in pages");
  has(errors_of({policy("[instinfer]"), "deployment.hardware=a100-80"}), "where the KV lies");
  has(errors_of({policy("[snapvk, {quantise: kivi}]")}), "unknown token policy 'snapvk'");
  has(errors_of({policy("[snapvk, {quantise: kivi}]")}), "unknown stage 'quantise'");
  has(errors_of({policy("[{quantize: {policy: kivi, key_group: 24}}]")}), "straddle blocks");
}

TEST(TokenPoliciesRun, QuantisationGoesWithWindowsAndLatents) {
  for (const char* model : {"gemma-2-9b", "jamba-v0.1"}) {
    const Sets sets{policy("[int8]"), std::string("model=") + model, "deployment.hardware=dgx-h100",
                    "deployment.parallel.tensor=4", "workload.generate.requests=5"};
    EXPECT_EQ(simulated(sets).value("completed"), 5) << model;
  }
}

// A resolved scenario means the same when it is read again.
TEST(TokenPoliciesRun, PrintsWhatItReads) {
  for (const char* list :
       {"[snapkv, {quantize: {policy: kivi, bits: 4}}]", "[shadowkv]", "[quest]"}) {
    const BuiltRun run = built({policy(list), "deployment.hardware=dgx-a100"});
    Diagnostics d;
    const BuiltRun again = build_run(read_scenario(run.resolved, "", {}, d), false, d);
    d.throw_if_any();
    EXPECT_EQ(to_yaml(again.resolved), to_yaml(run.resolved)) << list;
  }
}

// Two bits in groups of 64: 2.5 bits a number.
TEST(TokenPoliciesRun, TiersCountScales) {
  Sets sets = chats("hash");
  sets.push_back("deployment.hardware=workstation-nvme");
  sets.push_back(
      "cache.tiers=[{name: gpu}, {name: cpu, capacity: 4 GiB, dtype: int8}, "
      "{name: ssd, capacity: 8 GiB, dtype: int2}]");
  const BuiltRun run = built(sets);
  const auto& tiers = run.tiers->offload.tiers;
  const double plain = to_double(kv_token_bytes(run.model, Dtype::fp16)) * 16;
  EXPECT_EQ(static_cast<double>(tiers.at(0).chunk_bytes) / plain, 8.0 / 16);
  EXPECT_EQ(static_cast<double>(tiers.at(1).chunk_bytes) / plain, 2.5 / 16);
}

}  // namespace
}  // namespace kvsim
