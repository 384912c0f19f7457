#include "kernels/hash.h"

#include "sim/base/hash.h"

namespace kvsim::kernels::reference {

namespace {

// The 128-bit product by 32-bit halves, as any machine can.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  constexpr std::uint64_t kHalf = 0xffffffffULL;
  const std::uint64_t low = (a & kHalf) * (b & kHalf), high = (a >> 32) * (b >> 32);
  const std::uint64_t cross1 = (a >> 32) * (b & kHalf), cross2 = (a & kHalf) * (b >> 32);
  const std::uint64_t middle = (low >> 32) + (cross1 & kHalf) + (cross2 & kHalf);
  return (a * b) ^ (high + (cross1 >> 32) + (cross2 >> 32) + (middle >> 32));
}

}  // namespace

void hash_blocks(const BlockHashes& a) {
  const auto n = static_cast<std::uint64_t>(a.block_tokens);
  for (std::size_t s = 0; s + 1 < a.starts.size(); ++s) {
    std::uint64_t parent = a.seed;
    auto out = static_cast<std::size_t>(a.hash_starts[s]);
    for (std::int64_t at = a.starts[s]; at + a.block_tokens <= a.starts[s + 1];
         at += a.block_tokens) {
      const auto id = [&](std::uint64_t i) -> std::uint64_t {
        return i < n ? a.ids[static_cast<std::size_t>(at) + i] : 0;
      };
      const auto word = [&](std::uint64_t i) { return id(2 * i) | id(2 * i + 1) << 32; };
      std::uint64_t inner = 0;
      for (std::uint64_t i = 0; 4 * i < n; ++i)
        inner ^= mix(word(2 * i) ^ mix64(2 * i), word(2 * i + 1) ^ mix64(2 * i + 1));
      parent = mix(parent ^ mix64(1ULL << 32), inner ^ mix64((1ULL << 32) + n));
      a.out[out++] = parent;
    }
  }
}

}  // namespace kvsim::kernels::reference
