// Every registered operation: its CPU twin against its reference at odd shapes, on every
// instruction set, and against the poison, which must not pass for a result.
#include "kernels/operation.h"
#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

std::unique_ptr<Operation> make(const PluginInfo& info, const Tree& shape, std::uint64_t seed) {
  return Registry::instance().make<Operation>(info.name, shape, {seed, 0});
}

TEST(KernelCases, TwinsEqualTheirReferencesAtOddShapes) {
  const auto all = Registry::instance().of_kind(Operation::kKind);
  EXPECT_GE(all.size(), 20U);
  for (const PluginInfo* info : all) {
    const auto shapes =
        make(*info, Tree::map(), 1)->shapes(Operation::Purpose::check, Rng(7, info->name), 8);
    ASSERT_EQ(shapes.size(), 8U);
    for (const Tree& shape : shapes) {
      SCOPED_TRACE(info->name + " " + to_json(shape));
      const auto operation = make(*info, shape, 3);
      operation->reference();
      for (const Isa isa : supported_isas()) {
        force_isa(isa);
        Threads threads(2);
        std::string why;
        const auto bound = operation->bind({&threads, nullptr}, why);
        ASSERT_NE(bound, nullptr) << why;
        operation->poison();
        bound->run(0);
        bound->fetch();
        const Operation::Difference d = operation->difference();
        EXPECT_LE(d.of_bound, 1) << name_of(isa) << ": " << d.text;
      }
      force_isa(Isa::best);
    }
  }
}

// Poison does not pass for a result; a footprint makes copies, and every copy can be run.
TEST(KernelCases, PoisonIsNoResultAndCopiesFillTheFootprint) {
  Threads threads(1);
  for (const PluginInfo* info : Registry::instance().of_kind(Operation::kKind)) {
    SCOPED_TRACE(info->name);
    const Tree shape =
        make(*info, Tree::map(), 1)->shapes(Operation::Purpose::check, Rng(1, "poison"), 1)[0];
    const auto operation = Registry::instance().make<Operation>(info->name, shape, {3, 1 << 20});
    if (operation->traffic().bytes_written > 0) {
      operation->reference();
      operation->poison();
      EXPECT_GT(operation->difference().of_bound, 1);
    }
    std::string why;
    const auto bound = operation->bind({&threads, nullptr}, why);
    ASSERT_NE(bound, nullptr);
    EXPECT_GE(operation->copies(), 1);
    bound->run(operation->copies() - 1);
  }
}

}  // namespace
}  // namespace kvsim::kernels
