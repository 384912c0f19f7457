#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/cases/kv_inputs.h"
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

std::string name_of_isa(const testing::TestParamInfo<Isa>& info) {
  return std::string(name_of(info.param));
}
INSTANTIATE_TEST_SUITE_P(Kernels, EveryIsa, testing::ValuesIn(supported_isas()), name_of_isa);

}  // namespace
}  // namespace kvsim::kernels
