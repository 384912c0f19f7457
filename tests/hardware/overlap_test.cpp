// The closed form of layer-wise loading against a pipeline stepped layer by layer.
#include "hardware/overlap.h"

#include <gtest/gtest.h>

namespace kvsim {
namespace {

std::int64_t pipeline(std::int64_t x, std::int64_t y, std::int64_t layers, std::int64_t preloaded) {
  std::int64_t loaded = 0, computed = 0;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (layer >= preloaded) loaded += x;
    const std::int64_t ready = layer < preloaded ? 0 : loaded;
    computed = (ready > computed ? ready : computed) + y;
  }
  return computed;
}

TEST(Overlap, EqualsThePipeline) {
  for (std::int64_t x = 0; x < 8; ++x)
    for (std::int64_t y = 0; y < 8; ++y)
      for (std::int64_t layers = 1; layers < 10; ++layers)
        for (std::int64_t preloaded = 0; preloaded <= layers + 1; ++preloaded)
          EXPECT_EQ(layerwise_time(Duration{x}, Duration{y}, layers, preloaded),
                    Duration{pipeline(x, y, layers, preloaded)})
              << x << ' ' << y << ' ' << layers << ' ' << preloaded;
}

TEST(Overlap, TheTextbookForm) {
  EXPECT_EQ(layerwise_time(Duration{30}, Duration{20}, 80), Duration{30 + 79 * 30 + 20});
  EXPECT_EQ(layerwise_time(Duration{20}, Duration{30}, 80), Duration{20 + 79 * 30 + 30});
}

}  // namespace
}  // namespace kvsim
