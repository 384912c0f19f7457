#include "kernels/blocks.h"

#include <array>

#include "kernels/hash.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/kv_arguments.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels::vulkan {

void build(Call& call, const BlockCopy& a) {
  std::vector<std::array<std::uint32_t, 2>> blocks;
  for (std::size_t i = 0; i < a.from_blocks.size(); ++i)
    blocks.push_back({word(a.from_blocks[i]), word(a.to_blocks[i])});
  const auto head_words = static_cast<std::size_t>(a.from.head_bytes / 16);
  const std::size_t count = blocks.size() * static_cast<std::size_t>(a.from.layers) *
                            static_cast<std::size_t>(a.from.heads) * head_words;
  Step step{"copy_blocks",
            {call.width()},
            {&call.in(a.source, "the blocks"), &call.out(a.target, "their copies", true),
             &call.own<std::array<std::uint32_t, 2>>(blocks, "the numbers of blocks")},
            {0, word(count), word(head_words), word(a.from.heads), word(a.from.layers)},
            {}};
  for (const BlockLayout& l : {a.from, a.to})
    for (const std::int64_t stride : {l.offset(1, 0, 0), l.offset(0, 1, 0), l.offset(0, 0, 1)})
      step.push.push_back(word(stride / 16));
  call.for_each(std::move(step), count, 0);
}

void build(Call& call, const KeyReorder& a) {
  const KvFormat& f = a.source.format;
  f.check();
  const std::size_t count = a.source.pages.size() / 4;
  call.for_each({"reorder_keys",
                 kv_constants(call.width(), f),
                 {&call.in(a.source.pages, "the pages"), &call.out(a.target, "their copies")},
                 kv_push(f, {word(count), word(a.order == KeyOrder::dim_major)}),
                 {}},
                count, 0);
}

void build(Call& call, const BlockHashes& a) {
  std::vector<std::uint32_t> starts;  // first id of each block
  std::vector<std::array<std::uint32_t, 4>> sequences;
  for (std::size_t s = 0; s + 1 < a.starts.size(); ++s) {
    const std::int64_t blocks = (a.starts[s + 1] - a.starts[s]) / a.block_tokens;
    sequences.push_back({word(starts.size()), word(blocks), word(a.hash_starts[s]), 0});
    for (std::int64_t b = 0; b < blocks; ++b)
      starts.push_back(word(a.starts[s] + b * a.block_tokens));
  }
  const Buffer& inner = call.scratch(starts.size() * 8, "hashes inside blocks");
  call.for_each(
      {"hash_inner",
       {call.width()},
       {&call.in(a.ids, "the token ids"), &call.own<std::uint32_t>(starts, "the blocks"), &inner},
       {0, word(starts.size()), word(a.block_tokens)},
       {}},
      starts.size(), 0);
  call.for_each(
      {"hash_chain",
       {call.width()},
       {&inner, &call.own<std::array<std::uint32_t, 4>>(sequences, "the sequences"),
        &call.out(a.out, "the hashes", true)},
       {0, word(sequences.size()), word(a.block_tokens), word(a.seed), word(a.seed >> 32)},
       {}},
      sequences.size(), 0);
}

void once(const BlockCopy& a, Device& device) { run_once(a, device); }
void once(const KeyReorder& a, Device& device) { run_once(a, device); }
void once(const BlockHashes& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
