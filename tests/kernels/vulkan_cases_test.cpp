// Every operation of the harness that has a Vulkan twin, at odd shapes, as `kvsim kernels check`
// runs it.
#include "kernels/operation.h"
#include "sim/base/registry.h"
#include "tests/kernels/vulkan_fixture.h"

namespace kvsim::kernels {
namespace {

using VulkanCases = VulkanTest;

TEST_F(VulkanCases, OddShapesStayWithinTheirBounds) {
  for (const PluginInfo* info : Registry::instance().of_kind(Operation::kKind)) {
    Diagnostics d;
    Reader reader(d);
    const Tree defaults = info->resolve(Tree::map(), reader, {});
    const auto make = [&](const Tree& shape) {
      return Registry::instance().make<Operation>(info->name, shape, {.seed = 5, .footprint = 0});
    };
    const auto shapes = make(defaults)->shapes(Operation::Purpose::check, Rng(11, info->name), 4);
    for (const Tree& shape : shapes) {
      const auto operation = make(shape);
      std::string why;
      const auto bound = operation->bind({.vulkan = &device()}, why);
      if (bound == nullptr) {
        EXPECT_FALSE(why.empty()) << info->name;
        continue;
      }
      operation->reference();
      operation->poison();
      bound->run(0);
      bound->fetch();
      const Operation::Difference difference = operation->difference();
      EXPECT_LE(difference.of_bound, 1) << info->name << ": " << difference.text;
    }
  }
}

}  // namespace
}  // namespace kvsim::kernels
