#version 460
// Codes of a codec by the scales that codec_scales.comp wrote; four bytes per invocation.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };
layout(std430, set = 0, binding = 2) readonly buffer Zeros { uint zeros[]; };
layout(std430, set = 0, binding = 3) readonly buffer Book { float book[]; };
layout(std430, set = 0, binding = 4) writeonly buffer Codes { uint codes[]; };
#include "codec.glsl"
#include "f16.glsl"

uint code(int t, int d) {
  if (d >= dims) return 0;
  const uint g = uint(group_of(t, d));
  const float scale = half_of(scales[g >> 1], g);
  const float zero = SYMMETRIC != 0 ? 0.0 : half_of(zeros[g >> 1], g);
  const float place = scale == 0 ? 0.0 : divided(x[t * dims + d] - zero, scale);
  if (BOOK == 0)
    return uint(clamp(floor(place - low_entry + 0.5), 0.0, high_entry - low_entry));
  uint best = 0;
  for (uint i = 1; i < LEVELS; ++i)
    if (abs(place - book[i]) < abs(place - book[best])) best = i;
  return best;
}
uint code_byte(int t, int b) {
  uint packed = 0;
  switch (WIDTH_KIND) {
    case 0:
      return code(t, b);
    case 1:
      return code(t, 2 * b) | code(t, 2 * b + 1) << 4;
    case 2:  // 8 codes in 3 bytes
      for (int n = 0; n < 8; ++n) packed |= code(t, b / 3 * 8 + n) << (3 * n);
      return packed >> (b % 3 * 8) & 255u;
    case 3:
      for (int n = 0; n < 4; ++n) packed |= code(t, 4 * b + n) << (2 * n);
      return packed;
    default:  // 5 codes of 3 levels
      for (int n = 4; n >= 0; --n) packed = packed * 3 + code(t, 5 * b + n);
      return packed;
  }
}
void main() {
  const uint w = gl_GlobalInvocationID.x + first;
  if (w * 4 >= count) return;
  uint result = 0;
  for (uint k = 0; k < 4 && w * 4 + k < count; ++k) {
    const int at = int(w * 4 + k);
    result |= code_byte(at / row_bytes, at % row_bytes) << (8 * k);
  }
  codes[w] = result;
}
