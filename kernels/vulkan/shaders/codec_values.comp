#version 460
// Numbers from the codes of a codec.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer Codes { uint codes[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };
layout(std430, set = 0, binding = 2) readonly buffer Zeros { uint zeros[]; };
layout(std430, set = 0, binding = 3) readonly buffer Book { float book[]; };
layout(std430, set = 0, binding = 4) writeonly buffer Out { float result[]; };
#include "codec.glsl"
#include "f16.glsl"

uint code_byte(int at) { return codes[at >> 2] >> (8 * (at & 3)) & 255u; }
uint code(int row, int d) {
  switch (WIDTH_KIND) {
    case 0:
      return code_byte(row + d);
    case 1:
      return code_byte(row + d / 2) >> (d % 2 * 4) & 15u;
    case 2: {
      const int bit = d * 3;
      const uint high = bit % 8 > 5 ? code_byte(row + bit / 8 + 1) << 8 : 0;
      return (code_byte(row + bit / 8) | high) >> (bit % 8) & 7u;
    }
    case 3:
      return code_byte(row + d / 4) >> (d % 4 * 2) & 3u;
    default: {
      uint packed = code_byte(row + d / 5);
      for (int n = 0; n < d % 5; ++n) packed /= 3;
      return packed % 3;
    }
  }
}
void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  const int t = int(i) / dims, d = int(i) % dims;
  const uint g = uint(group_of(t, d)), c = code(t * row_bytes, d);
  const float zero = SYMMETRIC != 0 ? 0.0 : half_of(zeros[g >> 1], g);
  const float entry = BOOK != 0 ? book[c] : low_entry + float(c);
  result[i] = fma(half_of(scales[g >> 1], g), entry, zero);
}
