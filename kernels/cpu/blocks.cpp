#include "kernels/blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/blocks.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "kernels/cpu/key_tiles.h"
#include "kernels/probe_loops.h"
#include "kernels/threads.h"
#include "sim/base/check.h"

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Pieces of `bytes` bytes, kPieces of them side by side. The stores go past the caches: the target
// is not read first and evicts nothing. All pointers are 64-byte aligned, bytes a multiple of 64.
template <std::size_t kPieces>
HWY_INLINE void stream_pieces(const std::byte* const* in, std::byte* const* out,
                              std::size_t bytes) {
  const hn::CappedTag<std::uint8_t, 64> d;
  for (std::size_t at = 0; at < bytes; at += 64)
    for (std::size_t piece = 0; piece < kPieces; ++piece) {
      const auto* from = reinterpret_cast<const std::uint8_t*>(in[piece] + at);
      auto* to = reinterpret_cast<std::uint8_t*>(out[piece] + at);
      for (std::size_t i = 0; i < 64; i += hn::Lanes(d))
        hn::Stream(hn::Load(d, from + i), d, to + i);
    }
}
void stream(const std::byte* const* in, std::byte* const* out, std::size_t pieces,
            std::size_t bytes) {
  if (pieces == kStreams) return stream_pieces<kStreams>(in, out, bytes);
  for (std::size_t i = 0; i < pieces; ++i) stream_pieces<1>(in + i, out + i, bytes);
}

#if HWY_TARGET == HWY_SCALAR
constexpr bool kHasShuffles = false;
template <class T>
void transpose(const std::byte*, std::size_t, std::byte*, std::size_t) {}
#else
constexpr bool kHasShuffles = true;
// A square of 16 / sizeof(T) rows of 16 bytes, rows `in_step` and `out_step` bytes apart: each
// round interleaves row i with row i + n / 2, and log2(n) rounds transpose.
template <class T>
HWY_INLINE void transpose(const std::byte* in, std::size_t in_step, std::byte* out,
                          std::size_t out_step) {
  constexpr std::size_t kRows = 16 / sizeof(T);
  const hn::FixedTag<T, kRows> d;
  hn::Vec<decltype(d)> a[kRows], b[kRows];
  for (std::size_t i = 0; i < kRows; ++i)
    a[i] = hn::LoadU(d, reinterpret_cast<const T*>(in + i * in_step));
  for (std::size_t round = 1; round < kRows; round *= 2) {
    for (std::size_t i = 0; i < kRows / 2; ++i) {
      b[2 * i] = hn::InterleaveLower(d, a[i], a[i + kRows / 2]);
      b[2 * i + 1] = hn::InterleaveUpper(d, a[i], a[i + kRows / 2]);
    }
    std::copy(b, b + kRows, a);
  }
  for (std::size_t i = 0; i < kRows; ++i)
    hn::StoreU(a[i], d, reinterpret_cast<T*>(out + i * out_step));
}
#endif

// A chunk of one tile: 16 / sizeof(T) rows of 16 tokens, or 16 tokens of 16 bytes.
template <class T>
HWY_INLINE void turn(const std::byte* in, std::byte* out, bool to_chunks) {
  constexpr std::size_t kWidth = 16 / sizeof(T);
  if constexpr (kHasShuffles) {
    for (std::size_t token = 0; token < 16; token += kWidth) {
      const std::size_t in_row = token * sizeof(T), in_chunk = token * 16;
      if (to_chunks)
        transpose<T>(in + in_row, 16 * sizeof(T), out + in_chunk, 16);
      else
        transpose<T>(in + in_chunk, 16, out + in_row, 16 * sizeof(T));
    }
  } else {
    for (std::size_t j = 0; j < kWidth; ++j)
      for (std::size_t token = 0; token < 16; ++token) {
        const std::size_t row = (j * 16 + token) * sizeof(T);
        const std::size_t chunk = (token * kWidth + j) * sizeof(T);
        std::memcpy(out + (to_chunks ? chunk : row), in + (to_chunks ? row : chunk), sizeof(T));
      }
  }
}

void turn_chunks(std::size_t unit, std::size_t chunks, bool to_chunks, const std::byte* in,
                 std::byte* out) {
  for (std::size_t i = 0; i < chunks; ++i, in += 256, out += 256) {
    if (unit == 1)
      turn<std::uint8_t>(in, out, to_chunks);
    else if (unit == 2)
      turn<std::uint16_t>(in, out, to_chunks);
    else
      turn<std::uint32_t>(in, out, to_chunks);
  }
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(stream);
HWY_EXPORT(turn_chunks);

namespace {

// What lies together in both layouts: all of a block, a layer of it, or one head.
struct Piece {
  std::int32_t layers = 1, heads = 1;
};
Piece piece_of(const BlockLayout& a, const BlockLayout& b) {
  const bool has_heads = a.order != BlockOrder::head_first && b.order != BlockOrder::head_first;
  const bool has_layers = has_heads && a.order == BlockOrder::page_first && b.order == a.order;
  return {has_layers ? a.layers : 1, has_heads ? a.heads : 1};
}

}  // namespace

void reorder_tiles(Element element, int k_dim, std::size_t tiles, KeyOrder to, const std::byte* in,
                   std::byte* out) {
  const auto bits = static_cast<std::size_t>(bits_of(element));
  const std::size_t chunks = tiles * static_cast<std::size_t>(k_dim) * bits / 128;
  HWY_DYNAMIC_DISPATCH(turn_chunks)
  (std::max<std::size_t>(1, bits / 8), chunks, to == KeyOrder::chunk_major, in, out);
}

void copy_blocks(const BlockCopy& a, Threads& threads) {
  KVSIM_CHECK(a.from.layers == a.to.layers && a.from.heads == a.to.heads &&
                  a.from.head_bytes == a.to.head_bytes && a.from.head_bytes % 64 == 0,
              "layouts of different blocks");
  KVSIM_CHECK(a.from_blocks.size() == a.to_blocks.size(), "{} blocks to {}", a.from_blocks.size(),
              a.to_blocks.size());
  const Piece piece = piece_of(a.from, a.to);
  const std::int64_t layers = a.from.layers / piece.layers, heads = a.from.heads / piece.heads;
  const std::int64_t bytes = a.from.head_bytes * piece.layers * piece.heads;
  const std::int64_t blocks = std::ssize(a.from_blocks);
  // Twice: read and written.
  const bool is_streamed =
      static_cast<std::size_t>(2 * bytes * layers * heads * blocks) >= kStreamedBytes;
  threads.run([&](int thread) {
    // In the order of the target's memory as far as the pieces go.
    const auto [first, end] = threads.part(heads * layers * blocks, thread);
    const bool by_block = a.to.order == BlockOrder::page_first;
    std::array<const std::byte*, kStreams> ins;
    std::array<std::byte*, kStreams> outs;
    std::size_t waiting = 0;
    for (std::int64_t i = first; i < end; ++i) {
      const std::int64_t block = by_block ? i / (layers * heads) : i % blocks;
      const std::int64_t rest = by_block ? i % (layers * heads) : i / blocks;
      const std::int64_t layer = by_block ? rest / heads : rest % layers;
      const std::int64_t head = by_block ? rest % heads : rest / layers;
      const auto n = static_cast<std::size_t>(block);
      const std::byte* in = a.source.data() + a.from.offset(layer, a.from_blocks[n], head);
      std::byte* out = a.target.data() + a.to.offset(layer, a.to_blocks[n], head);
      if (!is_streamed) {
        std::memcpy(out, in, static_cast<std::size_t>(bytes));
        continue;
      }
      ins[waiting] = in;
      outs[waiting++] = out;
      if (waiting < kStreams && i + 1 < end) continue;
      HWY_DYNAMIC_DISPATCH(stream)
      (ins.data(), outs.data(), waiting, static_cast<std::size_t>(bytes));
      waiting = 0;
    }
    if (is_streamed) hwy::FlushStream();
  });
}

void reorder_keys(const KeyReorder& a, Threads& threads) {
  const KvFormat& f = a.source.format;
  KVSIM_CHECK(a.target.size() == a.source.pages.size(), "target has another size");
  const std::size_t page = f.head_page_bytes(), keys = f.key_scales_offset();
  const auto tiles = static_cast<std::size_t>(f.page_tokens / kTileTokens);
  threads.run([&](int thread) {
    const auto [first, end] =
        threads.part(static_cast<std::int64_t>(a.source.pages.size() / page), thread);
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(end); ++i) {
      const std::byte* in = a.source.pages.data() + i * page;
      std::byte* out = a.target.data() + i * page;
      if (a.order == f.key_order) {
        std::memcpy(out, in, page);
        continue;
      }
      const std::size_t used = tiles * 2 * static_cast<std::size_t>(f.k_dim * bits_of(f.element));
      reorder_tiles(f.element, f.k_dim, tiles, a.order, in, out);
      std::memcpy(out + used, in + used, keys - used);
      std::memcpy(out + keys, in + keys, page - keys);
    }
  });
}

}  // namespace kvsim::kernels::cpu
#endif
