#include "kernels/blocks.h"

#include <algorithm>
#include <cstring>

namespace kvsim::kernels::reference {

void copy_blocks(const BlockCopy& a) {
  for (std::size_t i = 0; i < a.from_blocks.size(); ++i)
    for (std::int32_t layer = 0; layer < a.from.layers; ++layer)
      for (std::int32_t head = 0; head < a.from.heads; ++head)
        std::memcpy(a.target.data() + a.to.offset(layer, a.to_blocks[i], head),
                    a.source.data() + a.from.offset(layer, a.from_blocks[i], head),
                    static_cast<std::size_t>(a.from.head_bytes));
}

// Keys of less than a byte move byte by byte: neighbouring dims of a token share it in both orders.
void reorder_keys(const KeyReorder& a) {
  const KvFormat& f = a.source.format;
  std::copy(a.source.pages.begin(), a.source.pages.end(), a.target.begin());
  if (a.order == f.key_order) return;
  const std::size_t unit =
      std::max<std::size_t>(1, static_cast<std::size_t>(bits_of(f.element)) / 8);
  const std::size_t units = static_cast<std::size_t>(f.k_dim * bits_of(f.element)) / 8 / unit;
  const std::size_t width = 16 / unit,
                    tiles = static_cast<std::size_t>(f.page_tokens / kTileTokens);
  for (std::size_t head = 0; head < a.source.pages.size(); head += f.head_page_bytes())
    for (std::size_t tile = 0; tile < tiles; ++tile)
      for (std::size_t j = 0; j < units; ++j)
        for (std::size_t token = 0; token < kTileTokens; ++token) {
          const std::size_t base = head + tile * units * kTileTokens * unit;
          const std::size_t dim_major = base + (j * kTileTokens + token) * unit;
          const std::size_t chunk_major =
              base + ((j / width * kTileTokens + token) * width + j % width) * unit;
          const bool to_chunks = a.order == KeyOrder::chunk_major;
          std::memcpy(a.target.data() + (to_chunks ? chunk_major : dim_major),
                      a.source.pages.data() + (to_chunks ? dim_major : chunk_major), unit);
        }
}

}  // namespace kvsim::kernels::reference
