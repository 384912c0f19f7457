#version 460
// Smallest and largest key of each channel of a page: out[page][head][minimum, maximum][K_DIM].
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "kv_format.glsl"
layout(std430, set = 0, binding = 1) readonly buffer Items { ivec2 items[]; };  // page, valid tokens
layout(std430, set = 0, binding = 2) writeonly buffer Out { vec4 result[]; };
layout(push_constant) uniform Push {
  KV_PUSH
  uint count;
  int kv_heads;
};
#include "kv.glsl"

void main() {
  const uint i = gl_GlobalInvocationID.x + first_item;
  if (i >= count) return;
  const int d4 = int(i) % (K_DIM / 4), head = int(i) / (K_DIM / 4) % kv_heads;
  const ivec2 item = items[int(i) / (K_DIM / 4) / kv_heads];
  const uint base = head_page(item.x, head);
  vec4 low = key4(base, 0, d4 * 4), high = low;
  for (int t = 1; t < item.y; ++t) {
    const vec4 x = key4(base, t, d4 * 4);
    low = min(low, x);
    high = max(high, x);
  }
  const uint at = uint((item.x * kv_heads + head) * 2 * (K_DIM / 4) + d4);
  result[at] = low;
  result[at + K_DIM / 4] = high;
}
