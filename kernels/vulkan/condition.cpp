#include "kernels/condition.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/vulkan/call.h"
#include "kernels/vulkan/operations.h"
#include "sim/base/check.h"

namespace kvsim::kernels::vulkan {

// Numbers that a workgroup holds: 16 KiB, the shared memory that every device has.
constexpr std::uint32_t kHeld = 4096;
// Neighbours read together in passes whose partners lie far apart: 64 bytes.
constexpr std::uint32_t kNeighbours = 16;

// Blocks larger than a workgroup holds take several passes: first the stages within kHeld numbers,
// then those between parts that far apart.
void build(Call& call, const Rotation& a) {
  KVSIM_CHECK(
      a.block > 0 && std::has_single_bit(static_cast<unsigned>(a.block)) && a.dims % a.block == 0,
      "block of {} in rows of {}", a.block, a.dims);
  const Buffer& numbers = call.out(a.matrix, "the rows", true);
  const std::uint32_t block = word(a.block);
  float factor = 1 / std::sqrt(static_cast<float>(block));
  std::uint32_t stride = 1, columns = 1;
  do {
    const std::uint32_t parts = std::min(block / stride, kHeld / columns);  // turned by this pass
    // Small blocks share a workgroup.
    const std::uint32_t rows = stride == 1 ? std::max(parts, call.width() * 4) : parts;
    const std::size_t held = std::size_t{rows} * columns;
    call.for_groups({"rotate",
                     {call.width(), rows, columns, word(std::countr_zero(parts))},
                     {&numbers},
                     {0, word(a.matrix.size()), stride, word(factor)},
                     {}},
                    (a.matrix.size() + held - 1) / held, 0);
    stride *= parts;
    columns = kNeighbours;
    factor = 1;
  } while (stride < block);
}

void once(const Rotation& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
