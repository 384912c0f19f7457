#pragma once
// What shaders/kv_format.glsl wants of a format: the first constants and push constants of a step.
#include <cstdint>
#include <vector>

#include "kernels/kv_cache.h"
#include "kernels/vulkan/compute.h"

namespace kvsim::kernels::vulkan {

// Constants 0 (the workgroup's width) to 8.
inline std::vector<std::uint32_t> kv_constants(std::uint32_t width, const KvFormat& f) {
  return {width,
          word(bits_of(f.element)),
          word(f.element == Element::bf16),
          word(f.key_order == KeyOrder::dim_major),
          word(f.values_in_keys),
          word(f.k_dim),
          word(f.v_dim),
          word(f.page_tokens),
          word(is_quantised(f.element) ? f.group_tokens : f.page_tokens)};
}

// KV_PUSH and, behind it, what the shader adds.
inline std::vector<std::uint32_t> kv_push(const KvFormat& f,
                                          std::initializer_list<std::uint32_t> more) {
  std::vector<std::uint32_t> words{0,
                                   word(f.page_bytes() / 16),
                                   word(f.head_page_bytes() / 16),
                                   word(f.values_offset() / 16),
                                   word(f.key_scales_offset() / 4),
                                   word(f.value_scales_offset() / 4)};
  words.insert(words.end(), more);
  return words;
}

}  // namespace kvsim::kernels::vulkan
