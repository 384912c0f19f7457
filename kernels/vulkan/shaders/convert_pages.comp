#version 460
// Pages from one element to another of the same shape: into codes by the scales that page_scales.comp
// wrote, or from codes. One word of the target's keys or values per invocation. The format is the source's.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "kv_format.glsl"
layout(constant_id = 9) const int TO_BITS = 16;
layout(constant_id = 10) const int TO_BFLOAT = 0;
layout(constant_id = 11) const int GROUP = 64;  // of whichever side has codes
layout(std430, set = 0, binding = 1) buffer Target { uint target[]; };
layout(std430, set = 0, binding = 2) readonly buffer Items { ivec4 items[]; };  // from, to, tokens
layout(push_constant) uniform Push {
  KV_PUSH
  uint count;
  int kv_heads;
  uint to_page, to_head, to_values, to_key_scales, to_value_scales;  // words of 4 bytes
};
#include "kv.glsl"
#include "f16.glsl"
#include "layout.glsl"

uint code(float x, float scale, float zero) {
  if (scale == 0) return 0;
  return uint(clamp(floor((x - zero) / scale + 0.5), 0.0, float((1u << (TO_BITS & 31)) - 1u)));
}

void main() {
  const int tile_words = K_DIM * TO_BITS / 2;
  const int key_words = PAGE_TOKENS / 16 * tile_words;
  const int words = key_words + (VALUES_IN_KEYS != 0 ? 0 : PAGE_TOKENS * V_DIM * TO_BITS / 32);
  const uint i = gl_GlobalInvocationID.x + first_item;
  if (i >= count) return;
  const int w = int(i % uint(words)), head = int(i / uint(words)) % kv_heads;
  const ivec4 item = items[int(i / uint(words)) / kv_heads];
  const uint base = head_page(item.x, head);
  const uint to = uint(item.y) * to_page + uint(head) * to_head;
  uint result = 0;
  for (int n = 0; n < 32 / TO_BITS; ++n) {
    int slot, index;
    uvec2 at;
    uint source_scales, target_scales;
    int zero_step;
    if (w < key_words) {
      const ivec2 k = key_of_word(w % tile_words, n, TO_BITS, DIM_MAJOR != 0);
      slot = w / tile_words * 16 + k.x;
      at = word_of_key(k.x, k.y, BITS, DIM_MAJOR != 0);
      at.x += (base + key_tile(slot)) * 4;
      index = slot / GROUP * 2 * K_DIM + k.y;
      zero_step = K_DIM;
      source_scales = base * 4 + key_scales, target_scales = to + to_key_scales;
    } else {
      const ivec2 v = value_of_word(w - key_words, n, TO_BITS, V_DIM);
      slot = v.x;
      at = word_of_value(slot, v.y, BITS, V_DIM);
      at.x += (base + values_offset) * 4;
      index = slot;
      zero_step = PAGE_TOKENS;
      source_scales = base * 4 + value_scales, target_scales = to + to_value_scales;
    }
    if (slot >= item.z) continue;
    float x = number_of(pages1[at.x], at.y, BITS, BFLOAT != 0);
    const uint scale_at = uint(index / 2), zero_at = uint((index + zero_step) / 2);
    uint stored;
    if (TO_BITS < 16) {
      stored = code(x, half_of(target[target_scales + scale_at], uint(index)),
                    half_of(target[target_scales + zero_at], uint(index)));
    } else {
      if (QUANTISED) {
        precise float scaled = half_of(pages1[source_scales + scale_at], uint(index)) * x;
        precise float sum = half_of(pages1[source_scales + zero_at], uint(index)) + scaled;
        x = sum;
      }
      stored = TO_BITS == 32 ? floatBitsToUint(x) : TO_BFLOAT != 0 ? to_bf16(x) : to_f16(x);
    }
    result |= stored << (n * TO_BITS);
  }
  target[to + (w < key_words ? uint(w) : to_values + uint(w - key_words))] = result;
}
