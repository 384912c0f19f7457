// One random Llama in three formats gives the same logits; the tiny model gives the published ones.
#include "sim/quality/llama.h"

#include <gtest/gtest.h>

#include "sim/base/diagnostics.h"
#include "tests/sim/quality/file_fixture.h"

namespace kvsim::quality {
namespace {

const std::vector<std::int32_t> kIds{1, 5, 3, 19, 0, 7, 7, 2, 11};

std::vector<float> logits_of(const std::string& path) {
  kernels::Threads threads(1);
  const Compute compute(threads);
  return Llama(load_llama(path)).forward(kIds, compute).logits;
}

TEST(LlamaFiles, ThreeFormatsAreOneModel) {
  const Folder f;
  const SmallLlama m;
  f.write("config.json", m.config());
  const auto expected = logits_of(f.write("m.bin", m.llama2c()));
  ASSERT_EQ(expected.size(), kIds.size() * 20);
  for (const char* type : {"F32", "F16"}) {
    const auto hf = logits_of(f.write("m.safetensors", safetensors(m.tensors(true), type)));
    const auto gg = logits_of(f.write("m.gguf", m.gguf_file(type)));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(hf[i], expected[i], 1e-4) << type;
      EXPECT_NEAR(gg[i], expected[i], 1e-6) << type;
    }
  }
}

TEST(LlamaFiles, AStepGoesOnWhereAPassEnds) {
  const Folder f;
  const SmallLlama m;
  kernels::Threads threads(1);
  const Compute compute(threads);
  const Llama llama(load_llama(f.write("m.bin", m.llama2c())));
  const Llama::Pass whole = llama.forward(kIds, compute);
  token::TokenCache::Options o;
  o.shape = {2, 4, 2, 4, 4, 16, 16};
  token::TokenCache cache({}, o, threads);
  cache.begin(5);
  const Llama::Pass part = llama.forward(std::span(kIds).first(5), compute);
  for (std::size_t l = 0; l < 2; ++l)
    cache.prompt(static_cast<std::int32_t>(l), {part.keys[l], part.values[l], part.queries[l]});
  cache.seal();
  for (std::int32_t t = 5; t < 9; ++t) {
    const auto next = llama.next(
        kIds[static_cast<std::size_t>(t)], t,
        [&](std::int32_t l, const token::StepTensors& s, std::span<float> out) {
          cache.attend(l, s, out);
        },
        compute);
    for (std::size_t i = 0; i < 20; ++i)
      EXPECT_NEAR(next[i], whole.logits[static_cast<std::size_t>(t) * 20 + i], 1e-4);
  }
}

TEST(LlamaFiles, WhatIsWrongIsSaid) {
  const Folder f;
  SmallLlama m;
  const auto error = [&](const std::string& name, const std::string& bytes) -> std::string {
    try {
      (void)load_llama(f.write(name, bytes));
    } catch (const InputError& e) {
      return e.what();
    }
    return "no error";
  };
  const std::string good = m.llama2c();
  EXPECT_NE(error("m.bin", good.substr(0, good.size() - 4)).find("bytes of weights"),
            std::string::npos);
  std::string lies = good;
  lies[0] = '\x7f', lies[3] = '\x7f';
  EXPECT_NE(error("m.bin", lies).find("no Llama has these sizes"), std::string::npos);
  EXPECT_NE(error("m.safetensors", safetensors(m.tensors(true))).find("config.json"),
            std::string::npos);
  f.write("config.json", m.config());
  auto tensors = m.tensors(true);
  tensors[3].name = "model.layers.0.self_attn.w_proj.weight";
  EXPECT_NE(error("m.safetensors", safetensors(tensors)).find("q_proj"), std::string::npos);
  tensors = m.tensors(true);
  tensors[0].shape = {16, 20};
  EXPECT_NE(error("m.safetensors", safetensors(tensors)).find("expected [20, 16]"),
            std::string::npos);
}

}  // namespace
}  // namespace kvsim::quality
