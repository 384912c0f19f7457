#pragma once
// Chained hashes of blocks of token ids, as prefix caches use them to find equal prefixes. Not
// cryptographic: ids of one tenant must not be chosen by another. Bit-exact on every path.
//
// With mix(a, b) = low ^ high half of the 128-bit product a * b, s(i) = mix64(i) (sim/base/hash.h)
// and w[i] = id[2i] + 2^32 id[2i + 1] (0 beyond the end), i = 0, 1 ... to an even number of words:
//   inner = xor over i of mix(w[2i] ^ s(2i), w[2i + 1] ^ s(2i + 1))
//   hash  = mix(parent ^ s(2^32), inner ^ s(2^32 + block_tokens))
// parent: the hash of the block before, `seed` for the first. Only full blocks are hashed.
#include <cstdint>
#include <span>

namespace kvsim::kernels {

struct BlockHashes {
  std::int32_t block_tokens = 16;
  std::uint64_t seed = 0;
  std::span<const std::int64_t> starts;  // [sequences + 1]: ids of sequence s
  std::span<const std::uint32_t> ids;
  // Hashes of sequence s begin at hash_starts[s], one per full block.
  std::span<const std::int64_t> hash_starts;  // [sequences]
  std::span<std::uint64_t> out;
};

namespace reference {
void hash_blocks(const BlockHashes&);
}  // namespace reference

class Threads;
namespace cpu {
void hash_blocks(const BlockHashes&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
