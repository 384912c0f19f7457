#version 460
// Scales and zeros of quantised pages (kernels/kv_cache.h): of keys per channel and group of tokens, or of
// values per token. An invocation makes two neighbours, which share a word. The format is the source's.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "kv_format.glsl"
layout(constant_id = 9) const int LEVELS = 15;  // largest code
layout(constant_id = 10) const int OF_VALUES = 0;
layout(constant_id = 11) const int GROUP = 64;
layout(std430, set = 0, binding = 1) writeonly buffer Target { uint target[]; };
layout(std430, set = 0, binding = 2) readonly buffer Items { ivec4 items[]; };  // from, to, tokens
layout(push_constant) uniform Push {
  KV_PUSH
  uint count;
  int kv_heads;
  uint to_page, to_head, to_scales;  // words of 4 bytes
};
#include "kv.glsl"
#include "f16.glsl"
#include "layout.glsl"

float number(uint base, int slot, int d) {
  if (OF_VALUES == 0) {
    const uvec2 at = word_of_key(slot % 16, d, BITS, DIM_MAJOR != 0);
    return number_of(pages1[(base + key_tile(slot)) * 4 + at.x], at.y, BITS, BFLOAT != 0);
  }
  const uvec2 at = word_of_value(slot, d, BITS, V_DIM);
  return number_of(pages1[(base + values_offset) * 4 + at.x], at.y, BITS, BFLOAT != 0);
}
void main() {
  const int pairs = OF_VALUES != 0 ? PAGE_TOKENS / 2 : PAGE_TOKENS / GROUP * K_DIM / 2;
  const uint i = gl_GlobalInvocationID.x + first_item;
  if (i >= count) return;
  const int pair = int(i) % pairs, head = int(i) / pairs % kv_heads;
  const ivec4 item = items[int(i) / pairs / kv_heads];
  const uint base = head_page(item.x, head);
  uint scales = 0, zeros = 0;
  for (int half_ = 0; half_ < 2; ++half_) {
    const int index = pair * 2 + half_;
    const int channel = index % K_DIM, group = index / K_DIM;
    const int from = OF_VALUES != 0 ? 0 : group * GROUP;
    const int to = OF_VALUES != 0 ? V_DIM : min(item.z, from + GROUP);
    if (OF_VALUES != 0 ? index >= item.z : from >= item.z) continue;
    float low = 3.4e38, high = -3.4e38;
    for (int k = from; k < to; ++k) {
      const float x = OF_VALUES != 0 ? number(base, index, k) : number(base, k, channel);
      low = min(low, x);
      high = max(high, x);
    }
    scales |= to_f16(divided(high - low, float(LEVELS))) << (16 * half_);
    zeros |= to_f16(low) << (16 * half_);
  }
  const uint to = uint(item.y) * to_page + uint(head) * to_head + to_scales;
  // Keys: per group scale[K_DIM], zero[K_DIM]; values: scale[PAGE_TOKENS], zero[PAGE_TOKENS].
  const int row = OF_VALUES != 0 ? PAGE_TOKENS / 2 : K_DIM / 2;
  const uint at = to + uint(pair / row * 2 * row + pair % row);
  target[at] = scales;
  target[at + row] = zeros;
}
