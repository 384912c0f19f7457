#include "policies/token/compose.h"

#include <gtest/gtest.h>

#include "policies/token/system.h"
#include "sim/scenario/yaml.h"

namespace kvsim::token {
namespace {

TokenPolicies read(const std::string& text, Diagnostics& d) {
  const Tree t = parse_yaml(text, "policies.yaml", d);
  Reader r(d);
  return read_token_policies(t, r);
}
TokenPolicies read(const std::string& text) {
  Diagnostics d;
  TokenPolicies p = read(text, d);
  for (const Diagnostic& one : d.all()) ADD_FAILURE() << to_string(one);
  return p;
}
std::string errors(const std::string& text) {
  Diagnostics d;
  read(text, d);
  std::string all;
  for (const Diagnostic& one : d.all()) all += to_string(one) + "\n";
  return all;
}

TEST(TokenCompose, ASystemAsItIs) {
  const TokenPolicies p = read("[snapkv]");
  EXPECT_EQ(to_yaml(write_fields(p)), to_yaml(write_fields(read("- {policy: snapkv}"))));
  EXPECT_EQ(p.select->recent, 32);
  EXPECT_EQ(p.budget->size.tokens, 1024);
}

TEST(TokenCompose, StagesOfSystems) {
  const TokenPolicies p =
      read("- {select: {policy: h2o, budget: 20 %}}\n- {quantize: {policy: kivi, bits: 2}}\n");
  EXPECT_EQ(p.select->trigger, Trigger::step);
  EXPECT_EQ(p.budget->size.share, 0.2);
  EXPECT_EQ(p.quantize->bits, 2.0);
  EXPECT_EQ(p.quantize->residual, 128);
  EXPECT_FALSE(p.merge);
  // A stage of a system that has more.
  const TokenPolicies q = read("[{quantize: minikv}]");
  EXPECT_FALSE(q.select);
  EXPECT_EQ(q.quantize->key_group, 16);
  // No system: the family's own defaults.
  const TokenPolicies own =
      read("- {select: {score: {by: random}, trigger: step, budget: 64, recent: 8}}");
  EXPECT_EQ(own.select->score.name, "random");
  EXPECT_EQ(own.budget->size.tokens, 64);
}

TEST(TokenCompose, ParametersOfAPluginAddOrReplace) {
  const TokenPolicies p = read("[{select: {policy: snapkv, score: {window: 16}}}]");
  EXPECT_EQ(p.select->score.name, "window-attention");
  EXPECT_EQ(p.select->score.params.find("window")->text(), "16");
  EXPECT_EQ(p.select->score.params.find("pool_width")->text(), "5");
  const TokenPolicies q = read("[{select: {policy: snapkv, score: {by: key-norm}}}]");
  EXPECT_EQ(q.select->score.name, "key-norm");
  const TokenPolicies budget = read("[{policy: snapkv, budget: {by: {allocator: pyramid}}}]");
  EXPECT_EQ(budget.budget->by.name, "pyramid");
  EXPECT_EQ(budget.budget->size.tokens, 1024);
}

TEST(TokenCompose, MistakesComeTogetherWithTheirPlace) {
  const std::string all = errors(
      "- snapvk\n"
      "- {quantise: kivi}\n"
      "- {quantize: {policy: kivi, bit: 2}}\n"
      "- {select: {policy: h2o, budget: 120 %}}\n"
      "- {merge: kivi}\n");
  EXPECT_NE(all.find("policies.yaml:1:3"), std::string::npos) << all;
  EXPECT_NE(all.find("did you mean 'snapkv'"), std::string::npos) << all;
  EXPECT_NE(all.find("unknown stage 'quantise'"), std::string::npos) << all;
  EXPECT_NE(all.find("did you mean 'quantize'"), std::string::npos) << all;
  EXPECT_NE(all.find("policies.yaml:3:29"), std::string::npos) << all;
  EXPECT_NE(all.find("above 0 %, at most 100 %"), std::string::npos) << all;
  EXPECT_NE(all.find("'kivi' has no stage merge"), std::string::npos) << all;
}

TEST(TokenCompose, OneItemFillsASection) {
  EXPECT_NE(errors("[kivi, quarot]").find("'quantize' is set by an item before"),
            std::string::npos);
}

Surroundings llama() {
  Surroundings s;
  s.shape = {32, 32, 8, 128, 128, 16, 16};
  return s;
}
// The findings of a rule, errors marked.
std::string found(const std::string& text, const Surroundings& s, int rule) {
  std::string all;
  for (const Finding& f : check_composition(read(text), s))
    if (f.rule == rule) all += (f.error ? "error " : "note ") + f.section + ": " + f.text + "\n";
  return all;
}

TEST(TokenCompose, SectionsNeedWhatTheyWorkOn) {
  const Surroundings s = llama();
  EXPECT_NE(found("[{merge: d2o}]", s, 0).find("error merge"), std::string::npos);
  EXPECT_NE(found("[{budget: pyramidkv}]", s, 0).find("error budget"), std::string::npos);
  EXPECT_NE(found("[{select: {score: {by: random}}}]", s, 0).find("without a budget"),
            std::string::npos);
  EXPECT_NE(found("[{quantize: {policy: kivi, bits: 5}}]", s, 0).find("no codes have 5 bits"),
            std::string::npos);
  EXPECT_NE(found("[snapkv, {merge: minicache}]", s, 0).find("same ones"), std::string::npos);
  EXPECT_EQ(found("[snapkv, kivi]", s, 0), "");
}

TEST(TokenCompose, RulesOfTheirSurroundings) {
  Surroundings s = llama();
  s.prefix_sharing = true;
  EXPECT_NE(found("[snapkv]", s, 1).find("note select"), std::string::npos);
  EXPECT_EQ(found("[knorm]", s, 1), "");
  EXPECT_NE(found("[h2o]", s, 2).find("computed twice"), std::string::npos);
  EXPECT_EQ(found("[snapkv]", s, 2), "");
  s.per_head_lists = false;
  EXPECT_NE(found("[ada-kv]", s, 3).find("error budget"), std::string::npos);
  EXPECT_EQ(found("[pyramidkv]", s, 3), "");
  EXPECT_NE(found("[{low-rank: {absorb_keys: true}}]", s, 5).find("error low-rank"),
            std::string::npos);
  s.shape.block_tokens = 24;
  EXPECT_NE(found("[kivi]", s, 6).find("straddle"), std::string::npos);
  s.shape.block_tokens = 16;
  EXPECT_NE(found("[kivi]", s, 6).find("2 blocks"), std::string::npos);
  EXPECT_NE(found("[h2o, kivi]", s, 6).find("hole"), std::string::npos);
  EXPECT_NE(found("[{quantize: {policy: zipcache, key_axis: channel}}]", s, 6).find("error"),
            std::string::npos);
  EXPECT_NE(found("[snapkv, {low-rank: palu}]", s, 7).find("same tokens"), std::string::npos);
  s.latent = true;
  EXPECT_NE(found("[{low-rank: palu}]", s, 7).find("latent already"), std::string::npos);
  s.latent = false;
  s.host_bytes = 1e9;
  s.longest = 131072;
  EXPECT_NE(found("[infllm]", s, 8).find("error retrieve"), std::string::npos);
  s.host_bytes = 1e11;
  EXPECT_EQ(found("[infllm]", s, 8).find("error"), std::string::npos);
  s.chunked_prefill = s.recompute = true;
  EXPECT_NE(found("[snapkv]", s, 9).find("last chunk"), std::string::npos);
  EXPECT_NE(found("[snapkv]", s, 10).find("swapping"), std::string::npos);
  EXPECT_EQ(found("[streaming-llm]", s, 10), "");
  EXPECT_NE(found("[infinigen]", s, 12).find("share the link"), std::string::npos);
}

}  // namespace
}  // namespace kvsim::token
