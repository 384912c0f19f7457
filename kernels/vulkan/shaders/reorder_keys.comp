#version 460
// Copies pages and turns keys from one order into the other; one word of the target per invocation.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "kv_format.glsl"
layout(std430, set = 0, binding = 1) writeonly buffer Target { uint target[]; };
layout(push_constant) uniform Push {
  KV_PUSH
  uint count;
  int to_dim_major;
};
#include "layout.glsl"

void main() {
  const uint i = gl_GlobalInvocationID.x + first_item;
  if (i >= count) return;
  const int tile_words = K_DIM * 16 * BITS / 32, in_page = int(i % (head_stride * 4));
  if (in_page >= PAGE_TOKENS / 16 * tile_words) {
    target[i] = pages1[i];
    return;
  }
  const uint tile = i - uint(in_page % tile_words);
  uint w = 0;
  for (int n = 0; n < 32 / BITS; ++n) {
    const ivec2 at = key_of_word(in_page % tile_words, n, BITS, to_dim_major != 0);
    const uvec2 from = word_of_key(at.x, at.y, BITS, DIM_MAJOR != 0);
    const uint number = pages1[tile + from.x] >> from.y;
    w |= (BITS == 32 ? number : number & ((1u << (BITS & 31)) - 1u)) << (n * BITS);
  }
  target[i] = w;
}
