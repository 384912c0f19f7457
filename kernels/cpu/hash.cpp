#include "kernels/hash.h"

#include <bit>
#include <cstring>
#include <vector>

#include "kernels/threads.h"
#include "sim/base/hash.h"

namespace kvsim::kernels::cpu {

namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Two ids, the first in the low half.
std::uint64_t word(const std::uint32_t* ids) {
  if constexpr (std::endian::native == std::endian::little) {
    std::uint64_t both = 0;
    std::memcpy(&both, ids, sizeof both);
    return both;
  } else {
    return ids[0] | std::uint64_t{ids[1]} << 32;
  }
}

// Only the last mix of a block waits for the block before; the rest overlaps with it, so one
// sequence at a time already fills the multiplier.
class Chain {
 public:
  explicit Chain(std::size_t block) : block_(block), secrets_((block + 3) / 4 * 2) {
    for (std::size_t i = 0; i < secrets_.size(); ++i) secrets_[i] = mix64(i);
  }
  [[nodiscard]] std::uint64_t next(std::uint64_t parent, const std::uint32_t* ids) const {
    std::uint64_t inner = 0;
    std::size_t i = 0;
    for (; 4 * i + 4 <= block_; ++i)
      inner ^=
          mix(word(ids + 4 * i) ^ secrets_[2 * i], word(ids + 4 * i + 2) ^ secrets_[2 * i + 1]);
    if (4 * i < block_) {
      std::uint32_t rest[4] = {};
      std::memcpy(rest, ids + 4 * i, (block_ - 4 * i) * sizeof *ids);
      inner ^= mix(word(rest) ^ secrets_[2 * i], word(rest + 2) ^ secrets_[2 * i + 1]);
    }
    return mix(parent ^ parent_secret_, inner ^ inner_secret_);
  }

 private:
  std::size_t block_;
  std::vector<std::uint64_t> secrets_;
  std::uint64_t parent_secret_ = mix64(1ULL << 32);
  std::uint64_t inner_secret_ = mix64((1ULL << 32) + block_);
};

}  // namespace

void hash_blocks(const BlockHashes& a, Threads& threads) {
  const Chain chain(static_cast<std::size_t>(a.block_tokens));
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(std::ssize(a.starts) - 1, thread);
    for (auto s = static_cast<std::size_t>(first); s < static_cast<std::size_t>(end); ++s) {
      std::uint64_t parent = a.seed;
      std::uint64_t* out = a.out.data() + a.hash_starts[s];
      for (std::int64_t at = a.starts[s]; at + a.block_tokens <= a.starts[s + 1];
           at += a.block_tokens)
        *out++ = parent = chain.next(parent, a.ids.data() + at);
    }
  });
}

}  // namespace kvsim::kernels::cpu
