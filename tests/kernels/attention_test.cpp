#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/cases/kv_inputs.h"
#include "kernels/cpu/decode_plan.h"
#include "kernels/isa.h"
#include "kernels/operation.h"
#include "kernels/threads.h"

namespace kvsim::kernels {
namespace {

class EveryIsa : public testing::TestWithParam<Isa> {
 protected:
  EveryIsa() { force_isa(GetParam()); }
  ~EveryIsa() override { force_isa(Isa::best); }
};

std::unique_ptr<Operation> make(const char* name, const Tree& shape, std::uint64_t seed) {
  return Registry::instance().make<Operation>(name, shape, {.seed = seed, .footprint = 0});
}

void check_odd_shapes(const char* name, std::size_t count) {
  const auto defaults = Registry::instance().make<Operation>(name, Tree::map(), {});
  Threads one(1), three(3);
  std::uint64_t seed = 0;
  for (const Tree& shape : defaults->shapes(Operation::Purpose::check, Rng(7, name), count)) {
    const auto op = make(name, shape, ++seed);
    op->reference();
    for (Threads* threads : {&one, &three}) {
      std::string why;
      const auto bound = op->bind({.cpu = threads}, why);
      ASSERT_NE(bound, nullptr) << why;
      op->poison();
      bound->run(0);
      const auto difference = op->difference();
      EXPECT_LE(difference.of_bound, 1)
          << difference.text << " with " << threads->count() << " threads at " << to_json(shape);
    }
  }
}

TEST_P(EveryIsa, DecodeEqualsTheReferenceAtOddShapes) { check_odd_shapes("decode-attention", 72); }

TEST_P(EveryIsa, PrefillEqualsTheReferenceAtOddShapes) {
  check_odd_shapes("prefill-attention", 48);
}

// A small batch to call the twins directly.
struct Batch {
  KvInputs inputs;
  std::vector<float> q, out;
  explicit Batch(KvInputsShape shape)
      : inputs(std::move(shape), Rng(3, "batch")),
        q(inputs.shape().lengths.size() * 8 * 64),
        out(inputs.shape().lengths.size() * 8 * 64) {
    Rng rng(4, "queries");
    for (float& x : q) x = static_cast<float>(rng.normal());
  }
  DecodeAttention arguments() {
    return {.cache = inputs.cache(),
            .table = inputs.table(0),
            .q_heads = 8,
            .scale = 0.125F,
            .visible = {},
            .shared = {},
            .q = q,
            .out = out};
  }
};
KvInputsShape small_shape(Element element, std::vector<std::int32_t> lengths) {
  return {.format = {.element = element,
                     .kv_heads = 2,
                     .k_dim = 64,
                     .v_dim = 64,
                     .page_tokens = 64,
                     .group_tokens = 64},
          .lengths = std::move(lengths)};
}

TEST_P(EveryIsa, ResultsAreTheSameOnEveryRun) {
  for (const Element element : {Element::f16, Element::i8}) {
    Batch batch(small_shape(element, {300, 1, 0, 77}));
    for (const int count : {1, 2, 3}) {
      Threads threads(count);
      cpu::attend(batch.arguments(), threads);
      const std::vector<float> first = batch.out;
      for (int i = 0; i < 5; ++i) {
        cpu::attend(batch.arguments(), threads);
        EXPECT_EQ(batch.out, first);
      }
    }
  }
}

TEST_P(EveryIsa, PagesOutOfSightAreNotRead) {
  for (const Element element : {Element::f32, Element::i4}) {
    Batch batch(small_shape(element, {500}));
    DecodeAttention a = batch.arguments();
    a.visible = {.window = 100, .sinks = 5};
    Threads threads(2);
    cpu::attend(a, threads);
    const std::vector<float> want = batch.out;
    // Tokens 0 .. 4 and 400 .. 499 are seen: of pages 1 to 5 only the table tells, and it is wrong.
    std::vector<std::int32_t> pages(a.table.pages.begin(), a.table.pages.end());
    for (std::size_t p = 1; p <= 5; ++p) pages[p] = -1'000'000'000;
    a.table.pages = pages;
    cpu::attend(a, threads);
    EXPECT_EQ(batch.out, want);
    std::vector<float> reference(want.size());
    a.out = reference;
    reference::attend(a);
    EXPECT_LE(worst_relative_l2(want, reference, 64), element == Element::f32 ? 2e-5 : 2e-4);
  }
}

// Scores of which one token has nearly everything, far above and far below the others.
TEST_P(EveryIsa, LargeScoresNeitherOverflowNorVanish) {
  Threads threads(2);
  for (const float size : {1e-3F, 1.0F, 40.0F, 400.0F}) {
    Batch batch(small_shape(Element::f32, {200}));
    for (float& x : batch.q) x *= size;
    DecodeAttention a = batch.arguments();
    cpu::attend(a, threads);
    std::vector<float> want(batch.out.size());
    a.out = want;
    reference::attend(a);
    // A score of 400 * 8 * 64 * 0.125 is known to 1e-7 of itself.
    EXPECT_LE(worst_relative_l2(batch.out, want, 64), size > 1 ? 1e-3 : 2e-5) << size;
  }
}

TEST(Attention, ThePlanCoversEveryGroupOnce) {
  Rng rng(11, "plans");
  for (int i = 0; i < 200; ++i) {
    std::vector<std::int32_t> lengths;
    for (std::uint64_t s = rng.below(6) + 1; s > 0; --s)
      lengths.push_back(static_cast<std::int32_t>(128 + rng.below(1000)));
    const bool is_shared = rng.below(2) == 0;
    if (!is_shared) lengths.push_back(0);
    const std::vector<SharedPrefix> shared{{0, static_cast<std::int32_t>(lengths.size()), 128}};
    DecodeAttention a;
    a.cache.format.kv_heads = 3;
    a.q_heads = 6;
    a.table.lengths = lengths;
    if (is_shared) a.shared = shared;
    const int threads = static_cast<int>(rng.below(7)) + 1;
    const cpu::DecodePlan plan = cpu::plan_decode(a, threads);
    ASSERT_EQ(plan.thread_pieces.size(), static_cast<std::size_t>(threads) + 1);
    EXPECT_EQ(plan.thread_pieces.back(), plan.pieces.size());
    std::vector<std::int32_t> next(plan.items.size());
    for (const cpu::DecodePiece& piece : plan.pieces) {
      EXPECT_EQ(piece.first, next[piece.item]);
      next[piece.item] = piece.end;
    }
    for (std::size_t item = 0; item < next.size(); ++item)
      EXPECT_EQ(next[item], plan.items[item].range.groups());
  }
}

TEST(Attention, ShapesThatCannotBeAreRefused) {
  const auto refuse = [](const char* name, const char* key, const char* value) {
    Tree shape = Tree::map();
    shape.set(key, Tree::scalar(value));
    EXPECT_THROW(make(name, shape, 1), InputError) << key;
  };
  refuse("decode-attention", "q_heads", "9");
  refuse("decode-attention", "shared", "100");
  refuse("decode-attention", "shared", "8192");
  refuse("decode-attention", "k_dim", "72");
  refuse("prefill-attention", "q_heads", "9");
  refuse("prefill-attention", "page_tokens", "24");
}

std::string name_of_isa(const testing::TestParamInfo<Isa>& info) {
  return std::string(name_of(info.param));
}
INSTANTIATE_TEST_SUITE_P(Kernels, EveryIsa, testing::ValuesIn(supported_isas()), name_of_isa);

}  // namespace
}  // namespace kvsim::kernels
