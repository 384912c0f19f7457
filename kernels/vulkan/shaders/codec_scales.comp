#version 460
// Scales and zeros of a codec; an invocation makes two neighbours, which share a word.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scales { uint scales[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Zeros { uint zeros[]; };
#include "codec.glsl"
#include "f16.glsl"

void main() {
  const uint pair = gl_GlobalInvocationID.x + first;
  if (pair * 2 >= count) return;
  uint both_scales = 0, both_zeros = 0;
  for (uint half_ = 0; half_ < 2 && pair * 2 + half_ < count; ++half_) {
    const int g = int(pair * 2 + half_), row = g / groups_per_row, place = g % groups_per_row;
    float low = 3.4e38, high = -3.4e38;
    const int from = (BY_CHANNEL != 0 ? row : place) * group;
    const int to = min(from + group, BY_CHANNEL != 0 ? tokens : dims);
    for (int i = from; i < to; ++i) {
      const float value = BY_CHANNEL != 0 ? x[i * dims + place] : x[row * dims + i];
      low = min(low, value);
      high = max(high, value);
    }
    const float scale = SYMMETRIC != 0
                            ? divided(max(-low, high), max(abs(low_entry), abs(high_entry)))
                            : divided(high - low, high_entry - low_entry);
    const uint stored = to_f16(scale);
    precise float below = half_of(stored, 0) * low_entry;
    precise float zero = low - below;
    both_scales |= stored << (16 * half_);
    both_zeros |= to_f16(zero) << (16 * half_);
  }
  scales[pair] = both_scales;
  if (SYMMETRIC == 0) zeros[pair] = both_zeros;
}
